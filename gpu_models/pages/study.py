"""Make docs/study.md and docs/study-runs.md from the stored study; every number is computed."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gpu_models.pages.study_table import (
    CLEAR,
    by_part,
    cells,
    coefficients,
    cost,
    denoiser,
    headline,
    lipschitz,
    seeds,
    speeds,
    summaries,
)
from gpu_models.pages.study_words import findings, listed, state
from gpu_models.study.pairs import LARGEST
from gpu_models.study.stored import RESULTS, Stored, read
from steinlab.errors import InputError

LEGEND = (
    "FD-EffLite0 is the Frechet distance on EfficientNet-Lite0's features, never FID; "
    "FD-classifier that on a small classifier's. Artifacts are samples farther from the training "
    "set, in the classifier's features, than 99 % of the test pictures ({floor} of held-out ones). "
    "Errors are standard errors over the samples; flow error is the root mean square a pixel to a "
    "long run's end points, the network's own flow. A cell is better or worse where the "
    "difference exceeds its joint error at a family-wise level of 1e-3, the two errors joined as "
    "if independent (the runs share their start states, so this is conservative). Means are "
    "geometric over solvers, budgets and grids, seeds averaged first, with Student's 95 % "
    "interval; runs that left the finite numbers, and ratios beyond {cap:g}, count as {cap:g}. "
    "The best plain solver is that of the record at the same budget, grid and seed; a run that is "
    f"clearly better is so by {CLEAR:g} joint standard errors."
)


def filled(text: str, indent: str = "") -> str:
    """Return a paragraph in lines of a hundred characters."""
    return textwrap.fill(
        text, 100, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )


def floor(study: Stored) -> str:
    """Return the artifact rate of held-out pictures."""
    rate = next((r["artifacts"] for r in study.runs.values() if "artifacts" in r), None)
    return f"{rate['floor']:.1%} +- {rate['floor_error']:.1%}" if rate else "1 %"


def sections(study: Stored, folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield title, a line or two, and the table of what the record has."""
    yield "Corrections, over their plain twins", "", summaries(study)
    said = "Flow error over the plain run's."
    yield "By budget", said, by_part(study, "evaluations")
    yield "By solver", said, by_part(study, "solver")
    yield "Headline runs", "Seed 0. [study-runs.md](study-runs.md) has all.", headline(study)
    yield (
        "Seeds",
        "Mean over seeds, their standard deviation, and (a run's own error).",
        seeds(study),
    )
    yield "Cost", "Medians over rounds; products are counted a state of the run.", cost(study)
    yield (
        "Lipschitz constants along trajectories",
        "Least, median and largest over the trajectories; longer runs in "
        "[study-runs.md](study-runs.md).",
        lipschitz(study, study.size.lipschitz_steps[:1]),
    )
    yield (
        "Denoiser",
        "Mean squares a pixel: the network to the clean picture, the exact denoiser to it, network "
        "to exact; the exact denoiser of the training set as Gaussians of deviation 0.2; mean "
        "divergence of the exact one.",
        denoiser(study),
    )
    yield (
        "Coefficient",
        "Forward states of training pictures; `stein - tweedie` is `E<u, D - x_star> / E|u|^2` "
        "with the exact posterior mean, `bound` is `C sqrt(F)` with the measured score error.",
        coefficients(study),
    )
    yield "Two cards", "", speeds(folder)


def page(study: Stored, folder: Path) -> str:
    """Return docs/study.md."""
    size = study.size
    grids = listed([{"karras": "Karras", "logsnr": "logSNR"}.get(g, g) for g in size.grids])
    parts = [
        "# The study on a neural denoiser",
        filled(
            "The network is `fashion-edm` ([fashion-edm.md](fashion-edm.md)): an "
            "EDM-preconditioned U-Net of 7.8 million parameters on the 60,000 training pictures "
            "of Fashion-MNIST. The same solver and correction objects as everywhere else, float64 "
            f"states on {listed(study.devices)}, float16 products inside the network where it "
            f"samples, float32 where it is differentiated; {size.samples:,} samples a run, "
            f"{grids} grids on EDM."
        ),
        filled(state(study)),
        "```\nsteinlab study --data DIR --out gpu_models/results --shard 0/1\nsteinlab pages\n```",
        filled(
            "The claims `neural-coefficient`, `neural-integration-error`, "
            "`neural-clipped-gain`, `artifact-reduction`, "
            "`coverage` and `correction-cost` are judged on the same record "
            "([findings.md](findings.md)); `steinlab figures study-runs study-coefficients "
            "study-lipschitz` draws it."
        ),
        "## What it found",
        "\n".join(filled(f"- {one}", "  ") for one in findings(study, folder)),
        filled(LEGEND.format(floor=floor(study), cap=LARGEST)),
    ]
    for title, words, text in sections(study, folder):
        if text:
            parts += [f"## {title}", *([filled(words)] if words else []), text]
    return "\n\n".join(parts) + "\n"


def runs_page(study: Stored) -> str:
    """Return docs/study-runs.md."""
    parts = [
        "# Every run of the study",
        f"{len(study.runs)} of {len(study.design)} runs; [study.md](study.md) says what they are "
        "and what they show.",
    ]
    for seed in range(study.size.seeds):
        text = cells({c: r for c, r in study.runs.items() if c.seed == seed})
        if text:
            parts += [f"## Seed {seed}", text]
    steps = lipschitz(study, study.size.lipschitz_steps)
    if steps:
        parts += ["## Lipschitz constants along trajectories", steps]
    return "\n\n".join(parts) + "\n"


def pages(docs: Path, ledger: Mapping[str, Any] | None) -> dict[str, str]:  # noqa: ARG001
    """Return the pages by file name, of the record that comes with the package."""
    return pages_of(RESULTS)


def pages_of(folder: Path) -> dict[str, str]:
    """Return the pages by file name, from a folder of results."""
    study = read(folder)
    if study is None:
        raise InputError(f"{folder} must hold study-*.jsonl, found none")
    return {"study.md": page(study, folder), "study-runs.md": runs_page(study)}
