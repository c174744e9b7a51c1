"""The stability triangle as a map: step size against sensitivity, with the edge of contraction."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import SymLogNorm

from analytic import NoiseLevel
from steinlab.claims.contraction.contractivity_trap import Edge, find_edge, threshold
from steinlab.claims.contraction.two_mode_ridges import modes, ridge_slope
from steinlab.claims.instruments.random_steps import StepCases
from steinlab.coefficient.step_terms import Problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, DIVERGING, ORANGE, worded
from steinlab.solvers import EULER

PROCESS_IDS = ("edm", "vp-linear")
START = 4.0
"""Noise-to-signal ratio at which the steps begin."""

LENGTHS = np.geomspace(0.01, 4.0, 61)
SENSITIVITIES = np.geomspace(0.1, 10.0, 61)
EDGES = 6
"""Every so many lengths the edge is sought by bisection."""


def compute(seed: int) -> FigureData:  # noqa: ARG001
    """Return ``L_T`` on the map, the edge by the formula and the edge found, for each process.

    Two point masses at a distance that makes the largest ``D'`` the sensitivity wanted; the
    step's slope is read off at the ridge between them. Nothing is drawn at random.
    """
    arrays: dict[str, np.ndarray] = {"length": LENGTHS, "sensitivity": SENSITIVITIES}
    arrays["edge_length"] = LENGTHS[::EDGES]
    for name in PROCESS_IDS:
        s, t = _levels(name, np.repeat(LENGTHS, len(SENSITIVITIES)))
        wanted = np.tile(SENSITIVITIES, len(LENGTHS))
        half = np.sqrt(wanted * s.sigma[:, 0, 0] ** 2 / s.alpha[:, 0, 0])
        slope = ridge_slope(half, s, t).reshape(len(LENGTHS), -1)
        arrays[f"{name}_slope"] = np.ascontiguousarray(slope.T)
        arrays[f"{name}_threshold"] = threshold(Edge(*_levels(name, LENGTHS), LENGTHS))
        count = len(LENGTHS[::EDGES])
        some = Problem(modes(np.ones(count)), *_levels(name, LENGTHS[::EDGES]), EULER, None)
        cases = StepCases(some, np.zeros(count, dtype=int), np.ones(count, dtype=int))
        arrays[f"{name}_edge"] = find_edge(cases).found
    config = {"processes": list(PROCESS_IDS), "start": START, "solver": "euler"}
    return FigureData(arrays, config)


def _levels(name: str, lengths: np.ndarray) -> tuple[NoiseLevel, NoiseLevel]:
    process = PROCESSES[name]
    start = np.full((len(lengths), 1, 1), START)
    return process.level_at(start), process.level_at(start * np.exp(-lengths[:, None, None]))


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw the maps of ``L_T - 1`` with the edge, and one colour bar."""
    lengths, wanted = data.arrays["length"], data.arrays["sensitivity"]
    norm = SymLogNorm(0.01, vmin=-3.0, vmax=3.0)
    for ax, name in zip(axes, data.config["processes"], strict=True):
        mesh = ax.pcolormesh(
            lengths,
            wanted,
            data.arrays[f"{name}_slope"] - 1,
            norm=norm,
            cmap=DIVERGING + "_r",
            shading="gouraud",
            rasterized=True,
        )
        ax.plot(lengths, data.arrays[f"{name}_threshold"], color=BLACK, label=r"$(1-\kappa)/\beta$")
        ax.plot(
            data.arrays["edge_length"],
            data.arrays[f"{name}_edge"],
            linestyle="none",
            marker="o",
            color=BLACK,
            markerfacecolor=ORANGE,
            label="edge found",
        )
        ax.set(xscale="log", yscale="log", title=worded(name))
        ax.set_xlabel(r"step $h$ in $\log(\alpha/\sigma)$")
        ax.text(0.03, 0.95, "expands", transform=ax.transAxes, va="top")
        ax.text(0.03, 0.05, "contracts", transform=ax.transAxes, va="bottom")
    axes[0].set_ylabel(r"sensitivity $L_D$")
    axes[0].figure.colorbar(mesh, ax=list(axes), label=r"$L_T - 1$", extend="max", pad=0.02)
    axes[-1].legend(loc="lower right", frameon=True, facecolor="white", framealpha=0.9)


FIGURE = Figure(
    "stability-triangle",
    "Where a first-order step contracts: its length against the denoiser's sensitivity",
    compute,
    plot,
    columns=2,
    claims=("contractivity-trap", "lipschitz-bound"),
)
