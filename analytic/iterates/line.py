r"""The exact law of an iterate ``y = X(x)``, ``x`` under a mixture at a level, on the line.

Branches are parametrised by the initial ``x``, so any number of steps stays exact: with the
composed map ``X`` and its preimages ``x_i`` of ``y``,

    q(y) = sum_i p0(x_i) / |X'(x_i)|,
    s_q(y) = sum_i w_i (s_0(x_i) - X''(x_i) / X'(x_i)) / X'(x_i),
    w_i = p0(x_i) / (|X'(x_i)| q(y)).

Where ``X' = 0`` at ``x_f`` the map folds: ``q`` has a singularity ``|y - X(x_f)|^(-1/2)``.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from analytic.iterates.branches import Branches, LineJet, LineMap, covers, find_branches, invert
from analytic.levels import NoiseLevel
from analytic.memory import remembering
from analytic.mixtures import GaussianMixture

__all__ = ["Fold", "LineIterate", "LineJet", "LineMap"]

SUPPORT = 38.0
"""Branches reach this many deviations from every component: beyond, the density underflows."""

MARKS = np.array([0, 0.6, 1.25, 1.9, 2.5, 3.2, 4, 5.5, 7.5, 10.0, 15.0, 24.0, SUPPORT])
SUBDIVISION = 4
NOISIEST = 1e15
"""Cap of a noise, at a fold itself."""
STATE_ROUNDING = 16.0
"""Rounding of ``X`` after a run, in units of ``eps |X|``."""


class Fold(NamedTuple):
    """Where a map folds the line: ``X'(x) = 0``, with ``X(x)``, ``p0(x)`` and ``X''(x)``."""

    x: float
    y: float
    density: float
    curvature: float


class LineDensity(NamedTuple):
    """``log q``, the score and the noise of both, each ``(N,)``.

    ``noise`` is ``16 |X X''| / X'^2``: an error ``16 eps |y|`` of a state moves its preimage by
    ``16 eps |y / X'|`` and ``log |X'|`` by ``eps`` times this, the score by twice its share.
    """

    log: np.ndarray
    score: np.ndarray
    noise: np.ndarray


