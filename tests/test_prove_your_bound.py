"""docs/prove-your-bound.md: its commands run, and decide what the page says."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import sys
from pathlib import Path

import pytest

from steinlab.claims.continua.spectra import spectrum, stays
from steinlab.cli import main
from steinlab.verification.continuum.short import ENCLOSABLE

ROOT = Path(__file__).resolve().parent.parent
DOCS = ROOT / "docs"
PAGE = (DOCS / "prove-your-bound.md").read_text("utf-8")
PAGE_OF_CLAIMS = (DOCS / "verify-your-bound.md").read_text("utf-8")
MY = PAGE_OF_CLAIMS.split("```python\n", 1)[1].split("```", 1)[0]
COMMANDS = re.findall(r"^\$ steinlab (.+)$", PAGE, re.MULTILINE)


def test_the_commands_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("flint")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(MY)
    said = []
    for command in COMMANDS:
        assert main([*shlex.split(command)]) == 0, command
        said.append(capsys.readouterr().out)
    heun, checked, euler, _, again, listed, jensen, _, borne = said
    assert re.search(r"9\d\.\d+% decided", heun)
    assert "accepted" in checked
    assert "undecided: separation" in checked
    assert "100.00% proved" in euler
    assert listed.splitlines()[0].split()[0] == "ascent-two-modes"
    assert "refutes the statement; reproduced to the last digit" in " ".join(again.split())
    assert "100.00% proved" in jensen
    assert "control centred: refuted at separation" in jensen
    assert "accepted" in borne
    found = json.loads((tmp_path / "vp.json").read_text())
    assert found["refuted"] > 0.9
    assert found["case"]["value"] < 0


def test_the_pieces_of_the_page_are_those_of_the_message() -> None:
    section = PAGE.split("## A claim in the short form", 1)[1].split("## ", 1)[0]
    for piece in re.findall(r"[a-z_]{3,}", ENCLOSABLE.replace("np.", "")):
        assert re.search(piece, section, re.IGNORECASE), piece


def test_the_shares_are_the_records() -> None:
    spec = importlib.util.spec_from_file_location("record", ROOT / ".ci" / "proofs" / "record.py")
    assert spec
    assert spec.loader
    maker = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = maker  # its dataclass asks for it
    spec.loader.exec_module(maker)
    record = json.loads(maker.RECORD.read_text(encoding="utf-8"))
    assert maker.block(PAGE, record) == PAGE
    for one in record:
        decided = one["proved"] + one["refuted"]
        assert decided == pytest.approx(1 - one["undecided"], abs=1e-9)
        assert one["controls_refuted"]
        if one["check"] == "accepted":
            assert one["checked"] == pytest.approx(decided, abs=1e-9)


def test_the_table_is_what_is_proved() -> None:
    rows = dict(re.findall(r"^\| (euler|dpmpp-2m|ipndm-[34]) \| (.+) \|$", PAGE, re.MULTILINE))
    for name, row in rows.items():
        cells = row.split(" | ")
        for i, grid in enumerate(("karras", "logsnr", "tangent")):
            for steps, cell in zip((10, 50), cells[3 * i :], strict=False):
                found = spectrum(name, grid, steps)
                assert float(f"{found.most:.3g}") == float(cell)
                assert found.least <= found.most <= 1.001 * found.least
    assert len(rows) == 4
    assert stays("ipndm-3", "logsnr", last=30) == 19
