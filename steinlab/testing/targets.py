"""Targets of the command line: ``module:object`` or ``file.py:object``."""

import importlib
import importlib.util
import sys
import traceback
from pathlib import Path
from typing import Any

from steinlab.errors import CRASHES, InputError, one_of, quote, suggestion


def load_target(address: str) -> Any:
    """Return the object of an address.

    Raises
    ------
    InputError
        If it is no address, does not import, or holds no such object.

    Examples
    --------
    >>> load_target("math:sqrt")(4.0)
    2.0
    """
    where, _, name = address.rpartition(":")
    if not where or not name:
        raise InputError(f"TARGET must be module:object or file.py:object, got {quote(address)}")
    module = _file(where) if where.endswith(".py") else _module(where)
    found: Any = module
    for part in name.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            known = [one for one in vars(module) if not one.startswith("_")]
            raise InputError(
                f"{suggestion(name, known)}{where} must hold {name}, it does not"
            ) from None
        except CRASHES as error:
            raise InputError(f"{address} must be had, got {_said(error, where)}") from error
    return found


def _file(file: str) -> Any:
    path = Path(file)
    if not path.is_file():
        raise InputError(f"TARGET must name a file that exists, got {file}, which is missing")
    spec = importlib.util.spec_from_file_location(f"steinlab_target_{path.stem}", path)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    sys.path.insert(0, str(path.resolve().parent))
    try:
        spec.loader.exec_module(module)
    except CRASHES as error:
        raise InputError(f"{file} must run, got {_said(error, str(path))}") from error
    finally:
        sys.path.pop(0)
    return module


def _module(name: str) -> Any:
    sys.path.insert(0, "")
    try:
        return importlib.import_module(name)
    except CRASHES as error:
        raise InputError(f"module {name} must import, got {_said(error, name)}") from error
    finally:
        sys.path.pop(0)


def _said(error: BaseException, file: str) -> str:
    lines = [
        f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename.endswith(file)
    ]
    where = f", line {lines[-1]}" if lines else ""
    return f"{type(error).__name__}: {quote(error)}{where}"


def options_of(pairs: list[str] | None, known: list[str]) -> dict[str, str]:
    """Return ``{check: reason}`` of ``CHECK=REASON`` options."""
    out = {}
    for pair in pairs or []:
        name, equals, reason = pair.partition("=")
        if not equals or not reason:
            raise InputError(f"--xfail must be CHECK=REASON, got {quote(pair)}")
        heads = {one.split("-")[0] for one in known}
        out[name if name in heads else one_of("--xfail", name, known)] = reason
    return out
