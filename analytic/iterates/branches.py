r"""The monotone branches of a smooth map of the line, and its inverse on each.

Branches end at the simple zeros of ``X'``. Cells between nodes are halved until three checks hold:
Simpson's rule for ``X'`` gives the increment of ``X`` (so ``X'`` has no spike between two nodes),
the cubic through ``(X', X'')`` gives ``X'`` at the middle, and the tangents of ``X'`` at the ends
do not meet beyond zero. A cell then holds one zero if ``X'`` changes its sign there, else none.
This is a numerical search, no proof: it misses two zeros of a spike that moves ``X`` by less than a
hundredth of its increment.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np

from analytic.flow.line import increasing_root

ROUNDS = 40
"""Halvings of a cell at the most."""
MISFIT = 0.02
"""Share of a cell's size by which the checks of its halving may be off."""
MAX_ITERATIONS = 100
RESIDUAL = 2 * np.finfo(float).eps
"""Relative rounding of ``X``, below which a root is not sought further."""
SHRINK = 0.6
"""A step counts if it is shorter than this part of the one before the last; else a bisection."""
STALLED = 8 * RESIDUAL
"""Relative rounding of ``X`` after a run: within it a search ends when its steps stop shrinking, as
they do beside a fold."""


class LineJet(NamedTuple):
    """A map of the line at states: value, first and second derivative, each ``(N,)``."""

    value: np.ndarray
    first: np.ndarray
    second: np.ndarray


LineMap = Callable[[np.ndarray], LineJet]
"""``x (N,) -> LineJet``."""


class Branches(NamedTuple):
    """``B`` monotone branches of a map on an interval.

    Attributes
    ----------
    edges : array (B + 1,)
        Ends of the branches: the interval's, and the folds between them.
    signs : array (B,)
        Whether ``X`` rises (1) or falls (-1).
    nodes, values, slopes : array (M,)
        States that resolve the map, the edges among them, with ``X`` and ``X'`` there.
    """

    edges: np.ndarray
    signs: np.ndarray
    nodes: np.ndarray
    values: np.ndarray
    slopes: np.ndarray

    @property
    def folds(self) -> np.ndarray:
        """Zeros of ``X'``, ``(B - 1,)``."""
        return self.edges[1:-1]


