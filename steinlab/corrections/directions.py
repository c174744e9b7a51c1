r"""Directions in which a correction may move a candidate, all at hand when the step is done.

A correction with few numbers moves ``T(x)`` by ``sum_k c_k d_k``. With ``D = D(x)`` at the step's
start and ``D_1`` the output before it:

    residual   u = x - T        the paper's scalar: gamma = 1 - c
    state      T - mean(T)      a scale of the state about its batch mean
    noise      T - alpha' D     a scale of what is left of the noise, alpha' the next level's
    slope      D - D_1          how the denoiser's output changed; zero at the first step
    local      h (T - alpha' D) the noise, by sample; zero at the first step

with ``h_i = tanh((v_i - mean v) / std v)`` of ``v_i = |D - D_1|^2``: large where the denoiser's
output still moves, which it does where the local posterior variance is large.

The others are linear in the arrays of the step, so all turn and stretch with the data. A shift
``b`` of the data leaves all alone but the residual, which it moves by ``(alpha - alpha') b``:
nothing where ``alpha`` stays 1.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from array_api_compat import array_namespace

from analytic.arrays import Array
from steinlab.solvers.step import Step


def _state(step: Step) -> Array:
    state = step.candidate.state
    return state - array_namespace(state).mean(state, axis=-2, keepdims=True)


def _slope(step: Step) -> Array:
    denoised = step.candidate.denoised
    before = step.history[0].denoised if step.history else denoised
    return denoised - before


def _noise(step: Step) -> Array:
    return step.candidate.state - step.t.alpha * step.candidate.denoised


def _local(step: Step) -> Array:
    noise = _noise(step)
    if not step.history:
        return 0.0 * noise
    xp = array_namespace(noise)
    change = _slope(step)
    moved_by = xp.sum(change * change, axis=-1, keepdims=True)
    centred = moved_by - xp.mean(moved_by, axis=-2, keepdims=True)
    spread = xp.sqrt(xp.mean(centred * centred, axis=-2, keepdims=True))
    return xp.tanh(centred / xp.where(spread > 0, spread, xp.ones_like(spread))) * noise


DIRECTIONS: Mapping[str, Callable[[Step], Array]] = MappingProxyType(
    {
        "residual": lambda step: step.candidate.residual,
        "state": _state,
        "noise": _noise,
        "slope": _slope,
        "local": _local,
    }
)
"""Every direction by name."""


def moved(step: Step, move: Mapping[str, float]) -> Array:
    """Return ``T + sum_k move[k] d_k``; directions with the coefficient 0 cost nothing.

    The residual's own direction is taken from the state: ``T + c u = x - (1 - c) u``.
    """
    c = move.get("residual", 0.0)
    state = step.x - (1.0 - c) * step.candidate.residual if c else step.candidate.state
    for name, amount in move.items():
        if name != "residual" and amount:
            state = state + amount * DIRECTIONS[name](step)
    return state
