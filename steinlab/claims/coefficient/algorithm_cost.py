r"""Passes through the denoiser, counted: what a corrected run costs beyond the plain one.

A pass is one evaluation of the denoiser on a batch, or one Jacobian product with it. On a step that
evaluates the denoiser once, Hutchinson's estimator takes ``m`` products, the exact divergence one
call, and Tweedie's estimator nothing. A step of ``E`` evaluations has a Jacobian through all of
them: ``m E`` products, and in forward mode ``E`` evaluations again.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from functools import partial
from typing import NamedTuple

from steinlab.claims.coefficient.counted_passes import (
    ESTIMATORS,
    LAW,
    NONLINEAR_ESTIMATORS,
    Passes,
    Run,
    measure,
    split_solvers,
)
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter, Space, picked
from steinlab.verification.quantities import Number, Table


class Formula(NamedTuple):
    """Passes of a corrected run: the solver's, the forward ones, and those of derivatives."""

    reported: Callable[[Passes], float]
    forward: Callable[[Passes], float]
    derivative: Callable[[Passes], float]


def _per_step(p: Passes) -> float:
    """``m`` products per step, one call for an exact divergence, nothing for Tweedie."""
    estimator = ESTIMATORS[p.run.estimator]
    return len(p.stages) * (estimator.products + estimator.divergences)


STATED = Formula(lambda p: p.plain, lambda p: p.plain, _per_step)
"""As the paper has it: no extra evaluations, ``m`` products per step."""


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


COUNTS: Mapping[str, Callable[[Passes], int]] = {
    "reported": lambda p: p.reported,
    "forward": lambda p: p.forward,
    "derivative": lambda p: p.products + p.divergences,
}
"""What is counted, by the field of the formula that it is compared with."""


def _exactly(measured: float, predicted: float) -> Comparison:
    return single(float(measured), float(predicted), 0.0)


def compare_through(p: Passes, formula: Formula) -> Comparison:  # noqa: ARG001
    """Compare all passes with the count through every stage."""
    return _exactly(p.forward + p.products + p.divergences, _again(p) + _per_evaluation(p))


def _runs(effort: Effort, *, stages: bool) -> list[Run]:
    """Every solver that evaluates once per step, or every one with stages, and its estimators."""
    full = effort.profile == "full"
    return [
        Run(solver, estimator, process, n)
        for solver in split_solvers()[stages]
        for estimator in (NONLINEAR_ESTIMATORS if stages else ESTIMATORS)
        for process in (("edm", "vp-linear", "flow") if full else ("edm", "vp-linear"))
        for n in ((1, 4, 9) if full else (4,))
    ]


def _check(name: str, count: str, *, stages: bool = False) -> Check:
    def compare(p: Passes, formula: Formula) -> Comparison:
        return _exactly(COUNTS[count](p), getattr(formula, count)(p))

    return Check(
        name, "property", Run, draw=partial(_runs, stages=stages), measure=measure, compare=compare
    )


def _table(results: Results) -> Table:
    rows, seen = [], set()
    for name in (DERIVATIVE, THROUGH):
        for p in results[name].data:
            kind = f"{max(p.stages)} evaluation{'s' if max(p.stages) > 1 else ''}"
            if p.run.process != "edm" or (kind, p.run.estimator) in seen:
                continue
            seen.add((kind, p.run.estimator))
            counts = p.plain, p.forward - p.plain, p.products + p.divergences
            shares = (f"{count / len(p.stages):g}" for count in counts)
            rows.append([kind, p.run.solver, p.run.estimator, *shares])
    columns = ["a step makes", "solver", "estimator", "plain", "again", "derivatives"]
    return Table("Passes per step, averaged over a run that ends at zero noise", columns, rows)


def _examples(results: Results) -> tuple[Passes, Passes]:
    """The runs with the paper's five probes: a solver without stages, and Heun."""
    runs = results[DERIVATIVE].data
    five = next(p for p in runs if p.run.estimator == "stein, 5 gaussian vjp")
    heun = next(
        p
        for p in results[THROUGH].data
        if p.run.solver == "heun" and p.run.estimator == "stein, 5 gaussian jvp"
    )
    return five, heun


def _numbers(results: Results) -> list[Number]:
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


def cost_spaces(claim: Claim) -> list[Space]:
    """Return the spaces of the counts: solvers, estimators and numbers of steps."""
    out = []
    for check in claim.checks:
        stages = check.name == THROUGH
        lists = {
            "solver": split_solvers()[stages],
            "estimator": NONLINEAR_ESTIMATORS if stages else tuple(ESTIMATORS),
            "process": ("edm", "vp-linear", "flow"),
        }
        out.append(picked(check.name, 256, lists, Run, Parameter("steps", 1, 13, whole=True)))
    return out


REPORTED, FORWARD, DERIVATIVE = "solver evaluations", "all evaluations", "derivative passes"
THROUGH = "through every evaluation"


CLAIM = Claim(
    id="algorithm-cost",
    title="Cost of the corrected sampler",
    statement="m Jacobian products per step, each about a pass through the network, and no extra "
    "evaluations of the denoiser",
    latex=(
        r"m \text{ products } v^{\top} J_u v \text{ per step, } 0 \text{ further evaluations of "
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
        _check(REPORTED, "reported"),
        _check(FORWARD, "forward"),
        _check(DERIVATIVE, "derivative"),
        replace(_check(THROUGH, "forward", stages=True), compare=compare_through),
    ),
    controls=(
        NegativeControl(
            "one extra evaluation per step",
            STATED._replace(forward=lambda p: p.plain + len(p.stages)),
            (FORWARD,),
        ),
        NegativeControl(
            "m + 1 products per step",
            STATED._replace(derivative=lambda p: _per_step(p) + len(p.stages)),
            (DERIVATIVE,),
        ),
        NegativeControl(
            "m products per run",
            STATED._replace(derivative=lambda p: _per_step(p) / len(p.stages)),
            (DERIVATIVE,),
        ),
        NegativeControl(
            "evaluations of the correction reported as the solver's",
            STATED._replace(reported=lambda p: p.plain + _per_step(p)),
            (REPORTED,),
        ),
    ),
    dropped=(
        Dropped(
            "several evaluations per step: m products per step",
            _check("stages, products", "derivative", stages=True),
            unstated=True,
        ),
        Dropped(
            "several evaluations per step: no extra evaluation, in forward mode",
            _check("stages, evaluations", "forward", stages=True),
            unstated=True,
        ),
    ),
    headline="Costs no extra evaluation for one-evaluation solvers, yet {times} times the "
    "passes with five probes; stages multiply it.",
    numbers=_numbers,
    finding="A solver that evaluates the denoiser once per step pays m Jacobian products per "
    "step by Hutchinson's estimator and nothing by Tweedie's, and evaluates nothing again. In "
    "Heun, DPM-2 and other solvers with stages each product runs through every stage, and forward "
    "mode evaluates the stages again: take Tweedie's estimate there.",
    table=_table,
    search=cost_spaces,
)
