"""The claims on the stored study: not run without it, decided with it, able to fail."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gpu_models.claims.gains import LABELS
from gpu_models.claims.neural_clipped_gain import BOLD
from gpu_models.study import pairs, stored
from gpu_models.study.design import FAIR, Cell
from gpu_models.study.pairs import (
    CALIBRATED,
    CELL_LEVEL,
    CLIPPED,
    FAMILY,
    LARGEST,
    MORE,
    RULE,
    SHARES,
)
from gpu_models.study.stored import RESULTS, Stored
from steinlab.errors import InputError
from steinlab.storage import sources_key
from steinlab.storage.sources import _source
from steinlab.verification.judge import rerun
from steinlab.verification.ledger import faults, judge_by_id
from steinlab.verification.registry import load_claim
from steinlab.verification.significance import critical
from tests.gpu_models.studies import FACTORS, actual, complete, tiny, write

CLAIMS = (
    "neural-coefficient",
    "neural-integration-error",
    "neural-clipped-gain",
    "artifact-reduction",
    "coverage",
    "correction-cost",
)
GAINS = ("neural-integration-error", "artifact-reduction", "coverage")
"""Claims about the published rule."""


@pytest.fixture
def on(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Return a function that judges a claim on a study, as it would be read back."""

    def judge(claim: str, study: Stored | None) -> dict[str, Any]:
        if study:
            lines = [{"key": key, "value": value} for key, value in study.found.items()]
            study = replace(study, where=stored._devices(lines))
        monkeypatch.setattr(stored, "_cached", lambda *_: study)
        return judge_by_id(claim, "quick", 0)

    return judge


def without(study: Stored, *keys: str) -> Stored:
    return replace(study, found={k: v for k, v in study.found.items() if k not in keys})


def changed(study: Stored, key: str) -> tuple[Stored, dict[str, Any]]:
    """A copy of the study, and its piece to be changed."""
    piece = copy.deepcopy(study.found[key])
    return replace(study, found={**study.found, key: piece}), piece


@pytest.mark.parametrize("claim", CLAIMS)
def test_without_a_study_a_claim_is_not_run_and_says_why(on: Any, claim: str) -> None:
    row = on(claim, None)
    assert row["verdict"] == "not-run"
    assert row["finding"] == "no stored study: run steinlab study"
    assert faults({"claims": [row]}) == []


@pytest.mark.parametrize(
    ("claim", "piece"), [("neural-coefficient", "coefficients"), ("correction-cost", "cost")]
)
def test_without_its_piece_a_claim_is_not_run(on: Any, claim: str, piece: str) -> None:
    row = on(claim, without(complete(actual()), piece))
    assert row["verdict"] == "not-run"
    assert row["finding"] == f"the stored study has no piece `{piece}`: resume it"


def test_without_runs_of_the_rule_the_gains_are_not_run(on: Any) -> None:
    study = actual()
    rest = without(study, *(c.key for c in study.runs if c.correction == RULE))
    for claim in GAINS:
        row = on(claim, rest)
        assert row["verdict"] == "not-run"
        assert "0 of the 3 setups that a mean takes" in row["finding"]


@pytest.mark.parametrize("claim", CLAIMS)
def test_a_complete_study_is_judged_with_every_check_and_control(on: Any, claim: str) -> None:
    row = on(claim, with_a_worse_cell(complete(actual(), {**FACTORS, CLIPPED: 1.1})))
    assert faults({"claims": [row]}) == []
    if claim == "neural-clipped-gain":
        assert row["verdict"] == "conditional"
        assert [c["name"] for c in row["controls"] if c.get("unstated")] == [
            "Theorem 4.7 with the divergence of x alone, clipped to [0.1, 1]",
            "clipped to [0.1, 1] in VP coordinates",
        ]
        return
    good = claim in ("neural-coefficient", "correction-cost")
    assert row["verdict"] == ("holds" if good else "not-reproduced")
    assert "ot in the record" not in row["finding"]
    assert {e["method"] for e in row["evidence"]} == {"neural"}
    study = actual()
    for evidence in row["evidence"]:
        assert evidence["notes"]["devices"] == study.devices
        assert evidence["notes"]["config"]["weights"] == study.head["config"]["weights"]
        assert evidence["notes"]["runs"] == evidence["notes"]["runs_asked"] == len(study.design)


