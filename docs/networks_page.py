"""The pages on networks, from the records in docs/results/networks.

python docs/networks_page.py          writes docs/networks.md and docs/networks-tables.md anew

Every number of a sentence is computed from the records; how a record is made is on the page.
"""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from networks_record import DISTANCES, FIXES, PLAIN, Record
from networks_tables import (
    NAMES,
    budget,
    every_cell,
    number,
    parts,
    ratios,
    records,
    tallies,
    tally,
)

from toy_models.galaxies import HSC_32

HERE = Path(__file__).parent
STEIN, CLIPPED, AUTO = FIXES

HOW = """\
Every network is compared with itself, by `steinlab compare`: *flow error* is the root mean square
distance to the end points of its own long run from the same start states, *energy distance* and
*sliced W2* are distances to independent long runs (`ipndm-4`, 64 and 128 steps). Corrections are
`stein`, the coefficient of Theorem 4.7 estimated on the batch with one Rademacher probe a state and
clipped from below at 0.1 only, as the paper gives it; the same clipped to [0.1, 1]; and `auto`, a
table of moves fitted to the network's flow on the first 256 start states, half of which decide
whether it is kept; so an eighth of the states measured have fitted it. Its calibration costs 49
evaluations a step and calibration state, once. Errors are standard errors over the states and,
in corrected rows, hold the noise of the coefficients. A correction *gains* or *loses* in a cell
where it differs from the plain run by more than two joint standard errors; both runs share their
start states, so that is on the cautious side."""


PICTURES = f"""\
The same eight start states by the plain solver, corrected, and followed to the end. Coefficients
are estimated on 512 states, tables fitted on 256 others than those shown. Shown is
{HSC_32.display.words}.

![galaxies, Karras grid](pictures/galaxies-karras.png)

![galaxies, logSNR grid](pictures/galaxies-logsnr.png)

```
python docs/networks_pictures.py compute karras.npz --grid karras --device cuda
python docs/networks_pictures.py draw karras.npz docs/pictures/galaxies-karras.png
```"""

BUDGET_HOW = """\
`steinlab.error_budget` on `galaxies-hsc-32`, Karras grid of eight steps, against end points of the
network's own flow followed in float64 (its data's law is not known, so the score error is the
network's inconsistency with what it generates). Estimated on a small batch with one probe a state;
exact traces are all 1,024 Jacobian products of a state. The parts: float32 against float64, probes
against exact traces, the batch against the expectation, the law of the plain Euler run against the
network's own, and the score error along the residual, which separates the Stein from Tweedie's
coefficient. About a minute on an H100, most of an hour on one core:

```
make galaxies
python -m toy_models.galaxy_budget --out budget.json --device cuda
```"""


def reach(record: Record, fix: str) -> str:
    """Return how far the coefficients of a correction go."""
    found = [g for (_, _, f), row in record.rows.items() if f == fix for g in row["gamma"]]
    finite = [g for g in found if g is not None]
    return f"{min(finite):.2g} to {max(finite):,.0f}"


def best(record: Record, asked: int) -> str:
    """Return the plain solver that is nearest to its flow at a number of evaluations."""
    found = {s: record.value(s, n, PLAIN, "flow_error") for s, n in record.cells if n == asked}
    name = min(found, key=lambda solver: found[solver][0])
    return f"`{name}` at {asked} ({number(*found[name])})"


def kept(record: Record) -> str:
    """Return how many calibrated tables were kept."""
    rows = [row for (_, _, fix), row in record.rows.items() if fix == AUTO]
    return f"{sum(row['kept'] for row in rows)} of {len(rows)} tables"


def cells_where(record: Record, fix: str, distance: str, outcome: str) -> str:
    """Return the cells in which a correction gains or loses, by solver."""
    cells: dict[str, list[str]] = {}
    for solver, asked in record.cells:
        if record.outcome(solver, asked, fix, distance) == outcome:
            cells.setdefault(solver, []).append(str(asked))
    return "; ".join(f"`{s}` at {', '.join(at)}" for s, at in cells.items()) or "nowhere"


def title(record: Record) -> str:
    """Return network and grid."""
    return f"{record.content['spec']['model']}, {record.content['spec']['grid']} grid"


