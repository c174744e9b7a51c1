r"""The reflow: how steep its first flow is in the plane, and where Euler's runs on it end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from analytic import GaussianMixture
from analytic.flow.rectified import DATA, NOISE, Reflow, jacobian
from steinlab.claims.instruments.two_modes import TwoModes, moved, on_flow
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.solvers.loop import solve
from steinlab.verification.cases import SingleCase

PLANE, SCALES = "three modes in the plane", "three scales"
"""Kinds of laws."""
STATES, WIDTHS = 48, (0.15, 0.8)
"""Starts on a random law of three modes in the plane, and its deviations."""

TURNS, SIZES, WIDTH = np.deg2rad([0.0, 60.0, 120.0]), (1.0, 0.25, 0.06), 0.015
"""The law of three scales: directions, half distances and width of its eight modes."""
FOLDED = (0.1394, 0.7241)
"""A start whose ``grad T`` there has two negative eigenvalues, found by a search."""


def three_scales() -> GaussianMixture:
    """Return the law of eight modes, ``sum_k +-size_k (cos, sin)(turn_k)``.

    ``grad T`` is a product of symmetric positive matrices, one for each scale that the flow passes:
    two of them have positive eigenvalues, three need not. Near :data:`FOLDED` two are negative: the
    determinant of ``(1 - t) grad T + t I`` changes sign, and lines of the reflow cross.
    """
    ways = np.array(SIZES)[:, None] * np.stack([np.cos(TURNS), np.sin(TURNS)], axis=1)
    signs = np.array(np.meshgrid(*[[-1, 1]] * 3)).reshape(3, -1).T
    return GaussianMixture(np.full(8, 1 / 8), signs @ ways, WIDTH**2)


class Slopes(NamedTuple):
    """The least determinant over the states, its error, the time, and ``grad T`` itself."""

    least: float
    error: float
    time: float
    slopes: np.ndarray


@dataclass(frozen=True)
class Plane(SingleCase):
    """A law in the plane by its kind and seed, and the time of the interpolation."""

    kind: str
    seed: int
    time: float

    def measure(self) -> Slopes:
        """Follow the flow's derivative, with half as many steps for the error."""
        rng = np.random.default_rng(self.seed)
        if self.kind == SCALES:
            law, z, steps, least = three_scales(), np.array([FOLDED]), 128, WIDTH / 5
        else:
            weights, means = rng.dirichlet(np.full(3, 3.0)), rng.normal(0, 1.5, (3, 2))
            law = GaussianMixture(weights, means, rng.uniform(*WIDTHS, 3) ** 2)
            z, steps, least = rng.standard_normal((STATES, 2)), 32, WIDTHS[0] / 5
        found = [jacobian(law, z, steps=n, least=least) for n in (steps // 2, steps)]
        coarse, fine = (np.linalg.det((1 - self.time) * j + self.time * np.eye(2)) for j in found)
        at = int(np.argmin(fine))
        return Slopes(float(fine[at]), float(abs(fine - coarse)[at]), self.time, found[-1])


def crossing(slopes: np.ndarray) -> np.ndarray:
    """Return which of ``grad T (N, d, d)`` have a real eigenvalue ``<= 0``."""
    values = np.linalg.eigvals(slopes)
    real = np.abs(values.imag) <= 1e-9 * np.abs(values)
    return np.asarray((real & (values.real <= 0)).any(axis=1))


def asymmetry(slopes: np.ndarray) -> np.ndarray:
    """Return by how much each ``grad T (N, 2, 2)`` is no gradient's, relative to its size."""
    apart = np.abs(slopes[:, 0, 1] - slopes[:, 1, 0])
    return np.asarray(apart / np.linalg.norm(slopes, axis=(1, 2)))


class Ended(NamedTuple):
    """Ends of Euler's run on the reflow, of the exact first flow and of Euler's run on that."""

    end: float
    exact: float
    first: float
    rounding: float


@dataclass(frozen=True)
class Line(TwoModes):
    """A law on the line, a start and the middle of a run of two steps."""

    start: float
    middle: float

    def measure(self) -> Ended:
        """Run Euler on the reflow and on the first flow in two steps, and follow that exactly."""
        law, z, grid = self.law, np.array([self.start]), [NOISE, on_flow(self.middle), DATA]
        models = (Reflow(law), law)
        end, first = (float(solve(one, z[:, None], grid, "euler").state[0, 0]) for one in models)
        exact = moved(law, z, NOISE, DATA)[0]
        density = np.exp(
            -0.5 * z[0] ** 2 - float(np.asarray(law.log_prob(np.array([exact]), DATA)))
        )
        slack = 64 * ROUNDING * EPS * (1 + abs(exact) + abs(z[0])) * (1 + density)
        return Ended(end, float(exact), first, float(slack / self.middle))
