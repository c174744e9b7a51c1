"""Ids that a shell completes."""

from __future__ import annotations

from collections.abc import Iterable
from importlib.metadata import entry_points

from steinlab.cli.output import completing


def _entries(group: str) -> list[str]:
    return sorted(entry.name for entry in entry_points(group=group))


def _solvers() -> Iterable[str]:
    from steinlab.solvers import SOLVER_IDS

    return SOLVER_IDS


def _corrections() -> Iterable[str]:
    from steinlab.corrections import CORRECTIONS

    return CORRECTIONS


def _grids() -> Iterable[str]:
    from steinlab.diffusion.grids import GRIDS

    return GRIDS


def _processes() -> Iterable[str]:
    from steinlab.diffusion.processes import PROCESSES

    return PROCESSES


claim_ids = completing(lambda: _entries("steinlab.claims"))
model_names = completing(lambda: _entries("steinlab.models"))
figure_names = completing(lambda: _entries("steinlab.figures"))
solver_ids = completing(_solvers)
correction_names = completing(_corrections)
grid_names = completing(_grids)
process_names = completing(_processes)
