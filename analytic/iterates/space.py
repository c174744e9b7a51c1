r"""The exact law of an iterate in low dimension, by Jacobian determinants, where nothing folds.

With the composed map ``X`` and ``J = X'`` at the initial state ``x``, at ``y = X(x)``

    log q(y) = log p0(x) - log det J,
    s_q(y) = J^-T (s_0(x) - g),      g_a = tr(J^-1 d_a J).

Where ``X`` is proper (``|X|`` grows without bound with ``|x|``) and ``det J > 0`` everywhere, every
state has one preimage (Hadamard). Here ``det J`` is looked at on the nodes of a quadrature only.

Integrals run over the *ideal* end states ``z`` at the nodes of a rule for the end's law, with
``x = Phi^-1(z)`` and the exact flow ``Phi``. As a function of ``z`` a good run is close to the
identity. As a function of ``x`` it nearly jumps between modes, which no rule in ``x`` resolves.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic.flow.exact import FlowResult, exact_flow
from analytic.iterates.distances import ROUNDING, Distance
from analytic.iterates.jets import Jet
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture
from analytic.quadrature import tensor_nodes

NODES = (8, 12)
"""Nodes per panel and axis, by default."""

LEAST_WEIGHT = 1e-16
"""Nodes of less weight are left out: at most 1e-11 of the mass."""

FLOW = 1e-8
"""Tolerance of the flow that leads from the ideal ends to the starts."""


class Starts(NamedTuple):
    """Nodes of a rule: weights, initial states, ideal ends, and the flow's error in the former."""

    weights: np.ndarray  # (N,)
    x: np.ndarray  # (N, d)
    z: np.ndarray  # (N, d)
    error: np.ndarray  # (N,)


class SpaceDensity(NamedTuple):
    """States ``y = X(x)`` with ``log q``, the score and ``det J`` there."""

    y: np.ndarray  # (N, d)
    log: np.ndarray  # (N,)
    score: np.ndarray  # (N, d)
    determinant: np.ndarray  # (N,)


@dataclass(frozen=True, eq=False)
class SpaceIterate:
    """The law of ``X(x)``, ``x = alpha x_star + sigma eps`` of a mixture in 2 or 3 dimensions.

    Parameters
    ----------
    base : GaussianMixture
    level : NoiseLevel
        Where the run begins.
    jet : callable
        ``x (N, d) -> Jet`` of the composed map.
    nodes : tuple of two ints
        Nodes per panel and axis of the coarse and the fine rule; their difference is the stated
        error.

    Raises
    ------
    ValueError
        If the law is a stack or has more than 3 dimensions.

    Examples
    --------
    >>> from analytic.iterates.jets import identity
    >>> normal, level = GaussianMixture([1.0], [[0.0, 0.0]], 0.5), NoiseLevel(1.0, 0.5**0.5)
    >>> twice = SpaceIterate(normal, level, lambda x: 2.0 * identity(x))
    >>> round(twice.fisher_divergence(normal, level).value, 10)        # 2 (1 - 1/4)^2 4
    4.5
    """

    base: GaussianMixture
    level: NoiseLevel
    jet: Callable[[np.ndarray], Jet]
    nodes: tuple[int, int] = NODES

    def __post_init__(self) -> None:
        if self.base.weights.ndim != 1 or self.base.dim > 3:
            raise ValueError(
                "base must be one law in at most 3 dimensions, "
                f"got weights of shape {self.base.weights.shape} in {self.base.dim} dimensions"
            )

    def along(self, x: np.ndarray) -> SpaceDensity:
        """Return the law at the images of initial states ``(N, d)``."""
        at = self.jet(x)
        determinant = np.linalg.det(at.first)
        inverse = np.linalg.inv(at.first)
        stretch = np.einsum("nij,njia->na", inverse, at.second)
        own = self.base.score(x, self.level) - stretch
        with np.errstate(divide="ignore"):
            log = self.base.log_prob(x, self.level) - np.log(np.abs(determinant))
        return SpaceDensity(at.value, log, np.einsum("nia,ni->na", inverse, own), determinant)

    def starts(self, level: NoiseLevel, nodes: int) -> Starts:
        """Return a rule of ``nodes`` per panel and axis for the ideal ends at ``level``."""
        z, weights = tensor_nodes(self.base, level, nodes=nodes)
        kept = weights > LEAST_WEIGHT
        z, weights = z[kept], weights[kept]
        flow = self.back(z, level)
        return Starts(weights, flow.state, z, flow.error)

    def back(self, z: np.ndarray, level: NoiseLevel) -> FlowResult:
        """Return the starts of the ideal ends ``z`` at ``level``."""
        return exact_flow(self.base, z, level, self.level, rtol=FLOW)

    def fisher_divergence(self, target: GaussianMixture, level: NoiseLevel) -> Distance:
        """Return ``E_q |s_q - s_p|^2``; infinite where ``det J`` changes sign."""
        rules, share = self._rules(level)
        if share > 0:
            return Distance(
                np.inf, 0.0, f"det J <= 0 on {share:.3g} of the mass: the map folds along a curve"
            )
        return _expect(rules, lambda at: ((at.score - target.score(at.y, level)) ** 2).sum(axis=-1))

    def kl_divergence(self, target: GaussianMixture, level: NoiseLevel) -> Distance:
        """Return ``KL(q|p)``.

        Raises
        ------
        ArithmeticError
            If the map folds: a state then has other preimages, which are not looked for.
        """
        rules, share = self._rules(level)
        if share > 0:
            raise ArithmeticError(f"the map folds: det J <= 0 on {share:.3g} of mass")
        return _expect(rules, lambda at: at.log - target.log_prob(at.y, level))

    def _rules(self, level: NoiseLevel) -> tuple[list[Rule], float]:
        """Both rules, and the mass with ``det J <= 0``, the larger of theirs."""
        starts = [self.starts(level, nodes) for nodes in self.nodes]
        rules = [(start.weights, self.along(start.x)) for start in starts]
        return rules, max(float(weights[at.determinant <= 0].sum()) for weights, at in rules)


Rule = tuple[np.ndarray, SpaceDensity]
"""Weights, and the law at a rule's nodes."""


def _expect(rules: Sequence[Rule], f: Callable[[SpaceDensity], np.ndarray]) -> Distance:
    coarse, fine = (weights * f(at) for weights, at in rules)
    value = float(fine.sum())
    rounding = ROUNDING * float(np.abs(fine).sum())
    return Distance(value, abs(value - float(coarse.sum())) + rounding)
