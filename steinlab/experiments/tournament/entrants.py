"""Who competes: corrections as they would be used, with what they spend."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import (
    FITTED,
    correction_factory,
    gated,
    next_level,
    pilot,
    stein,
    tweedie,
)
from steinlab.corrections.calibrated import Calibrated
from steinlab.corrections.epsilon_scale import EpsilonScale
from steinlab.corrections.fitted import auto_v1, calibrate
from steinlab.corrections.flow_oracle import SpanFloor, flow_oracle
from steinlab.corrections.gmm import Gmm, local
from steinlab.corrections.law_matched import LawMatched
from steinlab.corrections.lookahead import stein_lookahead
from steinlab.corrections.shifted import LawMatchedMoments
from steinlab.corrections.subspaces import LawMatchedSubspaces
from steinlab.corrections.time_shift import TimeShift
from steinlab.solvers.loop import Run
from steinlab.solvers.step import Correction, NoCorrection

SUBSTEPS = 8
"""Steps that a fine run takes within each step: one calibrates tables, one is the oracle's."""

Make = Callable[[Run], Correction]
"""Makes a correction, given a run from calibration states. None of those is measured."""


def _table(run: Run, name: str = "calibrated", *others: str) -> Correction:
    directions = (*FITTED, *others)
    table = calibrate(run, model="tournament", directions=directions, substeps=SUBSTEPS)
    return Calibrated(table, name=name)


ENTRANTS: Mapping[str, Make] = MappingProxyType(
    {
        "none": lambda _run: NoCorrection(),
        "stein": lambda _run: stein(divergence=Hutchinson()),
        "stein, gamma <= 1": lambda _run: stein(divergence=Hutchinson(), gamma_max=1.0),
        "tweedie, gamma <= 1": lambda _run: tweedie(gamma_max=1.0),
        "stein-lookahead, gamma <= 1": lambda _run: stein_lookahead(gamma_max=1.0),
        "next-level": lambda _run: next_level(divergence=Hutchinson()),
        "law-matched": lambda _run: LawMatched(),
        "law-matched, state": lambda _run: LawMatched(part="state"),
        "law-matched, noise": lambda _run: LawMatched(part="noise"),
        "law-matched-subspaces": lambda _run: LawMatchedSubspaces(),
        "law-matched-moments": lambda _run: LawMatchedMoments(),
        "epsilon-scale": lambda _run: EpsilonScale(),
        "time-shift": lambda _run: TimeShift(),
        "gmm": lambda _run: Gmm(),
        "local": lambda _run: local(),
        "local, 256 states": lambda _run: local(states=256),
        "calibrated, local": lambda run: _table(run, "calibrated-local", "local"),
        "calibrated": _table,
        "auto-v1": lambda _run: auto_v1(),
        "pilot": lambda _run: pilot(),
        "pilot, 96 states": lambda _run: pilot(states=96),
        "gated, law-matched": lambda _run: gated(inner="law-matched"),
        "gated, local": lambda _run: gated(),
        "flow-oracle": lambda _run: flow_oracle(substeps=SUBSTEPS),
        "span-floor": lambda _run: SpanFloor(substeps=SUBSTEPS),
    }
)
"""Every entrant; ``none`` is the plain solver, ``pilot`` what ``auto`` names, and the last two are
references that nobody can use."""

FINALISTS = (
    "none",
    "stein, gamma <= 1",
    "tweedie, gamma <= 1",
    "epsilon-scale",
    "law-matched",
    "gated, law-matched",
    "local",
    "gated, local",
    "pilot",
    "pilot, 96 states",
    "auto-v1",
    "calibrated",
)
"""Entrants of the second edition: what the first left worth a line, and what came after it."""


def entrant(name: str) -> Make:
    """Return an entrant, or a correction of another package with its default options.

    Raises
    ------
    InputError
        For a name that is neither.
    """
    if name in ENTRANTS:
        return ENTRANTS[name]
    factory = correction_factory(name)
    return lambda _run: factory()


REFERENCES = ("flow-oracle", "span-floor")
"""Entrants that are not set against the plain solver at equal evaluations."""
