"""The design of the study: its runs, the most important first."""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from types import MappingProxyType
from typing import Any, NamedTuple

SOLVERS = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc-2", "ipndm-3")
EVALUATIONS = (3, 4, 5, 6, 8, 10, 13, 20)
GRIDS = ("karras", "logsnr")
CORRECTIONS = ("none", "stein-clipped", "stein-from-below", "calibrated")


class Clip(NamedTuple):
    """Tweedie's coefficient clipped to ``[low, 1]``, in the process's own or in VP coordinates."""

    low: float
    coordinates: str


FAIR: Mapping[str, Clip] = MappingProxyType(
    {
        f"tweedie-{low:g}{'-vp' if coordinates == 'vp' else ''}": Clip(low, coordinates)
        for coordinates in ("own", "vp")
        for low in (0.1, 0.5, 0.9)
    }
)
"""Rules of the definition's coefficient, which lacks the bias of a divergence in ``x`` alone on
multistep candidates, clipped on both sides. Run with the first seed."""
FAIR_EVALUATIONS = (4, 6, 8, 10)
"""The budgets that run first."""
ENTRANTS = (
    *("euler", "heun", "dpmpp-2m", "dpmpp-3m", "unipc-2", "ipndm-3", "unit-speed-3"),
    *("ipndm-3+pilot", "unit-speed-3+pilot", "ipndm-3+chooser"),
    *("ipndm-3+gated", "unit-speed-3+gated"),
)
"""What the second part compares, each with its correction: first what it is compared with."""
HEADLINE_SOLVERS = ("euler", "dpmpp-2m", "unipc-2", "ipndm-3")
HEADLINE_EVALUATIONS = (4, 6, 8, 10)


@dataclass(frozen=True, order=True)
class Cell:
    """One run: a solver with a correction on a budget, from the start states of a seed."""

    solver: str
    evaluations: int
    grid: str
    correction: str
    seed: int

    @property
    def key(self) -> str:
        """What tells the cell from all others, in a record."""
        return "/".join(str(part) for part in asdict(self).values())

    def share(self, parts: int) -> int:
        """Return which of ``parts`` shares runs the cell: all corrections of a setup go to one.

        They share a table and the plain run's start; seeds stay together for the same reason.
        """
        setup = f"{self.solver}/{self.evaluations}/{self.grid}"
        return zlib.crc32(setup.encode()) % parts

    @property
    def headline(self) -> bool:
        """Whether the cell belongs to the subset that is run with several seeds."""
        return (
            self.solver in HEADLINE_SOLVERS
            and self.evaluations in HEADLINE_EVALUATIONS
            and self.grid == "karras"
        )


@dataclass(frozen=True)
class Size:
    """How much of everything.

    Parameters
    ----------
    samples : int
        States of a run.
    seeds : int
        Of the headline subset.
    calibration : int
        States that a table is fitted on, half of them to judge it.
    substeps : int
        Fine steps of the flow per step of a table's calibration.
    estimate : int
        States of the sub-batch that the Stein coefficient is estimated on.
    theory : int
        States per noise level in the comparison with theory.
    lipschitz : int
        Trajectories along which Lipschitz constants are estimated.
    long_steps : int
        Steps of the coarser long run; the finer takes twice as many.
    evaluations, solvers, grids
        What is crossed.
    lipschitz_steps
        Evaluations of the Euler runs along which Lipschitz constants are estimated.
    levels, steps : int
        Noise levels of the denoiser's error; steps of the grid of the coefficients and the costs.
    repeats : int
        Timed rounds.
    entrants : tuple of str
        ``solver`` or ``solver+correction``: of the second part, which has no other runs; none of
        the first.
    """

    samples: int = 10_000
    seeds: int = 3
    calibration: int = 512
    substeps: int = 6
    estimate: int = 512
    theory: int = 4096
    lipschitz: int = 16
    long_steps: int = 64
    evaluations: tuple[int, ...] = EVALUATIONS
    solvers: tuple[str, ...] = SOLVERS
    grids: tuple[str, ...] = GRIDS
    lipschitz_steps: tuple[int, ...] = (6, 20, 100)
    levels: int = 18
    steps: int = 8
    repeats: int = 5
    entrants: tuple[str, ...] = ()


SIZES: Mapping[str, Size] = MappingProxyType(
    {
        "full": Size(),
        "tiny": Size(
            samples=12,
            seeds=1,
            calibration=10,
            substeps=1,
            estimate=8,
            theory=8,
            lipschitz=2,
            long_steps=2,
            evaluations=(3,),
            solvers=("euler", "heun"),
            grids=("karras",),
            lipschitz_steps=(3,),
            levels=2,
            steps=3,
            repeats=1,
        ),
        "entrants": Size(
            seeds=2,
            long_steps=40,
            evaluations=FAIR_EVALUATIONS,
            entrants=ENTRANTS,
        ),
        "entrants-tiny": Size(
            samples=16,
            seeds=1,
            long_steps=2,
            evaluations=(3, 4, 5),
            grids=("karras",),
            entrants=ENTRANTS,
        ),
    }
)


def cells(size: Size) -> list[Cell]:
    """Return every cell: the headline subset first, seed by seed, then the fair rules.

    Those come in groups that are whole: all solvers and grids of a rule at the first budgets, rule
    by rule, then the rest of the budgets.

    Of a size with entrants: these alone, grid by grid and seed by seed, every budget whole.
    """
    if size.entrants:
        setups = itertools.product(size.grids, range(size.seeds), size.evaluations)
        return [
            Cell(solver, evaluations, grid, correction, seed)
            for grid, seed, evaluations in setups
            for solver, correction in map(competitor, size.entrants)
        ]
    crossed = itertools.product(size.solvers, size.evaluations, size.grids, CORRECTIONS)
    every = [
        Cell(solver, evaluations, grid, correction, 0)
        for solver, evaluations, grid, correction in crossed
        if not (solver == "heun" and evaluations < 3)
    ]
    headline = [cell for cell in every if cell.headline]
    again = [
        Cell(c.solver, c.evaluations, c.grid, c.correction, seed)
        for seed in range(1, size.seeds)
        for c in headline
    ]
    rest = [cell for cell in every if not cell.headline]
    fair = [
        Cell(solver, evaluations, grid, rule, 0)
        for early in (True, False)
        for rule in FAIR
        for evaluations in size.evaluations
        for solver, grid in itertools.product(size.solvers, size.grids)
        if (evaluations in FAIR_EVALUATIONS) is early
    ]
    return [*headline, *rest, *again, *fair]


def competitor(entrant: str) -> tuple[str, str]:
    """Return ``ipndm-3+pilot`` as its solver and its correction, ``none`` where none is named."""
    solver, _, correction = entrant.partition("+")
    return solver, correction or "none"


def as_json(size: Size) -> dict[str, Any]:
    """Return the size as JSON; a study of the first part says nothing of entrants."""
    found = {k: list(v) if isinstance(v, tuple) else v for k, v in asdict(size).items()}
    return found if size.entrants else {k: v for k, v in found.items() if k != "entrants"}
