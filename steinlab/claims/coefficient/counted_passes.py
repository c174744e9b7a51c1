"""Runs on a denoiser that counts the passes made through it."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient.divergence import Exact, Hutchinson
from steinlab.corrections import stein, tweedie
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVER_IDS, get_solver
from steinlab.solvers.base import LinearMultistep, Solver, couples_batch
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import plan_of
from steinlab.solvers.step import Correction, NoCorrection
from steinlab.verification.cases import SingleCase

LAW = GaussianMixture(
    np.array([0.3, 0.7]),
    np.array([[-1.0, 0.5, 0.0], [1.5, -0.5, 1.0]]),
    np.array([[0.2, 0.5, 0.1], [0.3, 0.1, 0.4]]),
)
STATES = 4
CLIP: Mapping[str, Any] = {"gamma_min": 0.1, "gamma_max": 1.0}


@dataclass
class Counting:
    """A denoiser that counts the passes made through it."""

    law: GaussianMixture
    forward: int = 0
    divergences: int = 0
    products: int = 0

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        """Denoise."""
        self.forward += 1
        return self.law(x, level)

    def divergence(self, x: Any, level: NoiseLevel) -> Any:
        """Return ``div D``."""
        self.divergences += 1
        return self.law.divergence(x, level)

    def jvp(self, x: Any, level: NoiseLevel, tangent: Any) -> Any:
        """Return ``D' v``, one product per probe."""
        self.products += int(np.prod(tangent.shape[: tangent.ndim - x.ndim]))
        return self.law.jvp(x, level, tangent)

    def vjp(self, x: Any, level: NoiseLevel, cotangent: Any) -> Any:
        """Return ``D'' v``: the Jacobian is symmetric."""
        return self.jvp(x, level, cotangent)


@dataclass(frozen=True)
class Estimator:
    """An estimator of the coefficient and what it asks of a step that evaluates once."""

    make: Callable[[], Correction]
    products: int
    divergences: int = 0


def _hutchinson(probes: int, law: str, mode: str) -> Callable[[], Correction]:
    return lambda: stein(divergence=Hutchinson(probes, law, mode), **CLIP)


ESTIMATORS: Mapping[str, Estimator] = MappingProxyType(
    {
        "tweedie": Estimator(lambda: tweedie(**CLIP), 0),
        "stein, exact divergence": Estimator(lambda: stein(divergence=Exact(), **CLIP), 0, 1),
        "stein, 1 rademacher jvp": Estimator(_hutchinson(1, "rademacher", "jvp"), 1),
        "stein, 5 gaussian jvp": Estimator(_hutchinson(5, "gaussian", "jvp"), 5),
        "stein, 5 gaussian vjp": Estimator(_hutchinson(5, "gaussian", "vjp"), 5),
    }
)
"""Algorithm 1 with the paper's five Gaussian probes, its cheaper forms, and the free estimator."""

NONLINEAR_ESTIMATORS = tuple(n for n in ESTIMATORS if not n.endswith("vjp"))
"""Reverse mode through a whole step needs automatic differentiation; forward mode does not."""


@dataclass(frozen=True)
class Run(SingleCase):
    """A corrected run of a solver."""

    solver: str
    estimator: str
    process: str
    steps: int


class Passes(NamedTuple):
    """Passes of a corrected run and of the plain one; denoiser evaluations of every step.

    ``several`` counts the evaluations of steps that make more than one.
    """

    run: Run
    forward: int
    products: int
    divergences: int
    plain: int
    reported: int
    stages: tuple[int, ...]

    @property
    def several(self) -> int:
        """Evaluations of the steps that make more than one."""
        return sum(e for e in self.stages if e > 1)


@lru_cache(maxsize=1024)
def measure(run: Run) -> Passes:
    """Run the solver plain and corrected on counting denoisers; three checks read the counts."""
    process = PROCESSES[run.process]
    solver = get_solver(run.solver, process)
    grid = make_grid(process, "karras", run.steps, final_zero=solver.ends_at_zero)
    rng = np.random.default_rng(0)
    x = grid[0].noised(LAW.sample(STATES, rng), rng)
    plain, corrected = Counting(LAW), Counting(LAW)
    solve(plain, x, grid, solver, correction=NoCorrection())
    end = solve(corrected, x, grid, solver, correction=ESTIMATORS[run.estimator].make())
    return Passes(
        run,
        corrected.forward,
        corrected.products,
        corrected.divergences,
        plain.forward,
        end.evaluations,
        tuple(one.evaluations(t) for one, t in zip(plan_of(solver, grid), grid[1:], strict=True)),
    )


@lru_cache(maxsize=1)
def split_solvers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of the solvers that evaluate once per step, start included, and the others.

    Those that couple the batch are left out: the paper's algorithm takes states for independent.
    """
    process = PROCESSES["edm"]
    t = NoiseLevel(1.0, 0.5)

    def most(solver: Solver) -> int:
        start = solver.starters if isinstance(solver, LinearMultistep) else ()
        return max(one.evaluations(t) for one in (solver, *start))

    found = {name: get_solver(name, process) for name in SOLVER_IDS}
    alone = [name for name, solver in found.items() if not couples_batch(solver)]
    many = tuple(name for name in alone if most(found[name]) > 1)
    return tuple(name for name in alone if name not in many), many
