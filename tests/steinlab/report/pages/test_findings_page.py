"""docs/findings.md: every claim with the verdict expected of it, and how the page comes about."""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path

import pytest

from steinlab.report.pages import aims, findings, scaling
from steinlab.verification.registry import claim_ids, load_claim
from steinlab.workers import executor_for

ROOT = Path(__file__).resolve().parents[4]
DOCS = ROOT / "docs"
PAGE = (DOCS / "findings.md").read_text(encoding="utf-8")
EXPECTED = {name: load_claim(name).expected for name in claim_ids()}


def listed(page: str) -> dict[str, str]:
    return dict(re.findall(r"^\*\*.+\*\* \(`([a-z0-9-]+)`\): ([a-z-]+)\.$", page, re.MULTILINE))


def test_it_lists_every_claim_with_its_verdict() -> None:
    assert listed(PAGE) == EXPECTED


def test_every_claim_has_its_command() -> None:
    commands = re.findall(r"^- `steinlab verify --claims ([a-z0-9-]+)", PAGE, re.MULTILINE)
    assert sorted(commands) == sorted(EXPECTED)


def test_the_objections_come_first() -> None:
    """Of the claims: before them stand the counts alone."""
    heads = re.findall(r"^##+ (.*)$", PAGE, re.MULTILINE)
    assert heads[:2] == ["Verdicts by owner", "The review's objections"]
    assert [head.split(":")[0] for head in heads[2:5]] == [f"Objection {n}" for n in (1, 2, 3)]
    assert PAGE.index("(`regularity-conditions`)") < PAGE.index("Objection 2")
    assert PAGE.index("(`perturbation-bound-in-trap`)") < PAGE.index("Objection 3")


def test_the_cells_of_objection_3_are_those_of_the_comparison() -> None:
    assert findings.compared(DOCS) in PAGE
    assert len(list(findings.sections((DOCS / "comparison.md").read_text()))) == 4


def test_a_page_says_what_its_ledger_says() -> None:
    row = {
        "id": "stein-identity",
        "title": "A *title*",
        "source": "Stein",
        "statement": "a < b",
        "verdict": "refuted",
        "finding": "it fails by 0.5\nof gamma*",
        "cases": 1200,
        "controls": [{"rejected": True}, {"rejected": False}],
    }
    page = findings.render(DOCS, {"profile": "full", "seed": 3, "claims": [row]})
    assert listed(page) == {"stein-identity": "refuted"}
    assert "1 claims, 1,200 cases, 1 of 2 controls rejected (profile full, seed 3)" in page
    assert "- Found: it fails by 0.5 of gamma\\*.\n" in page
    number = {"name": "order", "value": 1.95, "error": 0.02, "unit": ""}
    row = {**row, "headline": "Order 2.", "numbers": [number]}
    page = findings.render(DOCS, {"profile": "full", "seed": 3, "claims": [row]})
    assert "- Answer: Order 2.\n- Numbers: order **1.950 ± 0.020**.\n- Details: it fails by" in page
    assert "Claimed (Stein): a < b." in page
    assert "`steinlab verify --claims stein-identity --profile full`" in page
    assert "### Refuted: a stored counterexample replays\n" in page
    assert "- Contradicted:" not in page
    assert "- Attacked:" not in page, "no attack is in the row"
    assert "## Proved" not in page


def test_it_groups_by_owner_and_says_once_what_was_not_looked_at() -> None:
    common = {"title": "t", "source": "s", "statement": "a", "finding": "f", "controls": []}
    attack = {
        "method": "adversarial",
        "check": "falsifier",
        "searched": "steps",
        "attacks": 16,
        "cases": 16,
        "violations": 1,
        "tightness": 1.5,
        "best": 1.5,
    }
    left = {"check": "networks", "what": "a model", "reason": "not installed"}
    rows = [
        {**common, "id": "ours", "owner": "laboratory", "verdict": "refuted", "cases": 16,
         "evidence": [attack]},
        {**common, "id": "theirs", "owner": "paper", "verdict": "not-reproduced", "cases": 1,
         "tried": "one U-Net", "not_looked_at": [left]},
        {**common, "id": "too", "owner": "paper", "verdict": "holds", "cases": 1,
         "not_looked_at": [left]},
    ]  # fmt: skip
    page = findings.render(DOCS, {"profile": "quick", "seed": 0, "claims": rows})
    assert "- the paper's claims: 1 holds, 1 not-reproduced\n" in page
    assert "- aims and tools of this laboratory: 1 refuted (an aim missed)\n" in page
    paper, ours = page.index("\n## The paper's claims\n"), page.index("\n## Aims and tools of this")
    assert paper < page.index("(`too`)") < page.index("(`theirs`)") < ours < page.index("(`ours`)")
    assert "### Refuted: an aim of our own, missed; a stored counterexample replays" in page[ours:]
    assert "- Tried: one U-Net.\n" in page
    assert "- Contradicted: the falsifier found a violation.\n" in page
    assert (
        "- Attacked: the falsifier tried 16 cases; its best, of steps, violates the claim" in page
    )
    assert page.count("a model: not installed") == 1
    assert "- a model: not installed (theirs (networks), too (networks))\n" in page


