r"""Bounds of the 2-Wasserstein distance between an iterate's law and the ideal one, in the plane.

With ``Y = X(x)`` the iterate and ``Z = Phi(x)`` the exact flow's state of the same start,

    2 (E f~(Y) - E f(Z)) <= W2^2 <= E|Y - Z|^2,     f~(y) = inf_z f(z) + |y - z|^2 / 2.

The left side is Kantorovich's duality and holds for every ``f``; it is attained where ``id + grad
f`` is the optimal map. Here ``f`` is a quadratic plus bumps, which maximise the left side, a
concave function of ``f``, by Newton's method; the quadratic alone would give Gelbrich's bound. The
right side is attained where ``X`` after ``Phi^-1`` is the gradient of a convex function, as for
Gaussians under linear steps; a rotation in it is never optimal.

``f~`` needs ``I + f'' > 0``: then the infimum is the one state that Newton's method finds, within
``|residual|^2 / (2 mu)``. This is looked at on a lattice four times finer than a bump: a numerical
search, no proof.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import numpy as np

from analytic.iterates.distances import ROUNDING, Distance
from analytic.iterates.plane import require_plane
from analytic.iterates.potentials import Potential
from analytic.iterates.space import SpaceIterate
from analytic.levels import NoiseLevel

BUMPS = 60
"""Centers of bumps, each the state farthest from those before it."""

TYPICAL = 1e-3
"""Centers lie where a node has this part of the heaviest's mass at least."""

CONVEXITY = 1e-3
"""Least eigenvalue of ``I + f''`` allowed."""

ASCENT_NODES, ASCENT_WEIGHT = 5, 1e-12
"""Nodes per panel and least weight of the rule for the potential, which need not be accurate."""

ASCENTS, INVERSIONS = 40, 60
RIDGES = 1e-8, 1e6
"""First and largest damping of a Newton step, relative to the curvatures."""

GAIN = 1e-4
"""The ascent ends when a step gains less than this part of the bound."""


class Enclosure(NamedTuple):
    """A number between two bounds, which include the errors of their integrals."""

    lower: float
    upper: float

    def distance(self) -> Distance:
        """Return the middle, and half the width as its error."""
        half = 0.5 * (self.upper - self.lower)
        return Distance(self.lower + half, half)


class Coupled(NamedTuple):
    """A rule's weights with the iterate's states and the ideal ones of the same starts."""

    weights: np.ndarray
    y: np.ndarray
    z: np.ndarray

    def heavy(self) -> Coupled:
        """Leave out the lightest nodes."""
        kept = self.weights > ASCENT_WEIGHT
        return Coupled(self.weights[kept], self.y[kept], self.z[kept])


class Envelope(NamedTuple):
    """``E f~(Y) - E f(Z)``, its derivatives in the coefficients, and where ``f~`` is attained."""

    value: float
    slope: np.ndarray
    bend: np.ndarray
    z: np.ndarray


