"""Where weight files lie, and writing a file whole or not at all. Imports no torch."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from importlib.resources import files
from pathlib import Path
from typing import Any

from steinlab.errors import InputError
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


def write_whole(file: Path, write_to: Callable[[Path], Any]) -> None:
    """Let ``write_to`` write a temporary file beside ``file``, then rename it.

    Raises
    ------
    InputError
        If the folder cannot be made or written.
    """
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.")
    except OSError as error:
        raise InputError(f"weights must go to a folder that can be written: {error}") from None
    os.close(handle)
    try:
        write_to(Path(name))
        mask = os.umask(0)
        os.umask(mask)
        Path(name).chmod(0o666 & ~mask)  # mkstemp's own mode is private
        Path(name).replace(file)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise
