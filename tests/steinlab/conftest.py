"""Fixtures of the command line's tests."""

import json
import subprocess
import sys

import pytest

from steinlab.cli import main


@pytest.fixture
def spec_file(tmp_path):
    """A function that writes an object, or text as it is, to a SPEC.json."""

    def write(obj):
        file = tmp_path / "spec.json"
        file.write_text(obj if isinstance(obj, str) else json.dumps(obj))
        return str(file)

    return write


@pytest.fixture
def refused(capsys):
    """A function that runs a command in-process and returns its one line of complaint."""

    def run(*args):
        assert main([str(arg) for arg in args]) == 2
        out, err = capsys.readouterr()
        assert out == ""
        assert err.startswith("steinlab: ")
        assert err.count("\n") == 1, err
        return err.removeprefix("steinlab: ").rstrip("\n")

    return run


@pytest.fixture
def steinlab(capsys):
    """A function that runs the command line in a process of its own, or ``here`` at once."""

    def run(*args, code=None, here=False):
        words = [str(arg) for arg in args]
        if here:
            return subprocess.CompletedProcess(words, main(words), *capsys.readouterr())
        how = ["-c", code] if code else ["-m", "steinlab.cli"]
        command = [sys.executable, *how, *words]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    return run
