"""Rows of a comparison in several processes of this machine.

Every process reads the specification anew, since a model's denoiser does not travel; a network's
long runs come first, each in a process, and reach the others through the cache
(:mod:`steinlab.cache`). Rows are what they are in one process: their random numbers depend on the
seed and on what they are.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from steinlab.bench import RUNS, Progress, follow_run
from steinlab.comparison import Comparison
from steinlab.executors import completed, executor_for
from steinlab.rows import Row, packed, restored
from steinlab.specs.compare import CompareSpec
from steinlab.specs.reading import read_json


class Source(NamedTuple):
    """A specification as a process can be told it: its file, what goes instead, where rows go."""

    file: str
    seed: int | None = None
    device: str | None = None
    folder: str | None = None

    def spec(self) -> CompareSpec:
        """Read the specification."""
        obj, file = read_json(Path(self.file)), Path(self.file)
        if self.device is not None and isinstance(obj, dict):
            obj = {**obj, "device": self.device}
        spec = CompareSpec.from_json(obj, file.parent)
        return spec if self.seed is None else replace(spec, seed=self.seed)


@functools.lru_cache(maxsize=1)
def _comparison(source: Source) -> Comparison:
    return Comparison(source.spec(), Path(source.folder) if source.folder else None)


def _row(job: tuple[Source, int]) -> dict[str, Any]:
    source, index = job
    return packed(_comparison(source).row(index, lambda _f, _w: None))


def _follow(job: tuple[Source, str]) -> None:
    source, name = job
    work = _comparison(source)
    assert work.subject.model is not None
    follow_run(work.request, work.subject.model, work.subject.process, name)


def rows_in_processes(
    source: Source, workers: int, progress: Progress
) -> Iterator[tuple[int, Row]]:
    """Yield rows with their places, as they are finished.

    Parameters
    ----------
    source : Source
    workers : int
        Processes.
    progress : callable

    Raises
    ------
    Exception
        What a row raised, once all others are yielded.
    """
    work = Comparison(source.spec())
    units = len(work.tasks) + 1
    with executor_for(workers) as pool:
        if work.subject.law is None:
            progress(0.0, "the network's long runs")
            for _, failure in completed(pool, _follow, [(source, name) for name in RUNS]):
                if failure is not None:
                    raise failure
        jobs = [(source, index) for index in range(len(work.tasks))]
        failures: list[Exception] = []
        for done, ((_, index), found) in enumerate(completed(pool, _row, jobs)):
            task = work.tasks[index]
            progress((done + 2) / units, task.label)
            if isinstance(found, Exception):
                failures.append(found)  # the other rows go on
            else:
                yield index, restored(found, task.solver, task.correction)
        if failures:
            raise failures[0]
