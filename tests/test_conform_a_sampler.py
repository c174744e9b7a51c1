"""docs/conform-a-sampler.md: its loop fails and is named, its mended loop and its test pass."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from steinlab.cli import main
from steinlab.testing.checks import CHECKS
from tests import inner

PAGE = (Path(__file__).resolve().parent.parent / "docs" / "conform-a-sampler.md").read_text("utf-8")
LOOP, MENDED, TEST = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(SHOWN,) = re.findall(r"^```\n(FAILS.*?)```", PAGE, re.DOTALL | re.MULTILINE)
BROKEN, AGAIN, *_ = re.findall(r"`steinlab (check samplers\.py[^`]*)`", PAGE)
GRID = next(iter(re.findall(r"`steinlab (check-grid [^`]*)`", PAGE)))


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "samplers.py").write_text(LOOP)
    return tmp_path


def mended() -> str:
    wrong = next(line for line in LOOP.splitlines(keepends=True) if "1 / r * old" in line)
    return LOOP.replace(wrong, MENDED)


def test_from_zero_to_red_to_green(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(BROKEN.split()) == 1
    assert capsys.readouterr().out.strip().endswith(SHOWN.strip())
    assert main(SHOWN.strip().rpartition("steinlab ")[2].split()) == 0
    (here / "samplers.py").write_text(mended())
    capsys.readouterr()
    assert main(AGAIN.split()) == 0
    closing = re.search(r"exits 0: `([^`]+)`", PAGE)
    assert closing is not None
    assert capsys.readouterr().out.strip().endswith(closing.group(1))
    (here / "test_mine.py").write_text(TEST)
    code, out = inner.run(here, "test_mine.py")
    assert code == 0, out


def test_the_grid_shown_has_its_fault(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(GRID.split()) == 1
    assert "repeated" in capsys.readouterr().out


def test_every_check_stands_in_the_table() -> None:
    named = set(re.findall(r"`([a-z0-9-]+)`", PAGE[PAGE.index("| check | asks |") :]))
    assert {check.id for check in CHECKS} <= named
