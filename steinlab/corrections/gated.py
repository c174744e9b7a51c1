r"""``gated``: any correction, kept where the run's ends pass for samples of the denoiser's law.

A round trip needs no fine run. The first ``n`` states are run plain and corrected; both ends, in
coordinates ``z = x / alpha``, are noised with the same noise to :data:`LEVELS` levels of ratio
``S > S_end``. If the ends follow the denoiser's law at the grid's end, then for every ``f``

    E<f(y), z_end - (1 - r) D(y) - r y> = 0,  y = z_end + sqrt(S^2 - S_end^2) eps,  r = (S_end/S)^2

since ``E[z_end | y] = (1 - r) E[x_star | y] + r y``; at zero noise that is ``z_end - D(y)``. The
``f`` are, with ``m`` the mean of ``y``, ``e_k`` the first axes of the plain ends
(:data:`~steinlab.corrections.moments.AXES` of them), ``y_k`` the coordinates along them and ``s_k``
their spreads,

    e_k,    y - m,    (y - m) tanh(|y - m|^2 / E|y - m|^2 - 1),    e_k sin(y_k / s_k),
    e_k cos(y_k / s_k).

With ``g`` the means of the products at a level and ``W`` the inverse covariance of the plain run's,
``Q = sum over levels of n g' W g``. A correction may collapse the ends or scatter them, and with a
``W`` of its own its ``Q`` would tell little. It is kept iff

    Q (corrected) < 0.9 Q (plain).

Guarantee: none on the law: two laws may share these moments, and a network's score error counts as
a defect of both runs. A guided denoiser is no law's posterior mean, and the run stays plain.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array, host, like
from steinlab.corrections.calibrated import Calibrated, table_of
from steinlab.corrections.directions import moved
from steinlab.corrections.gmm import SOLVED
from steinlab.corrections.moments import AXES, weights
from steinlab.corrections.prepared import Prepared, first_states, prepared, refused
from steinlab.corrections.subspaces import wide
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.guidance import is_guided
from steinlab.errors import InputError
from steinlab.solvers.loop import Run, Taken, steps
from steinlab.solvers.step import Correction, Diagnostics, NoCorrection, Step

STATES = 512
LEVELS = 6
TINY = float(np.finfo(float).tiny)
SPAN = (0.05, 2.0)
"""Least and largest ratio of the levels, over the root mean square spread of the plain ends."""


@dataclass(frozen=True)
class Gated:
    """Try a correction on the first states of the run, then keep what it did there or run plain.

    What is kept is what was judged: the moves of the trial, as a table. A correction that does not
    tell its moves (:class:`~steinlab.solvers.step.Diagnostics`) estimates anew. The first step's
    diagnostics report what the trial spent per state of the batch: both runs, what the correction
    spent in its own, and an evaluation per level and run.

    Parameters
    ----------
    inner : Correction
    states : int
        How many are tried, at least 8.
    """

    inner: Correction
    states: int = STATES
    name: str = "gated"

    def __post_init__(self) -> None:
        if self.states < 8:
            raise ValueError(f"states must be >= 8, got {self.states}")

    def prepare(self, run: Run) -> Correction:
        """Return the correction, or none, with what it cost to tell."""
        if is_guided(run.denoiser):
            note = (
                "declined: a guided denoiser, or one that scales states, is no law's posterior mean"
            )
            return Prepared(NoCorrection(), self.name, 0.0, note)
        made = prepared(self.inner, run)
        paid = made.price if isinstance(made, Prepared) else 0.0
        part = first_states(run, self.states)
        share = part.x.shape[-2] / run.x.shape[-2]
        plain, fixed = (_trial(part, one) for one in (NoCorrection(), made))
        spent = sum(one.step.candidate.evaluations for one in (*plain, *fixed)) - paid
        spent += sum(one.diagnostics.evaluations + one.diagnostics.products for one in fixed)
        kept, note = False, "a trial run left the finite numbers"
        if len(plain) == len(fixed) == len(run.grid) - 1:
            before, after = defects(part, plain[-1].state, fixed[-1].state)
            kept, note = after < SOLVED * before, f"round trip Q {before:.3g} to {after:.3g}"
            spent += 2 * LEVELS
        if not kept:
            return Prepared(NoCorrection(), self.name, share * spent + paid, f"plain: {note}")
        if _told(fixed) and not run.repeated:
            table = Calibrated(table_of(fixed, model="this run", correction=made.name))
            return Prepared(table, self.name, share * spent + paid, f"kept: {note}")
        return Prepared(made, self.name, share * spent, f"kept: {note}")

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Refuse: the run is not known."""
        raise refused(self.name)


