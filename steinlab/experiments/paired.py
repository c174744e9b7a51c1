r"""A paired answer: a row of a comparison is better than another solver, worse, or undecided.

Every seed draws its own data and start states, from which all rows and the one compared with,
``against``, run. For each row and metric a seed gives one logarithm of the ratio row over
``against``; common starts leave little noise in it. The seeds are independent, so the mean of the
logarithms has Student's interval, at the level 5 % divided by the number of comparisons, rows times
metrics (Bonferroni): all intervals hold together with probability 95 %. A metric is decided where
its interval leaves 1 out, and a row where some metric is decided and none the other way.

Guarantee: rows that are statistically the same as ``against`` are all called undecided with
probability 95 % or more, as far as the logarithms are normal; Student's law with few seeds is wide
and forgiving. Nothing is said of other data.

An unbiased distance may be 0 or negative; it counts as its standard error at least, and a flow
error as the error of the flow's own ends at least.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from scipy.special import stdtrit

from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError
from steinlab.estimates import finite_or_none, geometric_mean
from steinlab.experiments.bench import DEFAULT_METRICS, Progress
from steinlab.experiments.compare import Comparison, Source, rows_elsewhere
from steinlab.experiments.results import Row, identity
from steinlab.experiments.specs.compare import CompareSpec, CorrectionSpec, correction_from_json
from steinlab.experiments.specs.solvers import Options, SolverSpec, solver_from_json
from steinlab.solvers.base import noises

SEEDS = 5
LEVEL = 0.05
JUDGED = ("flow_error", "paired_energy")
"""Metrics compared where the SPEC names none: to the flow's ends from the same start states."""
BY_LAW = ("energy_distance", "sliced_w2")
"""The same where a solver draws noise, and follows no flow."""


@dataclass(frozen=True)
class Ratio:
    """A row's metric over that of ``against``: geometric mean over the seeds, with its interval."""

    value: float
    low: float
    high: float

    @classmethod
    def of(cls, logs: np.ndarray, comparisons: int, level: float = LEVEL) -> Ratio:
        """Return the ratio of the seeds' logarithms, one of so many comparisons.

        Examples
        --------
        >>> found = Ratio.of(np.log([0.5, 0.52, 0.49]), 2)
        >>> round(found.value, 2), found.verdict, Ratio.of(np.zeros(3), 2).verdict
        (0.5, 'better', 'undecided')
        """
        quantile = float(stdtrit(len(logs) - 1, 1 - level / (2 * comparisons)))
        with np.errstate(over="ignore"):
            return cls(*(float(end) for end in geometric_mean(logs, quantile)))

    @property
    def verdict(self) -> str:
        """Whether the interval lies below 1, above it, or around it."""
        return "better" if self.high < 1 else "worse" if self.low > 1 else "undecided"


@dataclass(frozen=True)
class Answer:
    """A row's ratios by metric, its verdict, and what it is.

    Attributes
    ----------
    row : Row
        Of the first seed.
    ratios : mapping
        None where a seed lacks the metric.
    extra : float
        What the correction spends beside the solver per state, the mean over the seeds.
    stopped : int
        Seeds in which the run left the finite numbers.
    """

    row: Row
    ratios: Mapping[str, Ratio | None]
    verdict: str
    extra: float
    stopped: int = 0


@dataclass(frozen=True)
class Paired:
    """Every answer, and what they are compared with."""

    against: tuple[SolverSpec, CorrectionSpec]
    seeds: tuple[int, ...]
    metrics: tuple[str, ...]
    answers: tuple[Answer, ...]

    @property
    def comparisons(self) -> int:
        """Rows times metrics."""
        return len(self.answers) * len(self.metrics)


def against_of(text: str, spec: CompareSpec) -> tuple[SolverSpec, CorrectionSpec]:
    """Return what ``SOLVER[+CORRECTION]`` names: as the SPEC has it, or with default options.

    Raises
    ------
    InputError
        For an unknown id, or where the SPEC holds nothing else.
    """
    solver, _, correction = text.partition("+")
    correction = correction or "none"
    solvers = [one for one in spec.solvers if solver in (one.label, one.name)]
    fixes = [one for one in spec.corrections if correction in (one.label, one.name)]
    place: Any = {"process": PROCESSES[spec.schedule], "default": Options(), "end": spec.end}
    found = (
        solvers[0] if solvers else solver_from_json(solver, "--against", **place),
        fixes[0] if fixes else correction_from_json(correction, "--against", Path()),
    )
    if noises(found[0].solver) and found[1].name != "none":
        raise InputError(f"--against must have no correction for {solver}, got {text}")
    if all((one, fix) == found for one in spec.solvers for fix in spec.corrections_of(one)):
        raise InputError(f"--against must be another than the SPEC's only row, got {text}")
    return found


