"""``python -m steinlab.tournament``: play, resume, summarise."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path

from steinlab.errors import InputError
from steinlab.tournament.page import tables, write
from steinlab.tournament.run import PROFILES, tournament


def main(args: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m steinlab.tournament", description=__doc__)
    parser.add_argument("--profile", choices=PROFILES, default="quick")
    parser.add_argument("--out", type=Path, help="keep finished cells here and resume from them")
    parser.add_argument("--page", type=Path, help="replace the tables of this page")
    parser.add_argument("--workers", type=int, default=os.cpu_count() or 1)
    given = parser.parse_args(args)
    profile = PROFILES[given.profile]
    if given.out:
        given.out.mkdir(parents=True, exist_ok=True)
    played = sorted(tournament(profile, given.out, given.workers), key=lambda one: str(one["cell"]))
    told = (
        f"Profile `{given.profile}`: {len(played)} cells, a fraction of {profile.fraction} of the "
        f"factorial, {profile.seeds} seed(s), {profile.states} states a cell."
    )
    text = tables(played, told)
    print(text)
    if given.page:
        write(given.page, text)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"tournament: {error}", file=sys.stderr)
        sys.exit(2)
