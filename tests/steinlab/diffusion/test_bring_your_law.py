"""docs/bring-your-law.md: its law conforms, has a name, and gives what the page says."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "bring-your-law.md").read_text(encoding="utf-8")


def blocks(kind: str) -> list[str]:
    return re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "dice.py").write_text(blocks("python")[0])
    info = tmp_path / "dice-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: dice\nVersion: 1.0\n")
    (entries,) = blocks("toml")
    entries = re.sub(r'\[project.entry-points."(.*?)"\]', r"[\1]", entries).replace('"', "")
    (info / "entry_points.txt").write_text(entries)
    (tmp_path / "spec.json").write_text(blocks("json")[0])
    return tmp_path


def run(folder: Path, *arguments: str) -> str:
    paths = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, *arguments]
    done = subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_the_page_is_short() -> None:
    assert len(PAGE.split()) <= 400


def test_the_command_shown_conforms(here: Path) -> None:
    (command,) = re.findall(r"^steinlab (check .+)$", PAGE, re.MULTILINE)
    assert "conforms: " in run(here, "-m", "steinlab.cli", *command.split())


def test_the_spec_shown_runs(here: Path) -> None:
    rows = json.loads(run(here, "-m", "steinlab.cli", "compare", "spec.json", "--json", "-"))
    assert {row["correction"] for row in rows} == {"none", "law-matched"}
    assert all(row["flow_error"] is not None for row in rows)


def test_the_coefficient_shown_is_what_it_says(here: Path) -> None:
    (here / "use.py").write_text(blocks("python")[1])
    assert run(here, "use.py") == blocks("python")[1].rsplit("# ", 1)[1]
