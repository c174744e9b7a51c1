r"""What the network is trained for: EDM's loss, its running average, and its error at fixed levels.

    loss = E[ lambda(sigma) |D(x_star + sigma eps; sigma) - x_star|^2 / d ],
    log sigma ~ N(-1.2, 1.2^2),  lambda = (sigma^2 + s^2) / (sigma s)^2.

Pictures are not augmented: nearly every shoe of Fashion-MNIST points left, and flipped copies would
change the law that is learned. The exact denoiser of the training set is thus the exact minimiser
of this loss.

References
----------
Karras, Aittala, Aila and Laine 2022, table 1 (loss); Karras, Aittala, Lehtinen, Hellsten, Aila and
Laine, "Analyzing and improving the training dynamics of diffusion models", 2024, sec. 3.1
(average).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import torch

from gpu_models.network import fashion

P_MEAN, P_STD = -1.2, 1.2
"""Mean and standard deviation of ``log sigma`` in training."""
SEED_STRIDE = 1_000_003
"""Steps that one seed may take before it meets the next; a CPU's generator keeps 32 bits."""
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Noise levels of the validation."""

Network = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
"""``(pictures (N, C, H, W), sigma (N,)) -> D``."""


class Batch(NamedTuple):
    """Clean pictures, noise levels and unit noise: all that is random in one step."""

    clean: torch.Tensor  # (N, C, H, W) in [-1, 1]
    sigma: torch.Tensor  # (N,)
    noise: torch.Tensor  # (N, C, H, W)


def resident(part: str, folder: str | None, device: torch.device) -> torch.Tensor:
    """Return the pictures of a part as bytes ``(n, 1, 28, 28)`` on the device."""
    images = fashion.load_images(part, folder)
    return torch.tensor(images.copy(), device=device).reshape(len(images), *fashion.SHAPE)


def to_pictures(data: torch.Tensor) -> torch.Tensor:
    """Return bytes as float pictures in [-1, 1]."""
    return data.to(torch.float32) / 127.5 - 1


def draw(data: torch.Tensor, count: int, seed: int, step: int, share: slice) -> Batch:
    """Draw the batch of a step: a function of seed and step alone, whoever computes which part.

    Parameters
    ----------
    data : tensor (n, C, H, W), uint8
        On the device of the computation.
    count : int
        Pictures of the whole batch, drawn with replacement.
    seed, step : int
    share : slice
        The rows to return.
    """
    generator = torch.Generator(data.device)
    generator.manual_seed(seed * SEED_STRIDE + step)
    where = {"device": data.device, "generator": generator}
    rows = torch.randint(len(data), (count,), **where)[share]  # type: ignore[call-overload]
    sigma = (P_MEAN + P_STD * torch.randn(count, **where)).exp()[share]  # type: ignore[call-overload]
    noise = torch.randn(count, *data.shape[1:], **where)[share]  # type: ignore[call-overload]
    return Batch(to_pictures(data[rows]), sigma, noise)


def edm_loss(net: Network, batch: Batch, sigma_data: float) -> torch.Tensor:
    """Return the weighted loss of each picture, ``(N,)`` in float32."""
    clean, sigma, noise = batch
    found = net(clean + sigma[:, None, None, None] * noise, sigma)
    weight = (sigma**2 + sigma_data**2) / (sigma * sigma_data) ** 2
    return weight * (found.float() - clean).square().flatten(1).mean(1)


class LevelError(NamedTuple):
    """Mean squared error per coordinate at a level, and its standard error over pictures."""

    sigma: float
    error: float
    standard_error: float


@torch.no_grad()
def validate(
    net: Network, data: torch.Tensor, levels: Sequence[float] = LEVELS, *, rows: int = 500
) -> list[LevelError]:
    """Return the denoiser's error at fixed levels with the same noise at every call.

    Parameters
    ----------
    net : callable
    data : tensor (n, C, H, W), uint8
    levels : sequence of float
    rows : int
        Pictures at once.
    """
    generator = torch.Generator(data.device)
    generator.manual_seed(0)
    noise = torch.randn(data.shape, device=data.device, generator=generator)
    found = []
    for sigma in levels:
        parts = []
        for some, eps in zip(torch.split(data, rows), torch.split(noise, rows), strict=True):
            clean, level = to_pictures(some), torch.full((len(some),), sigma, device=data.device)
            off = net(clean + sigma * eps, level) - clean
            parts.append(off.double().square().flatten(1).mean(1))
        each = torch.cat(parts)
        error = float(each.std()) / math.sqrt(len(each))
        found.append(LevelError(sigma, float(each.mean()), error))
    return found


def power_of(width: float) -> float:
    r"""Return the exponent ``g`` of the averaging profile ``t^g`` with that relative width.

    The standard deviation of the density ``(g + 1) t^g`` on [0, 1] is
    ``sqrt((g + 1) / ((g + 2)^2 (g + 3)))``, falling in ``g``; solved by bisection.

    Examples
    --------
    >>> round(power_of(0.1), 2)
    6.94
    """
    low, high = 0.0, 1e4
    for _ in range(200):
        g = (low + high) / 2
        wide = math.sqrt((g + 1) / ((g + 2) ** 2 * (g + 3))) > width
        low, high = (g, high) if wide else (low, g)
    return low


@torch.no_grad()
def average(
    mean: Iterable[torch.Tensor], latest: Iterable[torch.Tensor], step: int, power: float
) -> None:
    """Update the running average after step ``step >= 1``: ``mean += (1 - b) (latest - mean)``.

    ``b = (1 - 1 / step)^(power + 1)`` weighs time ``t`` in proportion to ``t^power``: the first
    steps are forgotten, without a ramp to tune.
    """
    keep = (1 - 1 / step) ** (power + 1)
    torch._foreach_lerp_(list(mean), list(latest), 1 - keep)
