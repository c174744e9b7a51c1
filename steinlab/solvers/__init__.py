"""Solvers: one small file per family, one line each in the registry."""

from steinlab.solvers.adams import IPNDM, deis_tab
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
from steinlab.solvers.euler import EULER
from steinlab.solvers.exponential import DPMPP_2M, DPMPP_2M_HEUN, DPMPP_3M, DPMPP_3M_EXACT
from steinlab.solvers.heun import HEUN
from steinlab.solvers.plans import Plan, evaluations_on, lowered, make_plan, matching_start, plan_of
from steinlab.solvers.pndm import pndm
from steinlab.solvers.registry import (
    ALIASES,
    KNOWN_IDS,
    ON_PROCESS,
    SOLVER_IDS,
    SOLVERS,
    STOCHASTIC,
    get_solver,
)
from steinlab.solvers.runge_kutta import runge_kutta
from steinlab.solvers.unipc import unipc

__all__ = [
    "ALIASES",
    "DPMPP_2M",
    "DPMPP_2M_HEUN",
    "DPMPP_3M",
    "DPMPP_3M_EXACT",
    "EULER",
    "HEUN",
    "IPNDM",
    "KNOWN_IDS",
    "ON_PROCESS",
    "SOLVERS",
    "SOLVER_IDS",
    "STOCHASTIC",
    "Candidate",
    "Evaluation",
    "History",
    "LinearMultistep",
    "LinearStep",
    "Plan",
    "Solver",
    "deis_tab",
    "evaluations_on",
    "first_order",
    "get_solver",
    "log_snr_step",
    "lowered",
    "make_plan",
    "matching_start",
    "plan_of",
    "pndm",
    "runge_kutta",
    "unipc",
]
