"""Files by name: checked before the work, written whole or not at all, and read."""

from __future__ import annotations

import functools
import hashlib
import json
import math
import os
import re
import sys
import tempfile
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import IO, Any

from steinlab.errors import InputError, quote

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
    needed = [file] if is_stream(file) else [file if file.exists() else file.parent, file.parent]
    if not all(os.access(one, os.W_OK) for one in needed):
        raise InputError(f"{option} must name a file that can be written, got {target}")


def is_stream(file: Path) -> bool:
    """Whether a name is that of a device, a pipe or an open file, which is written, never replaced.

    ``/dev/stdout`` is one wherever stdout leads, and so is a link to it.
    """
    if not file.exists():
        return False
    if file.is_symlink():
        named = file.absolute().parts[1] in ("dev", "proc")
        return named or is_stream(file.parent / file.readlink())
    return not file.is_file()


def check_folder(out: str) -> None:
    """Raise ``InputError`` unless the folder that ``--out`` names can be made and written."""
    folder = Path(out)
    nearest = next(one for one in (folder, *folder.absolute().parents) if one.exists())
    if not (nearest.is_dir() and os.access(nearest, os.W_OK)):
        raise InputError(f"--out must be a folder that can be made, got {out}: see {nearest}")


def make_folder(out: str) -> Path:
    """Make the folder that ``--out`` names; raise ``InputError`` unless it can be written."""
    folder = Path(out)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--out must be a folder that can be made, got {out}: {error}") from None
    if not os.access(folder, os.W_OK):
        raise InputError(f"--out must be a folder that can be written, got {out}")
    return folder


def write_whole(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill the file, which appears whole or not at all (a temporary one, renamed).

    A link is followed. A device, a pipe and an open file (:func:`is_stream`) are written to.

    Raises
    ------
    InputError
        If the folder cannot be made or written, or the disk is full.
    """
    part = None
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        if is_stream(file):
            with file.open("ab") as out:
                write(out)
            return
        end = Path(os.path.realpath(file))
        handle, part = tempfile.mkstemp(dir=end.parent, prefix=f".{end.name}.")
        with os.fdopen(handle, "wb") as out:
            write(out)
            out.flush()
            os.fsync(out.fileno())
        mask = os.umask(0)
        os.umask(mask)
        Path(part).chmod(0o666 & ~mask)  # mkstemp's own mode is private
        Path(part).replace(end)
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"file must be one that can be written, got {file}: {reason}") from error
    finally:
        if part is not None:  # gone where it was renamed
            Path(part).unlink(missing_ok=True)


def write_bytes(file: Path, content: bytes) -> None:
    """Write bytes, whole or not at all; see :func:`write_whole`."""
    write_whole(file, lambda out: out.write(content))


CHECKSUM = 64
"""Bytes of the checksum, SHA-256 in hexadecimal digits, at the end of a sealed file."""


def write_sealed(file: Path, content: bytes) -> None:
    """Write bytes and their checksum, whole or not at all."""
    write_bytes(file, content + hashlib.sha256(content).hexdigest().encode())


def read_sealed(file: Path) -> bytes:
    """Return what :func:`write_sealed` wrote; raise ``ValueError`` where a bit of it differs."""
    content = file.read_bytes()
    content, checksum = content[:-CHECKSUM], content[-CHECKSUM:]
    if hashlib.sha256(content).hexdigest().encode() != checksum:
        raise ValueError("it is damaged or not written by steinlab")
    return content


def write_text(file: Path, text: str) -> None:
    """Write text in UTF-8, whole or not at all."""
    write_bytes(file, text.encode())


def write_json(file: Path, value: Any, **options: Any) -> None:
    """Write JSON, whole or not at all; ``options`` are those of :func:`json.dumps`."""
    write_text(file, json.dumps(value, **options) + "\n")


@functools.cache
def warn(line: str) -> None:
    """Print a warning on stderr, the same one once."""
    print(f"steinlab: warning: {line}", file=sys.stderr)


_HALF = re.compile(r"\\u[dD][89abAB]")
"""The first of two code units; alone it is no character."""

MAX_SEED = 2**63 - 1


def read_json(path: Path, name: str = "SPEC", number: Callable[[str], Any] = Decimal) -> Any:
    """Return the parsed contents of a JSON file, numbers with a point as exact decimals.

    Parameters
    ----------
    path : Path
    name : str
        What messages call the file.
    number : callable
        What a number with a point becomes; ``float`` admits finite ones only.

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
        floats = {"parse_float": _finite, "parse_constant": _finite} if number is float else {}
        options = {"parse_float": number, **floats}
        found = json.loads(text, object_pairs_hook=_object, **options)
        if _HALF.search(text):  # no file that is written could hold it
            json.dumps(found, ensure_ascii=False, default=str).encode()
        return found
    except UnicodeEncodeError:
        raise InputError(f"{name} must be valid JSON: {path} holds half a character") from None
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{name} must be valid JSON: {path}, {where}: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{name} must be valid JSON: {path} is nested too deeply") from None
    except InputError as error:
        raise InputError(f"{name} must be valid JSON: {path}: {error}") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise InputError(f"{name} must be valid JSON: {path} holds an endless integer") from None


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"numbers must be finite, got {quote(text)}")
    return value


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise InputError(f"the key {quote(key)} stands twice in one object")
        out[key] = value
    return out
