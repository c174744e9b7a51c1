"""``python -m steinlab.tournament``: play, resume, record, summarise."""

from __future__ import annotations

import argparse
import math
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from steinlab.errors import InputError
from steinlab.tournament.page import tables, write
from steinlab.tournament.record import read_record, versions, write_record
from steinlab.tournament.run import PROFILES, Profile, groups, key_of, stored, tournament

EVERY = 30.0
"""Seconds after which a record is written again."""


def main(args: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    given = _parser().parse_args(args)
    profile = PROFILES[given.profile]
    if given.source is not None and given.source.is_file():
        about, played = read_record(given.source)
    elif given.source is not None:
        found, played = stored(given.source)
        about = _about(given.profile, profile) | found
    else:
        about = _about(given.profile, profile)
        played = _play(profile, about, given)
    played = sorted(played, key=lambda one: str(one["cell"]))
    if not played:
        raise InputError("--minutes must leave time for a cell, got none played")
    if given.record:
        write_record(given.record, played, about)
    text = tables(played, told(played, about))
    print(text)
    if given.page:
        write(given.page, text)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m steinlab.tournament", description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    parser.add_argument("--out", type=Path, help="keep finished cells here and resume from them")
    parser.add_argument("--page", type=Path, help="replace the tables of this page")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--minutes", type=float, default=math.inf, help="begin no cell after them")
    parser.add_argument("--record", type=Path, help="write what was played into this file")
    parser.add_argument(
        "--from", dest="source", type=Path, help="a record or an --out: play nothing"
    )
    return parser


def _about(name: str, profile: Profile) -> dict[str, Any]:
    """Return what a record says of itself."""
    return {
        "profile": name,
        "fraction": profile.fraction,
        "seeds": profile.seeds,
        "states": profile.states,
        "cells": sum(len(group) for group in groups(profile)),
        "key": key_of(profile),
        "versions": versions(),
    }


def _play(profile: Profile, about: dict[str, Any], given: argparse.Namespace) -> list[Any]:
    """Play what is not played yet; the record grows meanwhile."""
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
    played: list[Any] = []
    last = time.monotonic()
    try:
        for one in tournament(profile, given.out, given.workers, minutes=given.minutes):
            played.append(one)
            if given.record and time.monotonic() - last > EVERY:
                write_record(given.record, played, about)
                last = time.monotonic()
    finally:
        if given.record and played:
            write_record(given.record, played, about)
    return played


def told(played: Sequence[Any], about: dict[str, Any]) -> str:
    """Return in words what was played."""
    share = f"{len(played)} of the {about['cells']} cells" if len(played) < about["cells"] else ""
    by = ", ".join(f"{name} {value}" for name, value in about["versions"].items())
    return (
        f"Profile `{about['profile']}`: {share or f'{len(played)} cells'}, a fraction of "
        f"{about['fraction']} of the factorial, {about['seeds']} seed(s), at most "
        f"{about['states']} states a cell; {by}; sources {about['key'][:12]}."
    )


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"tournament: {error}", file=sys.stderr)
        sys.exit(2)
