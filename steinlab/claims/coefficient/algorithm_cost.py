r"""Passes through the denoiser, counted: what a corrected run costs beyond the plain one.

A pass is one evaluation of the denoiser on a batch, or one Jacobian product with it. A step that
evaluates the denoiser once costs Hutchinson's estimator ``m`` products, the exact divergence one
call and Tweedie's estimator nothing. Where a step evaluates it ``E`` times its Jacobian runs
through all of them: ``m E`` products, and in forward mode ``E`` evaluations again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import NamedTuple

import numpy as np

from steinlab.claims.coefficient.counted_passes import (
    ESTIMATORS,
    LAW,
    NONLINEAR_ESTIMATORS,
    Passes,
    Run,
    measure,
    split_solvers,
)
from steinlab.verification.claim import (
    Cases,
    Check,
    Claim,
    Dropped,
    Effort,
    NegativeControl,
    Number,
    Result,
    Table,
)
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import Parameter, Space, picked


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


def _examples(results: Mapping[str, Result]) -> tuple[Passes, Passes]:
    """The runs with the paper's five probes: a solver without stages, and Heun."""
    runs = results["derivative passes"].data
    five = next(p for p in runs if p.run.estimator == "stein, 5 gaussian vjp")
    heun = next(
        p
        for p in results["through every evaluation"].data
        if p.run.solver == "heun" and p.run.estimator == "stein, 5 gaussian jvp"
    )
    return five, heun


def _numbers(results: Mapping[str, Result]) -> list[Number]:
    five, heun = _examples(results)
    total = heun.products + heun.forward - heun.plain
    return [
        Number(
            "passes over the plain run's, five probes",
            1 + five.products / five.plain,
            better="lower",
            key="times",
        ),
        Number("the same for Heun's run", 1 + total / heun.plain, better="lower"),
        Number("solvers that evaluate once per step", len(split_solvers()[0])),
        Number("solvers with stages", len(split_solvers()[1])),
    ]


def _finding(results: Mapping[str, Result]) -> str:
    single, many = split_solvers()
    five, heun = _examples(results)
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


def cost_spaces(claim: Claim) -> list[Space]:
    """Spaces of the counts: solvers, estimators and numbers of steps."""
    from steinlab.claims.coefficient.counted_passes import (
        ESTIMATORS,
        NONLINEAR_ESTIMATORS,
        Run,
        split_solvers,
    )

    def make(solver: str, estimator: str, process: str, steps: float) -> Cases:
        return Run(solver, estimator, process, int(steps))

    single, several = split_solvers()
    out = []
    for check in claim.checks:
        many = check.name == "through every evaluation"
        lists = {
            "solver": several if many else single,
            "estimator": NONLINEAR_ESTIMATORS if many else tuple(ESTIMATORS),
            "process": ("edm", "vp-linear", "flow"),
        }
        out.append(picked(check.name, 256, lists, make, Parameter("steps", 1, 13)))
    return out


CLAIM = Claim(
    id="algorithm-cost",
    title="Cost of the corrected sampler",
    statement="m Jacobian products a step, each about a pass through the network, and no extra "
    "evaluations of the denoiser",
    latex=(
        r"m \text{ products } v^{\top} J_u v \text{ a step, } 0 \text{ further evaluations of "
        r"} D",
    ),
    expected="conditional",
    source="Algorithm 1 and its discussion of cost",
    kind="identity",
    owner="paper",
    conditions=(
        "unstated: the step evaluates the denoiser once; the Jacobian of Heun, DPM-2, 2S, 3S "
        "passes through every evaluation",
    ),
    formula=STATED,
    checks=(
        Check(
            SINGLE[0],
            method="property",
            draw=_draw_single,
            measure=measure,
            compare=compare_reported,
            restore=Run.restore,
        ),
        Check(
            SINGLE[1],
            method="property",
            draw=_draw_single,
            measure=measure,
            compare=compare_forward,
            restore=Run.restore,
        ),
        Check(
            SINGLE[2],
            method="property",
            draw=_draw_single,
            measure=measure,
            compare=compare_derivative,
            restore=Run.restore,
        ),
        Check(
            "through every evaluation",
            method="property",
            draw=_draw_several,
            measure=measure,
            compare=_through,
            restore=Run.restore,
        ),
    ),
    controls=(
        NegativeControl(
            "one extra evaluation a step",
            STATED._replace(forward=lambda p: p.plain + len(p.stages)),
            SINGLE[1:2],
        ),
        NegativeControl(
            "m + 1 products a step",
            STATED._replace(derivative=lambda p: _per_step(p) + len(p.stages)),
            SINGLE[2:],
        ),
        NegativeControl(
            "m products a run",
            STATED._replace(derivative=lambda p: _per_step(p) / len(p.stages)),
            SINGLE[2:],
        ),
        NegativeControl(
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
                method="property",
                draw=_draw_several,
                measure=measure,
                compare=compare_derivative,
                restore=Run.restore,
            ),
            unstated=True,
        ),
        Dropped(
            "several evaluations a step: no extra evaluation, in forward mode",
            Check(
                "stages, evaluations",
                method="property",
                draw=_draw_several,
                measure=measure,
                compare=compare_forward,
                restore=Run.restore,
            ),
            unstated=True,
        ),
    ),
    headline="Costs no extra evaluation for one-evaluation solvers, yet {times:.0f} times the "
    "passes with five probes; stages multiply it.",
    numbers=_numbers,
    finding=_finding,
    table=_table,
    search=cost_spaces,
)
