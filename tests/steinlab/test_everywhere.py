"""The same numbers to the last bit in this process, in two, and on a Dask cluster."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.experiments.tournament import run, session

LAW = {"weights": [0.3, 0.7], "means": [-1, 1], "stds": [0.3, 0.5]}
SPEC = {
    "data": LAW,
    "solvers": ["euler", "heun"],
    "evaluations": [3],
    "corrections": ["none", "stein"],
    "samples": 20,
}
TINY = run.Profile(0.01, 1, 20, ("two-1",), entrants=("none", "stein"))
LINES = {
    "compare": ["compare", "spec.json", "--json", "found.json"],
    "against": ["compare", "spec.json", "--against", "euler", "--seeds", "2", "--json",
                "found.json"],
    "tournament": ["tournament", "--record", "found.json"],
    "falsify, rows": ["falsify", "clip-neutrality", "--budget", "40", "--json", "found.json",
                      "--out", "search"],
    "falsify, stacks": ["falsify", "vp-singularity", "--budget", "100", "--json", "found.json"],
    "certify": ["certify", "contraction-edm-euler", "--budget", "1200", "--out", "found.json"],
    "check": ["check", "steinlab.solvers:HEUN", "--order", "2", "--json", "found.json"],
}  # fmt: skip
"""A short line per kind of work; each leaves ``found.json``."""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    distributed = pytest.importorskip("distributed")
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    folder = tmp_path_factory.mktemp("cluster")
    with distributed.LocalCluster(n_workers=1, local_directory=str(folder), **options) as found:
        yield found


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(session, "PROFILES", {"quick": TINY})
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    return tmp_path


def found(name: str, here: Path, *where: str) -> bytes:
    quiet = ["--no-progress"] if LINES[name][0] != "check" else []
    assert main([*LINES[name], *where, *quiet]) == 0
    file = here / "found.json"
    content = file.read_bytes()
    for search in here.glob("search/*.search.json"):
        content += search.read_bytes()
        search.unlink()
    file.unlink()
    return content


def lines(*cheap: str) -> list[Any]:
    """Every line, those that are not cheap in ``make test-full`` only."""
    return [pytest.param(k, marks=[] if k in cheap else [pytest.mark.slow]) for k in LINES]


@pytest.mark.parametrize("name", lines("against", "falsify, stacks", "certify"))
def test_a_cluster_finds_what_one_process_does(name: str, here: Path, cluster: Any) -> None:
    alone = found(name, here, "--workers", "1")
    assert found(name, here, "--scheduler", cluster.scheduler_address) == alone


@pytest.mark.parametrize("name", lines("falsify, rows"))
def test_two_processes_find_what_one_does(name: str, here: Path) -> None:
    assert found(name, here, "--workers", "2") == found(name, here, "--workers", "1")
