"""What a row's numbers mean, said the same on the terminal, in the report and in the findings."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from steinlab.cli.output import COLOURS
from steinlab.report.page import page
from steinlab.report.words import (
    COUNTS_AS,
    MEANING,
    SHORT,
    WHOSE,
    attacked,
    contradicted,
    counts,
    grouped,
    meaning,
    nearest,
    not_looked_at,
    number,
)
from steinlab.verification.claim import OWNERS
from steinlab.verification.comparison import Comparison
from steinlab.verification.judge import judge
from steinlab.verification.ledger import VERDICTS
from tests.steinlab.report.ledgers import LEDGER
from tests.steinlab.verification.toys import check, claim, compare


def entry(**changes: Any) -> dict[str, Any]:
    quiet = {
        "method": "property",
        "check": "numbers",
        "cases": 10,
        "violations": 0,
        "worst_over_tolerance": 0.25,
        "tightness": None,
    }
    return {**quiet, **changes}


def test_every_verdict_and_owner_has_its_words() -> None:
    assert set(MEANING) == set(COLOURS) - {"failed"} == set(VERDICTS)
    style = (files("steinlab.report") / "page.css").read_text()
    assert all(f".{verdict}" in style for verdict in VERDICTS)
    assert list(WHOSE)[:-1] == list(SHORT)[:-1] == list(OWNERS)


@pytest.mark.parametrize(
    ("evidence", "words", "share"),
    [
        ([entry(), entry(worst_over_tolerance=0.5)], "0.5 of tolerance", 0.5),
        ([entry(), entry(tightness=0.99996)], "1.0000 of bound", 0.99996),
        ([entry(tightness=0.1)], "0.1000 of bound", 0.1),
        (
            [entry(tightness=3.3815, violations=2, worst_over_tolerance=9.0), entry()],
            "violated: 3.38 times the bound",
            3.3815,
        ),
        ([entry(), entry(violations=1, worst_over_tolerance=7.0)],
         "violated: 7 times the tolerance", 7.0),
        (
            [entry(violations=1, pooled={"measured": [9.0], "predicted": [0.0], "tolerance": [2]})],
            "violated: 4.5 times the tolerance",
            4.5,
        ),
        (  # a bound that is not positive has no ratio
            [entry(tightness=0.5, violations=1, worst_over_tolerance=3.0)],
            "violated: 3 times the tolerance",
            3.0,
        ),
        ([entry(method="symbolic", worst_over_tolerance=0.0)], "-", -1.0),
        ([], "-", -1.0),
    ],
)  # fmt: skip
def test_nearest_to_the_limit(evidence: Any, words: str, share: float) -> None:
    assert nearest({"evidence": evidence}) == (words, share)


def bound(data: Any, formula: Any) -> Comparison:
    c = compare(data, formula)
    return replace(c, predicted=0.5 * c.predicted, upper=True)


def test_a_refuted_row_says_how_often_and_by_how_much() -> None:
    row = judge(claim(checks=(check(), check("bound", compare=bound))))
    assert nearest(row) == ("violated: 2 times the bound", 2.0)
    assert contradicted(row) == "violated in 7 of 7 cases of bound"
    assert contradicted(judge(claim())) == ""


def test_owners_are_counted_apart() -> None:
    rows = [
        {"id": str(i), "owner": owner, "verdict": verdict}
        for i, (owner, verdict) in enumerate(
            [
                ("laboratory", "refuted"),
                ("paper", "refuted"),
                ("paper", "holds"),
                ("paper", "holds"),
            ]
        )
    ]
    assert counts(rows) == [
        "the paper's claims: 2 hold, 1 refuted",
        "aims and tools of this laboratory: 1 refuted (an aim missed)",
    ]
    assert [list(v) for v in grouped(rows).values()] == [["holds", "refuted"], ["refuted"]]
    assert counts([{"verdict": "holds"}]) == [
        "claims whose owner the ledger does not name: 1 holds"
    ]


def test_a_claim_that_names_no_owner_is_its_writers() -> None:
    """A stranger's false bound was called an aim of our own, missed."""
    row = judge(claim(formula=lambda x: 3 * x))
    assert (row["owner"], row["verdict"]) == ("user", "refuted")
    assert counts([row, {**row, "verdict": "holds"}]) == ["claims of your own: 1 holds, 1 refuted"]
    assert meaning("refuted", "user") == MEANING["refuted"]
    ours = {"owner": "laboratory", "verdict": "refuted"}
    assert counts([ours, ours]) == ["aims and tools of this laboratory: 2 refuted (aims missed)"]


