"""What the page on networks says: every number of a sentence is computed from the records."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from steinlab.report.pages import number
from steinlab.solvers.reference_flow import SUBSTEPS
from toy_models.pages.networks_record import DISTANCES, FIXES, PLAIN, Record
from toy_models.pages.networks_tables import factor, tally

STEIN, CLIPPED, AUTO = FIXES


def reach(record: Record, fix: str) -> str:
    """Return how far the coefficients of a correction go."""
    found = [g for (_, _, f), row in record.rows.items() if f == fix for g in row["gamma"]]
    finite = [g for g in found if g is not None]
    return f"{min(finite):.2g} to {max(finite):,.0f}"


def best(record: Record, asked: int, fix: str = PLAIN) -> str:
    """Return the solver that is nearest to its flow at a number of evaluations."""
    cells = [solver for solver, n in record.made(fix) if n == asked]
    found = {solver: record.value(solver, asked, fix, "flow_error") for solver in cells}
    name = min(found, key=lambda solver: found[solver][0])
    return f"`{name}` at {asked} ({number(*found[name])})"


def kept(record: Record) -> str:
    """Return how many calibrated tables were kept."""
    rows = [row for (_, _, fix), row in record.rows.items() if fix == AUTO]
    return f"{sum(row['kept'] for row in rows)} of {len(rows)} tables"


def idle(record: Record) -> str:
    """Return at how many steps the clipped coefficient is 1: the plain step."""
    rows = [row for (_, _, fix), row in record.rows.items() if fix == CLIPPED]
    steps = [gamma for row in rows for gamma in row["gamma"]]
    return f"{sum(gamma == 1.0 for gamma in steps)} of {len(steps)} steps"


def by_solver(cells: Sequence[tuple[str, int]]) -> str:
    """Return cells in words, by solver."""
    found: dict[str, list[str]] = {}
    for solver, asked in cells:
        found.setdefault(solver, []).append(str(asked))
    return ", ".join(f"`{s}` at {' and '.join(at)}" for s, at in found.items())


def change(record: Record, fix: str, distance: str, outcome: str) -> str:
    """Return the gains or losses of a correction: how many, where, the largest."""
    cells = [c for c in record.made(fix) if record.outcome(*c, fix, distance) == outcome]
    verb = {"gain": "gains", "loss": "loses"}[outcome]
    words = f"{verb} in {len(cells)} of {len(record.made(fix))} cells"
    if not cells:
        return words

    def size(cell: tuple[str, int]) -> float:
        plain, fixed = (record.value(*cell, f, distance)[0] for f in (PLAIN, fix))
        return abs(math.log(max(fixed, 1e-4) / max(plain, 1e-4)))

    most = max(cells, key=size)
    pairs = [number(*record.value(*most, f, distance)) for f in (PLAIN, fix)]
    listed = outcome == "loss" and 1 < len(cells) < len(record.made(fix)) / 2
    where = f" ({by_solver(cells)})" if listed else ""
    return f"{words}{where}, most of all {by_solver([most])}: {' to '.join(pairs)}"


def title(record: Record) -> str:
    """Return network and grid."""
    return f"{record.content['spec']['model']}, {record.content['spec']['grid']} grid"


def budget_words(rows: Sequence[dict[str, Any]]) -> str:
    """Return what the error budget says."""
    first = [row for row in rows if row["solver"] == "euler"]
    squares = [row["z"] ** 2 for row in first]

    def share(name: str) -> str:
        values = [abs(row["parts"][name]["value"] / row["exact"]["value"]) for row in rows]
        low, high = min(values), max(values)
        return f"{low:.1e} to {high:.1e}"

    worst = max(rows, key=lambda row: abs(row["parts"]["drift"]["value"]))
    end = first[-1]["parts"]["score"]
    return (
        f"Batch of {rows[0]['batch']} states, {rows[0]['states']:,} for each expectation, "
        f"{rows[0]['pool']:,} end points, off by {rows[0]['pool_error']:.2g} by Richardson's "
        "estimate. The parts add up to the whole within their joint error at every level: mean "
        "square of z "
        f"{sum(squares) / len(squares):.2f} over the {len(squares)} levels of Euler's step, "
        f"largest |z| {max(abs(row['z']) for row in rows):.1f} in {len(rows)} steps (Heun's share "
        f"states with Euler's). Relative to the coefficient, rounding to float32 is "
        f"{share('rounding')}, one Rademacher probe a state {share('probes')}, the "
        f"batch {share('batch')}, the drift of the plain Euler run's law from "
        f"the network's own {share('drift')} (largest, "
        f"{number(worst['parts']['drift']['value'], worst['parts']['drift']['error'])}, at sigma "
        f"{worst['sigma'][0]:.3g}), and the score error along the residual {share('score')}. At "
        f"the last level, sigma {first[-1]['sigma'][0]:.3g}, the network is inconsistent with what "
        f"it generates by {number(end['value'], end['error'])}."
    )


def seen(found: Mapping[str, Record]) -> str:
    """Return what the tables show."""
    every = found.values()
    lines = [
        "- **Plain solvers** nearest to their flow: "
        + "; ".join(
            f"{title(one)}: {', '.join(best(one, n) for n in one.budgets)}" for one in every
        )
        + "."
    ]
    lines += [f"- **{title(one)}**:\n{said(one)}" for one in every]
    return "\n".join(lines)


def said(one: Record) -> str:
    """Return what a record shows of the corrections, gains and losses alike."""
    heads = {
        STEIN: f"`stein` as published, coefficients {reach(one, STEIN)}",
        CLIPPED: f"`stein` clipped to [0.1, 1], cut to 1 at {idle(one)}",
        AUTO: f"`auto`, {kept(one)} kept",
    }
    lines = []
    for fix, head in heads.items():
        found = [
            f"by {DISTANCES[d][0].lower()}{DISTANCES[d][1:]} it {change(one, fix, d, 'gain')}; "
            f"{change(one, fix, d, 'loss')}"
            for d in DISTANCES
        ]
        lines.append(f"  - {head}: {'. By'.join(found)}.".replace(". Byby", ". By"))
    return "\n".join(lines)


def short(found: Mapping[str, Record]) -> str:
    """Return the whole in a paragraph."""
    every = list(found.values())

    def count(fix: str, distance: str) -> str:
        sums = [
            sum(part) for part in zip(*(tally(one, fix, distance) for one in every), strict=True)
        ]
        return f"gains in {sums[0]} and loses in {sums[1]} of {sum(sums)} cells"

    ratios = ", ".join(
        f"{factor(one.ratio(CLIPPED, 'flow_error', one.most))} "
        f"({title(one)}, {one.most} evaluations)"
        for one in every
    )
    price = sorted(
        {3 * SUBSTEPS * 8 * one.calibration // one.content["spec"]["samples"] for one in every}
    )
    largest = max(g for one in every for row in one.rows.values() for g in row["gamma"] if g)
    return (
        f"By flow error the coefficient as published {count(STEIN, 'flow_error')}: from the second "
        "step on the states are no longer those of the forward law, and the estimates reach "
        f"{largest:,.0f}. Clipped to [0.1, 1] it is the plain step at most steps (an exact "
        "denoiser's coefficient is `1/(1 - kappa)`, above 1, save at the last step), and it "
        f"{count(CLIPPED, 'flow_error')} (by energy distance it "
        f"{count(CLIPPED, 'energy_distance')}). At the most evaluations it multiplies the flow "
        f"error, in the geometric mean over the solvers, by {ratios}. `auto` "
        f"{count(AUTO, 'flow_error')} (by energy distance it {count(AUTO, 'energy_distance')}, "
        f"by sliced W2 it {count(AUTO, 'sliced_w2')}). "
        "Its calibration is not in the numbers of evaluations: for eight steps it costs "
        f"{' to '.join(map(str, price))} evaluations more for each of as few samples as here. "
        f"{bought(every)}"
    )


def bought(every: Sequence[Record]) -> str:
    """Return where more plain evaluations lead, against fewer corrected ones."""
    words = []
    for one in every:
        few, many = 8, one.most
        if many > few:
            words.append(f"{title(one)}, {best(one, few, AUTO)} against plain {best(one, many)}")
    return f"Nearest to the flow by `auto` and by more plain steps: {'; '.join(words)}."
