r"""The probability flow of any denoiser, followed finely: what a large step should have done.

Between two levels ``substeps`` steps of the single-step DPM-Solver++(3S) run on levels spaced
evenly in ``log(sigma / alpha)``: order three, error ``O(substeps^-3)``, for exact denoisers and
networks alike. Zero noise is reached by the customary first-order step from a level with ``FLOOR``
of the start's noise ratio.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.denoisers import Denoiser
from steinlab.grids import Grid
from steinlab.solvers import DPMPP_3S, EULER
from steinlab.solvers.scalars import has_noise

SUBSTEPS = 16
"""Steps of the fine run to one of the coarse."""

FLOOR = 1e-3
"""Noise ratio, over that of the step's start, from where the fine run steps to zero noise."""


def between(s: NoiseLevel, t: NoiseLevel, substeps: int) -> Grid:
    """Return levels from ``s`` to ``t``, even in ``log ratio``; alpha even in ``log alpha``.

    Along them alpha is interpolated as the single-step solvers do; the flow between two levels
    does not depend on the path of ``alpha``, only on the ratios passed.
    """
    zero = not has_noise(t)
    end = NoiseLevel(t.alpha, t.alpha * FLOOR * s.sigma / s.alpha) if zero else t
    alphas = np.geomspace(s.alpha, end.alpha, substeps + 1)
    ratios = np.geomspace(s.sigma / s.alpha, end.sigma / end.alpha, substeps + 1)
    inner = [NoiseLevel(float(a), float(a * r)) for a, r in zip(alphas, ratios, strict=True)][1:-1]
    return (s, *inner, end, t) if zero else (s, *inner, t)


def follow(
    denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, substeps: int = SUBSTEPS
) -> Array:
    """Return where the flow takes states ``x`` from level ``s`` to level ``t``.

    Costs ``3 substeps`` evaluations of the denoiser, one more to zero noise.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law = GaussianMixture([1.0], [0.0], 1.0)              # flow: scale by the deviations
    >>> end = follow(law, np.array([[2.0]]), NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 1.0))
    >>> bool(abs(end[0, 0] - 2.0 * (2 / 5) ** 0.5) < 1e-5)
    True
    """
    for a, b in itertools.pairwise(between(s, t, substeps)):
        solver = DPMPP_3S if has_noise(b) else EULER
        x = solver.step(denoiser, x, a, b, ()).state
    return x


def trajectory(
    denoiser: Denoiser, x: Array, grid: Sequence[NoiseLevel], substeps: int = SUBSTEPS
) -> tuple[Array, ...]:
    """Return the states of the flow from ``x`` at every level of a grid, ``x`` the first."""
    states = [x]
    for s, t in itertools.pairwise(grid):
        states.append(follow(denoiser, states[-1], s, t, substeps))
    return tuple(states)