def paired(
    spec: CompareSpec,
    against: tuple[SolverSpec, CorrectionSpec],
    seeds: int = SEEDS,
    progress: Progress | None = None,
    *,
    folder: Path | None = None,
    elsewhere: tuple[Executor, Twin] | None = None,
) -> Paired:
    """Compare every row of a specification with ``against``, budget by budget.

    Parameters
    ----------
    spec : CompareSpec
        Its seed is the first.
    against : pair
        See :func:`against_of`.
    seeds : int
        At least 2.
    progress : callable, optional
    folder : Path, optional
        Where finished rows are kept and found again, a folder per seed.
    elsewhere : pair, optional
        What runs the rows in other processes, and what they read.
    """
    if seeds < 2:
        raise ValueError(f"seeds must be >= 2, got {seeds}")
    tell = progress or (lambda _done, _what: None)
    spec = _judged(spec, against)
    metrics = spec.metrics
    numbers = tuple(spec.seed + k for k in range(seeds))

    def work_of(seed: int) -> Comparison:
        own = None if folder is None else folder / f"seed-{seed}"
        return Comparison(replace(spec, seed=seed), own, against)

    found: list[list[Row]] = []
    if elsewhere is None:
        for k, work in enumerate(map(work_of, numbers)):
            found.append(
                [
                    work.row(i, lambda f, w, k=k: tell((k + f) / seeds, w))  # type: ignore[misc]
                    for i in range(len(work.tasks))
                ]
            )
    else:
        executor, told = elsewhere
        works = {told._replace(seed=seed): work_of(seed) for seed in numbers}
        rows = {(s, i): row for s, i, row in rows_elsewhere(works, executor, tell)}
        found = [[rows[s, i] for i in range(len(work.tasks))] for s, work in works.items()]
    by_row = list(zip(*found, strict=True))
    base = {rows[0].asked: rows for rows in by_row if _is(rows[0], against)}
    others = [rows for rows in by_row if not _is(rows[0], against)]
    count = len(others) * len(metrics)
    answers = tuple(_answer(rows, base[rows[0].asked], metrics, count) for rows in others)
    return Paired(against, numbers, metrics, answers)


class Twin(NamedTuple):
    """What a worker process is told of the rows of a seed and what they are compared with."""

    source: Source
    against: str
    seed: int = 0

    def comparison(self) -> Comparison:
        """Return the comparison."""
        spec = self.source.spec()
        against = against_of(self.against, spec)
        return Comparison(replace(_judged(spec, against), seed=self.seed), None, against)


def _judged(spec: CompareSpec, against: tuple[SolverSpec, CorrectionSpec]) -> CompareSpec:
    """Return the specification with the metrics that are compared."""
    drawn = any(noises(one.solver) for one in (*spec.solvers, against[0]))
    default = BY_LAW if drawn else JUDGED
    return replace(spec, metrics=default if spec.metrics == DEFAULT_METRICS else spec.metrics)


def _is(row: Row, against: tuple[SolverSpec, CorrectionSpec]) -> bool:
    return (row.solver, row.correction) == against


def _answer(rows: Sequence[Row], base: Sequence[Row], metrics: Sequence[str], count: int) -> Answer:
    stopped = sum(bool(row.stopped) for row in rows)
    extra = [sum(one.evaluations + one.products for one in row.coefficients) for row in rows]
    ratios: dict[str, Ratio | None] = {}
    for name in metrics:
        pairs = [(_value(a, name), _value(b, name)) for a, b in zip(rows, base, strict=True)]
        logs = np.array([math.log(a / b) for a, b in pairs])
        ratios[name] = Ratio.of(logs, count) if np.isfinite(logs).all() else None
    verdicts = {one.verdict for one in ratios.values() if one is not None} - {"undecided"}
    verdict = verdicts.pop() if len(verdicts) == 1 else "undecided"
    if stopped and not any(row.stopped for row in base):
        verdict = "worse"
    return Answer(rows[0], ratios, verdict, float(np.mean(extra)), stopped)


def _value(row: Row, name: str) -> float:
    """Return a metric that is positive, NaN where there is none."""
    found = row.measured.get(name)
    if found is None or not math.isfinite(found.value):
        return math.nan
    least = row.reference.error if name == "flow_error" else found.error
    return float(np.fmax(np.fmax(found.value, least), sys.float_info.min))


def to_json(found: Paired) -> dict[str, Any]:
    """Return the answers as the JSON of ``steinlab compare --against``."""
    solver, fix = found.against
    return {
        "against": {"solver": solver.label, "correction": fix.label},
        "seeds": list(found.seeds),
        "metrics": list(found.metrics),
        "comparisons": found.comparisons,
        "level": LEVEL,
        "interval": "Student over the seeds, Bonferroni over the comparisons",
        "rows": [
            {
                **identity(one.row),
                "extra_evaluations": finite_or_none(one.extra),
                "ratios": {name: _as_json(ratio) for name, ratio in one.ratios.items()},
                "verdict": one.verdict,
                "stopped": one.stopped,
            }
            for one in found.answers
        ],
    }


def _as_json(ratio: Ratio | None) -> dict[str, Any] | None:
    if ratio is None:
        return None
    numbers = {key: finite_or_none(value) for key, value in vars(ratio).items()}
    return {**numbers, "verdict": ratio.verdict}
