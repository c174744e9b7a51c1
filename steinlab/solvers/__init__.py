"""Solvers: one small file a family, one line each in the registry."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from steinlab.solvers.base import (
    Candidate,
    Evaluation,
    History,
    LinearMultistep,
    LinearStep,
    Solver,
    first_order,
    log_snr_step,
)
from steinlab.solvers.dpm import DPMPP_2M
from steinlab.solvers.euler import EULER
from steinlab.solvers.heun import HEUN

SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {solver.name: solver for solver in (EULER, HEUN, DPMPP_2M)}
)
"""Every solver by id."""

ALIASES: Mapping[str, str] = MappingProxyType({"ddim": "euler"})
"""Other names of the same solver."""

__all__ = [
    "ALIASES",
    "SOLVERS",
    "Candidate",
    "Evaluation",
    "History",
    "LinearMultistep",
    "LinearStep",
    "Solver",
    "first_order",
    "log_snr_step",
]
