"""``--certify`` and the checks by proof: what they answer, refuse and reject."""

from __future__ import annotations

import json
import sys
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest

from analytic import GaussianMixture
from steinlab.claims.coefficient.reference_free_coefficient import CLAIM
from steinlab.claims.instruments.enclosed_bounds import (
    LIPSCHITZ_CASES,
    PERTURBATION_CASES,
    compare_lipschitz,
    compare_perturbations,
    enclosed_constants,
    measure_lipschitz,
    measure_perturbations,
    proved_bound,
)
from steinlab.claims.instruments.enclosures import (
    COEFFICIENT_CASES,
    EDM_CASES,
    CertifiedCases,
    certified_check,
    compare_terms,
    measure_terms,
    proof_radius,
)
from steinlab.claims.instruments.linear_forms import (
    Identity,
    no_square,
    reference,
    stein,
    wrong_sign,
)
from steinlab.coefficient.certified import exact_mixture
from steinlab.verification.claim import Effort
from steinlab.verification.judge import judge, runnable
from steinlab.verification.registry import load_claim

STEP = {
    "data": {"weights": ["3/10", "7/10"], "means": [-1, "3/2"], "stds": ["2/5", "7/10"]},
    "from": [1, 1],
    "to": [1, "1/2"],
    "solver": "euler",
}
flint = pytest.importorskip("flint")


def test_certify_adds_midpoint_and_radius(steinlab, spec_file):
    done = steinlab("coefficient", spec_file(STEP), "--certify", "--json", "-", here=True)
    assert done.returncode == 0, done.stderr
    proved = json.loads(done.stdout)["gamma"]["certified"]
    assert set(proved) == {"mid", "radius"}
    assert proved["mid"].startswith(("2.00000000000000000000000000", "1.9999999999999999999999999"))
    assert abs(Fraction(proved["mid"]) - 2) <= Fraction(proved["radius"]) < Fraction(1, 10**29)
    assert "certified" in done.stderr


def test_fractions_stay_exact(steinlab, spec_file):
    """At 1/3 a double would move gamma* = 1/(1 - kappa) by 1e-17, far outside the radius."""
    spec = {**STEP, "from": [1, "1/3"], "to": [1, "1/7"]}
    done = steinlab("coefficient", spec_file(spec), "--certify", "--json", "-", here=True)
    proved = json.loads(done.stdout)["gamma"]["certified"]
    assert abs(Fraction(proved["mid"]) - Fraction(7, 4)) <= Fraction(proved["radius"])
    assert Fraction(proved["radius"]) < Fraction(1, 10**29)


PLANE = {"weights": ["1/3"] * 3, "means": [[0, 0], [1, 0], [0, 1]], "stds": [1, 1, 1]}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"solver": "dpm-2"}, "solver must be one of euler, heun, dpmpp-2m, got dpm-2"),
        ({"solver": "dpmpp-2m", "history": [[1, 2]]}, "history must be empty"),
        ({"data": PLANE}, "means must lie on one line"),
    ],
)
def test_what_cannot_be_certified_is_one_line(refused, spec_file, change, message):
    line = refused("coefficient", spec_file({**STEP, **change}), "--certify")
    assert line.startswith("--certify: ")
    assert message in line


