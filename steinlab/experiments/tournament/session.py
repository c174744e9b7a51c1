"""A sitting of the tournament: play, resume, record, summarise."""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from steinlab.corrections import correction_factory
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError, quote
from steinlab.experiments.bench import Progress
from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.entrants import ENTRANTS
from steinlab.experiments.tournament.page import around, sheet, tables, write
from steinlab.experiments.tournament.record import read_record, versions, write_record
from steinlab.experiments.tournament.run import (
    PROFILES,
    Profile,
    groups,
    kept,
    key_of,
    stored,
    tournament,
)
from steinlab.solvers import get_solver
from steinlab.solvers.base import noises
from steinlab.solvers.fitted_steps import NEED_TABLE
from steinlab.storage import check_target, make_folder
from steinlab.storage.sheets import check_sheets, write_sheet

EVERY = 30.0
"""Seconds after which a record is written again."""


@dataclass(frozen=True)
class Wish:
    """What is asked for; the options of ``steinlab tournament`` say what each field means."""

    profile: str = "quick"
    out: Path | None = None
    page: Path | None = None
    minutes: float = math.inf
    record: Path | None = None
    note: str = ""
    source: Path | None = None
    solvers: str | None = None
    corrections: str | None = None
    csv: str | None = None
    tex: str | None = None


def sitting(given: Wish, executor: Executor, progress: Progress) -> str:
    """Play what is missing, or read it, write record and page, and return the tables."""
    for option in ("record", "page"):
        check_target(getattr(given, option), f"--{option}")
    check_sheets(given.csv, given.tex)
    if given.page:
        around(given.page)
    profile = _chosen(PROFILES[given.profile], given)
    if given.source is not None and given.source.is_file():
        about, played = read_record(given.source)
    elif given.source is not None:
        found, played = stored(given.source)
        about = _about(given, profile) | found
    else:
        about = _about(given, profile)
        played = _play(profile, about, given, executor, progress)
    if given.source is not None:
        played = [*{Cell(**one["cell"]): one for one in (*_held(given, about), *played)}.values()]
    if given.note:
        about |= {"note": given.note}
    played = sorted(played, key=lambda one: str(one["cell"]))
    if not played:
        raise InputError("--minutes must leave time for a cell, got none played")
    if given.record:
        write_record(given.record, played, about)
    text = tables(played, told(played, about))
    if given.page:
        write(given.page, text)
    write_sheet(sheet(played), given.csv, given.tex)
    return text


def _chosen(profile: Profile, given: Wish) -> Profile:
    """Return the profile with the solvers and corrections that are asked for."""
    if given.solvers:
        solvers = tuple(given.solvers.split(","))
        for name in (one for one in solvers if one not in NEED_TABLE):
            get_solver(name, EDM, field="--solvers")
        profile = replace(profile, solvers=solvers)
    if given.corrections:
        others = given.corrections.split(",")
        for name in others:
            if name not in ENTRANTS:
                correction_factory(name, "--corrections")
        profile = replace(profile, entrants=tuple(dict.fromkeys(("none", *others))))
    other = next((name for name in profile.entrants if name != "none"), "")
    for name in profile.solvers:
        fitted = name in NEED_TABLE
        if other and (fitted or noises(get_solver(name, EDM))):
            why = "whose numbers are fitted" if fitted else "whose step draws noise"
            raise InputError(f"--corrections must be none for {name}, {why}, got {other}")
    return profile


def _about(given: Wish, profile: Profile) -> dict[str, Any]:
    """Return what a record says of itself."""
    return {
        "profile": given.profile,
        "fraction": profile.fraction,
        "seeds": profile.seeds,
        "states": profile.states,
        **({} if profile.first_seed is None else {"first_seed": profile.first_seed}),
        "cells": sum(len(group) for group in groups(profile)),
        "key": key_of(profile),
        "versions": versions(),
    }


def _held(given: Wish, about: dict[str, Any]) -> list[Any]:
    """Return the cells of the record that will be written again; its note is kept too."""
    if not (given.record and given.record.is_file()):
        return []
    head, found = read_record(given.record, "--record")
    for name in ("profile", "key"):
        if head.get(name) != about[name]:
            raise InputError(
                f"--record must be a new file or a record of {name} {quote(about[name])}, got "
                f"{given.record} with {len(found)} cells of {name} {quote(head.get(name))}"
            )
    about |= {"note": head["note"]} if "note" in head else {}
    return found


def _play(
    profile: Profile, about: dict[str, Any], given: Wish, executor: Executor, progress: Progress
) -> list[Any]:
    """Play what neither the record nor the folder holds yet; the record grows meanwhile."""
    design = {cell for group in groups(profile) for cell in group}
    played: dict[Cell, Any] = {}

    def take(found: Iterable[Any]) -> None:
        own = {Cell(**one["cell"]): one for one in found}
        played.update((cell, one) for cell, one in own.items() if cell in design)

    take(_held(given, about))
    if given.out:
        make_folder(str(given.out))
        take(kept(given.out, about["key"]))
    last = time.monotonic()
    done = set(played)
    rest = tournament(profile, given.out, executor, minutes=given.minutes, done=done, tell=progress)
    try:
        for one in rest:
            take([one])
            if given.record and time.monotonic() - last > EVERY:
                write_record(given.record, list(played.values()), about)
                last = time.monotonic()
    finally:
        if given.out:  # cells of groups that were not finished
            take(kept(given.out, about["key"]))
        if given.record and played:
            write_record(given.record, list(played.values()), about)
    return list(played.values())


def told(played: Sequence[Any], about: dict[str, Any]) -> str:
    """Return in words what was played; ``InputError`` of a record that does not say."""
    for name in ("profile", "fraction", "seeds", "states", "cells", "key", "versions"):
        if name not in about:
            raise InputError(f"--from must be a record that says its {name}, got one without")
    share = f"{len(played)} of the {about['cells']} cells" if len(played) < about["cells"] else ""
    by = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    return (
        f"Profile `{about['profile']}`: {share or f'{len(played)} cells'}, a fraction of "
        f"{about['fraction']} of the factorial, {about['seeds']} seed(s), at most "
        f"{about['states']} states a cell; {by}; sources {about['key'][:12]}."
        + (f" {about['note']}." if "note" in about else "")
    )
