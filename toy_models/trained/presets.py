"""The configuration of the trained toys, and where their weights lie. Imports no torch.

A preset names everything that a run depends on.
"""

import hashlib
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from importlib.resources import files
from pathlib import Path
from types import MappingProxyType
from typing import Self

from steinlab.storage import cache_folder

FORMAT = 1
"""Version of the weight files; raised when the architecture or the files' layout changes."""

HASH_DIGITS = 16


@dataclass(frozen=True)
class Preset:
    r"""A network and how it is trained.

    ``log(sigma / sigma_data)`` is normal with ``noise_mean`` and ``noise_std``; a share
    ``noise_tail`` of the levels is log-uniform on :data:`toy_models.trained.network.NOISE_RANGE`
    instead, so that training covers every level of a grid. The learning rate rises over ``warmup``
    steps to ``rate`` and falls to 0 as a half cosine.

    Parameters
    ----------
    name, data : str
        The model's id, and the key of its law in :data:`toy_models.trained.data.DATA`.
    shape : tuple of int
        Of one state: ``(2,)``, or ``(channels, height, width)``.
    width, blocks, frequencies : int
        Hidden units, residual blocks, and frequencies of the noise embedding.
    steps, batch, warmup : int
    rate : float
        Adam's largest learning rate.
    ema : float
        Decay of the weights' moving average.
    noise_mean, noise_std, noise_tail : float
    pool, held_out : int
        States to train on and to validate on; they are drawn once.
    seed : int
    """

    name: str
    data: str
    shape: tuple[int, ...]
    width: int
    blocks: int
    frequencies: int
    steps: int
    batch: int
    warmup: int = 100
    rate: float = 2e-3
    ema: float = 0.998
    noise_mean: float = -1.4
    noise_std: float = 1.3
    noise_tail: float = 0.1
    pool: int = 2**17
    held_out: int = 2**12
    seed: int = 0

    @property
    def dim(self) -> int:
        """Coordinates of a state."""
        return math.prod(self.shape)

    @property
    def parameters(self) -> int:
        """Number of weights of the network, counted from its sizes."""
        embed = 2 * self.frequencies + 1
        block = 2 * self.width * (self.width + 1) + self.width * embed
        outer = (self.dim + 1) * self.width + (self.width + 1) * self.dim
        return outer + self.blocks * block

    @property
    def digest(self) -> str:
        """Hash of every field and of the files' version: equal where two runs must agree."""
        text = json.dumps({"format": FORMAT, **asdict(self)}, sort_keys=True)
        return hashlib.sha256(text.encode()).hexdigest()[:HASH_DIGITS]

    def with_seed(self, seed: int) -> Self:
        """Return the preset with another seed, hence another hash."""
        return replace(self, seed=seed)


def _plane(data: str) -> Preset:
    return Preset(f"{data}-mlp", data, (2,), 128, 3, 6, steps=4000, batch=1024)


_DIGITS = Preset(
    "digits-mlp", "digits", (1, 8, 8), 256, 2, 6, steps=3200, batch=512, noise_mean=-0.4
)

PRESETS: Mapping[str, Preset] = MappingProxyType(
    {
        preset.name: preset
        for preset in (
            *(_plane(data) for data in ("moons", "checkerboard", "spirals", "ring", "grid25")),
            _DIGITS,
        )
    }
)
"""Every trained toy by model id."""


def cached_file(preset: Preset) -> Path:
    """Return where a preset's weights lie in the cache, by name and hash."""
    return cache_folder() / "toy_models" / f"{preset.name}-{preset.digest}.safetensors"


def packaged_file(preset: Preset) -> Path:
    """Return where a preset's weights lie in the package."""
    return Path(str(files("toy_models") / "weights" / f"{preset.name}.safetensors"))


def find(preset: Preset) -> Path | None:
    """Return the file that holds a preset's weights: of the package, else the cache, else None."""
    note = provenance_file(packaged_file(preset))
    try:
        if json.loads(note.read_text(encoding="utf-8"))["digest"] == preset.digest:
            return packaged_file(preset)
    except (OSError, ValueError, KeyError):
        pass
    file = cached_file(preset)
    return file if file.exists() else None


def provenance_file(weights: Path) -> Path:
    """Return the JSON beside a weight file."""
    return weights.with_suffix(".json")
