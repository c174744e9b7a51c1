r"""Train a toy: Adam on the EDM loss; keeps the best moving average; can be stopped and resumed.

The loss is that of the inner network, ``E |F - F_target|^2 / d`` with

    F_target = (x_star - m - c_skip (x - m)) / c_out:

EDM's weighting, of a size near 1 at every level. A run depends on its preset alone. It uses one
thread, because a matrix product's rounding depends on the number of threads.
"""

import math
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

import numpy as np
import torch

from toy_models.trained.data import DATA
from toy_models.trained.network import NOISE_RANGE, ToyNet
from toy_models.trained.presets import Preset

VALIDATIONS = 20
"""Validations per run."""

BETAS = (0.9, 0.99)
"""Adam's."""

Tensors = dict[str, torch.Tensor]

Progress = Callable[[int, float], None]
"""Called after each step with the steps done and the last validation loss."""

Stop = Callable[[], bool]


@dataclass
class Run:
    """A training run between two steps.

    Attributes
    ----------
    preset : Preset
    net : ToyNet
    optimizer : torch.optim.Adam
    rng : torch.Generator
        Draws batches, levels and noise.
    average : dict
        The moving average of the weights.
    step : int
        Steps done.
    best, best_loss, best_step
        The average with the least validation loss so far, that loss, and when it was met.
    curve : list of (step, validation loss)
    """

    preset: Preset
    net: ToyNet
    optimizer: torch.optim.Adam
    rng: torch.Generator
    average: Tensors
    step: int = 0
    best: Tensors = field(default_factory=dict)
    best_loss: float = math.inf
    best_step: int = 0
    curve: list[tuple[int, float]] = field(default_factory=list)

    @property
    def done(self) -> bool:
        """Whether the run is complete."""
        return self.step >= self.preset.steps

    def state(self) -> dict[str, Any]:
        """Return all that a resumed run needs, tensors and plain values."""
        return {
            "digest": self.preset.digest,
            "net": self.net.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "rng": self.rng.get_state(),
            "average": self.average,
            "step": self.step,
            "best": self.best,
            "best_loss": self.best_loss,
            "best_step": self.best_step,
            "curve": self.curve,
        }