def test_the_times_are_those_of_the_run_the_longest_first() -> None:
    rows = [{"id": name, "seconds": s, "cases": 9} for name, s in (("quick", 1.25), ("slow", 4.0))]
    about = {"profile": "quick", "environment": {"cores": 2}, "wall_seconds": 3.4}
    page = findings.speed({**about, "claims": rows}, {})
    assert "on 2 cores took 3 s for 2 claims and 18 cases; their checks," in page
    assert page.endswith("| `slow` | 4.0 | 9 |\n| `quick` | 1.2 | 9 |\n")


def test_the_aims_stand_beside_what_was_measured() -> None:
    taken = {"import": (0.4, 0.15), "help": (0.9, 0.36), "ledger-2": (99, 90.0)}
    commands = {n: {"wall": w, "cpu": c, "where": "a desk"} for n, (w, c) in taken.items()}
    text = aims.section({"commands": commands})
    assert "| `import steinlab` | 0.15 | 0.15 | 0.4 | met |" in text
    assert "| `steinlab --help` | 0.3 | 0.36 | 0.9 | missed by 20% |" in text
    assert "| the quick ledger on two cores | 45 | 45 | 99 | met |" in text
    assert "| `make test` | 240 |  |  | not measured |" in text
    assert "(a desk)" in text
    assert "\n\nNot met: `steinlab --help` (missed by 20%), " in text
    assert "`import steinlab` (" not in text
    every = dict.fromkeys(aims.AIMS, commands["import"])
    assert aims.section({"commands": every}).endswith("\n\nAll are met.")


def test_a_record_is_renewed_where_it_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    slow = aims.Aim("a loop", 9.0, (sys.executable, "-c", "sum(range(3_000_000))"), runs=2)
    wide = aims.Aim("more", 9.0, (sys.executable, "-c", "1/0"), cores=10**6)
    monkeypatch.setattr(aims, "AIMS", {"loop": slow, "wide": wide})
    file = tmp_path / "record.json"
    file.write_text(json.dumps({"calls": 3, "commands": {"wide": {"wall": 1.0}}}))
    scaling.main(str(file), "loop", "wide")
    record = json.loads(file.read_text())
    assert record["calls"] == 3
    assert record["commands"]["wide"] == {"wall": 1.0}  # no machine has a million cores
    found = record["commands"]["loop"]
    assert 0 < found["cpu"] < 2 * found["wall"]
    assert "Python" in found["where"]
    monkeypatch.setattr(aims, "AIMS", {"wide": wide._replace(cores=1)})
    with pytest.raises(RuntimeError, match="1/0 must end with 0, got 1"):
        scaling.main(str(file), "wide")


def test_a_simulated_run_ends_when_it_must() -> None:
    tasks = [1.0, 1.0, 1.0, 1.0, 4.0]
    assert scaling.makespan(tasks, 1) == scaling.bound(tasks, 1) == 8
    assert (scaling.makespan(tasks, 2), scaling.bound(tasks, 2)) == (6, 4)
    assert scaling.makespan(tasks[::-1], 2) == 4
    assert scaling.makespan(tasks, 99) == scaling.bound(tasks, 99) == 4
    assert scaling.makespan([3.0, 3.0, 2.0, 2.0, 2.0], 2) == 7  # the best is 6 (Graham 1969)
    assert scaling.makespan([0.0, 0.0, 0.5], 3, 1.0) == 3.5  # handed out one after the other
    assert scaling.bound([0.0, 0.0, 0.5], 3, 1.0) == 3


def test_the_page_on_time_ends_with_many_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(scaling, "TASKS", 40)
    monkeypatch.setattr(scaling, "WORKERS", (2,))
    text = scaling.section(DOCS, [1.0])
    assert "| 2 | 20 | 20 (1.00) | 20 (1.00) | 20 (1.00) | 20 (1.00) |" in text
    record = json.loads((DOCS / scaling.RECORD).read_text())["seconds_per_call"]
    assert f"40 calls take Dask {40 * record['dask']:.0f} s" in text.replace("\n", " ")
    with executor_for(1) as here:
        assert 0 < scaling.seconds_per_call(here, 10) < 1
