"""Play a profile, group by group, in as many processes as asked for; resume from a folder."""

from __future__ import annotations

import functools
import hashlib
import itertools
import math
import sys
import time
from collections.abc import Collection, Iterator, Mapping
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

from steinlab.diffusion.laws import LAWS
from steinlab.errors import InputError
from steinlab.experiments.bench import Progress
from steinlab.experiments.tournament.design import BUDGETS, FEW, SOLVERS, Cell, cells
from steinlab.experiments.tournament.entrants import ENTRANTS, FINALISTS
from steinlab.experiments.tournament.play import play
from steinlab.experiments.tournament.problems import (
    FRESH,
    MODELS,
    SHARES,
    SLOW,
    available,
    is_exact,
)
from steinlab.experiments.tournament.record import OLD_NAMES, renamed, versions
from steinlab.storage import Store, in_file, sources_key
from steinlab.storage.schemas import conforming
from steinlab.workers import completed


@dataclass(frozen=True)
class Profile:
    """How much is played.

    ``first_seed`` and ``shares`` are those of :func:`.design.cells`. ``together`` is how many cells
    one process plays in a row, by default few.
    """

    fraction: float
    seeds: int
    states: int
    problems: tuple[str, ...]
    solvers: tuple[str, ...] = SOLVERS
    entrants: tuple[str, ...] = tuple(ENTRANTS)
    budgets: tuple[int, ...] = BUDGETS
    first_seed: int | None = None
    shares: Mapping[str, float] = field(default_factory=lambda: SHARES)
    together: int | None = None


QUICK = (*(name for name in LAWS if name != "few-512"), "grid25-mlp", "digits-mlp")
"""Problems that take a second per cell or less."""

SECOND_MODELS = ("digits", "digits-mlp", "digits-ripple", "grid25-mlp", "grid25-fourier")
SECOND_SHARES = MappingProxyType(
    {
        "few-512": 0.08,
        "many-64": 0.4,
        "spectrum-32": 0.6,
        "digits": 0.12,
        "digits-ripple": 0.12,
        "digits-mlp": 0.6,
        "grid25-mlp": 0.7,
        "grid25-fourier": 0.8,
    }
)
"""By what a cell costs: the whole profile takes about four hours of one core."""

PROFILES = {
    "quick": Profile(0.05, 1, 400, QUICK),
    "full": Profile(0.5, 2, 2000, (*LAWS, *MODELS)),
    "second": Profile(
        0.4,
        3,
        2000,
        (*LAWS, *FRESH, *SECOND_MODELS),
        entrants=FINALISTS,
        budgets=tuple(budget for budget in BUDGETS if budget <= FEW),
        first_seed=2,
        shares=SECOND_SHARES,
        together=24,
    ),
}
"""``second`` is the second edition: seeds that no constant was chosen on."""

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
    the groups stand in the order of a hash. With a first seed, every seed is such a round.
    """
    names = [name for name in available() if name in profile.problems]
    drawn = cells(
        names,
        fraction=profile.fraction,
        seeds=profile.seeds,
        solvers=profile.solvers,
        budgets=profile.budgets,
        first_seed=profile.first_seed,
        shares=profile.shares,
    )

    def shared(cell: Cell) -> tuple[Any, ...]:
        return cell.problem, cell.process, cell.seed

    def order(cell: Cell) -> tuple[Any, ...]:
        return *shared(cell), cell.grid, cell.evaluations, cell.solver

    out: list[Group] = []
    for (problem, *_), group in itertools.groupby(sorted(drawn, key=order), key=shared):
        some = SLOW[problem].together if problem in SLOW else LARGEST_GROUP
        most = profile.together or some
        own = tuple(group)
        out += [own[i : i + most] for i in range(0, len(own), most)]
    first = {name for name in names if not is_exact(name)}

    def place(group: Group) -> tuple[int, bool, bytes]:
        cell = group[0]  # the hash has nothing to do with the one that drew the cells
        chance = hashlib.sha256(f"place of {cell.key}".encode()).digest()
        turn = 0 if profile.first_seed is None else cell.seed
        return turn, cell.process != "flow" and cell.problem not in first, chance

    return sorted(out, key=place)


def play_group(group: Group, *, sitting: Sitting) -> list[dict[str, Any]]:
    """Play the cells of a group until the time is up, and return those; the folder keeps each."""
    out = []
    for cell in group:
        if time.time() > sitting.until:
            break
        slow = SLOW.get(cell.problem)
        states = min(sitting.states, slow.states if slow else 10**9)
        out.append(rounded(play(cell, states=states, entrants=sitting.entrants)))
        _keep(cell, out[-1], sitting)
    return out


def _keep(cell: Cell, played: dict[str, Any], sitting: Sitting) -> None:
    """Store a cell in the folder, where there is one and it is not there."""
    if sitting.folder is None:
        return
    store, name = Store(sitting.folder), f"{cell.digest:016x}"
    if store.get(name, sitting.key) is None:
        store.put(name, sitting.key, {"versions": versions(), "played": played})


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
    with in_file(folder):
        return [
            conforming(held, "cell")["played"]
            for own, held in Store(folder).entries()
            if own == key
        ]


def key_of(profile: Profile) -> str:
    """Return what the numbers of a profile's cells depend on: sources, versions, states."""
    others = [name for name in profile.entrants if name not in ENTRANTS]
    sources = sources_key("steinlab.experiments.tournament.play")
    return " ".join([sources, str(profile.states), *others])


