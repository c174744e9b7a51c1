"""Hostile options and arguments of every command: answered, or refused in one line."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import entry_points
from pathlib import Path
from random import Random
from typing import Any

import pytest
import typer

from steinlab.cli import app
from steinlab.storage import files
from tests.fuzz.test_fuzz import (
    CASES,
    COEFFICIENT,
    COMPARE,
    JUDGE,
    SPECTRUM,
    TRACE,
    _alarm,
    blocks,
    each,
    handled,
)
from tests.steinlab.report.ledgers import LEDGER

__all__ = ["_alarm"]  # a fixture

TEXTS = (
    *("", " ", "-", "--", ".", "x", "0", "-1", "1/0", "12/13", "1e999", "nan", "inf", "null"),
    *("\x00", "\x1b[31m", "\u202e", "\udcff", "[bold]x", "[/]", "é" * 300, "x" * 5000, "%s", "{0}"),
    *("/dev/null", "/dev/full", "/proc/self/mem", "/proc/x", "no/folder/x", "in.json", "9" * 5000),
    *(",", "a,b", "a=b", "=", ":", "euler@nan", "stein:x=1", "a.py:b", "a.py", "\n", "x\ny"),
)

LINES: dict[str, Sequence[str]] = {
    "verify": JUDGE[1:],
    "show": ["lipschitz-bound", "--ledger", "ledger.json"],
    "falsify": ["vp-singularity", "--budget", "1"],
    "replay": ["case.json"],
    "certify": ["contraction-edm-euler", "--budget", "9", "--box", "step=1:2"],
    "check-certificate": ["case.json"],
    "coefficient": ["coefficient.json", "--samples", "64"],
    "compare": ["compare.json"],
    "advise": ["none.json"],
    "calibrate": ["spectrum.json", "--out", "table.json"],
    "sample": ["--model", "moons-mlp", "--solver", "euler", "--samples", "3", "--evaluations", "2"],
    "tournament": ["--profile", "none"],
    "models": [],
    "figures": ["--list"],
    "report": ["--ledger", "ledger.json", "--without-figures"],
    "export": ["--ledger", "ledger.json"],
    "check": ["none.py:sample"],
    "check-grid": ["grid.json"],
    "trace": ["trace.json"],
    "pages": ["--only", "none"],
    "notebooks": ["none"],
    "comparison-table": ["none.json"],
    **{
        entry.name: ["none"] if "study" != entry.name != "train-fashion" else ["--preset", "none"]
        for entry in entry_points(group="steinlab.commands")
    },
}
"""A line per command: quickly answered, or refused whatever else is added."""

FILES = {
    "coefficient": COEFFICIENT,
    "compare": {**COMPARE, "solvers": ["euler"], "corrections": ["none"]},
    "spectrum": {**SPECTRUM, "corrections": ["none"]},
    "trace": TRACE,
    "grid": [80.0, 10, 1.5, 0.3, 0.0],
    "ledger": LEDGER,
}


def commands() -> dict[str, Any]:
    """Return the parsers of all commands by name."""
    group: Any = typer.main.get_command(app)
    return dict(group.commands)


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the good files that the lines name."""
    for name, content in FILES.items():
        (tmp_path / f"{name}.json").write_text(json.dumps(content))
    (tmp_path / "case.json").write_bytes((CASES / "algorithm-cost.json").read_bytes())
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_every_command_has_a_line() -> None:
    assert LINES.keys() == commands().keys()


def hostile_line(name: str, rng: Random) -> list[str]:
    """Return a command's line with one to three hostile options or arguments."""
    line = list(LINES[name])
    options = [p for p in commands()[name].params if p.param_type_name == "option"]
    for _ in range(rng.choice((1, 1, 2, 3))):
        text, at = rng.choice(TEXTS), rng.randrange(len(line) + 1)
        if options and rng.random() < 0.8:
            option = rng.choice(options)
            line += [rng.choice(option.opts), *([] if option.is_flag else [text])]
        elif at < len(line) and rng.random() < 0.7:
            line[at] = text
        else:
            line.insert(at, text)
    return [name, *line]


def struck(name: str, seed: int, capsys: pytest.CaptureFixture[str]) -> None:
    line = hostile_line(name, Random(f"{name} {seed}"))
    try:
        handled(line, capsys)
    except BaseException as error:
        error.add_note(f"steinlab {line}")
        raise


@pytest.mark.parametrize("name", LINES)
def test_no_line_is_mishandled(name: str, capsys: Any) -> None:
    for seed in range(3):
        struck(name, seed, capsys)


FAILED = (
    ["check-grid", "/dev/full"],
    ["coefficient", "/dev/full"],
    ["verify", "/dev/full::x"],
    ["show", "x", "--ledger", "/dev/full"],
)
"""Lines that once took all memory: a device that is read without end."""


@pytest.mark.parametrize("line", FAILED)
def test_what_has_no_end_is_refused(
    line: list[str], capsys: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 2**10)
    assert handled(line, capsys) == 2


def test_a_file_is_read_up_to_its_bound(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(files, "LARGEST_FILE", 4)
    for size in (4, 5):
        (tmp_path / "x").write_bytes(b"x" * size)
        with pytest.raises(OSError, match="it holds more than") if size > 4 else nullcontext():
            assert files.read_bytes(tmp_path / "x") == b"xxxx"


FAILED_TOO = {
    "a name that no encoding has": (
        ["report", "--ledger", "ledger.json", "--without-figures", "--out", "\udcff"],
        0,
    ),
    "a scheduler without a host": (
        ["certify", "contraction-edm-euler", "--budget", "9", "--scheduler", ":"],
        2,
    ),
}
"""Lines that once ended in a traceback, at once or half a minute later."""


@pytest.mark.parametrize("name", FAILED_TOO)
def test_what_once_failed_is_handled(name: str, capsys: Any) -> None:
    line, code = FAILED_TOO[name]
    assert handled(line, capsys) == code


@pytest.mark.slow
@pytest.mark.parametrize("name", LINES)
@pytest.mark.parametrize("seeds", blocks(300), ids=str)
def test_no_line_of_thousands_is_mishandled(name: str, seeds: range, capsys: Any) -> None:
    each(seeds, lambda seed: struck(name, seed, capsys))
