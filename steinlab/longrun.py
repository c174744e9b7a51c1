r"""A network's own exact flow: a long run in float64 states, with its error, kept between runs.

A network has no law whose flow could be followed otherwise. The run goes over a Karras grid from
the noisiest level of the process to its least noisy one, in ``STEPS`` and in ``2 STEPS`` steps of
``ipndm-4``, and ends as every run of ``steinlab compare`` does: at zero noise by the customary
first-order step from the least noisy level, which is part of what is compared, or at that level
itself. Refining the grid leaves the last step alone, so that both runs tend to one end.

Error (an estimate, Richardson's): ``|x_2N - x_N| / (2^p - 1)`` a state, ``p = 2`` the solver's
order on an uneven grid. The finer run is handed out, not extrapolated. It is the error of the run
to its own end and says nothing of the last step: the flow itself goes on from the least noisy
level's ``y``, and ends up to ``|y - D(y)|`` away from there (:mod:`steinlab.flows` counts that). On
the exact digits, where the flow is known, its median ratio to the true error is 1.1; but a state
near a watershed between two modes, which is decided at the least noise, may be off by half the
modes' distance in both runs (1 of 300 there, 0.50 off, stated 0.014), and no number of steps tried
up to 256 finds it out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analytic import NoiseLevel
from steinlab import cache
from steinlab.denoisers import Denoiser
from steinlab.grids import Grid, make_grid
from steinlab.processes import Process
from steinlab.sampling import solve
from steinlab.shards import sources_key
from steinlab.solvers import IPNDM

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
    return cache.key_of("denoiser", *answers)


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
    >>> from steinlab.processes import EDM
    >>> law = GaussianMixture([1.0], [[0.0]], 1.0)             # the flow ends at 80 / |(1, 80)|
    >>> run = long_run(law, np.array([[80.0]]), EDM)
    >>> bool(abs(run.state[0, 0] - 80 / (1 + 80**2) ** 0.5) < 1.5 * run.error[0] < 1e-3)
    True
    """
    tell = progress or (lambda _done: None)
    counts = (STEPS, 2 * STEPS) if estimate_error else (2 * STEPS,)
    grids = [make_grid(process, "karras", n + final_zero, final_zero=final_zero) for n in counts]
    base = fingerprint(denoiser, x.shape[1], process), sources_key("steinlab"), final_zero
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
    return LongRun(finest, np.linalg.norm(finest - coarse, axis=1) / (2**ORDER - 1))


def _kept(
    denoiser: Denoiser,
    x: np.ndarray,
    grid: Grid,
    base: tuple[object, ...],
    step_done: Callable[[int], None],
) -> np.ndarray:
    """One run, from the cache where it is there."""
    levels = [(level.alpha, level.sigma) for level in grid]
    key = cache.key_of(*base, SOLVER.name, levels, x)
    found = cache.load("long-runs", key)
    if found is not None and found.get("state", np.empty(0)).shape == x.shape:
        return found["state"]

    def tell(i: int, _x: np.ndarray, _level: NoiseLevel) -> None:
        step_done(i)

    state = np.asarray(solve(denoiser, x, grid, SOLVER, progress=tell).state)
    cache.store("long-runs", key, {"state": state})
    return state
