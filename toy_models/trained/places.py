"""Where weight files lie. Imports no torch."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path

from steinlab.storage import cache_folder
from toy_models.trained.presets import Preset


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
    return next((file for file in (cached_file(preset),) if file.exists()), None)


def provenance_file(weights: Path) -> Path:
    """Return the JSON beside a weight file."""
    return weights.with_suffix(".json")
