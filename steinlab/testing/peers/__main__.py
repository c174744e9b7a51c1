"""``python -m steinlab.testing.peers``: judge, resume, write the page."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from steinlab.errors import InputError
from steinlab.testing.peers.entries import entries
from steinlab.testing.peers.record import judge


def main(args: Sequence[str] | None = None) -> int:
    """Run and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m steinlab.testing.peers", description=__doc__)
    parser.add_argument("--record", type=Path, help="what was seen; resumed where it exists")
    parser.add_argument("--page", type=Path, help="write the page of it")
    parser.add_argument("--only", default="", help="entries whose name holds this text")
    given = parser.parse_args(args)
    chosen = [entry for entry in entries() if given.only.lower() in entry.name.lower()]
    if not chosen:
        raise InputError(f"--only must be part of an entry's name, got {given.only}")
    list(judge(chosen, given.record, progress=True))
    if given.page:
        if given.record is None:
            raise InputError("--page needs --record, got none")
        from steinlab.testing.peers.page import write

        write(given.page, given.record)
    return 0


if __name__ == "__main__":
    try:
        sys.exit(main())
    except InputError as error:
        print(f"steinlab.testing.peers: {error}", file=sys.stderr)
        sys.exit(2)
