"""What a row's numbers mean, said the same on the terminal, in the report and in the findings."""

from __future__ import annotations

from dataclasses import replace
from importlib.resources import files
from typing import Any

import pytest

from steinlab.cli.verify import COLOURS
from steinlab.judge import judge
from steinlab.ledger import VERDICTS
from steinlab.report.page import page
from steinlab.report.words import (
    MEANING,
    SHORT,
    WHOSE,
    attacked,
    contradicted,
    counts,
    grouped,
    nearest,
    not_looked_at,
)
from steinlab.verdicts import OWNERS, Comparison
from tests.steinlab.report.ledgers import LEDGER
from tests.steinlab.toys import check, claim, compare


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
    assert set(MEANING) == set(COLOURS) == set(VERDICTS)
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
    assert "<h3>The paper&#x27;s claims <small>1 not-reproduced</small></h3>" in text
    assert "violated in 7 of 7 cases of numbers" in text
