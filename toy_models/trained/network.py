r"""A residual perceptron with EDM preconditioning.

With the data's mean ``m`` and deviation ``s``, at ``x = x_star + sigma eps``,

    D(x, sigma) = m + c_skip (x - m) + c_out F(c_in (x - m), c_noise),

    c_skip = s^2 / (sigma^2 + s^2),     c_out = sigma s / sqrt(sigma^2 + s^2),
    c_in = 1 / sqrt(sigma^2 + s^2),     c_noise = log(sigma) / 4.

Reference: Karras et al., "Elucidating the design space of diffusion-based generative models", 2022,
Table 1; the mean is added here. Activations are smooth, so that divergences are those of a smooth
map.
"""

import math

import torch
from torch import nn

from toy_models.trained.presets import Preset

NOISE_RANGE = (0.002, 80.0)
"""Noise levels that the networks are made for."""


class Block(nn.Module):
    """``h + W2 silu(W1 silu(h) + V e)``, the identity to begin with."""

    def __init__(self, width: int, embed: int):
        super().__init__()
        self.first = nn.Linear(width, width)
        self.noise = nn.Linear(embed, width, bias=False)
        self.second = nn.Linear(width, width)
        nn.init.zeros_(self.second.weight)
        nn.init.zeros_(self.second.bias)

    def forward(self, h: torch.Tensor, e: torch.Tensor) -> torch.Tensor:
        """Return the block's output for hidden states ``(N, width)``."""
        inner = self.first(nn.functional.silu(h)) + self.noise(e)
        out: torch.Tensor = h + self.second(nn.functional.silu(inner))
        return out


class ToyNet(nn.Module):
    """``net(x, sigma) -> D`` for states ``(N, *shape)`` and noise levels ``(N,)``, ``sigma > 0``.

    Parameters
    ----------
    preset : Preset
        Its sizes.

    Examples
    --------
    Untrained, the inner network is 0 and the denoiser shrinks towards the mean.

    >>> from toy_models.trained.presets import PRESETS
    >>> net = ToyNet(PRESETS["ring-mlp"])
    >>> net(torch.tensor([[2.0, 0.0]]), torch.tensor([1.0])).tolist()
    [[1.0, 0.0]]
    """

    mean: torch.Tensor
    sigma_data: torch.Tensor
    frequencies: torch.Tensor

    def __init__(self, preset: Preset):
        super().__init__()
        dim, width, embed = preset.dim, preset.width, 2 * preset.frequencies + 1
        self.dim = dim
        self.register_buffer("mean", torch.zeros(dim))
        self.register_buffer("sigma_data", torch.ones(()))
        waves = math.pi * torch.arange(1, preset.frequencies + 1)
        self.register_buffer("frequencies", waves, persistent=False)
        self.enter = nn.Linear(dim, width)
        self.blocks = nn.ModuleList(Block(width, embed) for _ in range(preset.blocks))
        self.leave = nn.Linear(width, dim)
        nn.init.zeros_(self.leave.weight)
        nn.init.zeros_(self.leave.bias)

    def forward(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Denoise."""
        sigma = sigma[:, None]
        off = x.reshape(-1, self.dim) - self.mean
        skip, out = self.outer(sigma)
        return (self.mean + skip * off + out * self.inner(off, sigma)).reshape(x.shape)

    def outer(self, sigma: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Return ``c_skip`` and ``c_out`` at levels ``(N, 1)``."""
        total = sigma**2 + self.sigma_data**2
        return self.sigma_data**2 / total, sigma * self.sigma_data / total.sqrt()

    def inner(self, off: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        """Return ``F`` at states less the mean, ``(N, d)``."""
        c_noise = sigma.log() / 4
        phase = c_noise * self.frequencies
        e = torch.cat((c_noise, phase.cos(), phase.sin()), dim=-1)
        h = self.enter(off / (sigma**2 + self.sigma_data**2).sqrt())
        for block in self.blocks:
            h = block(h, e)
        out: torch.Tensor = self.leave(nn.functional.silu(h))
        return out
