"""Pictures of networks from the same starts: a few steps, plain and corrected, and a long run."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from steinlab.diffusion.models import load_model
from steinlab.diffusion.pictures import sheet
from steinlab.errors import InputError
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.budgets import GRID, LABELS, LIMITS, REFERENCE, end_of, network_bench
from steinlab.report.figures.panels import take_away
from steinlab.report.figures.style import worded

SOLVER = "dpmpp-2m"
METHODS = ("plain", "stein")
LONG = "long"
PICTURES, ACROSS = 8, 4


class Case(NamedTuple):
    """A model, the steps of its long run and the evaluations of the short ones."""

    model: str
    steps: int
    evaluations: int


CASES = (Case("digits-mlp", 97, 5), Case("galaxies-hsc-32", 65, 8), Case("fashion-edm", 25, 8))


def compute(seed: int, *, cases: tuple[Case, ...] = CASES) -> FigureData:
    """Return a sheet of pictures by model and method, ``uint8``, all from the same starts."""
    arrays, records, skipped = {}, [], []
    for case in cases:
        try:
            bench = network_bench(case.model, PICTURES, seed, case.steps)
        except InputError as error:
            skipped.append(f"row {case.model}: {error}")
            continue
        model = load_model(case.model)
        ends = {m: end_of(bench, SOLVER, case.evaluations, m) for m in METHODS}
        for name, states in {**ends, LONG: np.asarray(bench.ends)}.items():
            arrays[f"{case.model}_{name}"] = sheet(states, model.shape, model.display, ACROSS)
        records.append({**case._asdict(), "display": model.display.words})
    config = {
        **{"cases": records, "solver": SOLVER, "grid": GRID, "limits": LIMITS},
        **{"long_run": REFERENCE, "pictures": PICTURES},
        "coefficient_from": f"the {PICTURES} states shown",
    }
    return FigureData(arrays, config, tuple(skipped))


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a row per model; take the rows of models that were not there away."""
    columns = (*METHODS, LONG)
    panels = iter(axes)
    for case in data.config["cases"]:
        titles = [f"{LABELS[m]}\n{case['evaluations']} evaluations" for m in METHODS]
        titles.append(f"long run\n{case['steps']} evaluations")
        row = [next(panels) for _ in columns]
        for ax, name, title in zip(row, columns, titles, strict=True):
            picture = np.asarray(data.arrays[f"{case['model']}_{name}"])
            ax.imshow(picture, cmap="gray", vmin=0, vmax=255, interpolation="nearest")
            ax.set_title(title, fontsize="x-small")
            ax.set(xticks=[], yticks=[])
            for spine in ax.spines.values():
                spine.set_visible(False)
        row[0].set_ylabel(worded(case["model"]))
    left = list(panels)
    take_away(left if data.config["cases"] else left[1:])


FIGURE = Figure(
    "sample-grids",
    "Pictures of networks from the same starts: plain, corrected, and a long run",
    compute,
    plot,
    rows=3,
    columns=3,
    aspect=0.68,
    column={"aspect": 0.8},
    claims=("integration-error",),
)
