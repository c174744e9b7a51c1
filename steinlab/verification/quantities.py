"""What a claim found, as terminal, page and headline show it: numbers, and tables."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from steinlab.errors import InputError, one_of


@dataclass(frozen=True)
class Number:
    """A number that was found, as terminal, page and headline show it.

    Parameters
    ----------
    name : str
        A few plain words.
    value : float
        Finite; a whole number where it counts.
    error : float, optional
        Half the width of its interval, >= 0.
    unit : str
        Empty for a ratio or a count; ``"%"`` for a share, which a table shows in percent.
    better : {"", "lower", "higher"}
        Which values are the better ones; empty where neither are.
    key : str
        What a headline calls it; by default its name, with ``_`` for whatever is no letter or
        digit.

    Raises
    ------
    InputError
        For a value that is not finite, a negative error, or another ``better``.

    Examples
    --------
    >>> Number("largest step", 2.5).key
    'largest_step'
    >>> f"{Number('error cut', 0.1653, unit='%')}, {Number('order', 1.953, 0.021):.0f}"
    '17 %, 2'
    """

    name: str
    value: float
    error: float | None = None
    unit: str = ""
    better: str = ""
    key: str = ""

    def __post_init__(self) -> None:
        """Refuse what could not be shown; give it a key, and plain numbers for the ledger."""
        if self.better:
            one_of(f"better of number {self.name}", self.better, ("lower", "higher"))
        if not math.isfinite(self.value):
            raise InputError(f"value of number {self.name} must be finite, got {self.value}")
        if self.error is not None and not 0 <= self.error < math.inf:
            raise InputError(f"error of number {self.name} must be >= 0, got {self.error}")
        plain = int if isinstance(self.value, int | np.integer) else float
        for name, value in (
            ("value", plain(self.value)),
            ("error", None if self.error is None else float(self.error)),
            ("key", self.key or re.sub(r"\W+", "_", self.name)),
        ):
            object.__setattr__(self, name, value)

    def __format__(self, spec: str) -> str:
        """Return the value as tables show it, or by a specification of its own."""
        return format(self.value, spec) if spec else rounded(self.value, self.error, self.unit)


def rounded(value: float, error: float | None, unit: str) -> str:
    """Return a value with its unit, without its error.

    An error supports two digits of its own. Without one, a value has two digits, a share above
    99 % two of its distance to 100 %; whole numbers have all.

    Examples
    --------
    >>> rounded(1.9534, 0.021, ""), rounded(0.1653, None, "%"), rounded(0.99937, None, "%")
    ('1.953', '17 %', '99.937 %')
    >>> rounded(1064, None, ""), rounded(395.2, None, ""), rounded(2.13e-14, None, "")
    ('1,064', '395', '2.1e-14')
    """
    share = unit == "%"
    value, error = (100 * value, error and 100 * error) if share else (value, error)
    after = f" {unit}" if unit else ""
    if not math.isfinite(value):
        return f"{value}{after}"
    if error:
        places = error_places(error)
        return (f"{value:.4g}" if places is None else f"{value:,.{places}f}") + after
    whole = abs(value) >= 100 or value == round(value) or (share and 100 - value < 1e-8)
    if whole:
        return (f"{value:,.0f}" if abs(value) < 1e6 else f"{value:.2g}") + after
    if abs(value) < 1e-4:
        return f"{value:.2g}" + after
    near = 100 - value if share and value > 99 else abs(value)
    return f"{value:.{max(0, 1 - math.floor(math.log10(near)))}f}" + after


def error_places(error: float) -> int | None:
    """Return the decimals that show two digits of an error; None where they are too many."""
    if not 0 < error < math.inf:
        return None
    places = 1 - math.floor(math.log10(error))
    return max(places, 0) if -4 < places < 8 else None


@dataclass(frozen=True)
class Table:
    """Numbers of a claim worth reading side by side."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]
