r"""Corrections: a callable takes a solver's step and returns the corrected state with diagnostics.

The paper's scalar correction ``x_next = (1 - gamma) x + gamma T(x) = x - gamma u`` is one of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from steinlab import plugins
from steinlab.corrections.chooser import chooser
from steinlab.corrections.epsilon_scale import EpsilonScale
from steinlab.corrections.fitted import FITTED, auto_v1, calibrated
from steinlab.corrections.flow_oracle import SpanFloor, flow_oracle
from steinlab.corrections.gated import gated
from steinlab.corrections.gmm import Gmm, local
from steinlab.corrections.law_matched import LawMatched
from steinlab.corrections.lookahead import stein_lookahead
from steinlab.corrections.pilot import auto, pilot
from steinlab.corrections.scalar import DEFAULT_GAMMA_MIN, ScalarCorrection
from steinlab.corrections.shifted import LawMatchedMoments
from steinlab.corrections.stein import next_level, stein
from steinlab.corrections.subspaces import LawMatchedSubspaces
from steinlab.corrections.time_shift import TimeShift
from steinlab.corrections.tweedie import tweedie
from steinlab.errors import InputError, one_of, quote
from steinlab.solvers.loop import Prepares, Run
from steinlab.solvers.step import Correction, Diagnostics, NoCorrection

CORRECTIONS: Mapping[str, Callable[..., Any]] = MappingProxyType(
    {
        "none": NoCorrection,
        "stein": stein,
        "tweedie": tweedie,
        "stein-lookahead": stein_lookahead,
        "next-level": next_level,
        "law-matched": LawMatched,
        "law-matched-subspaces": LawMatchedSubspaces,
        "law-matched-moments": LawMatchedMoments,
        "epsilon-scale": EpsilonScale,
        "time-shift": TimeShift,
        "gmm": Gmm,
        "local": local,
        "calibrated": calibrated,
        "flow-oracle": flow_oracle,
        "span-floor": SpanFloor,
        "auto": auto,
        "auto-v1": auto_v1,
        "pilot": pilot,
        "chooser": chooser,
        "gated": gated,
    }
)
"""Every correction of this package by id: a factory of its options."""

GROUP = "steinlab.corrections"
"""The entry-point group of other packages' corrections: factories of their options, as above."""


def correction_factory(name: str, field: str = "correction") -> Callable[..., Any]:
    """Return the factory of a correction, of this package or of another that registers the id.

    Raises
    ------
    InputError
        For an unknown id, one that two packages register, or a factory that does not import.
    """
    if name in CORRECTIONS:
        return CORRECTIONS[name]
    entries = plugins.registered(GROUP, CORRECTIONS)
    entry = entries[one_of(field, name, [*CORRECTIONS, *entries], "docs/corrections.md")]
    factory: Callable[..., Any] = plugins.loaded(entry, field)
    if not callable(factory):
        raise InputError(
            f"{field} {name} of the package {plugins.package_of(entry)} must be a factory of a "
            f"correction, got {type(factory).__name__}"
        )
    return factory


def get_correction(correction: Correction | str) -> Correction:
    """Return the correction of that id with its default options, or a correction as it is.

    Raises
    ------
    InputError
        For an unknown id, or what is no correction.

    Examples
    --------
    >>> get_correction("tweedie").name
    'tweedie'
    """
    if not isinstance(correction, str):
        if not (callable(correction) and hasattr(correction, "name")):
            raise InputError(f"correction must be an id or a correction, got {quote(correction)}")
        return correction
    made: Correction = correction_factory(correction)()
    return made


__all__ = [
    "CORRECTIONS",
    "DEFAULT_GAMMA_MIN",
    "FITTED",
    "Correction",
    "Diagnostics",
    "EpsilonScale",
    "Gmm",
    "LawMatched",
    "LawMatchedMoments",
    "LawMatchedSubspaces",
    "NoCorrection",
    "Prepares",
    "Run",
    "ScalarCorrection",
    "SpanFloor",
    "TimeShift",
    "auto",
    "auto_v1",
    "calibrated",
    "chooser",
    "correction_factory",
    "flow_oracle",
    "gated",
    "get_correction",
    "local",
    "next_level",
    "pilot",
    "stein",
    "stein_lookahead",
    "tweedie",
]