def test_a_rule_that_reduces_everything_would_hold(on: Any) -> None:
    """The verdict can be favourable; the clipped rule has no say in it."""
    kind = complete(actual(), {**FACTORS, RULE: 0.5, CLIPPED: 5.0})
    for claim in GAINS:
        row = on(claim, kind)
        assert row["verdict"] == "holds", row["finding"]
        assert faults({"claims": [row]}) == []
        worst = row["table"]["columns"].index("worst finite")
        (line, *_) = [line for line in row["table"]["rows"] if line[0] == LABELS[CLIPPED]]
        assert line[worst].startswith("5 (")


def test_one_worsened_cell_speaks_against_a_rule_that_helps_elsewhere(on: Any) -> None:
    kind = complete(actual(), {**FACTORS, RULE: 0.5})
    bad, record = changed(kind, f"euler/6/karras/{RULE}/0")
    record["flow_error"]["value"] *= 5
    row = on("neural-integration-error", bad)
    assert row["verdict"] == "not-reproduced"
    assert row["worst"]["case"]["run"] == f"euler/6/karras/{RULE}/0"
    bad, record = changed(kind, f"euler/6/karras/{RULE}/0")
    record["recall"]["value"] *= 0.8
    assert on("coverage", bad)["verdict"] == "not-reproduced"
    bad, _ = changed(kind, f"euler/6/karras/{RULE}/0")
    bad.found[f"euler/6/karras/{RULE}/0"].clear()
    bad.found[f"euler/6/karras/{RULE}/0"].update({"spent": 6, "stopped": "state is not finite"})
    for claim in GAINS:
        assert on(claim, bad)["verdict"] == "not-reproduced"


def test_a_split_claim_hides_neither_reading() -> None:
    """As on exact laws: the published rule fails, and the definition's clipped has its own row."""
    published, clipped = (
        judge_by_id(claim, "quick", 0)
        for claim in ("neural-integration-error", "neural-clipped-gain")
    )
    assert (published["verdict"], clipped["verdict"]) == ("not-reproduced", "conditional")
    assert not [e for e in published["evidence"] if e["check"].startswith("fair")]
    assert violations(clipped) == {}
    assert {e["check"]: e["cases"] for e in clipped["evidence"]} == {
        "mean": 6, "cells": 460, "more evaluations": 1, "calibrated": 1,
    }  # fmt: skip
    (worse,) = [c for c in clipped["controls"] if "VP" in c["name"]]
    assert worse["case"]["case"] == {"run": f"heun/8/karras/{BOLD}/0", "quantity": "flow_error"}
    for row in (published, clipped):
        assert faults({"claims": [row]}) == []


def test_without_the_fair_rules_their_claim_is_not_run(on: Any) -> None:
    study = complete(actual())
    row = on(
        "neural-clipped-gain", without(study, *(c.key for c in study.runs if c.correction in FAIR))
    )
    assert row["verdict"] == "not-run"
    assert "0 of the 3 setups that a mean takes" in row["finding"]
    alone = without(study, *(c.key for c in study.runs if c.correction == RULE))
    assert on("neural-clipped-gain", alone)["verdict"] == "conditional"


@pytest.mark.parametrize("rule", FAIR)
def test_the_fair_rules_are_judged_by_mean_and_by_cell(on: Any, rule: str) -> None:
    """Both parts, each with its own outcome; cells from 0.1 in VP are the dropped condition's."""
    kind = complete(actual(), {**FACTORS, RULE: 0.5})
    label, key = LABELS[rule], f"dpmpp-2m/6/karras/{rule}/0"
    bad, record = changed(kind, key)
    record["flow_error"]["value"] *= 5
    row = on("neural-clipped-gain", bad)
    if rule == BOLD:
        assert row["verdict"] == "conditional"
        (control,) = [c for c in row["controls"] if "VP" in c["name"]]
        assert control["rejected"]
        assert control["case"]["case"]["run"] == key
    else:
        assert row["verdict"] == "not-reproduced"
        assert row["worst"]["case"] == {"run": key, "quantity": "flow_error"}
        assert violations(row) == {"cells": 1}
    (line,) = [line for line in row["table"]["rows"] if line[0] == label]
    assert line[-2:] == ["yes", "no"]
    assert f"in 6 of 6, no cell is worse in 5 of 6 (not {label})" in row["finding"]
    row = on("neural-clipped-gain", complete(actual(), {**FACTORS, RULE: 0.5, rule: 1.002}))
    assert violations(row) == {"mean": 1}
    (line,) = [line for line in row["table"]["rows"] if line[0] == label]
    assert line[-2:] == ["no", "yes"]


