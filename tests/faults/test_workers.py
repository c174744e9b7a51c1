"""Workers that die, workers whose parent dies, and a scheduler that ends."""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import sys
import time
from concurrent.futures import BrokenExecutor, Executor, Future, ProcessPoolExecutor
from contextlib import suppress
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from steinlab import workers
from steinlab.errors import InputError, warn
from steinlab.verification.ledger import run
from steinlab.verification.shards import Shards
from steinlab.workers import (
    ATTEMPTS,
    THREAD_VARIABLES,
    SerialExecutor,
    Workers,
    completed,
    executor_for,
    thread_limits,
)

LOST = "1 worker died and was replaced; what was lost ran again"
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
        f"steinlab: {LOST}\n"
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


class Pool(Executor):
    """Answers with its number, or breaks; what it is told is written down."""

    def __init__(self, told: list[Any], answer: Any) -> None:
        self.told, self.answer = told, answer
        self._broken = isinstance(answer, BrokenExecutor)
        self._processes = {
            name: SimpleNamespace(kill=lambda n=name: told.append(n)) for name in "ab"
        }

    def submit(self, *_: Any) -> Any:
        if self._broken:
            raise self.answer
        return self.answer

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        self.told.append((wait, cancel_futures))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Two pools, the first of which is broken; what they are told."""
    told: list[Any] = []
    pools = iter([Pool(told, BrokenExecutor()), Pool(told, 2)])
    monkeypatch.setattr(Workers, "_new", lambda _: next(pools))
    return told


def test_a_call_that_meets_dead_processes_goes_to_new_ones(told: list[Any]) -> None:
    pool = Workers(2)
    assert pool.submit(abs, 1) == 2
    assert told == [(False, False)]  # not waited for
    pool.renew(BrokenExecutor())  # another call that was in them: they are new already
    assert pool.deaths == 1
    pool.shutdown()
    assert told[1:] == [(True, False)]


def test_an_error_ends_the_processes_and_the_end_leaves_them(told: list[Any]) -> None:
    with executor_for(2):
        pass
    assert told == [(False, True)]
    told.clear()
    with pytest.raises(ZeroDivisionError), executor_for(2):
        _ = 1 / 0
    assert told == ["a", "b", (False, True)]


def test_one_worker_is_this_process() -> None:
    with executor_for(1) as executor:
        assert isinstance(executor, SerialExecutor)


@pytest.mark.parametrize(
    "error", [BrokenExecutor(), KeyboardInterrupt()], ids=["broken", "interrupt"]
)
def test_what_is_no_answer_of_a_job_is_raised(error: BaseException) -> None:
    future: Future[Any] = Future()
    future.set_exception(error)
    pool = Pool([], future)
    with pytest.raises(type(error)):
        list(completed(pool, abs, [1]))


def test_processes_started_meanwhile_have_one_thread(monkeypatch: pytest.MonkeyPatch) -> None:
    set_, *unset = THREAD_VARIABLES
    monkeypatch.setenv(set_, "7")
    for name in unset:
        monkeypatch.delenv(name, raising=False)
    with thread_limits():
        assert [os.environ[name] for name in THREAD_VARIABLES] == ["1"] * 3
    assert [os.environ.get(name) for name in THREAD_VARIABLES] == ["7", None, None]


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries do as they do")
@pytest.mark.parametrize("begin", ["_begin()", "thread_limits().__enter__()", "_settle()"])
def test_arrays_that_were_freed_keep_their_pages(begin: str) -> None:
    code = f"""if True:
    import resource
    import numpy as np
    from steinlab.workers import _begin, _settle, thread_limits
    {begin}
    faults = []
    for _ in range(3):
        parts = [np.ones(2**18) for _ in range(4)]  # 2 MiB each, 512 pages
        del parts
        faults.append(resource.getrusage(resource.RUSAGE_SELF).ru_minflt)
    print(faults[-1] - faults[-2])
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 512


def test_a_worker_begins_with_one_thread_and_ends_with_its_parent(monkeypatch: Any) -> None:
    seen: list[Any] = []
    monkeypatch.setattr("threadpoolctl.threadpool_limits", seen.append)
    monkeypatch.setattr(workers.os, "_exit", lambda code: seen.append(("exit", code)))
    monkeypatch.setattr(
        workers.threading,
        "Thread",
        lambda target, daemon: seen.append(daemon) or SimpleNamespace(start=target),
    )
    workers._begin()  # this process has no parent to end with
    assert seen == [1, True]
    parent = SimpleNamespace(join=lambda: seen.append("joined"))
    monkeypatch.setattr(workers, "parent_process", lambda: parent)
    workers._begin()
    assert seen[2:] == [1, True, "joined", ("exit", 1)]


def test_a_process_is_started_with_interrupts_blocked(monkeypatch: pytest.MonkeyPatch) -> None:
    def blocked() -> bool:
        return signal.SIGINT in signal.pthread_sigmask(signal.SIG_BLOCK, set())

    monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda *_: blocked())
    with workers._Pool(1) as pool:
        assert pool.submit(abs, 1)
        assert not blocked()
        monkeypatch.delattr(signal, "pthread_sigmask")  # not everywhere is there one
        monkeypatch.setattr(ProcessPoolExecutor, "submit", lambda *_: 5)
        assert pool.submit(abs, 1) == 5


def test_a_scheduler_is_asked_for_its_executor(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    answers: list[Any] = [OSError(), ValueError(), TimeoutError(), None]
    told: list[str] = []

    class Client:
        def __init__(self, address: str, timeout: float, set_as_default: bool) -> None:
            assert (address, set_as_default) == ("tcp://a:1", False)
            assert 5 <= timeout <= 20
            if (error := answers.pop(0)) is not None:
                raise error

        __enter__ = __exit__ = lambda *_: None
        unsubscribe_topic = told.append

        def get_executor(self, pure: bool) -> Any:
            assert not pure  # the same call twice is computed twice
            return SimpleNamespace(submit=lambda call, *args: call(*args))

        def subscribe_topic(self, topic: str, heard: Any) -> None:
            told.append(topic)
            left = {"action": "remove-worker", "processing-tasks": (), "lost-computed-tasks": ()}
            for event in ({"action": "add-worker"}, left, left | {"processing-tasks": {"a"}}, "x"):
                heard((0.0, event))

    monkeypatch.setitem(sys.modules, "distributed", SimpleNamespace(Client=Client))
    for name in ("OSError", "ValueError", "TimeoutError"):
        with pytest.raises(InputError, match=f"answers, got tcp://a:1: {name}$"):
            executor_for(2, "tcp://a:1").__enter__()
    settled: list[int] = []
    monkeypatch.setattr(workers, "_settle", lambda: settled.append(1))
    with executor_for(2, "tcp://a:1") as executor:
        assert isinstance(executor, workers.Cluster)
        assert executor.deaths == 1
        assert executor.submit(abs, -2) == 2  # type: ignore[comparison-overlap]
        assert settled
    assert told == ["all", "all"]
    assert capsys.readouterr().err == f"steinlab: {LOST}\n"
    with pytest.raises(InputError, match=r"must be an address such as tcp://host:8786, got a$"):
        executor_for(2, "a").__enter__()
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"needs the extra steinlab\[dask\], got a without it$"):
        executor_for(2, "a").__enter__()


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
