"""How long the commands may take, beside how long they took when ``make times`` last ran.

A command is run in a process of its own. Its seconds of the CPU, its children's included, over the
cores that it is given are what it takes on the wall of an idle machine, up to waiting and uneven
shares; so they are held against the aim, while the wall's own stand beside them and depend on what
else runs. Of a short command several runs are taken, and the least stands. A name whose cores the
machine lacks is not measured.
"""

from __future__ import annotations

import os
import platform
import resource
import subprocess
import sys
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any, NamedTuple

from steinlab.report.pages import table

STEINLAB = (sys.executable, "-m", "steinlab")
LEDGER = (*STEINLAB, "verify", "--profile", "quick", "--quiet", "--workers")


class Aim(NamedTuple):
    """A command, the seconds that it may take, the cores it is given and how often it runs."""

    what: str
    seconds: float
    command: tuple[str, ...]
    cores: int = 1
    runs: int = 1


AIMS: Mapping[str, Aim] = {
    "import": Aim("`import steinlab`", 0.15, (sys.executable, "-c", "import steinlab"), runs=20),
    "help": Aim("`steinlab --help`", 0.3, (*STEINLAB, "--help"), runs=20),
    "stranger": Aim(
        "`steinlab verify` of a stranger's claim (`docs/templates/my_claim.py`)",
        2.0,
        (*STEINLAB, "verify", "docs/templates/my_claim.py"),
        runs=5,
    ),
    "ledger-2": Aim("the quick ledger on two cores", 45.0, (*LEDGER, "2"), cores=2),
    "ledger-8": Aim("the quick ledger on eight cores", 20.0, (*LEDGER, "8"), cores=8),
    "suite": Aim("`make test`", 240.0, ("make", "test"), cores=2),
}


def measured(name: str) -> dict[str, Any] | None:
    """Return the seconds of a name's command and where they were taken; None without its cores.

    Raises
    ------
    RuntimeError
        If the command does not end with exit code 0.
    """
    aim, cores = AIMS[name], os.cpu_count() or 1
    if cores < aim.cores:
        return None
    walls, spent = [], []
    for _ in range(aim.runs):
        start, before = time.perf_counter(), _children()
        done = subprocess.run(aim.command, check=False, capture_output=True)
        walls.append(time.perf_counter() - start)
        spent.append(_children() - before)
        if done.returncode:
            raise RuntimeError(f"{' '.join(aim.command)} must end with 0, got {done.returncode}")
    return {"wall": float(f"{min(walls):.3g}"), "cpu": float(f"{min(spent):.3g}"), "where": here()}


def _children() -> float:
    """Seconds of the CPU that the children which have ended took, with theirs."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def here() -> str:
    """Say where and when a measurement is taken."""
    date = datetime.now(UTC).date().isoformat()
    cores, load = os.cpu_count(), os.getloadavg()[0]
    return f"{cores} cores, load {load:.0f}, Python {platform.python_version()}, {date}"


def section(record: Mapping[str, Any]) -> str:
    """Return the table of the aims beside their measurements, and what it leaves open."""
    taken, rows, wanting = record.get("commands", {}), [], []
    for name, aim in AIMS.items():
        found = taken.get(name)
        cells = ["", "", "not measured"] if found is None else _cells(found, aim)
        rows.append([aim.what, f"{aim.seconds:g}", *cells])
        if cells[-1] != "met":
            wanting.append(f"{aim.what} ({cells[-1]})")
    where = sorted({one["where"] for one in taken.values()})
    said = f"Not met: {', '.join(wanting)}." if wanting else "All are met."
    return "\n\n".join(
        [
            "## Aims",
            "How many seconds a command may take and took: those of the CPU over the cores that it "
            "was given, which an idle machine shows on the wall, and the wall's of the machine "
            "that measured, where other work may have run. Of a short command the least of "
            f"several runs stands. `make times` measures ({'; '.join(where) or 'not yet'}).",
            table(["command", "aim", "CPU per core", "wall", "result"], rows),
            said,
        ]
    )


def _cells(found: Mapping[str, Any], aim: Aim) -> list[str]:
    each = found["cpu"] / aim.cores
    result = "met" if each <= aim.seconds else f"missed by {each / aim.seconds - 1:.0%}"
    return [f"{each:.3g}", f"{found['wall']:g}", result]
