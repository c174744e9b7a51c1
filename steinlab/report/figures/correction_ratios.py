"""What corrections gain by evaluations: the tournament in small."""

import itertools
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from steinlab.experiments.tournament.design import Cell
from steinlab.experiments.tournament.play import play
from steinlab.experiments.tournament.summary import ratio
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, look, worded

PROBLEMS = ("ring-2", "few-8")
SOLVERS = ("euler", "heun", "dpmpp-2m", "ipndm-3")
BUDGETS = (4, 6, 8, 10, 15)
ENTRANTS = ("tweedie, gamma <= 1", "law-matched", "calibrated")
STATES = 300
MEASURE = "energy_distance"


def compute(
    seed: int,
    *,
    problems: Sequence[str] = PROBLEMS,
    solvers: Sequence[str] = SOLVERS,
    budgets: Sequence[int] = BUDGETS,
    states: int = STATES,
) -> FigureData:
    """Return every cell's ratio, ``(entrants, budgets, cells)``."""
    ratios = np.empty((len(ENTRANTS), len(budgets), len(problems) * len(solvers)))
    for i, (problem, solver) in enumerate(itertools.product(problems, solvers)):
        for j, budget in enumerate(budgets):
            cell = Cell(problem, "edm", "karras", solver, budget, seed)
            found = play(cell, states=states, entrants=("none", *ENTRANTS))
            plain, floor = found["results"]["none"], found["floor"][MEASURE]
            for k, name in enumerate(ENTRANTS):
                ratios[k, j, i] = ratio(found["results"][name], plain, floor, MEASURE)
    config = {
        "problems": list(problems),
        "solvers": list(solvers),
        "budgets": list(budgets),
        "entrants": list(ENTRANTS),
        "states": states,
        "process": "edm",
        "grid": "karras",
    }
    return FigureData({"ratios": ratios}, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw the geometric mean with the range of the cells, one panel per correction."""
    budgets = np.array(data.config["budgets"])
    for i, (ax, name) in enumerate(zip(axes, data.config["entrants"], strict=True)):
        ratios = data.arrays["ratios"][i]
        style = look(i)
        ax.plot(budgets, np.exp(np.log(ratios).mean(axis=1)), label="geometric mean", **style)
        shade = {"alpha": 0.2, "color": style["color"], "linewidth": 0}
        low, high = ratios.min(axis=1), ratios.max(axis=1)
        ax.fill_between(budgets, low, high, label="best to worst cell", **shade)
        ax.set_xticks(budgets)
        ax.axhline(1.0, color=BLACK, lw=0.8)
        ax.set_yscale("log")
        ax.set_ylim(data.arrays["ratios"].min() / 1.5, data.arrays["ratios"].max() * 1.5)
        ax.set_title(worded(name))
        ax.set_xlabel("evaluations")
    axes[0].set_ylabel("energy distance ratio")
    axes[-1].legend(loc="best")


FIGURE = Figure(
    "correction-ratios",
    "Energy distance with a correction over the plain solver's; shaded: best to worst cell",
    compute,
    plot,
    columns=3,
    claims=("correction-tournament",),
)
