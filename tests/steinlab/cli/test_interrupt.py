"""Ctrl-C in the middle of the work: one line, exit code 130 at once, no process left behind."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SPEC = {
    "data": {"dataset": "digits", "bandwidth": 0.1},
    "solvers": ["heun", "dpmpp-2m", "unipc-3"],
    "evaluations": [40, 60, 80],
    "corrections": ["none", "stein"],
    "samples": 4000,
}
COMMANDS = {
    "verify": ["verify", "--claims", "solver-order,perturbation-bound", "--profile", "full"],
    "compare": ["compare", "spec.json"],
    "tournament": ["tournament", "--out", "cells"],
}
WAYS: dict[str, Callable[[int, int], None]] = {"one": os.kill, "group": os.killpg}
"""A signal to the command alone, and to all of its group, as a terminal sends it."""


def living(group: int) -> dict[int, tuple[str, float]]:
    """Command line and seconds of the processor of the group's processes that have not ended."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
            if int(fields[2]) == group and fields[0] != "Z":
                spent = sum(map(int, fields[11:13])) / os.sysconf("SC_CLK_TCK")
                found[int(folder.name)] = ((folder / "cmdline").read_text(), spent)
        except OSError:
            continue
    return found


def at_work(group: int) -> int:
    """How many workers are past their imports."""
    return sum("spawn_main" in words and spent > 2 for words, spent in living(group).values())


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
@pytest.mark.parametrize(("name", "way"), [("verify", "one"), ("compare", "one"),
                                           ("tournament", "one"), ("verify", "group")])  # fmt: skip
def test_an_interrupt_ends_everything_at_once(name: str, way: str, tmp_path: Path) -> None:
    (tmp_path / "spec.json").write_text(json.dumps(SPEC))
    command = [sys.executable, "-m", "steinlab", *COMMANDS[name], "--workers", "2"]
    process = subprocess.Popen(
        command, cwd=tmp_path, start_new_session=True, stderr=subprocess.PIPE, text=True,
        stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    try:
        deadline = time.monotonic() + 90
        while at_work(process.pid) < 2:
            assert process.poll() is None, process.stderr
            assert time.monotonic() < deadline, "no two workers at work"
            time.sleep(0.2)
        WAYS[way](process.pid, signal.SIGINT)
        _, err = process.communicate(timeout=20)
        assert process.returncode == 130
        said = [line for line in err.splitlines() if line.startswith("steinlab: ")]
        assert len(said) == 1
        assert said[0].startswith("steinlab: interrupted")
        assert "Traceback" not in err
        time.sleep(1)
        assert living(process.pid) == {}
    finally:
        if living(process.pid):
            os.killpg(process.pid, signal.SIGKILL)
