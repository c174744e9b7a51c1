"""The study's second part on docs/study.md: entrants against the best plain solver."""

from __future__ import annotations

from statistics import fmean

from gpu_models.study.design import competitor
from gpu_models.study.entrants import BASELINES, against_best, best_plain, on_better_grid
from gpu_models.study.pairs import Pair, pairs_of, summary
from gpu_models.study.stored import Stored
from steinlab.report.pages import table

FLOW, PICTURES = "flow_error", "FD-EffLite0"
FEWEST_FOR_PICTURES = 6
"""Evaluations from which on the aim asks for the pictures' distance too."""


def entrants(study: Stored) -> list[str]:
    """Return the names of what is compared, without what it is compared with."""
    return [name for name in study.size.entrants if name not in BASELINES]


def met(study: Stored, entrant: str, quantity: str) -> dict[int, bool]:
    """Return by budget whether the aim is met: below the best plain solver on the better grid."""
    asked = FEWEST_FOR_PICTURES if quantity == PICTURES else 0
    return {
        n: on_better_grid(study, entrant, n, quantity) < best_plain(study, n, quantity)
        for n in study.size.evaluations
        if n >= asked
    }


def _count(study: Stored, entrant: str) -> int:
    return sum(sum(met(study, entrant, quantity).values()) for quantity in (FLOW, PICTURES))


def _beside(study: Stored, entrant: str, quantity: str) -> str:
    """Return ``0.273 against 0.301 at 4, ...``, of the budgets that the aim asks for."""
    own = (
        f"{on_better_grid(study, entrant, n, quantity):.4g} against "
        f"{best_plain(study, n, quantity):.4g} at {n}"
        for n in met(study, entrant, quantity)
    )
    return ", ".join(own)


def verdict(study: Stored) -> str:
    """Say whether an entrant meets the aim, and how near the best of them comes."""
    names = entrants(study)
    best = max(names, key=lambda name: _count(study, name))
    flow, pictures = (met(study, best, quantity) for quantity in (FLOW, PICTURES))
    all_of_it = all(flow.values()) and all(pictures.values())
    opening = f"{best} meets it" if all_of_it else "No entrant meets it"
    return (
        "**The aim**: flow error below the best plain solver's at every budget on its better grid, "
        f"FD-EffLite0 too from {FEWEST_FOR_PICTURES} evaluations on. {opening}. "
        f"{best} comes nearest: its flow error is below in {sum(flow.values())} of {len(flow)} "
        f"budgets ({_beside(study, best, FLOW)}), its FD-EffLite0 in {sum(pictures.values())} of "
        f"{len(pictures)} ({_beside(study, best, PICTURES)})."
    )


def unmoved(study: Stored) -> str:
    """Say by budget how many runs with a correction are those of its solver alone."""
    said, idle = [], []
    families = dict.fromkeys(competitor(name)[1] for name in entrants(study))
    for family in (name for name in families if name != "none"):
        runs = [pair for pair in pairs_of(study, family) if pair.has(FLOW)]
        counts = []
        for n in study.size.evaluations:
            here = [pair for pair in runs if pair.cell.evaluations == n]
            same = sum(not pair.z(FLOW) for pair in here)
            counts.append(f"{same} of {len(here)} at {n}")
            if here and same == len(here):
                idle.append(f"the {family} changes nothing at {n} evaluations")
        said.append(f"{family} {', '.join(counts)}")
    found = f"Runs that are the plain solver's to the last digit: {'; '.join(said)}."
    return f"{found} So {'; '.join(idle)}." if idle else found


def rows(study: Stored) -> str:
    """Return the table: flow error, energy and pictures over the best plain solver's, and price."""
    out = []
    for name in entrants(study):
        flow = against_best(study, name, FLOW)
        found = summary(flow, FLOW)
        if found:
            counts = f"{found.improved}, {found.worsened} of {found.cells}"
            others = (_interval(against_best(study, name, q), q) for q in ("energy", PICTURES))
            extra = fmean(pair.other["extra"] for pair in flow)
            out.append([name, _interval(flow, FLOW), counts, *others, f"{extra:.2f}"])
    head = ["entrant", "flow error", "better, worse", "energy distance", PICTURES]
    return table([*head, "evaluations beside the budget"], out) if out else ""


def _interval(pairs: list[Pair], quantity: str) -> str:
    found = summary(pairs, quantity)
    return f"{found.mean:.3f} ({found.low:.3f} to {found.high:.3f})" if found else "-"


def words(study: Stored) -> list[str]:
    """Return the paragraphs above the table."""
    size, devices = study.size, " and ".join(study.devices)
    budgets = ", ".join(map(str, size.evaluations))
    losing = [
        name
        for name in entrants(study)
        if (found := summary(against_best(study, name, FLOW), FLOW)) and found.low > 1
    ]
    lost = (
        f" Farther from the flow than the best plain solver, interval and all: {', '.join(losing)}."
        if losing
        else ""
    )
    return [
        "A second run of the study holds entrants against the best in hindsight of "
        f"{', '.join(BASELINES)} (plain; the same grid, budget and seed; chosen for each quantity "
        f"anew): {len(study.runs)} of {len(study.design)} runs of {size.samples:,} samples, "
        f"{size.seeds} seeds, {budgets} evaluations, grids {' and '.join(size.grids)}, on "
        f"{devices}. `steinlab study --size entrants --data DIR --out DIR` runs it.",
        verdict(study),
        f"{unmoved(study)}{lost}",
        "Ratios to the best plain solver: geometric means over grids and budgets, seeds averaged "
        "first, with Student's 95 % interval; then the cells that are better and worse in flow "
        "error by the paired errors of common start states. What an entrant evaluates beside its "
        "budget, per sample, is not taken from the budget.",
    ]
