"""The record that the study's figures draw, and what is said of a piece that is not in it."""

from __future__ import annotations

from pathlib import Path

from gpu_models.study.stored import Stored, read, stored


def study_of(folder: Path | None) -> Stored:
    """Return the study of a folder, or the package's own; an empty one where there is none."""
    found = stored() if folder is None else read(folder)
    return found or Stored({"version": 0, "config": {"size": {}}}, {})


def absent(name: str) -> str:
    """Say that a piece is not in the record."""
    return f"{name}: not in the stored study, which steinlab study resumes"
