"""Sizes of training: ``full`` for a GPU, ``tiny`` for tests and for a look on a CPU."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from gpu_models.network.objective import LEVELS
from gpu_models.network.trainer import Settings
from gpu_models.network.unet import UNetConfig

SIGMA_DATA = 0.706
"""Standard deviation of the 47 million training pixels in [-1, 1], 0.70605, to three digits."""


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
    steps: int
    log_every: int
    save_every: float
    validated: int
    levels: tuple[float, ...]


PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        "full": Preset(
            Settings(UNetConfig(channels=(64, 128, 192), sigma_data=SIGMA_DATA)),
            steps=20000,
            log_every=50,
            save_every=60.0,
            validated=4000,
            levels=LEVELS,
        ),
        "tiny": Preset(
            Settings(
                UNetConfig(channels=(8, 16), blocks=1, embedding=16, sigma_data=SIGMA_DATA),
                batch=32,
                rate=4e-3,
                warmup=5,
            ),
            steps=40,
            log_every=10,
            save_every=60.0,
            validated=64,
            levels=(0.1, 1.0, 10.0),
        ),
    }
)
"""Every preset by name."""
