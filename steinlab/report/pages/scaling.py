"""Would more workers pay? A simulation on the seconds of a recorded run, against its bound.

Tasks are drawn from the run with replacement. The scheduler hands them out in turn, one call each
``overhead`` seconds, and a worker that is idle takes the next: so far the real executors do the
same (:func:`steinlab.workers.completed`). No schedule ends before

    max(longest task, total / workers, overhead * tasks)

and where calls are free, one in any order ends within ``total / workers + longest`` (Graham 1969,
SIAM J. Appl. Math. 17:416). ``make times`` measures an empty call, through two processes of this
machine and two workers of a local Dask cluster, and the commands of
:mod:`steinlab.report.pages.aims`, into the record ``docs/results/overhead.json``.
"""

from __future__ import annotations

import heapq
import json
import sys
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import numpy as np

from steinlab.errors import InputError, one_of
from steinlab.report.pages import aims, table
from steinlab.storage import write_text
from steinlab.workers import completed, executor_for

TASKS, WORKERS = 100_000, (100, 1_000, 10_000)
CALLS = 1000
"""Empty calls that are timed."""

RECORD = Path("results") / "overhead.json"


def makespan(seconds: Sequence[float], workers: int, overhead: float = 0.0) -> float:
    """Return when the last of the tasks ends, handed out in their order.

    Parameters
    ----------
    seconds : sequence of float
        What each task takes.
    workers : int
    overhead : float
        Seconds between two tasks that the scheduler hands out.

    Examples
    --------
    >>> makespan([1, 1, 1, 1, 4], 2), makespan([4, 1, 1, 1, 1], 2)
    (6.0, 4.0)
    """
    free, handed, last = [0.0] * min(workers, len(seconds)), 0.0, 0.0
    for one in seconds:
        handed += overhead
        end = max(handed, free[0]) + one
        heapq.heapreplace(free, end)
        last = max(last, end)
    return last


def bound(seconds: Sequence[float], workers: int, overhead: float = 0.0) -> float:
    """Return what no schedule ends before."""
    return max(*seconds, sum(seconds) / workers, overhead * len(seconds))


def section(docs: Path, seconds: Sequence[float]) -> str:
    """Return what the page on time says of many workers."""
    record = json.loads((docs / RECORD).read_text("utf-8"))
    calls = {name: record["seconds_per_call"][name] for name in ("processes", "dask")}
    drawn = np.random.default_rng(0).choice(seconds, TASKS)
    longest = np.sort(drawn)[::-1]
    rows = []
    for workers in WORKERS:
        least = bound(drawn.tolist(), workers)
        ends = [makespan(tasks.tolist(), workers) for tasks in (drawn, longest)]
        ends += [makespan(longest.tolist(), workers, call) for call in calls.values()]
        cells = (f"{end:,.0f} ({end / least:.2f})" for end in ends)
        rows.append([f"{workers:,}", f"{least:,.0f}", *cells])
    processes, dask = (f"{1e3 * call:.2g} ms" for call in calls.values())
    return "\n\n".join(
        [
            "## On 10,000 workers",
            f"{TASKS:,} tasks, drawn from the seconds above, in a simulation "
            "(`steinlab/report/pages/scaling.py`): an idle worker takes the next task. A cell is "
            "the seconds until the last task ends, with their ratio to the bound, the larger of "
            "the longest task and the total per worker: no schedule ends before. Calls are free, "
            f"or cost the scheduler what an empty call was measured to: {processes} through "
            f"processes of one machine, {dask} through Dask ({record['where']}).",
            table(
                ["workers", "bound", "as drawn", "longest first", "with the calls of processes",
                 "with those of Dask"],
                rows,
            ),
            f"A scheduler hands out one call after the other, so {TASKS:,} calls take Dask "
            f"{TASKS * calls['dask']:,.0f} s however many workers wait. Tasks much longer than "
            "the number of workers times the cost of a call keep all of them busy: "
            f"{max(WORKERS) * calls['dask']:,.0f} s for {max(WORKERS):,} workers.",
        ]
    )  # fmt: skip


def seconds_per_call(executor: Executor, calls: int = CALLS) -> float:
    """Return what an empty call costs, once workers are there."""
    for count in (10, calls):
        start = time.perf_counter()
        for _ in completed(executor, abs, range(count)):
            pass
    return (time.perf_counter() - start) / calls


def measured() -> dict[str, Any]:
    """Return seconds per empty call by kind of executor, and where they were taken."""
    from distributed import LocalCluster

    options: Mapping[str, Any] = {"threads_per_worker": 1, "dashboard_address": None}
    found = {}
    with executor_for(2) as executor:
        found["processes"] = float(f"{seconds_per_call(executor):.2g}")
    with (
        LocalCluster(n_workers=2, silence_logs=50, **options) as cluster,
        executor_for(1, cluster.scheduler_address) as executor,
    ):
        found["dask"] = float(f"{seconds_per_call(executor):.2g}")
    return {"seconds_per_call": found, "calls": CALLS, "where": aims.here()}


def renewed(record: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """Return the record with what is named measured anew: ``calls``, or commands of the aims."""
    new, commands = dict(record), dict(record.get("commands", {}))
    for name in names:
        if name == "calls":
            new |= measured()
        elif found := aims.measured(name):
            commands[name] = found
        else:
            print(f"{name} is left as it was: it asks for {aims.AIMS[name].cores} cores")
    return {**new, "commands": {name: commands[name] for name in aims.AIMS if name in commands}}


def main(file: str, *names: str) -> None:
    """Renew the record of a file: all of it, or what is named."""
    known = ("calls", *aims.AIMS)
    try:
        for name in names:
            one_of("NAMES", name, known)
    except InputError as error:
        print(f"steinlab: {error}", file=sys.stderr)
        sys.exit(2)
    record = json.loads(Path(file).read_text("utf-8"))
    write_text(Path(file), json.dumps(renewed(record, names or known), indent=1) + "\n")


if __name__ == "__main__":
    main(*sys.argv[1:])
