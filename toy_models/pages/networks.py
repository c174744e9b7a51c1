"""The pages on networks, from the records in docs/results/networks.

Every number of a sentence is computed from the records; how a record is made is on the page.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from steinlab.report.pages import number, table
from steinlab.solvers.reference_flow import SUBSTEPS
from steinlab.storage.schemas import read_stored
from toy_models.galaxies.models import HSC_32
from toy_models.pages.networks_record import DISTANCES, FIXES, PLAIN, Record

RESULTS = Path("results") / "networks"
NAMES = ("galaxies-hsc-32", "galaxies-hsc-32-logsnr", "digits-mlp", "digits-mlp-logsnr")
BUDGET = "galaxies-budget.json"


def records(docs: Path) -> dict[str, Record]:
    """Return every record by name."""
    return {name: Record.read(docs / RESULTS / f"{name}.json") for name in NAMES}


def budget(docs: Path) -> list[dict[str, Any]]:
    """Return the steps of the error budget."""
    found: list[dict[str, Any]] = read_stored(docs / RESULTS / BUDGET, "budget", "FILE")
    return found


def cell(record: Record, solver: str, asked: int, fix: str, distance: str) -> str:
    """Return a distance, bold where the correction gains, struck out where it loses."""
    row = record.rows.get((solver, asked, fix))
    if row is None:
        return ""
    if row["stopped"]:
        return "stopped"
    text = number(*record.value(solver, asked, fix, distance))
    if fix == PLAIN:
        return text
    marks = {"gain": "**", "loss": "~~", "even": ""}[record.outcome(solver, asked, fix, distance)]
    return marks + text + marks


def every_cell(record: Record, distance: str) -> str:
    """Return a line per solver and number of evaluations, a column per correction."""
    rows = []
    for solver, asked in sorted(record.cells, key=lambda one: one[1]):
        spent = record.rows[solver, asked, PLAIN]["spent"]
        words = f"{asked}" if spent == asked else f"{asked} [{spent}]"
        cells = [cell(record, solver, asked, fix, distance) for fix in (PLAIN, *FIXES)]
        rows.append([words, f"`{solver}`", *cells])
    return table(["evaluations", "solver", PLAIN, *FIXES], rows)


def tally(record: Record, fix: str, distance: str) -> tuple[int, int, int]:
    """Return in how many cells a correction gains, loses, and does neither."""
    found = [record.outcome(*c, fix, distance) for c in record.made(fix)]
    gains, losses, even = (found.count(word) for word in ("gain", "loss", "even"))
    return gains, losses, even


def tallies(found: Sequence[Record]) -> str:
    """Return gains, losses and the rest of every network, grid, correction and distance."""
    return by_correction(
        found,
        list(DISTANCES.values()),
        lambda record, fix: [
            "{} / {} / {}".format(*tally(record, fix, distance)) for distance in DISTANCES
        ],
    )


def by_correction(
    found: Sequence[Record], columns: Sequence[str], cells: Callable[[Record, str], list[str]]
) -> str:
    """Return a table of a line for every network, grid and correction."""
    rows = []
    for record in found:
        rows += [[*of(record), fix, *cells(record, fix)] for fix in FIXES]
    return table(["network", "grid", "correction", *columns], rows)


def factor(value: float) -> str:
    """Return a ratio to two decimals or digits."""
    if math.isnan(value):
        return ""
    if math.isinf(value):
        return "stopped"
    if value < 10:
        return f"{value:.2f}"
    return f"{value:.2g}" if value < 100 else f"{value:,.0f}"


def ratios(found: Sequence[Record], distance: str) -> str:
    """Return the geometric mean over the solvers of corrected over plain, by evaluations."""
    budgets = sorted({n for record in found for n in record.budgets})
    return by_correction(
        found,
        list(map(str, budgets)),
        lambda record, fix: [factor(record.ratio(fix, distance, n)) for n in budgets],
    )


def parts(rows: Sequence[dict[str, Any]]) -> str:
    """Return the error budget, a line per step."""
    lines = []
    for row in rows:
        found = [row["parts"][name] for name in SHARES]
        cells = [
            number(part["value"], part["error"]) if part["error"] else f"{part['value']:.1e}"
            for part in found
        ]
        ends = [f"{row['estimated']:.4f}", f"{row['exact']['value']:.4f}"]
        lines.append(
            [f"`{row['solver']}`", f"{row['sigma'][0]:.3g}", *ends, *cells, f"{row['z']:.1f}"]
        )
    return table(["solver", "sigma", "estimated", "Tweedie's", *SHARES, "z"], lines)


STEIN, CLIPPED, AUTO = FIXES


def reach(record: Record, fix: str) -> str:
    """Return how far the coefficients of a correction go."""
    found = [g for (_, _, f), row in record.rows.items() if f == fix for g in row["gamma"]]
    finite = [g for g in found if g is not None]
    return f"{min(finite):.2g} to {max(finite):,.0f}"


def best(record: Record, asked: int, fix: str) -> str:
    """Return the solver that is nearest to its flow at a number of evaluations, and how near."""
    cells = [solver for solver, n in record.made(fix) if n == asked]
    found = {solver: record.value(solver, asked, fix, "flow_error") for solver in cells}
    name = min(found, key=lambda solver: found[solver][0])
    return f"`{name}`: {number(*found[name])}"


def kept(record: Record) -> str:
    """Return how many calibrated tables were kept."""
    rows = [row for (_, _, fix), row in record.rows.items() if fix == AUTO]
    return f"{sum(row['kept'] for row in rows)} of {len(rows)}"


def idle(record: Record) -> str:
    """Return at how many steps the clipped coefficient is 1: the plain step."""
    rows = [row for (_, _, fix), row in record.rows.items() if fix == CLIPPED]
    steps = [gamma for row in rows for gamma in row["gamma"]]
    return f"{sum(gamma == 1.0 for gamma in steps)} of {len(steps)}"


def most(record: Record, fix: str, distance: str, outcome: str) -> str:
    """Return the largest gain or loss of a correction: the solver, the budget, both distances."""
    cells = [c for c in record.made(fix) if record.outcome(*c, fix, distance) == outcome]
    if not cells:
        return ""

    def size(cell: tuple[str, int]) -> float:
        plain, fixed = (record.value(*cell, f, distance)[0] for f in (PLAIN, fix))
        return abs(math.log(max(fixed, 1e-4) / max(plain, 1e-4)))

    solver, asked = max(cells, key=size)
    pair = [number(*record.value(solver, asked, f, distance)) for f in (PLAIN, fix)]
    return f"`{solver}` at {asked}: {' to '.join(pair)}"


def of(record: Record) -> tuple[str, str]:
    """Return network and grid."""
    return record.content["spec"]["model"], record.content["spec"]["grid"]


def title(record: Record) -> str:
    """Return network and grid."""
    return f"{', '.join(of(record))} grid"


SHARES = {
    "rounding": "rounding to float32",
    "probes": "one Rademacher probe per state",
    "batch": "the batch",
    "drift": "the drift of the plain Euler run's law from the network's own",
    "score": "the score error along the residual",
}
"""Parts of the error budget."""


def shares(rows: Sequence[dict[str, Any]]) -> str:
    """Return the least and the largest share of each part in the coefficient."""
    lines = []
    for name, words in SHARES.items():
        found = [abs(row["parts"][name]["value"] / row["exact"]["value"]) for row in rows]
        lines.append([words, f"{min(found):.1e}", f"{max(found):.1e}"])
    return table(["part of the coefficient's error, relative", "least", "largest"], lines)


def budget_words(rows: Sequence[dict[str, Any]]) -> str:
    """Return how the error budget was measured, and whether it closes."""
    first = [row for row in rows if row["solver"] == "euler"]
    squares = [row["z"] ** 2 for row in first]
    return (
        f"The batch has {rows[0]['batch']} states; expectations are over {rows[0]['states']:,} "
        f"states and {rows[0]['pool']:,} end points, which are off by {rows[0]['pool_error']:.2g} "
        "by Richardson's estimate. The parts add up to the whole within their joint error at every "
        f"level: over the {len(squares)} levels of Euler's step the mean square of z is "
        f"{sum(squares) / len(squares):.2f}, and in all {len(rows)} steps its largest size "
        f"{max(abs(row['z']) for row in rows):.1f} (Heun's share states with Euler's)."
    )


def nearest(found: Sequence[Record]) -> str:
    """Return the solver nearest to its flow, plain and by the fitted tables, by evaluations."""
    budgets = sorted({n for record in found for n in record.budgets})
    rows = [
        [*of(one), fix, *(best(one, n, fix) for n in budgets)]
        for one in found
        for fix in (PLAIN, AUTO)
    ]
    return table(["network", "grid", "correction", *map(str, budgets)], rows)


def coefficients(found: Sequence[Record]) -> str:
    """Return what the corrections did: how far they go, how often they are the plain step."""
    rows = [[*of(one), reach(one, STEIN), idle(one), kept(one)] for one in found]
    head = [f"coefficients of `{STEIN}`", f"steps at which `{CLIPPED}` is 1", f"`{AUTO}` kept"]
    return table(["network", "grid", *head], rows)


def extremes(found: Sequence[Record]) -> str:
    """Return the largest gain and the largest loss of every correction, by distance."""
    rows = [
        [*of(one), fix, words, *(most(one, fix, d, outcome) for outcome in ("gain", "loss"))]
        for one in found
        for fix in FIXES
        for d, words in DISTANCES.items()
    ]
    return table(
        ["network", "grid", "correction", "distance", "largest gain", "largest loss"], rows
    )


def short(every: Sequence[Record]) -> str:
    """Return the whole in a line per correction."""

    def count(fix: str) -> str:
        sums = [sum(n) for n in zip(*(tally(one, fix, "flow_error") for one in every), strict=True)]
        return f"gains in {sums[0]} and loses in {sums[1]} of {sum(sums)} cells"

    price = sorted(
        {3 * SUBSTEPS * 8 * one.calibration // one.content["spec"]["samples"] for one in every}
    )
    return "\n".join(
        [
            f"- `{STEIN}` {count(STEIN)} by flow error. From the second step on the states no "
            "longer follow the forward law, and the estimates explode.",
            f"- `{CLIPPED}` {count(CLIPPED)}. It is the plain step at most steps: an exact "
            "denoiser's coefficient is `1/(1 - kappa)`, above 1, save at the last step.",
            f"- `{AUTO}` {count(AUTO)}. Its calibration is not in the numbers of evaluations: for "
            f"eight steps it costs {' to '.join(map(str, price))} more per sample, of as few "
            "samples as here.",
        ]
    )


HOW = """\
`steinlab compare` compares every network with itself. *Flow error* is the root mean square
distance to the end points of its own long run from the same start states. *Energy distance* and
*sliced W2* are distances to independent long runs (`ipndm-4`, 64 and 128 steps). There are three
corrections:

