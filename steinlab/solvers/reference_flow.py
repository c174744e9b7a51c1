r"""A network's own exact flow: a long run in float64 states, with its error, kept between runs.

A network has no law whose flow could be followed otherwise. The run goes over a Karras grid from
the noisiest level of the process to its least noisy one, in ``STEPS`` and in ``2 STEPS`` steps of
``ipndm-4``, and ends as every run of ``steinlab compare`` does: at zero noise by the customary
first-order step from the least noisy level, which is part of what is compared, or at that level
itself. Refining the grid leaves the last step alone, so that both runs tend to one end.

Error (an estimate, Richardson's): ``|x_2N - x_N| / (2^p - 1)`` a state, ``p = 2`` the solver's
order on an uneven grid. The finer run is handed out, not extrapolated. It is the error of the run
to its own end and says nothing of the last step: the flow itself goes on from the least noisy
level's ``y``, and ends up to ``|y - D(y)|`` away from there (:mod:`steinlab.solvers.reference_flow`
counts that). On the exact digits, where the flow is known, its median ratio to the true error is
1.1; but a state near a watershed between two modes, which is decided at the least noise, may be off
by half the modes' distance in both runs (1 of 300 there, 0.50 off, stated 0.014), and no number of
steps tried up to 256 finds it out.

The probability flow of any denoiser, followed finely: what a large step should have done.

Between two levels ``substeps`` steps of the single-step DPM-Solver++(3S) run on levels spaced
evenly in ``log(sigma / alpha)``: order three, error ``O(substeps^-3)``, for exact denoisers and
networks alike. Zero noise is reached by the customary first-order step ``y -> D(y)`` from a level
of ratio ``FLOOR``, or of ``FLOOR`` times the start's where that is below 1: a floor that does not
rise with the start. Where the law is exact, :func:`analytic.flow.exact.exact_flow` knows the flow
better.

:func:`follow` states an error for each state, the sum of three parts:

*   ``max(|x_n - x_(n/2)|, |x_n - x_(n/4)| / 8)`` of runs with ``n = substeps``, half and a quarter
    as many steps. The first bounds the error of the finest wherever the next errs at least twice as
    much, and is seven times the error where the order is reached; the second is about as large
    there, and stands in where the error of the next happens to change its sign.
*   What the last step to zero noise errs by, measured: the distance to where the run ends that goes
    on from the floor to zero noise as any other does, by ``substeps / 2`` steps to a floor of
    ``FLOOR`` times the first; and ``|y - D(y)|`` of the last step there. The flow is
    ``dy/de = r / e`` with ``r = y - D(y)``, ``e`` the ratio, so that a last step errs by
    ``int_0^e r(e') / e' de' - r(e)``, which is ``(1/m - 1) r(e)`` where ``r`` falls like ``e^m``. A
    law that is smooth on the floor's scale has ``m = 2``, a point has ``m = 1``: there ``|r|``
    bounds it on either floor. A network's ``r`` may fall more slowly below the noise that it was
    trained at, and its step err by several times ``|r|``.
*   ``substeps`` roundings of the end.

The first is no proof: near a watershed between two modes all runs may take the same wrong side. Nor
is the second, where a network does not settle above its lower floor.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid, make_grid
from steinlab.diffusion.processes import Process
from steinlab.estimates import richardson
from steinlab.solvers.adams import IPNDM
from steinlab.solvers.euler import EULER
from steinlab.solvers.loop import solve
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.single import DPMPP_3S
from steinlab.storage import cache, key_of, sources_key

STEPS = 64
"""Steps above the least noisy level in the coarser run; the finer one takes twice as many."""

SOLVER = next(solver for solver in IPNDM if solver.width == 4)
ORDER = SOLVER.full_order or SOLVER.order

CHUNK = 256
"""States run and kept at a time: what an interrupted run resumes from."""

PROBES = 8
"""States at which a network is evaluated to tell it from others."""

Progress = Callable[[float], None]


@dataclass(frozen=True, eq=False)
class LongRun:
    """End points ``(N, d)`` and the error of each ``(N,)``, NaN where none was asked for."""

    state: np.ndarray
    error: np.ndarray

    @property
    def rms_error(self) -> float:
        """Root mean square of the errors."""
        return float(np.sqrt(np.mean(self.error**2)))


def fingerprint(denoiser: Denoiser, dim: int, process: Process) -> str:
    """Return a hash of what a denoiser answers at fixed states of three levels.

    It stands for the weights: other weights answer otherwise. Another machine or number of threads
    may round otherwise, and then counts as another network.
    """
    rng = np.random.default_rng(0)
    ratios = np.geomspace(process.ratio_min, process.ratio_max, 3)
    answers = []
    for level in (process.level_at(float(ratio)) for ratio in ratios):
        scale = np.hypot(level.alpha, level.sigma)
        answers.append(np.asarray(denoiser(scale * rng.standard_normal((PROBES, dim)), level)))
    return key_of("denoiser", *answers)


def long_run(
    denoiser: Denoiser,
    x: np.ndarray,
    process: Process,
    *,
    final_zero: bool = True,
    estimate_error: bool = True,
    progress: Progress | None = None,
) -> LongRun:
    """Follow a denoiser's own flow from the noisiest level of a process to the end of its grids.

    Parameters
    ----------
    denoiser : Denoiser
    x : array (N, d)
        States at the noisiest level.
    process : Process
    final_zero : bool
        Whether to end at zero noise or at the least noisy level.
    estimate_error : bool
        Whether to take the coarser run as well: half as much again.
    progress : callable, optional
        Called with the fraction done.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> from steinlab.diffusion.processes import EDM
    >>> law = GaussianMixture([1.0], [[0.0]], 1.0)             # the flow ends at 80 / |(1, 80)|
    >>> run = long_run(law, np.array([[80.0]]), EDM)
    >>> bool(abs(run.state[0, 0] - 80 / (1 + 80**2) ** 0.5) < 1.5 * run.error[0] < 1e-3)
    True
    """
    tell = progress or (lambda _done: None)
    counts = (STEPS, 2 * STEPS) if estimate_error else (2 * STEPS,)
    grids = [make_grid(process, "karras", n + final_zero, final_zero=final_zero) for n in counts]
    base = fingerprint(denoiser, x.shape[1], process), sources_key(__name__), final_zero
    total, done, parts = len(x) * sum(len(grid) - 1 for grid in grids), 0, []
    for start in range(0, len(x), CHUNK):
        rows = x[start : start + CHUNK]
        ends = []
        for grid in grids:
            before, size = done, len(rows)

            def step_done(i: int, before: int = before, size: int = size) -> None:
                tell((before + i * size) / total)

            ends.append(_kept(denoiser, rows, grid, base, step_done))
            done += len(rows) * (len(grid) - 1)
            tell(done / total)
        parts.append(ends)
    finest = np.concatenate([ends[-1] for ends in parts])
    if not estimate_error:
        return LongRun(finest, np.full(len(x), np.nan))
    coarse = np.concatenate([ends[0] for ends in parts])
    return LongRun(finest, richardson(np.linalg.norm(finest - coarse, axis=1), ORDER))


def _kept(
    denoiser: Denoiser,
    x: np.ndarray,
    grid: Grid,
    base: tuple[object, ...],
    step_done: Callable[[int], None],
) -> np.ndarray:
    """One run, from the cache where it is there."""
    levels = [(level.alpha, level.sigma) for level in grid]
    key, store = key_of(*base, SOLVER.name, levels, x), cache("long-runs")
    found: np.ndarray | None = store.get(key, key)
    if found is not None:
        return found

    def tell(i: int, _x: np.ndarray, _level: NoiseLevel) -> None:
        step_done(i)

    state = np.asarray(solve(denoiser, x, grid, SOLVER, progress=tell).state)
    store.put(key, key, state)
    return state


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

    Raises
    ------
    ValueError
        If there is no noise at ``s``: the flow's time, ``log ratio``, does not begin there.
    """
    if not has_noise(s):
        raise ValueError(f"s must have noise, sigma > 0, got {s}")
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
    error, so that all cost ``3 (n + n // 2 + n // 4)`` evaluations, ``n = substeps``; to zero noise
    ``3 (n // 2) + 4`` more, which measure the last step.

    Raises
    ------
    ValueError
        If ``substeps < 4``, or there is no noise at ``s``.

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
    state, low, floor = _run(denoiser, x, s, t, substeps)
    near, far = (
        _norm(state - fine_run(denoiser, x, s, t, substeps // part)) / share
        for part, share in ((2, 1.0), (4, 8.0))
    )
    error = xp.maximum(near, far) + substeps * float(xp.finfo(x.dtype).eps) * _norm(state)
    if not has_noise(t):
        lower, y, e = _run(denoiser, low, floor, t, substeps // 2)
        error = error + _norm(state - lower) + _norm((t.alpha / e.alpha) * y - lower)
    return Followed(state, error)


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
) -> tuple[Array, Array, NoiseLevel]:
    """Return the end of the fine run, and the state and the level before its last step."""
    levels = between(s, t, substeps)
    for a, b in itertools.pairwise(levels):
        solver = DPMPP_3S if has_noise(b) else EULER
        before, x = x, solver.step(denoiser, x, a, b, ()).state
    return x, before, levels[-2]


def _norm(x: Array) -> Array:
    return array_namespace(x).sum(x * x, axis=-1) ** 0.5
