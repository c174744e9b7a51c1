"""Every registered solver at few evaluations on exact laws, its price per step beside its name."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from steinlab import plugins
from steinlab.diffusion.laws import LAWS
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.experiments.bench import played
from steinlab.experiments.tournament.measures import QuickTruth
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import SEQUENTIAL
from steinlab.solvers import KNOWN_IDS, get_solver
from steinlab.solvers.plans import run_within
from steinlab.solvers.registry import GROUP

SHOWN = ("two-1", "ring-2", "few-8")
BUDGETS = (4, 6, 8, 10)
STATES, FLOORS, WORST = 2000, 8, 100.0
"""States of a run; pairs of true samples behind a floor; ratio to it at which the colours end."""


def registered() -> tuple[str, ...]:
    """Return every solver's id, other packages' too."""
    return (*KNOWN_IDS, *plugins.registered(GROUP, KNOWN_IDS))


def compute(
    seed: int,
    *,
    solvers: Sequence[str] | None = None,
    laws: Sequence[str] = SHOWN,
    budgets: Sequence[int] = BUDGETS,
    states: int = STATES,
) -> FigureData:
    """Return sliced W2 over the floor of two true samples, ``(solver, law, budget)``, on Karras.

    0 stands where a budget pays for no step or a run leaves the finite numbers. Rows are sorted by
    the geometric mean of the rest.
    """
    names = list(registered() if solvers is None else solvers)
    found = np.zeros((len(names), len(laws), len(budgets)))
    for j, own in enumerate(laws):
        law, rng = LAWS[own](), np.random.default_rng([seed, j])
        truth = QuickTruth(law.sample(states, rng), law)
        near = [truth.sliced_w2(law.sample(states, rng)).value for _ in range(FLOORS)]
        floor = math.sqrt(float(np.mean(np.square(near))))
        start = EDM.level(EDM.t_max).noised(law.sample(states, rng), rng)
        for (i, name), (k, budget) in itertools.product(enumerate(names), enumerate(budgets)):
            try:
                plan, grid = run_within(get_solver(name, EDM), EDM, "karras", budget)
            except InputError:
                continue
            done, stop = played(law, start, grid, plan, seed=seed)
            if stop is None:
                found[i, j, k] = truth.sliced_w2(done.state).value / floor
    noisy = EDM.level_at(1.0)
    prices = np.array([get_solver(name, EDM).evaluations(noisy) for name in names])
    logs = np.log(np.where(found > 0, found, WORST)).mean(axis=(1, 2))
    order = np.argsort(logs)
    arrays = {"ratio": found[order], "price": prices[order], "mean": np.exp(logs[order])}
    config = {
        "solvers": [names[i] for i in order],
        "laws": list(laws),
        "budgets": list(budgets),
        "states": states,
        "measure": "sliced W2 over that of two true samples",
        "grid": "karras",
    }
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per law: a row per solver, a column per budget, best solvers on top."""
    ratio, price = data.arrays["ratio"], data.arrays["price"]
    names = data.config["solvers"]
    labels = [f"{name}  {cost}" for name, cost in zip(names, price, strict=True)]
    for j, (ax, law) in enumerate(zip(axes, data.config["laws"], strict=True)):
        shown = np.ma.masked_equal(ratio[:, j], 0.0)
        image = ax.imshow(shown, aspect="auto", cmap=SEQUENTIAL, norm=LogNorm(1.0, WORST))
        ax.set_title(law)
        ax.set_xticks(range(len(data.config["budgets"])), map(str, data.config["budgets"]))
        ax.set_yticks(range(len(names)), labels if j == 0 else [""] * len(names), fontsize=5)
        ax.set_xlabel("evaluations")
        ax.tick_params(length=0)
    axes[0].set_ylabel("solver, evaluations per step")
    bar = axes[-1].figure.colorbar(image, ax=axes[-1], fraction=0.08, pad=0.04)
    bar.set_label("sliced $W_2$ over two true samples'")


FIGURE = Figure(
    "few-step-methods",
    "Every solver at 4 to 10 evaluations on three exact laws",
    compute,
    plot,
    columns=3,
    aspect=2.6,
    claims=("weak-order", "analytic-variance"),
)