@pytest.mark.parametrize("rule", FAIR)
def test_the_fair_rules_are_judged_beside_the_published_one(on: Any, rule: str) -> None:
    kind = complete(actual(), {**FACTORS, RULE: 0.5})
    key = f"dpmpp-2m/6/karras/{rule}/0"
    bad, record = changed(kind, key)
    record["FD-classifier"]["value"] *= 5
    row = on("artifact-reduction", bad)
    assert row["verdict"] == "not-reproduced"
    assert row["worst"]["case"] == {"run": key, "quantity": "FD-classifier"}
    assert violations(row) == {"fair cells": 1}


def with_a_worse_cell(study: Stored) -> Stored:
    """The study, with one cell worse where the clip reaches down to 0.1 in VP coordinates."""
    bad, record = changed(study, f"heun/8/karras/{BOLD}/0")
    record["flow_error"]["value"] *= 5
    return bad


def violations(row: dict[str, Any]) -> dict[str, int]:
    """Violations by check, of the checks that have any."""
    return {e["check"]: e["violations"] for e in row["evidence"] if e["violations"]}


@pytest.mark.parametrize("claim", GAINS)
def test_without_the_fair_rules_the_published_one_is_judged_and_the_gap_named(
    on: Any, claim: str
) -> None:
    study = complete(actual())
    row = on(claim, without(study, *(c.key for c in study.runs if c.correction in FAIR)))
    assert row["verdict"] == "not-reproduced"
    assert not [e for e in row["evidence"] if e["check"].startswith("fair")]
    assert row["finding"].count("Not in the record") == 1
    assert row["finding"].endswith("Not in the record: the definition's coefficient, clipped")
    assert faults({"claims": [row]}) == []


@pytest.mark.parametrize("claim", [*GAINS, "neural-clipped-gain"])
def test_a_claim_says_what_was_tried_and_on_which_version_of_the_paper(on: Any, claim: str) -> None:
    row = on(claim, complete(actual()))
    for words in ("7.8 million parameters", "trained here for 6 minutes", "28 x 28", "10,000"):
        assert words in row["tried"]
    assert "arXiv v1" in row["source"]
    assert row["owner"] == "paper"


def test_the_fair_rules_by_solver_and_grid(on: Any) -> None:
    kind = complete(actual(), {**FACTORS, RULE: 0.5})
    rule, bad = "tweedie-0.5-vp", copy.deepcopy(kind)
    for key, record in bad.found.items():
        if key.startswith("heun/") and f"/logsnr/{rule}/" in key:
            record["FD-classifier"]["value"] *= 1.5
    row = on("coverage", bad)
    assert violations(row) == {"fair solvers and grids": 1}
    assert row["worst"]["case"] == {"solver": "heun", "grid": "logsnr", "rule": rule}
    assert "tweedie, 0.5 to 1, VP 7 of 8" in row["finding"]


def test_cases_stored_before_there_were_fair_rules_replay(on: Any) -> None:
    on("coverage", complete(actual()))
    case = {"solver": "heun", "grid": "logsnr"}
    assert rerun(load_claim("coverage"), "solvers and grids", case).violated.all()


@pytest.mark.parametrize("place", ["value", "reference", "deviation", "bound"])
def test_a_changed_coefficient_refutes(on: Any, place: str) -> None:
    study, piece = changed(actual(), "coefficients")
    row = piece["rows"][0]
    if place == "value":
        row["gamma"]["stein, 1 rademacher"]["value"] *= 1.01
    elif place == "reference":
        row["gamma"]["reference"]["value"] *= 1.0005
    elif place == "deviation":
        row["deviation"]["value"] *= 1.1
    else:
        row["bound"] *= 0.6
    assert on("neural-coefficient", study)["verdict"] == "refuted"