- `stein` is the coefficient of Theorem 4.7, estimated on the batch with one Rademacher probe per
  state and clipped from below at 0.1 only, as the paper gives it;
- `stein in [0.1, 1]` is the same, clipped on both sides;
- `auto-v1` is a table of moves fitted to the network's flow on the first start states of the run.
  Half of them decide whether it is kept, so that some of the states measured have fitted it.

Errors are standard errors over the states and, in corrected rows, include the noise of the
coefficients. A correction *gains* or *loses* in a cell where the distance, or its logarithm,
differs from the plain run's by more than two joint standard errors. Both runs share their start
states, so that this criterion is conservative."""


PICTURES = f"""\
Rows show the same eight start states with the plain solver, corrected, and by the long run.
Coefficients are estimated on 512 states, tables fitted on 256 others than those shown. Grey is
{HSC_32.display.words}.

![galaxies, Karras grid](pictures/galaxies-karras.png)

![galaxies, logSNR grid](pictures/galaxies-logsnr.png)

```
steinlab networks-pictures compute karras.npz --grid karras --device cuda
steinlab networks-pictures draw karras.npz docs/pictures/galaxies-karras.png
```"""

LEAST_NOISE = """\
Nothing says down to which noise the galaxy networks were trained. A network sees the time through a
channel `t / 10`, so its output is nearly constant below some level, where the score must grow as
`1 / sigma`. Stein's identity, centred, `E<x - c, x - alpha D> = sigma^2 d` on noised samples of the
network's own, measures it. On HSC 32 x 32 it fails by -56 +- 4 % at `sigma / alpha = 0.02`, by
-6 +- 2 % at 0.05, by -1.5 +- 1.1 % at 0.1, and within 1 % above. The last level of a grid before
zero noise is therefore the least of 0.05, 0.1 and 0.2 where it fails by no more than 10 %."""

BUDGET_HOW = """\
`steinlab.coefficient.error_budget` splits the error of a coefficient that is
estimated on a small batch with one probe per state: `galaxies-hsc-32`, Karras grid of eight steps.
The law of its data is not known, so end points of the network's own flow, followed in float64,
stand for it, and the score error is the network's inconsistency with what it generates. The parts
are float32 against float64; probes against exact traces (all 1,024 Jacobian products of a state);
the batch against the expectation; the law of the plain Euler run against the network's own; and the
score error along the residual, which separates Stein's coefficient from Tweedie's. It takes about a
minute on an H100 and most of an hour on one core:

