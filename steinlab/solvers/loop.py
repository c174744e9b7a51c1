"""The one sampling loop."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array, like, require_floating
from steinlab.diffusion.denoisers import Denoiser, picture_axes
from steinlab.diffusion.grids import Direction, Grid, require_grid
from steinlab.errors import InputError
from steinlab.solvers.base import Evaluation, Noise, Solver, noises
from steinlab.solvers.euler import EULER
from steinlab.solvers.plans import Plan, plan_of
from steinlab.solvers.registry import get_solver
from steinlab.solvers.step import Correction, Diagnostics, NoCorrection, Step


@dataclass(frozen=True)
class Solution:
    """The end of a run, complete or stopped.

    Attributes
    ----------
    state : array
        The last finite state.
    evaluations : int
        Denoiser evaluations of the solver, without those of a correction.
    diagnostics : tuple of Diagnostics
        One per step.
    trajectory : tuple of arrays
        The states at every level if ``keep_trajectory``, else empty.
    """

    state: Array
    evaluations: int
    diagnostics: tuple[Diagnostics, ...]
    trajectory: tuple[Array, ...] = ()


class NonFiniteStateError(FloatingPointError):
    """A state is not finite; ``partial`` holds the run up to there.

    ``step`` counts the steps before the one that made it, -1 where the start is not finite.
    """

    def __init__(
        self,
        step: int,
        steps: int,
        solver: str,
        correction: str,
        partial: Solution,
        *,
        dtype: Any = None,
    ):
        place = "in the start" if step < 0 else f"after step {step + 1} of {steps}"
        super().__init__(
            f"state is not finite {place} (solver {solver}, correction {correction})"
            f"{_why(partial.state, dtype)}"
        )
        self.step = step
        self.partial = partial


def _why(state: Array, dtype: Any) -> str:
    """Say so where half precision may have overflowed, in the network or in the state."""
    for what, kind in (("the network computes", dtype), ("the state is", state.dtype)):
        if str(kind).endswith("float16") and "bfloat16" not in str(kind):
            return f"; {what} in float16, which overflows above 65504: try bfloat16 or float32"
    return ""


@dataclass(frozen=True)
class Taken:
    """A step, the corrected state, and the correction's diagnostics."""

    step: Step
    state: Array
    diagnostics: Diagnostics


@dataclass(frozen=True)
class Run:
    """A whole run before its first step; the arguments of :func:`solve`."""

    denoiser: Denoiser
    x: Array
    grid: Grid
    solver: Solver | Plan
    rng: np.random.Generator | None = None
    repeated: bool = False

    def again(self, states: Array, correction: Correction) -> Solution:
        """Run to the end of the same grid from given states with a given correction."""
        return solve(
            self.denoiser,
            states,
            self.grid,
            self.solver,
            correction=correction,
            rng=self.rng,
            repeated=self.repeated,
        )


@runtime_checkable
class Prepares(Protocol):
    """A correction that depends on the whole run."""

    def prepare(self, run: Run) -> Correction:
        """Return the correction of this run, before its first step.

        One with a ``solver`` of its own has that take the steps.
        """


Draw = Callable[[int, int, Array], Noise]
"""``(step, count, x) -> count`` arrays of standard normals, of the shape and kind of ``x``."""


def normals(seed: int) -> Draw:
    """Return normals that depend on the seed, the step and a state's place in the batch.

    States at the same place have the same ones in batches of every size, in every array library.

    Examples
    --------
    >>> (few,), (many,) = (normals(0)(0, 1, np.zeros((n, 2))) for n in (1, 5))
    >>> bool((few == many[:1]).all())
    True
    """

    def draw(step: int, count: int, x: Array) -> Noise:
        rngs = (np.random.default_rng([seed, step, k]) for k in range(count))
        return tuple(like(rng.standard_normal(tuple(x.shape)), x) for rng in rngs)

    return draw


Progress = Callable[[int, Array, NoiseLevel], None]
"""Called after each step with the number of steps done, the state and its level."""


