"""From a claim to its row: verdicts, controls, faults, crashes, expectations."""

from __future__ import annotations

import json
import math
import re
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.errors import InputError
from steinlab.verification import ledger, registry
from steinlab.verification.claim import NegativeControl
from steinlab.verification.comparison import Comparison
from steinlab.verification.judge import effort_for, judge
from steinlab.verification.ledger import differences, faults, judge_by_id, run, stored_case
from steinlab.verification.outcome import Crash
from steinlab.verification.quantities import Number
from tests.steinlab.verification.toys import (
    TOLERANCE,
    Numbers,
    check,
    claim,
    compare,
    double,
    dropped,
)


def named(row: dict[str, Any], name: str) -> dict[str, Any]:
    (control,) = (c for c in row["controls"] if c["name"].startswith(name))
    return dict(control)


def test_a_true_claim_holds() -> None:
    row = judge(claim())
    assert row["verdict"] == "holds"
    assert (row["cases"], row["undecided"], row["tightness"]) == (7, 0, None)
    assert row["detects"] == pytest.approx(TOLERANCE / 4, rel=1)
    assert row["finding"] == "seen numbers"
    assert named(row, "wrong sign")["rejected"]
    assert named(row, "graded 1e-06, numbers")["rejected"]
    assert faults({"claims": [row]}) == []
    assert row["evidence"][0]["violations"] == 0
    json.dumps(row, allow_nan=False)


def test_a_false_claim_is_refuted_with_its_worst_case() -> None:
    row = judge(claim(formula=lambda x: 2 * x + 1e-6 * (x - 1.5)))
    assert row["verdict"] == "refuted"
    worst = row["worst"]
    assert abs(worst["measured"] - worst["bound"]) > worst["tolerance"]
    assert worst["measured"] == 2 * worst["case"]["x"]
    assert worst["check"] == "numbers"
    batches = check().draw(effort_for("toy", "numbers", "quick", 0))
    furthest = max((x for batch in batches for x in batch.x), key=lambda x: abs(x - 1.5))
    assert worst["case"]["x"] == furthest
    assert row["evidence"][0]["violations"] > 0
    assert faults({"claims": [row]}) == [], "a refuted claim is a result, not an error"
    assert stored_case(row) == {"version": 1, "claim": "toy", "verdict": "refuted", **worst}


def test_one_refuting_check_outranks_the_rest() -> None:
    row = judge(claim(checks=(check(), check("more", 2.0001)), dropped=(dropped(unstated=True),)))
    assert row["verdict"] == "refuted"
    assert row["worst"]["check"] == "more"


def test_a_dropped_condition_that_the_statement_leaves_out_makes_it_conditional() -> None:
    row = judge(claim(dropped=(dropped(unstated=True),)))
    assert row["verdict"] == "conditional"
    assert named(row, "another slope")["rejected"]
    assert row["finding"] == "seen numbers, other"
    assert judge(claim(dropped=(dropped(),)))["verdict"] == "holds"


def test_a_dropped_condition_that_changes_nothing_is_a_fault() -> None:
    row = judge(claim(dropped=(dropped(slope=2.0, unstated=True),)))
    assert faults({"claims": [row]}) == ["toy: control not rejected: another slope"]


def test_a_control_that_passes_is_a_fault() -> None:
    row = judge(claim(controls=(NegativeControl("the same", lambda x: 2 * x),)))
    assert row["verdict"] == "holds"
    assert not named(row, "the same")["rejected"]
    assert faults({"claims": [row]}) == ["toy: control not rejected: the same"]


def test_a_control_may_be_bound_to_a_check() -> None:
    """A control that only the other check could reject is not rejected by its own."""
    off = NegativeControl("off by 1e-7", lambda x: 2 * x * (1 + 1e-7), ("coarse",))
    coarse = check(
        "coarse", compare=lambda d, f: replace(compare(d, f), tolerance=np.full_like(d[0], 1e-4))
    )
    row = judge(claim(checks=(check(), coarse), controls=(off,)))
    assert "toy: control not rejected: off by 1e-7" in faults({"claims": [row]})
    free = replace(off, checks=())
    assert named(judge(claim(controls=(free,))), "off by 1e-7")["rejected"]


