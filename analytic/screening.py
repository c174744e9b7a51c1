r"""Rows of a data set that cannot count at a state, found from a few coordinates of each.

With ``u = x - alpha c`` and the nearness of row ``i``

    s_i = u . m_i - alpha |m_i|^2 / 2,          log r_i = s_i alpha / v + const,

orthonormal axes ``P`` and the rest ``Q`` bound it (Cauchy and Schwarz on the rest):

    s_i <= ceiling_i = Pu . Pm_i + |Qu| |Qm_i| - alpha |m_i|^2 / 2,

equivalently ``|x - y|^2 >= |P(x - y)|^2 + (|Qx| - |Qy|)^2``. Any two rows give lower bounds on the
largest and on the second largest nearness, ``s_1 >= s_2``. Row ``i`` is left out where

    ceiling_i < max(s_2 - log(n / left_out) v / alpha, s_1 - LOW v / alpha) - rounding.

By the first part all rows left out together have at most ``left_out`` times the probability of the
rows other than the top one; by the second, each has a probability that its dtype cannot hold. With
``lost <= left_out mass`` their probability, ``mass`` that of all rows but the top one and ``R`` the
largest ``|m_i|``, the mean of the rows moves by ``lost`` times the distance of two means, and the
law of total variance gives

    |Delta D| <= (sigma^2 / v) 2 R lost,        |Delta V_atoms| <= 5 R^2 lost.

A product over the rows may leave out small weights as well (:func:`weighted`), whose mass stays in
the sums: that adds ``R lost`` to the first and ``7 R^2 lost`` to the second.

Axes are the leading principal ones, where ``|Qm|`` is small; the bound holds for any.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from analytic.arrays import Array, host, like

AXES = 64
"""Axes of the bound: 8 % of a product with pictures of 784 points."""

LEAST = (4096, 2 * AXES)
"""Rows and coordinates below which a bound costs more than it saves."""

FITTED = 16_384
"""Rows from which the axes are found, evenly spaced."""

SAMPLED = 16
"""States from which it is guessed whether screening pays, and the spacing of a weight's sample."""

BLOCK = 128
"""States that share the rows that are left: large enough for a product, small enough to be few."""

FEW = 1 / 64
"""Share of the rows that may be left for screening, or a product of few weights, to pay."""


class Heads(NamedTuple):
    """The leading coordinates of every row."""

    axes: Array  # (d, k) orthonormal columns
    table: Array  # (n, k + 2) rows (Pm_i, |Qm_i|, |m_i|^2 / 2)
    typical: float  # the mean of |m_i|^2

    @property
    def number(self) -> int:
        """Number of rows."""
        return int(self.table.shape[0])

    def factors(self, u: Array, alpha: float) -> Array:
        """Return ``(N, k + 2)``: their products with the table are the ceilings of ``u``."""
        xp = array_namespace(u)
        lead = u @ self.axes
        rest = xp.sqrt(xp.sum((u - lead @ self.axes.T) ** 2, axis=1, keepdims=True))
        return xp.concat([lead, rest, xp.full_like(rest, -alpha)], axis=1)

    def ceilings(self, u: Array, alpha: float) -> Array:
        """Return upper bounds ``(N, n)`` of the nearness of the rows."""
        return self.factors(u, alpha) @ self.table.T


def principal(rows: np.ndarray, count: int) -> np.ndarray:
    """Return ``count`` leading principal axes of centred rows, ``(d, count)``, orthonormal.

    Four rounds of subspace iteration: near enough, since any axes serve.
    """
    axes = np.random.default_rng(0).standard_normal((rows.shape[1], count))
    for _ in range(4):
        axes = np.linalg.qr(rows.T @ (rows @ axes))[0]
    return axes


