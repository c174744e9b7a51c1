"""What other packages register: entry points by id, each id once and none of ours."""

import functools
import os
import sys
from collections.abc import Collection
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from typing import Any

from steinlab.errors import InputError


def entries(group: str) -> EntryPoints:
    """Return the entry points of a group, read once per state of ``sys.path`` and its folders."""
    return _read(group, tuple((place, _changed(place)) for place in sys.path))


def _changed(place: str) -> int:
    """Return when a folder last changed, 0 for one that is not there."""
    try:
        return os.stat(place or os.curdir).st_mtime_ns
    except OSError:
        return 0


@functools.lru_cache(maxsize=64)
def _read(group: str, _places: tuple[tuple[str, int], ...]) -> EntryPoints:
    return entry_points(group=group)


def registered(group: str, own: Collection[str]) -> dict[str, EntryPoint]:
    """Return the entry points of a group by id; nothing is loaded.

    Parameters
    ----------
    group : str
        ``steinlab.solvers`` or ``steinlab.corrections``.
    own : collection of str
        Ids that no package may take.

    Raises
    ------
    InputError
        If two packages register one id, or one registers an id of ours, naming the packages.
    """
    found: dict[str, EntryPoint] = {}
    for entry in sorted(entries(group), key=lambda one: (one.name, package_of(one))):
        if entry.name in own:
            raise InputError(
                f"{group} {entry.name} must be another id in the package {package_of(entry)}: "
                f"it is steinlab's own, got {entry.value}"
            )
        if entry.name in found:
            raise InputError(
                f"{group} {entry.name} must be registered by one package, "
                f"got {package_of(found[entry.name])} and {package_of(entry)}"
            )
        found[entry.name] = entry
    return found


def package_of(entry: EntryPoint) -> str:
    """Return the name of the distribution that registers an entry point."""
    return entry.dist.name if entry.dist is not None else "an unknown package"


def loaded(entry: EntryPoint, field: str) -> Any:
    """Return what an entry point names.

    Raises
    ------
    InputError
        If it does not import, with the reason.
    """
    try:
        return entry.load()
    except (ImportError, AttributeError) as error:
        raise InputError(
            f"{field} {entry.name} of the package {package_of(entry)} must import, "
            f"got {type(error).__name__}: {error}"
        ) from None
