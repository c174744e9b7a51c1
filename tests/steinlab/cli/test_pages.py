"""``make pages``: README and pages follow the ledger and the record."""

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
from steinlab.verification.registry import claim_ids, load_claim

ROOT = Path(__file__).resolve().parents[3]
EXPECTED = {name: load_claim(name).expected for name in claim_ids()}
README = (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    (tmp_path / "docs" / "results").mkdir(parents=True)
    shutil.copytree(ROOT / "docs" / "results" / "networks", tmp_path / "docs/results/networks")
    for file in (ROOT / "docs").glob("*.md"):
        shutil.copy(file, tmp_path / "docs")
    (tmp_path / "README.md").write_text(README, encoding="utf-8")
    return tmp_path


HEADLINES = {
    name: said for said, name in re.findall(r"^\| (.+) \| `steinlab show (\S+)`", README, re.M)
}
"""What the README has of the claims that it features."""


def ledger(**changes: str) -> dict[str, Any]:
    renamed = {name.replace("_", "-"): verdict for name, verdict in changes.items()}
    rows = [
        {
            "id": name,
            "title": "t",
            "source": "s",
            "statement": "a",
            "verdict": renamed.get(name, verdict),
            "headline": HEADLINES.get(name, ""),
            "finding": "f",
            "cases": 1,
            "controls": [],
            "evidence": [],
        }
        for name, verdict in EXPECTED.items()
    ]
    return {"version": 1, "profile": "quick", "seed": 0, "claims": rows}


def renewed(root: Path, content: dict[str, Any], *options: str) -> int:
    (root / "ledger.json").write_text(json.dumps(content))
    return main(["pages", str(root / "ledger.json"), "--root", str(root), *options])


def test_nothing_changes_where_nothing_changed(root: Path) -> None:
    assert renewed(root, ledger()) == 0
    assert (root / "README.md").read_text() == README
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


def test_another_verdict_than_the_claims_is_told_and_changes_no_count(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    found = ledger(correction_cost="conditional", stein_identity="refuted")
    assert renewed(root, found) == 1
    assert capsys.readouterr().err == (
        "correction-cost: verdict conditional, expected refuted\n"
        "stein-identity: verdict refuted, expected proved\n"
    )
    assert (root / "README.md").read_text() == README
    assert "refuted (an aim missed)" in README, "correction-cost is ours, not the paper's"
    assert BLOCK.search(README)


def test_a_table_of_what_is_no_comparison_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for obj in ([1, 2], [], {"a": 1}, [{"solver": "heun"}], 3):
        (tmp_path / "list.json").write_text(json.dumps(obj))
        assert main(["comparison-table", str(tmp_path / "list.json")]) == 2
        line = capsys.readouterr().err
        assert " must " in line
        assert line.endswith(f", in {tmp_path / 'list.json'}\n")
        assert line.count("\n") == 1
