r"""What a network is trained for: its loss, its running average, and its error at fixed levels.

A denoiser has EDM's loss and a velocity that of rectified flow,

    edm   E[ lambda(sigma) |D(x_star + sigma eps; sigma) - x_star|^2 / d ],
          log sigma ~ N(-1.2, 1.2^2),  lambda = (sigma^2 + s^2) / (sigma s)^2,
    flow  E[ |v((1 - t) x_star + t eps; t) - (eps - x_star)|^2 / d ],  t ~ U(0, 1).

A network with classes is given each picture's label, or none at a share of the pictures, so that it
is a conditional and an unconditional network in one.

Pictures are not augmented: nearly every shoe of Fashion-MNIST points left, and flipped copies would
change the law that is learned. The exact denoiser of the training set is thus the exact minimiser
of this loss.

References
----------
Karras, Aittala, Aila and Laine 2022, table 1 (loss); Liu, Gong and Liu, "Flow straight and fast",
2022, eq. (1); Ho and Salimans 2022 (labels dropped); Karras, Aittala, Lehtinen, Hellsten, Aila and
Laine, "Analyzing and improving the training dynamics of diffusion models", 2024, sec. 3.1
(average).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, NamedTuple

import torch

from gpu_models.network import fashion

P_MEAN, P_STD = -1.2, 1.2
"""Mean and standard deviation of ``log sigma`` in training."""
SEED_STRIDE = 1_000_003
"""Steps that one seed may take before it meets the next; a CPU's generator keeps 32 bits."""
LEVELS = (0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 20.0, 50.0)
"""Noise levels of the validation of a denoiser."""
TIMES = (0.02, 0.05, 0.1, 0.2, 0.3, 0.5, 0.7, 0.9, 0.98, 1.0)
"""Times of the validation of a velocity."""

Network = Callable[..., torch.Tensor]
"""``(pictures (N, C, H, W), level (N,)) -> output``; with classes labels ``(N,)`` too."""


class Batch(NamedTuple):
    """Clean pictures, noise levels, unit noise and labels: all that is random in one step."""

    clean: torch.Tensor  # (N, C, H, W) in [-1, 1]
    level: torch.Tensor  # (N,)
    noise: torch.Tensor  # (N, C, H, W)
    labels: torch.Tensor | None = None  # (N,)

    def rows(self, rows: slice) -> Batch:
        """Return the part of some pictures."""
        return Batch(*(None if t is None else t[rows] for t in self))  # type: ignore[arg-type]


class Objective(NamedTuple):
    """What a network sees, what it is to return, and how much that weighs.

    Parameters
    ----------
    level : str
        Name of the noise level, the network's second argument.
    draw : callable
        ``(count, where) -> levels (count,)`` of one step.
    noised : callable
        ``(clean, level, noise) -> pictures``, the level with three trailing axes.
    target : callable
        ``(clean, noise) -> pictures``.
    weight : callable
        ``(level (N,), sigma_data) -> (N,)``.
    """

    level: str
    draw: Callable[[int, Mapping[str, Any]], torch.Tensor]
    noised: Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
    target: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]
    weight: Callable[[torch.Tensor, float], torch.Tensor]


OBJECTIVES: Mapping[str, Objective] = MappingProxyType(
    {
        "edm": Objective(
            level="sigma",
            draw=lambda count, where: (P_MEAN + P_STD * torch.randn(count, **where)).exp(),
            noised=lambda clean, sigma, noise: clean + sigma * noise,
            target=lambda clean, _noise: clean,
            weight=lambda sigma, s: (sigma**2 + s**2) / (sigma * s) ** 2,
        ),
        "flow": Objective(
            level="t",
            draw=lambda count, where: torch.rand(count, **where),
            noised=lambda clean, t, noise: (1 - t) * clean + t * noise,
            target=lambda clean, noise: noise - clean,
            weight=lambda t, _: torch.ones_like(t),
        ),
    }
)
"""Every objective by the name that a network's configuration has."""


