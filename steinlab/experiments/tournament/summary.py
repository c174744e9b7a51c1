"""What the cells say of each correction: ratios to the plain solver, floors on both sides."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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


@dataclass(frozen=True)
class Line:
    """One correction over some cells.

    ``low`` and ``high`` are a 95 % interval of the geometric mean ratio: problems, not cells, are
    drawn again, since cells of one problem are alike. ``equal`` compares with the plain solver of
    as many evaluations in all, nan for measures that a record does not keep; ``best`` with the best
    plain solver of the budget (share of cells in which the correction is better). ``seeds`` is the
    factor by which a cell's ratio differs between seeds, ``exp`` of the standard deviation of its
    logarithm, nan where no cell has two.
    """

    entrant: str
    cells: int
    mean: float
    low: float
    high: float
    improved: float
    hurt: float
    worst: float
    worst_cell: str
    equal: float
    beats_best: float
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
    ratios, equal, best, extra = [], [], [], []
    for one in played:
        found, floor = one["results"][entrant], one["floor"][measure]
        plain = one["results"]["none"]
        ratios.append(ratio(found, plain, floor, measure))
        rival = found.get("equal", plain)
        known = measure in rival or "stopped" in rival
        equal.append(ratio(found, rival, floor, measure) if known else math.nan)
        best.append(ratio(found, one["best_plain"], floor, measure))
        extra.append(float(found.get("extra", math.nan)))
    logs = np.log(ratios)
    low, high = _interval(logs, [str(one["cell"]["problem"]) for one in played])
    worst = int(np.argmax(ratios))
    return Line(
        entrant,
        len(played),
        float(np.exp(logs.mean())),
        low,
        high,
        float(np.mean(np.array(ratios) < 1)),
        float(np.mean(np.array(ratios) > HURTS)),
        ratios[worst],
        " ".join(str(value) for value in played[worst]["cell"].values()),
        float(np.exp(np.log(equal).mean())),
        float(np.mean(np.array(best) < 1)),
        float(np.nanmean(extra)) if np.isfinite(extra).any() else math.nan,
        _between_seeds(logs, [one["cell"] for one in played]),
    )


def _between_seeds(logs: np.ndarray, cells: Sequence[Mapping[str, Any]]) -> float:
    """Return ``exp`` of the pooled standard deviation over cells that differ in the seed alone."""
    same: dict[tuple[Any, ...], list[float]] = {}
    for value, cell in zip(logs, cells, strict=True):
        same.setdefault(tuple(v for k, v in cell.items() if k != "seed"), []).append(float(value))
    several = [np.array(values) for values in same.values() if len(values) > 1]
    if not several:
        return math.nan
    squares = sum(float(((values - values.mean()) ** 2).sum()) for values in several)
    return math.exp(math.sqrt(squares / sum(len(values) - 1 for values in several)))


def _interval(logs: np.ndarray, problems: Sequence[str]) -> tuple[float, float]:
    """Return the bootstrap interval, problems drawn with replacement."""
    groups = [logs[np.array(problems) == name] for name in sorted(set(problems))]
    sums = np.array([group.sum() for group in groups])
    counts = np.array([len(group) for group in groups])
    drawn = np.random.default_rng(0).integers(len(groups), size=(RESAMPLES, len(groups)))
    means = sums[drawn].sum(axis=1) / counts[drawn].sum(axis=1)
    low, high = np.exp(np.quantile(means, [0.025, 0.975]))
    return float(low), float(high)