def find_branches(jet: LineMap, nodes: np.ndarray) -> Branches:
    """Split ``[nodes[0], nodes[-1]]`` at the zeros of ``X'``.

    Parameters
    ----------
    jet : callable
    nodes : array (M,)
        Increasing; a first idea of where the map bends.

    Raises
    ------
    ArithmeticError
        If the map is not finite at a node, or nowhere increases or decreases.

    Examples
    --------
    >>> square = lambda x: LineJet(x**2, 2 * x, np.full_like(x, 2.0))
    >>> find_branches(square, np.linspace(-1.0, 2.0, 8)).folds.round(12) + 0.0
    array([0.])
    """
    nodes, at = _resolve(jet, nodes)
    crossing = np.flatnonzero(at.first[:-1] * at.first[1:] < 0)
    folds = np.empty(0)
    if len(crossing):
        sign = np.sign(at.first[crossing + 1])

        def slope(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            here = jet(x)
            return sign * here.first, sign * here.second

        unit = float(np.diff(nodes).min())
        folds = increasing_root(slope, nodes[crossing], nodes[crossing + 1], unit=unit)
    zero = nodes[1:-1][at.first[1:-1] == 0]
    folds = np.sort(np.concatenate((folds, zero)))
    edges = np.concatenate((nodes[:1], folds, nodes[-1:]))
    nodes = np.union1d(nodes, folds)
    at = jet(nodes)
    signs = np.sign(np.diff(at.value[np.searchsorted(nodes, edges)]))
    if np.any(signs == 0):
        raise ArithmeticError("the map is constant on a branch: its law has no density")
    return Branches(edges, signs, nodes, at.value, at.first)


def _resolve(jet: LineMap, nodes: np.ndarray) -> tuple[np.ndarray, LineJet]:
    at = _finite(jet(nodes), nodes)
    fresh = np.ones(len(nodes) - 1, dtype=bool)
    for _ in range(ROUNDS):
        cells = np.flatnonzero(fresh)
        middle = 0.5 * (nodes[cells] + nodes[cells + 1])
        between = _finite(jet(middle), middle)
        left, right = (LineJet(*(part[cells + k] for part in at)) for k in (0, 1))
        split = _unresolved(left, between, right, nodes[cells + 1] - nodes[cells])
        split &= (middle > nodes[cells]) & (middle < nodes[cells + 1])
        if not split.any():
            return nodes, at
        nodes, order = _inserted(nodes, middle[split])
        at = LineJet(*(np.append(p, b[split])[order] for p, b in zip(at, between, strict=True)))
        born = order >= len(order) - int(split.sum())
        fresh = born[:-1] | born[1:]
    return nodes, at


def _inserted(nodes: np.ndarray, new: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    joined = np.append(nodes, new)
    order = np.argsort(joined, kind="stable")
    return joined[order], order


def _finite(at: LineJet, x: np.ndarray) -> LineJet:
    bad = ~np.isfinite(at.value + at.first + at.second)
    if bad.any():
        raise ArithmeticError(f"the map is not finite at x = {x[bad][0]}")
    return at


def _unresolved(left: LineJet, middle: LineJet, right: LineJet, h: np.ndarray) -> np.ndarray:
    """Return which cells fail a check of the module's docstring."""
    a, b = left.first, right.first
    size = np.abs(a) + 4 * np.abs(middle.first) + np.abs(b)
    rise = right.value - left.value
    simpson = h * (a + 4 * middle.first + b) / 6
    rounding = 64 * np.finfo(float).eps * (np.abs(left.value) + np.abs(right.value))
    spike = np.abs(rise - simpson) > MISFIT * h * size / 6 + rounding
    cubic = 0.5 * (a + b) + h / 8 * (left.second - right.second)
    same = a * b > 0
    least = np.minimum(np.minimum(np.abs(a), np.abs(b)), np.abs(middle.first))
    allowed = np.where(same, least, np.maximum(np.abs(a), np.abs(b)))
    bent = np.abs(cubic - middle.first) > MISFIT * allowed
    hidden = same & (middle.first * a <= 0)
    sign = np.sign(a)
    falling, rising = sign * left.second, sign * right.second
    dip = same & (falling < 0) & (rising > 0)
    with np.errstate(divide="ignore", invalid="ignore"):
        meet = (sign * (b - a) - rising * h) / (falling - rising)
        lowest = sign * a + falling * meet
    hidden |= dip & (lowest <= 0)
    # a lone sign change needs a monotone X' through it
    twisted = (a * b < 0) & (np.sign(left.second) != np.sign(right.second))
    twisted &= h * np.maximum(np.abs(left.second), np.abs(right.second)) > MISFIT * np.abs(b - a)
    return np.asarray(spike | bent | hidden | twisted)


def invert(
    jet: LineMap, branches: Branches, y: np.ndarray, *, known: np.ndarray | None = None
) -> np.ndarray:
    """Return the preimage of every ``y`` in every branch, shape ``(B, N)``.

    Where ``y`` is beyond a branch's image, the nearer end of the branch stands (see
    :func:`covers`).

    Parameters
    ----------
    jet : callable
    branches : Branches
    y : array (N,)
    known : array (N,), optional
        A preimage of every ``y``: what stands for its branch.
    """
    signs = branches.signs[:, None]
    out, low, high, start = (np.empty((len(signs), len(y))) for _ in range(4))
    wanted = np.zeros(out.shape, dtype=bool)
    for i, sign in enumerate(branches.signs):
        first, last = np.searchsorted(branches.nodes, branches.edges[i : i + 2])
        nodes = branches.nodes[first : last + 1]
        heights = np.maximum.accumulate(sign * branches.values[first : last + 1])
        target = sign * y
        cell = np.clip(np.searchsorted(heights, target) - 1, 0, len(nodes) - 2)
        out[i] = np.where(target <= heights[0], nodes[0], nodes[-1])
        wanted[i] = (target > heights[0]) & (target < heights[-1])
        low[i], high[i] = nodes[cell], nodes[cell + 1]
        below, above = heights[cell], heights[cell + 1]
        share = (target - below) / np.maximum(above - below, np.finfo(float).tiny)
        start[i] = low[i] + np.clip(share, 0.01, 0.99) * (high[i] - low[i])
    if known is not None:
        own = np.searchsorted(branches.folds, known), np.arange(len(y))
        out[own], wanted[own] = known, False
    if wanted.any():
        signs, targets = (np.broadcast_to(v, out.shape)[wanted] for v in (signs, y))
        bracket = (low[wanted], high[wanted])
        out[wanted] = _root(jet, signs, targets, start[wanted], bracket)
    return out


def _root(
    jet: LineMap,
    signs: np.ndarray,
    y: np.ndarray,
    start: np.ndarray,
    bracket: tuple[np.ndarray, np.ndarray],
) -> np.ndarray:
    """Roots of ``X = y`` in brackets, by guarded steps on those not yet settled.

    A step goes to the root of the Taylor polynomial of second order, or where it has none of first:
    beside a fold, where ``X' = 0``, Newton's steps only halve the error. A root is settled when
    ``X - y`` is at its rounding, or the bracket at that of ``x``.
    """
    low, high = (end.copy() for end in bracket)
    x, active = start.copy(), np.arange(len(y))
    last = before = high - low
    for _ in range(MAX_ITERATIONS):
        at, sign = jet(x[active]), signs[active]
        gap, slope = sign * (at.value - y[active]), sign * at.first
        here, below = x[active], gap < 0
        low[active] = np.where(below, here, low[active])
        high[active] = np.where(below, high[active], here)
        size = np.abs(at.value) + np.abs(y[active])
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            disc = slope**2 - 2 * sign * at.second * gap
            new = here - 2 * gap / (slope + np.sqrt(np.where(disc > 0, disc, slope**2)))
            usable = (new >= low[active]) & (new <= high[active])
            usable &= np.abs(new - here) <= SHRINK * np.abs(before)
        new = np.where(usable, new, 0.5 * (low[active] + high[active]))
        found = np.abs(gap) <= np.where(usable, RESIDUAL, STALLED) * size
        settled = found | (np.abs(new - here) <= 2 * np.finfo(float).eps * np.abs(here))
        x[active] = np.where(found, here, new)
        active = active[~settled]
        last, before = (new - here)[~settled], last[~settled]
        if not len(active):
            break
    return np.asarray(x)


def covers(branches: Branches, y: np.ndarray) -> np.ndarray:
    """Return which branches hold a preimage of ``y`` between their ends, shape ``(B, N)``."""
    ends = branches.values[np.searchsorted(branches.nodes, branches.edges)]
    low, high = np.minimum(ends[:-1], ends[1:]), np.maximum(ends[:-1], ends[1:])
    return np.asarray((y > low[:, None]) & (y < high[:, None]))