@dataclass(frozen=True, eq=False)
class LineIterate:
    """The law of ``X(x)``, ``x = alpha x_star + sigma eps`` of a one-dimensional mixture.

    Parameters
    ----------
    base : GaussianMixture
        One law in one dimension.
    level : NoiseLevel
        Where the run begins.
    jet : callable
        ``x (N,) -> LineJet`` of the composed map.

    Raises
    ------
    ValueError
        If the law is a stack or not one-dimensional.

    Examples
    --------
    ``y = x^2`` of a standard normal ``x``: chi-square with one degree of freedom.

    >>> normal = GaussianMixture([1.0], [0.0], 0.5)
    >>> square = lambda x: LineJet(x**2, 2 * x, np.full_like(x, 2.0))
    >>> law = LineIterate(normal, NoiseLevel(1.0, 0.5**0.5), square)
    >>> [round(float(v[0]), 12) for v in law.log_density(np.array([1.0]))[:2]]
    [-1.418938533205, -1.0]
    """

    base: GaussianMixture
    level: NoiseLevel
    jet: LineMap

    def __post_init__(self) -> None:
        if self.base.dim != 1 or self.base.weights.ndim != 1:
            raise ValueError(
                "base must be one law in one dimension, "
                f"got weights of shape {self.base.weights.shape} in {self.base.dim} dimensions"
            )

    def push(self, step: LineMap) -> LineIterate:
        """Return the law after another step, a map of the present state alone."""

        def composed(x: np.ndarray) -> LineJet:
            inner = self.jet(x)
            outer = step(inner.value)
            bend = outer.second * inner.first**2 + outer.first * inner.second
            return LineJet(outer.value, outer.first * inner.first, bend)

        return LineIterate(self.base, self.level, composed)

    @cached_property
    def centers(self) -> tuple[np.ndarray, np.ndarray]:
        """Means and deviations of the initial law's components, ``(K,)``."""
        variance = self.level.alpha**2 * self.base.spectra[:, 0] + self.level.sigma**2
        return self.level.alpha * self.base.means[:, 0], np.sqrt(variance)

    @cached_property
    def first_nodes(self) -> np.ndarray:
        """States at which the search for branches begins."""
        mean, std = self.centers
        marks = mean[:, None] + std[:, None] * np.concatenate((-MARKS[:0:-1], MARKS))
        marks = np.unique(marks)
        between = np.linspace(0, 1, SUBDIVISION, endpoint=False)
        nodes = (marks[:-1, None] + np.diff(marks)[:, None] * between).ravel()
        return np.unique(np.append(nodes, marks[-1]))

    @cached_property
    def branches(self) -> Branches:
        """The composed map's monotone branches."""
        return find_branches(self.jet, self.first_nodes)

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """Where the map folds."""
        x = self.branches.folds
        if not len(x):
            return ()
        at, density = self.jet(x), self.base.log_prob(x[:, None], self.level)
        rows = zip(x, at.value, np.exp(density), at.second, strict=True)
        return tuple(Fold(*(float(v) for v in row)) for row in rows)

    def folded_mass(self) -> float:
        """Return the share of the initial mass on branches where the map decreases."""
        edges = self.branches.edges.copy()
        edges[[0, -1]] = -np.inf, np.inf
        masses = self.mass(edges[:-1], edges[1:])
        return float(masses[self.branches.signs < 0].sum())

    def lipschitz(self) -> float:
        """Return the largest ``|X'|`` over nodes within 10 deviations: a lower bound of the sup."""
        mean, std = self.centers
        x = self.branches.nodes
        inside = (np.abs(x[:, None] - mean) <= 10 * std).any(axis=1)
        return float(np.abs(self.branches.slopes[inside]).max())

    def mass(self, a: np.ndarray, b: np.ndarray) -> np.ndarray:
        """Return the initial law's mass between ``a <= b``, without cancellation in the tails."""
        mean, std = self.centers
        low, high = ((v[..., None] - mean) / std for v in (a, b))
        flip = low > 0
        low, high = np.where(flip, -high, low), np.where(flip, -low, high)
        return np.asarray((self.base.weights * (ndtr(high) - ndtr(low))).sum(axis=-1))

    def log_density(self, y: np.ndarray, *, known: np.ndarray | None = None) -> LineDensity:
        """Return ``log q``, the score ``q'/q`` and their noise at states ``(N,)``.

        All are those of the image of 38 deviations: ``-inf`` and nan where no preimage is.
        ``known``, if given, is a preimage of every state.
        """
        x = invert(self.jet, self.branches, y, known=known)
        inside = covers(self.branches, y)
        logs, scores, noise = np.full(x.shape, -np.inf), np.zeros(x.shape), np.zeros(x.shape)
        logs[inside], scores[inside], noise[inside] = self.along(x[inside])
        top = logs.max(axis=0)
        shift = np.where(np.isfinite(top), top, 0.0)
        terms = np.exp(logs - shift)
        with np.errstate(divide="ignore", invalid="ignore"):
            total = terms.sum(axis=0)
            means = ((terms * part).sum(axis=0) / total for part in (scores, noise))
            return LineDensity(np.log(total) + shift, *means)

    def along(self, x: np.ndarray) -> LineDensity:
        """Return one branch's share at ``y = X(x)``; without folds the whole law.

        ``|X'| = 0`` gives infinite values.
        """
        at, states, base = self.jet(x), x[:, None], remembering(self.base)
        score = base.score(states, self.level)[:, 0]
        with np.errstate(divide="ignore", invalid="ignore"):
            return LineDensity(
                base.log_prob(states, self.level) - np.log(np.abs(at.first)),
                (score - at.second / at.first) / at.first,
                np.minimum(STATE_ROUNDING * np.abs(at.value * at.second) / at.first**2, NOISIEST),
            )

    def distribution(self, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return ``P(X <= y)`` and ``P(X > y)``, each a sum of positive terms."""
        x = invert(self.jet, self.branches, y)
        edges = self.branches.edges.copy()
        edges[[0, -1]] = -np.inf, np.inf
        left = self.mass(np.broadcast_to(edges[:-1, None], x.shape), x)
        right = self.mass(x, np.broadcast_to(edges[1:, None], x.shape))
        rising = self.branches.signs[:, None] > 0
        return (
            np.where(rising, left, right).sum(axis=0),
            np.where(rising, right, left).sum(axis=0),
        )

    def distribution_along(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return both tails at ``y = X(x)``, without inverting a lone branch."""
        if self.folds:
            return self.distribution(self.jet(x).value)
        infinite = np.full(x.shape, np.inf)
        tails = self.mass(-infinite, x), self.mass(x, infinite)
        return tails if self.branches.signs[0] > 0 else tails[::-1]
