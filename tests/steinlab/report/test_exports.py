"""The ledger as a logbook and as metadata: whole, well formed, and safe with hostile ledgers."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.report.exports import PAGES, croissant, logbook
from tests.steinlab.report.ledgers import LEDGER

CELL = re.compile(r"\n---\n<!-- trackio-cell\n(.*?)\n-->\n", re.DOTALL)
"""What heads a cell of a Trackio logbook."""

HOSTILE = "--> <script>alert(1)</script> | [x](javascript:1)\n---\n<!-- trackio-cell\n{}\n-->\n"


def hostile() -> dict[str, Any]:
    row = dict(LEDGER["claims"][0])
    texts = dict.fromkeys(("title", "statement", "finding", "headline", "source"), HOSTILE)
    own = {"latex": [HOSTILE], "conditions": [HOSTILE], "file": {"path": HOSTILE, "sha256": ""}}
    named = {"environment": {HOSTILE: HOSTILE}, "profile": HOSTILE}
    return {**LEDGER, **named, "claims": [{**row, **texts, **own, "id": "../../escaped"}, row]}


def test_every_claim_has_a_page_that_the_index_names_in_order() -> None:
    files = logbook(LEDGER)
    named = re.findall(r"\]\(#/([\w-]+)\) \| ([\w-]+)", files[f"{PAGES}/index.md"])
    verdicts = {row["id"]: row["verdict"] for row in LEDGER["claims"]}
    assert dict(named) == verdicts
    for name, verdict in named:
        page = files[f"{PAGES}/{name}/page.md"]
        kinds = [json.loads(about)["type"] for about in CELL.findall(page)]
        assert kinds == ["markdown", "markdown", "code", "markdown"]
        assert f"**{verdict}**" in page
        assert f"steinlab verify --claims {name}" in page


def test_a_page_replays_the_case_that_lies_beside_it() -> None:
    files = logbook(LEDGER)
    worst = [row["id"] for row in LEDGER["claims"] if row.get("worst")]
    cases = [name for name in files if name.endswith("case.json")]
    assert cases == [f"{PAGES}/{name}/case.json" for name in worst]
    assert all("steinlab replay case.json" in files[f"{PAGES}/{name}/page.md"] for name in worst)


def test_a_hostile_ledger_leaves_no_folder_and_no_cell_of_its_own() -> None:
    files = logbook(hostile())
    assert all(".." not in Path(name).parts for name in files)
    page = files[f"{PAGES}/escaped/page.md"]
    cells = [json.loads(about) for about in CELL.findall(page)]
    titles = [one["title"].partition(":")[0] for one in cells]
    assert titles == ["Claim", "Result", "Run", "Compute"]
    prose = re.sub(r"````.*?````|<!--.*?-->|\\.", "", page, flags=re.DOTALL)
    assert "<script" not in prose
    assert "](javascript" not in prose


def test_metadata_pose_and_solve_every_claim() -> None:
    graph = croissant(LEDGER)["@graph"]
    problems = {one["@id"]: one for one in graph if one["@type"] == "croissant:TaskProblem"}
    solutions = [one for one in graph if one["@type"] == "croissant:TaskSolution"]
    assert len(problems) == len(solutions) == len(LEDGER["claims"])
    for row, solution in zip(LEDGER["claims"], solutions, strict=True):
        problem = problems[solution["schema:isBasedOn"]["@id"]]
        assert problem["schema:description"] == row["statement"]
        assert problem["croissant:output"]["@type"] == "croissant:OutputSpec"
        assert solution["croissant:implementation"]["@type"] == "schema:SoftwareSourceCode"
        evaluation = solution["croissant:evaluation"]
        assert evaluation["croissant:evaluatedSolution"]["@id"] == solution["@id"]
        found = {
            one["croissant:metric"]: one["croissant:value"]
            for one in evaluation["croissant:evaluationResults"]
        }
        assert found["verdict"] == row["verdict"]


def test_metadata_name_every_node_once() -> None:
    def names(node: Any) -> list[str]:
        if isinstance(node, list):
            return [name for one in node for name in names(one)]
        if not isinstance(node, dict):
            return []
        own = [node["@id"]] if "@id" in node and "@type" in node else []
        return own + [name for one in node.values() for name in names(one)]

    found = names(croissant(hostile())["@graph"])
    assert len(found) == len(set(found)) > 0


@pytest.mark.parametrize("form", ["logbook", "croissant"])
def test_command_writes_what_was_asked(
    form: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ledger, out = tmp_path / "ledger.json", tmp_path / "out"
    ledger.write_text(json.dumps(LEDGER))
    line = ["export", "--format", form, "--ledger", str(ledger), "--out", str(out)]
    assert main(line) == 0
    assert f"{len(LEDGER['claims'])} claims" in capsys.readouterr().out
    if form == "croissant":
        assert json.loads(out.read_text()) == croissant(LEDGER)
    else:
        written = {str(file.relative_to(out)) for file in out.rglob("*") if file.is_file()}
        assert written == set(logbook(LEDGER))


def test_a_format_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["export", "--format", "pdf"]) == 2
    assert capsys.readouterr().err.startswith("steinlab: --format must be one of logbook")
