"""Flow error against evaluations on networks: plain, corrected and, where cheap, calibrated."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes

from steinlab.errors import InputError
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.budgets import GRID, LIMITS, REFERENCE, draw, errors, network_bench
from steinlab.report.figures.panels import take_away
from steinlab.report.figures.style import worded

SOLVER = "dpmpp-2m"


class Case(NamedTuple):
    """A model and what its price allows: states, those that calibrate, steps of the long run."""

    model: str
    states: int
    calibration: int
    steps: int
    budgets: tuple[int, ...]
    methods: tuple[str, ...]


CASES = (
    Case("digits-mlp", 160, 80, 97, (3, 5, 8, 12, 20), ("plain", "stein", "auto-v1")),
    Case("galaxies-hsc-32", 16, 0, 65, (5, 8, 12), ("plain", "stein")),
    Case("fashion-edm", 6, 0, 25, (5, 8), ("plain", "stein")),
)


def compute(seed: int, *, cases: tuple[Case, ...] = CASES) -> FigureData:
    """Return flow errors ``(method, budget, 3)`` by model, against each network's own long run.

    Errors are of the sample of states; the noise of coefficients is not among them.
    """
    arrays, records, skipped = {}, [], []
    for case in cases:
        try:
            bench = network_bench(case.model, case.states, seed, case.steps)
        except InputError as error:
            skipped.append(f"panel {case.model}: {error}")
            continue
        given = ([bench], SOLVER, case.budgets)
        found = [errors(*given, method, case.calibration) for method in case.methods]
        arrays[case.model] = np.array(found)
        record = {**case._asdict(), "measured_on": case.states - case.calibration}
        records.append({**record, "reference_error": bench.reference.error})
    config = {"cases": records, "solver": SOLVER, "reference": REFERENCE, "grid": GRID}
    return FigureData(arrays, {**config, "limits": LIMITS}, tuple(skipped))


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per model that was there; take the other panels away."""
    cases = data.config["cases"]
    for ax, case in zip(axes, cases, strict=False):
        values, name = data.arrays[case["model"]], case["model"]
        draw(ax, case["budgets"], values, case["methods"], case["reference_error"])
        ax.set_title(f"{worded(name)}, {case['measured_on']} states")
    axes[0].set_ylabel(f"flow error, {worded(data.config['solver'])}")
    axes[0].legend(loc="best")
    take_away(axes[max(len(cases), 1) :])


FIGURE = Figure(
    "error-evaluations-networks",
    "Flow error against evaluations of networks: plain, corrected and calibrated",
    compute,
    plot,
    columns=3,
    aspect=0.85,
    claims=("integration-error",),
)