def budget_words() -> str:
    """Return what the error budget says."""
    rows = budget()
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
        f"estimate. The parts add up to the whole within their joint error at every level: mean "
        f"square of z {sum(squares) / len(squares):.2f} over the {len(squares)} levels of Euler's "
        f"step, largest |z| {max(abs(row['z']) for row in rows):.1f} in {len(rows)} steps (Heun's "
        f"share states with Euler's). Relative to the coefficient, rounding to float32 is "
        f"{share('rounding')}, one Rademacher probe a state {share('probes')}, the "
        f"batch {share('batch')}, the drift of the plain Euler run's law from "
        f"the network's own {share('drift')} (largest, "
        f"{number(worst['parts']['drift']['value'], worst['parts']['drift']['error'])}, at sigma "
        f"{worst['sigma'][0]:.3g}), and the score error along the residual {share('score')}. At "
        f"the last level, sigma {first[-1]['sigma'][0]:.3g}, the network is inconsistent with what "
        f"it generates by {number(end['value'], end['error'])}."
    )


def commands(record: Record) -> str:
    """Return how the record is made."""
    name = record.name
    return (
        f"```\nsteinlab compare docs/specs/networks/{name}.json --json {name}.json --workers 8\n"
        f"python docs/networks_record.py docs/specs/networks/{name}.json {name}.json "
        f"> docs/results/networks/{name}.json\n```"
    )


def floor(record: Record) -> str:
    """Return the distances between two samples of the network's own law."""
    energy, sliced = (record.content["floor"][k] for k in ("energy_distance", "sliced_w2"))
    error = record.content["reference"]["error"]
    return (
        f"Two samples of the network's own law: energy distance {number(*energy)}, sliced W2 "
        f"{number(*sliced)}. The long run of the flow error is itself off by {error:.1e}."
    )


def seen(found: dict[str, Record]) -> str:
    """Return what the tables show."""
    every = found.values()
    lines = [
        "- **Plain solvers** nearest to their flow: "
        + "; ".join(
            f"{title(one)}: {', '.join(best(one, n) for n in one.budgets)}" for one in every
        )
        + "."
    ]
    lines += [f"- **{title(one)}**: " + said(one) for one in every]
    return "\n".join(lines)


def said(one: Record) -> str:
    """Return what a record shows of the corrections, gains and losses alike."""
    parts = [f"`stein` as published has coefficients from {reach(one, STEIN)}"]
    for fix, name in ((CLIPPED, "clipped to [0.1, 1] it"), (AUTO, f"`auto` ({kept(one)} kept)")):
        for distance, words in list(DISTANCES.items())[::2]:
            gains, losses, _ = tally(one, fix, distance)
            where = f" ({cells_where(one, fix, distance, 'loss')})" if losses else ""
            of = f"of {len(one.cells)} cells by {words}"
            parts.append(f"{name} gains in {gains} and loses in {losses} {of}{where}")
    return "; ".join(parts) + "."


def tables_page(found: dict[str, Record]) -> str:
    """Return the page with every cell."""
    out = [
        "# Networks: every cell",
        "Written by `python docs/networks_page.py`; [networks.md](networks.md) says what the "
        "numbers are and what they show. Bold: the correction gains by more than two joint "
        "standard errors over the plain run of the same solver; struck out: it loses. `[7]` is "
        "what a budget allowed to spend.",
    ]
    for record in found.values():
        out += [f"## {title(record)}", commands(record), floor(record)]
        out += [f"{words}:\n\n{every_cell(record, d)}" for d, words in DISTANCES.items()]
    return "\n\n".join(out) + "\n"


def page(found: dict[str, Record]) -> str:
    """Return the page."""
    samples = {record.content["spec"]["samples"] for record in found.values()}
    assert len(samples) == 1, "the page speaks of one number of samples"
    out = [
        "# Networks: plain and corrected",
        "Written by `python docs/networks_page.py` from the records in "
        f"[results/networks](results/networks); {samples.pop():,} samples a run, solvers "
        f"{', '.join(f'`{s}`' for s in dict.fromkeys(s for s, _ in found[NAMES[0]].cells))}, the "
        "networks in float32 on an H100. Every cell is in "
        "[networks-tables.md](networks-tables.md).",
        HOW,
        "## What is seen",
        seen(found),
        "## Gains and losses",
        "Cells (of solvers and numbers of evaluations) in which a correction gains / loses / does "
        "neither:",
        tallies(list(found.values())),
        "Corrected flow error over the plain one's, geometric mean over the solvers, by "
        "evaluations:",
        ratios(list(found.values()), "flow_error"),
        "The same for sliced W2:",
        ratios(list(found.values()), "sliced_w2"),
        "## Pictures",
        PICTURES,
        "## The galaxies' error budget",
        BUDGET_HOW,
        budget_words(),
        parts(budget()),
    ]
    return "\n\n".join(out) + "\n"


def main() -> None:
    """Write both pages."""
    found = records()
    (HERE / "networks.md").write_text(page(found), encoding="utf-8")
    (HERE / "networks-tables.md").write_text(tables_page(found), encoding="utf-8")


if __name__ == "__main__":
    main()
