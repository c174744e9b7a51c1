r"""The probability flow of any denoiser, followed numerically in float64, with an error.

:func:`long_run` follows a whole run: a Karras grid from the noisiest level of the process to its
least noisy one, in :data:`STEPS` and in twice as many steps of ``ipndm-4``. It ends as every run of
``steinlab compare`` does, at the least noisy level or by a first-order step from there to zero
noise. The finer run is returned. Its error is Richardson's estimate ``|x_2N - x_N| / (2^p - 1)``
per state with ``p = 2``, the solver's order on an uneven grid. The estimate does not see the last
step to zero noise, which both runs share: the flow itself ends up to ``|y - D(y)|`` away. Nor does
it see a state near the boundary between two modes that both runs assign to the wrong mode (1 of 300
of the exact digits: 0.50 off, stated 0.014; elsewhere its median ratio to the true error is 1.1).

:func:`follow` follows a single step: ``substeps`` steps of DPM-Solver++(3S), of order three, on
levels even in ``log(sigma / alpha)``. It reaches zero noise by the first-order step ``y -> D(y)``
from the ratio :data:`FLOOR`, or :data:`FLOOR` times the start's ratio if that is below 1. For an
exact law :func:`analytic.flow.exact.exact_flow` is more accurate. The error of each state is the
sum of

*   ``max(|x_n - x_(n/2)|, |x_n - x_(n/4)| / 8)`` of runs with ``n = substeps``, half and a quarter
    as many steps. The first bounds the error of the finest run if that of the next is at least
    twice as large; where the order is reached it is seven times the error. The second is about as
    large there, and matters where the error of the second run happens to vanish.
*   the error of the last step to zero noise, measured: the distance to the end of a run that goes
    on from the floor by ``substeps / 2`` steps to a lower floor, :data:`FLOOR` times the first,
    plus ``|y - D(y)|`` of its last step. With ``e`` the ratio the flow is ``dy/de = r / e``,
    ``r = y - D(y)``, so a last step errs by ``int_0^e r(e') / e' de' - r(e)``, which is
    ``(1/m - 1) r(e)`` where ``r`` falls like ``e^m``. ``m = 2`` for a law that is smooth on the
    floor's scale and ``m = 1`` for a point, so ``|r|`` bounds it. A network's ``r`` may fall more
    slowly below the noise that it was trained at, and its step err by several times ``|r|``.
*   ``substeps`` roundings of the end.

Neither of the first two is a proof: near a boundary between modes all runs may end in the wrong
mode, and a network may change below the lower floor.
"""

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
from steinlab.solvers.plans import make_plan
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.single import DPMPP_3S
from steinlab.storage import cache, key_of, sources_key

STEPS = 64
"""Steps above the least noisy level in the coarser run; the finer one takes twice as many."""

SOLVER = next(solver for solver in IPNDM if solver.width == 4)
ORDER = SOLVER.full_order or SOLVER.order

CHUNK = 256
"""States run and cached at a time: an interrupted run resumes after the last of them."""

