"""The second part of the study: entrants against the best plain solver of each setup."""

from __future__ import annotations

import math
from collections.abc import Sequence
from statistics import fmean

from gpu_models.study.design import Cell, competitor
from gpu_models.study.pairs import SHARES, Pair, Summary, summary
from gpu_models.study.stored import Stored

BASELINES = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc-2", "ipndm-3")
"""Plain solvers of which the best in hindsight is compared with."""

QUANTITIES = ("flow_error", "energy", "FD-EffLite0", "FD-classifier", "precision", "recall")


def against_best(study: Stored, entrant: str, quantity: str) -> list[Pair]:
    """Return an entrant's runs beside the best baseline of the same grid, budget and seed."""
    solver, correction = competitor(entrant)
    found, sign = [], -1 if quantity in SHARES else 1
    for cell, record in study.runs.items():
        if (cell.solver, cell.correction) != (solver, correction):
            continue
        setup = (cell.evaluations, cell.grid)
        plain = [study.runs.get(Cell(one, *setup, "none", cell.seed), {}) for one in BASELINES]
        usable = [one for one in plain if quantity in one]
        if len(usable) == len(BASELINES):
            best = min(usable, key=lambda one: sign * one[quantity]["value"])
            found.append(Pair(cell, best, record, 0.5 / study.size.samples))
    return found


def table(study: Stored) -> str:
    """Return per quantity the best baseline and every entrant: by budget, then all budgets.

    A value is the mean over seeds on the better grid. The ratio is to the best baseline of the same
    grid, budget and seed, with its interval; then how many are better and worse beyond the paired
    error. Behind a name stands what the entrant spends per state beside its budget.
    """
    lines = []
    for quantity in (
        name for name in QUANTITIES if any(name in run for run in study.runs.values())
    ):
        lines.append(f"{quantity}, by evaluations: {study.size.evaluations}")
        best = [best_plain(study, n, quantity) for n in study.size.evaluations]
        lines.append(_line("best baseline", best))
        for entrant in (one for one in study.size.entrants if one not in BASELINES):
            values = [on_better_grid(study, entrant, n, quantity) for n in study.size.evaluations]
            pairs = against_best(study, entrant, quantity)
            extra = fmean([pair.other["extra"] for pair in pairs] or [0.0])
            name = f"{entrant} (+{extra:.2f})" if extra else entrant
            lines.append(f"{_line(name, values)}  {_told(summary(pairs, quantity))}")
    return "\n".join(lines)


def _better(values: Sequence[float], quantity: str) -> float:
    known = [one for one in values if not math.isnan(one)]
    return (max if quantity in SHARES else min)(known, default=math.nan)


def best_plain(study: Stored, evaluations: int, quantity: str) -> float:
    """Return the best baseline's mean over seeds on its better grid; NaN where there is none."""
    own = [on_better_grid(study, one, evaluations, quantity) for one in BASELINES]
    return _better(own, quantity)


def on_better_grid(study: Stored, entrant: str, evaluations: int, quantity: str) -> float:
    """Return an entrant's mean over seeds on its better grid; NaN where there is none."""
    found: dict[str, list[float]] = {}
    for cell, record in study.runs.items():
        own = (*competitor(entrant), evaluations)
        if (cell.solver, cell.correction, cell.evaluations) == own and quantity in record:
            found.setdefault(cell.grid, []).append(record[quantity]["value"])
    return _better([fmean(values) for values in found.values()], quantity)


def _line(name: str, values: Sequence[float]) -> str:
    return " ".join([f"{name:28}", *(f"{value:8.4g}" for value in values)])


def _told(found: Summary | None) -> str:
    if found is None:
        return "too few setups"
    interval = f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})"
    return f"{interval}; {found.improved} better, {found.worsened} worse of {found.cells}"
