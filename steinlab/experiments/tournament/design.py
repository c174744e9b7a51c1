"""The tournament's cells: a seeded fraction of a full factorial, split by hash into two halves."""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from steinlab.experiments.tournament.problems import MODELS, SHARES

RECORDED = ("euler", "heun", "dpmpp-2m", "dpmpp-3m", "dpmpp-3m-exact", "unipc-2", "ipndm-3")
"""Solvers of the packaged record's cells."""

SOLVERS = (*RECORDED, "unit-speed-3")
"""Solvers that corrections are set on, and plain competitors of each cell. A cell's key, half and
hash say nothing of the others, so another solver adds cells and changes none."""

PATHS = (
    ("edm", "karras"),
    ("edm", "logsnr"),
    ("vp-linear", "logsnr"),
    ("vp-linear", "time-uniform"),
    ("flow", "time-uniform"),
)
"""Processes with their grids; models, made for EDM, take the first two."""

BUDGETS = (3, 4, 5, 6, 8, 10, 15, 20)
FEW = 10
"""Largest budget that counts as few evaluations."""

HALVES = ("develop", "report")


@dataclass(frozen=True)
class Cell:
    """One plain run that corrections compete with."""

    problem: str
    process: str
    grid: str
    solver: str
    evaluations: int
    seed: int

    @property
    def key(self) -> str:
        """What it is, in one word."""
        return "/".join(str(value) for value in vars(self).values())

    @property
    def digest(self) -> int:
        """A hash of what it is, in [0, 2^64)."""
        return int.from_bytes(hashlib.sha256(self.key.encode()).digest()[:8], "big")

    @property
    def half(self) -> str:
        """``develop`` or ``report``: corrections were chosen on the first, tables show the second.

        Cells that differ in the seed alone, or share problem, path and solver, are in one half.
        """
        family = f"{self.problem}/{self.process}/{self.grid}/{self.solver}"
        return HALVES[hashlib.sha256(family.encode()).digest()[0] % 2]


def cells(
    problems: Sequence[str],
    *,
    fraction: float,
    seeds: int,
    solvers: Sequence[str] = SOLVERS,
    budgets: Sequence[int] = BUDGETS,
    first_seed: int | None = None,
    shares: Mapping[str, float] = SHARES,
) -> tuple[Cell, ...]:
    """Return the cells whose hash falls into the fraction, in the order of the factorial.

    Which cells those are depends on nothing but the cells, so a larger fraction contains a smaller.
    Of a slow problem's cells, its share of the fraction. Seeds count from 0 and are drawn one by
    one; from a first seed on, all that differ in the seed alone are drawn or none.

    Examples
    --------
    >>> some = cells(["two-1"], fraction=0.5, seeds=1)
    >>> set(some) < set(cells(["two-1"], fraction=1.0, seeds=1)), len(some)
    (True, 164)
    """
    out = []
    start = first_seed or 0
    for name, (process, grid), solver, budget, seed in itertools.product(
        problems, PATHS, solvers, budgets, range(start, start + seeds)
    ):
        cell = Cell(name, process, grid, solver, budget, seed)
        drawn = cell if first_seed is None else replace(cell, seed=first_seed)
        inside = drawn.digest < fraction * shares.get(name, 1.0) * 2**64
        if inside and (process == "edm" or name not in MODELS):
            out.append(cell)
    return tuple(out)
