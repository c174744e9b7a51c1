"""Work units: one check of one claim, by name, and what it hands back wherever it ran.

A claim holds functions that do not pickle, so a unit carries names and the process that runs it
loads the claim by its id. What comes back is plain: comparisons, the controls' verdicts on this
check's data, the worst case written down, and the data where it is small.
"""

from __future__ import annotations

import functools
import os
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from steinlab.storage import NotStorableError, encode
from steinlab.verification.comparison import Comparison

LARGEST_DATA = 2**24
"""Bytes of a check's data that are handed back; more is measured again where a finding asks."""


FALSIFIER = "falsifier"
"""The name of the unit that attacks a claim, beside its checks."""


class Unit(NamedTuple):
    """A check of a claim, by name: all that its numbers depend on."""

    claim: str
    check: str
    profile: str
    seed: int


class Crash(NamedTuple):
    """An error on the other side: its type, message and place on one line, and its traceback."""

    message: str
    trace: str

    @classmethod
    def from_error(cls, error: BaseException, home: str = "") -> Crash:
        """Write an error down.

        Parameters
        ----------
        error : exception
        home : str
            The package that the claim's module lies in: the place is the innermost frame of it, or
            where none is, the innermost of all.
        """
        text = "".join(traceback.format_exception(error))
        message = " ".join(f"{type(error).__name__}: {error}".split())
        return cls(message + _place(error, home), text)


def _place(error: BaseException, home: str) -> str:
    """Return `` (FILE, line N, in FUNCTION)``, nothing for an error that was never raised here."""
    frames = list(traceback.walk_tb(error.__traceback__))
    own = [
        f for f in frames if home and f"{f[0].f_globals.get('__name__')}.".startswith(f"{home}.")
    ]
    if not frames:
        return ""
    frame, line = (own or frames)[-1]
    file, here = frame.f_code.co_filename, os.getcwd()
    if file.startswith(here + os.sep):
        file = os.path.relpath(file, here)
    return f" ({file}, line {line}, in {frame.f_code.co_name})"


class CheckError(Exception):
    """A check or a negative control that crashed; ``crash`` says how."""

    def __init__(self, crash: Crash) -> None:
        super().__init__(crash.message)
        self.crash = crash


class ControlOutcome(NamedTuple):
    """Whether a negative control was rejected on a check's data, and its largest relative excess.

    ``differs``: whether it says anything else there than the claim's own formula.
    """

    rejected: bool
    measured: float
    differs: bool


class Attack(NamedTuple):
    """How an attack went: the check it searched, cases spent, and its best score (1: the limit)."""

    check: str
    cases: int
    score: float


@dataclass(frozen=True)
class Outcome:
    """A finished check as it travels.

    Attributes
    ----------
    comparison, pooled : Comparison
        With the claim's own formula.
    controls : mapping
        By name, for the negative controls that may be rejected by this check.
    worst : dict
        The case nearest to its limit, as JSON.
    datasets : tuple of str
    dataset_cases : int
    data : list, optional
        What was measured in each batch; None where it is large or cannot be stored.
    attack : Attack, optional
        For the falsifier's outcome, whose comparison holds its worst case alone.
    smallest : tuple, optional
        Of a violated check that locates its cases: a shrunk violation, compared alone, and as JSON.
    """

    comparison: Comparison
    pooled: Comparison | None
    controls: Mapping[str, ControlOutcome | Crash]
    worst: dict[str, Any]
    datasets: tuple[str, ...]
    dataset_cases: int
    data: list[Any] | None
    attack: Attack | None = None
    smallest: tuple[Comparison, dict[str, Any]] | None = None


class Report(NamedTuple):
    """What a unit came to: an outcome or a crash, and the seconds it took."""

    outcome: Outcome | None
    crash: Crash | None
    seconds: float


def handed_back(data: list[Any]) -> list[Any] | None:
    """Return the data, or None where they are large or cannot be stored."""
    try:
        _, arrays = encode(data)
    except (NotStorableError, RecursionError):
        return None
    size = sum(array.nbytes for parts in arrays.values() for array in parts)
    return data if size <= LARGEST_DATA else None


class Later(Sequence[Any]):
    """A sequence that is computed when it is first looked at."""

    def __init__(self, compute: Callable[[], Sequence[Any]]) -> None:
        self.items = functools.cache(compute)

    def __getitem__(self, index: Any) -> Any:
        return self.items()[index]

    def __len__(self) -> int:
        return len(self.items())