def test_costs_beyond_the_aim_refute(on: Any) -> None:
    """Judged on a run's batch; the small one counts where it is the largest there is."""
    study, piece = changed(complete(actual()), "cost")
    table = piece["rows"][0]["whole"]["rows"][-1]
    assert table["correction"] == "calibrated table"
    piece["rows"][0]["rows"][-1]["ratio_range"] = [2.0, 2.0]
    table |= {"ratio": 1.11, "ratio_range": [1.09, 1.2]}
    row = on("correction-cost", study)
    assert row["verdict"] == "holds"  # not decided by these rounds
    assert "in some: calibrated table" in row["finding"]
    table["ratio_range"] = [1.101, 1.2]
    assert on("correction-cost", study)["verdict"] == "refuted"
    study, piece = changed(complete(actual()), "cost")
    del piece["rows"][0]["whole"]
    assert on("correction-cost", study)["verdict"] == "holds"
    piece["rows"][0]["rows"][-1] |= {"ratio": 2.0, "ratio_range": [2.0, 2.0]}
    assert on("correction-cost", study)["verdict"] == "refuted"
    for batch in ("few", "many"):
        study, piece = changed(complete(actual()), "cost")
        part = piece["rows"][0] if batch == "few" else piece["rows"][0]["whole"]
        part["rows"][2]["products"] += 1
        assert on("correction-cost", study)["verdict"] == "refuted"


def test_the_tiny_study_has_the_form_of_the_made_up_one(on: Any) -> None:
    """So that what is missing from the stored study is read rightly once it is there."""
    real, made = tiny(), complete(tiny())
    assert not real.missing
    for piece in ("cost", "lipschitz"):
        ours, theirs = made.rows(piece)[0], real.rows(piece)[0]
        assert ours.keys() == theirs.keys()
    ours, theirs = made.rows("cost")[0], real.rows("cost")[0]
    assert {r["correction"] for r in ours["rows"]} <= {r["correction"] for r in theirs["rows"]}
    assert ours["rows"][0].keys() == theirs["rows"][0].keys()
    for cell, record in real.runs.items():
        assert made.found[cell.key].keys() <= record.keys() | {"FD-EffLite0"}
    row = on("correction-cost", real)
    products = next(e for e in row["evidence"] if e["check"] == "products")
    assert products["violations"] == 0
    assert products["cases"] == len(real.rows("cost")[0]["rows"]) - 1
    row = on("neural-coefficient", real)
    assert "the local L_T, from below, exceeds 1 in" in row["finding"]
    assert any(number["name"].startswith("largest local L_T") for number in row["numbers"])


# --- the statistics -----------------------------------------------------------------------------


def test_means_and_counts_are_those_written_out() -> None:
    study = complete(actual())
    for family, factor in FACTORS.items():
        if family == "none":
            continue
        found = pairs.pairs_of(study, family)
        s = pairs.summary(found, "flow_error")
        assert s is not None
        assert s.mean == pytest.approx(factor, rel=1e-12)
        assert s.low <= s.mean <= s.high
        z = [(factor - 1) * p.plain["flow_error"]["value"] / (math.sqrt(2) * 0.004) for p in found]
        assert s.worsened == sum(v > critical(FAMILY, level=CELL_LEVEL) for v in z)
        assert s.improved == sum(v < -critical(FAMILY, level=CELL_LEVEL) for v in z)
        assert s.cells == len(found) >= s.setups
        assert (s.cells > s.setups) == (family not in FAIR)  # those have one seed
        shares = pairs.summary(found, "recall")
        assert shares is not None
        assert s.mean_gains == shares.mean_gains == (factor < 1)
        assert s.harmless == (s.worsened == 0)
        if abs(factor - 1) > 0.3:  # less is not seen
            assert (shares.improved > shares.worsened) == (factor < 1)


def test_budgets_spent_alike_are_one_run_and_seeds_one_setup() -> None:
    found = pairs.pairs_of(complete(actual()), RULE)
    heun = [p for p in found if p.cell.solver == "heun" and p.cell.grid == "karras"]
    assert [p.cell.evaluations for p in heun] == [3, 5, 8, 10, 13, 20]
    seeds = [p for p in found if p.setup == ("euler", 4, "karras")]
    assert [p.cell.seed for p in seeds] == [0, 1, 2]
    more = pairs.pairs_of(complete(actual()), MORE)
    assert all(p.plain["spent"] < p.other["spent"] for p in more)
    assert {p.cell.correction for p in more} == {"none"}


