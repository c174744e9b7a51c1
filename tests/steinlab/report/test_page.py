"""The report's page: what it says, what it refuses, and that nothing comes from elsewhere."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.report.page import Picture, page
from steinlab.report.words import escape, mathml
from steinlab.verification.registry import claim_ids, load_claim
from tests.steinlab.report.ledgers import LEDGER, PNG

VOID = {"meta", "link", "input", "img", "br"}


class Balanced(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.sources: list[str] = []

    def handle_starttag(self, tag: str, attrs: Any) -> None:
        if tag not in VOID:
            self.open.append(tag)
        self.sources += [v for k, v in attrs if k in ("src", "href", "srcset") and v]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_is_well_formed_and_self_contained() -> None:
    parser = Balanced()
    text = page(LEDGER, [Picture("p", "a picture", ("solver-equivalences",), PNG)])
    parser.feed(text)
    assert parser.open == []
    assert parser.sources
    assert all(source.startswith(("#", "data:")) for source in parser.sources)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/1998/Math)", text)


def test_text_of_a_ledger_cannot_become_markup() -> None:
    row = {**LEDGER["claims"][0], "finding": "<script>alert(1)</script> & more"}
    text = page({**LEDGER, "claims": [row]})
    assert "<script>alert" not in text
    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; more" in text


def test_every_formula_of_the_page_is_typeset() -> None:
    for claim in map(load_claim, claim_ids()):
        assert claim.latex
        for latex in claim.latex:
            made = mathml(latex)
            assert made.startswith("<math")
            assert "\\" not in re.sub(r'aria-label="[^"]*"', "", made), latex


def test_a_claim_unfolds_to_all_that_the_ledger_holds() -> None:
    text = page(LEDGER)
    for row in LEDGER["claims"]:
        assert f'id="{row["id"]}"' in text
        assert all(escape(control["name"]) in text for control in row["controls"])
    assert "steinlab replay solver-equivalences.json" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "--ledger: version must be 1, got 2"),
        ({"claims": [{"id": "x"}]}, "--ledger: claims[0] must hold title, got only id"),
        ({"claims": None}, "--ledger: claims must be a list, got null"),
        (
            {"claims": [{**LEDGER["claims"][0], "controls": [5]}]},
            "claims[0].controls[0] must be an object, got 5",
        ),
        (
            {"claims": [{**LEDGER["claims"][0], "verdict": "<b>"}]},
            "claims[0].verdict must be one of proved,",
        ),
    ],
)
def test_a_bad_ledger_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], change: dict[str, Any], message: str
) -> None:
    file = tmp_path / "ledger.json"
    file.write_text(json.dumps({**LEDGER, **change}))
    words = ["report", "--ledger", str(file), "--out", str(tmp_path / "o"), "--without-figures"]
    assert main(words) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not (tmp_path / "o" / "report.html").exists()


def test_an_unwritable_folder_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "ledger.json"
    file.write_text(json.dumps(LEDGER))
    words = ["report", "--ledger", str(file), "--out", str(file / "x"), "--without-figures"]
    assert main(words) == 2
    assert "--out must be a folder that can be made" in capsys.readouterr().err
