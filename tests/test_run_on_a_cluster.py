"""docs/run-on-a-cluster.md: its lines run with a worker killed, its scripts fit what they call."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
from importlib import import_module
from inspect import getsource, signature
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.verification.ledger import run
from steinlab.verification.outcome import Report, Unit
from steinlab.verification.shards import Shards
from tests.test_commands_shown import parsed

PAGE = (Path(__file__).parents[1] / "docs" / "run-on-a-cluster.md").read_text(encoding="utf-8")
SECTIONS = {part.partition("\n")[0]: part for part in PAGE.split("\n## ")}


def block(section: str, language: str) -> str:
    (found,) = re.findall(rf"^```{language}\n(.*?)^```", SECTIONS[section], re.S | re.M)
    return str(found)


def numbers(ledger: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in ledger["claims"]]


def test_its_lines_give_the_serial_ledger_though_a_worker_is_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    distributed = pytest.importorskip("distributed")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        text = block("On one machine", "sh").replace("8786", str(free.getsockname()[1]))
    *servers, line = text.splitlines()
    words = shlex.split(line)
    address = words[words.index("--scheduler") + 1]
    killed: list[int] = []

    def put(self: Shards, unit: Unit, report: Report) -> None:
        real(self, unit, report)
        if not killed:
            killed.append(min(pids.values()))
            os.kill(killed[0], signal.SIGKILL)

    real = Shards.put
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Shards, "put", put)
    started = [
        subprocess.Popen(
            [sys.executable, "-m", *shlex.split(server.removesuffix("&"))],
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
        )
        for server in servers
    ]  # fmt: skip
    try:
        with distributed.Client(address, timeout=60, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=60)
            pids = client.run(os.getpid)
        assert main([*words[1:], "--no-progress"]) == 0
    finally:
        for one in started:
            os.killpg(one.pid, signal.SIGKILL)
            one.wait()
    assert killed
    lost = "steinlab: 1 worker died and was replaced; what was lost ran again"
    assert capsys.readouterr().err.splitlines()[-1] == lost
    ledger = json.loads((tmp_path / "run" / "ledger.json").read_text())
    ids = parsed(line)["claims"].split(",")
    assert numbers(ledger) == json.loads(json.dumps(numbers(run(ids))))


def called(script: str) -> dict[str, ast.Call]:
    """The calls of classes in a script, by name."""
    calls = [node for node in ast.walk(ast.parse(script)) if isinstance(node, ast.Call)]
    return {one.func.id: one for one in calls if isinstance(one.func, ast.Name)}


def test_the_script_for_ssh_fits_what_it_calls() -> None:
    distributed = pytest.importorskip("distributed")
    call = called(block("Over SSH", "python"))["SSHCluster"]
    assert len(call.args) == 1
    options = {str(k.arg): k.value for k in call.keywords}
    assert options.keys() <= signature(distributed.SSHCluster).parameters.keys()
    assert ast.literal_eval(options["scheduler_options"]) == {"port": 8786}
    assert "port" in signature(distributed.Scheduler).parameters
    assert "n_workers" in getsource(import_module("distributed.deploy.ssh").Worker)
    assert "nthreads" in signature(distributed.Nanny).parameters


def test_the_script_for_slurm_makes_a_job() -> None:
    jobqueue = pytest.importorskip("dask_jobqueue")
    script = block("On SLURM", "python").replace('"port": 8786', '"port": 0')
    call = called(script)["SLURMCluster"]
    given = {str(k.arg): ast.literal_eval(k.value) for k in call.keywords}
    with jobqueue.SLURMCluster(**given, dashboard_address=None) as cluster:
        job = cluster.job_script()
    assert {"--nthreads 1", "--nworkers 16"} <= set(re.findall(r"--n\w+ \d+", job))
    assert "#SBATCH --cpus-per-task=16" in job
    assert "export STEINLAB_CACHE=" in job
    assert "cluster.scale(jobs=10)" in script


def test_the_lines_for_gpus_name_options_that_exist() -> None:
    run_ = import_module("torch.distributed.run")
    own = {option for action in run_.get_args_parser()._actions for option in action.option_strings}
    help_ = import_module("gpu_models.study.command")._parser().format_help()
    lines = block("GPU studies", "sh").splitlines()
    assert len(lines) == 2
    for line in lines:
        before, _, after = line.partition(" -m steinlab study ")
        assert {word for word in before.split() if word.startswith("--")} <= own
        assert {word for word in after.split() if word.startswith("--")} <= set(
            re.findall(r"--[a-z-]+", help_)
        )