def wasserstein(law: SpaceIterate, level: NoiseLevel) -> Enclosure:
    """Enclose the 2-Wasserstein distance between the iterate's law and the ideal one.

    Parameters
    ----------
    law : SpaceIterate
        In two dimensions.
    level : NoiseLevel
        The run's end; the ideal law is ``base`` there.

    Returns
    -------
    Enclosure
        Moved outward by what the finer rule changed, by rounding and by the flow's stated error.

    Raises
    ------
    ValueError
        If the law is not two-dimensional.

    Examples
    --------
    >>> from analytic.iterates.jets import identity
    >>> from analytic import GaussianMixture
    >>> normal, level = GaussianMixture([1.0], [[0.0, 0.0]], 0.5), NoiseLevel(1.0, 0.5**0.5)
    >>> shifted = SpaceIterate(normal, level, lambda x: 2.0 * identity(x) + np.array([3.0, 0.0]))
    >>> found = wasserstein(shifted, level)                            # sqrt(3^2 + 2 (2 - 1)^2)
    >>> round(found.distance().value**2, 9), found.distance().error < 1e-9
    (11.0, True)

    References
    ----------
    Gelbrich, "On a formula for the L2 Wasserstein metric", Math. Nachr. 147, 1990; Villani,
    "Topics in Optimal Transportation", theorem 1.3, 2003.
    """
    require_plane(law, law.base)
    rules, slack = [], 0.0
    for nodes in (ASCENT_NODES, *law.nodes):
        start = law.starts(level, nodes)
        at = law.jet(start.x)
        moved = np.linalg.norm(at.first, axis=(1, 2)) * start.error
        slack = float(np.sqrt(start.weights @ moved**2))
        rules.append(Coupled(start.weights, at.value, start.z))
    trial, *rules = rules
    costs = [float(r.weights @ ((r.y - r.z) ** 2).sum(axis=-1)) for r in rules]
    potential = best_potential(trial.heavy())
    gains = [2 * _envelope(potential, r).value for r in rules]
    squares = (rules[-1].y ** 2 + rules[-1].z ** 2).sum(axis=-1)
    lost = abs(1 - float(rules[-1].weights.sum())) * float(squares.max())
    lost += ROUNDING * float(rules[-1].weights @ squares)
    upper = costs[-1] + abs(costs[-1] - costs[0]) + lost
    lower = gains[-1] - abs(gains[-1] - gains[0]) - lost
    low = max(float(np.sqrt(max(lower, 0.0))) - slack, 0.0)
    return Enclosure(low, float(np.sqrt(upper)) + slack)


def best_potential(rule: Coupled) -> Potential:
    """Return the potential that maximises the lower bound on a rule, by damped Newton steps.

    It begins at the better of two: Gelbrich's quadratic, and the gradient field nearest to
    ``Y - Z``, shrunk towards its quadratic part until it is convex.
    """
    start = (_gelbrich(rule), _nearest(rule))
    now, best = max(((_envelope(p, rule), p) for p in start), key=lambda pair: pair[0].value)
    damping, largest = RIDGES
    for _ in range(ASCENTS):
        before = now.value
        scale = np.diag(now.bend) + 1e-12 * np.trace(now.bend)
        while damping <= largest:
            move = np.linalg.solve(now.bend + damping * np.diag(scale), now.slope)
            tried = replace(best, coefficients=best.coefficients + move)
            if tried.convexity() >= CONVEXITY:
                then = _envelope(tried, rule, now.z)
                if then.value > now.value:
                    best, now, damping = tried, then, max(0.1 * damping, RIDGES[0])
                    break
            damping *= 10
        if now.value - before <= GAIN * abs(now.value):
            break
    return best


def _blank(rule: Coupled) -> Potential:
    kept = rule.weights >= TYPICAL * rule.weights.max()
    centers, width = _spread(rule.z[kept])
    return Potential(np.zeros(5 + len(centers)), centers, width)


def _gelbrich(rule: Coupled) -> Potential:
    """Return the potential of the optimal map between Gaussian laws of the same two moments."""
    (m, s), (n, t) = (_moments(rule.weights, v) for v in (rule.z, rule.y))
    root = _root(s)
    inverse = np.linalg.inv(root)
    gain = inverse @ _root(root @ t @ root) @ inverse
    (a, b), (_, c) = gain - np.eye(2)
    blank = _blank(rule)
    plain = np.array([*(n - gain @ m), a, b, c])
    return replace(blank, coefficients=np.concatenate((plain, blank.coefficients[5:])))


