r"""A small U-Net that denoises, or tells the velocity of a rectified flow.

    c_skip x + c_out F(c_in x, c_noise, label),

``F`` the U-Net and ``s`` the standard deviation of the data. The denoiser ``D(x; sigma)`` of
``x = x0 + sigma eps`` has EDM's preconditioning,

    c_skip = s^2 / (sigma^2 + s^2),  c_out = sigma s / sqrt(sigma^2 + s^2),
    c_in = 1 / sqrt(sigma^2 + s^2),  c_noise = log(sigma) / 4;

the velocity ``v(x; t) = E[eps - x0 | x]`` of ``x = (1 - t) x0 + t eps`` that of the same argument,

    c_skip = (t - (1 - t) s^2) / q,  c_out = s / sqrt(q),
    c_in = 1 / sqrt(q),  c_noise = t,  q = (1 - t)^2 s^2 + t^2:

``c_skip x`` is the best linear guess and ``c_out`` the deviation of what it leaves, so that ``F``
has input and target of unit variance. At ``t = 1``, where a state is noise alone, nothing is
singular. Nothing is in place and attention is written as two products, so forward- and
reverse-mode derivatives of any order exist on every device.

References
----------
Karras, Aittala, Aila and Laine, "Elucidating the design space of diffusion-based generative
models", 2022, table 1. Liu, Gong and Liu, "Flow straight and fast", 2022. Ho and Salimans,
"Classifier-free diffusion guidance", 2022. Ronneberger et al. 2015; Dhariwal and Nichol 2021 (scale
and shift).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.nn import functional as F

from steinlab.errors import InputError, one_of

ARCHITECTURE = "steinlab-edm-unet"
"""Written with the weights and demanded of them."""
VERSION = 1
"""Of the architecture: raised when the same configuration means another network."""
FREQUENCIES = 32
"""Pairs of sine and cosine that code the noise level."""
CYCLES = (0.25, 8.0)
"""Range of their frequencies, in cycles per unit of ``c_noise``."""
OBJECTIVES = ("edm", "flow")
"""What a network is trained for: to denoise, or to tell the velocity."""
HEAD_CHANNELS = 64
GROUP_CHANNELS, MOST_GROUPS, NORM_EPS = 4, 32, 1e-5
HALF = math.sqrt(0.5)
"""Keeps the variance of a sum of two unit branches at one."""


@dataclass(frozen=True)
class UNetConfig:
    """What determines the network.

    Parameters
    ----------
    channels : tuple of int
        Of each resolution, the finest first; each next one halves the picture.
    blocks : int
        Residual blocks per resolution, on the way down and on the way up.
    embedding : int
        Size of the code of the noise level.
    sigma_data : float
        Standard deviation of the data's pixels.
    picture : tuple of int
        Channels, height and width.
    objective : str
        ``edm`` for a denoiser, ``flow`` for a velocity.
    classes : int
        Labels are 0 to ``classes - 1``, and ``classes`` for none. With 0 no label is taken.
    patch : int
        Side of the squares of pixels that are taken as channels of one: the finest resolution is
        the picture's divided by it.
    """

    channels: tuple[int, ...] = (64, 128, 256)
    blocks: int = 2
    embedding: int = 256
    sigma_data: float = 0.5
    picture: tuple[int, int, int] = (1, 28, 28)
    objective: str = "edm"
    classes: int = 0
    patch: int = 1

    def __post_init__(self) -> None:
        if self.patch < 1:
            raise InputError(f"patch must be >= 1, got {self.patch}")
        factor = self.patch * 2 ** (len(self.channels) - 1)
        if not self.channels or any(c < 1 or c % GROUP_CHANNELS for c in self.channels):
            raise InputError(
                f"channels must be multiples of {GROUP_CHANNELS}, got {list(self.channels)}"
            )
        if any(side % factor for side in self.picture[1:]):
            raise InputError(f"picture must have sides divisible by {factor}, got {self.picture}")
        if not self.sigma_data > 0:
            raise InputError(f"sigma_data must be > 0, got {self.sigma_data}")
        one_of("objective", self.objective, OBJECTIVES)
        if self.classes < 0:
            raise InputError(f"classes must be >= 0, got {self.classes}")

    @classmethod
    def of_json(cls, data: dict[str, Any]) -> UNetConfig:
        """Return the configuration of its fields, possibly read back from JSON."""
        try:
            values: dict[str, Any] = {
                k: tuple(v) if isinstance(v, list) else v for k, v in data.items()
            }
            return cls(**values)
        except TypeError as error:
            raise InputError(f"config must be that of a U-Net: {error}") from error


class GroupNorm(nn.Module):
    """Group normalisation without a change of memory layout, in the dtype of its parameters.

    Written out because torch's own converts ``channels_last`` pictures, and cannot take their
    vectorised derivatives.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.groups = math.gcd(MOST_GROUPS, channels // GROUP_CHANNELS)
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(N, C, H, W)``."""
        grouped = torch.unflatten(x.to(self.weight.dtype), 1, (self.groups, -1))
        variance, mean = torch.var_mean(grouped, dim=(2, 3, 4), correction=0, keepdim=True)
        normal = ((grouped - mean) * torch.rsqrt(variance + NORM_EPS)).flatten(1, 2)
        out: torch.Tensor = normal * self.weight[:, None, None] + self.bias[:, None, None]
        return out


def _conv(inputs: int, outputs: int, *, kernel: int = 3, stride: int = 1) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, kernel, stride=stride, padding=kernel // 2)


def _zeroed(conv: nn.Conv2d) -> nn.Conv2d:
    """Start a branch at zero, so that the network begins as an identity."""
    nn.init.zeros_(conv.weight)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv


class ResidualBlock(nn.Module):
    """Two normalised convolutions around a scale and shift by the noise level, beside a skip."""

    def __init__(self, inputs: int, outputs: int, embedding: int) -> None:
        super().__init__()
        self.norm1, self.conv1 = GroupNorm(inputs), _conv(inputs, outputs)
        self.affine = nn.Linear(embedding, 2 * outputs)
        self.norm2, self.conv2 = GroupNorm(outputs), _zeroed(_conv(outputs, outputs))
        self.skip = _conv(inputs, outputs, kernel=1) if inputs != outputs else nn.Identity()

    def forward(self, x: torch.Tensor, code: torch.Tensor) -> torch.Tensor:
        """Return ``(N, outputs, H, W)``."""
        h = self.conv1(F.silu(self.norm1(x)))
        scale, shift = self.affine(code)[:, :, None, None].chunk(2, dim=1)
        h = self.conv2(F.silu(self.norm2(h) * (1 + scale) + shift))
        out: torch.Tensor = (self.skip(x) + h) * HALF
        return out


class Attention(nn.Module):
    """Self-attention over the pixels, as two matrix products and a softmax."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.heads = 1 if channels % HEAD_CHANNELS else channels // HEAD_CHANNELS
        self.norm = GroupNorm(channels)
        self.qkv = _conv(channels, 3 * channels, kernel=1)
        self.out = _zeroed(_conv(channels, channels, kernel=1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(N, C, H, W)``."""
        n, c, height, width = x.shape
        qkv = self.qkv(self.norm(x)).reshape(n, 3, self.heads, c // self.heads, height * width)
        q, k, v = qkv.unbind(1)  # (N, heads, C / heads, pixels)
        weights = torch.softmax(q.transpose(-1, -2) @ k / math.sqrt(q.shape[2]), dim=-1)
        mixed = v @ weights.transpose(-1, -2)
        out: torch.Tensor = (x + self.out(mixed.reshape(n, c, height, width))) * HALF
        return out


class NoiseCode(nn.Module):
    """Sines and cosines of ``c_noise`` through two linear layers."""

    frequencies: torch.Tensor

    def __init__(self, embedding: int) -> None:
        super().__init__()
        low, high = (math.log(2 * math.pi * cycles) for cycles in CYCLES)
        frequencies = torch.linspace(low, high, FREQUENCIES).exp()
        self.register_buffer("frequencies", frequencies, persistent=False)
        self.layer1 = nn.Linear(2 * FREQUENCIES, embedding)
        self.layer2 = nn.Linear(embedding, embedding)

    def forward(self, c_noise: torch.Tensor, label: torch.Tensor | None = None) -> torch.Tensor:
        """Return ``(N, embedding)``; a label's code of that shape is added before the last step."""
        phase = c_noise[:, None] * self.frequencies.to(c_noise.dtype)
        waves = torch.cat((phase.cos(), phase.sin()), dim=1)
        out = self.layer2(F.silu(self.layer1(waves)))
        return F.silu(out if label is None else out + label)


class UNet(nn.Module):
    """The network ``F``: down to the coarsest picture, attention there, and up again."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        widths, blocks, code = config.channels, config.blocks, config.embedding
        self.patch, inputs = config.patch, config.picture[0] * config.patch**2
        self.code = NoiseCode(code)
        self.label = nn.Embedding(config.classes + 1, code) if config.classes else None
        self.first = _conv(inputs, widths[0])
        self.down, self.shrink = nn.ModuleList(), nn.ModuleList()
        for level, c in enumerate(widths):
            self.down.append(nn.ModuleList(ResidualBlock(c, c, code) for _ in range(blocks)))
            if level + 1 < len(widths):
                self.shrink.append(_conv(c, widths[level + 1], stride=2))
        self.attend = Attention(widths[-1])
        self.middle = ResidualBlock(widths[-1], widths[-1], code)
        self.up, self.grow = nn.ModuleList(), nn.ModuleList()
        for level, c in reversed(list(enumerate(widths))):
            self.up.append(nn.ModuleList(ResidualBlock(2 * c, c, code) for _ in range(blocks)))
            if level:
                self.grow.append(_conv(c, widths[level - 1]))
        self.norm = GroupNorm(widths[0])
        self.last = _zeroed(_conv(widths[0], inputs))

    def forward(
        self, x: torch.Tensor, c_noise: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``F`` for pictures ``(N, C, H, W)``, codes ``(N,)`` and labels ``(N,)``."""
        code = self.code(c_noise, self.label(labels) if self.label else None)
        h, kept = self.first(F.pixel_unshuffle(x, self.patch)), []
        for level, blocks in enumerate(self.down):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(h, code)
                kept.append(h)
            if level < len(self.shrink):
                h = self.shrink[level](h)
        h = self.middle(self.attend(h), code)
        for level, blocks in enumerate(self.up):
            for block in blocks:  # type: ignore[attr-defined]
                h = block(torch.cat((h, kept.pop()), dim=1), code)
            if level < len(self.grow):
                h = self.grow[level](F.interpolate(h, scale_factor=2.0, mode="nearest"))
        out: torch.Tensor = F.pixel_shuffle(self.last(F.silu(self.norm(h))), self.patch)
        return out


class EDMDenoiser(nn.Module):
    """The preconditioned network: ``(pictures (N, C, H, W), sigma (N,)) -> D``."""

    def __init__(self, config: UNetConfig) -> None:
        super().__init__()
        self.config = config
        self.net = UNet(config)

    def forward(
        self, x: torch.Tensor, sigma: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``D(x; sigma)`` in the dtype of ``x``; with classes, given labels ``(N,)``."""
        s = self.config.sigma_data
        level = sigma[:, None, None, None]
        total = level**2 + s**2
        raw = self.net(x / total.sqrt(), sigma.log() / 4, labels)
        out: torch.Tensor = x * (s**2 / total) + raw.to(x.dtype) * (level * s / total.sqrt())
        return out


class FlowVelocity(EDMDenoiser):
    """The preconditioned network: ``(pictures (N, C, H, W), t (N,)) -> E[eps - x0]``."""

    def forward(
        self, x: torch.Tensor, t: torch.Tensor, labels: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Return ``v(x; t)`` in the dtype of ``x``; with classes, given labels ``(N,)``."""
        s = self.config.sigma_data
        time = t[:, None, None, None]
        total = ((1 - time) * s) ** 2 + time**2
        raw = self.net(x / total.sqrt(), t, labels)
        skip = (time - (1 - time) * s**2) / total
        out: torch.Tensor = x * skip + raw.to(x.dtype) * (s / total.sqrt())
        return out


def build(config: UNetConfig, seed: int = 0) -> EDMDenoiser:
    """Return a network with weights that the seed determines, whatever else is random.

    Examples
    --------
    >>> net = build(UNetConfig(channels=(8, 8), blocks=1, embedding=8), seed=1)
    >>> net(torch.zeros(2, 1, 28, 28), torch.ones(2)).shape
    torch.Size([2, 1, 28, 28])
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        net = (FlowVelocity if config.objective == "flow" else EDMDenoiser)(config)
    net.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return net


def parameters_of(net: nn.Module) -> int:
    """Return the number of trained numbers."""
    return sum(p.numel() for p in net.parameters())
