r"""``law-matched``: the move for which Stein's identity holds at the next level; no reference.

At a level ``(alpha, sigma)`` the forward process's law satisfies, with ``m`` its mean,

    E<y - m, y - alpha D(y)> = sigma^2 d                     (Stein's identity for f(y) = y - m),

since ``y - alpha D(y) = -sigma^2 score(y)``. A candidate with too much or too little noise violates
it. The correction moves the candidate along one direction, ``y = T + c d``, until the batch
satisfies it:

    F(c) = mean_i <y_i - mean(y), y_i - alpha D(y_i)> / (sigma^2 d) - (n - 1) / n = 0.

``F = 0`` is necessary for the right law, not sufficient: many laws share it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array, host, like
from steinlab.corrections.directions import DIRECTIONS, moved
from steinlab.corrections.guidance import check_guidance, no_law
from steinlab.diffusion.denoisers import Denoiser
from steinlab.errors import one_of
from steinlab.estimates import Estimate
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Diagnostics, Step, batch_axes, inner

PARTS = ("auto", "state", "noise")
"""What is scaled: the state about its mean, ``T - alpha D``, or one of both by the noise level."""

SWITCH = 0.2
"""Noise over signal, ``sigma sqrt(d) / (alpha rms |D - mean D|)``, above which the state is scaled.

docs/corrections-evidence.md shows how this and the other constants here were chosen.
"""

TRIAL = 0.02
"""Size of the first coefficient tried."""

LARGEST = 1.0
"""Largest coefficient applied."""

STATES = 512
MOST_TRIALS = 4
SIGNIFICANCE = 2.0
"""Standard errors that the defect must exceed to be acted on."""

Target = Callable[[NoiseLevel], float]
"""``level -> F``, the defect to reach: 0 for an exact denoiser."""


@dataclass(frozen=True)
class LawMatched:
    r"""Move by the ``c`` nearest to 0 at which ``F(c)`` is on target, by secants on a sub-batch.

    It declines (leaves the candidate) where ``F(0)`` is within ``significance`` standard errors of
    the target, where no trial reduces the distance to it, and at zero noise, where the identity
    says nothing. It clips a root beyond :data:`LARGEST`, and the note says so.

    An exact step from exact states has ``F(0) = 0`` up to its standard error, so ``c`` is 0 or
    within a few of its own standard errors. On a trajectory of a solver of order ``p``,
    ``F(0) = O(h^p)`` and so is ``c``: the order is kept down to the sampling error of ``F``. A
    batch that is off by chance is moved by about its standard error however fine the grid, unless
    ``significance`` is about 3. Equivariant under rotation, shift and scaling of the data.
    Costs at least two evaluations of ``states`` states, one where it declines.

    Parameters
    ----------
    part : {"auto", "state", "noise"}
        ``state`` scales about the batch's mean, which at small noise also stretches the signal.
        ``noise`` scales ``T - alpha D``, which over a large step still holds signal. ``auto``
        takes the state where noise over signal is at least ``switch``.
    states : int
        Size of the sub-batch, the first states of the batch.
    significance : float
    target : callable, optional
        The defect to match, by default 0. A network violates the identity by its score error;
        :func:`measured_defect` measures by how much.
    under_guidance : {"decline", "act"}
        What to do where the denoiser is guided; see :mod:`steinlab.corrections.guidance`.
    switch : float
    """

    part: str = "auto"
    states: int = STATES
    significance: float = SIGNIFICANCE
    target: Target | None = None
    switch: float = SWITCH
    under_guidance: str = "decline"
    name: str = "law-matched"

    def __post_init__(self) -> None:
        one_of("part", self.part, PARTS)
        check_guidance(self.under_guidance)
        if self.states < 2:
            raise ValueError(f"states must be >= 2, got {self.states}")
        if not self.significance >= 0:
            raise ValueError(f"significance must be >= 0, got {self.significance}")

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the moved candidate, or the candidate with the reason."""
        plain = step.candidate.state
        if not has_noise(step.t):
            return plain, Diagnostics(1.0, note="declined: zero noise")
        if why := no_law(step, self.under_guidance):
            return plain, Diagnostics(1.0, note=f"declined: {why}")
        head = step.head(self.states)
        if head.states < 2:
            return plain, Diagnostics(1.0, note="declined: states must number at least 2")
        share = head.states / step.states
        part = self._part(head)
        aim = self.target(step.t) if self.target is not None else 0.0
        found = _root(head, part, aim, self.significance)
        spent = found.trials * share
        if found.note.startswith("declined"):
            return plain, Diagnostics(1.0, found.estimate, found.note, evaluations=spent)
        move = {part: found.coefficient}
        return moved(step, move), Diagnostics(1.0, found.estimate, found.note, move, spent)

    def _part(self, step: Step) -> str:
        if self.part != "auto":
            return self.part
        denoised = step.candidate.denoised
        xp = array_namespace(denoised)
        signal = denoised - xp.mean(denoised, axis=0, keepdims=True)
        size = math.sqrt(float(xp.mean(inner(signal, signal))))
        noisy = step.t.sigma * math.sqrt(step.dim) >= self.switch * step.t.alpha * size
        return "state" if noisy else "noise"


