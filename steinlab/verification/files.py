"""Claims of a file without a package, by address: ``my.py::jensen``.

A unit of work and a stored case travel by name, so the address is what another process loads. The
file stands alone: what it imports is installed, and a digest of its content is kept with every row.
"""

import hashlib
import sys
import traceback
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from types import ModuleType
from typing import Any

from steinlab.errors import CRASHES, InputError, one_of
from steinlab.storage import read_bytes
from steinlab.verification.claim import Claim

SEPARATOR = "::"


def split(address: str) -> tuple[str, str]:
    """Return the file and the claim's id of an address; the file is empty for a registered id.

    Examples
    --------
    >>> split("my.py::jensen"), split("stein-identity")
    (('my.py', 'jensen'), ('', 'stein-identity'))

    Raises
    ------
    InputError
        If a file's claim is named with one colon.
    """
    file, _, claim_id = address.rpartition(SEPARATOR)
    path, colon, own = claim_id.rpartition(".py:")
    if colon and not file:
        raise InputError(
            f"a claim of a file must be named with two colons, {path}.py::{own}, got {address}"
        )
    return file, claim_id


def is_file(name: str) -> bool:
    """Whether a name is that of a file rather than a claim's id."""
    return name.endswith(".py")


def addresses(file: str) -> list[str]:
    """Return the addresses of a file's claims, in its order.

    Raises
    ------
    InputError
        If the file is missing, cannot be run, or holds no claim.
    """
    return [f"{file}{SEPARATOR}{claim_id}" for claim_id in _claims(file)]


def load(address: str) -> Claim:
    """Return the claim of an address; its function's name does as well as its id."""
    file, claim_id = split(address)
    found = _claims(file)
    if claim_id not in found:
        claim_id = claim_id.replace("_", "-")
    return found[one_of(f"claim of {file}", claim_id, found)]


def home(file: str) -> str:
    """Return the name that a file's module runs under, by which a frame of it is known."""
    return f"claims_{hashlib.sha256(file.encode() + _content(file)).hexdigest()[:16]}"


def digest(file: str) -> str:
    """Return a hash of a file's content."""
    return hashlib.sha256(_content(file)).hexdigest()


def require_unchanged(file: Mapping[str, Any]) -> None:
    """Raise ``InputError`` unless a stored case's file is there and as it was."""
    path, stored = str(file["path"]), str(file["sha256"])
    if digest(path) != stored:
        raise InputError(
            f"{path} must be as it was when the case was stored, sha256 {stored[:12]}, "
            f"got {digest(path)[:12]}: judge it again"
        )


def _content(file: str) -> bytes:
    try:
        return read_bytes(Path(file))
    except OSError as error:
        reason = "which is missing" if isinstance(error, FileNotFoundError) else error.strerror
        raise InputError(f"FILE must be a Python file with claims, got {file}, {reason}") from None


def _claims(file: str) -> Mapping[str, Claim]:
    return _run(file, _content(file))


@lru_cache(maxsize=64)
def _run(file: str, content: bytes) -> Mapping[str, Claim]:
    """Run a file once per content; return its claims by id."""
    name = home(file)
    module = ModuleType(name)
    module.__file__ = file
    sys.modules[name] = module  # where dataclasses and pickles look a module up
    try:
        exec(compile(content, file, "exec", dont_inherit=True), module.__dict__)
    except SyntaxError as error:
        where = f"line {error.lineno}: " if error.lineno else ""
        raise InputError(f"{file} must be valid Python: {where}{error.msg}") from None
    except CRASHES as error:
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == file]
        where = f"line {lines[-1]}: " if lines else ""
        what = str(error) if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
        raise InputError(f"{file}, {where}{what}") from error
    found: dict[str, Claim] = {}
    for value in vars(module).values():
        if isinstance(value, Claim) and found.setdefault(value.id, value) is not value:
            raise InputError(f"{file} must give its claims different ids, got {value.id} twice")
    if not found:
        raise InputError(f"{file} must hold a claim, a function under @claim, got none")
    return found
