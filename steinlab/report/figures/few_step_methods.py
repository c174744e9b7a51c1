"""Every solver at few evaluations on exact laws, its price beside its name.

The panels show the best of each family; ``few-step-methods.json`` has a row for every solver. The
figure with its panel of a network is ``gpu_models.figures.few_step_methods``.
Fitted solvers (:data:`~steinlab.solvers.fitted_steps.NEED_TABLE`) have numbers of other states.
"""

from __future__ import annotations

import functools
import itertools
import math
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LogNorm

from steinlab import plugins
from steinlab.diffusion.laws import LAWS
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.experiments.bench import BATCH, played
from steinlab.experiments.tournament.measures import QuickTruth
from steinlab.report.figures.base import FigureData
from steinlab.report.figures.style import SEQUENTIAL, worded
from steinlab.solvers import KNOWN_IDS, get_solver
from steinlab.solvers.fitted_steps import NEED_TABLE, fit, grid_to_fit
from steinlab.solvers.plans import run_within
from steinlab.solvers.registry import GROUP

SHOWN = ("two-1", "ring-2", "few-8")
BUDGETS = (4, 6, 8, 10)
STATES, FLOORS, WORST = 2000, 8, 100.0
"""States of a run; pairs of true samples behind a floor; ratio to it at which the colours end."""

FITTED_STATES = 256
"""States that a fitted solver's numbers are of."""

BELOW: Any = {"location": "bottom", "fraction": 0.03, "aspect": 30, "pad": 0.02}
"""Where the bar of the colours lies."""


def every() -> tuple[str, ...]:
    """Return every solver's id, other packages' too, and those of fitted ones."""
    return (*KNOWN_IDS, *plugins.registered(GROUP, KNOWN_IDS), *NEED_TABLE)


def family(name: str) -> str:
    """Return a solver's family: its name without what tells the members apart.

    Examples
    --------
    >>> [family(name) for name in ("dpmpp-2m-heun", "unipc-3-bh1", "rk-midpoint", "ipndm-v-2")]
    ['dpmpp', 'unipc', 'rk', 'ipndm-v']
    """
    return re.split(r"-(?=\d|midpoint|heun)", name)[0]


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
    noisy = EDM.level_at(1.0)
    names = list(every() if solvers is None else solvers)
    found = np.zeros((len(names), len(laws), len(budgets)))
    prices, spent = np.zeros((2, len(names)))
    for j, own in enumerate(laws):
        law, rng = LAWS[own](), np.random.default_rng([seed, j])
        truth = QuickTruth(law.sample(states, rng), law)
        near = [truth.sliced_w2(law.sample(states, rng)).value for _ in range(FLOORS)]
        floor = math.sqrt(float(np.mean(np.square(near))))
        top = EDM.level(EDM.t_max)
        start, others = (top.noised(law.sample(n, rng), rng) for n in (states, FITTED_STATES))
        fitted = functools.cache(
            lambda name, levels, law=law, x=others: fit(name, law, x, levels, EDM, model="law")
        )
        for (i, name), (k, budget) in itertools.product(enumerate(names), enumerate(budgets)):
            try:
                if name in NEED_TABLE:
                    numbers = fitted(name, tuple(grid_to_fit(name, EDM, "karras", budget)))
                    spent[i] = max(spent[i], numbers.evaluations * FITTED_STATES / BATCH)
                    solver = numbers.make(EDM)
                else:
                    solver = get_solver(name, EDM)
                plan, grid = run_within(solver, EDM, "karras", budget)
                prices[i] = solver.evaluations(noisy)
            except InputError:
                continue
            done, stop = played(law, start, grid, plan, seed=seed)
            if stop is None:
                found[i, j, k] = truth.sliced_w2(done.state).value / floor
    logs = np.log(np.where(found > 0, found, WORST)).mean(axis=(1, 2))
    order = np.argsort(logs)
    means = np.exp(logs)
    arrays = {"ratio": found[order], "price": prices[order], "mean": means[order]}
    columns = (one.tolist() for one in (prices, spent.round(1), means.round(2)))
    rows = list(zip(names, *columns, strict=True))
    config = {
        "solvers": [names[i] for i in order],
        "laws": list(laws),
        "budgets": list(budgets),
        "states": states,
        "columns": ["solver", "evaluations per step", "fit per state of 10000", "geometric mean"],
        "table": [rows[i] for i in order],
        "measure": "sliced W2 over that of two true samples",
        "grid": "karras",
    }
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per law: a row per family's best solver, a column per budget, best on top."""
    families, best = best_rows(data)
    labels = [_label(data.config["table"][i], families.count(families[i])) for i in best]
    laws = data.config["laws"]
    for j, (ax, law) in enumerate(zip(axes, laws, strict=True)):
        image = panel(ax, data, data.arrays["ratio"][:, j], LogNorm(1.0, WORST))
        title(ax, worded(law))
        if j == 0:
            ax.set_yticks(range(len(labels)), labels, fontsize=5.5)
            ax.set_ylabel("best of its family (members), evaluations per step + fit")
    bar = axes[-1].figure.colorbar(image, ax=list(axes), **BELOW)
    bar.set_label("sliced $W_2$ over two true samples'", fontsize="small")


def title(ax: Axes, text: str) -> None:
    """Write a title that a narrow panel has room for."""
    ax.set_title(text.replace(", ", ",\n"), fontsize="small")


def best_rows(data: FigureData) -> tuple[list[str], list[int]]:
    """Return every row's family, and the rows that are the best of theirs."""
    families = [family(row[0]) for row in data.config["table"]]
    return families, sorted({families.index(one) for one in families})


def panel(ax: Axes, data: FigureData, values: np.ndarray, norm: LogNorm) -> Any:
    """Draw values ``(solver, budget)`` of the best rows; 0 stands for none."""
    rows, budgets = best_rows(data)[1], data.config["budgets"]
    shown = np.ma.masked_equal(values[rows], 0.0)
    image = ax.imshow(shown, aspect="auto", cmap=SEQUENTIAL, norm=norm)
    ax.set_xticks(range(len(budgets)), map(str, budgets))
    ax.set_yticks(range(len(rows)), [""] * len(rows))
    ax.set_xlabel("evaluations", fontsize="x-small")
    ax.tick_params(length=0)
    return image


def _label(row: Sequence[Any], members: int) -> str:
    name, price, spent, _ = row
    of = f" ({members})" if members > 1 else ""
    return f"{worded(name)}{of}  {price:.0f}" + (f" + {spent:.0f}" if spent else "")
