r"""Directions along which a correction may move a candidate; none costs an evaluation.

A correction with a few numbers moves ``T(x)`` by ``sum_k c_k d_k``. ``D`` is the denoiser's output
at the start of the step, ``D_1`` its output one step before, ``alpha'`` that of the next level:

    residual   u = x - T        the paper's scalar: gamma = 1 - c
    state      T - mean(T)      scales the state about the batch's mean
    noise      T - alpha' D     scales the noise that is left
    slope      D - D_1          the change of the denoiser's output; zero at the first step
    local      h (T - alpha' D) scales the noise sample by sample; zero at the first step

with ``h_i = tanh((v_i - mean v) / std v)`` and ``v_i = |D - D_1|^2``, which is large where the
posterior variance of ``x_star`` is large.

Every direction rotates and scales with the data. A shift ``b`` of the data changes the residual by
``(alpha - alpha') b``, and no other direction.
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
    """Return ``T + sum_k move[k] d_k``, with ``T + c u`` computed as ``x - (1 - c) u``."""
    c = move.get("residual", 0.0)
    state = step.x - (1.0 - c) * step.candidate.residual if c else step.candidate.state
    for name, amount in move.items():
        if name != "residual" and amount:
            state = state + amount * DIRECTIONS[name](step)
    return state