@dataclass(frozen=True)
class _Root:
    coefficient: float
    estimate: Estimate | None
    note: str
    trials: int


def _root(step: Step, part: str, aim: float, significance: float) -> _Root:
    """Return the coefficient at which the defect of one batch is ``aim``."""
    found = secants(step, part, aim, significance)
    c, error, trials = float(found.coefficient[0]), float(found.error[0]), int(found.trials[0])
    if not found.significant[0]:
        return _Root(0.0, None, "declined: the defect is within its standard error", trials)
    if c == 0.0:
        return _Root(0.0, None, "declined: no trial brings the defect down", trials)
    note = f"clipped to {LARGEST}" if abs(c) == LARGEST else ""
    return _Root(c, Estimate(c, error), note, trials)


class Secants(NamedTuple):
    """What the secants found, one entry per batch, ``(B,)``.

    ``coefficient`` is 0 where the defect is not ``significant`` or no trial brings it down;
    ``error`` is its standard error, ``trials`` counts evaluations of the batch.
    """

    coefficient: np.ndarray
    error: np.ndarray
    significant: np.ndarray
    trials: np.ndarray


def secants(step: Step, part: str, aim: float = 0.0, significance: float = SIGNIFICANCE) -> Secants:
    """Return the coefficients at which the defects are ``aim``, from 0 by secants.

    Parameters
    ----------
    step : Step
        On one batch, or on a stack ``(B, n, d)``, whose batches are moved each by its own number.
    part : {"state", "noise"}
    aim, significance : float
        As ``target`` and ``significance`` of :class:`LawMatched`.
    """
    field, plain = DIRECTIONS[part](step), step.candidate.state

    def values(left: np.ndarray, c: np.ndarray) -> np.ndarray:
        if batch_axes(plain) == 1:
            y = plain + float(c[0]) * field
        else:
            y = plain[left, ...] + like(c[:, None, None], plain) * field[left, ...]
        return np.atleast_1d(defects(step.denoiser, y, step.t)[0]) - aim

    start, error = map(np.atleast_1d, defects(step.denoiser, plain, step.t))
    value = start - aim
    significant = np.abs(value) > significance * error
    left = np.flatnonzero(significant)
    c, best, least = np.zeros_like(value), np.zeros_like(value), np.abs(value)
    new = -np.copysign(TRIAL, value)  # more noise than the law's: less of it
    slope, trials = np.ones_like(value), np.ones(len(value), dtype=int)
    for _ in range(MOST_TRIALS):
        if not len(left):
            break
        found = values(left, new[left])
        trials[left] += 1
        usable = np.isfinite(found) & (found != value[left])
        left, found = left[usable], found[usable]
        with np.errstate(over="ignore"):
            slope[left] = (found - value[left]) / (new[left] - c[left])
            c[left], value[left] = new[left], found
            new[left] = np.clip(c[left] - found / slope[left], -LARGEST, LARGEST)
        better = left[np.abs(found) < least[left]]
        best[better], least[better] = c[better], np.abs(value[better])
        left = left[(np.abs(found) > 0.1 * error[left]) & (new[left] != c[left])]
    return Secants(best, error / np.abs(slope), significant, trials)


def defect(denoiser: Denoiser, y: Array, level: NoiseLevel) -> Estimate:
    """Return ``E<y - m, y - alpha D(y)> / (sigma^2 d) - 1`` of a batch with its standard error.

    Its mean is 0 for states under the forward process's law and the exact denoiser. The batch's
    mean is put for ``m``, which the factor ``n / (n - 1)`` makes up for.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law, level = GaussianMixture([1.0], [0.0], 1.0), NoiseLevel(1.0, 1.0)
    >>> y = np.sqrt(2.0) * np.random.default_rng(0).standard_normal((100_000, 1))
    >>> found = defect(law, y, level)
    >>> bool(abs(found.value) < 4 * found.error < 0.02)
    True
    """
    value, error = defects(denoiser, y, level)
    return Estimate(float(value), float(error))


def defects(denoiser: Denoiser, y: Array, level: NoiseLevel) -> tuple[np.ndarray, np.ndarray]:
    """Return the :func:`defect` and its standard error of a batch, or of each of ``(B, n, d)``."""
    xp, axes = array_namespace(y), batch_axes(y)
    noise = y - level.alpha * denoiser(y, level)
    centred = y - xp.mean(y, axis=axes - 1, keepdims=True)
    dim = math.prod(y.shape[axes:])
    terms = host(inner(centred, noise) / (level.sigma**2 * dim))
    n = terms.shape[-1]
    value = terms.mean(axis=-1) * n / (n - 1) - 1
    return value, terms.std(axis=-1, ddof=1) / math.sqrt(n)


def measured_defect(denoiser: Denoiser, clean: np.ndarray, *, seed: int = 0) -> Target:
    """Return the denoiser's own defect at any level, on clean samples ``(n, d)`` noised there.

    Costs one evaluation of every sample per level. The samples may be reference data or ends of
    long runs of the model. An exact denoiser on samples of its law has 0 up to sampling error.
    """

    def target(level: NoiseLevel) -> float:
        noise = np.random.default_rng(seed).standard_normal(clean.shape)
        return float(defect(denoiser, level.noised(clean, noise), level).value)

    return target
