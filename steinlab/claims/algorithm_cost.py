r"""Passes through the denoiser, counted: what a corrected run costs beyond the plain one.

A pass is one evaluation of the denoiser on a batch, or one Jacobian product with it. A step that
evaluates the denoiser once costs Hutchinson's estimator ``m`` products, the exact divergence one
call and Tweedie's estimator nothing. Where a step evaluates it ``E`` times its Jacobian runs
through all of them: ``m E`` products, and in forward mode ``E`` evaluations again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import lru_cache
from types import MappingProxyType
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import Correction, NoCorrection, stein, tweedie
from steinlab.divergence import Exact, Hutchinson
from steinlab.grids import make_grid
from steinlab.processes import PROCESSES
from steinlab.sampling import solve
from steinlab.solvers import SOLVER_IDS, get_solver
from steinlab.verdicts import Check, Claim, Comparison, Dropped, Effort, Result, Table, Twin

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
        """Return ``D' v``, one product a probe."""
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
class Run:
    """A corrected run of a solver."""

    dataset: ClassVar[str | None] = None

    solver: str
    estimator: str
    process: str
    steps: int

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def describe(self, index: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the case as JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back."""
        return cls(**case)


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
    x = grid[0].alpha * LAW.sample(STATES, rng) + grid[0].sigma * rng.standard_normal((STATES, 3))
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
        tuple(solver.evaluations(t) for t in grid[1:]),
    )


class Formula(NamedTuple):
    """Passes of a corrected run: the solver's, the forward ones, and those of derivatives."""

    reported: Callable[[Passes], float]
    forward: Callable[[Passes], float]
    derivative: Callable[[Passes], float]


def _plain(p: Passes) -> float:
    return p.plain


def _per_step(p: Passes) -> float:
    """``m`` products a step, one call for an exact divergence, nothing for Tweedie."""
    estimator = ESTIMATORS[p.run.estimator]
    return len(p.stages) * (estimator.products + estimator.divergences)


STATED = Formula(_plain, _plain, _per_step)
"""As the paper has it: no extra evaluations, ``m`` products a step."""


def _again(p: Passes) -> float:
    """Forward mode evaluates steps of several stages once more, unless no divergence is asked."""
    estimator = ESTIMATORS[p.run.estimator]
    return p.plain + (p.several if estimator.products or estimator.divergences else 0)


def _per_evaluation(p: Passes) -> float:
    """``m E`` products; an exact trace takes ``d E`` where ``E > 1`` and one call otherwise."""
    estimator = ESTIMATORS[p.run.estimator]
    single = sum(e for e in p.stages if e == 1)
    several = estimator.products + estimator.divergences * LAW.dim
    return several * p.several + (estimator.products + estimator.divergences) * single


def _exactly(measured: list[int], predicted: list[float]) -> Comparison:
    return Comparison(
        np.array(measured, float), np.array(predicted, float), np.zeros(len(measured))
    )


def compare_reported(p: Passes, formula: Formula) -> Comparison:
    """Compare the solver's own evaluations with the plain run's."""
    return _exactly([p.reported], [formula.reported(p)])


def compare_forward(p: Passes, formula: Formula) -> Comparison:
    """Compare all evaluations of the denoiser."""
    return _exactly([p.forward], [formula.forward(p)])


def compare_derivative(p: Passes, formula: Formula) -> Comparison:
    """Compare passes for derivatives."""
    return _exactly([p.products + p.divergences], [formula.derivative(p)])


def _through(p: Passes, formula: Formula) -> Comparison:  # noqa: ARG001
    """Compare all passes with the count through every stage."""
    return _exactly([p.forward + p.products + p.divergences], [_again(p) + _per_evaluation(p)])


@lru_cache(maxsize=1)
def split_solvers() -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the ids of the solvers that evaluate once a step, and of the others."""
    process = PROCESSES["edm"]
    t = NoiseLevel(1.0, 0.5)
    many = tuple(n for n in SOLVER_IDS if get_solver(n, process).evaluations(t) > 1)
    return tuple(n for n in SOLVER_IDS if n not in many), many


def _draw_single(effort: Effort) -> list[Run]:
    return _runs(effort, split_solvers()[0], tuple(ESTIMATORS))


def _draw_several(effort: Effort) -> list[Run]:
    return _runs(effort, split_solvers()[1], NONLINEAR_ESTIMATORS)


def _runs(effort: Effort, solvers: tuple[str, ...], estimators: tuple[str, ...]) -> list[Run]:
    processes = ("edm", "vp-linear", "flow") if effort.profile == "full" else ("edm", "vp-linear")
    steps = (1, 4, 9) if effort.profile == "full" else (4,)
    return [
        Run(solver, estimator, process, n)
        for solver in solvers
        for estimator in estimators
        for process in processes
        for n in steps
    ]


def _table(results: Mapping[str, Result]) -> Table:
    rows, seen = [], set()
    for name in ("derivative passes", "through every evaluation"):
        for p in results[name].data:
            kind = f"{max(p.stages)} evaluation{'s' if max(p.stages) > 1 else ''}"
            if p.run.process != "edm" or (kind, p.run.estimator) in seen:
                continue
            seen.add((kind, p.run.estimator))
            again, products = p.forward - p.plain, p.products + p.divergences
            n = len(p.stages)
            rows.append(
                [
                    kind,
                    p.run.solver,
                    p.run.estimator,
                    f"{p.plain / n:g}",
                    f"{again / n:g}",
                    f"{products / n:g}",
                ]
            )
    columns = ["a step makes", "solver", "estimator", "plain", "again", "derivatives"]
    return Table("Passes a step, averaged over a run that ends at zero noise", columns, rows)


def _finding(results: Mapping[str, Result]) -> str:
    single, many = split_solvers()
    runs = results["derivative passes"].data
    five = next(p for p in runs if p.run.estimator == "stein, 5 gaussian vjp")
    heun = next(
        p
        for p in results["through every evaluation"].data
        if p.run.solver == "heun" and p.run.estimator == "stein, 5 gaussian jvp"
    )
    n = len(heun.stages)
    total = heun.products + heun.forward - heun.plain
    return (
        f"counted on {len(single)} solvers that evaluate once a step: no extra evaluation, m "
        f"products a step for Hutchinson, none for Tweedie; with the paper's m = 5 the corrected "
        f"run makes {1 + five.products / five.plain:.0f} times the plain run's passes. For the "
        f"{len(many)} solvers with stages each product runs through every stage: Heun's {n} steps "
        f"take {heun.products} products instead of {5 * n} and, in forward mode, "
        f"{heun.forward - heun.plain} evaluations again ({total} extra passes to its own "
        f"{heun.plain})"
    )


SINGLE = ("solver evaluations", "all evaluations", "derivative passes")

CLAIM = Claim(
    id="algorithm-cost",
    title="Cost of the corrected sampler",
    statement="m Jacobian products a step, each about a pass through the network, and no extra "
    "evaluations of the denoiser",
    source="Algorithm 1 and its discussion of cost",
    kind="identity",
    conditions=(
        "unstated: the step evaluates the denoiser once; the Jacobian of Heun, DPM-2, 2S, 3S "
        "passes through every evaluation",
    ),
    formula=STATED,
    checks=(
        Check(SINGLE[0], "property", _draw_single, measure, compare_reported, Run.restore),
        Check(SINGLE[1], "property", _draw_single, measure, compare_forward, Run.restore),
        Check(SINGLE[2], "property", _draw_single, measure, compare_derivative, Run.restore),
        Check(
            "through every evaluation", "property", _draw_several, measure, _through, Run.restore
        ),
    ),
    twins=(
        Twin(
            "one extra evaluation a step",
            STATED._replace(forward=lambda p: p.plain + len(p.stages)),
            SINGLE[1:2],
        ),
        Twin(
            "m + 1 products a step",
            STATED._replace(derivative=lambda p: _per_step(p) + len(p.stages)),
            SINGLE[2:],
        ),
        Twin(
            "m products a run",
            STATED._replace(derivative=lambda p: _per_step(p) / len(p.stages)),
            SINGLE[2:],
        ),
        Twin(
            "evaluations of the correction reported as the solver's",
            STATED._replace(reported=lambda p: p.plain + _per_step(p)),
            SINGLE[:1],
        ),
    ),
    dropped=(
        Dropped(
            "several evaluations a step: m products a step",
            Check(
                "stages, products",
                "property",
                _draw_several,
                measure,
                compare_derivative,
                Run.restore,
            ),
            unstated=True,
        ),
        Dropped(
            "several evaluations a step: no extra evaluation, in forward mode",
            Check(
                "stages, evaluations",
                "property",
                _draw_several,
                measure,
                compare_forward,
                Run.restore,
            ),
            unstated=True,
        ),
    ),
    finding=_finding,
    table=_table,
)
