"""The public table: the page is what the record makes, and a part of it is judged again."""

from __future__ import annotations

from pathlib import Path

import pytest

from steinlab.errors import InputError
from steinlab.testing.peers.__main__ import main
from steinlab.testing.peers.entries import Entry, entries
from steinlab.testing.peers.libraries import MissingLibrary, library, versions
from steinlab.testing.peers.page import FINDINGS, Finding, made_of
from steinlab.testing.peers.record import judge, judged, name_of, read

ROOT = Path(__file__).parents[3]
RECORD = ROOT / "docs" / "results" / "conformance.jsonl"
VERSIONS, RECORDS = read(RECORD)


def test_the_page_is_what_the_record_makes() -> None:
    assert (ROOT / "docs" / "conformance.md").read_text() == made_of(VERSIONS, RECORDS)


def test_names_are_told_apart_and_recorded() -> None:
    names = [entry.name for entry in entries()]
    assert len(set(names)) == len(names)
    assert sum(entry.library == "diffusers" for entry in entries()) >= 110
    assert {name_of(one) for one in RECORDS} <= set(names)


@pytest.mark.parametrize("finding", FINDINGS, ids=lambda f: f.text[:40])
def test_every_known_fault_is_measured(finding: Finding) -> None:
    shown = finding.shown_by(RECORDS)
    assert shown
    assert all(row["text"] and row["case"] for _, row in shown)


AGAIN = {
    "diffusers DDIM timestep_spacing=linspace": ("own-levels", "order-graded"),
    "diffusers DPMSolverMultistep solver_order=3": ("order-graded", "method"),
    "diffusers UniPCMultistep use_exponential_sigmas": ("network-level",),
    "diffusers UniPCMultistep solver_order=2, solver_type=bh1": ("own-finite",),
    "diffusers DEISMultistep use_karras_sigmas": ("own-grid",),
}
"""One configuration of every kind of fault that shows in a second or two."""


@pytest.mark.parametrize("name", AGAIN)
@pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
def test_a_part_is_judged_again(name: str) -> None:
    pytest.importorskip("diffusers", reason="diffusers, a test extra, is not installed")
    if versions().get("diffusers") != VERSIONS["diffusers"]:
        pytest.skip("another version of diffusers than the record's")
    (entry,) = [one for one in entries() if one.name == name]
    (held,) = [one for one in RECORDS if name_of(one) == name]
    found = judged(Entry(**{**vars(entry), "only": AGAIN[name]}))
    before = {row["check"]: row for row in held["rows"]}
    assert {row["check"] for row in found["rows"]} == set(AGAIN[name])
    for row in found["rows"]:
        assert row["verdict"] == before[row["check"]]["verdict"]
        for key in ("measured", "bound"):
            expected = before[row["check"]].get(key)
            assert row.get(key) == (
                pytest.approx(expected, rel=0.05) if isinstance(expected, float) else expected
            )


def test_what_is_not_installed_is_not_run(tmp_path: Path) -> None:
    def absent() -> None:
        library("no_such_library")

    entry = Entry("nobody", "nothing", "", absent, 2)
    with pytest.raises(MissingLibrary, match="no_such_library does not import here"):
        absent()
    path = tmp_path / "record.jsonl"
    (one,) = judge([entry], path)
    assert one["rows"] == []
    assert "no_such_library does not import here" in one["not_run"]
    assert list(judge([entry], path)) == [one]
    assert len(path.read_text().splitlines()) == 2
    page = made_of(*read(path))
    assert "## Not judged" in page
    assert "no_such_library" in page


def test_bad_input_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--only must be part of an entry's name, got nobody"):
        main(["--only", "nobody"])
    (tmp_path / "other.json").write_text("[]")
    with pytest.raises(InputError, match=r"must hold at least 1 .*, in .*other\.json"):
        read(tmp_path / "other.json")
