r"""The optimum's collapse: where ``beta = 1 - kappa``, ``gamma* = 1/(1 - kappa)`` for every law.

There ``u = (1 - kappa)(x - D)``, and ``E<x - D, x - x_star> = E|x - D|^2 + E<x - D, D - x_star>``
whose last term vanishes for the exact ``D``. The corrected state is then ``D(x)``: the mean-square
optimum is the posterior mean, not a state of the next level.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from steinlab.claims.instruments.linear_forms import Measured
from steinlab.claims.instruments.random_steps import StepCases, draw_steps
from steinlab.claims.instruments.step_checks import integrate_steps, on_field
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import Integrated
from steinlab.verification.claim import Check, Effort
from steinlab.verification.comparison import Comparison


class Collapse(NamedTuple):
    """Integrated terms of first-order steps and their ``1 - kappa``, ``(C,)``."""

    measured: Measured
    slack: np.ndarray


SlackFormula = Callable[[np.ndarray], np.ndarray]


def posterior_mean(slack: np.ndarray) -> np.ndarray:
    """``1 / (1 - kappa)``."""
    return np.asarray(1 / slack)


def measure_collapse(cases: StepCases) -> Collapse:
    """Integrate the terms of a stack of Euler steps."""
    s, t = cases.problem.s, cases.problem.t
    return Collapse(integrate_steps(cases), ((s.sigma - t.sigma) / s.sigma)[:, 0, 0])


def compare_collapse(data: Collapse, formula: SlackFormula) -> Comparison:
    """Compare ``gamma*`` by reference with a function of ``1 - kappa``.

    Levels are doubles, so ``beta = (1 - kappa)(1 + e)`` with ``|e| <= 2 eps / (1 - kappa)``; then
    ``gamma* (1 - kappa) = 1 + e E<D, x - D> / E|x - D|^2`` to first order, and ``|D|`` is at most
    ``|x| + |x - D|``.
    """
    terms = data.measured.terms
    assert isinstance(terms, Integrated)
    value, size, error = terms
    power = value.u_u
    measured = value.u_ref / power
    numerator = ROUNDING * EPS * (size.u_ref + np.abs(value.u_ref)) + error.u_ref
    denominator = ROUNDING * EPS * (size.u_u + power) + error.u_u
    spread = np.sqrt(power) / data.slack
    misfit = 2 * EPS / data.slack * (1 + np.sqrt(value.x_x) / spread)
    tolerance = (numerator + np.abs(measured) * denominator) / power + np.abs(measured) * misfit
    return Comparison(measured, formula(data.slack), tolerance)


def collapse_check(
    family: str,
    count: int,
    *,
    solver: str = "euler",
    name: str = "collapse",
    ratios: tuple[float, float] | None = None,
) -> Check:
    """Integrate random steps of a process, by default of Euler, where ``beta = 1 - kappa``.

    Steps begin at ``ratios``, by default the family's.
    """
    options: dict[str, Any] = {"solvers": (solver,), "families": (family,), "ratios": ratios}

    def draw(effort: Effort) -> list[StepCases]:
        n = effort.count(count)
        line = draw_steps(effort.rng, n // 2, **options)
        space = draw_steps(effort.rng, n // 2, dims=(2, 8, 64), embed=True, **options)
        return [*line, *space]

    check = Check(
        name, "quadrature", StepCases, draw=draw, measure=measure_collapse, compare=compare_collapse
    )
    return on_field(check, "collapse")
