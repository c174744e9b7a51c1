r"""False alarms and missed controls: what a sampled comparison may do by chance.

A whole ledger run raises a false alarm with probability ``RUN_LEVEL`` at most. The level is divided
among ``SAMPLED_TESTS`` tests (a check's cases are one, its joint statistic another), and a test's
share, ``FAMILY_LEVEL``, among its cases. At these levels the law of a statistic decides:

    mean over n states, error estimated   Student's t, n - 1 degrees of freedom, the limit widened
                                          on the side of the longer tail by Hall's transform
    weighted sum of such means            Student's t, degrees of freedom by Satterthwaite
    sum of C squared scores               chi-square, C degrees of freedom

Where states are skew, ``t = mean / error`` has a long tail on the other side. With their sample
skewness ``g``, Hall's transform

    h(t) = t + a t^2 + a^2 t^3 / 3 + a / 2 = ((1 + a t)^3 - 1) / (3 a) + a / 2,  a = g / (3 sqrt n),

takes the term ``1 / sqrt n`` of its law away (``a = 0``: t itself). It is increasing, so the limit
of a difference is closed: ``h^-1(c)`` above and ``h^-1(-c)`` below. Student's own limit is kept
where it is the larger: ``g`` is estimated, and where tails are long it follows t, which would
narrow the limit just where t is large.

Each statistic is simulated alone at levels that 1e5 draws resolve, in the slow suite. Beyond, t of
normal states and chi-square are exact, and the limit of skew states is tested by tilted draws, on
squares of normals at n = 512 down to the level of one case of 2^14: it is right to a third.

The laws' functions are those of ``scipy.special``: ``scipy.stats`` gives the same digits and takes
half a second to import.

A control whose margin beyond the limit is ``m`` standard errors is missed with probability
``Phi(-m)``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
from scipy.special import chdtri, gammaincinv, ndtri, stdtr, stdtrit

from steinlab.verification.claim import FAMILY_LEVEL


def critical(cases: int, freedom: Any = math.inf, *, level: float | None = None) -> Any:
    """Return Student's two-sided quantile at a level over ``cases`` comparisons.

    Parameters
    ----------
    cases : int
    freedom : float or array
        Degrees of freedom; infinity for the normal law.
    level : float, optional
        A test's share of the ledger's level if not given.

    Examples
    --------
    >>> round(critical(1), 3), round(float(critical(1, 511)), 3)
    (4.848, 4.906)
    """
    tail = (FAMILY_LEVEL if level is None else level) / (2 * cases)
    if np.ndim(freedom) == 0 and freedom == math.inf:
        return float(-ndtri(tail))
    return -stdtrit(freedom, tail)


class Mean(NamedTuple):
    """Means over states and what their law depends on; arrays ``(C,)``, or scalars.

    Attributes
    ----------
    value, error : array
        Mean and its estimated standard error.
    skew : array
        Sample skewness of the states.
    states : int
    """

    value: Any
    error: Any
    skew: Any
    states: int

    @classmethod
    def of(cls, values: np.ndarray) -> Self:
        """Average over the last axis."""
        n = values.shape[-1]
        mean = values.mean(axis=-1)
        off = values - mean[..., None]
        square = (off * off).mean(axis=-1)
        cube = (off * off * off).mean(axis=-1)
        skew = cube / np.where(square > 0, square, 1.0) ** 1.5
        return cls(mean, np.sqrt(square / (n - 1)), skew, n)

    @classmethod
    def join(cls, parts: Sequence[Mean]) -> Mean:
        """Concatenate means over as many states each."""
        value, error, skew = (np.concatenate(c) for c in zip(*(p[:3] for p in parts), strict=True))
        return cls(value, error, skew, parts[0].states)

    def per(self, power: Any) -> Self:
        """Return the means in units of ``power > 0``."""
        return self._replace(value=self.value / power, error=self.error / power)

    def scores(self) -> np.ndarray:
        r"""Return normal scores ``Phi^-1(F_{n-1}(t))``: standard normal where the mean is 0.

        Skew states of skewness ``g`` make the mean square ``1 + 2 g^2 / n``. A score beyond what a
        double's tail holds is 37.
        """
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.nan_to_num(np.asarray(self.value) / self.error, nan=0.0)
        tail = np.maximum(stdtr(self.states - 1, -np.abs(t)), 1e-300)
        return np.asarray(-np.sign(t) * ndtri(tail))

    def limit(self, difference: Any, cases: int) -> np.ndarray:
        """Return how far from 0 a mean may be on the side where ``difference`` lies.

        Parameters
        ----------
        difference : array
            What is compared with the limit; its sign alone counts.
        cases : int
            Comparisons that share the test's level.
        """
        c = critical(cases, self.states - 1)
        side = np.where(np.asarray(difference) >= 0, 1.0, -1.0)
        a = np.asarray(self.skew) * side / (3 * math.sqrt(self.states))
        long = a < -1e-8
        safe = np.where(long, a, -1.0)
        bent = (np.cbrt(1 + 3 * safe * (c - safe / 2)) - 1) / safe
        return np.asarray(np.where(long, np.maximum(bent, c), c) * self.error)


def square_band(count: int, tests: int = 1) -> tuple[float, float]:
    """Return between what the mean of ``count`` squared scores lies, at a test's level.

    Parameters
    ----------
    count : int
        Degrees of freedom.
    tests : int
        Comparisons that share the test's level.
    """
    tail = FAMILY_LEVEL / (2 * tests)
    low, high = 2 * gammaincinv(count / 2, tail) / count, chdtri(count, tail) / count
    return float(low), float(high)
