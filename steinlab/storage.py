"""Arrays kept between runs: content-addressed files in the user's cache folder.

The folder is ``STEINLAB_CACHE``, or ``steinlab`` in ``XDG_CACHE_HOME``, or in ``~/.cache``. A key
names all that the numbers depend on, so nothing is ever out of date; what cannot be read is
computed again, and what cannot be written is not kept.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from decimal import Decimal
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np

from steinlab.errors import InputError, quote


def cache_folder() -> Path:
    """Return the folder, which need not exist."""
    given = os.environ.get(CACHE_VARIABLE)
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


LIBRARIES = ("numpy", "scipy", "scikit-learn", "sympy")


SOURCES = (".py", ".jsonl")
"""Code, and the stored records that claims are judged on."""


@functools.cache
def sources_key(package: str) -> str:
    """Return a hash of a package's sources, with those it is built on and library versions."""
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        digest.update(f"{library} {version(library)}".encode())
    for name in sorted({"analytic", "steinlab", package}):
        spec = find_spec(name)
        for folder in spec.submodule_search_locations or () if spec else ():
            for file in sorted(f for f in Path(folder).rglob("*") if f.suffix in SOURCES):
                digest.update(str(file.relative_to(folder)).encode())
                digest.update(file.read_bytes())
    return digest.hexdigest()


STDOUT = "-"


def check_target(target: str | None, option: str = "--json") -> None:
    """Raise ``InputError`` unless the file can be written: called before the work."""
    if target is None or target == STDOUT:
        return
    file = Path(target)
    if file.is_dir():
        raise InputError(f"{option} must name a file, got the folder {target}")
    if not file.parent.is_dir():
        raise InputError(f"{option} must name a file in an existing folder, got {target}")
    existing = file if file.exists() else file.parent
    if not (os.access(existing, os.W_OK) and os.access(file.parent, os.W_OK)):
        raise InputError(f"{option} must name a file that can be written, got {target}")


def make_folder(out: str | None) -> Path | None:
    """Make the folder that ``--out`` names; raise ``InputError`` unless it can be written."""
    if out is None:
        return None
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out must be a folder that can be made, got {out}: {error}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"--out must be a folder that can be written, got {out}")
    return folder


def write_whole(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill the file, which appears whole or not at all (a temporary one, renamed)."""
    handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            write(out)
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # mkstemp's own mode is private
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


MAX_SEED = 2**63 - 1


def read_json(path: Path, name: str = "SPEC", number: Callable[[str], Any] = Decimal) -> Any:
    """Return the parsed contents of a JSON file, numbers with a point as exact decimals.

    Parameters
    ----------
    path : Path
    name : str
        What messages call the file.
    number : callable
        What a number with a point becomes.

    Raises
    ------
    InputError
        If the file cannot be read or is not JSON, with line and column.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "").lower() or "not UTF-8 text"
        raise InputError(f"{name} must be a readable JSON file, got {path}: {reason}") from None
    try:
        return json.loads(text, parse_float=number, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{name} must be valid JSON: {path}, {where}: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{name} must be valid JSON: {path} is nested too deeply") from None
    except InputError as error:
        raise InputError(f"{name} must be valid JSON: {path}: {error}") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise InputError(f"{name} must be valid JSON: {path} holds an endless integer") from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise InputError(f"the key {quote(key)} stands twice in one object")
        out[key] = value
    return out


CACHE_VARIABLE = "STEINLAB_CACHE"
"""Environment variable that moves the cache folder."""
