r"""The paper's form ``x_next = (1 - gamma) x + gamma T(x) = x - gamma u`` with a batch's gamma."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from analytic.arrays import Array
from steinlab.coefficient.formulas import estimate
from steinlab.estimates import Estimate
from steinlab.solvers.scalars import has_noise
from steinlab.solvers.step import Diagnostics, Step

DEFAULT_GAMMA_MIN = 0.1
"""Our default of the paper's ``gamma_min``; the paper does not state its value."""

FIRST_STATES = 64
"""States of the first sub-batch tried where ``target_error`` decides its size."""

Numerator = Callable[[Step, np.random.Generator], Array]
"""``(step, rng) -> array (N,)``, the coefficient's numerator per state."""


@dataclass(frozen=True)
class ScalarCorrection:
    r"""``x - clip(gamma_hat, gamma_min, gamma_max) u`` with ``gamma_hat`` from the batch.

    The paper's pseudocode clips from below only, so ``gamma_max`` is infinite by default. The paper
    assumes states under the forward coupling of the denoiser's law, which holds at the first step
    only: later states follow the sampler's own law.

    The states of a batch are independent, so a sub-batch estimates the same number: its first
    ``states`` states, or the first 64, 128, ... until the standard error is at most
    ``target_error``. The batch must be in random order.

    Parameters
    ----------
    name : str
    numerator : callable
        ``(step, rng) -> array (N,)``, the coefficient's numerator per state.
    gamma_min, gamma_max : float
        Clipping range; ``-inf`` and ``inf`` clip nothing.
    states : int
        States to estimate from, 0 for the whole batch.
    target_error : float
        Standard error to reach, 0 for the whole batch.
    products : int
        Jacobian products or exact divergences that the numerator takes per state.
    evaluations, at_zero : int
        Denoiser evaluations that it takes per state, and how many more in a step to zero noise.
    """

    name: str
    numerator: Numerator
    gamma_min: float = DEFAULT_GAMMA_MIN
    gamma_max: float = math.inf
    states: int = 0
    target_error: float = 0.0
    products: int = 0
    evaluations: int = 0
    at_zero: int = 0

    def __post_init__(self) -> None:
        if not self.gamma_min <= self.gamma_max:
            raise ValueError(
                f"gamma_min must be <= gamma_max = {self.gamma_max}, got {self.gamma_min}"
            )
        if self.states < 0 or self.states == 1:
            raise ValueError(f"states must be 0 (all) or at least 2, got {self.states}")
        if not self.target_error >= 0:
            raise ValueError(f"target_error must be >= 0, got {self.target_error}")

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:
        """Return ``x - gamma u``, or the candidate where no coefficient exists (``u = 0``)."""
        try:
            raw, used = self._estimate(step, rng)
        except ValueError as error:
            return step.candidate.state, Diagnostics(1.0, None, f"declined: {error}")
        gamma = min(max(raw.value, self.gamma_min), self.gamma_max)
        note = "" if gamma == raw.value else f"clipped to [{self.gamma_min}, {self.gamma_max}]"
        share, move = used / step.states, {"residual": 1.0 - gamma}
        evaluations = self.evaluations + self.at_zero * (not has_noise(step.t))
        spent = (evaluations * share, self.products * share)
        done = Diagnostics(gamma, raw, note, move, *spent)
        return step.x - gamma * step.candidate.residual, done

    def _estimate(self, step: Step, rng: np.random.Generator) -> tuple[Estimate, int]:
        """Return the raw coefficient and for how many states numerators were computed."""
        count = step.states
        limit = min(self.states or count, count)
        size = min(FIRST_STATES, limit) if self.target_error else limit
        used = 0
        while True:
            part = step.head(size)
            used += size
            raw = estimate(self.numerator(part, rng), part.candidate.residual)
            if size == limit or raw.error <= self.target_error:
                return raw, used
            size = min(2 * size, limit)
