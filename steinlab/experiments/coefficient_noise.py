r"""How much of a corrected row's scatter comes from its coefficients, which the batch estimates.

The states of a corrected run share their coefficients ``gamma_hat(batch)``, so the scatter over
states, from which a distance's standard error is computed, leaves their noise out. To see it, the
batch is split into halves ``A`` and ``B``, each run anew with coefficients and probes of its own:
``a_A`` is the half's distance then, ``b_A`` that of the same states in the whole run. With
influence functions ``psi`` of the states and ``phi`` of the coefficients,

    Var theta = Var(psi + theta_gamma phi) / n,
    E[(a_A - a_B)^2 - (b_A - b_B)^2] / 4 = [Var(psi + theta_gamma phi) - Var(psi)] / n,

to first order, so the mean of the second line over ``SPLITS`` orthogonal splits, the *excess*, is
what the standard error of the whole run lacks, covariance of states and coefficients included. It
is added in quadrature; a negative excess, where the two noises offset each other or by chance,
counts as 0: the error never falls below that of given coefficients.

Guarantee: none beyond the expansion. Four splits leave the excess uncertain by a factor of about
1.5 where it dominates. Halves, not smaller groups: a half's coefficient scatters 1.4 times as much
as the batch's, so it meets the limits of clipping about as often.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import numpy as np

from steinlab.estimates import Estimate
from steinlab.experiments.bench import Bench, Measured
from steinlab.solvers.loop import NonFiniteStateError

GROUPS = 8
"""Parts of the batch, every eighth state, of which a half takes four."""

HALVES = ((0, 2, 4, 6), (0, 1, 4, 5), (0, 3, 4, 7), (0, 1, 2, 3))
"""The groups of one half of each split; any two splits are orthogonal."""

SPLITS = len(HALVES)

Runner = Callable[[np.ndarray, str], np.ndarray]
"""``(indices of start states, name of the part) -> end states``, coefficients of the part's own."""


@dataclass(frozen=True)
class Noise:
    """Standard errors that the coefficients' noise adds, by metric; NaN where it is unknown."""

    added: Mapping[str, float] = field(default_factory=dict)
    splits: int = 0
    note: str = ""


def _unknown(note: str) -> Noise:
    return Noise(note=f"coefficient noise unknown: {note}")


def coefficient_noise(bench: Bench, state: np.ndarray, run: Runner) -> Noise:
    """Return the excess of every distance, as standard errors.

    Parameters
    ----------
    bench : Bench
    state : array (n, d)
        End states of the whole run.
    run : callable
        Runs some of the start states anew.
    """
    n = len(state)
    if n < 2 * GROUPS:
        return _unknown(f"{n} samples are too few to split")
    excess = []
    for i, groups in enumerate(HALVES):
        first = np.isin(np.arange(n) % GROUPS, groups)
        gaps = []
        for part in (first, ~first):
            index = np.flatnonzero(part)
            try:
                again = run(index, f"half {i} {bool(part[0])}")
            except NonFiniteStateError:
                return _unknown(f"half of the batch stopped, split {i + 1} of {SPLITS}")
            found = [bench.measured(s, index) for s in (again, state[index])]
            gaps.append([_values(one) for one in found])
        own, given = np.array(gaps[0]) - np.array(gaps[1])
        excess.append((own**2 - given**2) / 4)
    total = np.sqrt(np.maximum(np.mean(excess, axis=0), 0.0)).tolist()
    return Noise(dict(zip(found[0], total, strict=True)), SPLITS)


def _values(found: Measured) -> list[float]:
    return [math.nan if entry is None else entry.value for entry in found.values()]


def widened(found: Measured, noise: Noise) -> Measured:
    """Return the metrics with the coefficients' noise in their errors."""

    def wider(name: str, entry: Estimate | None) -> Estimate | None:
        extra = noise.added.get(name, math.nan)
        if entry is None or math.isnan(extra):
            return entry
        return Estimate(entry.value, math.hypot(entry.error, extra))

    return {name: wider(name, entry) for name, entry in found.items()}