def begin(preset: Preset, state: dict[str, Any] | None = None) -> Run:
    """Return a run at its first step, or where ``state`` was taken."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(preset.seed)
        net = ToyNet(preset)
    data = _states(preset, preset.pool, "pool")
    net.mean.copy_(data.mean(dim=0))
    net.sigma_data.copy_((data - net.mean).square().mean().sqrt())
    optimizer = torch.optim.Adam(net.parameters(), lr=preset.rate, betas=BETAS, fused=True)
    rng = torch.Generator().manual_seed(preset.seed)
    run = Run(preset, net, optimizer, rng, _copy(net))
    if state is not None:
        net.load_state_dict(state["net"])
        optimizer.load_state_dict(state["optimizer"])
        rng.set_state(state["rng"])
        for name in ("average", "step", "best", "best_loss", "best_step", "curve"):
            setattr(run, name, state[name])
    return run


def advance(run: Run, progress: Progress | None = None, stop: Stop = lambda: False) -> Run:
    """Train until the run is done or ``stop()``, and return it.

    Guarantee: stopped and resumed anywhere, a run ends with the same weights bit for bit, on one
    machine with one version of torch.
    """
    preset = run.preset
    data = _states(preset, preset.pool, "pool")
    held_out = _held_out(run)
    every = max(1, preset.steps // VALIDATIONS)
    with _one_thread():
        while not run.done and not stop():
            _step(run, data)
            if run.step % every == 0 or run.done:
                _validate(run, held_out)
            if progress:
                progress(run.step, run.curve[-1][1] if run.curve else math.nan)
        if not run.curve or run.curve[-1][0] != run.step:
            _validate(run, held_out, record=False)
    return run


@contextmanager
def stopped_by_interrupt() -> Iterator[Stop]:
    """Turn the first Ctrl-C into a ``stop()`` between two steps; the second interrupts at once."""
    asked = threading.Event()

    def ask(_number: int, _frame: FrameType | None) -> None:
        asked.set()
        signal.signal(signal.SIGINT, previous)

    if threading.current_thread() is not threading.main_thread():
        yield asked.is_set
        return
    previous = signal.signal(signal.SIGINT, ask)
    try:
        yield asked.is_set
    finally:
        signal.signal(signal.SIGINT, previous)


def _states(preset: Preset, count: int, what: str) -> torch.Tensor:
    """Draw data, another stream of random numbers for each use."""
    rng = np.random.default_rng([preset.seed, *what.encode()])
    return torch.from_numpy(DATA[preset.data].sample(count, rng)).float()


def _copy(net: ToyNet) -> Tensors:
    return {name: value.detach().clone() for name, value in net.state_dict().items()}


def _rate(preset: Preset, step: int) -> float:
    rise = min(1.0, (step + 1) / preset.warmup)
    return preset.rate * rise * 0.5 * (1 + math.cos(math.pi * step / preset.steps))


def _levels(run: Run, count: int) -> torch.Tensor:
    """Draw noise levels ``(count, 1)``."""
    preset, low, high = run.preset, *(math.log(end) for end in NOISE_RANGE)
    centre = math.log(float(run.net.sigma_data)) + preset.noise_mean
    log = centre + preset.noise_std * torch.randn(count, 1, generator=run.rng)
    wide = low + (high - low) * torch.rand(count, 1, generator=run.rng)
    tail = torch.rand(count, 1, generator=run.rng) < preset.noise_tail
    return torch.where(tail, wide, log.clamp(low, high)).exp()


def _loss(net: ToyNet, x_star: torch.Tensor, sigma: torch.Tensor, eps: torch.Tensor) -> Any:
    """Return ``mean |F - F_target|^2 / d``, with both terms of the target free of cancellation.

    ``F_target = (sigma / s) c_in (x_star - m) - s c_in eps``.
    """
    off = x_star - net.mean
    s, c_in = net.sigma_data, (sigma**2 + net.sigma_data**2).rsqrt()
    target = c_in * (sigma / s * off - s * eps)
    return (net.inner(off + sigma * eps, sigma) - target).square().mean()


def _step(run: Run, data: torch.Tensor) -> None:
    preset = run.preset
    rows = torch.randint(len(data), (preset.batch,), generator=run.rng)
    sigma = _levels(run, preset.batch)
    eps = torch.randn(preset.batch, preset.dim, generator=run.rng)
    for group in run.optimizer.param_groups:
        group["lr"] = _rate(preset, run.step)
    run.optimizer.zero_grad()
    _loss(run.net, data[rows], sigma, eps).backward()
    run.optimizer.step()
    run.step += 1
    decay = min(preset.ema, run.step / (run.step + 10))
    now = run.net.state_dict()
    torch._foreach_lerp_([run.average[name] for name in now], list(now.values()), 1 - decay)


def _held_out(run: Run) -> tuple[torch.Tensor, ...]:
    """Return held-out states with levels and noise of their own, the same at every validation."""
    preset = run.preset
    x_star = _states(preset, preset.held_out, "held out")
    rng = torch.Generator().manual_seed(preset.seed + 1)
    look = Run(preset, run.net, run.optimizer, rng, {})
    sigma = _levels(look, preset.held_out)
    return x_star, sigma, torch.randn(x_star.shape, generator=rng)


def _validate(run: Run, held_out: tuple[torch.Tensor, ...], *, record: bool = True) -> None:
    """Evaluate the moving average in the precision that it is stored in; keep it if it is best."""
    rounded = {name: stored(value) for name, value in run.average.items()}
    net = ToyNet(run.preset)
    net.load_state_dict(rounded)
    with torch.no_grad():
        loss = float(_loss(net, *held_out))
    if record:
        run.curve.append((run.step, loss))
    if loss < run.best_loss:
        run.best, run.best_loss, run.best_step = rounded, loss, run.step


def stored(value: torch.Tensor) -> torch.Tensor:
    """Return a tensor as a weight file holds it: matrices in float16, the rest in float32."""
    return value.half().float() if value.ndim > 1 else value.clone()


@contextmanager
def _one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
