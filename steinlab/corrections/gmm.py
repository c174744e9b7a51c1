r"""``gmm`` and ``local``: a few coefficients from several of Stein's identities.

The generalised method of moments: the candidate moves along a few directions,
``y = T + sum_k c_k d_k``, towards the minimum of

    Q(c) = n g(c)' W g(c) + sum_k (c_k / PRIOR)^2,     g(c) = mean_i m(y_i),

over the moments ``m`` of :mod:`steinlab.corrections.moments`, with ``W`` the inverse of their
covariance on the batch. Law matching is the case of one direction and one moment. More moments
distinguish more directions. The second term keeps small what the moments do not determine: at large
noise the directions are nearly collinear.

References
----------
Hansen, "Large sample properties of generalized method of moments estimators", Econometrica 50,
1982.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from analytic.arrays import Array
from steinlab.corrections.directions import DIRECTIONS, moved
from steinlab.corrections.flow_oracle import WEAK
from steinlab.corrections.guidance import check_guidance
from steinlab.corrections.law_matched import LARGEST, STATES, TRIAL
from steinlab.corrections.moments import moments, weights
from steinlab.corrections.subspaces import check_sub_batch, no_moments, wide
from steinlab.errors import one_of
from steinlab.solvers.step import Diagnostics, Step

PRIOR = 0.3
"""Size of a coefficient that weighs in ``Q`` like one standard error of a moment.

docs/corrections-evidence.md shows how this and the other constants here were chosen.
"""

MOST_SECANTS = 5

DAMPING = (1.0, 0.3)
"""Fractions of the Gauss-Newton step that are tried in turn."""

SOLVED = 0.9
"""Fraction of the plain step's ``Q`` that a move must reach."""


@dataclass(frozen=True)
class Gmm:
    r"""Move along ``directions`` to the least ``Q`` of a batch's moments.

    Secants along the noise first reduce the scalar defect, as law matching does. One Gauss-Newton
    step then takes all directions; its Jacobian costs one evaluation per direction. Trials are
    compared by ``Q`` with one common ``W``, that of the trial whose moments scatter least: a batch
    far from the law has widely scattered moments, which would make its own ``Q`` small.

    It declines (leaves the candidate)

    -   at zero noise;
    -   where the scalar defect is within ``significance`` standard errors and, of ``K`` moments,
        ``Q <= K + significance sqrt(2 K)``: its mean under the law plus so many deviations;
    -   where no trial reaches :data:`SOLVED` of the plain step's ``Q``.

    Neutral, order-preserving and equivariant as :class:`~steinlab.corrections.LawMatched` is: on a
    trajectory of a solver of order ``p`` the moments are ``O(h^p)``, and so are the coefficients
    down to the sampling error. States are vectors. Costs 4 to 11 evaluations of ``states`` states,
    one where it declines at once. It cannot tell apart two laws with the same moments, and takes a
    network's score error for a defect of the batch.

    Parameters
    ----------
    directions : sequence of str
        Keys of :data:`steinlab.corrections.directions.DIRECTIONS`.
    states : int
        Size of the sub-batch, the first states of the batch.
    significance : float
        At about 3 hardly any sampling error is acted on.
    under_guidance : {"decline", "act"}
        What to do where the denoiser is guided; see :mod:`steinlab.corrections.guidance`.
    """

    directions: Sequence[str] = ("state", "noise", "slope")
    states: int = STATES
    significance: float = 2.0
    name: str = "gmm"
    depth: int = 1
    under_guidance: str = "decline"

    def __post_init__(self) -> None:
        check_guidance(self.under_guidance)
        for direction in self.directions:
            one_of("directions", direction, tuple(DIRECTIONS))
        if len(set(self.directions)) < max(1, len(self.directions)):
            raise ValueError(f"directions must differ and be one or more, got {self.directions}")
        check_sub_batch(self.states, self.significance)

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the moved candidate, or the candidate with the reason."""
        plain = step.candidate.state
        head = step.head(self.states)
        if why := no_moments(step, head, self.under_guidance):
            return plain, Diagnostics(1.0, note=f"declined: {why}")
        search = _Search(head, self.directions)
        found, note = _solve(search, self.significance)
        spent = search.evaluations * head.states / step.states
        if found is None:
            return plain, Diagnostics(1.0, note=f"declined: {note}", evaluations=spent)
        move = dict(zip(self.directions, found.tolist(), strict=True))
        gamma = 1.0 - move.get("residual", 0.0)
        return moved(step, move), Diagnostics(gamma, None, note, move, spent)


def local(
    *, states: int = STATES, significance: float = 2.0, under_guidance: str = "decline"
) -> Gmm:
    r"""Return ``gmm`` with a coefficient that varies from sample to sample.

    The directions ``noise`` and ``local`` together scale the noise of sample ``i`` by
    ``a + b h_i``. ``h_i`` compares ``|D - D_1|^2``, the move of the sample's denoised state since
    the step before, with the batch's: it is large where the posterior variance is large, since
    ``grad D = (alpha / sigma^2) Cov(x* | x)``. At the first step ``h = 0``. Conditions and
    guarantees are those of :class:`Gmm`; it costs one evaluation of the sub-batch more.
    """
    directions = (*Gmm().directions, "local")
    return Gmm(directions, states, significance, "local", under_guidance=under_guidance)


@dataclass(frozen=True)
class _Trial:
    """Coefficients and the moments ``(n, K)`` that they give; the first moment is the scale's."""

    c: np.ndarray
    moments: np.ndarray

    @property
    def finite(self) -> bool:
        return bool(np.all(np.isfinite(self.moments)) and np.all(self.moments.std(axis=0) > 0))

    @property
    def mean(self) -> np.ndarray:
        return np.asarray(self.moments.mean(axis=0))

    @property
    def defect(self) -> float:
        return float(self.moments[:, 0].mean())

    @property
    def error(self) -> float:
        return float(self.moments[:, 0].std(ddof=1) / math.sqrt(len(self.moments)))

    @property
    def scatter(self) -> float:
        return float(np.sum(np.log(self.moments.var(axis=0))))

    def value(self, inverse: np.ndarray) -> float:
        """``Q`` of the trial for the inverse covariance given."""
        g = self.mean
        return float(len(self.moments) * g @ inverse @ g + np.sum((self.c / PRIOR) ** 2))


