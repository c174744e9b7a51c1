"""Theorem 4.7: the coefficient without a reference sample."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from steinlab.claims.coefficient.collinear_laws import MERIDIAN
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.enclosures import COEFFICIENT_CASES, certified_check, proof_radius
from steinlab.claims.instruments.linear_forms import (
    Identity,
    Measured,
    compare_sampled,
    no_drift,
    pool_sampled,
    reference,
    stein,
    stein_wrong_sign,
)
from steinlab.claims.instruments.random_steps import StepCases, drawing
from steinlab.claims.instruments.step_checks import (
    STATES,
    couple,
    digits_check,
    quadrature_check,
    sampled_check,
)
from steinlab.coefficient.step_terms import sampled_terms
from steinlab.verification.claim import Check, Claim, Dropped, NegativeControl, Results
from steinlab.verification.quantities import Number


def _no_alpha(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    return {"u_x": 1 - 1 / alpha, "div": sigma**2}


def _no_sigma(alpha: Any, sigma: Any) -> Mapping[str, Any]:
    return {"u_x": 1 - 1 / alpha, "div": sigma / alpha}


def _shared_history(cases: StepCases) -> Measured:
    """Sample a multistep candidate whose past evaluation shares the noise of ``x``."""
    problem = cases.problem
    x_star, eps = couple(cases, STATES)
    assert problem.earlier is not None
    past = problem.earlier.noised(x_star, eps)
    terms = sampled_terms(problem, x_star, eps, past, rng=np.random.default_rng(0))
    return Measured(problem.s.alpha[:, 0, 0], problem.s.sigma[:, 0, 0], terms)


def shared_history(*families: str) -> Dropped:
    """Return the control on 2M candidates whose history shares the noise of ``x``."""
    check = Check(
        "shared history",
        "monte-carlo",
        StepCases,
        draw=drawing(64, solvers=("dpmpp-2m",), families=families),
        measure=_shared_history,
        compare=compare_sampled,
    )
    return Dropped("2M history that shares the noise of x", check, unstated=True)


def _wide_noise(cases: StepCases) -> Measured:
    """Sample states coupled with 1.1 times the noise that the level states."""
    problem = cases.problem
    x_star, eps = couple(cases, STATES)
    terms = sampled_terms(problem, x_star, 1.1 * eps, None, rng=np.random.default_rng(0))
    return Measured(problem.s.alpha[:, 0, 0], problem.s.sigma[:, 0, 0], terms)


def _numbers(results: Results) -> list[Number]:
    exact = results["quadrature"].comparison
    gap = np.abs(exact.measured - exact.predicted) / np.maximum(np.abs(exact.measured), 1)
    scales = [
        Number(f"sampled scale on {laws}, 1 is exact", pool.measured[0], pool.tolerance[0])
        for laws, pool in (
            ("random laws", results["samples"].pooled),
            ("digits", results["digits"].pooled),
        )
        if pool is not None
    ]
    return [
        Number("relative gap to the reference coefficient, median", np.median(gap)),
        Number("integrated steps", len(gap)),
        *scales,
        *proof_radius(results),
    ]


DERIVATION = DERIVATIONS["reference-free-coefficient"]

CLAIM = Claim(
    id="reference-free-coefficient",
    title="Coefficient without a reference",
    statement="gamma* = [(1 - 1/alpha) E<u,x> + (sigma^2/alpha) E div u] / E|u|^2",
    latex=(
        r"\gamma^{\star} = \frac{(1 - 1/\alpha)\, \mathbb{E}\langle u, x\rangle + "
        r"(\sigma^2/\alpha)\, \mathbb{E}[\nabla\cdot u]}{\mathbb{E}\|u\|^2}",
    ),
    expected="conditional",
    source="Theorem 4.7",
    kind="identity",
    owner="paper",
    conditions=(
        "x = alpha x_star + sigma eps with Gaussian eps independent of x_star",
        "u weakly differentiable with E|u|^2, E|div u| finite and E|u|^2 > 0",
        "unstated: the candidate depends on x alone, or on a history independent of its noise",
    ),
    formula=Identity(reference, stein),
    checks=(
        quadrature_check(1500),
        MERIDIAN,
        sampled_check(1500),
        digits_check(),
        certified_check(COEFFICIENT_CASES),
        symbolic_check(DERIVATION, covers=True),
    ),
    controls=(
        NegativeControl("wrong sign of the divergence", Identity(reference, stein_wrong_sign)),
        NegativeControl("1/alpha dropped", Identity(reference, _no_alpha)),
        NegativeControl("sigma instead of sigma^2", Identity(reference, _no_sigma)),
        NegativeControl("drift term dropped", Identity(reference, no_drift)),
        NegativeControl(
            "1/alpha dropped, on samples", Identity(reference, _no_alpha), ("samples",)
        ),
        *symbolic_controls(DERIVATION),
    ),
    dropped=(
        shared_history("edm", "vp-linear"),
        Dropped(
            "states coupled with 1.1 sigma",
            Check(
                "wide noise",
                "monte-carlo",
                StepCases,
                draw=drawing(64, solvers=("euler",), dims=(2, 8)),
                measure=_wide_noise,
                compare=compare_sampled,
                pool=pool_sampled,
            ),
        ),
    ),
    headline="Theorem 4.7 gives gamma* without a reference, exactly, unless a multistep history "
    "shares the noise.",
    numbers=_numbers,
    finding="The formula gives the reference-based coefficient within rounding on integrated "
    "steps, and within sampling error on samples and digits. It needs states under the forward "
    "coupling at the stated noise level, and a candidate that depends on x alone: a multistep "
    "history that shares the noise of x breaks it.",
)
