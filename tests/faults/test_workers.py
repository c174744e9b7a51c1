"""Workers that die, workers whose parent dies, and a scheduler that ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from steinlab.errors import InputError, warn
from steinlab.verification.ledger import run
from steinlab.verification.shards import Shards
from steinlab.workers import ATTEMPTS, SerialExecutor, Workers, completed, executor_for

DIES = "__import__('os').kill(__import__('os').getpid(), 9)"


def test_what_a_dead_worker_was_at_runs_again_and_is_counted(tmp_path: Path, capsys: Any) -> None:
    warn.cache_clear()
    marker = tmp_path / "died"
    os_ = "__import__('os')"
    once = f"4 if {os_}.path.exists({str(marker)!r}) else open({str(marker)!r}, 'x') and {DIES}"
    jobs = ["1", "2", once, "1 / 0", "3"]
    with executor_for(2) as executor:
        answers = dict(completed(executor, eval, jobs))
        assert isinstance(executor, Workers)
        assert executor.deaths == 1
    assert isinstance(answers.pop("1 / 0"), ZeroDivisionError)
    assert answers == {"1": 1, "2": 2, once: 4, "3": 3}
    assert capsys.readouterr().err == (
        "steinlab: warning: a worker process died, 1 so far; what it was at runs again\n"
    )


def test_a_job_that_always_dies_ends_the_run() -> None:
    with executor_for(2) as executor:
        with pytest.raises(BrokenExecutor):
            list(completed(executor, eval, [DIES]))
        assert isinstance(executor, Workers)
        assert executor.deaths == ATTEMPTS


def test_here_a_call_begins_when_the_one_before_is_answered() -> None:
    begun: list[int] = []
    answers = completed(SerialExecutor(), begun.append, [1, 2, 3])
    assert next(answers) == (1, None)
    assert begun == [1]
    assert [job for job, _ in answers] == [2, 3]


PARENT = """
import os, time
from steinlab.workers import executor_for
if __name__ == "__main__":
    with executor_for(2) as executor:
        pids = {executor.submit(os.getpid).result() for _ in range(20)}
        for _ in range(2):
            executor.submit(time.sleep, 600)
        print(*pids, flush=True)
        time.sleep(600)
"""


def running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="reads /proc")
def test_no_worker_survives_its_parent(tmp_path: Path) -> None:
    (tmp_path / "parent.py").write_text(PARENT)
    words = [sys.executable, str(tmp_path / "parent.py")]
    parent = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    assert parent.stdout
    pids = [int(word) for word in parent.stdout.readline().split()]
    assert all(map(running, pids))
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    deadline = time.monotonic() + 10
    while any(map(running, pids)) and time.monotonic() < deadline:
        time.sleep(0.05)
    left = [pid for pid in pids if running(pid)]
    for pid in left:
        os.kill(pid, signal.SIGKILL)
    assert not left


# --- a Dask scheduler that ends ------------------------------------------------------------------

CLUSTER = """
import time
from distributed import LocalCluster
if __name__ == "__main__":
    options = {"threads_per_worker": 1, "dashboard_address": None, "silence_logs": 50}
    with LocalCluster(n_workers=1, **options) as cluster:
        print(cluster.scheduler_address, flush=True)
        time.sleep(600)
"""
CHEAP = ["third-order-as-published", "solver-equivalences"]


@pytest.mark.slow
def test_a_dask_scheduler_that_ends_is_one_line_and_what_is_done_is_kept(tmp_path: Path) -> None:
    pytest.importorskip("distributed")
    (tmp_path / "cluster.py").write_text(CLUSTER)
    kept = tmp_path / "kept"
    started = subprocess.Popen(
        [sys.executable, "cluster.py"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        start_new_session=True,
    )
    assert started.stdout
    try:
        address = started.stdout.readline().strip()

        class Ending(Shards):
            def put(self, unit: Any, report: Any) -> None:
                super().put(unit, report)
                os.killpg(started.pid, signal.SIGKILL)

        with pytest.raises(
            InputError, match=r"^--scheduler must answer until all is done, got tcp"
        ):
            run(CHEAP, scheduler=address, shards=Ending(kept))
    finally:
        with suppress(ProcessLookupError):
            os.killpg(started.pid, signal.SIGKILL)
        started.wait()
    shards = Shards(kept)
    assert not run(CHEAP, shards=shards)["interrupted"]
    assert shards.reused > 0
