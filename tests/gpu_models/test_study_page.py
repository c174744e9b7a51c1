"""docs/study.md and docs/study-runs.md say what the stored study says, whatever of it has run."""

from __future__ import annotations

import copy
import hashlib
import json
import math
import re
from pathlib import Path

import numpy as np
import pytest

from gpu_models.pages.study import cards, pages_of
from gpu_models.study.design import FAIR
from gpu_models.study.entrants import BASELINES
from gpu_models.study.pairs import CALIBRATED, RULE
from gpu_models.study.stored import RESULTS
from tests.gpu_models.studies import FACTORS, actual, complete, tiny, write

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The page of a complete study that is made up."""
    folder = write(complete(actual()), tmp_path_factory.mktemp("complete"))
    return pages_of(folder)["study.md"]


def unwrapped(page: str) -> str:
    return " ".join(page.split())


def test_the_pages_are_the_record() -> None:
    """When the record has grown: ``steinlab pages`` writes both anew."""
    for name, text in pages_of(RESULTS).items():
        assert (DOCS / name).read_text(encoding="utf-8") == text, name


def test_the_network_is_the_one_that_was_studied() -> None:
    weights = ROOT / "gpu_models" / "weights" / "fashion-edm.safetensors"
    digest = hashlib.sha256(weights.read_bytes()).hexdigest()
    assert actual().head["config"]["weights"] == digest


def test_what_the_page_says_of_the_rule_is_in_the_record() -> None:
    text = (DOCS / "study.md").read_text(encoding="utf-8")
    page = unwrapped(text)
    study = actual()
    ratios, stopped = [], 0
    for key, row in study.found.items():
        if key.count("/") != 4:
            continue
        solver, _, rest = key.split("/", 2)
        alike = f"{solver}/{row.get('spent')}/{rest}"  # Heun spends 3 of 3 and of 4: one run
        if f"/{RULE}/" in key and not (alike != key and alike in study.found):
            plain = study.found[key.replace(RULE, "none")]["flow_error"]["value"]
            if "stopped" in row:
                stopped += 1
            else:
                ratios.append(row["flow_error"]["value"] / plain)
    (row,) = re.findall(r"\| stein, from 0\.1 \| flow error \|[^\n]*", text)
    assert f"| {min(ratios):.3g} (" in row
    assert f"| {max(ratios):.3g} (" in row
    mean, low, high = re.findall(r"\| ([\d.]+) \| ([\d.]+) to ([\d.]+) \|", row)[0]
    assert f"its flow error is {mean} ({low} to {high}) of the plain run's" in page
    better = sum(one < 1 for one in ratios)
    assert f"worse in {len(ratios) + stopped - better}, undecided in 0. The table" in page
    assert f"{stopped} runs leave the finite numbers" in page
    runs = sum(key.count("/") == 4 for key in study.found)
    assert f"{runs} of the {len(study.design)} runs" in page


def test_what_the_page_says_of_entrants_is_in_the_record() -> None:
    """Flow error of unit-speed-3 with the pilot, what the pilot leaves, the aim that is missed."""
    page = unwrapped((DOCS / "study.md").read_text(encoding="utf-8"))
    lines = (RESULTS / "entrants" / "study-0.jsonl").read_text(encoding="utf-8").splitlines()
    runs = {line["key"]: line["value"] for line in map(json.loads, lines[1:])}
    own = {key: row for key, row in runs.items() if key.startswith("unit-speed-3/")}
    logs: dict[str, list[float]] = {}
    for key in (key for key in own if "/pilot/" in key):
        _, setup = key.replace("pilot", "none").split("/", 1)
        best = min(runs[f"{one}/{setup}"]["flow_error"]["value"] for one in BASELINES)
        logs.setdefault(setup[:-2], []).append(math.log(own[key]["flow_error"]["value"] / best))
    means = np.array([np.mean(seeds) for seeds in logs.values()])
    assert len(means) == 8
    half = 2.3646 * means.std(ddof=1) / math.sqrt(8)  # Student's quantile with 7 degrees
    said = [f"{math.exp(x):.3f}" for x in (means.mean(), means.mean() - half, means.mean() + half)]
    row = f"| unit-speed-3+pilot | {said[0]} ({said[1]} to {said[2]}) | 13, 3 of 16 |"
    assert row in page
    assert row.startswith("| unit-speed-3+pilot | 0.963 (0.935 to 0.993)")
    assert "No entrant meets it. unit-speed-3+pilot comes nearest" in page
    assert "its FD-EffLite0 in 0 of 3" in page
    assert "the pilot changes nothing at 10 evaluations" in page
    for key in (key for key in runs if "/10/" in key and "/pilot/" in key):
        assert runs[key]["flow_error"] == runs[key.replace("pilot", "none")]["flow_error"]
    assert "interval and all: ipndm-3+gated, unit-speed-3+gated." in page


def test_the_theorem_agrees_with_the_reference_at_every_step() -> None:
    """28 comparisons at a joint level of 1e-3: 4.3 standard errors each."""
    rows = actual().rows("coefficients")
    assert len(rows) == 14
    for row in rows:
        gamma = row["gamma"]
        for route in ("stein, 1 rademacher", "stein, 5 gaussian"):
            error = math.hypot(gamma[route]["error"], gamma["reference"]["error"])
            assert abs(gamma[route]["value"] - gamma["reference"]["value"]) < 4.3 * error
            assert error < 0.005 * gamma[route]["value"]


def test_a_complete_study_fills_every_section(made: str) -> None:
    text = unwrapped(made)
    for title in (
        "Corrections, over",
        "By budget",
        "By solver",
        "Headline",
        "Seeds",
        "Cost",
        "Lipschitz",
    ):
        assert f"## {title}" in made
    assert "What has not" not in made
    assert f"its flow error is {FACTORS[CALIBRATED]:.3g} (" in text
    assert re.search(rf"\| calibrated \| artifacts \| \d+ \| {FACTORS[CALIBRATED]:.3g} \|", made)
    assert "by the median of the rounds: tweedie (1.01), stein, sub-batch to 0.05 (1.05)" in text
    assert "sub-batch of 256 (1.02)" in text
    assert "A Jacobian product on all of 512 states takes 1.6 (stein, 5 gaussian, rev" in text
    assert "the largest local Lipschitz constant of a step is" in text
    assert "tables move a step" in text
    assert "**The definition's coefficient, clipped on both sides**" in text
    assert "1 plain runs repeated have the flow error recorded before to 0.001 of" in text
    assert "(tweedie, 0.1 to 1; tweedie, 0.5 to 1; tweedie, 0.9 to 1; tweedie, 0.1 to 1, " in text
    assert "Flow error 0.8, 0.8, 0.8, 0.8, 0.8, 0.8: the mean gains in 6 of 6, no cell " in text
    assert "Flow error by solver, tweedie, 0.1 to 1: euler 0.8, " in text


def test_what_is_missing_is_named_and_not_spoken_of(tmp_path: Path) -> None:
    study = complete(actual())
    for piece in ("cost", "lipschitz"):
        del study.found[piece]  # type: ignore[attr-defined]
    page = unwrapped(pages_of(write(study, tmp_path))["study.md"])
    assert (
        "**What has not:** Lipschitz constants along trajectories and costs in seconds. Nothing"
        in page
    )
    assert "## Cost" not in page
    assert "**Cost**" not in page
    assert "**Strict contraction.**" not in page


def test_without_the_fair_rules_the_page_says_how_many_runs_are_missing(tmp_path: Path) -> None:
    study = complete(actual())
    fair = [cell.key for cell in study.runs if cell.correction in FAIR]
    for key in fair:
        del study.found[key]  # type: ignore[attr-defined]
    page = unwrapped(pages_of(write(study, tmp_path))["study.md"])
    assert f"**What has not:** {len(fair)} runs. Nothing is said" in page
    assert "clipped on both sides" not in page


def test_the_tiny_study_makes_pages(tmp_path: Path) -> None:
    """Two setups have no mean; everything else is there."""
    pages = pages_of(write(tiny(), tmp_path))
    assert "## Corrections, over" not in pages["study.md"]
    assert "| euler | 3 | karras | calibrated |" in pages["study-runs.md"]


def test_a_wrong_record_changes_the_page(tmp_path: Path) -> None:
    study = copy.deepcopy(actual())
    study.found[f"euler/4/karras/{RULE}/0"]["flow_error"]["value"] *= 1.01
    page = pages_of(write(study, tmp_path))["study.md"]
    assert page != (DOCS / "study.md").read_text(encoding="utf-8")


def test_cards_are_compared_at_the_batch_of_both(tmp_path: Path) -> None:
    def speed(batch: int, processes: int, train: float) -> None:
        rates = {k: {"images_per_second": v} for k, v in (("train", train), ("evaluate", 100.0))}
        said = {
            "processes": processes,
            "batch": batch,
            "device": "a card",
            "micro_batch": batch // processes,
            **rates,
        }
        (tmp_path / f"speed-{processes}-{batch}.json").write_text(json.dumps(said))

    for batch, alone, two in ((4096, 50.0, 95.0), (512, 40.0, 38.0)):
        speed(batch, 1, alone)
        speed(batch, 2, two)
    speed(64, 2, 1.0)  # one card was not timed at it
    few, many = cards(tmp_path)
    assert few.endswith(
        "training at a batch of 512 0.95 times: 256 pictures per card do not fill it."
    )
    assert many.endswith("training at a batch of 4096 1.90 times.")
