"""Proof maps: where a statement is proved, where it is refuted, and what is left undecided."""

import textwrap
from collections.abc import Sequence
from functools import partial

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.patches import Patch

from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import GREEN, RED, worded
from steinlab.verification.continuum.search import OPEN, PROVED, REFUTED, Search
from steinlab.verification.continuum.statement import load_statement, read_box

Map = tuple[str, str | None, int]
"""A statement, the box as ``--box`` takes it, and the budget in boxes."""

TITLE = {2: 47, 3: 40}
"""Characters of a title's line, by the number of maps beside each other."""

COLOURED = "green proved, red refuted by a point, white undecided"

LABEL = 36
"""Characters of a line beside an axis."""

MARKS = (OPEN, PROVED, REFUTED)
COLOURS = {PROVED: GREEN, REFUTED: RED, OPEN: "white"}
SAID = {PROVED: "proved", REFUTED: "refuted", OPEN: "undecided"}

CONTRACTION: tuple[Map, ...] = (
    ("contraction-edm-euler", None, 800),
    ("contraction-vp-euler", None, 1500),
    ("contraction-edm-heun", "weight=1/5", 4000),
)
COEFFICIENT: tuple[Map, ...] = (
    ("coefficient-edm-heun", "separation=0:16,threshold=1", 3000),
    ("coefficient-vp-euler", "noise=10,threshold=1", 3000),
    ("coefficient-vp-euler", "noise=10,threshold=10", 3000),
)
FLOW_STEPS: tuple[Map, ...] = (
    ("clip-neutral-flow", None, 2000),
    ("moment-exact-nearer", None, 3500),
)
BOUND: tuple[Map, ...] = (
    ("bound-edm-euler", "separation=1:5,shift=0,threshold=1/2", 6000),
    ("bound-edm-euler", "separation=1:5,weight=7/10,threshold=9/10", 6000),
)
GAINS: tuple[Map, ...] = tuple(
    (f"gain-dpmpp-2m-{grid}", "steps=3:24,std=0.5:2", 3000)
    for grid in ("karras", "logsnr", "tangent")
)


def compute(seed: int, maps: Sequence[Map]) -> FigureData:  # noqa: ARG001
    """Search each statement; return the leaves of two open sides as rectangles and marks."""
    arrays: dict[str, np.ndarray] = {}
    panels = []
    for number, (name, text, budget) in enumerate(maps):
        statement = load_statement(name)
        box = read_box(statement, text)
        search = Search(statement, box)
        for _ in search.run(budget):
            pass
        axes = [i for i, (low, high) in enumerate(box) if low < high][:2]
        rows = []
        for leaf in search.root.leaves():
            sides = []
            for i in axes:
                low, high = (float(end) for end in leaf.box[i])
                room = 0.5 if statement.parameters[i].whole else 0.0
                sides += [low - room, high + room]
            rows.append([*sides, MARKS.index(leaf.mark)])
        arrays[f"leaves_{number}"] = np.array(rows)
        found = search.found
        panels.append(
            {
                "statement": name,
                "box": text,
                "sides": [statement.parameters[i].name for i in axes],
                "boxes": found.spent,
                "decided": found.decided,
                "proved": found.proved,
            }
        )
    return FigureData(arrays, {"maps": panels})


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Fill the boxes with their colours; white is undecided."""
    for number, (ax, panel) in enumerate(zip(axes, data.config["maps"], strict=True)):
        a, b, c, d, marks = data.arrays[f"leaves_{number}"].T
        corners = np.stack([np.stack(xy, -1) for xy in ((a, c), (b, c), (b, d), (a, d))], axis=1)
        for index, mark in enumerate(MARKS):
            colour = COLOURS[mark]
            edge = "none" if mark == OPEN else colour
            ax.add_collection(
                PolyCollection(
                    list(corners[marks == index]),
                    facecolors=colour,
                    edgecolors=edge,
                    linewidths=0.1,
                    rasterized=True,
                )
            )
        ax.set(xlim=(a.min(), b.max()), ylim=(c.min(), d.max()))
        said = worded(load_statement(panel["statement"]).title)
        fixed = "".join(f"{value}, " for value in _fixed(panel["box"], panel["sides"]))
        found = f"{fixed}{np.floor(1e3 * panel['decided'] + 1e-9) / 1e3:.1%} decided"
        ax.set_title(
            f"{textwrap.fill(said, TITLE[len(axes)], break_on_hyphens=False)}\n{found}",
            fontsize="small",
        )
        told = {one.name: one.text for one in load_statement(panel["statement"]).parameters}
        labels = [_labelled(worded(side), worded(told[side])) for side in panel["sides"]]
        ax.set_xlabel(textwrap.fill(labels[0], LABEL), fontsize="x-small")
        ax.set_ylabel(textwrap.fill(labels[1], LABEL), fontsize="x-small")
    patches = [
        Patch(facecolor=COLOURS[mark], edgecolor="black", linewidth=0.4, label=SAID[mark])
        for mark in (PROVED, REFUTED, OPEN)
    ]
    axes[0].legend(handles=patches, loc="upper right", frameon=True, framealpha=0.9)


def _labelled(name: str, text: str) -> str:
    """Return an axis' label: the side's name once, and what it is."""
    return text if text.startswith(name) else f"{name}: {text}"


def _fixed(box: str | None, sides: Sequence[str]) -> list[str]:
    """Return the parameters that a box holds fixed, in words: the sides are on the axes."""
    pairs = [one.split("=") for one in (box or "").split(",") if one]
    return [f"{name} {value}" for name, value in pairs if name not in sides]


def _figure(name: str, title: str, maps: Sequence[Map], *claims: str) -> Figure:
    return Figure(
        f"proof-map-{name}",
        f"{title}: {COLOURED}",
        partial(compute, maps=maps),
        plot,
        columns=len(maps),
        aspect=0.85,
        claims=claims,
    )


CONTRACTION_MAP = _figure(
    "contraction", "Where a step is proved to contract", CONTRACTION, "contractivity-trap"
)
COEFFICIENT_MAP = _figure(
    "coefficient",
    "Where gamma* is proved to be above 1, and above 10",
    COEFFICIENT,
    "geometry-blindness",
)
FLOW_STEP_MAP = _figure(
    "flow-steps",
    "Where a clip at 1 is neutral, and where the moment-exact step is nearer to the flow",
    FLOW_STEPS,
    "clip-neutrality",
    "moment-exact-step",
)
BOUND_MAP = _figure(
    "bound", "How tight the perturbation bound is proved to be", BOUND, "perturbation-bound"
)
GAIN_MAP = _figure("gain", "Where a run is proved to be right to 1 %", GAINS, "cosine-law")
