"""References that need the exact flow: what a scalar, or a few numbers, can do at best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace, to_device

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.coefficient.formulas import reference_numerator
from steinlab.corrections.directions import DIRECTIONS, moved
from steinlab.corrections.scalar import ScalarCorrection
from steinlab.solvers.reference_flow import SUBSTEPS, fine_run
from steinlab.solvers.step import Diagnostics, Step, inner

RIDGE = 1e-4
"""Relative ridge of the least squares: directions that differ by less are told apart by nothing.

Measured with 512 states that fit and 1000 that judge, on four mixtures in 1, 2 and 64 dimensions,
five solvers, two grids, 5 and 8 evaluations (80 cells, one seed): the geometric mean of the energy
distance over the plain solver's is the same to 0.001 for ridges from 1e-8 to 1e-4, and 0.057
against 0.052 at 1e-2. Of those that cost nothing, the largest is the least sensitive to sampling.
"""

LIMIT = 30.0
"""Largest coefficient of a move.

In the same cells: 0.076 with a limit of 1, 0.058 with 3, 0.052 with 30, 0.051 without; the worst
cell 1.84, 1.64, 1.64, 1.55. So large moves are real (near the end the plain step is far off along
a short direction), and the limit guards only against directions that hardly exist.
"""

WEAK = 1e-20
"""Mean square of a direction, over the state's, below which it is left out."""


def flow_oracle(*, substeps: int = 16) -> ScalarCorrection:
    """Return the best scalar of each step towards the exact flow, ``E<u, x - Phi(x)> / E|u|^2``.

    ``gamma`` minimises ``E|x - gamma u - Phi(x)|^2``, ``Phi(x)`` where the flow takes the very
    states at hand. Neutral for an exact step: ``u = x - Phi(x)`` gives 1. It keeps a solver's order
    ``p``: ``gamma - 1 = O(h^p)`` and ``u = O(h)``. Greedy: each step is best for itself, which is
    not best for the end result. Costs ``3 substeps`` evaluations a state and step,
    one more to zero noise.
    """

    def numerator(step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG001
        target = fine_run(step.denoiser, step.x, step.s, step.t, substeps)
        return reference_numerator(step.x, step.candidate.residual, target)

    price = 3 * substeps
    return ScalarCorrection(
        "flow-oracle", numerator, -math.inf, math.inf, evaluations=price, at_zero=1
    )


Target = Callable[[Step], Array]
"""``step -> states (N, d)`` that the candidate should have been."""


@dataclass(frozen=True)
class FlowFit:
    r"""Move each candidate along a few directions to where the flow leads.

    The least squares ``c = argmin E|T + sum_k c_k d_k - y|^2`` over the batch. The target ``y`` is
    either where the flow takes the very states at hand (``own``), or its state from the same start
    at the step's end (``same_start``), which also takes back what earlier steps got wrong, but
    pulls towards the mean where those errors are no longer foreseeable. Meant for calibration
    (:mod:`steinlab.corrections.fitted`).

    Neutral for an exact step on an exact trajectory (``y = T`` gives ``c = 0``); on a trajectory of
    a solver of order ``p`` the move is ``O(h^p)``, so the order survives. Equivariant under
    rotation, shift and scaling of the data, as its directions are.

    Parameters
    ----------
    target : callable
        ``step -> states (N, d)``: :func:`own` or :func:`same_start`.
    directions : sequence of str
        Keys of :data:`steinlab.corrections.directions.DIRECTIONS`.
    significance : float
        Standard errors below which a coefficient is dropped; the diagnostics name its direction.
    """

    target: Target
    directions: Sequence[str]
    significance: float = 0.0
    name: str = "flow-fit"
    depth: int = 1

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the moved candidate; a direction that vanishes is not moved along."""
        gap = self.target(step) - step.candidate.state
        move, doubtful = least_squares(step, self.directions, gap, self.significance)
        note = f"within its error: {', '.join(doubtful)}" if doubtful else ""
        gamma = 1.0 - move.get("residual", 0.0)
        return moved(step, move), Diagnostics(gamma, note=note, move=move)


def own(substeps: int = SUBSTEPS) -> Target:
    """Return the target ``Phi(x)``, followed from the states at hand."""
    return lambda step: fine_run(step.denoiser, step.x, step.s, step.t, substeps)


def same_start(grid: Sequence[NoiseLevel], states: Sequence[Array]) -> Target:
    """Return the target on the flow's trajectory from the batch's start states."""
    found = {(level.alpha, level.sigma): y for level, y in zip(grid, states, strict=True)}
    return lambda step: found[step.t.alpha, step.t.sigma]


def least_squares(
    step: Step, names: Sequence[str], gap: Array, significance: float = 0.0
) -> tuple[dict[str, float], list[str]]:
    """Return the coefficients of ``min_c E|sum_k c_k d_k - gap|^2``, a relative ridge added.

    A direction whose coefficient exceeds :data:`LIMIT` is dropped, the largest first, and the rest
    fitted again: such a move extrapolates a direction that hardly exists. So is one whose
    coefficient is below ``significance`` of its standard errors, the least significant first; the
    second value names those.
    """
    fields = [DIRECTIONS[name](step) for name in names]
    gram = np.array([[_mean(a, b) for b in fields] for a in fields])
    right = np.array([_mean(a, gap) for a in fields])
    size = np.sqrt(np.diag(gram))
    used = np.flatnonzero(np.diag(gram) > WEAK * _mean(step.x, step.x))
    out, doubtful = np.zeros(len(names)), []
    while used.size:
        sizes = np.outer(size[used], size[used])
        inverse = (
            np.linalg.inv(gram[np.ix_(used, used)] / sizes + RIDGE * np.eye(used.size)) / sizes
        )
        found = inverse @ right[used]
        worst = int(np.argmax(np.abs(found)))
        if abs(found[worst]) <= LIMIT:
            errors = _errors([fields[k] for k in used], gap, found, inverse)
            worst = int(np.argmin(np.abs(found) - significance * errors))
            if abs(found[worst]) >= significance * errors[worst]:
                out[used] = found
                break
            doubtful.append(names[used[worst]])
        used = np.delete(used, worst)
    return dict(zip(names, out.tolist(), strict=True)), doubtful


def _errors(
    fields: Sequence[Array], gap: Array, found: np.ndarray, inverse: np.ndarray
) -> np.ndarray:
    """Return the coefficients' standard errors, from the states' own scatter (the sandwich)."""
    rest = gap
    for c, field in zip(found, fields, strict=True):
        rest = rest - float(c) * field
    terms = [inner(field, rest) for field in fields]
    host = np.array([t if isinstance(t, np.ndarray) else to_device(t, "cpu") for t in terms])
    return np.asarray((inverse @ host).std(axis=1) / math.sqrt(host.shape[1]))


def _mean(a: Array, b: Array) -> float:
    total = float(array_namespace(a).sum(a * b))
    return total / int(a.shape[-2])
