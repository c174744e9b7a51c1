"""docs/study.md says what the stored study says."""

from __future__ import annotations

import importlib.util
import math
from pathlib import Path
from typing import Any

import pytest

from gpu_models.study.design import SIZES, cells

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ROOT / "gpu_models" / "results"
PAGE = (ROOT / "docs" / "study.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> Any:
    spec = importlib.util.spec_from_file_location("study_table", ROOT / "docs" / "study_table.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def found(script: Any) -> dict[str, Any]:
    return dict(script.pieces(RESULTS))


def test_every_table_of_the_page_is_the_record(script: Any) -> None:
    for table in script.main(RESULTS):
        assert table in PAGE


def test_the_network_is_the_one_that_was_studied() -> None:
    import hashlib
    import json

    head = json.loads((RESULTS / "study-0.jsonl").read_text().splitlines()[0])
    weights = ROOT / "gpu_models" / "weights" / "fashion-edm.safetensors"
    assert head["config"]["weights"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_the_theorem_agrees_with_the_reference_at_every_step(found: dict[str, Any]) -> None:
    """28 comparisons at a joint level of 1e-3: 4.3 standard errors each."""
    rows = found["coefficients"]["rows"]
    assert len(rows) == 14
    for row in rows:
        gamma = row["gamma"]
        for route in ("stein, 1 rademacher", "stein, 5 gaussian"):
            error = math.hypot(gamma[route]["error"], gamma["reference"]["error"])
            assert abs(gamma[route]["value"] - gamma["reference"]["value"]) < 4.3 * error
            assert error < 0.005 * gamma[route]["value"]


def test_the_bound_holds_and_its_tightness_falls(found: dict[str, Any]) -> None:
    rows = [row for row in found["coefficients"]["rows"] if row["solver"] == "euler"]
    assert all(0 < row["tightness"] < 1 for row in rows)
    assert rows[0]["tightness"] == pytest.approx(0.65, abs=0.01)
    assert max(row["tightness"] for row in rows if row["from"] < 1.3) < 0.002


def test_every_unclipped_run_is_worse_than_its_plain_twin(found: dict[str, Any]) -> None:
    ratios, stopped = [], 0
    for key, row in found.items():
        if "/stein-from-below/" not in key:
            continue
        plain = found[key.replace("stein-from-below", "none")]
        if "stopped" in row:
            stopped += 1
            continue
        ratios.append(row["flow_error"]["value"] / plain["flow_error"]["value"])
    assert f"{min(ratios):.1f} to {max(ratios):,.0f} times" in PAGE
    assert stopped == 6
    assert f"45 of the {len(cells(SIZES['full']))} runs" in PAGE
    assert sum(key.count("/") == 4 for key in found) == 45


def test_training_and_test_errors_differ_by_two_per_cent(found: dict[str, Any]) -> None:
    errors: dict[float, dict[str, float]] = {}
    for row in found["denoiser"]["rows"]:
        errors.setdefault(row["sigma"], {})[row["pictures"]] = row["network_to_picture"]["value"]
    assert max(abs(e["test"] / e["train"] - 1) for e in errors.values()) < 0.02
