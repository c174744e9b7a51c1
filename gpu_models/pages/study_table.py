"""The tables of docs/study.md and docs/study-runs.md, from the stored study."""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_models.claims.correction_cost import COLUMNS as COST_COLUMNS
from gpu_models.claims.correction_cost import cost_rows
from gpu_models.claims.gains import COLUMNS, fair_label, line
from gpu_models.study.design import FAIR, Cell
from gpu_models.study.pairs import (
    CALIBRATED,
    CLIPPED,
    ERRORS,
    MORE,
    RULE,
    SHARES,
    Pair,
    pairs_of,
    spreads,
    summary,
)
from gpu_models.study.stored import Stored, stored
from steinlab.report.pages import table

Record = Mapping[str, Any]
RULES = {
    "none": "plain",
    RULE: "stein, from 0.1",
    CLIPPED: "stein, 0.1 to 1",
    CALIBRATED: "calibrated",
    **{rule: fair_label(clip) for rule, clip in FAIR.items()},
    MORE: "plain, next budget",
}
WORDS = {
    "flow_error": "flow error",
    "artifacts": "artifacts, %",
    "FD-classifier": "FD-classifier",
    "FD-EffLite0": "FD-EffLite0",
    "precision": "precision, %",
    "recall": "recall, %",
}
PERCENT = ("artifacts", "precision", "recall")
REPEATED = ("flow_error", "FD-EffLite0", "artifacts")
"""Quantities of the table over seeds."""


def pair(record: Record | None, digits: int = 4) -> str:
    """Return ``value +- error``."""
    if record is None:
        return "-"
    return f"{record['value']:.{digits}g} +- {record['error']:.1g}"


def denoiser(study: Stored) -> str:
    """Return mean squares per pixel: network, exact denoiser, and between them."""
    rows = []
    for row in study.rows("denoiser"):
        exact, wide = row["exact_0"], row["exact_0.2"]
        rows.append(
            [
                f"{row['sigma']:.3g}",
                row["pictures"],
                f"{row['network_to_picture']['value']:.3g}",
                f"{exact['to_picture']['value']:.3g}",
                f"{exact['network_to_exact']['value']:.3g}",
                f"{wide['to_picture']['value']:.3g}",
                f"{exact['divergence']['value']:.2g}",
            ]
        )
    head = ["sigma", "pictures", "network", "exact", "network - exact"]
    return table([*head, "exact, b = 0.2", "div exact"], rows) if rows else ""


def coefficients(study: Stored) -> str:
    """Return the coefficient by every route, and the bound."""
    rows = []
    for row in study.rows("coefficients"):
        gamma = row["gamma"]
        bound = [f"{row['bound']:.2g}", f"{row['tightness']:.2g}"] if "bound" in row else ["-", "-"]
        deviation = f"{row['deviation']['value']:.2g}" if "deviation" in row else "-"
        routes = ("reference", "stein, 1 rademacher", "stein, 5 gaussian", "tweedie")
        step = f"{row['from']:.3g} to {row['to']:.3g}"
        rows.append([row["solver"], step, *(pair(gamma[r]) for r in routes), deviation, *bound])
    head = ["solver", "step", "reference", "stein, m = 1", "stein, m = 5", "tweedie"]
    return table([*head, "stein - tweedie", "bound", "tightness"], rows) if rows else ""


def lipschitz(study: Stored, budgets: Sequence[int]) -> str:
    """Return local constants step by step: over trajectories the least, the median, the largest."""
    rows = [
        [
            str(row["evaluations"]),
            f"{row['from']:.3g} to {row['to']:.3g}",
            f"{row['threshold']:.3g}",
            *(f"{row['denoiser'][q]:.3g}" for q in ("least", "median", "largest")),
            *(f"{row['step_bound'][q]:.3g}" for q in ("least", "median", "largest")),
        ]
        for row in study.rows("lipschitz")
        if row["evaluations"] in budgets
    ]
    ends = [f"L_{x}, {q}" for x in ("D", "T") for q in ("least", "median", "largest")]
    return table(["evaluations", "step", "threshold of L_D", *ends], rows) if rows else ""


def cost(study: Stored) -> str:
    """Return seconds and passes of every correction beside the plain run's."""
    rows = [row for found in study.rows("cost") for row in cost_rows(found)]
    return table(COST_COLUMNS, rows) if rows else ""


def cells(runs: Mapping[Cell, Record]) -> str:
    """Return runs: distance to the own flow, Frechet distances, artifacts, precision, recall."""
    rows = []
    for cell, row in runs.items():
        head = [cell.solver, str(cell.evaluations), cell.grid, RULES[cell.correction]]
        if "stopped" in row:
            said = f"not finite: {row['stopped'].split(' (')[0]}"
            rows.append([*head, said, *["-"] * (len(WORDS) - 1)])
            continue
        rows.append([*head, *(_measured(row, name) for name in WORDS)])
    head = ["solver", "evaluations", "grid", "correction"]
    return table([*head, *WORDS.values()], rows) if rows else ""


def _measured(row: Record, name: str) -> str:
    found = row.get(name)
    if found is None:
        return "-"
    scale = 100 if name in PERCENT else 1
    return pair({k: scale * found[k] for k in ("value", "error")}, 3)


def headline(study: Stored) -> str:
    """Return the headline runs of the first seed."""
    return cells({c: r for c, r in study.runs.items() if c.headline and not c.seed})


def summaries(study: Stored) -> str:
    """Return what every correction does to every quantity, over its plain twins."""
    rows = []
    for family, label in RULES.items():
        found = [] if family == "none" else pairs_of(study, family)
        for name in (*ERRORS, *SHARES):
            s = summary(found, name)
            if s is not None:
                words = WORDS[name].removesuffix(", %")
                rows.append([*line(label, words, s), beats(study, found, name)])
    return table([*COLUMNS, "beats the best plain solver"], rows) if rows else ""


