r"""``law-matched-moments``: a scale by Stein's scalar identity, then a shift by the first moment.

The score has mean zero under the exact law, Stein's identity for constant ``f``:

    E r(y) = 0,    r(y) = y - alpha D(y) = -sigma^2 score(y)             (d numbers).

A shift ``b`` changes ``E r`` by ``E[I - alpha grad D] b``. Under the law this Jacobian needs no
further evaluation: it is ``sigma^2`` times the Fisher information of a shift,

    E[I - alpha grad D] = -sigma^2 E[Hess log p] = E[r r'] / sigma^2,

and positive semidefinite. The Newton step

    b = -sigma^2 (E r r')^(-1) E r

is therefore Fisher's scoring, one step towards the maximum likelihood shift. Under the law its
covariance is ``sigma^4 (E r r')^(-1) / n``, which the same matrix estimates.

The shift has little to correct. A linear step gives ``E T = alpha' m`` whenever ``E D = m`` at the
levels that it evaluates: every solver here keeps the mean as long as its states follow the law.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array, host, like
from steinlab.corrections.guidance import no_law
from steinlab.corrections.law_matched import STATES, LawMatched
from steinlab.corrections.subspaces import wide
from steinlab.diffusion.denoisers import Denoiser
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Diagnostics, Step

STATES_AN_AXIS = 16
"""States of the sub-batch per axis shifted: a covariance of ``q`` axes needs several ``q``."""


@dataclass(frozen=True)
class LawMatchedMoments:
    r"""Match the scale as :class:`LawMatched` does, then shift along the wide subspace.

    ``w_i`` are the coordinates of ``r_i / sigma^2`` on the ``q`` axes of the wide subspace, ``w``
    is their mean, ``S = mean w_i w_i'``. Under the law ``X = n w' S^(-1) w`` is chi-squared with
    ``q`` degrees of freedom. There is no shift where ``X <= q + shift_significance sqrt(2 q)``.
    Otherwise it is shrunk as James and Stein do, ``b = -(1 - q / X) S^(-1) w``, and kept if it
    reduces ``X``.

    Neutral, order-preserving and equivariant as :class:`~steinlab.corrections.LawMatched` is: on a
    trajectory of a solver of order ``p`` the first moment is ``O(h^p)``, and so is ``b`` down to
    the sampling error. States are vectors. Costs one evaluation of ``states`` states more than law
    matching, two where it shifts. A mean of a network's score error is taken for a shift.

    Parameters
    ----------
    states : int
        Size of the sub-batch, the first states of the batch.
    significance, shift_significance : float
        Of the scale in standard errors, and of the shift in deviations of ``X``.
    under_guidance : {"decline", "act"}
        What to do where the denoiser is guided; see :mod:`steinlab.corrections.guidance`.
    """

    states: int = STATES
    significance: float = 2.0
    shift_significance: float = 2.0
    under_guidance: str = "decline"
    name: str = "law-matched-moments"

    def __post_init__(self) -> None:
        self._scale()  # names a bad option
        if not self.shift_significance >= 0:
            raise ValueError(f"shift_significance must be >= 0, got {self.shift_significance}")

    def _scale(self) -> LawMatched:
        return LawMatched(
            states=self.states, significance=self.significance, under_guidance=self.under_guidance
        )

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return the scaled and shifted candidate, or what law matching leaves."""
        state, done = self._scale()(step, rng)
        count = min(self.states, step.states)
        lawless = no_law(step, self.under_guidance)
        if lawless or not has_noise(step.t) or count < STATES_AN_AXIS or state.ndim != 2:
            return state, done
        head = state[:count, :]
        basis = wide(step.head(count).candidate.denoised)[: count // STATES_AN_AXIS, :]
        b, found = shift(step.denoiser, head, step.t, basis)
        rank = basis.shape[0]
        evaluations = done.evaluations + count / step.states
        if found <= rank + self.shift_significance * math.sqrt(2 * rank):
            return state, replace(done, evaluations=evaluations)
        b = (1 - rank / found) * b
        after = shift(step.denoiser, head + b, step.t, basis)[1]
        evaluations += count / step.states
        if not after < found:
            return state, replace(done, evaluations=evaluations)
        size = float(array_namespace(b).sum(b * b)) ** 0.5
        note = f"{done.note}; " if done.note else ""
        note += f"shifted by {size:.3g}: chi-squared {found:.3g} to {after:.3g} on {rank} axes"
        return state + b, replace(done, note=note, move={}, evaluations=evaluations)


def shift(denoiser: Denoiser, y: Array, level: NoiseLevel, basis: Array) -> tuple[Array, float]:
    """Return Fisher's scoring step along the axes ``basis``, and the first moment's chi-squared."""
    noise = (y - level.alpha * denoiser(y, level)) / level.sigma**2
    pull = host(noise @ basis.T, float)
    mean, information = pull.mean(axis=0), pull.T @ pull / len(pull)
    found = np.linalg.lstsq(information, mean, rcond=None)[0]
    return -like(found, y) @ basis, float(len(pull) * mean @ found)
