"""JSON schemas of the files that steinlab writes and reads; what a reader validates is what ships.

They ask for what old files have, and leave unknown keys alone.
"""

from __future__ import annotations

import functools
import json
from importlib.resources import files
from pathlib import Path
from typing import Any

from steinlab.errors import InputError, quote
from steinlab.storage.files import in_file, read_sealed_json

SHARED = "law.json"
"""What schemas of SPECs refer to."""

TYPES = {
    "array": "a list",
    "boolean": "true or false",
    "integer": "a whole number",
    "null": "null",
    "number": "a number",
    "object": "an object",
    "string": "text",
}


LIMITS = {
    "minimum": "be >= {}",
    "maximum": "be <= {}",
    "minItems": "hold at least {} entries",
    "maxItems": "hold at most {} entries",
}


@functools.cache
def schema(name: str) -> dict[str, Any]:
    """Return a schema by name: ``ledger``, say."""
    text = (files(__name__) / f"{name}.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text)
    return found


@functools.cache
def _validator(name: str) -> Any:
    from jsonschema import Draft202012Validator
    from referencing import Registry
    from referencing.jsonschema import DRAFT202012

    shared = Registry().with_resource(SHARED, DRAFT202012.create_resource(schema("law")))
    return Draft202012Validator(schema(name), registry=shared)


def read_stored(file: Path, name: str, field: str) -> Any:
    """Return the content of a JSON file, which conforms to the schema ``name``.

    Parameters
    ----------
    file : Path
    name : str
    field : str
        What messages call a file that cannot be read.

    Raises
    ------
    InputError
        In one line that names the file: as :func:`~steinlab.storage.files.read_sealed_json` and
        :func:`conforming`.
    """
    found = read_sealed_json(file, field)
    with in_file(file):
        return conforming(found, name)


def conforming(value: Any, name: str) -> Any:
    """Return a value that conforms to the schema ``name``.

    Raises
    ------
    InputError
        In one line: the path of what does not conform, what it must be, and what it is.

    Examples
    --------
    >>> conforming({"version": 1, "claims": [5]}, "ledger")
    Traceback (most recent call last):
    ...
    steinlab.errors.InputError: claims[0] must be an object, got 5
    """
    from jsonschema.exceptions import best_match

    error = best_match(_validator(name).iter_errors(value))
    if error is None:
        return value
    path = error.json_path.removeprefix("$").removeprefix(".") or title(name)
    raise InputError(f"{quote(path)} must {_requirement(error)}, got {_found(error)}")


def title(name: str) -> str:
    """Return what a schema calls its files."""
    return str(schema(name)["title"])


def _requirement(error: Any) -> str:
    asked = error.validator_value
    match error.validator:
        case "type":
            kinds = [asked] if isinstance(asked, str) else asked
            return "be " + " or ".join(TYPES[kind] for kind in kinds)
        case "enum":
            return f"be one of {', '.join(map(str, asked))}"
        case "const":
            return f"be {asked}"
        case "minimum" | "maximum" | "minItems" | "maxItems":
            return LIMITS[error.validator].format(asked)
        case "required":
            return f"hold {next(key for key in asked if key not in error.instance)}"
        case _:
            return f"be as the schema says ({error.validator})"


def _found(error: Any) -> str:
    if error.validator == "required":
        return f"only {quote(', '.join(error.instance) or 'nothing')}"
    return quote(error.instance)
