"""A run of pytest within this process: nothing is imported anew but the folder's own modules."""

from __future__ import annotations

import contextlib
import io
import sys
from pathlib import Path

import pytest


def run(folder: Path, *words: str) -> tuple[int, str]:
    """Run the tests of a folder; return the exit code and what was printed."""
    printed, before, path = io.StringIO(), {*sys.modules}, [*sys.path]
    sys.path.insert(0, str(folder))
    try:
        with contextlib.redirect_stdout(printed):
            code = pytest.main(["-q", "-p", "no:cacheprovider", f"--rootdir={folder}", *words])
    finally:
        sys.path[:] = path
        for name in {*sys.modules} - before:
            file = getattr(sys.modules[name], "__file__", None)
            if file is not None and Path(file).is_relative_to(folder):
                del sys.modules[name]
    return int(code), printed.getvalue()
