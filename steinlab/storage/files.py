"""Files by name: checked before the work, written whole or not at all, and read."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import math
import os
import re
import stat
import tempfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

from steinlab.errors import LONGEST_LINE, InputError, quote

if TYPE_CHECKING:
    from gzip import GzipFile

    import numpy as np

STDOUT = "-"

LONGEST_NAME = 160
"""Characters of a file's name that a message about its content shows."""


@contextmanager
def in_file(file: Path) -> Iterator[None]:
    """Name the file in what refuses its content, where it is not named; a long name by its end."""
    try:
        yield
    except InputError as error:
        text, name = str(error), str(file)
        if error.file or name in text:
            raise
        where = f", in {name if len(name) <= LONGEST_NAME else '...' + name[-LONGEST_NAME:]}"
        room = LONGEST_LINE - len(where)
        text = text if len(text) <= room else f"{text[: room - 3]}..."
        refusal = InputError(text + where)
        refusal.file = name
        raise refusal from error


@contextmanager
def refusing(refusal: str) -> Iterator[None]:
    """Raise ``InputError`` in place of an error of the file system: the refusal and its reason."""
    try:
        yield
    except OSError as error:
        reason = (error.strerror or type(error).__name__).lower()
        raise InputError(f"{refusal}: {reason}") from error


def check_target(target: str | Path | None, option: str = "--json") -> None:
    """Raise ``InputError`` unless the file can be written: called before the work."""
    if target is None or target == STDOUT:
        return
    file, refusal = Path(target), f"{option} must name a file that can be written, got {target}"
    if "\0" in str(target):
        raise InputError(refusal)
    with refusing(refusal):
        if file.is_dir():
            raise InputError(f"{option} must name a file, got the folder {target}")
        if not file.parent.is_dir():
            raise InputError(f"{option} must name a file in an existing folder, got {target}")
        if not (is_stream(file) or not file.exists() or os.access(file, os.W_OK)):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES))
        if not is_stream(file):
            handle, part = _part(file)
            os.close(handle)
            Path(part).unlink()


def _part(file: Path) -> tuple[int, str]:
    """Make the hidden file that is to replace another, in its folder."""
    return tempfile.mkstemp(dir=file.resolve().parent, prefix=f".{file.name[:100]}.")


def is_stream(file: Path) -> bool:
    """Whether a name is that of a device, a pipe or an open file, which is written, never replaced.

    ``/dev/stdout`` is one wherever stdout leads, and so is a link to it.

    Raises
    ------
    InputError
        If it is a disk or a socket, which is never written.
    """
    if not file.exists():
        return False
    if file.is_symlink():
        named = file.absolute().parts[1] in ("dev", "proc")
        return named or is_stream(file.parent / file.readlink())
    if file.is_block_device() or file.is_socket():
        raise InputError(f"file must be one that can be written, got the device {file}")
    return not file.is_file()


def check_folder(out: str, option: str = "--out") -> None:
    """Raise ``InputError`` unless the folder that an option names can be made and written."""
    with _folder(out, option):
        nearest = next(one for one in (Path(out), *Path(out).absolute().parents) if one.exists())
        if not nearest.is_dir():
            raise NotADirectoryError(errno.ENOTDIR, f"{nearest} is no folder")
        with tempfile.TemporaryFile(dir=nearest):
            pass


def make_folder(out: str) -> Path:
    """Make the folder that ``--out`` names; raise ``InputError`` unless it can be written."""
    folder = Path(out)
    with _folder(out):
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    return folder


def _folder(out: str, option: str = "--out") -> AbstractContextManager[None]:
    refusal = f"{option} must be a folder that can be made, got {out}"
    if "\0" in out:
        raise InputError(refusal)
    return refusing(refusal)