def test_the_falsifier_found_one_and_counted_no_others() -> None:
    """It said "1 of 16 cases of falsifier" where all of the 16 fail."""
    drawn = entry(check="cases", cases=200, violations=174)
    attack = entry(check="falsifier", method="adversarial", cases=16, violations=1)
    assert contradicted({"evidence": [attack]}) == "the falsifier found a violation"
    own = {**drawn, "check": "own"}
    assert contradicted({"evidence": [own, attack]}) == "violated in 174 of 200 cases of own"
    said = {"finding": "fails in 174 of 200 cases", "evidence": [drawn, attack]}
    assert contradicted(said) == "", "not twice"


LOWER = {"kind": "lower"}


def test_of_a_lower_bound_the_ratio_is_the_bounds() -> None:
    """A violation by a factor of 12 is a bound that is 12 times what was measured."""
    near, far = entry(tightness=0.5), entry(tightness=12.0, violations=3)
    assert nearest({**LOWER, "evidence": [near]}) == ("bound 0.5000 of measured", 0.5)
    assert nearest({**LOWER, "evidence": [far]})[0] == "violated: bound 12 times the measured"
    attack = {**far, "method": "adversarial", "attacks": 16, "searched": "cases", "best": 12.0}
    assert "violates the claim: the bound comes to 12 of the m" in attacked(
        {**LOWER, "evidence": [attack]}
    )
    assert "tried 1 case; its" in attacked({**LOWER, "evidence": [{**attack, "attacks": 1}]})


def test_what_is_not_finite_is_said_to_be_counted() -> None:
    """It said "violated: 1e+03 times the bound" where 32 runs had no finite value."""
    notes = {"notes": {COUNTS_AS: 1000.0}}
    capped = entry(tightness=1000.0000000000001, violations=32, **notes)
    said = "violated: 1000 times the bound, as which what is not finite, or beyond, counts"
    assert nearest({"evidence": [capped]})[0] == said
    below = entry(tightness=195.0, violations=3, **notes)
    assert nearest({"evidence": [below]})[0] == "violated: 195 times the bound"


def test_the_page_names_the_case_and_its_numbers() -> None:
    row = judge(claim(checks=(check("bound", compare=bound),), kind="lower"))
    page_of = page({**LEDGER, "claims": [row]})
    worst = row["worst"]
    numbers = f"measured {number(worst['bound'])}, bound {number(worst['measured'])}"
    assert f"<b>Worst case</b>: {numbers}" in page_of
    small = {**row, "worst": {**worst, "shrunk": True}}
    assert "<b>Smallest counterexample found</b>" in page({**LEDGER, "claims": [small]})


def test_what_was_not_looked_at_is_said_once() -> None:
    left = {"check": "networks", "what": "a model", "reason": "not installed"}
    rows = [{"id": "a", "not_looked_at": [left]}, {"id": "b", "not_looked_at": [left]}, {"id": "c"}]
    assert not_looked_at(rows) == [("a model: not installed", "a (networks), b (networks)")]


def test_an_attack_is_claimed_only_where_one_is_in_the_row() -> None:
    """The toys' rows of the ledger hold attacks; a claim without a search space has none."""
    assert all("the falsifier tried" in attacked(row) for row in LEDGER["claims"])
    assert attacked(judge(claim())) == ""
    text = page({**LEDGER, "claims": [{**judge(claim()), "seconds": 0.0}]})
    assert "attack" not in text.lower()
    assert "Attacked" in page(LEDGER)


def test_the_page_shows_what_was_tried_and_what_was_left_out() -> None:
    tried = judge(claim(formula=lambda x: 3 * x, tried="numbers of <our> own", owner="paper"))
    part = judge(claim(id="part", checks=(check(partly=lambda _: {"a model": "not there"}),)))
    text = page({**LEDGER, "claims": [tried, part]})
    assert "<b>Tried.</b> numbers of &lt;our&gt; own." in text
    assert 'data-verdict="not-reproduced"' in text
    assert text.count("a model: not there") == 2, "once for all, once in the claim's own detail"
    assert "<li>The paper&#39;s claims: 1 not-reproduced</li>" in text
    assert "violated in 7 of 7 cases of numbers" in text