```
make galaxies
steinlab galaxy-budget --out budget.json --device cuda
```"""


def commands(record: Record) -> str:
    """Return how the record is made."""
    name = record.name
    return (
        f"```\nsteinlab compare docs/specs/networks/{name}.json --json {name}.json\n"
        f"steinlab networks-record docs/specs/networks/{name}.json {name}.json "
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


def tables_page(found: dict[str, Record]) -> str:
    """Return the page with every cell."""
    out = [
        "# Networks: every cell",
        "This page holds every cell of [networks.md](networks.md), which says what the numbers are "
        "and what they show. Bold: the correction gains by more than two joint standard errors "
        "over the plain run of the same solver; struck out: it loses. `[7]` is the number of "
        "evaluations spent where a solver cannot spend all. `steinlab pages` writes both pages.",
    ]
    for record in found.values():
        out += [f"## {title(record)}", commands(record), floor(record)]
        out += [f"{words}:\n\n{every_cell(record, d)}" for d, words in DISTANCES.items()]
    return "\n\n".join(out) + "\n"


def sizes(found: dict[str, Record]) -> str:
    """Return samples and calibration states of every network."""
    words = {}
    for one in found.values():
        fitting = 3 * SUBSTEPS
        words[one.content["spec"]["model"]] = (
            f"{one.content['spec']['samples']:,} samples of {one.content['spec']['model']}, of "
            f"which {one.calibration // 2} fit `auto-v1`'s tables and as many judge them"
        )
    return "; ".join(words.values()) + f" ({fitting} evaluations per step for each, once)"


def unrun(found: dict[str, Record]) -> list[str]:
    """Return what the specifications ask for and the records lack."""
    lines = [
        f"{title(one)}: "
        + ", ".join(f"{n} evaluations ({a} of {b} rows)" for n, (a, b) in one.unrun().items())
        for one in found.values()
        if one.unrun()
    ]
    return ["Not run yet: " + "; ".join(lines) + "."] if lines else []


def page(docs: Path, found: dict[str, Record]) -> str:
    """Return the page."""
    solvers = dict.fromkeys(s for s, _ in found[NAMES[0]].cells)
    every = list(found.values())
    out = [
        "# Networks: plain and corrected",
        "This page shows what corrections do on two networks: one of galaxies, one of digits. It "
        "says where each gains and loses against the plain solver, and what the error of an "
        "estimated coefficient is made of. Every cell is in "
        "[networks-tables.md](networks-tables.md). `steinlab pages` writes both pages from the "
        "records in [results/networks](results/networks).",
        "## What was run",
        f"Solvers: {', '.join(f'`{s}`' for s in solvers)}. States: {sizes(found)}.",
        *unrun(found),
        HOW,
        "## What the tables show",
        short(every),
        "The solver that is nearest to its flow, with its flow error, by evaluations:",
        nearest(every),
        "What the corrections did, over all solvers and numbers of evaluations:",
        coefficients(every),
        "## Gains and losses",
        "Cells (of solvers and numbers of evaluations) in which a correction gains / loses / does "
        "neither:",
        tallies(every),
        "Corrected flow error over the plain one's, geometric mean over the solvers, by "
        "evaluations:",
        ratios(every, "flow_error"),
        "The same for sliced W2:",
        ratios(every, "sliced_w2"),
        "The largest gain and the largest loss by each distance, plain to corrected; empty where "
        "there is none:",
        extremes(every),
        "## Pictures",
        PICTURES,
        "## The galaxies' least noise",
        LEAST_NOISE,
        "## The galaxies' error budget",
        BUDGET_HOW,
        budget_words(budget(docs)),
        shares(budget(docs)),
        "Step by step:",
        parts(budget(docs)),
    ]
    return "\n\n".join(out) + "\n"


def pages(docs: Path, ledger: Mapping[str, Any] | None) -> dict[str, str]:  # noqa: ARG001
    """Return both pages by file name, from the records below the folder of the pages."""
    found = records(docs)
    return {"networks.md": page(docs, found), "networks-tables.md": tables_page(found)}