def heads(rows: Array, x: Array) -> Heads | None:
    """Return the rows' heads in the library of ``x``, or None where the data are too small.

    Parameters
    ----------
    rows : Array (n, d)
        Centred, of any library, or :class:`analytic.rows.Centred`.
    x : Array
        Of the library, dtype and device wanted.
    """
    count, dim = rows.shape
    if count < LEAST[0] or dim < LEAST[1]:
        return None
    some = host(rows[:: max(1, count // FITTED), :], np.float64)
    axes = principal(some, AXES)
    # what is left of a squared norm carries the rounding of both: never below the truth
    slack = (8 + dim) * float(np.finfo(np.float64).eps)
    parts = []
    for i in range(0, count, FITTED):
        part = rows[i : i + FITTED, :]
        xp = array_namespace(part)
        part = xp.astype(part, xp.float64)
        lead, norms = part @ like(axes, part), xp.sum(part**2, axis=1, keepdims=True)
        beyond = xp.maximum(norms - xp.sum(lead**2, axis=1, keepdims=True), like(0.0, part))
        row = xp.concat([lead, xp.sqrt(beyond + slack * norms), norms / 2], axis=1)
        parts.append(xp.astype(row, rows.dtype))
    table = xp.concat(parts, axis=0)
    return Heads(like(axes, x), like(table, x), 2 * float(xp.mean(table[:, -1])))


def rounding(u: Array, size: float, alpha: float, unit: float = 0.0) -> Array:
    """Bound the rounding error of ``u . m - alpha |m|^2 / 2`` where ``|m|^2 <= size``, ``(N, 1)``.

    ``unit`` is the relative rounding of a product's factors, beside that of its sum.
    """
    xp, length = array_namespace(u), math.sqrt(size)
    norms = xp.sqrt(xp.sum(u**2, axis=1, keepdims=True))
    relative = (8 + u.shape[1]) * float(xp.finfo(u.dtype).eps) + 4 * unit
    return relative * length * (alpha * length + norms)


def least_log(x: Array) -> float:
    """Return ``LOW``: ``exp(-LOW)`` is 0 in the dtype of ``x``."""
    kind = array_namespace(x).finfo(x.dtype)
    return 1.0 - math.log(float(kind.smallest_normal)) - math.log(float(kind.eps))


def cut(first: Array, second: Array, number: int, left_out: float, scale: float = 1.0) -> Array:
    """Return what a logit times ``scale`` must reach for its row to count.

    Parameters
    ----------
    first, second : Array
        Lower bounds of two different rows' logits times ``scale``, in any order.
    number : int
        Of rows.
    left_out : float
        Share of the probability of all rows but the top one that may be left out together, > 0.
    """
    xp = array_namespace(first)
    return xp.maximum(
        xp.minimum(first, second) - math.log(number / left_out) * scale,
        xp.maximum(first, second) - least_log(first) * scale,
    )


class Screen(NamedTuple):
    """What decides which rows are left out at a level."""

    heads: Heads
    take: Callable[[Array], Array]  # rows (N, d) by their places
    size: float  # the largest |m_i|^2
    alpha: float
    scale: float  # v / alpha
    left_out: float  # share of the probability of all rows but the top one, > 0
    unit: float = 0.0  # relative rounding of a product's factors

    def floor(self, u: Array, one: Array, two: Array) -> Array:
        """Return what a ceiling must reach, ``(N, 1)``, from two rows of each state.

        Parameters
        ----------
        u : Array (N, d)
            States less ``alpha`` times the centre.
        one, two : Array (N,)
            Places of two different rows, the nearer the better.
        """
        xp, halves = array_namespace(u), self.heads.table[:, -1]
        first, second = (
            xp.sum(u * self.take(pick), axis=1, keepdims=True)
            - self.alpha * xp.take(halves, pick, axis=0)[:, None]
            for pick in (one, two)
        )
        floor = cut(first, second, self.heads.number, self.left_out, self.scale)
        return floor - 2 * rounding(u, self.size, self.alpha, self.unit)

    def low(self, u: Array) -> Array:
        """Return which rows cannot count for ``u = x - alpha c``, booleans ``(N, n)``."""
        xp, high = array_namespace(u), self.heads.ceilings(u, self.alpha)
        middle = self.heads.number // 2
        # the best of the first half and the best of the second: two rows for certain
        one = xp.argmax(high[:, :middle], axis=1)
        two = middle + xp.argmax(high[:, middle:], axis=1)
        # a state that is not a number leaves no row out
        return high < self.floor(u, one, two)

    @property
    def hopeless(self) -> bool:
        """Whether rows as far from one another as most are would all count: no guess is needed."""
        reach = math.log(self.heads.number / self.left_out) * self.scale
        return 2 * self.alpha * self.heads.typical < reach

    def pays(self, u: Array) -> bool:
        """Guess from some states whether few rows are left at the level."""
        return not self.hopeless and share(~self.low(u[:: max(1, u.shape[0] // SAMPLED), :])) < FEW


def weighted(terms: Array, table: Array, cut: Array) -> Array:
    """Return ``terms @ table`` without the terms below ``cut``, where that is cheaper.

    Parameters
    ----------
    terms : Array (N, n)
    table : Array (n, d)
    cut : Array (N, 1)
        Terms below it may be left out; 0 keeps every one.
    """
    xp = array_namespace(terms)
    some = slice(None, None, SAMPLED)  # of the states: columns this far apart are all memory
    if share(terms[some, :] > cut[some, :]) >= FEW:
        return terms @ table
    parts = []
    for i in range(0, terms.shape[0], BLOCK):
        part = terms[i : i + BLOCK, :]
        near = ~xp.all(part <= cut[i : i + BLOCK, :], axis=0)
        parts.append(part[:, near] @ table[near, :])
    return xp.concat(parts, axis=0)


def all_normal(logits: Array) -> bool:
    """Return whether the exponentials of all logits are normal numbers."""
    xp = array_namespace(logits)
    least = math.log(float(xp.finfo(logits.dtype).smallest_normal))
    return bool(xp.min(logits) > least * (1 - 1e-6))


def without_subnormals(terms: Array) -> Array:
    """Return the terms, those below the smallest normal number set to 0: products with them crawl.

    On some processors a product of many such numbers takes twenty times as long.
    """
    xp = array_namespace(terms)
    least = float(xp.finfo(terms.dtype).smallest_normal)
    return xp.where(terms < least, like(0.0, terms), terms)


def share(which: Array) -> float:
    """Return the share of what is true."""
    xp = array_namespace(which)
    return float(xp.mean(xp.astype(which, xp.float32)))