def test_a_nearly_blind_check_fails_its_graded_control() -> None:
    coarse = check(compare=lambda d, f: replace(compare(d, f), tolerance=np.full_like(d[0], 1e-4)))
    row = judge(claim(checks=(coarse,)))
    assert named(row, "wrong sign")["rejected"], "it notices a wrong sign"
    assert not named(row, "graded")["rejected"], "and little else"
    assert faults({"claims": [row]}) == ["toy: control not rejected: graded 1e-06, numbers"]


@pytest.mark.parametrize(("options", "grade"), [({"sampled": True}, 0.01), ({"upper": True}, 0.01)])
def test_the_grade_follows_the_kind_of_check(options: dict[str, bool], grade: float) -> None:
    kind = check(compare=lambda d, f: replace(compare(d, f), **options))
    row = judge(claim(checks=(kind,)))
    assert named(row, "graded")["measured"] == grade


def test_undecided_cases_are_counted_not_passed() -> None:
    def vague(data: Any, formula: Any) -> Comparison:
        c = compare(data, formula)
        return replace(c, tolerance=np.where(data[0] > 1.5, 1.0, c.tolerance))

    row = judge(claim(checks=(check(compare=vague),)))
    batches = check().draw(effort_for("toy", "numbers", "quick", 0))
    expected = sum(x > 1.5 for batch in batches for x in batch.x)
    assert 0 < expected < 7
    assert row["undecided"] == row["evidence"][0]["undecided"] == expected
    blind = judge(claim(checks=(check(compare=lambda d, f: replace(
        compare(d, f), tolerance=np.full_like(d[0], 9.0))),)))  # fmt: skip
    assert len(faults({"claims": [blind]})) == 2, "all undecided: no control can be rejected"
    json.dumps(blind, allow_nan=False)


def test_a_joint_test_can_refute_alone() -> None:
    def pool(data: Any, formula: Any) -> Comparison:
        ratio = np.mean([np.mean(y / formula(x)) for x, y in data])
        return Comparison(np.array([ratio]), np.ones(1), np.array([1e-3]), sampled=True)

    loose = check(
        compare=lambda d, f: replace(compare(d, f), tolerance=0.5 * d[0], sampled=True), pool=pool
    )
    assert judge(claim(checks=(loose,)))["verdict"] == "holds"
    row = judge(claim(checks=(loose,), formula=lambda x: 2.02 * x))
    assert row["verdict"] == "refuted"
    assert row["evidence"][0]["pooled"]["measured"][0] == pytest.approx(2 / 2.02)


def test_cases_depend_on_names_and_seed_alone() -> None:
    def numbers(*args: Any) -> list[float]:
        return list(effort_for(*args).rng.random(3))

    assert numbers("a", "b", "quick", 0) == numbers("a", "b", "full", 0)
    others = [("a", "b", "quick", 1), ("a", "c", "quick", 0), ("c", "b", "quick", 0)]
    assert all(numbers(*other) != numbers("a", "b", "quick", 0) for other in others)
    first, second = judge(claim(), seed=0), judge(claim(), seed=1)
    assert first == judge(claim(), seed=0)
    assert first["worst"]["case"] != second["worst"]["case"]


# --- in the ledger and on the command line -------------------------------------------------------


def broken(*_: Any) -> Any:
    raise ZeroDivisionError("no such number")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    known = {
        "good": claim(id="good"),
        "crashing": claim(id="crashing", checks=(check(measure=broken),)),
        "blind": claim(id="blind", controls=(NegativeControl("the same", double),)),
        "wrong": claim(id="wrong", formula=lambda x: 3 * x),
    }
    monkeypatch.setattr(registry, "load_claim", known.__getitem__)
    monkeypatch.setattr(ledger, "claim_ids", lambda: sorted(known))
    return known