def _moments(weights: np.ndarray, v: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    share = weights / weights.sum()
    mean = share @ v
    return mean, (v - mean).T @ (share[:, None] * (v - mean))


def _root(matrix: np.ndarray) -> np.ndarray:
    """Return the symmetric root of a covariance."""
    values, vectors = np.linalg.eigh(matrix)
    return np.asarray(vectors * np.sqrt(np.maximum(values, 0.0)) @ vectors.T)


def _nearest(rule: Coupled) -> Potential:
    zero = _blank(rule)
    fields = zero.gradients(rule.z)
    quadratic, full = (_regression(fields[..., :n], rule) for n in (5, fields.shape[-1]))
    quadratic = np.pad(quadratic, (0, len(full) - len(quadratic)))
    for share in (*0.5 ** np.arange(10), 0.0):
        best = replace(zero, coefficients=quadratic + share * (full - quadratic))
        if best.convexity() >= CONVEXITY:
            return best
    return zero


def _regression(fields: np.ndarray, rule: Coupled) -> np.ndarray:
    """Return the coefficients of the fields ``(2, N, F)`` nearest to ``Y - Z``."""
    moves = (rule.y - rule.z).T
    normal = sum(field.T @ (rule.weights[:, None] * field) for field in fields)
    right = sum(field.T @ (rule.weights * m) for field, m in zip(fields, moves, strict=True))
    return np.linalg.solve(normal + RIDGES[0] * np.diag(np.diag(normal)), right)


def _spread(states: np.ndarray) -> tuple[np.ndarray, float]:
    """Return states far from one another, and the distance of the last from the others."""
    index = [int(np.argmin(((states - states.mean(axis=0)) ** 2).sum(axis=-1)))]
    nearest = np.full(len(states), np.inf)
    for _ in range(BUMPS):
        gap = ((states - states[index[-1]]) ** 2).sum(axis=-1)
        nearest = np.minimum(nearest, gap)
        index.append(int(np.argmax(nearest)))
    return states[index[:-1]], float(np.sqrt(nearest.max()))


def _envelope(potential: Potential, rule: Coupled, start: np.ndarray | None = None) -> Envelope:
    """Return a lower bound of ``E f~(Y) - E f(Z)``: less ``|residual|^2 / (2 mu)``."""
    z = rule.z if start is None else start
    z = _invert(potential, rule.y, z)
    value, slope, matrix = potential.at(z)
    miss = rule.y - z - slope
    least = min(potential.convexity(), float(np.linalg.eigvalsh(matrix)[:, 0].min()))
    envelope = value + 0.5 * ((rule.y - z) ** 2).sum(axis=-1)
    if least > 0:
        envelope = envelope - 0.5 * (miss**2).sum(axis=-1) / least
    gradients = potential.gradients(z)
    inverse = rule.weights[:, None, None] * np.linalg.inv(matrix)
    bend = sum(
        gradients[i].T @ (inverse[:, i, j, None] * gradients[j]) for i in (0, 1) for j in (0, 1)
    )
    ideal = rule.weights @ potential.features(rule.z)
    own = rule.weights @ potential.features(z)
    total = float(rule.weights @ envelope) - float(ideal @ potential.coefficients)
    return Envelope(total, own - ideal, bend, z)


def _invert(potential: Potential, y: np.ndarray, z: np.ndarray) -> np.ndarray:
    """Solve ``z + grad f(z) = y`` by damped Newton steps, a convex problem per state."""
    z, active, damping = z.copy(), np.arange(len(y)), np.ones(len(y))
    value, slope, matrix = potential.at(z)
    goal = value + 0.5 * ((y - z) ** 2).sum(axis=-1)
    for _ in range(INVERSIONS):
        miss = y[active] - z[active] - slope
        unsettled = (miss**2).sum(axis=-1) > 1e-24 * (1 + (y[active] ** 2).sum(axis=-1))
        active, miss, matrix = active[unsettled], miss[unsettled], matrix[unsettled]
        if not len(active):
            break
        move = np.linalg.solve(matrix, miss[..., None])[..., 0]
        new = z[active] + damping[active, None] * move
        value, slope, matrix = potential.at(new)
        then = value + 0.5 * ((y[active] - new) ** 2).sum(axis=-1)
        better = then <= goal[active] + 1e-14 * (1 + np.abs(goal[active]))
        z[active] = np.where(better[:, None], new, z[active])
        goal[active] = np.where(better, then, goal[active])
        damping[active] = np.where(better, 1.0, 0.5 * damping[active])
        if not better.all():
            value, slope, matrix = potential.at(z[active])
    return z
