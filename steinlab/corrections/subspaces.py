r"""``law-matched-subspaces``: a scale for each principal subspace, Stein's identity in each.

Stein's identity holds in every subspace: with ``P`` a projection of rank ``q`` and ``m`` the mean,

    E<P (y - m), y - alpha D(y)> = sigma^2 q        (f(y) = P (y - m), div f = q).

One evaluation of the denoiser gives the defects of all subspaces, so several scales cost no more
than one. There are two subspaces: the wide one is spanned by the principal directions that hold
:data:`SHARE` of the variance of the batch's denoised states, the other by the rest.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from array_api_compat import array_namespace

from analytic.arrays import Array, host
from steinlab.corrections.guidance import check_guidance, no_law
from steinlab.corrections.law_matched import LARGEST, MOST_TRIALS, STATES, TRIAL
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Diagnostics, Step

SHARE = 0.9
"""Fraction of the variance of the denoised states that the wide subspace holds."""


@dataclass(frozen=True)
class LawMatchedSubspaces:
    r"""Scale ``y - mean`` by ``1 + c_k`` in subspace ``k`` so that all defects ``F_k`` vanish.

    Secants run in both subspaces at once, each with its own slope; the coupling between them is
    neglected. A subspace whose defect is within ``significance`` standard errors keeps
    ``c_k = 0``. The trial with the least ``sum_k (F_k / error_k)^2`` is kept, as in the generalised
    method of moments. It declines where that is the plain step.

    Neutral, order-preserving and equivariant as :class:`~steinlab.corrections.LawMatched` with
    ``part="state"`` is; in one dimension it is that correction. States are vectors. Costs at least
    two evaluations of the first ``states`` states, one where it declines.

    Parameters
    ----------
    states : int
    significance : float
    under_guidance : {"decline", "act"}
        What to do where the denoiser is guided; see :mod:`steinlab.corrections.guidance`.
    """

    states: int = STATES
    significance: float = 2.0
    under_guidance: str = "decline"
    name: str = "law-matched-subspaces"

    def __post_init__(self) -> None:
        check_guidance(self.under_guidance)
        check_sub_batch(self.states, self.significance)

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the scaled candidate, or the candidate with the reason."""
        plain = step.candidate.state
        head = step.head(self.states)
        if why := no_moments(step, head, self.under_guidance):
            return plain, Diagnostics(1.0, note=f"declined: {why}")
        basis = wide(head.candidate.denoised)
        scales, trials = _scales(head, basis, self.significance)
        spent = trials * head.states / step.states
        if not np.any(scales):
            note = "declined: the defects are within their errors, or no trial brings them down"
            return plain, Diagnostics(1.0, note=note, evaluations=spent)
        words = ", ".join(f"{c:+.3g}" for c in scales)
        note = f"scales of the wide subspace ({basis.shape[0]} axes) and the rest: {words}"
        return _scaled(plain, basis, scales), Diagnostics(1.0, note=note, evaluations=spent)


def check_sub_batch(states: int, significance: float) -> None:
    """Raise ``ValueError`` unless ``states >= 3`` and ``significance >= 0``."""
    if states < 3:
        raise ValueError(f"states must be >= 3, got {states}")
    if not significance >= 0:
        raise ValueError(f"significance must be >= 0, got {significance}")


def no_moments(step: Step, head: Step, under_guidance: str) -> str:
    """Return why identities cannot be matched on a sub-batch; the empty string if they can."""
    if why := no_law(step, under_guidance):
        return why
    if not has_noise(step.t):
        return "zero noise"
    enough = head.states >= 3 and step.candidate.state.ndim == 2
    return "" if enough else "3 states or more, vectors, are needed"


def wide(denoised: Array) -> Array:
    """Return the principal directions with :data:`SHARE` of the variance, as rows ``(q, d)``."""
    xp = array_namespace(denoised)
    centred = denoised - xp.mean(denoised, axis=0, keepdims=True)
    _, sizes, rows = xp.linalg.svd(centred, full_matrices=False)
    held = np.cumsum(host(sizes) ** 2)
    count = 1 + int(np.searchsorted(held, SHARE * held[-1]))
    return rows[: min(count, rows.shape[0]), :]


def _scaled(y: Array, basis: Array, scales: np.ndarray) -> Array:
    centred = y - array_namespace(y).mean(y, axis=0, keepdims=True)
    first = (centred @ basis.T) @ basis
    return y + float(scales[0]) * first + float(scales[1]) * (centred - first)


def defects(step: Step, y: Array, basis: Array) -> tuple[np.ndarray, np.ndarray]:
    """Return the defects of both subspaces and their errors, ``(2,)``; 0 and 1 of an empty one."""
    xp = array_namespace(y)
    noise = y - step.t.alpha * step.denoiser(y, step.t)
    centred = y - xp.mean(y, axis=0, keepdims=True)
    inside = host(xp.sum((centred @ basis.T) * (noise @ basis.T), axis=1))
    whole = host(xp.sum(centred * noise, axis=1))
    values, errors = np.zeros(2), np.ones(2)
    ranks = (basis.shape[0], y.shape[1] - basis.shape[0])
    for k, (terms, rank) in enumerate(zip((inside, whole - inside), ranks, strict=True)):
        if rank:
            found = terms / (step.t.sigma**2 * rank)
            n = len(found)
            values[k] = found.mean() * n / (n - 1) - 1
            errors[k] = found.std(ddof=1) / np.sqrt(n)
    return values, errors


def _scales(step: Step, basis: Any, significance: float) -> tuple[np.ndarray, int]:
    """Return the scales of the best trial and the number of evaluations."""
    state = step.candidate.state
    start, errors = defects(step, state, basis)
    acting = np.abs(start) > significance * errors
    c, best, trials = np.zeros(2), np.zeros(2), 1
    least, value = float(np.sum((start / errors) ** 2)), start
    new = np.where(acting, -np.copysign(TRIAL, start), 0.0)
    while np.any(new != c) and trials <= MOST_TRIALS:
        found, _ = defects(step, _scaled(state, basis, new), basis)
        trials += 1
        if not np.all(np.isfinite(found)):
            break
        weighed = float(np.sum((found / errors) ** 2))
        if weighed < least:
            least, best = weighed, new
        if np.all(np.abs(found[acting]) <= 0.1 * errors[acting]):
            break
        change, gap = found - value, new - c
        slope = np.divide(change, gap, out=np.full(2, np.inf), where=(gap != 0) & (change != 0))
        c, value = new, found
        new = np.where(acting, np.clip(c - value / slope, -LARGEST, LARGEST), 0.0)
    return best, trials