def solve(
    denoiser: Denoiser,
    x: Array,
    grid: Sequence[NoiseLevel],
    solver: Solver | Plan | str,
    *,
    correction: Correction | str | None = None,
    rng: np.random.Generator | None = None,
    seed: int = 0,
    noise: Draw | None = None,
    progress: Progress | None = None,
    keep_trajectory: bool = False,
    repeated: bool = False,
    towards: Direction = "data",
) -> Solution:
    """Run a solver over a grid, correcting each step.

    Parameters
    ----------
    denoiser : Denoiser
    x : array
        States at ``grid[0]``, under the forward process's law there; any array library. Flat,
        ``(N, d)``, or the pictures ``(N, *shape)`` of a network, which come back as such.
    grid : sequence of NoiseLevel
        From noise to data; the last may be zero noise.
    solver : Solver, Plan or str
        A solver or its id, or a plan with one solver per step (start-up, lower order at the end).
    correction : Correction or str, optional
        A correction, or its id for default options; by default none.
    rng : numpy Generator, optional
        Draws a correction's probes and the seed of a stochastic solver's :func:`normals`.
    seed : int
        Seed of ``rng`` where none is given.
    noise : callable, optional
        Draws the normals of a stochastic solver instead.
    progress : callable, optional
    keep_trajectory : bool
    repeated : bool
        Whether a level may come twice in a row, as in the grids of some libraries. Such a step
        evaluates the denoiser and moves nothing; multistep solvers do not see it, since two outputs
        at one level have no divided difference.
    towards : {"data", "noise"}
        Where the grid leads. To noise, the same solver takes the same steps with ``h < 0``;
        :func:`steinlab.solvers.inversion.invert` turns a grid round.

    Raises
    ------
    InputError
        If the solver or the correction is none, or an unknown id; or a stochastic solver is to be
        corrected, or to run towards noise.
    ValueError
        If the grid does not run from noise to data (or the other way, ``towards`` noise), or ends
        where the solver cannot, or the states are not real floating, or a correction, which is
        made for steps to less noise, is asked for the other way, or of states in autograd's graph.
    NonFiniteStateError
        If a state is not finite, naming the step (or the start) and the correction.

    Examples
    --------
    One Euler step to zero noise returns the posterior mean.

    >>> from analytic import GaussianMixture
    >>> law = GaussianMixture([1.0], [0.0], 1.0)
    >>> grid = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.0))
    >>> solve(law, np.array([[2.0]]), grid, "euler").state
    array([[1.]])
    """
    trajectory = [x] if keep_trajectory else []
    given, x = x, in_rows(x, denoiser)

    def shaped(state: Array) -> Array:
        return state if given.ndim == x.ndim else state.reshape(given.shape)

    diagnostics: list[Diagnostics] = []
    evaluations = 0
    try:
        for taken in steps(
            denoiser,
            x,
            grid,
            solver,
            correction=correction,
            rng=rng,
            seed=seed,
            noise=noise,
            repeated=repeated,
            towards=towards,
        ):
            x = taken.state
            evaluations += taken.step.candidate.evaluations
            diagnostics.append(taken.diagnostics)
            if keep_trajectory:
                trajectory.append(shaped(x))
            if progress:
                progress(len(diagnostics), shaped(x), taken.step.t)
    except NonFiniteStateError as error:
        last = shaped(error.partial.state)
        error.partial = replace(error.partial, state=last, trajectory=tuple(trajectory))
        raise
    return Solution(shaped(x), evaluations, tuple(diagnostics), tuple(trajectory))


def in_rows(x: Array, denoiser: Denoiser) -> Array:
    """Return pictures ``(..., *shape)`` of a denoiser that states its shape as ``(..., d)``."""
    axes = picture_axes(x, denoiser)
    if not axes:
        return x
    count = x.ndim - len(axes)
    return x.reshape(*x.shape[:count], math.prod(x.shape[count:]))


