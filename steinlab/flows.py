r"""The probability flow of any denoiser, followed finely: what a large step should have done.

Between two levels ``substeps`` steps of the single-step DPM-Solver++(3S) run on levels spaced
evenly in ``log(sigma / alpha)``: order three, error ``O(substeps^-3)``, for exact denoisers and
networks alike. Zero noise is reached by the customary first-order step ``y -> D(y)`` from a level
of ratio ``FLOOR``, or of ``FLOOR`` times the start's where that is below 1: a floor that does not
rise with the start. Where the law is exact, :func:`analytic.flow.exact_flow` knows the flow better.

:func:`follow` states an error for each state, the sum of three parts:

*   ``max(|x_n - x_(n/2)|, |x_n - x_(n/4)| / 8)`` of runs with ``n = substeps``, half and a quarter
    as many steps. The first bounds the error of the finest wherever the next errs at least twice as
    much, and is seven times the error where the order is reached; the second is about as large
    there, and stands in where the error of the next happens to change its sign.
*   ``|y - D(y)|`` of the last step to zero noise. The flow is ``dy/de = r / e`` with
    ``r = y - D(y)``, ``e`` the ratio, so that the step errs by ``int_0^e r(e') / e' de' - r(e)``,
    which is ``(1/m - 1) r(e)`` where ``r`` falls like ``e^m``: within ``|r|`` for ``m >= 1/2``.
    A law that is smooth on the floor's scale has ``m = 2``, a point has ``m = 1``. For Gaussian
    data the step errs by ``q / (1 + q)`` of ``|r|``, at most half, along an axis of deviation
    ``b``, ``q = b / sqrt(b^2 + e^2)``; a network's ``D`` below the noise that it was trained at may
    need the rest.
*   ``substeps`` roundings of the end.

The first is no proof: near a watershed between two modes all runs may take the same wrong side.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.denoisers import Denoiser
from steinlab.grids import Grid
from steinlab.solvers import DPMPP_3S, EULER
from steinlab.solvers.scalars import has_noise

SUBSTEPS = 16
"""Steps of the fine run to one of the coarse."""

FLOOR = 1e-3
"""Noise ratio from where the fine run steps to zero noise; of a start below 1, its share."""


class Followed(NamedTuple):
    """End points of the fine flow and the error of each, a distance."""

    state: Array  # (..., N, d), or (d,)
    error: Array  # (..., N), or ()


def between(s: NoiseLevel, t: NoiseLevel, substeps: int) -> Grid:
    """Return levels from ``s`` to ``t``, even in ``log ratio``; alpha even in ``log alpha``.

    Along them alpha is interpolated as the single-step solvers do; the flow between two levels
    does not depend on the path of ``alpha``, only on the ratios passed.
    """
    zero = not has_noise(t)
    end = NoiseLevel(t.alpha, t.alpha * FLOOR * min(1.0, s.sigma / s.alpha)) if zero else t
    alphas = np.geomspace(s.alpha, end.alpha, substeps + 1)
    ratios = np.geomspace(s.sigma / s.alpha, end.sigma / end.alpha, substeps + 1)
    inner = [NoiseLevel(float(a), float(a * r)) for a, r in zip(alphas, ratios, strict=True)][1:-1]
    return (s, *inner, end, t) if zero else (s, *inner, t)


def fine_run(
    denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, substeps: int = SUBSTEPS
) -> Array:
    """Return where the fine run takes states ``x`` from level ``s`` to level ``t``; no error.

    Costs ``3 substeps`` evaluations of the denoiser, one more to zero noise.
    """
    return _run(denoiser, x, s, t, substeps)[0]


def follow(
    denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, substeps: int = SUBSTEPS
) -> Followed:
    """Return where the flow takes states ``x`` from level ``s`` to level ``t``, with the error.

    The states are those of :func:`fine_run`; runs with half and a quarter of the steps tell the
    error, so that all cost ``3 (n + n // 2 + n // 4)`` evaluations, ``n = substeps``, three more to
    zero noise.

    Raises
    ------
    ValueError
        If ``substeps < 4``.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law = GaussianMixture([1.0], [0.0], 1.0)              # flow: scale by the deviations
    >>> end = follow(law, np.array([[2.0]]), NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 0.0))
    >>> bool(abs(end.state[0, 0] - 2.0 / 5**0.5) < end.error[0] < 0.01)
    True
    """
    if substeps < 4:
        raise ValueError(f"substeps must be >= 4, got {substeps}")
    xp = array_namespace(x)
    state, last = _run(denoiser, x, s, t, substeps)
    near, far = (
        _norm(state - _run(denoiser, x, s, t, substeps // part)[0]) / share
        for part, share in ((2, 1.0), (4, 8.0))
    )
    rounding = substeps * float(xp.finfo(x.dtype).eps)
    return Followed(state, xp.maximum(near, far) + _norm(last) + rounding * _norm(state))


def trajectory(
    denoiser: Denoiser, x: Array, grid: Sequence[NoiseLevel], substeps: int = SUBSTEPS
) -> tuple[Array, ...]:
    """Return the states of the fine run from ``x`` at every level of a grid, ``x`` the first."""
    states = [x]
    for s, t in itertools.pairwise(grid):
        states.append(fine_run(denoiser, states[-1], s, t, substeps))
    return tuple(states)


def _run(
    denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, substeps: int
) -> tuple[Array, Array]:
    """Return the end of the fine run and its last step to zero noise, 0 where there is noise."""
    last = 0.0 * x
    for a, b in itertools.pairwise(between(s, t, substeps)):
        if has_noise(b):
            x = DPMPP_3S.step(denoiser, x, a, b, ()).state
        else:
            end = EULER.step(denoiser, x, a, b, ()).state
            x, last = end, (b.alpha / a.alpha) * x - end
    return x, last


def _norm(x: Array) -> Array:
    return array_namespace(x).sum(x * x, axis=-1) ** 0.5
