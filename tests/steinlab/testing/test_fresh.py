"""Faults that the kit was not told of are found without options, and right samplers pass."""

from __future__ import annotations

import re

import pytest

from steinlab.testing import rows_of
from tests.steinlab.testing import fresh, loops
from tests.steinlab.testing.told import held


@pytest.mark.parametrize("name", fresh.RIGHT)
def test_a_right_sampler_passes(name: str) -> None:
    if name == "torchdiffeq":
        pytest.importorskip("torchdiffeq", reason="torchdiffeq, a test extra, is not installed")
    rows = rows_of(fresh.RIGHT[name])
    assert not [row for row in rows if row.verdict == "fails"]
    held(f"right, untold: {name}", rows)


@pytest.mark.parametrize("name", fresh.WRONG)
def test_a_fault_is_found_and_named(name: str) -> None:
    target, check, cause = fresh.WRONG[name]
    (row,) = (row for row in rows_of(target, only=[check]) if row.check == check)
    assert row.verdict == "fails", row
    assert re.search(cause, row.cause), row
    assert max(len(row.text), len(row.cause)) <= 400
    held(f"untold: {name}", [row])


def test_a_stage_of_independent_noise_is_found_without_an_order() -> None:
    right, wrong = loops.stochastic_midpoint(), loops.stochastic_midpoint(independent=True)
    assert {row.verdict for row in rows_of(right, only=["law", "levels"])} == {"ok"}
    (row,) = (row for row in rows_of(wrong, only=["law"]) if row.check == "law")
    assert row.verdict == "fails"
    assert "independent of the step's" in row.cause


def test_what_a_sampler_prints_is_dropped(capsys: pytest.CaptureFixture[str]) -> None:
    rows_of(fresh.talking, only=["one-point"])
    assert capsys.readouterr() == ("", "")
