"""The coefficient by every route along a schedule, exact and estimated from a batch."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analytic import GaussianMixture
from steinlab.coefficient.divergence import Hutchinson
from steinlab.coefficient.routes import coefficients
from steinlab.corrections import stein, tweedie
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.laws import problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, band, look, worded
from steinlab.solvers import EULER
from steinlab.solvers.step import Step

LAW = "three modes, 1-D"
PROCESS_IDS = ("edm", "vp-linear")
STEPS, STATES = 10, 1000
ROUTES = ("reference", "stein", "tweedie", "three_scalar")
ESTIMATES = ("stein", "tweedie")


def compute(seed: int) -> FigureData:
    """Return every route's coefficient of the first-order steps of two processes."""
    law, arrays = problem(LAW), {}
    assert isinstance(law, GaussianMixture)
    rng = np.random.default_rng(seed)
    for name in PROCESS_IDS:
        grid = make_grid(PROCESSES[name], "logsnr", STEPS, final_zero=False)
        steps = list(itertools.pairwise(grid))
        exact = [coefficients(law, s, t, EULER) for s, t in steps]
        arrays[f"{name}_ratio"] = np.array([s.sigma / s.alpha for s, _ in steps])
        arrays[f"{name}_exact"] = np.array([[e[r].value for r in ROUTES] for e in exact])
        arrays[f"{name}_exact_error"] = np.array([[e[r].error for r in ROUTES] for e in exact])
        estimated = []
        for s, t in steps:
            step = Step.take(law, EULER, s.noised(law.sample(STATES, rng), rng), s, t)
            made = (stein(divergence=Hutchinson()), tweedie())
            found = [correction(step, rng)[1].estimate for correction in made]
            estimated.append([[f.value, f.error] for f in found if f is not None])
        arrays[f"{name}_estimated"] = np.array(estimated)
    config = {"law": LAW, "steps": STEPS, "states": STATES, "solver": "euler", "grid": "logsnr"}
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw one panel per process."""
    for ax, name in zip(axes, PROCESS_IDS, strict=True):
        ratio = data.arrays[f"{name}_ratio"]
        ax.plot(ratio, data.arrays[f"{name}_exact"][:, 0], color=BLACK, label="exact, any route")
        for i, route in enumerate(ESTIMATES):
            value, error = data.arrays[f"{name}_estimated"][:, i].T
            label = f"{worded(route)}, {data.config['states']} states"
            band(ax, ratio, value, error, label=label, **look(i))
        ax.set_xscale("log")
        ax.invert_xaxis()
        ax.set_title(worded(name))
        ax.set_xlabel(r"noise ratio $\sigma/\alpha$ at the step's start")
    axes[1].set_yscale("symlog", linthresh=1.0)  # it runs over four decades of both signs
    axes[0].set_ylabel(r"coefficient $\gamma$")
    axes[-1].legend(loc="best")


FIGURE = Figure(
    "coefficient-routes",
    "The coefficient of first-order steps by every route along a schedule, in EDM and VP",
    compute,
    plot,
    columns=2,
    claims=("optimal-coefficient", "reference-free-coefficient"),
)
