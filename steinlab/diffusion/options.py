"""Names with options: ``karras:rho=5``, or the object ``{"name": "karras", "rho": 5}``."""

from collections.abc import Mapping
from typing import Any

from steinlab.errors import InputError, quote


def named(value: Any, field: str, kinds: str) -> tuple[str, dict[str, Any]]:
    """Return a name and its options, as they were written.

    Parameters
    ----------
    value : str or mapping
    field : str
        The name of the argument in messages.
    kinds : str
        What it may be, in words.

    Raises
    ------
    InputError
        If it is neither.

    Examples
    --------
    >>> named("karras:rho=5", "grid", ""), named({"name": "karras", "rho": 5}, "grid", "")
    (('karras', {'rho': '5'}), ('karras', {'rho': 5}))
    """
    if isinstance(value, str):
        name, _, tail = value.partition(":")
        pairs = (word.partition("=") for word in tail.split(",") if word)
        return name, {key: text for key, _, text in pairs}
    if isinstance(value, Mapping) and isinstance(value.get("name"), str):
        return value["name"], {key: one for key, one in value.items() if key != "name"}
    raise InputError(f"{field} must be {kinds}, got {quote(value)}")


def canonical(name: str, options: Mapping[str, Any]) -> str:
    """Return a name with its options in one word; numbers are written in full.

    Examples
    --------
    >>> canonical("leading", {"table": "linear", "offset": 1.0})
    'leading:table=linear,offset=1'
    """
    words = (f"{key}={v if isinstance(v, str) else f'{v:.17g}'}" for key, v in options.items())
    return ":".join([name, *([",".join(words)] if options else [])])
