"""Training in bf16 with a running average: one step, its memory, and what resumes it."""

import copy
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from types import MappingProxyType
from typing import Any

import torch
from torch import nn

from gpu_models.network import fashion
from gpu_models.network.objective import (
    LEVELS,
    OBJECTIVES,
    TIMES,
    Batch,
    average,
    draw,
    loss_of,
    power_of,
)
from gpu_models.network.parallel import Group
from gpu_models.network.unet import UNetConfig, build
from steinlab.errors import InputError

BETAS = (0.9, 0.99)
LARGEST_GRADIENT = 1.0
"""Norm to which a step's gradient is clipped."""


@dataclass(frozen=True)
class Settings:
    """What determines a training run, besides data and hardware.

    Parameters
    ----------
    config : UNetConfig
    batch : int
        Pictures per step, over all processes.
    rate : float
        Largest learning rate of Adam.
    warmup : int
        Steps in which it rises from 0; then half a cosine down to 0.
    width : float
        Relative width of the running average of the weights.
    dropped : float
        Share of the pictures of a step whose label is withheld, where the network takes labels.
    seed : int
    """

    config: UNetConfig = field(default_factory=UNetConfig)
    batch: int = 512
    rate: float = 1e-3
    warmup: int = 300
    width: float = 0.1
    dropped: float = 0.0
    seed: int = 0


SIGMA_DATA = 0.706
"""Standard deviation of the 47 million training pixels in [-1, 1], 0.70605, to three digits."""

DROPPED = 0.1
"""Share of the labels withheld from a conditional network, for guidance."""
FLOW_CONFIG = UNetConfig(sigma_data=SIGMA_DATA, objective="flow", classes=fashion.CLASSES)


@dataclass(frozen=True)
class Preset:
    """Settings with the habits of a run.

    Parameters
    ----------
    settings : Settings
    steps : int
        Budget unless another is given.
    log_every : int
        Steps between two records of the loss.
    save_every : float
        Seconds between two checkpoints.
    validated : int
        Pictures of the final validation, from each of test and training set.
    levels : tuple of float
        Its noise levels.
    """

    settings: Settings
    steps: int = 20000
    log_every: int = 50
    save_every: float = 60.0
    validated: int = 4000
    levels: tuple[float, ...] = LEVELS


FLOW = Settings(replace(FLOW_CONFIG, channels=(48, 96, 120)), dropped=DROPPED)
TINY = Settings(
    UNetConfig(channels=(8, 16), blocks=1, embedding=16, sigma_data=SIGMA_DATA),
    batch=32,
    rate=4e-3,
    warmup=5,
)
FLOW_TINY = replace(
    TINY, config=replace(TINY.config, objective="flow", classes=fashion.CLASSES), dropped=DROPPED
)
FLOW_SMALL = Settings(
    replace(FLOW_CONFIG, channels=(32, 64), blocks=1, embedding=64, patch=2),
    batch=64,
    rate=2e-3,
    warmup=100,
    dropped=DROPPED,
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "full": Preset(Settings(UNetConfig(channels=(64, 128, 192), sigma_data=SIGMA_DATA))),
        "tiny": Preset(TINY, steps=40, log_every=10, validated=64, levels=(0.1, 1.0, 10.0)),
        "flow": Preset(FLOW, levels=TIMES),
        "flow-small": Preset(
            FLOW_SMALL, steps=5000, save_every=120.0, validated=1000, levels=TIMES
        ),
        "flow-tiny": Preset(
            FLOW_TINY, steps=40, log_every=10, validated=64, levels=(0.1, 0.5, 1.0)
        ),
    }
)
"""Every preset by name."""


def learning_rate(settings: Settings, step: int, progress: float) -> float:
    """Return the rate of step ``step`` when ``progress`` in [0, 1] of the budget is spent.

    Examples
    --------
    >>> learning_rate(Settings(rate=2.0, warmup=2), 0, 0.0)
    1.0
    >>> learning_rate(Settings(rate=2.0, warmup=2), 50, 0.5)
    1.0
    """
    decay = 0.5 * (1 + math.cos(math.pi * min(progress, 1.0)))
    return settings.rate * min(1.0, (step + 1) / settings.warmup) * decay