def resident(part: str, folder: str | None, device: torch.device) -> torch.Tensor:
    """Return the pictures of a part as bytes ``(n, 1, 28, 28)`` on the device."""
    images = fashion.load_images(part, folder)
    return torch.tensor(images.copy(), device=device).reshape(len(images), *fashion.SHAPE)


def to_pictures(data: torch.Tensor) -> torch.Tensor:
    """Return bytes as float pictures in [-1, 1]."""
    return data.to(torch.float32) / 127.5 - 1


def resident_labels(part: str, folder: str | None, device: torch.device) -> torch.Tensor:
    """Return the classes of a part ``(n,)`` on the device."""
    return torch.tensor(fashion.load_labels(part, folder).copy(), device=device).long()


def draw(
    data: torch.Tensor,
    count: int,
    seed: int,
    step: int,
    share: slice,
    *,
    objective: Objective = OBJECTIVES["edm"],
    labels: torch.Tensor | None = None,
    dropped: float = 0.0,
) -> Batch:
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
    objective : Objective
    labels : tensor (n,), optional
        Of the pictures, on their device.
    dropped : float
        Share of the pictures whose label is none, ``fashion.CLASSES``.
    """
    generator = torch.Generator(data.device)
    generator.manual_seed(seed * SEED_STRIDE + step)
    where: dict[str, Any] = {"device": data.device, "generator": generator}
    rows = torch.randint(len(data), (count,), **where)[share]
    level = objective.draw(count, where)[share]
    noise = torch.randn(count, *data.shape[1:], **where)[share]
    given = None
    if labels is not None:
        none = torch.rand(count, **where)[share] < dropped
        given = torch.where(none, fashion.CLASSES, labels[rows])
    return Batch(to_pictures(data[rows]), level, noise, given)


def loss_of(net: Network, batch: Batch, sigma_data: float, objective: Objective) -> torch.Tensor:
    """Return the weighted loss of each picture, ``(N,)`` in float32."""
    return objective.weight(batch.level, sigma_data) * _errors(net, batch, objective)


def _errors(net: Network, batch: Batch, objective: Objective) -> torch.Tensor:
    """Return each picture's mean squared error per coordinate, ``(N,)`` in float32."""
    clean, level, noise, labels = batch
    column, given = level[:, None, None, None], () if labels is None else (labels,)
    found = net(objective.noised(clean, column, noise), level, *given)
    return (found.float() - objective.target(clean, noise)).square().flatten(1).mean(1)


class LevelError(NamedTuple):
    """Mean squared error per coordinate at a level, and its standard error over pictures."""

    level: float
    error: float
    standard_error: float


@torch.no_grad()
def validate(
    net: Network,
    data: torch.Tensor,
    levels: Sequence[float] = LEVELS,
    *,
    objective: Objective = OBJECTIVES["edm"],
    labels: torch.Tensor | None = None,
    rows: int = 500,
) -> list[LevelError]:
    """Return the network's error at fixed levels with the same noise at every call.

    Parameters
    ----------
    net : callable
    data : tensor (n, C, H, W), uint8
    levels : sequence of float
    objective : Objective
    labels : tensor (n,), optional
        Of the pictures.
    rows : int
        Pictures at once.
    """
    generator = torch.Generator(data.device)
    generator.manual_seed(0)
    noise = torch.randn(data.shape, device=data.device, generator=generator)
    found = []
    clean = to_pictures(data)
    for level in levels:
        whole = Batch(clean, torch.full((len(data),), level, device=data.device), noise, labels)
        blocks = (slice(i, i + rows) for i in range(0, len(data), rows))
        each = torch.cat([_errors(net, whole.rows(block), objective) for block in blocks]).double()
        error = float(each.std()) / math.sqrt(len(each))
        found.append(LevelError(level, float(each.mean()), error))
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