def test_without_python_flint_certify_says_how_to_get_it(refused, spec_file, monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    line = refused("coefficient", spec_file(STEP), "--certify")
    assert line == ("--certify: python-flint is not installed: pip install 'steinlab[certified]'")


def test_without_python_flint_a_check_is_not_run_with_the_reason(monkeypatch):
    monkeypatch.setitem(sys.modules, "flint", None)
    check = certified_check(COEFFICIENT_CASES)
    assert "python-flint" in check.missing()
    row = judge(replace(CLAIM, checks=(check,), dropped=()))
    assert row["verdict"] == "not-run"
    assert "pip install" in row["finding"]
    assert proof_radius({}) == []


def first_part(cases, **options):
    check = certified_check(cases, **options)
    (batch,) = check.draw(Effort("quick", np.random.default_rng(0)))
    return check, batch


def test_the_coefficient_is_proved_within_a_narrow_ball():
    _, batch = first_part(COEFFICIENT_CASES)
    data = measure_terms(batch)
    assert data.radius < 1e-12
    comparison = compare_terms(data, Identity(reference, stein))
    assert comparison.decided.all()
    assert not comparison.violated.any()
    assert comparison.detects() < 1e-13
    for grade in (1e-6, 1e-11):
        assert comparison.graded(grade).violated.all()
    for wrong in (wrong_sign, no_square):
        assert compare_terms(data, Identity(reference, wrong)).violated.all()


def test_cases_are_replayed_to_the_last_digit():
    _, batch = first_part(EDM_CASES)
    stored = json.loads(json.dumps(batch.describe(1)))
    again = measure_terms(CertifiedCases.restore(stored)).values[0]
    assert again == measure_terms(CertifiedCases((batch.rows[1],))).values[0]


def coefficient_bound(data):
    return data.sigma**2 / data.alpha * np.sqrt(data.fisher / data.power)


def test_the_perturbation_bound_is_proved_and_tight():
    check, batch = first_part(
        PERTURBATION_CASES, measure=measure_perturbations, compare=compare_perturbations
    )
    data = check.measure(batch)
    right = check.compare(data, coefficient_bound)
    assert not right.violated.any()
    assert 1 - 1e-10 < right.tightness() <= 1 + 1e-10
    assert right.graded(0.01).violated.any()
    assert check.compare(data, lambda d: 0.9 * coefficient_bound(d)).violated.any()
    assert check.compare(data, lambda d: coefficient_bound(d) / d.sigma**2).violated.any()
    for one in data.found:
        assert one.deviation.overlaps(one.by_scores)
        assert one.deviation.radius < 1e-12
        assert one.bound.radius < 1e-12 * one.bound.upper


def first(data):
    (a, s), (at, st) = data.s, data.t
    return st / s + st * (at / st - a / s) * data.denoiser


def test_the_lipschitz_identity_is_proved():
    check, batch = first_part(LIPSCHITZ_CASES, measure=measure_lipschitz, compare=compare_lipschitz)
    data = check.measure(batch)
    right = check.compare(data, first)
    assert right.decided.all()
    assert not right.violated.any()
    assert right.graded(0.01).violated.all()
    assert check.compare(data, lambda d: first(d) - d.t[1] / d.s[1]).violated.all()


def test_exact_values_of_doubles():
    law = exact_mixture(GaussianMixture([0.25, 0.75], [0.1, 1.0], [0.5, 2.0]))
    assert law.means[0] == (Fraction(0.1),)
    assert law.variances == (Fraction(1, 2), Fraction(2))
    with pytest.raises(ValueError, match="multiples of the identity"):
        exact_mixture(GaussianMixture([1.0], [[0.0, 0.0]], [[1.0, 2.0]]))
    with pytest.raises(ValueError, match="a stack"):
        exact_mixture(GaussianMixture([[1.0]], [[[0.0]]], 1.0))


@pytest.mark.parametrize(
    "claim_id",
    ["perturbation-bound", "lipschitz-bound", "perturbation-bound-in-trap", "contractivity-trap"],
)
def test_the_bounds_claims_hold_a_proof_and_do_without_where_flint_is_missing(
    claim_id, monkeypatch
):
    claim = load_claim(claim_id)
    proof = next(check for check in claim.checks if check.method == "certified")
    small, large = (
        proof.draw(Effort(profile, np.random.default_rng(0))) for profile in ("quick", "full")
    )
    assert len(large[0]) >= len(small[0]) >= 2
    told = {"finding": lambda _: "", "table": None, "headline": "", "numbers": None}
    alone = replace(claim, checks=(proof,), dropped=(), **told)
    row = judge(
        replace(alone, controls=tuple(t for t in claim.controls if "certified" in t.checks))
    )
    assert row["undecided"] == 0
    assert len(row["controls"]) >= 2
    assert all(control["rejected"] for control in row["controls"])
    assert all(e["violations"] == 0 and e["detects"] < 1e-8 for e in row["evidence"])
    monkeypatch.setitem(sys.modules, "flint", None)
    assert proof.name not in {check.name for check in runnable(claim)}
    assert proved_bound({}) == enclosed_constants({}) == []
