"""``make pages``: README, expected verdicts and pages follow the ledger and the record."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.report.pages.verdicts import BLOCK
from steinlab.verification.shards import package_of

ROOT = Path(__file__).resolve().parents[3]
EXPECTED = json.loads((ROOT / "tests" / "expected_verdicts.json").read_text(encoding="utf-8"))
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "tests").mkdir()
    (tmp_path / "docs" / "results").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "results" / "networks", tmp_path / "docs/results/networks")
    for file in (ROOT / "docs").glob("*.md"):
        shutil.copy(file, tmp_path / "docs")
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


def renewed(root: Path, content: dict[str, Any], *options: str) -> int:
    (root / "ledger.json").write_text(json.dumps(content))
    return main(["pages", str(root / "ledger.json"), "--root", str(root), *options])


def test_nothing_changes_where_nothing_changed(root: Path) -> None:
    assert renewed(root, ledger()) == 0
    assert (root / "README.md").read_text() == README
    assert json.loads((root / "tests" / "expected_verdicts.json").read_text()) == EXPECTED
    for name in ("study.md", "study-runs.md", "networks.md", "networks-tables.md"):
        assert (root / "docs" / name).read_text() == (ROOT / "docs" / name).read_text()
    assert "f." in (root / "docs" / "findings.md").read_text()
    assert renewed(root, ledger(), "--check") == 0


def test_a_check_names_what_would_change_and_writes_nothing(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    page = root / "docs" / "study.md"
    page.write_text("old")
    assert main(["pages", "--check", "--root", str(root)]) == 1
    assert capsys.readouterr().out == f"{page} is not what the records make\n"
    assert page.read_text() == "old"
    assert main(["pages", "--only", "study.md", "--out", "-", "--root", str(root)]) == 0
    assert capsys.readouterr().out == (ROOT / "docs" / "study.md").read_text()
    assert main(["pages", "--root", str(root)]) == 0
    assert page.read_text() == (ROOT / "docs" / "study.md").read_text()


def test_bad_input_is_one_line(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for args, line in (
        (["--root", "/nowhere"], "--root must hold the folder docs, got /nowhere"),
        (["--root", str(root), "--only", "studdy.md"], "did you mean study.md?"),
    ):
        assert main(["pages", *args]) == 2
        assert line in capsys.readouterr().err


def test_the_scripts_answer_by_the_command(tmp_path: Path) -> None:
    """With the same options, and a pointer on stderr."""
    script = [sys.executable, str(ROOT / "docs" / "study_page.py"), str(tmp_path)]
    done = subprocess.run(script, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stderr == f"steinlab: {script[1]} is now steinlab pages\n"
    for name in ("study.md", "study-runs.md"):
        assert (tmp_path / name).read_text() == (ROOT / "docs" / name).read_text()


def test_the_stored_studys_verdicts_are_adopted_and_no_others(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert package_of("correction-cost") == "gpu_models"
    found = ledger(correction_cost="conditional", stein_identity="refuted")
    assert renewed(root, found) == 1
    assert capsys.readouterr().err == "stein-identity: verdict refuted, expected proved\n"
    expected = json.loads((root / "tests" / "expected_verdicts.json").read_text())
    assert expected == {**EXPECTED, "correction-cost": "conditional"}
    readme = (root / "README.md").read_text()
    rows = dict(re.findall(r"^\| ([a-z-]+) \| (`.+`) \|$", readme, flags=re.MULTILINE))
    assert "`correction-cost`" in rows["conditional"]
    assert "`stein-identity`" in rows["proved"]
    assert BLOCK.sub("", readme) == BLOCK.sub("", README)
    assert "refuted (an aim missed)" in README, "correction-cost is ours, not the paper's"
    assert "an aim missed" not in readme


def test_the_full_profiles_verdicts_are_kept_apart(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    full = json.loads((root / "tests" / "expected_verdicts_full.json").read_text())
    name = "solver-order"
    found = {**ledger(), "profile": "full"}
    for row in found["claims"]:
        row["verdict"] = full[row["id"]]
    full[name] = "refuted"
    (root / "tests" / "expected_verdicts_full.json").write_text(json.dumps(full))
    assert renewed(root, found) == 1
    assert capsys.readouterr().err == f"{name}: verdict holds, expected refuted\n"
    assert json.loads((root / "tests" / "expected_verdicts.json").read_text()) == EXPECTED
    readme = " ".join((root / "README.md").read_text().split())
    assert re.search(
        r"the full one \(`make verify PROFILE=full`\) is expected to have .*`solver-order` refuted",
        readme,
    )