def write_whole(file: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Let ``write`` fill the file, which appears whole or not at all (a temporary one, renamed).

    A link is followed. A device, a pipe and an open file (:func:`is_stream`) are written to. What
    has returned outlasts a loss of power.

    Raises
    ------
    InputError
        If the folder cannot be made or written, or the disk is full: an older file stays.
    """
    part = None
    try:
        with refusing(f"file must be one that can be written, got {file}"):
            file.parent.mkdir(parents=True, exist_ok=True)
            if is_stream(file):
                with file.open("ab") as out:
                    write(out)
                return
            end = file.resolve()
            handle, part = _part(end)
            with os.fdopen(handle, "wb") as out:
                write(out)
                out.flush()
                os.fsync(out.fileno())
            Path(part).chmod(_mode(end))  # mkstemp's own mode is private
            Path(part).replace(end)
            sync_folder(end.parent)
    finally:
        if part is not None:  # gone where it was renamed
            with suppress(OSError):
                Path(part).unlink()


def _mode(file: Path) -> int:
    """Return the mode of a file, or that of a new one."""
    if file.exists():
        return stat.S_IMODE(file.stat().st_mode)
    mask = os.umask(0)
    os.umask(mask)
    return 0o666 & ~mask


def sync_folder(folder: Path) -> None:
    """Write a folder's names to the disk, where the system can."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


LARGEST_FILE = 2**29
"""Bytes that are read of a file, or unpacked of one, before it is refused."""


def read_bytes(file: Path) -> bytes:
    """Return what a file holds; raise ``OSError`` where that never ends or exceeds 512 MiB."""
    with file.open("rb") as opened:
        return whole_of(opened)


def whole_of(opened: IO[bytes] | GzipFile) -> bytes:
    """Return what is left of an open file; raise ``OSError`` where that exceeds 512 MiB."""
    content = opened.read(LARGEST_FILE + 1)
    if len(content) > LARGEST_FILE:
        raise OSError(errno.EFBIG, f"it holds more than {LARGEST_FILE >> 20} MiB")
    return content


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
    content = read_bytes(file)
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


def sealed(value: Mapping[str, Any]) -> dict[str, Any]:
    """Return JSON's object with a checksum of the rest as ``sum``.

    Examples
    --------
    >>> sealed({"gamma": 0.5})
    {'gamma': 0.5, 'sum': '5da50189bba42ee8'}
    """
    return {**value, "sum": _checksum(value)}


def read_sealed_json(path: Path, name: str) -> Any:
    """Return what was written of :func:`sealed`, without its checksum; an older file has none.

    Raises
    ------
    InputError
        As :func:`read_json`, and where the checksum differs.
    """
    found = read_json(path, name, float)
    if isinstance(found, dict) and "sum" in found:
        given = found.pop("sum")
        if given != _checksum(found):
            changed = "its checksum differs; a file of one's own has none"
            raise InputError(f"{name} must be as it was written, got {path}: {changed}")
    return found


def _checksum(value: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()[:16]


HIDDEN = re.compile(
    r"[\0-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069\ud800-\udfff]"
)
"""What text never holds: control and bidirectional characters, and halves of characters."""

DEEPEST = 100
"""Lists and objects in one another that a JSON file may hold."""

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
        text = read_bytes(path).decode("utf-8-sig")
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or "").lower() or "not UTF-8 text"
        raise InputError(f"{name} must be a readable JSON file, got {path}: {reason}") from None
    try:
        kinds: dict[str, Any] = {"parse_float": number}
        if number is float:
            kinds = {"parse_float": _finite, "parse_constant": _finite, "parse_int": _whole}
        found = json.loads(text, object_pairs_hook=_object, **kinds)
        _require_visible(found)
        return found
    except json.JSONDecodeError as error:
        where = f"line {error.lineno}, column {error.colno}"
        raise InputError(f"{name} must be valid JSON: {path}, {where}: {error.msg}") from None
    except RecursionError:
        raise InputError(f"{name} must be valid JSON: {path} is nested too deeply") from None
    except InputError as error:
        raise InputError(f"{name} must be valid JSON: {path}: {error}") from None
    except InvalidOperation:
        raise InputError(f"{name} must be valid JSON: {path} holds an endless exponent") from None
    except ValueError:  # the interpreter's limit on the digits of an integer
        raise InputError(f"{name} must be valid JSON: {path} holds an endless integer") from None


LARGEST_ARCHIVE = 2**30
"""Bytes that the arrays of an archive may have together."""


def read_archive(path: Path, name: str) -> dict[str, np.ndarray]:
    """Return the arrays of an ``.npz`` file; ``name`` is what messages call it.

    What an array declares is compared with what the file holds before memory is taken for it.

    Raises
    ------
    InputError
        For a file that cannot be read, or holds anything but whole arrays of numbers and text.
    """
    import numpy as np

    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
            if sum(member.file_size for member in members) > LARGEST_ARCHIVE:
                raise ValueError("it holds more than 1 GiB")
            arrays = {m.filename.removesuffix(".npy"): _array(archive.read(m)) for m in members}
    except Exception as error:  # whatever the readers of archives make of a part of one
        reason = (getattr(error, "strerror", None) or "").lower() or "not one, or a part of one"
        raise InputError(f"{name} must be a readable .npz file, got {path}: {reason}") from None
    if any(array.dtype.kind in "fc" and not np.isfinite(array).all() for array in arrays.values()):
        raise InputError(f"{name} must hold finite numbers, got {path}")
    return arrays


def _array(content: bytes) -> np.ndarray:
    """Return the array of an ``.npy`` file's bytes."""
    from numpy.lib import format as npy

    stream = io.BytesIO(content)
    first = npy.read_magic(stream) == (1, 0)
    header = npy.read_array_header_1_0 if first else npy.read_array_header_2_0
    shape, _, dtype = header(stream)
    if dtype.hasobject or math.prod(shape) * dtype.itemsize != len(content) - stream.tell():
        raise ValueError("it declares another size")
    stream.seek(0)
    array: np.ndarray = npy.read_array(stream, allow_pickle=False)
    return array


def _require_visible(tree: Any) -> None:
    """Raise ``InputError`` where a text holds what would change a terminal or a line of text.

    And ``RecursionError``, which is an older interpreter's own, of a tree that no reader goes down.
    """
    left, depth = [tree], 0
    while left:
        depth += 1
        if depth > DEEPEST:
            raise RecursionError
        inner: list[Any] = []
        for one in left:
            if isinstance(one, str):
                if HIDDEN.search(one):
                    raise InputError(f"text must hold visible characters, got {quote(one)}")
            elif isinstance(one, dict | list):
                inner += [*one, *(one.values() if isinstance(one, dict) else ())]
        left = inner


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise InputError(f"numbers must be finite, got {quote(text)}")
    return value


def _whole(text: str) -> int:
    _finite(text)
    return int(text)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out: dict[str, Any] = {}
    for key, value in pairs:
        if key in out:
            raise InputError(f"the key {quote(key)} stands twice in one object")
        out[key] = value
    return out
