"""The page for authors, followed to the letter in an empty folder: its files, then its commands."""

from __future__ import annotations

import csv
import json
import re
import shlex
from pathlib import Path

import pytest

from steinlab.cli import main

PAGE = (Path(__file__).parents[1] / "docs" / "write-a-paper.md").read_text("utf-8")
SAVED = re.findall(r"Save this as `([\w.-]+)`:\n\n```\w+\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = [
    line
    for language, block in re.findall(r"^```(\w*)\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)
    if not language
    for line in block.splitlines()
]


def test_an_author_follows_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    for name, content in SAVED:
        Path(name).write_text(content, "utf-8")
    for command in COMMANDS:
        program, *words = shlex.split(command)
        assert program == "steinlab"
        assert main(words) == 0, command
    assert {file.suffix for file in Path("out/figures").iterdir()} == {
        ".pdf",
        ".png",
        ".npz",
        ".json",
    }
    with Path("two-modes.csv").open(encoding="utf-8") as file:
        assert len(list(csv.DictReader(file))) == 8
    tables = [Path(name).read_text("utf-8") for name in ("two-modes.tex", "claims.tex")]
    assert all(r"\toprule" in table and r"\caption" in table for table in tables)
    assert tables[0].count(r"\mathbf") >= 2
    report = Path("out/report/report.html").read_text("utf-8")
    assert "Do the two laws hold?" in report
    claims = [row["id"] for row in json.loads(Path("ledger.json").read_text("utf-8"))["claims"]]
    assert claims == ["cosine-law", "law-scalar"]
    assert all(claim in report for claim in claims)
    pages = Path("out/logbook/.trackio/logbook/pages")
    assert {claim for claim in claims if (pages / claim / "page.md").is_file()} == set(claims)
    assert json.loads(Path("croissant.json").read_text("utf-8"))