CLEAR = 3.0
"""Joint standard errors by which a run must beat the best plain solver."""


def beats(study: Stored, found: Sequence[Pair], name: str) -> str:
    """Return how often a run is clearly better than every plain solver at its place.

    The place is its budget, grid and seed.
    """
    usable = [p for p in found if p.has(name) and p.cell.correction != "none"]
    if name in SHARES or not usable:
        return "-"
    best: dict[tuple[int, str, int], Any] = {}
    for cell, row in study.runs.items():
        if cell.correction == "none" and name in row:
            place = (cell.evaluations, cell.grid, cell.seed)
            best[place] = min(best.get(place, row[name]), row[name], key=lambda r: r["value"])
    won = 0
    for p in usable:
        least, own = best[p.cell.evaluations, p.cell.grid, p.cell.seed], p.values(name)[1]
        error = math.hypot(least["error"], own.error)
        won += own.value < least["value"] - CLEAR * error
    return f"{won} of {len(usable)}"


def by_part(study: Stored, part: str, name: str = "flow_error") -> str:
    """Return geometric mean ratios of a quantity by ``evaluations`` or by ``solver``."""
    families = [family for family in RULES if family not in ("none", MORE)]
    columns = [family for family in families if pairs_of(study, family)]
    rows = []
    values = study.size.evaluations if part == "evaluations" else study.size.solvers
    for value in values:
        own = {
            f: summary([p for p in pairs_of(study, f) if getattr(p.cell, part) == value], name)
            for f in columns
        }
        if any(own.values()):
            rows.append([str(value), *(_mean(own[f]) for f in columns)])
    return table([part, *(RULES[f] for f in columns)], rows) if rows else ""


def _mean(s: Any) -> str:
    return f"{s.mean:.3g} ({s.low:.3g} to {s.high:.3g}) in {s.setups}" if s else "-"


def seeds(study: Stored) -> str:
    """Return means over seeds with the deviation between them, beside a run's own error."""
    found = {name: {s.cell: s for s in spreads(study, name)} for name in REPEATED}
    rows = []
    for cell in dict.fromkeys(cell for own in found.values() for cell in own):
        shown = [str(max(own[cell].seeds for own in found.values() if cell in own))]
        for name, own in found.items():
            scale = 100 if name in PERCENT else 1
            s = own.get(cell)
            shown.append(
                f"{scale * s.mean:.4g}, {scale * s.between:.1g} ({scale * s.within:.1g})"
                if s
                else "-"
            )
        rows.append([cell.solver, str(cell.evaluations), RULES[cell.correction], *shown])
    head = ["solver", "evaluations", "correction", "seeds"]
    return table([*head, *(WORDS[name] for name in REPEATED)], rows) if rows else ""


BESIDE = {"none": "plain", CLIPPED: "stein", RULE: "rule", CALIBRATED: "calibrated"}
"""Corrections of findings.md, by the names that it uses."""


def beside(solvers: Sequence[str], budgets: Sequence[str]) -> list[str]:
    """Return what docs/findings.md says of the network beside exact denoisers."""
    study = stored()
    network = objection(study, (*solvers, "ipndm-3"), budgets) if study else ""
    if not network:
        return []
    return [
        "A network, `fashion-edm` on pictures of clothes: FD-classifier (a Frechet distance, "
        "not FID) and in brackets precision and recall in per cent, of the stored study's "
        "runs; `stein` is clipped to [0.1, 1], `rule` from below only; an empty cell is not in "
        "the record (`steinlab pages`; [study.md](study.md) has the errors):",
        network,
    ]


def objection(study: Stored, solvers: Sequence[str], budgets: Sequence[str]) -> str:
    """Return Frechet distance (precision, recall in %) beside each other, seed 0."""
    found: dict[tuple[int, str, int], dict[str, str]] = {}
    spent: dict[tuple[int, str, int], int] = {}
    for cell, row in study.runs.items():
        if cell.solver in solvers and str(cell.evaluations) in budgets and not cell.seed:
            place = (solvers.index(cell.solver), cell.grid, cell.evaluations)
            spent[place] = row["spent"]
            found.setdefault(place, {})[cell.correction] = _beside(row)
    shown = [name for name in BESIDE if any(name in cells for cells in found.values())]
    rows = []
    for place in sorted(found):
        solver, grid, evaluations = place
        less = f" [{spent[place]}]" if spent[place] != evaluations else ""
        cells = (found[place].get(name, "") for name in shown)
        rows.append([f"`{solvers[solver]}`", f"{evaluations}{less}", grid, *cells])
    head = ["solver", "evaluations", "grid"]
    return table([*head, *(BESIDE[name] for name in shown)], rows) if rows else ""


def _beside(row: Record) -> str:
    if "stopped" in row:
        return "not finite"
    precision, recall = (f"{100 * row[name]['value']:.0f}" for name in SHARES)
    return f"{_measured(row, 'FD-classifier')} ({precision}, {recall})"


def speeds(folder: Path) -> str:
    """Return pictures per second in training and evaluation on one card and on two."""
    rows = []
    for file in sorted(folder.glob("speed-*.json")):
        row = json.loads(file.read_text(encoding="utf-8"))
        numbers = (f"{row[k]['images_per_second']:,.0f}" for k in ("train", "evaluate"))
        rows.append([row["device"], str(row["processes"]), str(row["micro_batch"]), *numbers])
    head = [
        "device",
        "processes",
        "pictures per card",
        "training, per second",
        "evaluation, per second",
    ]
    return table(head, rows) if rows else ""