def _trial(run: Run, correction: Correction) -> list[Taken]:
    """Run step by step, until a state leaves the finite numbers."""
    how: Any = {"correction": correction, "rng": run.rng, "repeated": run.repeated}
    taken: list[Taken] = []
    with suppress(FloatingPointError):
        taken.extend(steps(run.denoiser, run.x, run.grid, run.solver, **how))
    return taken


def _told(taken: Sequence[Taken]) -> bool:
    """Whether the moves that the diagnostics tell are all that the correction did."""
    pairs = ((moved(one.step, one.diagnostics.move), one.state) for one in taken)
    return all(np.allclose(host(told), host(state), rtol=1e-9) for told, state in pairs)


def defects(run: Run, plain: Array, fixed: Array) -> tuple[float, float]:
    """Return ``Q`` of the plain and of the corrected ends of a run."""
    end, rng = run.grid[-1], run.rng or np.random.default_rng(0)
    plain, fixed = plain / end.alpha, fixed / end.alpha
    basis, spread = wide(plain)[:AXES, :], math.sqrt(float(host(plain).var(axis=0).mean()))
    total = np.zeros(2)
    for level in _levels(run.grid, spread):
        noise = like(rng.standard_normal(tuple(plain.shape)), plain)
        found = [_products(run, z, level, noise, basis) for z in (plain, fixed)]
        inverse = weights(found[0])
        means = [one.mean(axis=0) for one in found]
        total += [len(plain) * float(g @ inverse @ g) for g in means]
    return float(total[0]), float(total[1])


def _levels(grid: Grid, spread: float) -> list[NoiseLevel]:
    """Return levels of ratios even in their logarithm, ``alpha`` between that of the grid's."""
    inside = [level for level in grid[::-1] if level.sigma and level.alpha]
    known = np.log([level.ratio for level in inside])
    least = max(SPAN[0] * spread, 1.01 * grid[-1].ratio)
    ratios = np.geomspace(least, max(SPAN[1] * spread, 2 * least), LEVELS)
    alphas = np.exp(np.interp(np.log(ratios), known, np.log([one.alpha for one in inside])))
    return [NoiseLevel(float(a), float(a * r)) for a, r in zip(alphas, ratios, strict=True)]


def _products(run: Run, z: Array, level: NoiseLevel, noise: Array, basis: Array) -> np.ndarray:
    """Return the products ``<f(y), z - (1 - r) D(y) - r y>``, ``(n, K)``; one evaluation."""
    share = (run.grid[-1].ratio / level.ratio) ** 2
    y = z + level.ratio * math.sqrt(1 - share) * noise
    rest = z - (1 - share) * run.denoiser(level.alpha * y, level) - share * y
    xp = array_namespace(y)
    centred = y - xp.mean(y, axis=0, keepdims=True)
    along, pull = (host(a @ basis.T, float) for a in (centred, rest))
    whole, squares = (host(xp.sum(centred * a, axis=1), float) for a in (rest, centred))
    phase = along / (along.std(axis=0) + TINY)
    radial = np.tanh(squares / (squares.mean() + TINY) - 1)
    pairs = np.stack([whole, radial * whole], axis=1)
    return np.concatenate([pull, pairs, np.sin(phase) * pull, np.cos(phase) * pull], axis=1)


def gated(*, inner: str = "local", states: int = STATES) -> Gated:
    """Return the correction ``inner``, with its default options, behind the gate.

    Parameters
    ----------
    inner : str
        The id of any correction but this one.
    states : int
        The first so many states of the batch are tried.

    Raises
    ------
    InputError
        For an unknown id, or its own.
    """
    from steinlab.corrections import correction_factory

    if inner == "gated":
        raise InputError("inner must be another correction than gated, got gated")
    return Gated(correction_factory(inner, "inner")(), states)
