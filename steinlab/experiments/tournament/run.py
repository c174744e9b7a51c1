"""Play a profile, group by group, in as many processes as asked for; resume from a folder."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steinlab.diffusion.laws import LAWS
from steinlab.errors import InputError
from steinlab.experiments.tournament.design import SOLVERS, Cell, cells
from steinlab.experiments.tournament.entrants import ENTRANTS
from steinlab.experiments.tournament.play import play
from steinlab.experiments.tournament.problems import MODELS, SLOW, available, is_exact
from steinlab.experiments.tournament.record import versions
from steinlab.storage import Store, sources_key
from steinlab.workers import completed, executor_for


@dataclass(frozen=True)
class Profile:
    """How much is played."""

    fraction: float
    seeds: int
    states: int
    problems: tuple[str, ...]
    solvers: tuple[str, ...] = SOLVERS
    entrants: tuple[str, ...] = tuple(ENTRANTS)


QUICK = (*(name for name in LAWS if name != "few-512"), "grid25-mlp", "digits-mlp")
"""Problems that take a second per cell or less."""

PROFILES = {
    "quick": Profile(0.05, 1, 400, QUICK),
    "full": Profile(0.5, 2, 2000, (*LAWS, *MODELS)),
}

Group = tuple[Cell, ...]

LARGEST_GROUP = 12
"""Cells of a group at most: the last to finish keeps one process busy for its time only."""

DIGITS = 4
"""Significant digits of what is stored: far more than sampling leaves certain."""


@dataclass(frozen=True)
class Sitting:
    """Where and until when cells are played; ``until`` is a time of :func:`time.time`."""

    states: int
    folder: Path | None = None
    key: str = ""
    until: float = math.inf
    entrants: tuple[str, ...] = tuple(ENTRANTS)


def groups(profile: Profile) -> list[Group]:
    """Return the design's cells in groups, in an order that an interruption leaves balanced.

    Cells of a group have problem, process and seed in common, and so the states, and as far as
    they go grid and evaluations, and so the plain runs. Rectified flow and the denoisers without an
    exact law come first, which the package's other measurements cover least; within either part
    the groups stand in the order of a hash.
    """
    names = [name for name in available() if name in profile.problems]
    drawn = cells(names, fraction=profile.fraction, seeds=profile.seeds, solvers=profile.solvers)

    def shared(cell: Cell) -> tuple[Any, ...]:
        return cell.problem, cell.process, cell.seed

    def order(cell: Cell) -> tuple[Any, ...]:
        return *shared(cell), cell.grid, cell.evaluations, cell.solver

    out: list[Group] = []
    for (problem, *_), group in itertools.groupby(sorted(drawn, key=order), key=shared):
        most = SLOW[problem].together if problem in SLOW else LARGEST_GROUP
        own = tuple(group)
        out += [own[i : i + most] for i in range(0, len(own), most)]
    first = {name for name in names if not is_exact(name)}

    def place(group: Group) -> tuple[bool, bytes]:
        cell = group[0]  # the hash has nothing to do with the one that drew the cells
        chance = hashlib.sha256(f"place of {cell.key}".encode()).digest()
        return cell.process != "flow" and cell.problem not in first, chance

    return sorted(out, key=place)


def play_group(group: Group, *, sitting: Sitting) -> list[dict[str, Any]]:
    """Play the cells of a group until the time is up, and return those; the folder keeps each."""
    out = []
    for cell in group:
        if time.time() > sitting.until:
            break
        slow = SLOW.get(cell.problem)
        states = min(sitting.states, slow.states if slow else 10**9)
        found = rounded(play(cell, states=states, entrants=sitting.entrants))
        if sitting.folder:
            held = {"versions": versions(), "played": found}
            Store(sitting.folder).put(f"{cell.digest:016x}", sitting.key, held)
        out.append(found)
    return out


def rounded(found: Any) -> Any:
    """Return the same with every float at :data:`DIGITS` significant digits.

    Examples
    --------
    >>> rounded({"a": [0.123456, 2], "b": "c"})
    {'a': [0.1235, 2], 'b': 'c'}
    """
    if isinstance(found, float):
        return float(f"{found:.{DIGITS}g}")
    if isinstance(found, dict):
        return {key: rounded(value) for key, value in found.items()}
    return [rounded(value) for value in found] if isinstance(found, list) else found


def kept(folder: Path, key: str) -> list[dict[str, Any]]:
    """Return the cells of a key that a folder holds whole."""
    return [held["played"] for own, held in Store(folder).entries() if own == key]


def key_of(profile: Profile) -> str:
    """Return what the numbers of a profile's cells depend on: sources, versions, states."""
    others = [name for name in profile.entrants if name not in ENTRANTS]
    sources = sources_key("steinlab.experiments.tournament.play")
    return " ".join([sources, str(profile.states), *others])


def stored(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the key of a folder's cells with the versions that computed them, and the cells.

    Raises
    ------
    InputError
        If there is no such folder, or it holds no cells, or cells of several keys.
    """
    if not folder.exists():
        raise InputError(f"--from must be a record or a folder of cells, got {folder}: not found")
    found = list(Store(folder).entries())
    keys = {key for key, _ in found}
    if len(keys) != 1:
        raise InputError(f"--from must hold cells of one key, got {len(keys)} keys in {folder}")
    about = {"key": keys.pop(), "versions": found[0][1]["versions"]}
    return about, [held["played"] for _, held in found]


def tournament(
    profile: Profile,
    folder: Path | None,
    workers: int,
    *,
    minutes: float = math.inf,
    done: Collection[Cell] = (),
) -> Iterator[dict[str, Any]]:
    """Yield played cells as their groups are finished; after ``minutes`` no cell is begun.

    Cells that are ``done`` are left out. A group that fails does not keep the others from being
    played; its error is raised at the end.
    """
    left = (tuple(cell for cell in group if cell not in done) for group in groups(profile))
    jobs = [group for group in left if group]
    until = time.time() + 60 * minutes
    sitting = Sitting(profile.states, folder, key_of(profile), until, profile.entrants)
    call = functools.partial(play_group, sitting=sitting)
    failed: Exception | None = None
    with executor_for(workers) as executor:
        for i, (group, found) in enumerate(completed(executor, call, jobs), 1):
            if isinstance(found, Exception):
                failed = failed or found
                print(f"{i}/{len(jobs)} {group[0].key} failed: {found!r}", file=sys.stderr)
                continue
            share = f"{len(found)} of {len(group)} cells"
            print(f"{i}/{len(jobs)} {group[0].problem} {group[0].process} {share}", file=sys.stderr)
            yield from found
    if failed:
        raise failed
