"""Every registered claim: its verdict, its controls, and that a broken formula brings it down."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from scipy.stats import chi2

from steinlab.claims.coefficient import collinear_laws
from steinlab.claims.instruments import linear_forms
from steinlab.claims.instruments.step_checks import sampled_check
from steinlab.coefficient.divergence import Hutchinson
from steinlab.storage.schemas import schema
from steinlab.verification.claim import FAMILY_LEVEL, METHODS, OWNERS, Check, Claim, Result
from steinlab.verification.judge import effort_for, run_check
from steinlab.verification.ledger import (
    claim_ids,
    faults,
    judge_by_id,
    load_claim,
    replay,
    stored_case,
)
from steinlab.verification.significance import Mean, critical
from tests.steinlab.claims.small import SMALLER, break_source, forget, judged, shrink

FEWEST = 36
"""Cases of the quick profile for one here, to see a broken formula."""
CLAIMS = pytest.mark.parametrize("claim_id", claim_ids())
LONGEST_FINDING = 500


def plain(value: Any) -> Any:
    """What JSON makes of a value; NaN and infinity are refused."""
    return json.loads(json.dumps(value, allow_nan=False))


WHOLE = {"regularity-conditions", "weak-order"}
"""Claims whose choices need all the cases of the quick profile."""
UNSURE = {
    "contractivity-trap",
    "edm-drift-vanishes",
    "multistep-hypothesis",
    "perturbation-bound",
    "stein-identity",
}
"""Claims of rare cases or sampled grades: of a verdict on fewer cases nothing is asked.

