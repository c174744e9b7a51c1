"""Arrays kept between runs: content-addressed files in the user's cache folder.

The folder is ``STEINLAB_CACHE``, or ``steinlab`` in ``XDG_CACHE_HOME``, or in ``~/.cache``. A key
names all that the numbers depend on, so nothing is ever out of date; what cannot be read is
computed again, and what cannot be written is not kept.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
import zipfile
from collections.abc import Mapping
from pathlib import Path

import numpy as np


def cache_folder() -> Path:
    """Return the folder, which need not exist."""
    given = os.environ.get("STEINLAB_CACHE")
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "steinlab"


def key_of(*content: object) -> str:
    """Return a key of what an entry's numbers depend on; arrays count with every bit.

    Examples
    --------
    >>> key_of("a", np.zeros(2)) == key_of("a", np.zeros(2)), key_of("a") == key_of("b")
    (True, False)
    """
    digest = hashlib.blake2b(digest_size=20)
    for part in content:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def load(kind: str, key: str) -> dict[str, np.ndarray] | None:
    """Return an entry's arrays by name, or None where there is none that can be read."""
    try:
        with _file(kind, key).open("rb") as file, np.load(file, allow_pickle=False) as stored:
            return {name: stored[name] for name in stored.files}
    except (OSError, ValueError, EOFError, KeyError, zipfile.BadZipFile):
        return None


def store(kind: str, key: str, arrays: Mapping[str, np.ndarray]) -> None:
    """Keep arrays, whole or not at all; a folder that cannot be written is no error."""
    file = _file(kind, key)
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=".entry.")
    except OSError:
        return
    try:
        with os.fdopen(handle, "wb") as out:
            np.savez(out, allow_pickle=False, **arrays)
        Path(name).replace(file)
    except OSError:
        Path(name).unlink(missing_ok=True)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _file(kind: str, key: str) -> Path:
    return cache_folder() / kind / f"{key}.npz"
