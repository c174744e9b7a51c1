"""``steinlab study``: shares under ``torchrun``, other processes, what is refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from gpu_models.network.parallel import pick_device, ranks
from gpu_models.study import command
from steinlab.cli import main

STUDY = ["study", "--size", "tiny", "--device", "cpu", "--only", "runs", "--rules", "none"]
CHEAP = ["--measures", "energy_distance"]


def lines(folder: Path) -> dict[str, dict[str, Any]]:
    """Finished pieces by the name of their share's file."""
    found = {}
    for file in sorted(folder.glob("study-*.jsonl")):
        pieces = [json.loads(line) for line in file.read_text().splitlines()[1:]]
        own = {piece["key"]: piece["value"] for piece in pieces}
        found[file.stem] = {k: v for k, v in own.items() if not k.startswith("env")}
    return found


def test_a_process_of_torchrun_runs_its_share_and_any_number_resumes(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert ranks() == (0, 1, 0)
    monkeypatch.setattr(command, "run_cell", lambda _, cell, *__: {"ran": cell.solver})
    words = [*STUDY, *CHEAP, "--data", str(data), "--out", str(tmp_path)]
    lab = command._lab(command._parser().parse_args(words[1:]), pick_device("cpu"))
    monkeypatch.setattr(command, "_lab", lambda *_: lab)
    monkeypatch.setenv("WORLD_SIZE", "2")
    monkeypatch.setenv("LOCAL_RANK", "7")  # no CPU is counted
    for rank in "01":
        monkeypatch.setenv("RANK", rank)
        assert main(words) == 0
    euler, heun = "euler/3/karras/none/0", "heun/3/karras/none/0"
    shares = {"study-0": {euler: {"ran": "euler"}}, "study-1": {heun: {"ran": "heun"}}}
    assert lines(tmp_path) == shares
    monkeypatch.setattr(command, "run_cell", None)
    for size, rank in (("1", "0"), ("3", "2")):  # both run in the last of three shares
        monkeypatch.setenv("WORLD_SIZE", size)
        monkeypatch.setenv("RANK", rank)
        assert main(words) == 0
    assert lines(tmp_path) == shares | {"study-2": {}}
    monkeypatch.setenv("RANK", "0")
    other = tmp_path / "other"
    other.mkdir()
    with pytest.raises(TypeError):  # a share that is given is taken
        main([*words[:-1], str(other), "--shard", "1/2"])
    assert lines(other) == {"study-1": {}}


@pytest.mark.parametrize(
    ("words", "line"),
    [
        (["--shard", "2/2"], "--shard must be i/n with 0 <= i < n, got 2/2"),
        (["--workers", "0"], "--workers must be a whole number from 1 to 256, got 0"),
        (["--workers", "2", "--scheduler", "tcp://a:1"], "--workers must be left out with"),
    ],
)
def test_bad_input_is_one_line(
    words: list[str], line: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*STUDY, "--out", str(tmp_path / "out"), *words]) == 2
    assert capsys.readouterr().err.startswith(f"steinlab: {line}")
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
def test_cards_and_processes_find_what_one_does(data: Path, tmp_path: Path) -> None:
    words = ["-m", "steinlab", *STUDY, *CHEAP, "--data", str(data), "--out"]
    run = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--standalone"]
    ways = {"one": [sys.executable], "two": run, "processes": [sys.executable]}
    found = {}
    for name, start in ways.items():
        out = [str(tmp_path / name), *(["--workers", "2"] if name == "processes" else [])]
        env = {**os.environ, "OMP_NUM_THREADS": "1"}
        subprocess.run(
            [*start, *words, *out], env=env, check=True, capture_output=True, timeout=300
        )
        found[name] = lines(tmp_path / name)
    one = found["one"]["study-0"]
    assert len(one) == 2
    assert found["processes"] == found["one"]
    assert sorted(found["two"]) == ["study-0", "study-1"]
    assert found["two"]["study-0"] | found["two"]["study-1"] == one
