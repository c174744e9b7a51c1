"""Every solver at few evaluations: on exact laws, and on the U-Net by the stored runs.

The last panel is the distance to the network's own flow, :mod:`gpu_models.study.few_steps`. Solvers
that draw noise keep the law and not the flow; they and those that were not run are left out there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from gpu_models.study.design import Cell
from gpu_models.study.few_steps import FOLDER, GRID
from gpu_models.study.stored import read
from steinlab.report.figures import few_step_methods as exact
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import take_away
from steinlab.report.figures.style import worded

RANGE = (0.05, 1.0)
"""Root mean square distances per pixel between which the colours lie."""


def compute(seed: int, *, folder: Path = FOLDER, **options: Any) -> FigureData:
    """Return the exact laws' panels, and the network's distances ``(solver, budget)``, 0 for none.

    ``options`` are those of :func:`steinlab.report.figures.few_step_methods.compute`.
    """
    data, study = exact.compute(seed, **options), read(folder)
    solvers, budgets = data.config["solvers"], data.config["budgets"]
    found = np.zeros((len(solvers), len(budgets)))
    if study is None:
        return FigureData(data.arrays, data.config, ("panel of fashion-edm: no stored runs",))
    for i, solver in enumerate(solvers):
        for k, budget in enumerate(budgets):
            run = study.found.get(Cell(solver, budget, GRID, "none", 0).key, {})
            if "flow_error" in run:
                found[i, k] = run["flow_error"]["value"]
    network = {**study.head["config"], "flow": study.found["flow"], "runs": len(study.found) - 1}
    arrays = {**data.arrays, "network": found}
    return FigureData(arrays, {**data.config, "network": network})


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per law and one of the network."""
    *laws, last = axes
    exact.plot(laws, data)
    if "network" not in data.arrays:
        take_away([last])
        return
    image = exact.panel(last, data, data.arrays["network"], LogNorm(*RANGE))
    network = data.config["network"]
    exact.title(last, f"{worded(network['model'])}, {network['states']} states")
    bar = last.figure.colorbar(image, ax=last, extend="both", **exact.BELOW | {"aspect": 12})
    bar.set_label("flow error\nper pixel", fontsize="small")


FIGURE = Figure(
    "few-step-methods",
    "Every solver at 4 to 10 evaluations on three exact laws and a network",
    compute,
    plot,
    columns=4,
    aspect=2.2,
    column={"aspect": 5.5},
    claims=("weak-order", "analytic-variance"),
)
