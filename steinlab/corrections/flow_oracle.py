"""References that need the exact flow: what a scalar, or a few numbers, can do at best."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array, host, like
from steinlab.coefficient.formulas import reference_numerator
from steinlab.corrections.directions import DIRECTIONS, moved
from steinlab.corrections.scalar import ScalarCorrection
from steinlab.solvers.reference_flow import fine_run
from steinlab.solvers.scalars import has_noise, has_signal
from steinlab.solvers.step import Diagnostics, Step, inner

RIDGE = 1e-4
"""Ridge of the least squares, relative to mean squares; see docs/corrections-evidence.md."""

LIMIT = 30.0
"""Largest coefficient of a move: it guards against directions that are nearly zero."""

WEAK = 1e-20
"""Mean square of a direction, over the state's, below which it is left out."""


def flow_oracle(*, substeps: int = 16) -> ScalarCorrection:
    """Return the best scalar of each step towards the exact flow, ``E<u, x - Phi(x)> / E|u|^2``.

    ``gamma`` minimises ``E|x - gamma u - Phi(x)|^2``, where ``Phi(x)`` is the flow's state at the
    step's end from the same ``x``. An exact step has ``gamma = 1``. A solver of order ``p`` keeps
    it: ``gamma - 1 = O(h^p)`` and ``u = O(h)``. Each step is the best for itself, which does not
    make the end of the run the best. Costs ``3 substeps`` evaluations per state and step, and one
    more in a step to zero noise.
    """

    def numerator(step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG001
        target = fine_run(step.denoiser, step.x, step.s, step.t, substeps)
        return reference_numerator(step.x, step.candidate.residual, target)

    price = 3 * substeps
    return ScalarCorrection(
        "flow-oracle", numerator, -math.inf, math.inf, evaluations=price, at_zero=1
    )


@dataclass(frozen=True)
class SpanFloor:
    r"""The nearest to the flow that noise predictions combined by numbers come: a reference.

    ``min_c E|z + c_0 z_c + sum_j c_{j+1} eps_j - Phi(z)|^2`` over the batch, in ``z = x / alpha``:
    ``eps_j = (z_j - D_j) / S_j`` at the step's beginning and at the evaluations before, ``Phi`` the
    flow's state at the step's end. Every linear multistep step in noise form that looks back
    ``depth`` evaluations or fewer lies in this span, whatever its coefficients, and so does every
    scalar correction of it: none errs less from the same states. In data form that holds where the
    span reaches back to the run's start. The note states the distance left, the root mean square of
    a coordinate. It is greedy as ``flow-oracle`` is.

    An exact linear step is reproduced, and the order of a linear solver kept. Equivariant under
    rotation, shift and scaling of the data. Costs ``3 substeps`` evaluations per state and step,
    one more in a step to zero noise.

    Parameters
    ----------
    substeps : int
    depth : int
        Noise predictions of earlier evaluations.
    """

    substeps: int = 16
    depth: int = 3
    name: str = "span-floor"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Array, Diagnostics]:  # noqa: ARG002
        """Return the nearest state to the flow's."""
        price = 3 * self.substeps + (not has_noise(step.t))
        if not has_signal(step.s):
            return step.candidate.state, Diagnostics(1.0, note="declined: alpha = 0")
        target = fine_run(step.denoiser, step.x, step.s, step.t, self.substeps) / step.t.alpha
        z = step.x / step.s.alpha
        xp = array_namespace(z)
        fields = [z - xp.mean(z, axis=0, keepdims=True), z - step.candidate.denoised]
        past = [one for one in step.history if has_signal(one.level)][: self.depth]
        fields += [one.state / one.level.alpha - one.denoised for one in past]
        rows = np.stack([host(field, float).ravel() for field in fields], axis=1)
        size = np.linalg.norm(rows, axis=0)
        rows = rows / np.where(size > 0, size, 1.0)
        gap = host(target - z, float).ravel()
        move = rows @ np.linalg.lstsq(rows, gap, rcond=None)[0]
        left = math.sqrt(float(np.mean((gap - move) ** 2))) * step.t.alpha
        state = step.t.alpha * (z + like(move.reshape(tuple(z.shape)), z))
        note = f"{left:.3g} from the flow per coordinate"
        return state, Diagnostics(1.0, note=note, evaluations=float(price))


Target = Callable[[Step], Array]
"""``step -> states (N, d)`` that the candidate should have been."""


@dataclass(frozen=True)
class FlowFit:
    r"""Move each candidate along a few directions towards the flow, by least squares.

    ``c = argmin E|T + sum_k c_k d_k - y|^2`` over the batch. The target ``y`` is the flow's state
    at the step's end, from the states at hand or from the run's start (:func:`same_start`). The
    second also undoes errors of earlier steps, but shrinks states towards the mean where those
    errors can no longer be predicted.

    An exact step on an exact trajectory has ``c = 0``. On a trajectory of a solver of order ``p``
    the move is ``O(h^p)``, so the order is kept. Equivariant under rotation, shift and scaling of
    the data, as its directions are.

    Parameters
    ----------
    target : callable
        ``step -> states (N, d)``, such as :func:`same_start`.
    directions : sequence of str
        Keys of :data:`steinlab.corrections.directions.DIRECTIONS`.
    significance : float
        A coefficient below so many standard errors is dropped; the note names its direction.
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


def same_start(grid: Sequence[NoiseLevel], states: Sequence[Array]) -> Target:
    """Return the target on the flow's trajectory from the batch's start states."""
    found = {(level.alpha, level.sigma): y for level, y in zip(grid, states, strict=True)}
    return lambda step: found[step.t.alpha, step.t.sigma]


def least_squares(
    step: Step, names: Sequence[str], gap: Array, significance: float = 0.0
) -> tuple[dict[str, float], list[str]]:
    """Return the coefficients of ``min_c E|sum_k c_k d_k - gap|^2``, with a relative ridge.

    A direction is dropped and the rest fitted again if its coefficient exceeds :data:`LIMIT` (the
    largest first), or is below ``significance`` standard errors (the least significant first). The
    second value names those dropped for the second reason.
    """
    fields = [DIRECTIONS[name](step) for name in names]
    gram = np.array([[_mean(a, b) for b in fields] for a in fields])
    right = np.array([_mean(a, gap) for a in fields])
    size = np.sqrt(np.diag(gram))
    used = np.flatnonzero(np.diag(gram) > WEAK * _mean(step.x, step.x))
    out, doubtful = np.zeros(len(names)), []
    while used.size:
        sizes = np.outer(size[used], size[used])
        ridged = gram[np.ix_(used, used)] / sizes + RIDGE * np.eye(used.size)
        inverse = np.linalg.inv(ridged) / sizes
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
    """Return the coefficients' standard errors by the sandwich estimator."""
    rest = gap
    for c, field in zip(found, fields, strict=True):
        rest = rest - float(c) * field
    terms = np.array([host(inner(field, rest)) for field in fields])
    return np.asarray((inverse @ terms).std(axis=1) / math.sqrt(terms.shape[1]))


def _mean(a: Array, b: Array) -> float:
    total = float(array_namespace(a).sum(a * b))
    return total / int(a.shape[-2])
