"""The pages on networks, from the records in docs/results/networks.

Every number of a sentence is computed from the records; how a record is made is on the page.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steinlab.report.pages import number
from steinlab.solvers.reference_flow import SUBSTEPS
from toy_models.galaxies.models import HSC_32
from toy_models.pages.networks_record import DISTANCES, Record
from toy_models.pages.networks_tables import (
    NAMES,
    budget,
    every_cell,
    parts,
    ratios,
    records,
    tallies,
)
from toy_models.pages.networks_words import budget_words, seen, short, title

HOW = """\
Every network is compared with itself, by `steinlab compare`: *flow error* is the root mean square
distance to the end points of its own long run from the same start states, *energy distance* and
*sliced W2* are distances to independent long runs (`ipndm-4`, 64 and 128 steps). Corrections are
`stein`, the coefficient of Theorem 4.7 estimated on the batch with one Rademacher probe a state and
clipped from below at 0.1 only, as the paper gives it; the same clipped to [0.1, 1]; and `auto`, a
table of moves fitted to the network's flow on the first start states of the run, half of which
decide whether it is kept; so some of the states measured have fitted it. Errors are standard errors
over the states and, in corrected rows, hold the noise of the coefficients. A correction *gains* or
*loses* in a cell where the distance, or its logarithm, differs from the plain run's by more than
two joint standard errors; both runs share their start states, so that is on the cautious side."""


PICTURES = f"""\
The same eight start states by the plain solver, corrected, and followed to the end. Coefficients
are estimated on 512 states, tables fitted on 256 others than those shown. Shown is
{HSC_32.display.words}.

![galaxies, Karras grid](pictures/galaxies-karras.png)

![galaxies, logSNR grid](pictures/galaxies-logsnr.png)

```
steinlab networks-pictures compute karras.npz --grid karras --device cuda
steinlab networks-pictures draw karras.npz docs/pictures/galaxies-karras.png
```"""

BUDGET_HOW = """\
`steinlab.coefficient.error_budget` on `galaxies-hsc-32`, Karras grid of eight steps, against end
points of the network's own flow followed in float64 (its data's law is not known, so the score
error is the network's inconsistency with what it generates). Estimated on a small batch with one
probe a state; exact traces are all 1,024 Jacobian products of a state. The parts: float32 against
float64, probes against exact traces, the batch against the expectation, the law of the plain Euler
run against the network's own, and the score error along the residual, which separates the Stein
from Tweedie's coefficient. About a minute on an H100, most of an hour on one core:

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
        "Written by `steinlab pages`; [networks.md](networks.md) says what the "
        "numbers are and what they show. Bold: the correction gains by more than two joint "
        "standard errors over the plain run of the same solver; struck out: it loses. `[7]` is "
        "what a budget allowed to spend.",
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
            f"which {one.calibration // 2} fit `auto`'s tables and as many judge them"
        )
    return "; ".join(words.values()) + f" ({fitting} evaluations a step for each, once)"


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
    out = [
        "# Networks: plain and corrected",
        "Written by `steinlab pages` from the records in "
        f"[results/networks](results/networks). Solvers {', '.join(f'`{s}`' for s in solvers)}; "
        f"{sizes(found)}. Every cell is in [networks-tables.md](networks-tables.md).",
        *unrun(found),
        HOW,
        "## What is seen",
        short(found),
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
        budget_words(budget(docs)),
        parts(budget(docs)),
    ]
    return "\n\n".join(out) + "\n"


def pages(docs: Path, ledger: Mapping[str, Any] | None) -> dict[str, str]:  # noqa: ARG001
    """Return both pages by file name, from the records below the folder of the pages."""
    found = records(docs)
    return {"networks.md": page(docs, found), "networks-tables.md": tables_page(found)}