class Trainer:
    """A network, its optimiser and its running average.

    Parameters
    ----------
    settings : Settings
    data : tensor (n, C, H, W), uint8
        On the group's device, where it stays.
    group : Group
    compiled : bool
        Whether the loss is compiled: worth it after about a minute on a GPU.
    labels : tensor (n,), optional
        Of the pictures, on their device: needed by a network with classes, and not used by others.
    """

    def __init__(
        self,
        settings: Settings,
        data: torch.Tensor,
        group: Group,
        *,
        compiled: bool = False,
        labels: torch.Tensor | None = None,
    ) -> None:
        self.settings, self.data, self.group = settings, data, group
        self.objective = OBJECTIVES[settings.config.objective]
        self.labels = labels if settings.config.classes else None
        self.net: nn.Module = build(settings.config, settings.seed).to(group.device)
        self.mean = copy.deepcopy(self.net).requires_grad_(requires_grad=False).eval()
        self.optimizer = torch.optim.Adam(
            self.net.parameters(), settings.rate, BETAS, fused=group.device.type == "cuda"
        )
        self.power = power_of(settings.width)
        self.step = 0
        share = group.share(settings.batch)
        self.micro = share.stop - share.start
        if self.micro < 1:
            raise InputError(f"batch must be >= {group.size} processes, got {settings.batch}")
        self._loss = torch.compile(self._loss_of) if compiled else self._loss_of

    def advance(self, progress: float) -> torch.Tensor:
        """Take one step; return this process's share of the mean loss, still on the device."""
        settings = self.settings
        batch = draw(
            self.data,
            settings.batch,
            settings.seed,
            self.step,
            self.group.share(settings.batch),
            objective=self.objective,
            labels=self.labels,
            dropped=settings.dropped,
        )
        total = self._backward(batch)
        parameters = [p for p in self.net.parameters() if p.grad is not None]
        self.group.add_up(p.grad for p in parameters if p.grad is not None)
        nn.utils.clip_grad_norm_(parameters, LARGEST_GRADIENT)
        for each in self.optimizer.param_groups:
            each["lr"] = learning_rate(settings, self.step, progress)
        self.optimizer.step()
        self.step += 1
        average(self.mean.parameters(), self.net.parameters(), self.step, self.power)
        return total

    def _backward(self, batch: Batch) -> torch.Tensor:
        """Accumulate the gradient of the batch's mean loss, in parts that fit the memory."""
        while True:
            try:
                return self._in_parts(batch)
            except torch.OutOfMemoryError:
                if self.micro == 1:
                    raise InputError("memory must hold one picture's step, it does not") from None
            # outside the handler, whose traceback would keep the failed part's memory alive
            self.micro = -(-self.micro // 2)
            if self.group.device.type == "cuda":
                torch.cuda.empty_cache()

    def _in_parts(self, batch: Batch) -> torch.Tensor:
        device = self.group.device
        self.optimizer.zero_grad(set_to_none=True)
        total = torch.zeros((), device=device)
        for i in range(0, len(batch.level), self.micro):
            part = batch.rows(slice(i, i + self.micro))
            with torch.autocast(device.type, torch.bfloat16, enabled=device.type == "cuda"):
                loss = self._loss(part) / self.settings.batch
            torch.autograd.backward(loss)
            total += loss.detach()
        return total

    def _loss_of(self, batch: Batch) -> torch.Tensor:
        s = self.settings.config.sigma_data
        return loss_of(self.net, batch, s, self.objective).sum()

    def state(self) -> dict[str, Any]:
        """Return everything that the next step depends on."""
        return {
            "settings": asdict(self.settings),
            "step": self.step,
            "micro": self.micro,
            "net": self.net.state_dict(),
            "mean": self.mean.state_dict(),
            "optimizer": self.optimizer.state_dict(),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Continue from a :meth:`state`.

        The random numbers of a step are a function of the seed and the step: nothing else is
        needed, and the number of processes may change.

        Raises
        ------
        InputError
            If the state is of other settings, naming the first that differs.
        """
        kept = state["settings"]
        config = UNetConfig.of_json(kept["config"])
        own, other = (asdict(one) for one in (self.settings, Settings(**kept | {"config": config})))
        for name in own:
            if own[name] != other[name]:
                raise InputError(
                    f"{name} must be that of the checkpoint, {other[name]}, got {own[name]}"
                )
        self.net.load_state_dict(state["net"])
        self.mean.load_state_dict(state["mean"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.step = int(state["step"])
        self.micro = min(self.micro, int(state["micro"]))
