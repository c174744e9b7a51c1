"""The report's page: what it says, what it refuses, and that nothing comes from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest
from markupsafe import escape

from steinlab.cli import main
from steinlab.report.page import Picture, page
from steinlab.report.words import mathml
from steinlab.verification.registry import claim_ids, load_claim
from tests.steinlab.report.ledgers import BREAKOUT, HOSTILE, LEDGER, PNG

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
    text = page(LEDGER, [Picture("p", "a picture", frozenset({"solver-equivalences"}), PNG)])
    parser.feed(text)
    assert parser.open == []
    assert parser.sources
    assert all(source.startswith(("#", "data:")) for source in parser.sources)
    assert not re.search(r"url\(|@import|https?://(?!www\.w3\.org/1998/Math)", text)


def test_no_text_of_a_file_becomes_markup() -> None:
    text = page(HOSTILE, [Picture("p", BREAKOUT, frozenset(), PNG)])
    parser = Balanced()
    parser.feed(text)
    assert parser.open == []
    assert all(source.startswith(("#", "data:")) for source in parser.sources)
    assert len(re.findall("<script", text)) == 2
    assert not re.search("<img (?!alt=)", text)


def test_the_policy_names_our_own_style_and_script_only() -> None:
    text = page(LEDGER)
    (policy,) = re.findall(r'Policy" content="([^"]*)"', text)
    policy = policy.replace("&#39;", "'")
    assert policy.startswith("default-src 'none'; ")
    assert "unsafe" not in policy
    for kind in ("style", "script"):
        (content,) = re.findall(f"<{kind}>(.*?)</{kind}>", text, re.DOTALL)
        digest = base64.b64encode(hashlib.sha256(content.encode()).digest()).decode()
        assert f"{kind}-src 'sha256-{digest}'" in policy


@pytest.mark.parametrize(
    "latex",
    [
        r"\text{<script>alert(1)</script>}",
        r"\href{javascript:alert(1)}{x}",
        r"\style{position:fixed}{x}",
        "x^2^3 <b>",
        "{" * 3000,
        "",
    ],
)
def test_a_hostile_formula_is_text(latex: str) -> None:
    made = mathml(latex)
    assert not re.search("<script|<b>", made)
    assert not re.search(' (href|style|class)="', made)


def test_every_formula_of_the_page_is_typeset() -> None:
    for claim in map(load_claim, claim_ids()):
        assert claim.latex
        for latex in claim.latex:
            made = mathml(latex)
            assert made.startswith("<math")
            assert "\\" not in re.sub(r'aria-label="[^"]*"', "", made), latex


@pytest.mark.parametrize(
    ("latex", "set_as"),
    [
        ("r'", "<mrow><mrow><mi>r</mi><mo>'</mo></mrow></mrow>"),
        ("z''", "<mrow><mrow><mi>z</mi><mo>''</mo></mrow></mrow>"),
        ("s'^2", "<msup><mrow><mi>s</mi><mo>'</mo></mrow><mrow><mn>2</mn></mrow></msup>"),
        ("s'_0", "<msub><mrow><mi>s</mi><mo>'</mo></mrow><mn>0</mn></msub>"),
        ("s^2", "<msup><mi>s</mi><mn>2</mn></msup>"),
    ],
)
def test_a_prime_stands_beside_its_letter(latex: str, set_as: str) -> None:
    assert set_as in mathml(latex)
    assert set_as in mathml(rf"\frac{{{latex}}}{{r}}")


def test_a_claim_unfolds_to_all_that_the_ledger_holds() -> None:
    text = page(LEDGER)
    for row in LEDGER["claims"]:
        assert f'id="{row["id"]}"' in text
        assert all(escape(control["name"]) in text for control in row["controls"])
    assert "steinlab replay solver-equivalences.json" in text


def test_the_page_opens_with_question_answer_date_code_and_how_to_rerun() -> None:
    about = {**LEDGER["environment"], "date": "2026-11-30", "commit": "0123456789ab"}
    text = page({**LEDGER, "environment": about}, (), "Is it <true>?", "We looked.")
    assert "<h1>Is it &lt;true&gt;?</h1>" in text
    assert "<title>Is it &lt;true&gt;?</title>" in text
    assert "We looked." in text
    said = dict(re.findall(r"<dt>(\w+)</dt><dd>(.*?)</dd>", text))
    assert said["Answer"].startswith("3 claims: ")
    assert (said["Date"], said["Code"][-12:]) == ("2026-11-30", "0123456789ab")
    named = ",".join(row["id"] for row in LEDGER["claims"])
    assert f"steinlab verify --claims {named} --profile quick --seed 0" in said["Rerun"]


def test_a_ledger_without_date_or_commit_says_so() -> None:
    about = {k: v for k, v in LEDGER["environment"].items() if k not in ("date", "commit")}
    said = dict(re.findall(r"<dt>(\w+)</dt><dd>(.*?)</dd>", page({**LEDGER, "environment": about})))
    assert said["Date"] == "not recorded"
    assert "commit" not in said["Code"]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version must be 1, got 2, in "),
        ({"claims": [{"id": "x"}]}, "claims[0] must hold title, got only id, in "),
        ({"claims": None}, "claims must be a list, got null, in "),
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