def test_a_crash_becomes_a_row(toys: dict[str, Any]) -> None:
    row = judge_by_id("crashing", "quick", 0)
    assert (row["verdict"], row["cases"]) == ("not-run", 0)
    assert "no such number" in row["crash"]
    (fault,) = faults({"claims": [row]})
    assert re.fullmatch(
        r"crashing: a check crashed: ZeroDivisionError: no such number "
        r"\(.*test_judge\.py, line \d+, in broken\)",
        fault,
    )
    assert stored_case(row) is None
    assert set(row) - {"crash"} == set(judge_by_id("good", "quick", 0)), "the report reads it too"
    assert (row["title"], row["owner"]) == ("Doubling", "user")


def test_the_ledger_keeps_the_order_asked_for(toys: dict[str, Any]) -> None:
    seen: list[str] = []
    out = run(["wrong", "good"], progress=lambda claim_id, _: seen.append(claim_id))
    assert seen == ["wrong", "good"] == [row["id"] for row in out["claims"]]
    assert [row["verdict"] for row in out["claims"]] == ["refuted", "holds"]
    again = {row["id"]: row for row in run(["good", "wrong"])["claims"]}
    for row in out["claims"]:
        assert {**row, "seconds": 0} == {**again[row["id"]], "seconds": 0}
    assert not out["interrupted"]


def test_what_was_finished_is_kept_on_an_interrupt(toys: dict[str, Any]) -> None:
    def stop(claim_id: str, row: Any) -> None:
        raise KeyboardInterrupt

    out = run(["good", "wrong"], progress=stop)
    assert out["interrupted"]
    assert [row["id"] for row in out["claims"]] == ["good"]


def test_differences_are_of_the_claims_that_ran() -> None:
    out = {"claims": [{"id": "a", "verdict": "holds"}, {"id": "b", "verdict": "refuted"}]}
    assert differences(out, {"a": "holds", "b": "refuted", "c": "proved"}) == []
    assert differences(out, {"a": "refuted"}) == ["a: verdict holds, expected refuted"]


@pytest.mark.parametrize(
    "expected",
    [
        ("good", 0, ""),
        ("wrong", 0, ""),
        ("good,crashing", 1, "crashing: a check crashed: ZeroDivisionError"),
        ("blind", 1, "blind: control not rejected: the same"),
    ],
)
def test_exit_codes(
    toys: dict[str, Any], expected: tuple[str, int, str], tmp_path: Any, capsys: Any
) -> None:
    ids, code, complaint = expected
    args = ["verify", "--claims", ids, "--workers", "1", "--out", str(tmp_path)]
    assert main(args) == code
    captured = capsys.readouterr()
    assert complaint in captured.err
    for claim_id in ids.split(","):
        assert claim_id in captured.out
        assert (tmp_path / f"{claim_id}.case.json").exists() == (claim_id != "crashing")
    rows = json.loads((tmp_path / "ledger.json").read_text())["claims"]
    assert [row["id"] for row in rows] == ids.split(",")
    assert all(math.isfinite(row["seconds"]) for row in rows)


# --- what cannot be judged is refused, in a line -------------------------------------------------


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"id": "../../evil"}, r"id of a claim must be letters, digits, .*, got '../../evil'"),
        ({"id": "a::b"}, "id of a claim must be"),
        ({"id": "a,b"}, "id of a claim must be"),
        ({"id": "[red]"}, "id of a claim must be"),
        ({"id": ""}, "id of a claim must be .* got ''"),
        ({"id": "a\n"}, r"id of a claim must be .* got 'a\\n'"),
        ({"id": []}, r"id of claim \[\] must be text, got \[\]"),
        ({"statement": None}, "statement of claim toy must be text, got null"),
        ({"conditions": None}, "conditions of claim toy must be a tuple of texts, got null"),
        ({"conditions": "x > 0"}, "conditions of claim toy must be a tuple of texts, got x > 0"),
        ({"conditions": (1,)}, r"conditions of claim toy must be a tuple of texts, got \[1\]"),
        (
            {"controls": (NegativeControl(1, abs),)},
            "claim toy must name each control by a text, got 1",
        ),
        ({"owner": None}, "owner of claim toy must be text, got null"),
        ({"kind": "banana"}, r"kind of claim toy must be one of identity, tight, .*, got banana"),
        ({"owner": "papre"}, r"did you mean paper\? owner of claim toy must be .*, got papre"),
        ({"latex": "x^2"}, r"latex of claim toy must be a tuple of texts, got x\^2"),
        ({"headline": None}, "headline of claim toy must be text, got null"),
        ({"expected": "true"}, "expected verdict of claim toy must be one of proved, .*, got true"),
        ({"controls": ()}, "claim toy must have a control, got none"),
        ({"checks": ()}, "claim toy must have a check, got none"),
        ({"checks": (check(), check())}, "claim toy must name each check once, got numbers twice"),
        (
            {"controls": (NegativeControl("a", abs), NegativeControl("a", abs))},
            "each control once, got a twice",
        ),
    ],
)
def test_a_claim_that_cannot_be_judged_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message) as caught:
        claim(**changes)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["my_claim", "Jensen", "2-norm", "order-3_b"])
