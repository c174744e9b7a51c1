"""What the cells say of each correction: ratios to the plain solver, floors on both sides."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

Played = Mapping[str, Any]
"""A cell as :func:`steinlab.experiments.tournament.play.play` returns it."""

STOPPED = 1000.0
"""The ratio of a run that overflowed: its true one is at least that."""

RESAMPLES = 1000
HURTS = 1.05
"""The aim's limit for a single cell."""

SURE = 2.0
"""Standard errors of a cell's ratio by which it exceeds the limit beyond its noise."""

KNOWN = 0.9
"""Share of the cells that must tell a number for a line to have it."""


@dataclass(frozen=True)
class Line:
    """One correction over some cells.

    ``low`` and ``high`` are a 95 % interval of the geometric mean ratio: problems are drawn again,
    since cells of one problem are alike, and of each its seeds. ``beyond`` is the share of cells
    above :data:`HURTS` by :data:`SURE` standard errors or more, nan where a record has none.
    ``equal`` compares with the plain solver of as many evaluations in all, nan for measures that a
    record does not keep; ``beats_best`` with the best plain solver of the budget (share of cells in
    which the correction is better), ``equal_beats`` and ``equal_best`` (the mean ratio) with the
    best one of as many evaluations in all. ``seeds`` is the factor by which a cell's ratio differs
    between seeds, ``exp`` of the standard deviation of its logarithm, nan where no cell has two.
    """

    entrant: str
    cells: int
    mean: float
    low: float
    high: float
    improved: float
    hurt: float
    beyond: float
    worst: float
    worst_cell: str
    equal: float
    beats_best: float
    equal_beats: float
    equal_best: float
    extra: float
    seeds: float


def ratio(found: Mapping[str, Any], plain: Mapping[str, Any], floor: float, measure: str) -> float:
    """Return ``(max(d, 0) + floor) / (max(plain, 0) + floor)``; a stopped run counts as 1000."""
    if "stopped" in found:
        return STOPPED
    if "stopped" in plain:
        return 1.0 / STOPPED
    tops = [max(float(one[measure]), 0.0) + floor for one in (found, plain)]
    return tops[0] / tops[1] if tops[1] > 0 else 1.0


def geometric(values: Sequence[float] | np.ndarray) -> float:
    """Return the geometric mean."""
    return float(np.exp(np.log(values).mean()))


def markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (head, *rows)]
    return "\n".join([lines[0], "|" + "---|" * len(head), *lines[1:]])


def line(entrant: str, played: Sequence[Played], measure: str = "energy_distance") -> Line:
    """Return the summary of an entrant over the cells that have the measure.

    Examples
    --------
    >>> cell = dict.fromkeys(("problem", "process", "grid", "solver", "evaluations", "seed"), "a")
    >>> results = {"none": {"energy_distance": 0.5}, "x": {"energy_distance": 0.0, "extra": 0}}
    >>> one = {"cell": cell, "floor": {"energy_distance": 0.1}, "results": results,
    ...        "best_plain": {"energy_distance": 0.3}}
    >>> found = line("x", [one])
    >>> round(found.mean, 4), found.improved, found.beats_best
    (0.1667, 1.0, 1.0)
    """
    played = [one for one in played if measure in one["floor"]]
    if not played:
        raise ValueError(f"played must hold at least one cell with {measure}, got 0")
    ratios, sure, equal, best, equal_best, extra = [], [], [], [], [], []
    for one in played:
        found, floor = one["results"][entrant], one["floor"][measure]
        plain = one["results"]["none"]
        ratios.append(ratio(found, plain, floor, measure))
        stopped = "stopped" in found or "stopped" in plain
        key = "ratio_error" if measure == "energy_distance" else ""
        error = 0.0 if stopped else float(found.get(key, math.nan))
        sure.append(math.nan if math.isnan(error) else ratios[-1] - SURE * error > HURTS)
        rival = found.get("equal", plain)
        known = measure in rival or "stopped" in rival
        equal.append(ratio(found, rival, floor, measure) if known else math.nan)
        best.append(ratio(found, one["best_plain"], floor, measure))
        rival = strictest(one, entrant)
        known = measure in rival or "stopped" in rival
        equal_best.append(ratio(found, rival, floor, measure) if known else math.nan)
        extra.append(float(found.get("extra", math.nan)))
    logs = np.log(ratios)
    low, high = _interval(logs, [one["cell"] for one in played])
    told = np.array(equal_best)[np.isfinite(equal_best)]
    many = len(told) >= KNOWN * len(played)
    worst = int(np.argmax(ratios))
    return Line(
        entrant,
        len(played),
        float(np.exp(logs.mean())),
        low,
        high,
        float(np.mean(np.array(ratios) < 1)),
        float(np.mean(np.array(ratios) > HURTS)),
        float(np.mean(np.array(sure, dtype=float))),
        ratios[worst],
        " ".join(str(value) for value in played[worst]["cell"].values()),
        geometric(equal),
        float(np.mean(np.array(best) < 1)),
        float(np.mean(told < 1)) if many else math.nan,
        geometric(told) if many else math.nan,
        float(np.nanmean(extra)) if np.isfinite(extra).any() else math.nan,
        _between_seeds(logs, [one["cell"] for one in played]),
    )


def strictest(one: Played, entrant: str) -> Mapping[str, Any]:
    """Return the best plain solver of as many evaluations as an entrant spends in all.

    It is empty where the entrant spends more than a record sets against it.
    """
    found = one["results"][entrant]
    known: Mapping[str, Any] = found.get("equal_best", {})
    return known if "equal" in found or "stopped" in found else one["best_plain"]


def _between_seeds(logs: np.ndarray, cells: Sequence[Mapping[str, Any]]) -> float:
    """Return ``exp`` of the pooled standard deviation over cells that differ in the seed alone."""
    same: dict[tuple[Any, ...], list[float]] = {}
    for value, cell in zip(logs, cells, strict=True):
        same.setdefault(tuple(v for k, v in cell.items() if k != "seed"), []).append(float(value))
    several = [values for values in same.values() if len(values) > 1]
    if not several:
        return math.nan
    squares = sum((one - sum(values) / len(values)) ** 2 for values in several for one in values)
    return math.exp(math.sqrt(squares / sum(len(values) - 1 for values in several)))


def _interval(logs: np.ndarray, cells: Sequence[Mapping[str, Any]]) -> tuple[float, float]:
    """Return the bootstrap interval, problems drawn with replacement and of each its seeds."""
    by: dict[str, dict[Any, list[float]]] = {}
    for value, cell in zip(logs, cells, strict=True):
        by.setdefault(str(cell["problem"]), {}).setdefault(cell["seed"], []).append(float(value))
    seeds = np.array([len(by[name]) for name in sorted(by)])
    sums, counts = np.zeros((2, len(by), seeds.max()))
    for i, name in enumerate(sorted(by)):
        for j, seed in enumerate(sorted(by[name])):
            sums[i, j], counts[i, j] = np.sum(by[name][seed]), len(by[name][seed])
    rng = np.random.default_rng(0)
    problems = rng.integers(len(by), size=(RESAMPLES, len(by)))
    drawn = rng.integers(seeds[problems][..., None], size=(*problems.shape, seeds.max()))
    drawn[np.arange(seeds.max()) >= seeds[problems][..., None]] = -1  # fewer seeds
    found = [
        np.where(drawn >= 0, one[problems[..., None], drawn], 0.0).sum(axis=2).sum(axis=1)
        for one in (sums, counts)
    ]
    low, high = np.exp(np.quantile(found[0] / found[1], [0.025, 0.975]))
    return float(low), float(high)
