"""The error of whole runs on every Gaussian with deviations in a range, enclosed."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.continua.spectra import TOLERANCE, spectrum
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import GREY, look, worded

GRIDS = ("karras", "logsnr", "tangent")
SOLVERS = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc-2", "ipndm-3")
STEPS = (3, 4, 6, 8, 10, 16, 25, 40, 64, 100)
RANGE = (0.05, 2.0)


def compute(
    seed: int,  # noqa: ARG001
    solvers: Sequence[str] = SOLVERS,
    steps: Sequence[int] = STEPS,
) -> FigureData:
    """Enclose the largest error of each run: rows of solvers, columns of numbers of steps."""
    arrays: dict[str, np.ndarray] = {"steps": np.array(steps)}
    for grid in GRIDS:
        found = [[spectrum(name, grid, n, *RANGE) for n in steps] for name in solvers]
        for key in ("least", "most", "worst"):
            arrays[f"{grid}_{key}"] = np.array([[getattr(x, key) for x in row] for row in found])
    return FigureData(arrays, {"solvers": list(solvers), "std": list(RANGE)})


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw the proved bands, narrower than a line, and the tolerance of 1 %."""
    for ax, grid in zip(axes, GRIDS, strict=True):
        for i, name in enumerate(data.config["solvers"]):
            steps, keywords = data.arrays["steps"], look(i)
            least, most = (data.arrays[f"{grid}_{key}"][i] for key in ("least", "most"))
            ax.plot(steps, most, label=worded(name), **keywords)
            ax.fill_between(steps, least, most, color=keywords["color"], alpha=0.3, linewidth=0)
        ax.axhline(TOLERANCE, color=GREY, linestyle="dotted", linewidth=0.8)
        ax.set(xscale="log", yscale="log", xlabel="steps", ylim=(3e-4, 60))
        ax.set_title(f"{worded(grid)} grid", fontsize="small")
    low, high = data.config["std"]
    axes[0].set_ylabel(f"largest error of the gain,\nstd from {low:g} to {high:g}")
    axes[-1].legend(fontsize="x-small", loc="lower left")


FIGURE = Figure(
    "proof-map-spectra",
    "How far a run's gain on a Gaussian is proved to be off, at worst over all of them",
    compute,
    plot,
    columns=3,
    aspect=0.85,
    claims=("cosine-law",),
)