def test_a_claim_may_have_any_name_that_a_file_can(name: str) -> None:
    assert claim(id=name).id == name


def test_a_finding_that_is_no_text_is_a_crash(toys: dict[str, Any]) -> None:
    toys["good"] = claim(id="good", finding=lambda _: None)
    (row,) = run(["good"])["claims"]
    assert "ValueError: finding of claim good must return text, got null" in row["finding"]


def test_a_claim_named_twice_is_judged_once(toys: dict[str, Any]) -> None:
    assert main(["verify", "--claims", "good,good", "--workers", "1"]) == 0
    out = run(["good", "good"])
    assert ([row["id"] for row in out["claims"]], out["interrupted"]) == (["good"], False)


STORED = {
    "version": 1,
    "claim": "good",
    "check": "numbers",
    "case": {"x": 1.5, "slope": 2.0},
    "measured": 3.0,
    "bound": 3.0,
    "tolerance": 1e-9,
}
JOINT = {"joint": 0, "profile": "quick", "seed": 0}


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"version": True}, r"version must be 1, got true, in .*c\.json"),
        ({"measured": True}, r"measured must be a number, got true, in .*c\.json"),
        ({"check": "nubmers"}, r"check must be one of numbers"),
        ({"case": {"x": [1, 2], "slope": 2.0}}, "case must be one that numbers of good can "),
        ({"case": {"x": 10**400, "slope": 2.0}}, "numbers must be finite, got 10000"),
        ({"case": JOINT | {"profile": None}}, "profile must be one of quick, full, got null"),
        ({"case": JOINT | {"joint": True}}, "joint must be a whole number >= 0, got true"),
        ({"case": JOINT | {"seed": "0"}}, "seed must be a whole number >= 0, got 0"),
        ({"case": JOINT | {"seed": []}}, r"seed must be a whole number >= 0, got \[\]"),
        ({"case": JOINT | {"seed": -1}}, "seed must be a whole number >= 0, got -1"),
    ],
)
def test_a_damaged_case_gets_one_line(
    changes: dict[str, Any], complaint: str, toys: dict[str, Any], tmp_path: Any, capsys: Any
) -> None:
    file = tmp_path / "c.json"
    file.write_text(json.dumps(STORED))
    assert main(["replay", str(file)]) == 0
    capsys.readouterr()
    file.write_text(json.dumps(STORED | changes))
    assert main(["replay", str(file)]) == 2
    said = capsys.readouterr().err
    assert said.count("\n") == 1
    assert re.search(complaint, said)


def test_a_check_of_no_known_method_is_refused() -> None:
    with pytest.raises(ValueError, match=r"method of check numbers must be one of .*, got guess"):
        replace(check(), method="guess")


@pytest.mark.parametrize(
    ("formula", "rejected"), [(double, False), (lambda x: 3 * x, True)], ids=["equal", "another"]
)
def test_a_control_equal_to_a_refuted_formula_rejects_nothing(formula: Any, rejected: bool) -> None:
    """The data violate both: the check has not told the control from the claim."""
    row = judge(claim(checks=(check(slope=2.5),), controls=(NegativeControl("copy", formula),)))
    assert row["verdict"] == "refuted"
    assert named(row, "copy")["rejected"] is rejected
    complaint = (
        "toy: control not rejected: copy, which falls only because the claim's own formula, equal "
        "to it in every case, does"
    )
    assert faults({"claims": [row]}) == ([] if rejected else [complaint])