PROBES = 8
"""States per level at which a denoiser is evaluated to identify it."""

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
    """Return a hash of a denoiser's outputs at fixed states of three levels.

    It identifies a network's weights. Where another machine or number of threads rounds
    differently, the network counts as another one.
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
    noisy: NoiseLevel | None = None,
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
        Whether to take the coarser run as well, which costs half as much again.
    noisy : NoiseLevel, optional
        A level without signal, ``alpha = 0``, where the states are instead: one Euler step, exact
        up to what ``D`` still moves, leads to the process's noisiest level, or in the finer run to
        twice its ratio.
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
    counts = (STEPS, 2 * STEPS) if estimate_error else (2 * STEPS,)
    grids = [make_grid(process, "karras", n + final_zero, final_zero=final_zero) for n in counts]
    if noisy is not None:
        tops = (process.ratio_max, 2 * process.ratio_max)[-len(grids) :]
        grids = [
            (noisy, process.level_at(top), *grid[top == process.ratio_max :])
            for top, grid in zip(tops, grids, strict=True)
        ]
    base = fingerprint(denoiser, x.shape[1], process), sources_key(__name__), final_zero
    total, done = len(x) * sum(len(grid) - 1 for grid in grids), 0
    ends: list[list[np.ndarray]] = [[] for _ in grids]
    for start in range(0, len(x), CHUNK):
        rows = x[start : start + CHUNK]
        for grid, found in zip(grids, ends, strict=True):

            def tell(i: int, before: int = done, size: int = len(rows)) -> None:
                if progress is not None:
                    progress((before + i * size) / total)

            found.append(_kept(denoiser, rows, grid, base, tell))
            tell(len(grid) - 1)
            done += len(rows) * (len(grid) - 1)
    finest = np.concatenate(ends[-1])
    if not estimate_error:
        return LongRun(finest, np.full(len(x), np.nan))
    gap = np.linalg.norm(finest - np.concatenate(ends[0]), axis=1)
    return LongRun(finest, richardson(gap, ORDER))


def _kept(
    denoiser: Denoiser,
    x: np.ndarray,
    grid: Grid,
    base: tuple[object, ...],
    tell: Callable[[int], None],
) -> np.ndarray:
    """Return the ends of one run, cached."""
    levels = [(level.alpha, level.sigma) for level in grid]
    key, store = key_of(*base, SOLVER.name, levels, x), cache("long-runs")
    found: np.ndarray | None = store.get(key, key)
    if found is None:
        solver = make_plan(SOLVER, len(grid) - 1, start=(EULER,) if grid[0].alpha == 0 else ())
        run = solve(denoiser, x, grid, solver, progress=lambda i, _x, _level: tell(i))
        found = np.asarray(run.state)
        store.put(key, key, found)
    return found


SUBSTEPS = 16
"""Steps of the fine run per step of the solver."""

FLOOR = 1e-3
"""Ratio ``sigma / alpha`` from which the fine run steps to zero noise; see the module."""


class Followed(NamedTuple):
    """End points of the fine flow and the error of each, a distance."""

    state: Array  # (..., N, d), or (d,)
    error: Array  # (..., N), or ()


def between(s: NoiseLevel, t: NoiseLevel, substeps: int) -> Grid:
    """Return levels from ``s`` to ``t``, even in ``log ratio`` and in ``log alpha``.

    The flow between two levels depends on the ratios passed only, not on the path of ``alpha``.
    From ``alpha = 0`` the second level has :data:`FLOOR` of the last one's: the step there holds
    ``D``, which is the law's mean, and errs by the square of that.

    Raises
    ------
    ValueError
        If there is no noise at ``s``, where the flow's time ``log ratio`` is infinite.
    """
    if not has_noise(s):
        raise ValueError(f"s must have noise, sigma > 0, got {s}")
    zero = not has_noise(t)
    end = NoiseLevel(t.alpha, t.alpha * FLOOR * min(1.0, s.ratio)) if zero else t
    top = s if s.alpha else NoiseLevel(FLOOR * t.alpha, s.sigma)
    alphas = np.geomspace(top.alpha, end.alpha, substeps + 1)
    ratios = np.geomspace(top.sigma / top.alpha, end.sigma / end.alpha, substeps + 1)
    inner = [NoiseLevel(float(a), float(a * r)) for a, r in zip(alphas, ratios, strict=True)][1:-1]
    if top is not s:
        inner = [top, *inner]
    return (s, *inner, end, t) if zero else (s, *inner, t)


def fine_run(
    denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, substeps: int = SUBSTEPS
) -> Array:
    """Return where the fine run takes states ``x`` from level ``s`` to level ``t``, without error.

    Costs ``3 substeps`` evaluations of the denoiser, one more to zero noise.
    """
    return _run(denoiser, x, s, t, substeps)[0]


def follow(
    denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, substeps: int = SUBSTEPS
) -> Followed:
    """Return where the flow takes states ``x`` from level ``s`` to level ``t``, with the error.

    The states are those of :func:`fine_run`. With the runs for the error it costs
    ``3 (n + n // 2 + n // 4)`` evaluations, ``n = substeps``, and to zero noise
    ``3 (n // 2) + 4`` more.

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
        solver = DPMPP_3S if a.alpha and has_noise(b) else EULER
        before, x = x, solver.step(denoiser, x, a, b, ()).state
    return x, before, levels[-2]


def _norm(x: Array) -> Array:
    return array_namespace(x).sum(x * x, axis=-1) ** 0.5
