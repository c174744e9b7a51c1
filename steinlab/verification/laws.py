"""Laws that a property ranges over: ``laws.mixtures()``, ``laws.gaussians()``."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import GaussianMixture
from steinlab.errors import InputError
from steinlab.verification.arguments import Strategy, Values
from steinlab.verification.falsify.spaces import Parameter

LIGHTEST = 0.02
"""Lightest component of a mixture, before weights are normalised."""

FARTHEST = 5.0
"""Largest coordinate of a mean, in absolute value."""

STDS = (0.05, 2.0)
"""Standard deviations of components."""


@dataclass(frozen=True)
class Mixtures(Strategy):
    """See :func:`mixtures`."""

    components: tuple[int, int]
    farthest: float
    stds: tuple[float, float]

    @property
    def kinds(self) -> Sequence[int]:
        """Numbers of components."""
        return range(self.components[0], self.components[1] + 1)

    def parameters(self, kind: int) -> Sequence[Parameter]:
        """Return weights (none of a single component), means and deviations."""
        each = range(kind)
        weights = [Parameter(f"weight {i}", LIGHTEST, 1.0, True) for i in each] if kind > 1 else []
        means = [Parameter(f"mean {i}", -self.farthest, self.farthest) for i in each]
        return [*weights, *means, *(Parameter(f"std {i}", *self.stds, True) for i in each)]

    def write(self, kind: int, values: Values) -> Any:
        """Return weights, means and deviations, as SPEC.json has them."""
        weights = np.array(values[: -2 * kind] if kind > 1 else [1.0])
        return {
            "weights": (weights / weights.sum()).tolist(),
            "means": list(values[-2 * kind : -kind]),
            "stds": list(values[-kind:]),
        }

    def read(self, written: Any) -> GaussianMixture:
        """Return the law."""
        stds = np.array(written["stds"], dtype=float)
        return GaussianMixture(written["weights"], written["means"], stds**2)

    def place(self, written: Any) -> tuple[int, Values]:
        """Return the numbers, the heaviest weight being 1."""
        weights, kind = np.array(written["weights"], dtype=float), len(written["weights"])
        shares = (weights / weights.max()).tolist() if kind > 1 else []
        return kind, (*shares, *written["means"], *written["stds"])

    def simpler(self, kind: int, values: Values) -> Sequence[tuple[int, Values]]:
        """Leave out one component."""
        if kind == self.components[0]:
            return ()
        parts = [values[i : i + kind] for i in range(0, 3 * kind, kind)]
        left = [[(*part[:i], *part[i + 1 :]) for part in parts] for i in range(kind)]
        alone = kind == 2  # its weight is 1
        return [(kind - 1, sum(part[alone:], start=())) for part in left]


def mixtures(
    dim: int = 1,
    *,
    components: tuple[int, int] = (1, 4),
    farthest: float = FARTHEST,
    stds: tuple[float, float] = STDS,
) -> Mixtures:
    """Range over Gaussian mixtures: exact data laws, which are their own exact denoisers.

    Parameters
    ----------
    dim : int
        1: on a line every expectation is an integral with a known error.
    components : tuple of int
        Least and largest number, ``1 <= least <= largest``.
    farthest : float
        Largest absolute value of a mean, > 0.
    stds : tuple of float
        Limits of the components' standard deviations, ``0 < low < high``.

    Examples
    --------
    >>> mixtures().read({"weights": [1.0], "means": [3.0], "stds": [0.5]}).variance()
    array(0.25)
    """
    if dim != 1:
        raise InputError(
            f"laws: dim must be 1, where quadrature states its error; "
            f"in more write the claim in the long form, got {dim}"
        )
    least, largest = components
    if not 1 <= least <= largest:
        raise InputError(f"laws: components must be (least, largest) from 1 on, got {components}")
    if not 0 < farthest < math.inf:
        raise InputError(f"laws: farthest must be > 0, got {farthest}")
    if not 0 < stds[0] < stds[1] < math.inf:
        raise InputError(f"laws: stds must be (low, high) with 0 < low < high, got {stds}")
    return Mixtures((least, largest), float(farthest), (float(stds[0]), float(stds[1])))


def gaussians(
    dim: int = 1, *, farthest: float = FARTHEST, stds: tuple[float, float] = STDS
) -> Mixtures:
    """Range over Gaussians: mixtures of one component.

    Examples
    --------
    >>> list(gaussians().kinds)
    [1]
    """
    return mixtures(dim, components=(1, 1), farthest=farthest, stds=stds)