@pytest.mark.parametrize("field", ["measured", "predicted"])
@pytest.mark.parametrize("sampled", [False, True])
def test_nan_passes_nowhere(field: str, sampled: bool) -> None:
    def spoilt(data: Any, formula: Any) -> Comparison:
        c = replace(compare(data, formula), sampled=sampled)
        if len(c.measured) == 3:
            getattr(c, field)[1] = math.nan
        return c

    message = (
        rf"^{field} of check numbers must be finite numbers, got NaN in 1 of 7, "
        r"first in case \{x: 1"
    )
    with pytest.raises(ValueError, match=message) as caught:
        judge(claim(checks=(check(compare=spoilt),)))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sampled", [False, True])
@pytest.mark.parametrize("upper", [False, True])
@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("measured", math.inf),
        ("measured", -math.inf),
        ("predicted", -math.inf),
        ("tolerance", math.nan),
        ("tolerance", -1e-300),
    ],
)
def test_nonsense_passes_nowhere(field: str, value: float, upper: bool, sampled: bool) -> None:
    def spoilt(data: Any, formula: Any) -> Comparison:
        c = replace(compare(data, formula), upper=upper, sampled=sampled)
        getattr(c, field)[1] = value
        return c

    with pytest.raises(ValueError, match=f"^{field} of check numbers must be .*numbers"):
        judge(claim(checks=(check(compare=spoilt),)))


@pytest.mark.parametrize("upper", [False, True])
def test_only_a_bound_may_be_infinite(upper: bool) -> None:
    def without(data: Any, formula: Any) -> Comparison:
        c = replace(compare(data, formula), upper=upper)
        c.predicted[0] = math.inf
        return c

    toy = claim(checks=(check(compare=without),))
    if upper:
        assert (judge(toy)["verdict"], judge(toy)["undecided"]) == ("holds", 2)
    else:
        with pytest.raises(ValueError, match="predicted of check numbers must be finite numbers"):
            judge(toy)


@pytest.mark.parametrize("batches", [[], [Numbers((), 2.0)]], ids=["no batch", "empty batch"])
def test_a_check_without_cases_is_named(batches: Any) -> None:
    """It said "attempt to get argmax of an empty sequence"."""
    with pytest.raises(ValueError, match=r"^check numbers must draw at least one case, got none$"):
        judge(claim(checks=(check(draw=lambda _: batches),)))


def test_nan_of_a_joint_test_passes_nowhere() -> None:
    def pool(data: Any, formula: Any) -> Comparison:
        return Comparison(np.array([np.nan]), np.ones(1), np.ones(1), sampled=True)

    with pytest.raises(ValueError, match="pooled measured of check numbers must be finite n"):
        judge(claim(checks=(check(pool=pool),)))


def test_a_comparison_is_one_number_a_case() -> None:
    def pairs(data: Any, formula: Any) -> Comparison:
        c = compare(data, formula)
        return replace(c, predicted=c.predicted[:, None])

    with pytest.raises(ValueError, match=r"predicted .* must have shape \(7,\), got \(7, 1\)"):
        judge(claim(checks=(check(compare=pairs),)))


def test_a_control_of_no_check_is_a_fault() -> None:
    row = judge(claim(controls=(NegativeControl("wrong sign", lambda x: -2 * x, ("nubmers",)),)))
    assert faults({"claims": [row]}) == ["toy: control not rejected: wrong sign"]


def test_without_any_control_tried_it_is_a_fault() -> None:
    absent = check("absent", available=lambda: "no such extra")
    control = NegativeControl("wrong sign", lambda x: -2 * x, ("absent",))
    row = judge(claim(checks=(check(), absent), controls=(control,)))
    assert row["not_looked_at"] == [{"check": "absent", "what": "", "reason": "no such extra"}]
    assert faults({"claims": [row]}) == [
        "toy: no control was tried: none applies to the checks that ran"
    ]


