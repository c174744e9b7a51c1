"""Do jobs in forks of a process that has imported the libraries: seconds saved per job.

No package of the tree is imported before the fork, so a job sees the sources as they are then.
"""

import contextlib
import gc
import importlib
import json
import os
import select
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

LIBRARIES = (
    "array_api_compat.numpy",
    "array_api_compat.torch",
    "array_api_strict",
    "coverage",
    "flint",
    "hypothesis.strategies",
    "hypothesis.extra.numpy",
    "matplotlib.pyplot",
    "mpmath",
    "numpy.testing",
    "ot",
    "pytest",
    "rich.table",
    "scipy.integrate",
    "scipy.optimize",
    "scipy.special",
    "scipy.stats",
    "sklearn.datasets",
    "sympy",
    "torch",
    "torch._dynamo",
    "torch.func",
    "typer",
)
TAIL = 3000
"""Characters that are kept of what a job printed that died."""


def import_libraries() -> None:
    """Import what is slow to import, on one thread."""
    os.environ |= {f"{name}_NUM_THREADS": "1" for name in ("OMP", "OPENBLAS", "MKL")}
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or every fork would go through all of it again


def spread(
    jobs: list[Any],
    workers: int,
    begin: Callable[[int], Callable[[Any], dict[str, Any]]],
    to: Path,
) -> None:
    """Do jobs on processes; append what each returns to a file, a line of JSON per job.

    Worker ``k`` calls ``begin(k)`` once, and what that returns on each job that it takes.
    """
    ends = os.pipe()
    os.write(ends[1], b"".join(number.to_bytes(4, "big") for number in range(len(jobs))))
    os.close(ends[1])
    children = []
    for k in range(min(workers, len(jobs))):
        if pid := os.fork():
            children.append(pid)
            continue
        with _exiting():
            do = begin(k)
            out = os.open(to, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
            while number := os.read(ends[0], 4):
                line = json.dumps(do(jobs[int.from_bytes(number, "big")])) + "\n"
                os.write(out, line.encode())
    os.close(ends[0])
    try:
        failed = [pid for pid in children if os.waitpid(pid, 0)[1]]
    except BaseException:
        for pid in children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
        raise
    if failed:
        raise RuntimeError(f"{len(failed)} workers died")


@contextlib.contextmanager
def _exiting() -> Any:
    """Leave this process at the end, whatever happens."""
    code = 1
    try:
        yield
        code = 0
    except SystemExit:
        pass
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def apart(call: Callable[[], dict[str, Any]], seconds: float) -> dict[str, Any]:
    """Return what a call returns in a fork; if the fork dies or hangs, how and what it printed."""
    with tempfile.TemporaryFile() as printed, tempfile.TemporaryFile() as answer:
        pid = os.fork()
        if pid == 0:
            with _exiting():
                os.setsid()
                for stream in (1, 2):
                    os.dup2(printed.fileno(), stream)
                answer.write(json.dumps(call()).encode())
                answer.flush()
        ended = _ended(pid, seconds)
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, signal.SIGKILL)  # what it left behind, too
        status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        if ended and status == 0:
            answer.seek(0)
            return dict(json.load(answer))
        printed.seek(max(0, printed.seek(0, os.SEEK_END) - TAIL))
        died = "hung" if not ended else signal.Signals(-status).name if status < 0 else "crashed"
        return {"died": died, "printed": printed.read().decode(errors="replace")}


def _ended(pid: int, seconds: float) -> bool:
    done = os.pidfd_open(pid)
    try:
        return bool(select.select([done], [], [], seconds)[0])
    finally:
        os.close(done)
