r"""Expectations under a noised law, as numbers that know their error.

A :class:`Ball` is ``value +- error``: arithmetic keeps the true number inside, to first order and
beyond (products of errors are counted). Two balls compare to a :class:`Relation`, both sides with
the tolerance that they bring, which the engine judges.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeVar

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import integrate, mixture_breaks
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.errors import quote

SINGLE_EPS = float(np.finfo(np.float32).eps)


T = TypeVar("T")


def _operation(of: Callable[[Ball, Ball], T]) -> Callable[[Ball, Any], T]:
    """Let an operation on two balls take a number, and leave what is none to the other side."""

    def operation(self: Ball, other: Any) -> T:
        number = _ball(other)
        if number is None:
            return NotImplemented  # type: ignore[no-any-return]
        return of(self, number)

    return operation


@dataclass(frozen=True, eq=False)
class Ball:
    r"""A number and a bound of its error; ``+ - * /`` and powers propagate both.

    A plain number in an expression counts as computed: exact to
    :data:`~steinlab.coefficient.rounding.ROUNDING` ``eps`` of its size. ``<=``, ``>=`` and ``==``
    give a :class:`Relation`.

    Examples
    --------
    >>> side = Ball(2.0, 1e-3) ** 2 - Ball(1.0, 1e-3)
    >>> side.value, round(side.error, 6)
    (3.0, 0.005001)
    """

    value: float
    error: float = 0.0

    __array_ufunc__ = None  # NumPy's numbers leave the operation to this class

    @_operation
    def __add__(self, other: Ball) -> Ball:
        return _rounded(self.value + other.value, self.error + other.error)

    @_operation
    def __sub__(self, other: Ball) -> Ball:
        return _rounded(self.value - other.value, self.error + other.error)

    @_operation
    def __mul__(self, other: Ball) -> Ball:
        (a, da), (b, db) = (self.value, self.error), (other.value, other.error)
        return _rounded(a * b, abs(a) * db + abs(b) * da + da * db)

    @_operation
    def __truediv__(self, other: Ball) -> Ball:
        value, nearest = self.value / other.value, abs(other.value) - other.error
        slack = self.error + abs(value) * other.error
        return _rounded(value, slack / nearest if nearest > 0 else math.inf)

    __radd__, __rmul__ = __add__, __mul__

    @_operation
    def __rsub__(self, other: Ball) -> Ball:
        return other - self

    @_operation
    def __rtruediv__(self, other: Ball) -> Ball:
        return other / self

    def __neg__(self) -> Ball:
        return Ball(-self.value, self.error)

    def __abs__(self) -> Ball:
        return Ball(abs(self.value), self.error)

    def __pow__(self, power: float) -> Ball:
        if not isinstance(power, int | float):
            return NotImplemented
        low, high = self.value - self.error, self.value + self.error
        whole, across = float(power).is_integer(), low <= 0 <= high
        if self.value < 0 and not whole:
            raise ValueError(f"a power of {power} needs a number >= 0, got {self}")
        value = float(self.value**power)
        if not math.isfinite(self.error) or (across and (power < 0 or not whole)):
            return Ball(value, math.inf)
        # monotone on either side of 0: the ends bound it, and 0 where the ball holds it
        ends = [low**power, high**power, *([0.0**power] if across else [])]
        return Ball(value, max(abs(end - value) for end in ends) + 2 * EPS * abs(value))

    @_operation
    def __le__(self, other: Ball) -> Relation:
        return Relation(self, "<=", other)

    @_operation
    def __ge__(self, other: Ball) -> Relation:
        return Relation(self, ">=", other)

    @_operation
    def __eq__(self, other: Ball) -> Relation:  # type: ignore[override]
        return Relation(self, "==", other)

    __hash__ = None  # type: ignore[assignment]

    def __str__(self) -> str:
        return f"{self.value:.6g} +- {self.error:.1e}"


def _rounded(value: float, error: float) -> Ball:
    return Ball(value, error + EPS * abs(value))


def _ball(value: Any) -> Ball | None:
    """Return a number as a ball; None for what is no number."""
    if isinstance(value, Ball):
        return value
    if isinstance(value, bool | str) or np.size(value) != 1:
        return None
    try:
        number = float(np.asarray(value).item())
    except (TypeError, ValueError):
        return None
    return Ball(number, ROUNDING * EPS * abs(number))


def ball(value: Any, what: str) -> Ball:
    """Return a number, or an expectation, as a ball.

    Raises
    ------
    ValueError
        For anything else, and unless the number is finite; ``what`` names it.
    """
    number = _ball(value)
    if number is None:
        raise ValueError(f"{what} must be one number or an expectation, got {quote(value)}")
    if not math.isfinite(number.value):
        raise ValueError(f"{what} must be finite, got {number.value}")
    return number


@dataclass(frozen=True)
class Relation:
    """Two sides and the sign between them: ``<=``, ``>=`` or ``==``; what a property returns."""

    left: Ball
    sign: str
    right: Ball

    def __bool__(self) -> bool:
        raise TypeError(
            "a property must return one relation; `and`, `or`, `not` and chains lose it"
        )


def E(f: Callable[[Any], Any], law: GaussianMixture, level: NoiseLevel) -> Ball:
    r"""Return ``E[f(x)]`` by quadrature, for ``x = alpha x_star + sigma eps``, ``x_star`` of a law.

    Exact up to the error it states: what the last halving of the adaptive rule moved, and
    :data:`~steinlab.coefficient.rounding.ROUNDING` ``eps`` times the size of what was added up.
    That size is ``E|f|`` and, where ``f`` itself subtracts nearly equal numbers, the rounding that
    its values show: ``|f(x) - f_32(x)| / eps_32`` with ``f_32`` the same function in single
    precision.

    Parameters
    ----------
    f : callable
        ``x (n, 1) -> (n, 1)`` or ``(n,)``, or a number: one value per state, made by operations
        that keep the precision of ``x``.
    law : GaussianMixture
        On a line: in more dimensions there is no deterministic rule with an error to state.
    level : NoiseLevel

    Raises
    ------
    ValueError
        For a law that is not on a line, values of another shape, and values that are not finite.

    Examples
    --------
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.25)
    >>> second = E(lambda x: x**2, law, NoiseLevel(1.0, 1.0))
    >>> round(second.value, 12), second.error < 1e-14
    (2.25, True)
    """
    if (symbolic := getattr(law, "expectation", None)) is not None:
        return symbolic(f, level)  # type: ignore[no-any-return]
    if not isinstance(law, GaussianMixture) or law.dim != 1 or law.weights.ndim != 1:
        dim = getattr(law, "dim", "unknown")
        raise ValueError(
            "E needs one Gaussian mixture on a line, where the integral's error can be stated, "
            f"got {type(law).__name__} of dimension {dim}"
        )

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:  # noqa: ARG001
        states = x.reshape(-1, 1)
        density = np.exp(law.log_prob(states, level))
        with np.errstate(all="ignore"):
            values = _values(f, states)
            single = _values(f, states.astype(np.float32))
            size = np.abs(values) + np.abs(values - single) / SINGLE_EPS
        bad = np.flatnonzero(~np.isfinite(values))
        if len(bad):
            first = states[bad[0], 0]
            raise ValueError(
                f"f must be finite at every state, got {values[bad[0]]} at x = {first}"
            )
        size = np.where(np.isfinite(size), size, np.inf)
        return (values * density).reshape(*x.shape, 1), (size * density).reshape(*x.shape, 1)

    found = integrate(integrand, mixture_breaks(law, level)[None])
    value, size, error = (float(part.item()) for part in (found.value, found.size, found.error))
    return Ball(value, error + ROUNDING * EPS * size)


def _values(f: Callable[[Any], Any], states: np.ndarray) -> np.ndarray:
    """Return ``f`` at states ``(n, 1)``, shape ``(n,)``."""
    values = np.asarray(f(states))
    if values.ndim == 0:
        return np.full(len(states), values, dtype=float)
    if values.shape not in ((len(states),), states.shape):
        raise ValueError(
            f"f must return one value per state, shape (n, 1) or (n,), "
            f"got {values.shape} for n = {len(states)}"
        )
    return values.reshape(-1).astype(float)