On all of them ``make verify`` asks for it, and the slow suite.
"""
FIXED = {
    "clipped-gain",
    "clipped-gain-flow",
    "correction-tournament",
    "error-budget",
    "few-evaluations-gain",
    "flow-likelihood",
    "gain-grows-with-step",
    "integration-error",
    "large-step-counts",
    "perturbation-bound-in-trap",
    "reference-free-coefficient",
    "self-consistency-variant",
    "solver-order",
    "tweedie-versus-stein",
}
"""Claims whose cases cannot be fewer, or must not: ``make verify`` judges the very same."""
JUDGED = [
    *(pytest.param(c, c in WHOLE) for c in claim_ids() if c not in FIXED),
    *(pytest.param(c, True, marks=pytest.mark.slow) for c in sorted(FIXED | UNSURE)),
]


@pytest.mark.parametrize(("claim_id", "whole"), JUDGED)
def test_claim(claim_id: str, whole: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """One judgement a claim on fewer cases: all that can be read off its row, and any case again.

    Of each check the last case of the first and of the last batch replays to the last digit, and
    so does the last that was probed.
    """
    if not whole:
        shrink(monkeypatch)
    sure = whole or claim_id not in UNSURE
    results: dict[str, Result] = {}

    def kept(claim: Claim, check: Check, *effort: Any) -> Result:
        results[check.name] = run_check(claim, check, *effort)
        return results[check.name]

    monkeypatch.setattr("steinlab.verification.judge.run_check", kept)
    row = judge_by_id(claim_id, "quick", 0)
    assert plain(row)["id"] == claim_id
    assert row["owner"] in OWNERS
    assert len(row["finding"]) <= LONGEST_FINDING, row["finding"]
    if sure:
        assert faults({"claims": [row]}) == []
        assert row["verdict"] == row["expected"]
        assert all(c["rejected"] for c in row["controls"])
    if row["verdict"] == "not-run":
        assert row["finding"]
        assert not row["cases"]
        assert all(check.missing() for check in load_claim(claim_id).checks)
        return
    assert 0 <= row["detects"] < math.inf
    assert row["cases"] == sum(e["cases"] for e in row["evidence"])
    assert row["undecided"] == sum(e["undecided"] for e in row["evidence"]) < 0.2 * row["cases"]
    assert not (row["undecided"] and claim_id.startswith("perturbation-bound"))
    assert {e["method"] for e in row["evidence"]} <= {*METHODS, "adversarial"}
    refuted = any(e["violations"] for e in row["evidence"])
    assert refuted == (row["verdict"] in {"refuted", "not-reproduced"})
    graded = [c for c in row["controls"] if c["name"].startswith("graded")]
    numeric = [e for e in row["evidence"] if e["method"] not in {"symbolic", "adversarial"}]
    assert len(graded) == len(numeric), "one graded control a check"
    assert len(row["controls"]) > len(graded), "and a falsified control"
    case = stored_case(row)
    assert case is not None
    now = replay(plain(case))
    for key in ("measured", "bound", "tolerance"):
        assert now[key] == case[key], key
    if row["verdict"] == "conditional":
        assert any(condition.startswith("unstated") for condition in row["conditions"])
    claim = load_claim(claim_id)
    for result in results.values():
        check, batches = result.check, result.batches
        places = {0, len(batches) - 1}
        probed = [i for i, b in enumerate(batches) if plain(b.describe(0)).get("solver") == "heun"]
        for place in sorted({*places, *probed[-1:]}):
            batch, whole = batches[place], check.compare(result.data[place], claim.formula)
            assert len(whole.measured) == len(batch)
            index = len(batch) - 1
            case = plain(batch.describe(index))
            now = replay({"claim": claim.id, "check": check.name, "case": case})
            assert now["measured"] == whole.measured[index], check.name
            assert now["bound"] == whole.predicted[index], check.name
            assert now["tolerance"] == whole.tolerance[index], check.name


@CLAIMS
def test_another_seed_draws_other_cases(claim_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    for check in load_claim(claim_id).checks:
        if check.missing():
            continue

        def first(seed: int, check: Check = check) -> Any:
            return check.draw(effort_for(claim_id, check.name, "quick", seed))[0].describe(0)

        found = first(0)
        assert first(0) == found
        if "seed" in found:  # the cases of the others are enumerated, not drawn
            assert first(1) != found


@pytest.mark.slow
@pytest.mark.parametrize("seed", [0, 1, 2, 3, 2**31])
@CLAIMS
def test_verdicts_of_the_quick_profile_do_not_depend_on_the_seed(claim_id: str, seed: int) -> None:
    row = judge_by_id(claim_id, "quick", seed)
    assert faults({"claims": [row]}) == []
    assert row["verdict"] == row["expected"]


# --- broken formulas ----------------------------------------------------------------------------

CAUSES = "steinlab.claims.causes"
SYSTEMS = "steinlab.claims.systems"
FORMS, DIVERGENCE = "steinlab.claims.instruments.linear_forms", "steinlab.coefficient.divergence"
MUTANTS = [
    ("reference-free-coefficient", "quadrature", FORMS, "stein", "sigma**2 / alpha", "sigma**2"),
    ("reference-free-coefficient", "quadrature", FORMS, "stein", "1 - 1 / alpha", "1 - alpha"),
    ("reference-free-coefficient", "quadrature", FORMS, "stein", "sigma**2 / alpha",
     "-(sigma**2) / alpha"),
    ("reference-free-coefficient", "quadrature", FORMS, "stein", "sigma**2 / alpha",
     "sigma / alpha"),
    ("reference-free-coefficient", "quadrature", FORMS, "stein", "1 - 1 / alpha",
     "1 + 1e-4 - 1 / alpha"),
    ("reference-free-coefficient", "quadrature", DIVERGENCE, "_assemble", "- _flat", "+ _flat"),
    ("reference-free-coefficient", "quadrature", "analytic.mixtures", "GaussianMixture.divergence",
     "return self", "return 0.999999 * self"),
    ("stein-identity", "quadrature", "steinlab.claims.coefficient.stein_identity", "right",
     "sigma**2", "sigma"),
    ("stein-identity", "quadrature", "steinlab.claims.coefficient.stein_identity", "right",
     "sigma**2", "-(sigma**2)"),
    ("stein-identity", "quadrature", "steinlab.claims.coefficient.stein_identity", "left",
     "1 - alpha", "1 + alpha"),
    ("edm-drift-vanishes", "quadrature", "steinlab.claims.coordinates.edm_drift_vanishes",
     "geometric", "sigma**2", "sigma"),
    ("edm-drift-vanishes", "quadrature", DIVERGENCE, "_assemble", "- _flat", "- 0.999999 * _flat"),
    ("optimal-coefficient", "quadrature", "steinlab.claims.coefficient.optimal_coefficient",
     "optimum", "terms.u_ref / terms.u_u", "terms.u_x / terms.u_u"),
    ("optimal-coefficient", "quadrature", "steinlab.claims.coefficient.optimal_coefficient",
     "optimum", "terms.u_ref / terms.u_u", "(1 + 1e-7) * terms.u_ref / terms.u_u"),
    ("error-decay", "step", "steinlab.claims.error_bounds.error_decay", "rho", "terms.u_ref**2",
     "0.9999 * terms.u_ref**2"),
    ("error-decay", "step", "steinlab.claims.error_bounds.error_decay", "rho",
     "terms.u_u * terms.err", "terms.u_u"),
    ("error-decay", "bound", "steinlab.claims.error_bounds.error_decay", "lowest", ".min(",
     ".max("),
    ("error-decay", "product", "steinlab.claims.error_bounds.error_decay",
     "ReferenceCorrection.__call__", "step.x - gamma * u", "step.x - 0.99 * gamma * u"),
    ("asymptotic-equivalence", "quadrature", "steinlab.claims.error_bounds.asymptotic_equivalence",
     "distance", "np.sqrt(terms.gap)", "0.9999 * np.sqrt(terms.gap)"),
    ("asymptotic-equivalence", "quadrature", "steinlab.claims.error_bounds.asymptotic_equivalence",
     "distance", "terms.gap", "terms.err"),
    ("vp-singularity", "cancellation", "steinlab.claims.coordinates.vp_singularity", "_remainder",
     '"u_x": alpha', '"u_x": 1.0'),
    ("vp-singularity", "cancellation", "steinlab.claims.coordinates.vp_singularity", "_cancels",
     "sigma**2", "sigma"),
    ("vp-singularity", "rates", "steinlab.claims.coordinates.singular_paths", "quantities",
     "1 - 1 / alpha", "1 - alpha"),
    ("vp-singularity", "rates", "steinlab.claims.coordinates.singular_paths", "_deviations",
     "s.sigma**2 / s.alpha", "s.sigma**2"),
    ("geometry-blindness", "edm", "steinlab.claims.instruments.posterior_mean_collapse",
     "posterior_mean", "1 / slack", "1.000001 / slack"),
    ("cosine-law", "run", f"{CAUSES}.cosine_law", "angles", "/ deviation", "* deviation"),
    ("cosine-law", "equal angles", f"{CAUSES}.cosine_law", "equal", "/ n)", "/ (n - 0.5))"),
    ("law-scalar", "law", f"{CAUSES}.law_scalar", "law_scalar", "1 - k**2", "1 - k"),
    ("law-scalar", "epsilon scaling", f"{CAUSES}.law_scalar", "compare_scaled", "1 / formula",
     "formula"),
    ("clip-neutrality", "Gaussians", f"{CAUSES}.clip_neutrality", "coefficient", "mass @ (u * off)",
     "0.5 * mass @ (u * off)"),
    ("moment-exact-step", "every law", f"{CAUSES}.moment_exact_step", "gamma", "1 - k**2", "1 - k"),
    ("moment-exact-step", "isotropic", "steinlab.diffusion.spread", "seen_variance",
     "level.ratio**2", "level.ratio"),
    ("posterior-variance-estimators", "identities", f"{CAUSES}.posterior_variance_estimators",
     "estimates", '"orthogonality": noise - power', '"orthogonality": noise - 0.999 * power'),
    ("posterior-variance-estimators", "isotropic", f"{CAUSES}.posterior_variance_estimators",
     "batch_estimates", "noise * signal / scale", "noise * signal"),
    ("per-class-coefficient", "cases", "steinlab.claims.coefficient.per_class_coefficient",
     "_classes", "x - law(x, step.s)", "x - whole(x, step.s)"),
    ("per-class-coefficient", "cases", "steinlab.claims.coefficient.per_class_coefficient",
     "_total", "c.power *", "1.00001 * c.power *"),
    ("cost-table", "operations", "steinlab.claims.coefficient.cost_table", "operations",
     "12 + m", "11 + m"),
    ("bound-as-excess-loss", "loss", "steinlab.claims.error_bounds.bound_as_excess_loss",
     "measure", "means + a * variance", "means + variance"),
    ("bound-as-excess-loss", "bound", "steinlab.claims.error_bounds.bound_as_excess_loss",
     "_by_loss", "sigma**2", "sigma"),
    ("amed-order", "r = 1/2", "steinlab.solvers.parallel", "Parallel.step", "length * weight",
     "1.05 * length * weight"),
    ("pfdiff-order", "1_1 and 3_2", "steinlab.solvers.pfdiff", "_springing", "1 - fraction",
     "1.2 - fraction"),
    ("dc-solver-order", "one variance", "steinlab.solvers.compensated", "fitted", "+ 1 if",
     "+ 1.001 if"),
    ("dpm-v3-exactness", "diagonal", "steinlab.solvers.dpm_v3", "of_gaussian", "2 * share",
     "1.999 * share"),
    ("mean-value-direction", "plane", f"{SYSTEMS}.mean_value_direction", "mean_value",
     "(ratio - 1)", "(ratio - 1.001)"),
    ("meanflow-identity", "two modes", f"{SYSTEMS}.meanflow_identity", "target", "v * k.along",
     "v * 1.001 * k.along"),
    ("shortcut-consistency", "exact displacement", "steinlab.solvers.one_step", "doubled",
     "x - d *", "x - 0.999 * d *"),
    ("shortcut-consistency", "bootstrapped", "steinlab.solvers.base", "first_order",
     "t.sigma / s.sigma", "1.001 * t.sigma / s.sigma"),
    ("progressive-distillation", "rounds of halving", "steinlab.solvers.one_step", "target",
     "(end - k * x)", "(end - 1.001 * k * x)"),
    ("rectified-flow-cost", "equality", "analytic.flow.rectified", "velocity", "/ t",
     "/ 1.001 / t"),
    ("reflow-straightness", "on the line", "analytic.flow.rectified", "Reflow.__call__", "+ t * z",
     "+ 1.001 * t * z"),
    ("consistency-training", "total variance", "analytic.flow.consistency", "_moments",
     "(1 - k) * data", "(1 - 1.01 * k) * data"),
    ("one-step-coefficient", "Theorem 4.7", f"{SYSTEMS}.one_step_coefficient", "stein",
     "1 - 1 / t.level.alpha", "1 - t.level.alpha"),
    ("pas-directions", "the step in the span", "steinlab.solvers.principal", "Principal.basis",
     "- xp.sum(u * v", "- 0.5 * xp.sum(u * v"),
    ("pas-directions", "shared coordinates", "steinlab.claims.instruments.part_lengths",
     "Trajectories.lengths", "self.size / 2", "4 / 2"),
    ("pas-directions", "shared coordinates, one variance",
     "steinlab.claims.instruments.part_lengths", "Trajectories.lengths", "vectors[0] ** 2",
     "abs(vectors[0])"),
    ("dpm-v3-order", "three outputs, corrector", "steinlab.solvers.dpm_v3", "coefficients",
     "(end, *(c - p", "(0.9 * end, *(c - p"),
    ("frechet-bias", "on the line", "steinlab.claims.instruments.frechet", "bias", "s.sum() / 4",
     "s.sum() / 5"),
    ("frechet-bias", "in several dimensions", "steinlab.metrics", "Moments.to", "- 2 * shared",
     "- 2.0001 * shared"),
    ("frechet-bias", "energy distance", "steinlab.metrics", "mean_within", "(len(x) - 1)",
     "len(x)"),
    ("patch-locality", "independent patches", "analytic.composed", "Product.denoise",
     "denoise\", level", "denoise\", NoiseLevel(level.alpha, 1.001 * level.sigma)"),
    ("patch-locality", "excess loss", "steinlab.claims.instruments.patches", "excess_loss",
     "(1 - w) ** 2", "(1 - w)"),
    ("latent-decoder", "lengths kept", "analytic.composed", "Embedded.denoise", "self.encode(x)",
     "1.0001 * self.encode(x)"),
    ("latent-decoder", "Euler in EDM", "steinlab.claims.instruments.decoders", "measure",
     "else law(z, s)", "else law(1.0001 * z, s)"),
]  # fmt: skip


RARE = {
    "_assemble",
    "geometry-blindness",
    "moment-exact-step",
    "per-class-coefficient",
    "posterior-variance-estimators",
}
"""A function and claims whose broken formulas few cases meet."""


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda m: f"{m[0]}: {m[3]}: {m[4]} -> {m[5]}")
def test_a_broken_formula_refutes_the_claim(
    mutant: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    claim_id, check, module, name, old, new = mutant
    shrink(monkeypatch, SMALLER if RARE & {claim_id, name} else FEWEST)
    monkeypatch.setattr("steinlab.verification.judge._smallest", lambda *_: None)
    break_source(monkeypatch, module, name, old=old, new=new)
    row = judged(claim_id, check)
    assert row["verdict"] == "refuted"
    worst = row["worst"]
    assert abs(worst["measured"] - worst["bound"]) > worst["tolerance"]


@pytest.mark.parametrize(
    ("module", "name", "old", "new"),
    [
        ("analytic.levels", "NoiseLevel.noised", "self.sigma * noise", "1.2 * self.sigma * noise"),
        (DIVERGENCE, "_assemble", "* dim", "* 1"),
        (DIVERGENCE, "Hutchinson.along", "step.dim", "1"),
    ],
)
def test_samples_notice_what_a_line_cannot_show(
    module: str, name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    if name == "Hutchinson.along":  # probe linear steps too, which are exact otherwise
        monkeypatch.setattr(
            "steinlab.claims.instruments.step_checks.sampled_divergence", lambda _: Hutchinson()
        )
    shrink(monkeypatch)
    break_source(monkeypatch, module, name, old=old, new=new)
    assert judged("edm-drift-vanishes", "samples")["verdict"] == "refuted"


@pytest.mark.parametrize(
    ("module", "name", "old", "new"),
    [
        (DIVERGENCE, "_assemble", "* dim", "* dim * 0"),
        ("steinlab.coefficient.forward_mode", "Dual.__mul__", "tangent * scale", "tangent"),
    ],
)
def test_space_notices_what_a_line_cannot_show(
    module: str, name: str, old: str, new: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    shrink(monkeypatch)
    monkeypatch.setattr(collinear_laws, "STEPS", (("euler", 64), ("heun", 3)))
    break_source(monkeypatch, module, name, old=old, new=new)
    row = judged("reference-free-coefficient", "line times radius")
    assert row["verdict"] == "refuted"


@pytest.mark.parametrize(
    ("claim_id", "check", "module"),
    [
        ("reference-free-coefficient", "quadrature", "steinlab.claims.instruments.linear_forms"),
        ("stein-identity", "fields", "steinlab.claims.coefficient.stein_identity"),
        ("optimal-coefficient", "quadrature", "steinlab.claims.coefficient.optimal_coefficient"),
        ("error-decay", "step", "steinlab.claims.coefficient.optimal_coefficient"),
        ("asymptotic-equivalence", "quadrature", "steinlab.claims.coefficient.optimal_coefficient"),
    ],
)
def test_a_blind_check_is_reported(
    claim_id: str, check: str, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With a tolerance of any size nothing is refuted, and the controls say so."""
    shrink(monkeypatch)
    monkeypatch.setattr(f"{module}.ROUNDING", 1e13)
    row = judged(claim_id, check)
    assert any("control not rejected" in fault for fault in faults({"claims": [row]}))


