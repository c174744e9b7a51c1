"""Drive diffusers' schedulers with an exact denoiser, without a pipeline.

The denoiser is evaluated at the scheduler's own ``sigmas[i]``, never at its rounded integer
timestep. VP-type schedulers hold ``sigma / alpha`` there and take states ``alpha x0 + sigma eps``;
VE-type ones hold and take the VE form; with flow sigmas ``alpha = 1 - sigma``.
"""

from __future__ import annotations

import types
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.solvers.scalars import log_ratio

Coordinates = Callable[[float], NoiseLevel]


def vp(ratio: float) -> NoiseLevel:
    """A variance-preserving level of this ``sigma / alpha``."""
    scale = float(np.hypot(1.0, ratio))
    return NoiseLevel(1.0 / scale, ratio / scale)


def ve(ratio: float) -> NoiseLevel:
    """A level with ``alpha = 1``."""
    return NoiseLevel(1.0, ratio)


def flow(sigma: float) -> NoiseLevel:
    """A level of rectified flow."""
    return NoiseLevel(1.0 - sigma, sigma)


def to_sample(x: Any, denoised: Any, level: NoiseLevel) -> Any:
    """Predict the sample."""
    return denoised


def to_eps(x: Any, denoised: Any, level: NoiseLevel) -> Any:
    """Predict the noise."""
    return (x - level.alpha * denoised) / level.sigma


def to_velocity(x: Any, denoised: Any, level: NoiseLevel) -> Any:
    """Predict ``eps - x0``."""
    return to_eps(x, denoised, level) - denoised


def to_edm(x: Any, denoised: Any, level: NoiseLevel, data: float = 0.5) -> Any:
    """Predict EDM's preconditioned output."""
    power = level.sigma**2 + data**2
    return (denoised - data**2 / power * x) * power**0.5 / (level.sigma * data)


@contextmanager
def double_precision(scheduler: Any) -> Iterator[None]:
    """Let ``step`` keep float64, where it casts the state to float32."""
    module = __import__(type(scheduler).__module__, fromlist=["torch"])
    proxy = types.ModuleType("torch")
    proxy.__getattr__ = lambda name: getattr(torch, name)  # type: ignore[method-assign]
    proxy.float32 = torch.float64  # type: ignore[attr-defined]
    original, module.torch = module.torch, proxy
    try:
        yield
    finally:
        module.torch = original


def run(
    scheduler: Any,
    law: Any,
    x: torch.Tensor,
    at: Coordinates,
    output: Callable[[Any, Any, NoiseLevel], Any],
    *,
    nodes: Sequence[float] | None = None,
) -> torch.Tensor:
    """Run a scheduler whose timesteps are set; ``nodes`` are where the denoiser is evaluated."""
    nodes = [float(s) for s in (scheduler.sigmas if nodes is None else nodes)]
    scheduler.set_begin_index(0)
    scheduler.is_scale_input_called = True
    for node, t in zip(nodes, scheduler.timesteps, strict=False):
        level = at(node)
        prediction = output(x, law(x, level), level)
        x = scheduler.step(prediction, t, x).prev_sample
    return x


def inject(scheduler: Any, values: Sequence[float], interleaved: bool = False) -> None:
    """Overwrite the sigmas, in float64; some schedulers hold every inner one twice."""
    sigmas = torch.tensor(values, dtype=torch.float64)
    if interleaved:
        sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
    scheduler.sigmas = sigmas


def gap(ours: Any, theirs: Any) -> float:
    """Largest difference relative to the largest state."""
    ours, theirs = np.asarray(ours, dtype=float), np.asarray(theirs, dtype=float)
    return float(np.abs(ours - theirs).max() / np.abs(ours).max())


def levels(values: Sequence[float], at: Coordinates) -> Grid:
    """The grid of a scheduler's sigmas."""
    return tuple(at(float(value)) for value in values)


def spaced(top: float, bottom: float, steps: int, bend: float = 0.0) -> list[float]:
    """Ratios with geometric steps, bent so that no two are equal unless ``bend`` is 0."""
    u = np.linspace(0.0, 1.0, steps + 1)
    total = float(log_ratio(bottom, top))
    return [float(v) for v in top * np.exp(total * (u + bend * u * (1 - u)))]
