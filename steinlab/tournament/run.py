"""Play a profile, group by group, in as many processes as asked for; resume from a folder."""

from __future__ import annotations

import functools
import itertools
import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steinlab.executors import completed, executor_for
from steinlab.shards import sources_key
from steinlab.tournament.design import Cell, cells
from steinlab.tournament.play import play
from steinlab.tournament.problems import LAWS, MODELS, available


@dataclass(frozen=True)
class Profile:
    """How much is played."""

    fraction: float
    seeds: int
    states: int
    problems: tuple[str, ...]


QUICK = (*(name for name in LAWS if name != "few-512"), "grid25-mlp", "digits-mlp")
"""Problems that take a second a cell or less."""

PROFILES = {
    "quick": Profile(0.05, 1, 400, QUICK),
    "full": Profile(0.5, 2, 2000, (*LAWS, *MODELS)),
}

Group = tuple[Cell, ...]


def groups(profile: Profile) -> list[Group]:
    """Return the design's cells, those of one problem, process and seed together: they share."""
    names = [name for name in available() if name in profile.problems]
    drawn = cells(names, fraction=profile.fraction, seeds=profile.seeds)

    def shared(cell: Cell) -> tuple[Any, ...]:
        return cell.problem, cell.process, cell.seed

    ordered = sorted(drawn, key=shared)
    return [tuple(group) for _, group in itertools.groupby(ordered, key=shared)]


def play_group(group: Group, *, states: int, folder: Path | None, key: str) -> list[dict[str, Any]]:
    """Play the cells of a group that the folder does not hold, and return all of them."""
    out = []
    for cell in group:
        file = folder / f"{cell.digest:016x}.json" if folder else None
        found = _stored(file, key) if file else None
        if found is None:
            found = play(cell, states=states)
            if file:
                part = file.with_suffix(f".{os.getpid()}")
                part.write_text(json.dumps({"key": key, "played": found}), encoding="utf-8")
                part.replace(file)
        out.append(found)
    return out


def _stored(file: Path, key: str) -> dict[str, Any] | None:
    try:
        stored = json.loads(file.read_text(encoding="utf-8"))
        found: dict[str, Any] | None = stored["played"] if stored["key"] == key else None
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return found


def tournament(profile: Profile, folder: Path | None, workers: int) -> Iterator[dict[str, Any]]:
    """Yield played cells as their groups are finished."""
    jobs = groups(profile)
    key = f"{sources_key('steinlab')} {profile.states}"
    call = functools.partial(play_group, states=profile.states, folder=folder, key=key)
    with executor_for(workers) as executor:
        for i, (group, found) in enumerate(completed(executor, call, jobs), 1):
            if isinstance(found, Exception):
                raise found
            print(f"{i}/{len(jobs)} {group[0].problem} {group[0].process}", file=sys.stderr)
            yield from found
