"""``steinlab verify``'s lines and ``steinlab show``'s card, at several widths."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import BROKEN_PIPE, main
from steinlab.report.terminal import card, overview
from steinlab.report.words import measured
from tests.steinlab.report.ledgers import LEDGER

CLAIMS = LEDGER["claims"]
LONGEST = ("integration-error-decomposition", ("a wordy headline, and long " * 5)[:120])


def ledger(*changes: dict[str, Any]) -> dict[str, Any]:
    """A ledger of one claim, repeated with changes."""
    rows = [{**CLAIMS[0], "id": f"claim-{i}", **change} for i, change in enumerate(changes)]
    return {**LEDGER, "claims": rows}


@pytest.mark.parametrize("width", [60, 89, 90, 100, 140])
def test_lines_keep_to_the_width(width: int) -> None:
    rows = ledger({}, {"id": LONGEST[0], "headline": LONGEST[1]}, {"owner": "peer"})
    lines = list(overview(rows, width))
    assert max(map(len, lines)) <= width
    assert " ".join(LONGEST[1].split()) in " ".join(" ".join(lines).split())


@pytest.mark.parametrize("width", [100, 140])
def test_a_claim_takes_two_lines_at_most(width: int) -> None:
    short = len(list(overview(ledger({"headline": "Holds."}), width)))
    worst = {"id": LONGEST[0], "headline": LONGEST[1], "owner": "laboratory"}
    assert len(list(overview(ledger(worst), width))) <= short + 1


def test_groups_follow_the_verdicts_and_the_parts_of_the_paper() -> None:
    rows = ledger(
        {"verdict": "refuted", "expected": "refuted"},
        {"part": "solvers"},
        {"part": "coefficient"},
        {"part": "elsewhere"},
        {"verdict": "proved", "expected": "proved"},
    )
    text = "\n".join(overview(rows, 100))
    places = [text.index(f"claim-{i} ") for i in (4, 2, 1, 3, 0)]
    assert places == sorted(places)
    assert text.index("PROVED") < text.index("HOLDS") < text.index("REFUTED")
    assert "5 claims · 1 proved (1 paper), 3 hold (3 paper), 1 refuted (1 paper)" in text


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"verdict": "refuted"}, "came out refuted, expected holds: Lipschitz constant of a step"),
        (
            {"controls": [{"name": "off", "rejected": False, "measured": 0.0}]},
            "control not rejected: off",
        ),
        ({"verdict": "not-run", "crash": "...", "finding": "a check crashed"}, "a check crashed"),
    ],
)
def test_what_fails_comes_first(change: dict[str, Any], words: str) -> None:
    lines = list(overview(ledger({"headline": "All is well."}, {**change, "headline": "!"}), 100))
    assert lines[2].startswith("FAILED")
    assert lines[3].split(maxsplit=1) == ["claim-1", words]
    assert sum("claim-1" in line for line in lines) == 1
    assert not any("!" in line for line in lines)


def test_a_claim_that_was_not_run_says_why() -> None:
    rows = ledger({"verdict": "not-run", "finding": "python-flint is not installed"})
    text = "\n".join(overview(rows, 100))
    assert "FAILED" not in text
    assert "python-flint is not installed" in text


def test_the_card_holds_what_the_row_does() -> None:
    found = {"value": 0.143, "error": 0.021, "unit": "%", "better": "higher", "key": "cut"}
    row = {**CLAIMS[0], "headline": "Cuts it.", "numbers": [{"name": "error cut", **found}]}
    for width in (60, 100):
        text = "\n".join(
            card(row, figures=["decay"], replay="steinlab replay", command="go", width=width)
        )
        flat = " ".join(text.split())
        for part in (
            row["title"], row["statement"], row["source"], row["finding"], "Answer Cuts it.",
            "error cut 14.3 ± 2.1 % (higher is better)", "steinlab figures decay",
            "HOLDS · paper · contraction", *row["conditions"],
            *(e["check"] for e in row["evidence"]),
        ):  # fmt: skip
            assert " ".join(part.split()) in flat, part
        assert max(map(len, text.splitlines())) <= width


@pytest.mark.parametrize(
    ("value", "error", "unit", "shown"),
    [
        (1.9534, 0.021, "", "1.953 ± 0.021"),
        (12000, None, "", "12,000"),
        (0.5, 0.0, "%", "50 %"),
        (123456.0, 2100.0, "s", "123,456 ± 2,100 s"),
        (1e-9, 1e-11, "", "1e-09 ± 1e-11"),
    ],
)
def test_a_number_is_shown_to_its_error(value: float, error: Any, unit: str, shown: str) -> None:
    assert measured({"value": value, "error": error, "unit": unit}) == shown


def test_show_reads_the_ledger_that_lies_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    row = {**CLAIMS[0], "finding": "as the ledger has it"}
    Path("ledger.json").write_text(json.dumps({**LEDGER, "claims": [row]}))
    assert main(["show", row["id"], "--json", "row.json"]) == 0
    shown = capsys.readouterr().out
    assert "as the ledger has it" in shown
    assert "(from ledger.json)" in shown
    assert json.loads(Path("row.json").read_text()) == json.loads(json.dumps(row))
    assert main(["show"]) == 0
    assert "1 claim ·" in capsys.readouterr().out
    assert main(["show", "third-order-as-published"]) == 0
    shown = capsys.readouterr().out
    assert "(judged now, quick profile, seed 0)" in shown
    assert "steinlab figures observed-orders" in shown


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["lipschits-bound"], "did you mean lipschitz-bound?"),
        (["--json", "-"], "--json must come with a CLAIM, got none"),
        (["lipschitz-bound", "--ledger", "none.json"], "--ledger"),
    ],
)
def test_bad_input_of_show_is_one_line(
    args: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", *args]) == 2
    said = capsys.readouterr().err
    assert words in said
    assert said.count("\n") == 1


def test_output_that_nobody_reads_ends_quietly(tmp_path: Path) -> None:
    child = subprocess.Popen(
        [sys.executable, "-m", "steinlab.cli", "show"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=tmp_path,
    )
    assert child.stdout is not None
    assert child.stderr is not None
    child.stdout.close()
    assert (child.stderr.read(), child.wait()) == (b"", BROKEN_PIPE)
    child.stderr.close()
