"""A statement ``f(theta) > 0`` over a box of parameters, and the boxes themselves.

Statements are registered as entry points of the group ``steinlab.statements``. A box has one side
per parameter; its ends are exact fractions. A *held* parameter has one value. A *whole* one takes
whole numbers only, and a side from ``a`` to ``b`` holds both ends.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple

from steinlab.errors import InputError, one_of, quote
from steinlab.plugins import entries, loaded, registered
from steinlab.verification.files import is_file, split
from steinlab.verification.registry import claim_ids, load_claim, only

if TYPE_CHECKING:
    import numpy as np

    from analytic.certified.intervals import Intervals

GROUP = "steinlab.statements"
LIST = "steinlab certify --list"
LONGEST, LARGEST = 60, 1e12
"""Characters and size of a number in ``--box``."""

FAR = re.compile(r"e[+-]?[\d_]{4,}", re.IGNORECASE)
"""Exponents that would make a fraction of millions of digits."""

Side = tuple[Fraction, Fraction]
Box = tuple[Side, ...]


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its range by default, and what it may be at most."""

    name: str
    low: Fraction
    high: Fraction
    text: str
    least: Fraction
    most: Fraction
    whole: bool = False

    @classmethod
    def of(
        cls,
        name: str,
        text: str,
        default: tuple[str, str] | str,
        allowed: tuple[str, str],
        *,
        whole: bool = False,
    ) -> Parameter:
        """Return a parameter from decimals; a default of one number is held."""
        ends = (default, default) if isinstance(default, str) else default
        low, high, least, most = (Fraction(end) for end in (*ends, *allowed))
        return cls(name, low, high, text, least, most, whole)


class Enclosed(NamedTuple):
    """What an evaluator knows of ``f`` on ``B`` boxes: arrays ``(B,)``, and ``(B, P)``."""

    lower: np.ndarray
    upper: np.ndarray
    effects: np.ndarray
    """How much ``f`` may vary along each side: the next cut goes where this is largest."""


Evaluator = Callable[["np.ndarray", "np.ndarray"], Enclosed]
"""``(low, high) -> Enclosed``, arrays ``(B, P)`` of doubles around the boxes' ends."""


SecondOn = Callable[
    ["np.ndarray", "np.ndarray", list[int]], "tuple[Intervals, Intervals, np.ndarray]"
]
"""``(low, high, axes)``, doubles around the ends of boxes ``(B, P)`` and the open sides, to a
margin, a power > 0, and how much the margin may vary along each of ``axes``: ``(B, A)``."""


@dataclass(frozen=True)
class Control:
    """A falsified statement over the same box, which a box of it must refute."""

    name: str
    evaluate: Evaluator
    measure: Callable[[Mapping[str, float]], float] | None = None
    """A point to the falsified ``f`` there, by the laboratory's own laws and quadrature."""


@dataclass(frozen=True)
class Statement:
    """A statement over a box.

    Attributes
    ----------
    id, title : str
    says : str
        What holds where ``f > 0``, in words; ``fails`` says what holds where ``f < 0``.
    latex : str
        ``f``.
    parameters : tuple of Parameter
        At most four.
    evaluate : callable
        The first evaluator, which the search uses.
    second : callable
        Balls of python-flint, one per parameter, to a ball around ``f``, or to two around a margin
        and a power > 0 whose quotient it is: another formula, which the checker of certificates
        uses.
    measure : callable
        A point by name to ``f`` there, by the laboratory's own solvers and laws: what replays.
    controls : tuple of Control
    second_on : callable or None
        The second evaluator on many boxes at once, where there is one.
    everywhere : bool
        Whether it is said to hold on the whole of its default box, or maps where it holds.
    claim : str
        Id of the claim that it belongs to.
    """

    id: str
    title: str
    says: str
    fails: str
    latex: str
    parameters: tuple[Parameter, ...]
    evaluate: Evaluator
    second: Callable[..., Any]
    measure: Callable[[Mapping[str, float]], float]
    controls: tuple[Control, ...]
    claim: str
    everywhere: bool = False
    second_on: SecondOn | None = None

    @property
    def box(self) -> Box:
        """The default box."""
        return tuple((one.low, one.high) for one in self.parameters)


def statement_ids() -> list[str]:
    """Return the ids of all registered statements."""
    return sorted(entry.name for entry in entries(GROUP))