def stored(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Return the key of a folder's cells with the versions that computed them, and the cells.

    What folders of the first edition call ``auto`` is ``auto-v1`` by now, and is read as that.

    Raises
    ------
    InputError
        If there is no such folder, or it holds no cells, cells of several keys, or one that does
        not conform.
    """
    if not folder.exists():
        raise InputError(f"--from must be a record or a folder of cells, got {folder}: not found")
    found = list(Store(folder).entries())
    keys = {key for key, _ in found}
    if len(keys) != 1:
        raise InputError(f"--from must hold cells of one key, got {len(keys)} keys in {folder}")
    with in_file(folder):
        for _, held in found:
            conforming(held, "cell")
    about = {"key": keys.pop(), "versions": found[0][1]["versions"]}
    cells = [held["played"] for _, held in found]
    if "auto" not in about["key"].split()[2:]:  # nobody asked for the ``auto`` of today
        cells = [renamed(one, OLD_NAMES[1]) for one in cells]
    return about, cells


def tournament(
    profile: Profile,
    folder: Path | None,
    executor: Executor,
    *,
    minutes: float = math.inf,
    done: Collection[Cell] = (),
    tell: Progress = lambda _done, _what: None,
) -> Iterator[dict[str, Any]]:
    """Yield played cells as their groups are finished; after ``minutes`` no cell is begun.

    Cells that are ``done`` are left out. A group that fails does not keep the others from being
    played; its error is raised at the end. A process keeps each cell in the folder as it is played,
    and this one those of a group, where the folder is on another disk there.
    """
    left = (tuple(cell for cell in group if cell not in done) for group in groups(profile))
    jobs = [group for group in left if group]
    total = len(done) + sum(map(len, jobs))
    here = None if folder is None else folder.absolute()
    until = time.time() + 60 * minutes
    sitting = Sitting(profile.states, here, key_of(profile), until, profile.entrants)
    call = functools.partial(play_group, sitting=sitting)
    failed: Exception | None = None
    over = len(done)
    for group, found in completed(executor, call, jobs):
        over += len(group)
        tell(over / total, f"{over} of {total} cells, the last of {group[0].problem}")
        if isinstance(found, Exception):
            failed = failed or found
            print(f"steinlab: {group[0].key} failed: {found!r}", file=sys.stderr)
            continue
        for cell, one in zip(group, found, strict=False):  # those until the time was up
            _keep(cell, one, sitting)
        yield from found
    if failed:
        raise failed