def steps(
    denoiser: Denoiser,
    x: Array,
    grid: Sequence[NoiseLevel],
    solver: Solver | Plan | str,
    *,
    correction: Correction | str | None = None,
    rng: np.random.Generator | None = None,
    seed: int = 0,
    noise: Draw | None = None,
    repeated: bool = False,
    towards: Direction = "data",
) -> Iterator[Taken]:
    """Yield the steps of a run one by one; arguments and errors are those of :func:`solve`.

    Nothing is checked or computed before the first step is asked for.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law = GaussianMixture([1.0], [0.0], 1.0)
    >>> grid = [NoiseLevel(1.0, sigma) for sigma in (2.0, 1.0, 0.0)]
    >>> [float(taken.state[0, 0]) for taken in steps(law, np.array([[5.0]]), grid, "euler")]
    [3.0, 1.5]
    """
    levels: Grid = require_grid(grid, repeated=repeated, towards=towards)
    solver = solver if isinstance(solver, Plan) else get_solver(solver)
    taking = _replayed if repeated else plan_of
    solvers = taking(solver, levels)
    xp = require_floating(x)
    if correction is None:
        correction = NoCorrection()
    elif not callable(correction):
        from steinlab.corrections import get_correction

        correction = get_correction(correction)
    drawing = next((one.name for one in solvers if noises(one)), "")
    if drawing and correction.name != "none":
        raise InputError(
            f"correction must be none for {drawing}, whose step draws noise, got {correction.name}"
        )
    if drawing and towards == "noise":
        raise InputError(f"solver must draw no noise towards noise, got {drawing}")
    if towards == "noise" and correction.name != "none":
        raise ValueError(
            f"correction must be none towards noise, where no reference was left, "
            f"got {correction.name}"
        )
    if correction.name != "none" and getattr(x, "requires_grad", False):
        raise ValueError(
            f"x must not require gradients with a correction, whose coefficients are no part of "
            f"the graph, got {correction.name}"
        )
    if not _finite(x, xp):
        raise NonFiniteStateError(
            -1, len(solvers), solver.name, correction.name, Solution(x, 0, ())
        )
    rng = rng or np.random.default_rng(seed)
    if drawing and noise is None:
        noise = normals(int(rng.integers(2**63)))
    if isinstance(correction, Prepares):
        correction = correction.prepare(Run(denoiser, x, levels, solver, rng, repeated))
        solver = getattr(correction, "solver", None) or solver
        solvers = taking(solver, levels)
    depth = max(solver.depth, getattr(correction, "depth", 0))
    history: tuple[Evaluation, ...] = ()
    diagnostics: list[Diagnostics] = []
    evaluations = 0
    for i, (one, (s, t)) in enumerate(zip(solvers, itertools.pairwise(levels), strict=True)):
        still = repeated and s == t
        count = noises(one)
        drawn = noise(i, count, x) if noise is not None and count else ()
        step = Step.take(denoiser, one, x, s, t, history=history, noise=drawn)
        state, done = (x, Diagnostics(1.0)) if still else correction(step, rng)
        evaluations += step.candidate.evaluations
        diagnostics.append(done)
        if not _finite(state, xp):
            partial = Solution(x, evaluations, tuple(diagnostics))
            dtype = getattr(denoiser, "dtype", None)
            raise NonFiniteStateError(
                i, len(solvers), one.name, correction.name, partial, dtype=dtype
            )
        yield Taken(step, state, done)
        if not still:
            latest = Evaluation(s, x, step.candidate.denoised, step.candidate.linear)
            history = (latest, *history)[:depth]
        x = state


def _replayed(solver: Solver | Plan, levels: Grid) -> tuple[Solver, ...]:
    """Return the solver of each step, steps of no length left out of a solver's own start."""
    steps = list(itertools.pairwise(levels))
    moving = levels if isinstance(solver, Plan) else (levels[0], *(t for s, t in steps if s != t))
    given = iter(plan_of(solver, moving))
    if isinstance(solver, Plan):
        return tuple(EULER if s == t else one for (s, t), one in zip(steps, given, strict=True))
    return tuple(EULER if s == t else next(given) for s, t in steps)


def _finite(x: Array, xp: Any) -> bool:
    # a finite sum has finite terms; finite terms may overflow together
    x = x.detach() if getattr(x, "requires_grad", False) else x
    with np.errstate(over="ignore", invalid="ignore"):
        total = float(xp.sum(x))
    return math.isfinite(total) or bool(xp.all(xp.isfinite(x)))