@pytest.mark.parametrize("claim_id", ["reference-free-coefficient", "edm-drift-vanishes"])
def test_tolerances_are_not_generous(claim_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fiftieth of the tolerance is exceeded: the bound is near what is reached."""
    shrink(monkeypatch)
    (row,) = judged(claim_id, "quadrature")["evidence"]
    worst = row["worst_over_tolerance"]
    assert 1 / 50 < worst < 1


# --- sampled checks -----------------------------------------------------------------------------


def test_z_values_are_calibrated() -> None:
    """Over 600 sampled cases: mean square, tail fraction and maximum of a normal sample."""
    check = sampled_check(600)
    claim = load_claim("reference-free-coefficient")
    data = [check.measure(b) for b in check.draw(effort_for("calibration", "z", "quick", 0))]
    sides = [
        [linear_forms.combine(f, d.terms, d.alpha, d.sigma) for f in claim.formula] for d in data
    ]
    z = np.concatenate([Mean.of(left - right).scores() for left, right in sides])
    n = len(z)
    assert n >= 600
    for tail in (chi2.sf, chi2.cdf):
        assert tail((z**2).sum(), n) > FAMILY_LEVEL
    assert (np.abs(z) > 1.96).mean() == pytest.approx(0.05, abs=4 * math.sqrt(0.05 * 0.95 / n))
    assert np.abs(z).max() < critical(n)
    assert check.pool is not None
    pooled = check.pool(data, claim.formula)
    assert not pooled.violated.any()
    assert pooled.measured[1] == pytest.approx((z**2).mean(), rel=1e-9)


def test_what_functions_of_every_room_keep_is_forgotten() -> None:
    schema("ledger")
    assert schema.cache_info().currsize
    forget()
    assert not schema.cache_info().currsize
