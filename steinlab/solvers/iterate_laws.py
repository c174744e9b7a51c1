"""The exact law of a run's iterates: jets through the solvers' own steps."""

import itertools
from collections.abc import Sequence

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates.jets import Jet, identity, on_jets
from analytic.iterates.line import LineIterate, LineJet
from analytic.iterates.space import SpaceIterate
from steinlab.diffusion.grids import require_grid
from steinlab.solvers.base import Evaluation, Solver
from steinlab.solvers.plans import Plan, plan_of


def run_jets(
    law: GaussianMixture,
    x: np.ndarray,
    grid: Sequence[NoiseLevel],
    solver: Solver | Plan,
    *,
    gammas: Sequence[float] | None = None,
) -> Jet:
    r"""Return the state at the grid's end with its derivatives in the initial state.

    ``X_{k+1} = X_k - gamma_k u_k`` with the solver's residual ``u_k``. Past evaluations are jets
    too, so a multistep solver's derivatives hold its whole dependence on the initial state.

    Parameters
    ----------
    law : GaussianMixture
        The exact denoiser, single or a stack.
    x : array (..., N, d)
        Initial states.
    grid : sequence of NoiseLevel
        From noise to data; a grid of one level returns the identity.
    solver : Solver or Plan
    gammas : sequence of float, optional
        One fixed coefficient per step; by default 1, the plain solver.

    Raises
    ------
    ValueError
        If the grid does not run from noise to data, or ``gammas`` does not hold one number per
        step.
    """
    state = identity(x)
    if len(grid) == 1:
        return state
    levels = require_grid(grid)
    if gammas is not None and len(gammas) != len(levels) - 1:
        raise ValueError(f"gammas must hold {len(levels) - 1} numbers, got {len(gammas)}")
    denoise = on_jets(law)
    history: tuple[Evaluation, ...] = ()
    steps = zip(plan_of(solver, levels), itertools.pairwise(levels), strict=True)
    for i, (one, (s, t)) in enumerate(steps):
        candidate = one.step(denoise, state, s, t, history)
        latest = Evaluation(s, state, candidate.denoised, candidate.linear)
        history = (latest, *history)[: solver.depth]
        state = candidate.state if gammas is None else state - gammas[i] * candidate.residual
    return state


def line_iterate(
    law: GaussianMixture, grid: Sequence[NoiseLevel], solver: Solver | Plan
) -> LineIterate:
    """Return the exact law of a run that starts under the forward process, in one dimension.

    Examples
    --------
    >>> from steinlab.solvers import EULER
    >>> law = GaussianMixture([1.0], [0.0], 1.0)
    >>> grid = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.0))
    >>> iterate = line_iterate(law, grid, EULER)              # T = x / 2, x ~ N(0, 2)
    >>> round(float(iterate.log_density(np.array([0.0]))[0][0] + 0.5 * np.log(np.pi)), 12)
    0.0
    """

    def line(x: np.ndarray) -> LineJet:
        jet = run_jets(law, x[:, None], grid, solver)
        return LineJet(jet.value[:, 0], jet.first[:, 0, 0], jet.second[:, 0, 0, 0])

    return LineIterate(law, grid[0], line)


def space_iterate(
    law: GaussianMixture, grid: Sequence[NoiseLevel], solver: Solver | Plan
) -> SpaceIterate:
    """Return the exact law of a run that starts under the forward process, in 2 or 3 dimensions."""
    return SpaceIterate(law, grid[0], lambda x: run_jets(law, x, grid, solver))
