r"""The exact law of an iterate in low dimension, by Jacobian determinants, where nothing folds.

With the composed map ``X`` and ``J = X'`` at the initial state ``x``, at ``y = X(x)``

    log q(y) = log p0(x) - log det J,
    s_q(y) = J^-T (s_0(x) - g),      g_a = tr(J^-1 d_a J).

Where ``X`` is proper (``|X|`` grows without bound with ``|x|``) and ``det J > 0`` everywhere, every
state has one preimage (Hadamard). Here ``det J`` is looked at on the nodes of a quadrature only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from analytic.distances import ROUNDING, Distance
from analytic.jets import Jet
from analytic.levels import NoiseLevel
from analytic.mixtures import GaussianMixture
from analytic.quadrature import tensor_nodes

NODES = (8, 12)
"""Nodes a panel and axis of the coarse and the fine rule; their difference is the stated error."""


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

    Raises
    ------
    ValueError
        If the law is a stack or has more than 3 dimensions.

    Examples
    --------
    >>> from analytic.jets import identity
    >>> normal, level = GaussianMixture([1.0], [[0.0, 0.0]], 0.5), NoiseLevel(1.0, 0.5**0.5)
    >>> twice = SpaceIterate(normal, level, lambda x: 2.0 * identity(x))
    >>> round(twice.fisher_divergence(normal, level).value, 10)        # 2 (1 - 1/4)^2 4
    4.5
    """

    base: GaussianMixture
    level: NoiseLevel
    jet: Callable[[np.ndarray], Jet]

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

    @cached_property
    def rules(self) -> tuple[tuple[np.ndarray, SpaceDensity], ...]:
        """Weights and the law at the nodes of the coarse and the fine rule."""
        rules = (tensor_nodes(self.base, self.level, nodes=n) for n in NODES)
        return tuple((weights, self.along(x)) for x, weights in rules)

    @property
    def folds(self) -> bool:
        """Whether ``det J <= 0`` at some node."""
        return any(bool((at.determinant <= 0).any()) for _, at in self.rules)

    def fisher_divergence(self, target: GaussianMixture, level: NoiseLevel) -> Distance:
        """Return ``E_q |s_q - s_p|^2``; infinite where ``det J`` changes sign."""
        if self.folds:
            share = self._folded_mass()
            return Distance(
                np.inf, 0.0, f"det J <= 0 on {share:.3g} of the mass: the map folds along a curve"
            )
        return self._expect(lambda at: ((at.score - target.score(at.y, level)) ** 2).sum(axis=-1))

    def kl_divergence(self, target: GaussianMixture, level: NoiseLevel) -> Distance:
        """Return ``KL(q|p)``.

        Raises
        ------
        ArithmeticError
            If the map folds: a state then has other preimages, which are not looked for.
        """
        if self.folds:
            raise ArithmeticError(f"the map folds: det J <= 0 on {self._folded_mass():.3g} of mass")
        return self._expect(lambda at: at.log - target.log_prob(at.y, level))

    def _folded_mass(self) -> float:
        weights, at = self.rules[-1]
        return float(weights[at.determinant <= 0].sum())

    def _expect(self, f: Callable[[SpaceDensity], np.ndarray]) -> Distance:
        coarse, fine = ((weights * f(at), weights) for weights, at in self.rules)
        value = float(fine[0].sum())
        rounding = ROUNDING * float(np.abs(fine[0]).sum())
        return Distance(value, abs(value - float(coarse[0].sum())) + rounding)