def test_the_interval_is_students() -> None:
    """Three ratios 1, 2, 4: mean 2, and t(2) = 4.3027 times log 2 over root 3."""
    cell = Cell("euler", 4, "karras", RULE, 0)
    three = [
        pairs.Pair(
            replace(cell, evaluations=4 + i),
            {"flow_error": {"value": 1.0, "error": 0.1}},
            {"flow_error": {"value": 2.0**i, "error": 0.1}},
            0.0,
        )
        for i in range(3)
    ]
    s = pairs.summary(three, "flow_error")
    assert s is not None
    half = 4.302652729749464 * math.log(2) / math.sqrt(3)
    assert np.allclose([s.mean, s.low, s.high], 2 * np.exp([0, -half, half]), rtol=1e-12)
    assert (s.improved, s.worsened, s.unchanged) == (0, 2, 1)
    assert pairs.summary(three[:2], "flow_error") is None


def test_a_run_that_stopped_counts_against_the_correction() -> None:
    cell = Cell("euler", 4, "karras", RULE, 0)
    plain = {"flow_error": {"value": 0.5, "error": 0.01}, "recall": {"value": 0.5, "error": 0.01}}
    pair = pairs.Pair(cell, plain, {"spent": 4, "stopped": "somewhere"}, 5e-5)
    assert pair.ratio("flow_error") == LARGEST
    assert pair.ratio("recall") == 0
    assert pair.z("flow_error") > critical(FAMILY)
    assert pair.z("recall") < -critical(FAMILY)
    for quantity in ("flow_error", *SHARES[1:]):
        s = pairs.summary([pair] * 3, quantity)
        assert s is None  # one setup
    many = [replace(pair, cell=replace(cell, evaluations=n)) for n in range(4, 7)]
    s = pairs.summary(many, "recall")
    assert s is not None
    assert (s.stopped, s.worsened) == (3, 3)


def test_spreads_over_seeds() -> None:
    study = complete(actual())
    (spread,) = [
        s
        for s in pairs.spreads(study, "flow_error")
        if s.cell == Cell("euler", 4, "karras", CALIBRATED, 0)
    ]
    own = [
        study.found[f"euler/4/karras/{CALIBRATED}/{seed}"]["flow_error"]["value"]
        for seed in range(3)
    ]
    assert spread.seeds == 3
    assert spread.mean == pytest.approx(np.mean(own))
    assert spread.between == pytest.approx(np.std(own, ddof=1))


# --- the record ---------------------------------------------------------------------------------


def test_a_stored_study_reads_back_and_others_are_refused(tmp_path: Path) -> None:
    study = complete(actual())
    found = stored.read(write(study, tmp_path))
    assert found is not None
    assert found.found == study.found
    assert list(found.runs) == study.design
    assert not found.missing
    assert found.devices == study.devices
    assert found.devices_of(["cost", "not there"]) == found.devices[:1]
    other = tmp_path / "study-1.jsonl"
    other.write_text('{"version": 1, "config": {}}\n')
    with pytest.raises(InputError, match="configuration must be that of its siblings"):
        stored.read(tmp_path)
    other.write_text('{"version": 2, "config": {}}\n')
    with pytest.raises(InputError, match="version must be 1"):
        stored.read(tmp_path)


def test_stored_results_belong_to_what_a_finished_check_depends_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else ``verify --out`` would reuse what was judged on an older record."""
    package = tmp_path / "some_studies"
    package.mkdir()
    (package / "__init__.py").write_text("FILES = 'study-*.jsonl'\n")
    (package / "study-0.jsonl").write_text("{}\n")
    monkeypatch.syspath_prepend(tmp_path)
    before = sources_key("some_studies")
    (package / "study-0.jsonl").write_text("{}\n{}\n")
    sources_key.cache_clear()
    assert sources_key("some_studies") != before
    assert _source(stored.__name__).records >= set(RESULTS.glob("study-*.jsonl"))
