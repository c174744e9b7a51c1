"""Bad input: one clear line that names the field, the value and the requirement."""

from __future__ import annotations

import difflib
import functools
import sys
from collections.abc import Iterable, Sequence
from fractions import Fraction
from typing import Any

LONGEST = 60
"""Characters of a value that a message quotes."""

LONGEST_LINE = 380
"""Characters of a message."""

MOST, SHOWN = 12, 4
"""Options that a message names all, and how many of more."""


class InputError(ValueError):
    """Bad input, found where it is parsed; the command line answers with one line and exit 2.

    ``file`` is the one that the message names because of what it holds.
    """

    file: str = ""


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
    text = _visible(_words(value))
    return text if len(text) <= LONGEST else text[: LONGEST - 3] + "..."


def message(text: str) -> str:
    r"""Return text as a message: on one line, cut at :data:`LONGEST_LINE` characters.

    Examples
    --------
    >>> message("a\nb\x1b[31m"), len(message("x" * 1000))
    ('a b?[31m', 383)
    """
    line = _visible(text)
    return line if len(line) <= LONGEST_LINE else line[:LONGEST_LINE] + "..."


@functools.cache
def warn(line: str) -> None:
    """Print a warning on stderr, the same one once."""
    print(f"steinlab: warning: {message(line)}", file=sys.stderr)


def _visible(text: str) -> str:
    """Return text on one line, with a ? for what would change a terminal."""
    return "".join(c if c.isprintable() else "?" for c in " ".join(text.split()))


DEEPEST = 50
"""Lists in one another that a message shows."""


def _words(value: Any, depth: int = 0) -> str:
    if depth == DEEPEST:
        return "..."
    if isinstance(value, dict):
        parts = (f"{key}: {_words(part, depth + 1)}" for key, part in value.items())
        return "{" + ", ".join(parts) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_words(part, depth + 1) for part in value) + "]"
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    try:
        return str(float(value)) if isinstance(value, Fraction) else str(value)
    except Exception:  # whatever a stranger's object does when it is printed
        return type(value).__name__


def one_of(field: str, value: str, options: Iterable[str], listed: str = "") -> str:
    """Return ``value`` if it is an option, else raise with the nearest option.

    Parameters
    ----------
    field : str
        What the value is, as the user knows it.
    value : str
    options : iterable of str
    listed : str
        The command or the page that lists the options, for messages that cannot.

    Raises
    ------
    InputError
        In a line of fewer than 400 characters.

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
    hint, shown = suggestion(value, known), choices(known, listed)
    raise InputError(f"{hint}{field} must be one of {shown}, got {quote(value)}")


def choices(known: Sequence[str], listed: str = "") -> str:
    """Return options in words; of many the first, their number and what lists them.

    Examples
    --------
    >>> choices(["a", "b"]), choices(list("abcdefghijklmn"), "steinlab verify --list")
    ('a, b', 'a, b, c, d, ... (14, see steinlab verify --list)')
    """
    if len(known) <= MOST:
        return ", ".join(known)
    where = f", see {listed}" if listed else ""
    return f"{', '.join(known[:SHOWN])}, ... ({len(known)}{where})"


def suggestion(value: str, options: Iterable[str]) -> str:
    """Return ``did you mean NEAREST?`` for the head of a message, or nothing when none is near."""
    lowered = {option.lower(): option for option in options}
    near = difflib.get_close_matches(str(value).lower(), lowered, n=1)
    return f"did you mean {lowered[near[0]]}? " if near else ""
