"""Make docs/study.md and docs/study-runs.md from the stored study; every number is computed."""

import json
import math
import textwrap
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from gpu_models.claims.correction_cost import AIM, prices, timed
from gpu_models.claims.gains import outcomes
from gpu_models.claims.neural_coefficient import PROBES, largest
from gpu_models.pages import entrants
from gpu_models.pages.study_table import (
    CLEAR,
    RULES,
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
from gpu_models.study.design import FAIR
from gpu_models.study.pairs import (
    CALIBRATED,
    CELL_LEVEL,
    CLIPPED,
    LARGEST,
    RULE,
    Pair,
    pairs_of,
    summary,
)
from gpu_models.study.stored import RESULTS, Stored, read
from steinlab.errors import InputError
from steinlab.verification.significance import critical

WORDS = {"flow_error": "flow error", "artifacts": "artifact rate"}
ASKED = {"denoiser": "the denoiser's error", "coefficients": "the coefficient and the bound"}
ASKED |= {"lipschitz": "Lipschitz constants along trajectories", "cost": "costs in seconds"}
EARLY = 2.0
"""Noise below which the training set's exact denoiser becomes a nearest neighbour."""
MEASURES = "The table [of corrections](#corrections-over-plain-runs) has the other measures."
COLLAPSED = 10.0
"""A second coefficient beyond it is no coefficient of the forward coupling's."""


def listed(words: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)


def state(study: Stored) -> str:
    """Say what has run and what has not."""
    there = {name: words for name, words in ASKED.items() if name not in study.missing}
    done = [(c, sum(cell.correction == c for cell in study.runs)) for c in RULES]
    runs = ", ".join(f"{n} {RULES[c]}" for c, n in done if n)
    asked = len(study.design)
    told = listed(list(there.values()))
    out = f"**What has run.** {told[:1].upper()}{told[1:]}; " if there else ""
    out += f"{len(study.runs)} of the {asked} runs ({runs}). "
    absent = [ASKED[name] for name in study.missing]
    left = asked - len(study.runs)
    if left:
        absent = [f"{left} runs", *absent]
    if absent:
        out += f"**What has not:** {listed(absent)}. Nothing is said about those here. "
    return out.strip()


def _z(a: Any, b: Any) -> float:
    return float((a["value"] - b["value"]) / math.hypot(a["error"], b["error"]))


def _sure(value: float) -> dict[str, float]:
    return {"value": value, "error": 0.0}


def theorem(study: Stored) -> Iterator[str]:
    """Say whether the coefficient on the network is the theory's."""
    rows = study.rows("coefficients")
    if not rows:
        return
    own = [row for row in rows if "bound" in row]
    z = [_z(row["gamma"][p], row["gamma"]["reference"]) for row in rows for p in PROBES]
    exact = [_z(row["gamma"][p], _sure(row["exact_gamma"])) for row in own for p in PROBES]
    agree, first = (
        f"{sum(abs(v) < critical(len(u), level=CELL_LEVEL) for v in u)} of {len(u)}"
        for u in (z, exact)
    )
    yield (
        "**The coefficient measured on the network is the theory's.** Under the forward coupling "
        "of real pictures the reference-free coefficient of Theorem 4.7 agrees with the "
        f"reference-based optimum of the network's own step in {agree} comparisons (largest "
        f"{max(map(abs, z)):.1f} joint standard errors): Euler's and Heun's steps, one Rademacher "
        "probe and the paper's five Gaussian ones. The theorem needs no exact denoiser. For "
        f"first-order steps it is `1/(1 - kappa)` within its error in {first}, as for every exact "
        "law."
    )
    less = max(own[1:], key=lambda row: float(row["tightness"]))
    last = [row for row in own if row["from"] < EARLY]
    small = max([row["tightness"] for row in last], default=less["tightness"])
    begin = max([row["from"] for row in last], default=less["from"])
    yield (
        "**The bound holds with the measured score error**, and says little at small noise: its "
        f"tightness is {own[0]['tightness']:.2f} at sigma {own[0]['from']:.3g}, {small:.1g} or "
        f"less from sigma {begin:.2g} down. There the exact denoiser of the training set is a "
        "nearest neighbour and the distance to it measures generalisation, not error."
    )


def reading(study: Stored) -> Iterator[str]:
    """Say from where on the network generalises."""
    rows = study.rows("denoiser")
    if not rows:
        return
    parts = {name: [r for r in rows if r["pictures"] == name] for name in ("train", "test")}
    falls = ", ".join(
        f"{row['exact_0']['divergence']['value']:.2g} at sigma {row['sigma']:.2g}"
        for row in parts["train"]
        if 0.5 < row["sigma"] < 4
    )
    own = {r["sigma"]: r["network_to_picture"] for r in parts["test"]}
    exact = {r["sigma"]: r["exact_0"]["to_picture"] for r in parts["test"]}
    nearer = max((s for s in own if _z(own[s], exact[s]) < -CLEAR), default=0.0)
    trained = {r["sigma"]: r["network_to_picture"]["value"] for r in parts["train"]}
    gap = max(abs(own[s]["value"] / trained[s] - 1) for s in own)
    yield (
        "**Where that reading begins.** On training pictures the exact denoiser's divergence is "
        f"{falls}. From sigma {nearer:.2g} down the network is nearer to unseen test pictures than "
        "the exact denoiser of the training set is: it generalises, the exact one does not. "
        f"Training and test errors of the network differ by {gap:.1%} at most."
    )


def corrections(study: Stored) -> Iterator[str]:
    """Say what each correction does to the runs."""
    openings = {
        RULE: "**The paper's rule**, clipped from below only",
        CLIPPED: "**The rule clipped to [0.1, 1]**",
        CALIBRATED: "**The calibrated table**, which is ours",
    }
    for family, opening in openings.items():
        s = summary(pairs_of(study, family), "flow_error")
        if s:
            cells = s.improved + s.worsened + s.undecided
            same = f" ({s.unchanged} of them unchanged)" if s.unchanged else ""
            yield (
                f"{opening}: its flow error is {s.mean:.3g} ({s.low:.3g} to {s.high:.3g}) of the "
                f"plain run's: better in {s.improved} of {cells} cells, worse in {s.worsened}, "
                f"undecided in {s.undecided}{same}. {MEASURES} {_gammas(study, family)}"
            ).strip()


def _gammas(study: Stored, family: str) -> str:
    found = [pair for pair in pairs_of(study, family) if not pair.stopped]
    second = [p.other["estimates"][1] for p in found if len(p.other.get("estimates", ())) > 1]
    values = [estimate[0] for estimate in second if estimate]
    stopped = len(pairs_of(study, family)) - len(found)
    words = []
    if family == RULE and max(values, default=0.0) > COLLAPSED:
        words.append(
            f"The second step's coefficient is estimated at {min(values):.2g} to "
            f"{max(values):,.0f}: the collapse towards the posterior mean breaks the forward "
            "coupling."
        )
    if stopped:
        names = [pair.name for pair in pairs_of(study, family) if pair.stopped]
        few = f" ({'; '.join(names)})" if stopped <= 8 else ""
        words.append(f"{stopped} runs leave the finite numbers{few}.")
    if family == CALIBRATED:
        own = [p for p in found if not p.cell.seed]  # seeds share a table
        kept = sum(not p.other["table"]["note"] for p in own)
        prices = [p.other["price_evaluations"] / study.size.calibration for p in own]
        words.append(
            f"{kept} of {len(own)} tables move a step, the others found no gain and leave the "
            f"plain solver. A table cost {min(prices):.0f} to {max(prices):.0f} evaluations for "
            f"each of {study.size.calibration} calibration states, once."
        )
    return " ".join(words)


def fair(study: Stored) -> Iterator[str]:
    """Say what the definition's coefficient, clipped on both sides, does to the runs."""
    found = {rule: pairs_of(study, rule) for rule in FAIR}
    said = outcomes(found, {"flow_error": WORDS["flow_error"]})
    if said:
        where = listed(study.devices_of(p.cell.key for own in found.values() for p in own))
        yield (
            "**The definition's coefficient, clipped on both sides**: Tweedie's, without the bias "
            "of a divergence in `x` alone, which the paper clips from below only; in EDM's own and "
            f"in VP coordinates, seed 0, on {where}. Geometric means over the plain run {said}. "
            f"{_by_solver(study, found)}{MEASURES} {_again(study)}"
        ).strip()


def _by_solver(study: Stored, found: Mapping[str, Sequence[Pair]]) -> str:
    """Name the solvers from the largest gain to the least, for the widest clip."""
    parts = []
    for rule in (rule for rule, clip in FAIR.items() if clip.low == min(FAIR.values()).low):
        own = {
            solver: s
            for solver in study.size.solvers
            if (s := summary([p for p in found[rule] if p.cell.solver == solver], "flow_error"))
        }
        order = sorted(own, key=lambda solver: own[solver].mean)
        if order:
            means = ", ".join(f"{solver} {own[solver].mean:.3g}" for solver in order)
            parts.append(f"{RULES[rule]}: {means}")
    return f"Flow error by solver, {'; '.join(parts)}. " if parts else ""


def _again(study: Stored) -> str:
    """Say how far plain runs that were run again lie from those recorded first."""
    rows = [row for row in study.rows("again") if "flow_error" in row]
    pairs = [(r, study.found[r["run"]]) for r in rows if "flow_error" in study.found[r["run"]]]
    if not pairs:
        return ""
    z = [abs(_z(new["flow_error"], old["flow_error"])) for new, old in pairs]
    ratio = [abs(n["flow_error"]["value"] / o["flow_error"]["value"] - 1) for n, o in pairs]
    return (
        f"{len(pairs)} plain runs repeated have the flow error recorded before to "
        f"{max(ratio):.1g} of it, {max(z):.1g} joint standard errors at most."
    )


def plain(study: Stored) -> Iterator[str]:
    """Say which plain solver leads on the Karras grid, budget by budget."""
    leads = {name: _leaders(study, name) for name in ("FD-EffLite0", "flow_error")}
    said = [f"in {WORDS.get(name, name)} {', '.join(words)}" for name, words in leads.items()]
    if all(leads.values()):
        yield (
            f"**Plain solvers**, Karras grid, seed 0: the least {'; '.join(said)} (those within "
            f"{CLEAR:g} joint standard errors of the least)."
        )


def _leaders(study: Stored, name: str) -> list[str]:
    words = []
    for budget in study.size.evaluations:
        here = [
            (row[name], cell.solver)
            for cell, row in study.runs.items()
            if (cell.correction, cell.seed, cell.grid) == ("none", 0, "karras")
            and cell.evaluations == budget
            and name in row
        ]
        if len(here) > 2:
            least = min((row for row, _ in here), key=lambda row: float(row["value"]))
            near = [solver for row, solver in here if _z(row, least) < CLEAR]
            words.append(f"{listed(near)} at {budget} ({least['value']:.3g})")
    return words


def trap(study: Stored) -> Iterator[str]:
    """Say how expansive the steps are along trajectories."""
    found = largest(study.rows("lipschitz"))
    if found:
        words = [
            f"{top:.3g} at {n} evaluations ({above} of {steps} steps above 1)"
            for n, (top, _, above, steps) in found.items()
        ]
        yield (
            f"**Strict contraction.** Along {study.size.lipschitz} Euler trajectories the largest "
            f"local Lipschitz constant of a step is {', '.join(words)}: estimates from below by "
            "power iteration, to hold against the threshold 1 (`steinlab figures study-lipschitz`)."
        )


def costs(study: Stored) -> Iterator[str]:
    """Say what the corrections cost."""
    for found in study.rows("cost"):
        said = []
        for states, rows in timed(found).items():
            within = [
                f"{row['correction']} ({row['ratio']:.3g})"
                for row in rows
                if row["ratio"] <= AIM and row["correction"] != "plain"
            ]
            said.append(f"{listed(within) or 'none'} on {states:,} states")
        yield (
            f"**Cost** ({found['solver']}, {found['steps']} steps). Within {AIM:g} times the plain "
            f"run's time, by the median of the rounds: {'; '.join(said)}. {prices(found)}."
        )


def cards(folder: Path) -> Iterator[str]:
    """Say what a second card brings, at each batch that one card was timed at too."""
    texts = (file.read_text(encoding="utf-8") for file in folder.glob("speed-*.json"))
    found = sorted(map(json.loads, texts), key=lambda one: (one["batch"], one["processes"]))
    alone = {one["batch"]: one for one in found if one["processes"] == 1}
    for two in (one for one in found if one["processes"] > 1 and one["batch"] in alone):
        train, evaluate = (
            two[k]["images_per_second"] / alone[two["batch"]][k]["images_per_second"]
            for k in ("train", "evaluate")
        )
        why = f": {two['micro_batch']} pictures per card do not fill it" if train < 1 else ""
        yield (
            f"**{two['processes']} cards** ({two['device']}) run the same code (`torchrun "
            f"--nproc-per-node {two['processes']}`, NCCL). Evaluation is {evaluate:.2f} times as "
            f"fast, training at a batch of {two['batch']} {train:.2f} times{why}."
        )


def findings(study: Stored, folder: Path) -> list[str]:
    """Return all sentences."""
    parts = (theorem, reading, corrections, fair, plain, trap, costs)
    return [*(s for part in parts for s in part(study)), *cards(folder)]


LEGEND = (
    "FD-EffLite0 is the Frechet distance on EfficientNet-Lite0's features (no FID); "
    "FD-classifier that on a small classifier's. Artifacts are samples farther from the training "
    "set, in the classifier's features, than 99 % of the test pictures ({floor} of held-out ones). "
    "Errors are standard errors over the samples; flow error is the root mean square distance per "
    "pixel to the end points of the network's own flow (a long run). A cell is better or worse "
    "where the "
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
    yield "Corrections, over plain runs", "", summaries(study)
    said = "Flow error over the plain run's."
    yield "By budget", said, by_part(study, "evaluations")
    yield "By solver", said, by_part(study, "solver")
    yield "Headline runs", "Seed 0. [study-runs.md](study-runs.md) has all.", headline(study)
    yield (
        "Seeds",
        "Mean over seeds, their standard deviation, and (a run's own error).",
        seeds(study),
    )
    yield "Cost", "Medians over rounds; products are counted per state of the run.", cost(study)
    yield (
        "Lipschitz constants along trajectories",
        "Least, median and largest over the trajectories; longer runs in "
        "[study-runs.md](study-runs.md).",
        lipschitz(study, study.size.lipschitz_steps[:1]),
    )
    yield (
        "Denoiser",
        "Mean squares per pixel: the network to the clean picture, the exact denoiser to it, the "
        "network to the exact denoiser; then the exact denoiser of the training set as Gaussians "
        "of deviation 0.2, and the mean divergence of the exact denoiser.",
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
            "This page shows what the paper's coefficient does on a trained network, and what it "
            "costs. The network is `fashion-edm` ([fashion-edm.md](fashion-edm.md)), a U-Net of "
            "7.8 million parameters on the 60,000 training pictures of Fashion-MNIST. You learn "
            "whether theory holds on it, which corrections gain, where, and at which price. "
            "[study-runs.md](study-runs.md) lists every run; `steinlab study` runs and resumes the "
            "study, and `steinlab pages` writes both pages from its record:"
        ),
        "```\nsteinlab study --data DIR --out gpu_models/results --shard 0/1\n"
        "steinlab pages --only study.md,study-runs.md\n```",
        "## The runs",
        filled(
            f"**Setting.** States are float64 on {listed(study.devices)}. Products inside the "
            "network are float16 where it samples, float32 where it is differentiated. Each run "
            f"has {size.samples:,} samples, on {grids} grids on EDM, with the solver and "
            "correction objects of the other pages."
        ),
        filled(state(study)),
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
    second = read(folder / "entrants")
    if second is not None:
        told = map(filled, entrants.words(second))
        parts += ["## Entrants, over the best plain solver", *told, entrants.rows(second)]
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
