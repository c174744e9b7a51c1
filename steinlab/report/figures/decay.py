"""The decay identity along a run, and what iterating the reference-free coefficient does."""

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.error_bounds import trajectories
from steinlab.claims.error_bounds.trajectories import STATES, Choice, follow
from steinlab.diffusion.laws import problem
from steinlab.estimates import geometric_mean
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, GREY, look

LAW = "ring, 2-D"
PROCESSES = {"edm": "EDM", "vp-linear": "VP, linear", "flow": "rectified flow"}
STEPS, RUNS = 8, 12


CHOICES: Mapping[str, Choice] = {**trajectories.CHOICES, "plain": lambda _reference, _stein: 1.0}
LABELS = {
    "reference": r"measured, $\gamma^*$ by reference",
    "stein": r"measured, $\hat\gamma$ without one",
    "plain": r"measured, plain, $\gamma = 1$",
}


def compute(seed: int, *, runs: int = RUNS) -> FigureData:
    """Return ``Err / V`` before every step and at the end, ``(process, choice, step)``.

    Geometric means over independent runs, within two standard errors of the mean logarithm;
    ``predicted`` is the product of ``1 - rho`` of the reference-based runs, from the same starts.
    """
    cells = itertools.product(PROCESSES, CHOICES, range(runs))
    found = [_run(name, choice, np.random.default_rng([seed, i])) for name, choice, i in cells]
    shape = (len(PROCESSES), len(CHOICES), runs, STEPS + 1)
    logs, products = (np.log(part).reshape(shape) for part in zip(*found, strict=True))
    names = list(CHOICES)
    measured, low, high = geometric_mean(logs, errors=2.0, axis=2)
    arrays = {
        "runs": np.exp(logs),
        "measured": measured,
        "low": low,
        "high": high,
        "predicted": np.exp(products[:, names.index("reference")].mean(axis=1)),
    }
    config = {"law": LAW, "processes": list(PROCESSES), "choices": names, "runs": runs}
    return FigureData(arrays, {**config, "steps": STEPS, "states": STATES, "grid": "karras"})


def _run(process: str, choice: str, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Return ``Err`` step by step over ``V`` at the start, and the product that predicts it."""
    law, choose = problem(LAW), CHOICES[choice]
    run = follow(law, process, choose, solver="euler", steps=STEPS, rng=rng)
    factors = np.array([1 - m.u_ref**2 / (m.u_u * m.err) for m in run.met])
    product = run.errors[0] * np.cumprod([1.0, *factors])
    return run.errors / run.floor, product / run.floor


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw one panel per process: the product solid, measurements with bands, the floor V."""
    steps, arrays = np.arange(data.config["steps"] + 1), data.arrays
    for k, (ax, name) in enumerate(zip(axes, data.config["processes"], strict=True)):
        ax.plot(steps, arrays["predicted"][k], color=BLACK, label=r"theory, $\prod(1-\rho_k)$")
        for i, choice in enumerate(data.config["choices"]):
            style = look(i)
            low, value, high = (arrays[part][k, i] for part in ("low", "measured", "high"))
            ax.plot(steps, value, linestyle="none", label=LABELS[choice], **style)
            ax.fill_between(steps, low, high, color=style["color"], alpha=0.25, linewidth=0)
        ax.axhline(1.0, color=GREY, linestyle=":", linewidth=0.7)
        ax.set(yscale="log", title=PROCESSES[name], xlabel="steps done")
    axes[0].set_ylabel(r"$\mathrm{Err} / V$ at the start")
    axes[0].legend(loc="center right", bbox_to_anchor=(1.06, 0.5))


FIGURE = Figure(
    "decay",
    "The decay of the error along a run, by reference and without one: where iterating ends",
    compute,
    plot,
    columns=3,
    aspect=0.8,
    claims=("error-decay", "trajectory-decay"),
)
