"""``make pages``: README, expected verdicts and pages follow the ledger and the record."""

from __future__ import annotations

import importlib
import json
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steinlab.verification.shards import package_of

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = json.loads((ROOT / "tests" / "expected_verdicts.json").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def script() -> Iterator[Any]:
    before = set(sys.modules)
    sys.path.insert(0, str(ROOT / "docs"))
    yield importlib.import_module("refresh")
    sys.path.remove(str(ROOT / "docs"))
    for name in set(sys.modules) - before:
        if str(getattr(sys.modules[name], "__file__", "")).startswith(str(ROOT / "docs")):
            del sys.modules[name]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for name in ("docs", "tests"):
        (tmp_path / name).mkdir()
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    for name in ("expected_verdicts.json", "expected_verdicts_full.json"):
        (tmp_path / "tests" / name).write_text((ROOT / "tests" / name).read_text())
    return tmp_path


def ledger(**changes: str) -> dict[str, Any]:
    renamed = {name.replace("_", "-"): verdict for name, verdict in changes.items()}
    rows = [
        {
            "id": name,
            "title": "t",
            "source": "s",
            "statement": "a",
            "verdict": renamed.get(name, verdict),
            "finding": "f",
            "cases": 1,
            "controls": [],
        }
        for name, verdict in EXPECTED.items()
    ]
    return {"profile": "quick", "seed": 0, "claims": rows}


def test_nothing_changes_where_nothing_changed(script: Any, root: Path) -> None:
    assert script.refresh(root, ledger()) == []
    assert (root / "README.md").read_text() == README
    assert json.loads((root / "tests" / "expected_verdicts.json").read_text()) == EXPECTED
    for name in ("study.md", "study-runs.md"):
        assert (root / "docs" / name).read_text() == (ROOT / "docs" / name).read_text()
    assert (root / "docs" / "findings.md").is_file()


def test_the_stored_studys_verdicts_are_adopted_and_no_others(script: Any, root: Path) -> None:
    assert package_of("correction-cost") == "gpu_models"
    found = ledger(correction_cost="conditional", stein_identity="refuted")
    said = script.refresh(root, found)
    assert said == ["stein-identity: verdict refuted, expected proved"]
    expected = json.loads((root / "tests" / "expected_verdicts.json").read_text())
    assert expected == {**EXPECTED, "correction-cost": "conditional"}
    readme = (root / "README.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z-]+) \| (`.+`) \|$", readme, flags=re.MULTILINE))
    assert "`correction-cost`" in rows["conditional"]
    assert "`stein-identity`" in rows["proved"]
    assert script.BLOCK.sub("", readme) == script.BLOCK.sub("", README)
    assert "refuted (an aim missed)" in README, "correction-cost is ours, not the paper's"
    assert "an aim missed" not in readme


def test_the_full_profiles_verdicts_are_kept_apart(script: Any, root: Path) -> None:
    full = json.loads((root / "tests" / "expected_verdicts_full.json").read_text())
    name = "solver-order"
    found = {**ledger(), "profile": "full"}
    for row in found["claims"]:
        row["verdict"] = full[row["id"]]
    full[name] = "refuted"
    (root / "tests" / "expected_verdicts_full.json").write_text(json.dumps(full))
    assert script.refresh(root, found) == [f"{name}: verdict holds, expected refuted"]
    assert json.loads((root / "tests" / "expected_verdicts.json").read_text()) == EXPECTED
    readme = " ".join((root / "README.md").read_text().split())
    assert re.search(
        r"the full one \(`make verify PROFILE=full`\) is expected to have .*`solver-order` refuted",
        readme,
    )
