"""Bad input: one clear line that names the field, the value and the requirement."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from fractions import Fraction
from typing import Any

LONGEST = 60
"""Characters of a value that a message quotes."""


class InputError(ValueError):
    """Bad input, found where it is parsed; the command line answers with one line and exit 2."""


class Interrupted(Exception):
    """The user stopped a command that has kept what it computed; the message says where."""


class Terminated(BaseException):
    """The process was told to end: what has begun is left undone, what is finished is kept."""


CRASHES = (Exception, SystemExit)
"""How a claim's code may crash: ``sys.exit(0)`` in it must not end a run as if all were well."""


def quote(value: Any) -> str:
    """Return ``value`` as a message shows it: on one line, cut at :data:`LONGEST` characters.

    Examples
    --------
    >>> quote(Fraction(11, 10)), quote("a"), quote([1, None])
    ('1.1', 'a', '[1, null]')
    """
    text = " ".join(_words(value).split())
    text = "".join(letter if letter.isprintable() else "?" for letter in text)
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def _words(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {_words(part)}" for key, part in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_words(part) for part in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return str(float(value)) if isinstance(value, Fraction) else str(value)
    except Exception:  # whatever a stranger's object does when it is printed
        return type(value).__name__


def one_of(field: str, value: str, options: Iterable[str]) -> str:
    """Return ``value`` if it is an option, else raise with the nearest option.

    Parameters
    ----------
    field : str
        What the value is, as the user knows it.
    value : str
    options : iterable of str

    Raises
    ------
    InputError

    Examples
    --------
    >>> one_of("solver", "hueun", ["euler", "heun"])
    Traceback (most recent call last):
    ...
    steinlab.errors.InputError: did you mean heun? solver must be one of euler, heun, got hueun
    """
    known = list(options)
    if value in known:
        return value
    raise InputError(
        f"{suggestion(value, known)}{field} must be one of {', '.join(known)}, got {quote(value)}"
    )


def suggestion(value: str, options: Iterable[str]) -> str:
    """Return ``did you mean NEAREST?`` for the head of a message, or nothing when none is near."""
    lowered = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(value).lower(), lowered, n=1)
    return f"did you mean {lowered[near[0]]}? " if near else ""
