"""The falsifier finds what is wrong, shrinks it, stores it, and continues where it stopped."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main, output
from steinlab.verification.claim import PROFILES, Check, Claim, NegativeControl
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify import (
    ATTACK_BUDGET,
    Parameter,
    Search,
    attack,
    score_of,
    shrink,
    spaces_of,
)
from steinlab.verification.falsify.attack import BRIEF, budget_of, describe, stored
from steinlab.verification.falsify.shrink import _keeps
from steinlab.verification.judge import examine, judged, rerun
from steinlab.verification.ledger import load_claim, read_case, replay
from steinlab.verification.outcome import FALSIFIER
from steinlab.verification.schedule import Plan

CLAIMS = ("asymptotic-equivalence", "error-decay", "stein-identity", "vp-singularity")
SEARCHABLE = (*CLAIMS, "optimal-coefficient", "edm-drift-vanishes", "reference-free-coefficient")


def searched(claim: Claim, budget: int, seed: int = 0) -> Search:
    search = Search(claim, spaces_of(claim), seed)
    for _ in search.run(budget):
        pass
    return search


CONTROLS = [
    ("asymptotic-equivalence", "bound halved"),
    ("error-decay", "rho not squared"),
    ("stein-identity", "sigma instead of sigma^2"),
    ("reference-free-coefficient", "1/alpha dropped"),
]


@pytest.mark.parametrize(("claim_id", "name"), CONTROLS)
def test_a_falsified_formula_is_found_within_64_cases_and_shrunk(claim_id, name) -> None:
    claim = load_claim(claim_id)
    control = next(t for t in claim.controls if t.name == name)
    wrong = replace(claim, formula=control.formula)
    found = searched(wrong, 64).best()
    assert found is not None
    assert found.violated
    small, tried = shrink(wrong, found)
    assert small.violated
    assert tried > 0
    assert len(small.values) <= len(found.values)
    assert "1 components" in small.space.name
    digits = [len(f"{v:.12g}".strip("0.-").split("e")[0]) for v in small.values]
    assert np.mean(digits) < 6, small.values
    assert rerun(wrong, small.space.check, describe(wrong, small)).violated.all()


def rare(error: float) -> Claim:
    """A toy identity that only fails at one corner of its two numbers."""

    class Cases(list):
        dataset = None

        def describe(self, index: int) -> Any:
            return {"numbers": list(self[index])}

    class Square:
        check, name, drawn = "corner", "the unit square", 40
        parameters = (Parameter("a", 1e-3, 1.0, True), Parameter("b", -1.0, 1.0))

        def build(self, values: Any, _: Any) -> Any:
            return Cases(values.tolist())

        def simpler(self, _: Any) -> Any:
            return []

    def compare(data: Any, formula: float) -> Comparison:
        a, b = np.array(data).T
        off = formula * np.exp(-(((a - 0.9) / 0.1) ** 2) - ((b + 0.8) / 0.1) ** 2)
        return Comparison(1 + off, np.ones(len(a)), np.full(len(a), 1e-6))

    check = Check(
        "corner",
        "property",
        lambda case: Cases([case["numbers"]]),
        draw=lambda _: [Cases([[0.1, 0.1]])],
        measure=lambda cases: cases,
        compare=compare,
    )
    return Claim(
        id="toy",
        title="Toy",
        statement="1 = 1",
        source="here",
        kind="identity",
        conditions=(),
        formula=error,
        checks=(check,),
        controls=(NegativeControl("off", 1.0),),
        finding="",
        search=lambda _: [Square()],
    )


def test_a_rare_corner_is_climbed_and_a_claims_own_space_is_used() -> None:
    found = searched(rare(1e-3), 800).best()
    assert found is not None
    assert found.violated
    assert np.allclose(found.values, [0.9, -0.8], atol=0.03)
    assert found.score == pytest.approx(1e3, rel=0.05)
    small, _ = shrink(rare(1e-3), found)
    assert [float(f"{v:.1g}") for v in small.values] == small.values.tolist()


def test_no_violation_where_there_is_none() -> None:
    found = searched(rare(5e-7), 320).best()
    assert found is not None
    assert not found.violated
    assert found.score < 1


def test_the_tightest_case_of_a_bound_approaches_one() -> None:
    claim = load_claim("asymptotic-equivalence")
    found = searched(claim, 240).best()
    assert found is not None
    assert not found.violated
    assert 1 - 1e-6 < found.score <= 1 + 1e-9
    small, _ = shrink(claim, found)
    assert 1 - small.score <= 1.5 * (1 - found.score) + 1e-9


@pytest.mark.parametrize("claim_id", SEARCHABLE)
def test_spaces_stay_inside_the_claims_conditions(claim_id) -> None:
    rng = np.random.default_rng(0)
    for space in spaces_of(load_claim(claim_id)):
        points = rng.random((3, len(space.parameters)))
        values = np.stack([p.at(points[:, i]) for i, p in enumerate(space.parameters)], axis=1)
        problem = space.build(values, np.arange(3)).problem
        if claim_id == "edm-drift-vanishes":
            assert np.all(problem.s.alpha == 1)
        if claim_id == "vp-singularity":
            assert np.allclose(problem.s.alpha**2 + problem.s.sigma**2, 1)
        assert np.all(problem.t.sigma < problem.s.sigma * problem.t.alpha / problem.s.alpha)
        assert problem.solver.name in space.name


def test_an_interrupted_search_continues_as_if_nothing_had_happened() -> None:
    claim = load_claim("vp-singularity")
    whole = searched(claim, 320).to_json("s")
    part = json.loads(json.dumps(searched(claim, 208).to_json("s")))
    rest = Search(claim, spaces_of(claim), 0)
    rest.restore(part, "s")
    assert rest.spent == 208
    for _ in rest.run(320):
        pass
    assert rest.to_json("s") == whole
    for island in part["islands"]:
        island["scores"]["score"][0] = None  # how a score without a number is stored
    rest.restore(part, "s")
    for found in rest.islands:
        assert found.scores is not None
        assert found.scores.score[0] == -np.inf


def test_a_case_as_near_to_a_bound_is_kept() -> None:
    near, far = (SimpleNamespace(violated=False, score=score) for score in (1 - 1e-12, 0.5))
    assert _keeps(near, near)  # type: ignore[arg-type]
    assert not _keeps(far, near)  # type: ignore[arg-type]


def test_the_ridge_that_the_falsifier_found_is_rounding() -> None:
    """At log p = -6938 exponents lose 1e-5 of a secant, which once passed for a violation."""
    case = {
        "data": {
            "weights": [0.6666666666666667, 0.33333333333333337],
            "means": [[-6.2], [7.9]],
            "covariances": [0.0033640000000000002, 0.0036],
        },
        "from": [0.9999500037496877, 0.009999500037496877],
        "to": [0.9999664856825877, 0.00818703313875648],
        "solver": "euler",
        "seed": 0,
        "dim": 1,
    }
    assert not rerun(load_claim("lipschitz-bound"), "secants", case).violated.any()


def test_scores() -> None:
    def one(measured: float, predicted: float, upper: bool, tolerance: float = 1e-9) -> float:
        arrays = (np.array([v]) for v in (measured, predicted, tolerance))
        return float(score_of(Comparison(*arrays, upper=upper))[0])

    assert one(1.0, 2.0, True) == 0.5
    assert one(1.0, -2.0, True) > 1e200
    assert one(1.0, 1.0 + 1e-10, False) == pytest.approx(0.1, rel=1e-5)
    assert one(1.0, 2.0, False, tolerance=0.1) == -np.inf, "undecided"


def test_the_attack_is_a_row_of_evidence() -> None:
    units = Plan.of(["vp-singularity", "gain-grows-with-step"], "quick", 0).units
    attacked = {name: [unit.check for unit in own][-1] == FALSIFIER for name, own in units.items()}
    assert attacked == {"vp-singularity": True, "gain-grows-with-step": False}
    toy = rare(5e-7)
    outcomes = {
        "corner": examine(toy, toy.checks[0], "quick", 0),
        FALSIFIER: attack(toy, 0, 160),
    }
    row = judged(toy, outcomes, "quick", 0)
    assert row["verdict"] == "holds"
    assert row["evidence"][-1]["attacks"] == 160
    assert row["evidence"][-1]["best"] < 1
    toy = rare(1e-3)
    row = judged(toy, {**outcomes, FALSIFIER: attack(toy, 0, 480)}, "quick", 0)
    assert row["verdict"] == "refuted"
    assert row["worst"]["check"] == "corner"
    assert row["evidence"][-1]["violations"] == 1


def test_an_attack_spends_no_more_than_the_check_draws() -> None:
    outcome = attack(rare(1e-3), 0)
    assert outcome is not None
    assert outcome.attack is not None
    assert outcome.attack.cases == 40
    spaces = {p: spaces_of(load_claim("vp-singularity"), p) for p in PROFILES}
    assert budget_of(spaces["full"], "full") == ATTACK_BUDGET
    assert budget_of(spaces["quick"], "quick") == ATTACK_BUDGET // BRIEF
    assert budget_of(spaces_of(rare(1e-3)), "quick") == 1


def test_an_attack_depends_on_the_seed_and_the_profile_alone() -> None:
    claim = load_claim("vp-singularity")
    first, again, other = (attack(claim, seed, profile="quick") for seed in (0, 0, 1))
    assert first is not None
    assert again is not None
    assert other is not None
    assert (first.worst, first.attack) == (again.worst, again.attack)
    assert first.worst != other.worst


def test_a_found_violation_of_an_experiment_tried_here_refutes_nothing() -> None:
    toy = rare(1e-3)
    found = searched(toy, 480).best()
    assert found is not None
    case = describe(toy, found)
    comparison = rerun(toy, "corner", case)
    assert stored(toy, found, comparison, case)["verdict"] == "refuted"
    assert (
        stored(replace(toy, tried="here"), found, comparison, case)["verdict"] == "not-reproduced"
    )


def test_a_check_that_cannot_draw_few_is_not_searched() -> None:
    def draw(effort: Any) -> Any:
        if effort.count(1500) < 100:
            raise ValueError("too few")
        return original.draw(effort)

    claim = load_claim("vp-singularity")
    original = next(c for c in claim.checks if c.name == "cancellation")
    assert spaces_of(replace(claim, checks=(original,)))
    assert not spaces_of(replace(claim, checks=(replace(original, draw=draw),)))


def test_the_command_stores_a_case_that_replays_and_continues(
    tmp_path, capsys, monkeypatch
) -> None:
    monkeypatch.setattr(output, "SECONDS_BETWEEN_LINES", 0.0)
    out = tmp_path / "out"
    args = ["falsify", "vp-singularity", "--out", str(out), "--json", str(tmp_path / "r.json")]
    assert main([*args, "--budget", "64"]) == 0
    assert "64 of 64 cases spent, in 12 spaces" in capsys.readouterr().out
    case = read_case(out / "vp-singularity.attack.json")
    now = replay(case)
    assert all(now[key] == case[key] for key in ("measured", "bound", "tolerance"))
    assert main(["replay", str(out / "vp-singularity.attack.json")]) == 0
    capsys.readouterr()
    assert main([*args, "--budget", "96"]) == 0
    shown, said = capsys.readouterr()
    assert "96 of 96 cases spent, 64 of them in earlier runs" in shown
    assert re.search(r"% done, \d+ of 96 cases: best 0\.", said)
    result = json.loads((tmp_path / "r.json").read_text())
    assert (result["spent"], result["budget"], result["violated"]) == (96, 96, False)
    assert 0 < result["checks"]["cancellation"] < 1


def test_an_interrupt_keeps_everything(tmp_path, monkeypatch, capsys) -> None:
    from steinlab.verification.falsify import Search as Original

    move = Original._move

    def stop(self: Any, island: Any, rows: int) -> None:
        if self.spent >= 48:
            raise KeyboardInterrupt
        move(self, island, rows)

    monkeypatch.setattr(Original, "_move", stop)
    out = tmp_path / "out"
    assert main(["falsify", "vp-singularity", "--budget", "320", "--out", str(out)]) == 130
    assert "interrupted after 48 of 320 cases" in capsys.readouterr().err
    assert json.loads((out / "vp-singularity.search.json").read_text())["spent"] == 48
    assert (out / "vp-singularity.attack.json").exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["stein-identiy"], "did you mean stein-identity?"),
        (["stein-identity", "--budget", "0"], "--budget must be a whole number from 1"),
        (["vp-singularity", "--seed", "-1"], "--seed must be"),
    ],
)
def test_bad_input_is_one_line(args, message, refused) -> None:
    assert message in refused("falsify", *args)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version must be 1 in the stored search, got 2; "),
        ({"sources": "x"}, "sources must be"),
        ({"seed": 5}, "seed must be 0"),
        ({"claim": "y"}, "claim must be vp-singularity"),
        ({"islands": []}, "islands must be of a stored search of this claim: "),
        ({"rng": None}, "rng must be an object, got null"),
        ({"spent": 9, "sum": "0"}, "must be as it was written, got"),
    ],
)
def test_a_foreign_state_is_one_line(change, message, tmp_path, refused) -> None:
    from steinlab.verification.shards import sources_of

    claim = load_claim("vp-singularity")
    state = Search(claim, spaces_of(claim), 0).to_json(sources_of("vp-singularity"))
    (tmp_path / "vp-singularity.search.json").write_text(json.dumps({**state, **change}))
    said = refused("falsify", "vp-singularity", "--out", tmp_path)
    assert message in said