def load_statement(name: str) -> Statement:
    """Return a statement by its id, or that of a claim in the short form, by id or address.

    Raises
    ------
    InputError
        Naming the nearest for an unknown one, or the piece of a claim that has no enclosure.
    """
    known = registered(GROUP, ())
    if name not in known and (is_file(name) or split(name)[0] or name in claim_ids()):
        from steinlab.verification.continuum.short import statement_of

        address = only(name)
        return statement_of(address, load_claim(address))
    found: Statement = loaded(known[one_of("CLAIM", name, sorted(known), LIST)], "statement")
    return found


def read_box(statement: Statement, text: str | None) -> Box:
    """Return the box that ``--box`` asks for: ``separation=0:6,weight=1/5``, others by default.

    Raises
    ------
    InputError
        If a parameter is unknown or given twice, or a side is empty, reversed, unbounded or goes
        beyond what the statement is about.

    """
    sides = dict(zip((one.name for one in statement.parameters), statement.box, strict=True))
    known, given = {one.name: one for one in statement.parameters}, set()
    for part in [] if text is None else text.split(","):
        name, equals, value = (piece.strip() for piece in part.partition("="))
        if not equals:
            raise InputError(f"--box must be NAME=LOW:HIGH, got {quote(part)}")
        one_of("--box parameter", name, known)
        if name in given:
            raise InputError(f"--box must name each parameter once, got {name} twice")
        given.add(name)
        sides[name] = _side(known[name], value)
    return tuple(sides[one.name] for one in statement.parameters)


def box_of(statement: Statement, sides: Iterable[Sequence[str]]) -> Box:
    """Return a box from its sides' ends.

    Raises
    ------
    InputError
        As :func:`read_box`.
    """
    pairs = zip(statement.parameters, sides, strict=True)
    return tuple(_side(one, low if low == high else f"{low}:{high}") for one, (low, high) in pairs)


def _side(one: Parameter, text: str) -> Side:
    field, (first, colon, last) = f"--box {one.name}", text.partition(":")
    low = _number(first, field)
    high = _number(last, field) if colon else low
    if high < low or (colon and high == low and not one.whole):
        kind = "reversed" if high < low else "empty"
        raise InputError(f"{field} must be LOW:HIGH with LOW < HIGH, got the {kind} {quote(text)}")
    if low < one.least or high > one.most:
        limits = f"{float(one.least):g}:{float(one.most):g}"
        raise InputError(f"{field} must lie in {limits}, got {quote(text)}")
    if one.whole and (low.denominator > 1 or high.denominator > 1):
        raise InputError(f"{field} must be whole numbers, got {quote(text)}")
    return low, high


def _number(text: str, field: str) -> Fraction:
    if text.strip().lower().lstrip("+-") in ("inf", "infinity", "nan"):
        raise InputError(f"{field} must be finite, got {quote(text)}")
    try:
        if len(text) > LONGEST or FAR.search(text):
            raise ValueError
        if not -LARGEST < float(Fraction(text.strip())) < LARGEST:
            raise ValueError
        return Fraction(text.strip())
    except (ValueError, ZeroDivisionError, OverflowError):
        raise InputError(f"{field} must be a number or a fraction, got {quote(text)}") from None


def open_axes(box: Box) -> list[int]:
    """Return the parameters that a box leaves open."""
    return [i for i, (low, high) in enumerate(box) if low < high]


def halves(statement: Statement, box: Box, axis: int) -> tuple[Box, Box]:
    """Cut a box in two: at the middle of a side, or between two whole numbers."""
    low, high = box[axis]
    if statement.parameters[axis].whole:
        middle = Fraction(math.floor((low + high) / 2))
        first, last = (low, middle), (middle + 1, high)
    else:
        middle = (low + high) / 2
        first, last = (low, middle), (middle, high)
    head, rest = box[:axis], box[axis + 1 :]
    return (*head, first, *rest), (*head, last, *rest)


def outward(side: Side) -> tuple[float, float]:
    """Return doubles around a side: never inside the exact ends."""
    low, high = (float(end) for end in side)
    return (
        math.nextafter(low, -math.inf) if _above(low, side[0]) else low,
        math.nextafter(high, math.inf) if _above(-high, -side[1]) else high,
    )


def _above(value: float, end: Fraction) -> bool:
    """Return whether a double is above a fraction."""
    top, under = value.as_integer_ratio()
    return top * end.denominator > end.numerator * under


def told(statement: Statement, box: Box) -> str:
    """Return a box in words."""
    return ", ".join(
        f"{one.name} {float(low):g}" + (f" to {float(high):g}" if low < high else "")
        for one, (low, high) in zip(statement.parameters, box, strict=True)
    )
