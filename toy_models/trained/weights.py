"""Write and read the weight files of the toys, with checks.

A file is safetensors, matrices in float16, with the format's version, the preset's hash and a
digest of the tensors in its header; beside it lies a JSON with the provenance. The packaged files
hold the presets as they are; other seeds lie in the user's cache folder.
"""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch

from steinlab.errors import InputError
from steinlab.storage import write_bytes, write_json
from toy_models.trained.presets import FORMAT, Preset, provenance_file

Tensors = Mapping[str, torch.Tensor]


def write(file: Path, preset: Preset, tensors: Tensors, provenance: Mapping[str, Any]) -> None:
    """Write weights and provenance, each whole or not at all."""
    from safetensors.torch import save

    held = {k: v.half() if v.ndim > 1 else v for k, v in sorted(tensors.items())}
    header = {"format": str(FORMAT), "digest": preset.digest, "content": content_digest(held)}
    write_bytes(file, save(held, metadata=header))
    told = {"digest": preset.digest, **provenance}
    write_json(provenance_file(file), told, indent=2, allow_nan=False)


def read(file: Path, preset: Preset, expected: Tensors) -> dict[str, torch.Tensor]:
    """Return the tensors of a weight file in float32, checked.

    Parameters
    ----------
    file : Path
    preset : Preset
        Whose hash the file must bear.
    expected : mapping
        Names to tensors of the shapes that the network has.

    Raises
    ------
    InputError
        In one line with the file, what was expected and what was found: if the file is missing,
        truncated, corrupt, of another version, preset or architecture, or holds what is not finite.
    """
    header, tensors = _parse(file)
    _same(file, "format", str(FORMAT), header.get("format"))
    _same(file, f"hash of preset {preset.name}", preset.digest, header.get("digest"))
    shapes = {name: list(value.shape) for name, value in sorted(expected.items())}
    found = {name: list(value.shape) for name, value in sorted(tensors.items())}
    for name in sorted(shapes | found):
        _same(file, f"shape of {name}", shapes.get(name), found.get(name))
    _same(file, "digest of the tensors", header.get("content"), content_digest(tensors))
    for name, value in tensors.items():
        if not bool(torch.isfinite(value).all()):
            raise InputError(f"weights {file}: {name} must be finite, found a value that is not")
    return {name: value.float() for name, value in tensors.items()}


def content_digest(tensors: Tensors) -> str:
    """Return a hash of names, dtypes, shapes and bytes."""
    total = hashlib.sha256()
    for name, value in sorted(tensors.items()):
        total.update(f"{name} {value.dtype} {list(value.shape)}".encode())
        total.update(value.contiguous().numpy().tobytes())
    return total.hexdigest()[:32]


def _parse(file: Path) -> tuple[dict[str, str], dict[str, torch.Tensor]]:
    from safetensors import SafetensorError, safe_open

    try:
        size = file.stat().st_size
        with safe_open(str(file), framework="pt") as opened:
            names = list(opened.keys())
            return opened.metadata() or {}, {name: opened.get_tensor(name) for name in names}
    except OSError as error:
        raise InputError(
            f"weights {file}: expected a readable file, found {error.strerror or error}"
        ) from None
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        words = " ".join(str(error).split())
        raise InputError(
            f"weights {file}: expected a whole safetensors file, found {size} bytes that are not "
            f"({words})"
        ) from None


def _same(file: Path, what: str, expected: Any, found: Any) -> None:
    if expected != found:
        raise InputError(f"weights {file}: expected {what} {_word(expected)}, found {_word(found)}")


def _word(value: Any) -> str:
    return "none" if value is None else str(value)
