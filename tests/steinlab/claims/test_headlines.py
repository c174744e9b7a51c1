"""Headlines are short, and filled from numbers; the template of a claim runs as it stands."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from steinlab.verification.claim import Claim
from steinlab.verification.ledger import claim_ids, judge_by_id, load_claim
from tests.steinlab.claims.small import shrink

ROOT = Path(__file__).parents[3]
CHARACTERS, WORDS, NUMBERS, FINDING = 120, 20, 2, 500
ORDERS = {
    *("third-order-as-published", "vp-singularity", "amed-order", "epd-order", "pfdiff-order"),
    *("dc-solver-order", "dpm-v3-order", "shortcut-consistency"),
}
CHEAP = ["lipschitz-bound", "algorithm-cost", "shift-adaptation"]
"""Claims that are judged here: their headlines as they are shown."""


def numbers_in(text: str) -> int:
    """Count numbers: an interval is one, names such as 2M or Theorem 4.7 are none."""
    text = re.sub(r"(Theorem|Section|eq\.) [\d.]+\d", "", text)
    text = re.sub(r"\[[^\]]*\]", "0", text)
    return len(re.findall(r"(?<![\w^.,/-])-?\d[\d.,]*(?:e[+-]?\d+)?(?![A-Za-z\d])", text))


def check_limits(text: str) -> None:
    assert len(text) <= CHARACTERS, (len(text), text)
    words = text.replace(" %", "%").split()
    assert len(words) <= WORDS, (len(words), text)
    assert numbers_in(text) <= NUMBERS, (numbers_in(text), text)
    assert text.endswith("."), text


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("Clipped to [0.5, 1], it cuts the error of 2M, 3M and UniPC by 14 % on average.", 2),
        ("Theorem 4.7 holds to 2e-14 where slopes reach 4e+08, in 36 of 1,064 steps.", 4),
        ("What grows, like alpha^-1, falls like 1/B.", 1),
    ],
)
def test_numbers_are_counted(text: str, count: int) -> None:
    assert numbers_in(text) == count


@pytest.mark.parametrize("claim_id", claim_ids())
def test_a_template_is_within_its_limits(claim_id: str) -> None:
    claim: Claim = load_claim(claim_id)
    assert claim.headline
    fields = [field for _, field, _, _ in Formatter().parse(claim.headline) if field is not None]
    assert bool(fields) <= bool(claim.numbers)
    check_limits(re.sub(r"\{[^}]*\}", "10 %", claim.headline))


@pytest.mark.parametrize("claim_id", claim_ids())
def test_a_finding_that_is_a_text_is_short_and_leaves_numbers_to_the_table(claim_id: str) -> None:
    finding = load_claim(claim_id).finding
    if isinstance(finding, str):
        assert 40 < len(finding) <= FINDING, len(finding)
        assert finding.endswith(".")
        assert not re.search(r"\d %|\de-\d|\d\.\d{2,}", finding), finding


@pytest.mark.parametrize("claim_id", claim_ids())
def test_a_headline_shows_the_digits_of_the_table(claim_id: str) -> None:
    """Orders and powers alone are rounded to whole numbers."""
    specs = {spec for _, _, spec, _ in Formatter().parse(load_claim(claim_id).headline) if spec}
    assert specs <= {".0f"}
    assert not specs or claim_id in ORDERS


@pytest.mark.parametrize("claim_id", CHEAP)
def test_a_headline_is_within_its_limits(claim_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    shrink(monkeypatch)
    row = judge_by_id(claim_id, "quick", 0)
    check_limits(row["headline"])
    names = [number["name"] for number in row["numbers"]]
    assert len(set(names)) == len(names) > 2


def test_the_template_of_a_claim_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copy(ROOT / "docs" / "templates" / "my_claim.py", tmp_path)
    monkeypatch.chdir(tmp_path)
    row: Any = judge_by_id("my_claim.py::my-claim", "quick", 0)
    assert (row["verdict"], row["expected"]) == ("holds", "holds")
    assert row["headline"] == "The posterior mean has no more energy than the data."
    assert all(control["rejected"] for control in row["controls"])