def test_what_a_check_leaves_out_is_listed() -> None:
    part = check(partly=lambda profile: {"a model": f"not in {profile}"})
    row = judge(claim(checks=(part,)), profile="full")
    (left,) = row["not_looked_at"]
    assert left == {"check": "numbers", "what": "a model", "reason": "not in full"}
    assert judge(claim())["not_looked_at"] == []
    missing = judge(claim(checks=(check(available=lambda: "no GPU"),)))
    assert (missing["verdict"], missing["finding"]) == ("not-run", "no GPU")
    assert missing["not_looked_at"] == [{"check": "numbers", "what": "", "reason": "no GPU"}]


def test_an_experiment_tried_on_our_own_models_is_not_refuted() -> None:
    tried = {"formula": lambda x: 3 * x, "tried": "numbers of our own", "owner": "paper"}
    row = judge(claim(**tried))
    assert (row["verdict"], row["tried"]) == ("not-reproduced", "numbers of our own")
    assert row["worst"]
    assert faults({"claims": [row]}) == []
    assert judge(claim(tried="numbers of our own"))["verdict"] == "holds"


def test_the_place_of_a_crash_is_the_claims_innermost_frame() -> None:
    def inner() -> None:
        np.linalg.inv(np.zeros((2, 2)))

    try:
        inner()
    except np.linalg.LinAlgError as error:
        own = Crash.from_error(error, "tests.steinlab")
        foreign = Crash.from_error(error, "tests.steinlab_")
    assert re.search(r"\(.*test_judge\.py, line \d+, in inner\)$", own.message)
    assert "linalg" in foreign.message.split("(")[-1]
    assert own.trace.startswith("Traceback")
    assert Crash.from_error(ValueError("two\nlines")).message == "ValueError: two lines"


def test_the_whole_traceback_is_printed_when_asked(toys: dict[str, Any], capsys: Any) -> None:
    words = ["verify", "--claims", "crashing", "--workers", "1"]
    assert main(words) == 1
    short = capsys.readouterr().err
    assert "Traceback" not in short
    assert short.count("\n") == 2
    assert "--traceback prints" in short
    assert main([*words, "--traceback"]) == 1
    whole = capsys.readouterr().err
    assert whole.startswith("steinlab: crashing: a check crashed")
    assert "Traceback (most recent call last)" in whole
    assert whole.endswith("ZeroDivisionError: no such number\n")


def found(results: Any) -> list[Number]:
    return [Number("cases seen", len(results["numbers"].comparison.measured), key="cases")]


def test_a_headline_is_filled_from_the_numbers() -> None:
    row = judge(claim(headline="Doubles in {cases} cases.", numbers=found))
    assert row["headline"] == "Doubles in 7 cases."
    assert row["numbers"] == [
        {
            "name": "cases seen",
            "value": 7,
            "error": None,
            "unit": "",
            "better": "",
            "key": "cases",
        }
    ]


def test_a_headline_is_not_said_of_another_verdict() -> None:
    told = {"headline": "Doubles in {cases} cases.", "numbers": found}
    row = judge(claim(checks=(check(slope=2.5),), **told))
    assert (row["verdict"], row["expected"], row["headline"]) == ("refuted", "holds", "")
    assert row["numbers"][0]["value"] == 7


@pytest.mark.parametrize("headline", ["in {cases} cases, {gain}", "in {cases", "in {cases:q}"])
def test_a_headline_that_its_numbers_do_not_fill_is_refused(headline: str) -> None:
    with pytest.raises(ValueError, match=r"headline of claim toy must be a template over .* cases"):
        judge(claim(headline=headline, numbers=found))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"value": math.nan}, "value of number gain must be finite, got nan"),
        ({"error": -1.0}, "error of number gain must be >= 0, got -1.0"),
        ({"better": "more"}, "better of number gain must be one of lower, higher, got more"),
    ],
)
def test_a_number_that_says_nothing_is_refused(change: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        Number(**{"name": "gain", "value": 1.0, **change})


def test_a_number_is_plain_in_the_ledger() -> None:
    number = Number("gain, on average", np.float32(0.5), np.float64(0.25))
    assert type(number.value) is type(number.error) is float
    assert number.key == "gain_on_average"
    assert type(Number("count", np.int64(3)).value) is int