class _Search:
    """Trials of a sub-batch's step, and how many were made."""

    def __init__(self, step: Step, directions: Sequence[str]) -> None:
        self.step, self.evaluations = step, 0
        self.basis = wide(step.candidate.denoised)
        self.fields = [DIRECTIONS[name](step) for name in directions]
        self.first = list(directions).index("noise") if "noise" in directions else 0
        size = float((step.candidate.state**2).mean())
        self.alive = [float((field**2).mean()) > WEAK * size for field in self.fields]

    def trial(self, c: np.ndarray) -> _Trial:
        """Return the moments at ``c``: one evaluation."""
        y = self.step.candidate.state
        for amount, field in zip(c.tolist(), self.fields, strict=True):
            y = y + amount * field if amount else y
        self.evaluations += 1
        return _Trial(c, moments(self.step.denoiser, y, self.step.t, self.basis))

    def unit(self, k: int) -> np.ndarray:
        """Return the coefficients 1 of direction ``k`` and 0 of the others."""
        return np.asarray(np.eye(len(self.fields))[k])


def _solve(search: _Search, significance: float) -> tuple[np.ndarray | None, str]:
    """Return the coefficients, or None, with what is to be said of them."""
    start = search.trial(np.zeros(len(search.fields)))
    if not start.finite:
        return None, "the moments are not finite, or of no scatter"
    count = start.moments.shape[1]
    before = start.value(weights(start.moments))
    acting = abs(start.defect) > significance * start.error
    if not acting and not before > count + significance * math.sqrt(2 * count):
        return None, "the moments are within their standard errors"
    found = _least([start, *_secants(search, start)] if acting else [start])
    found = _gauss_newton(search, found)
    inverse = weights(found.moments)
    if found.value(inverse) > SOLVED * start.value(inverse):
        return None, "no trial brings the moments down"
    return found.c, f"Q {start.value(inverse):.3g} to {found.value(inverse):.3g}, {count} moments"


def _least(trials: Sequence[_Trial]) -> _Trial:
    """Return the trial of the least ``Q``, all with the ``W`` of the least scatter."""
    inverse = weights(min(trials, key=lambda trial: trial.scatter).moments)
    return min(trials, key=lambda trial: trial.value(inverse))


def _secants(search: _Search, start: _Trial) -> list[_Trial]:
    """Return trials along the first direction, towards the root of the scalar defect."""
    if not search.alive[search.first]:
        return []
    trials: list[_Trial] = []
    c, value = 0.0, start.defect
    new = -math.copysign(TRIAL, value)  # more noise than the law's: less of it
    while len(trials) < MOST_SECANTS:
        trial = search.trial(new * search.unit(search.first))
        if not trial.finite or trial.defect == value:
            break
        trials.append(trial)
        slope, c, value = (trial.defect - value) / (new - c), new, trial.defect
        new = float(np.clip(c - value / slope, -LARGEST, LARGEST))
        if abs(value) <= 0.1 * start.error or new == c:
            break
    return trials


def _gauss_newton(search: _Search, at: _Trial) -> _Trial:
    """Return the trial one step on, or the same where no such step lowers ``Q``."""
    jacobian = np.zeros((at.moments.shape[1], len(at.c)))
    for k in np.flatnonzero(search.alive):
        ahead = search.trial(at.c + TRIAL * search.unit(int(k)))
        jacobian[:, k] = (ahead.mean - at.mean) / TRIAL
    if not np.all(np.isfinite(jacobian)):
        return at
    root = math.sqrt(len(at.moments)) * np.linalg.cholesky(weights(at.moments)).T
    rows = np.concatenate([root @ jacobian, np.eye(len(at.c)) / PRIOR])
    right = np.concatenate([root @ at.mean, at.c / PRIOR])
    step = -np.linalg.lstsq(rows, right, rcond=None)[0]
    for damping in DAMPING:
        new = search.trial(np.clip(at.c + damping * step, -LARGEST, LARGEST))
        if new.finite and _least([at, new]) is new:
            return new
    return at
