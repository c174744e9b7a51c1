"""Run tests in forks of a process that has imported the libraries: a second saved a mutant.

``server.py SOCKET TREE`` serves; ``server.py SOCKET --ask ARGS...`` has pytest run with ARGS on the
tree as it is now, prints the end of its output and exits with its code. No package of the tree is
imported before the fork, so a fork sees the mutated sources; when the asker is gone (cosmic-ray
kills it at the timeout) the fork is killed.
"""

import contextlib
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
from pathlib import Path

LIBRARIES = (
    "array_api_compat.numpy",
    "array_api_compat.torch",
    "array_api_strict",
    "flint",
    "hypothesis.strategies",
    "hypothesis.extra.numpy",
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
LIMIT = 300
"""Seconds of processor time that a group of tests may take."""

TAIL = 3000
"""Characters of pytest's output that are kept: they name the test that failed."""


def ask(path: str, args: list[str]) -> int:
    """Have the server run pytest; return its exit code."""
    with socket.socket(socket.AF_UNIX) as line:
        line.connect(path)
        line.sendall(json.dumps(args).encode() + b"\n")
        answer = json.loads(line.makefile().readline())
    print(answer["output"])
    return int(answer["code"])


def serve(path: str, tree: str) -> None:
    """Answer one request after another, until killed."""
    os.chdir(tree)
    sys.path.insert(0, tree)
    sys.dont_write_bytecode = True
    for name in LIBRARIES:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # or every fork would go through all of it again
    os.environ["PYTEST_DISABLE_PLUGIN_AUTOLOAD"] = "1"
    Path(path).unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()
        while True:
            line, _ = listener.accept()
            with line:
                _answer(line)


def _answer(line: socket.socket) -> None:
    args = json.loads(line.makefile().readline())
    with tempfile.TemporaryFile() as out:
        pid = os.fork()
        if pid == 0:
            _child(args, out.fileno())
        code = _wait(pid, line)
        end = out.seek(0, os.SEEK_END)
        out.seek(max(0, end - TAIL))
        text = out.read().decode(errors="replace")
    if code == -signal.SIGXCPU:
        text = "timeout"
    with contextlib.suppress(OSError):
        line.sendall(json.dumps({"code": code, "output": text}).encode() + b"\n")


def _child(args: list[str], out: int) -> None:
    os.setsid()
    resource.setrlimit(resource.RLIMIT_CPU, (LIMIT, LIMIT + 1))
    for stream in (1, 2):
        os.dup2(out, stream)
    code = 70
    try:
        import pytest

        code = int(pytest.main(args))
        if code == pytest.ExitCode.NO_TESTS_COLLECTED:
            code = 0
        sys.stdout.flush()
    finally:
        os._exit(code)


def _wait(pid: int, line: socket.socket) -> int:
    """Wait for the fork; kill it if the asker hangs up."""
    done = os.pidfd_open(pid)
    try:
        ready, _, _ = select.select([done, line], [], [])
        if done not in ready:
            os.killpg(pid, signal.SIGKILL)
    finally:
        os.close(done)
    return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


if __name__ == "__main__":
    if sys.argv[2:3] == ["--ask"]:
        sys.exit(ask(sys.argv[1], sys.argv[3:]))
    serve(*sys.argv[1:])
