"""Network weights in half precision, with what is needed to rebuild the network around them."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from steinlab.errors import InputError
from steinlab.storage import key_of, write_bytes

KEY = "steinlab"
"""Of the file's metadata: one entry, for the format keeps several in no fixed order."""


def save_weights(
    path: Path, tensors: Mapping[str, torch.Tensor], architecture: str, version: int, config: Any
) -> None:
    """Write tensors in float16, whole or not at all.

    Raises
    ------
    ValueError
        If a value is not finite in half precision, naming the tensor.
    """
    half = {name: t.detach().to("cpu", torch.float16).contiguous() for name, t in tensors.items()}
    for name, t in half.items():
        if not bool(torch.isfinite(t).all()):
            raise ValueError(f"{name} must be finite in half precision")
    facts = {"architecture": architecture, "version": version, "config": config}
    facts["content"] = _content(half)
    write_bytes(path, save(half, {KEY: json.dumps(facts, sort_keys=True)}))


def load_weights(
    path: Path, architecture: str, version: int
) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
    """Return the tensors in float32 and the configuration of a file of :func:`save_weights`.

    Raises
    ------
    InputError
        If the file is missing, truncated or damaged, or holds another architecture or version.
    """
    if not path.is_file():
        raise InputError(f"{path} must exist, found nothing")
    try:
        with safe_open(path, framework="pt") as file:
            facts = json.loads((file.metadata() or {}).get(KEY, "{}"))
            _require(path, "architecture", architecture, facts)
            _require(path, "version", version, facts)
            half = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if "content" in facts:  # older files have none
                _require(path, "content", _content(half), facts)
            return {name: t.float() for name, t in half.items()}, facts["config"]
    except (SafetensorError, KeyError, json.JSONDecodeError) as error:
        size = path.stat().st_size
        raise InputError(
            f"{path} must be a whole safetensors file, found {size} bytes: {error}"
        ) from error


def _content(tensors: Mapping[str, torch.Tensor]) -> str:
    """Return a key of names and values, to the last bit."""
    return key_of(*(part for name in sorted(tensors) for part in (name, tensors[name].numpy())))


def _require(path: Path, field: str, expected: Any, facts: Mapping[str, Any]) -> None:
    if facts.get(field) != expected:
        raise InputError(f"{path} must have {field} {expected}, found {facts.get(field)}")


def fill(net: nn.Module, tensors: Mapping[str, torch.Tensor], path: Path) -> None:
    """Load tensors into a network that must have exactly those, in those shapes.

    Raises
    ------
    InputError
        Naming the first tensor that is missing, unknown or of another shape.
    """
    own = net.state_dict()
    for name in sorted(own.keys() | tensors.keys()):
        expected = tuple(own[name].shape) if name in own else None
        found = tuple(tensors[name].shape) if name in tensors else None
        if expected != found:
            raise InputError(f"{path}: tensor {name} must have shape {expected}, found {found}")
    net.load_state_dict(dict(tensors))


def command_line(words: Sequence[str] | None = None) -> str:
    """Return the command that was given, with ``DIR`` for the folders of this machine."""
    given, folders = sys.argv[1:] if words is None else words, ("--data", "--out", "--weights")

    def shown(before: str, word: str) -> str:
        name, equals, _ = word.partition("=")
        return "DIR" if before in folders else f"{name}=DIR" if equals and name in folders else word

    return shlex.join(["steinlab", *(shown(*pair) for pair in pairwise(["", *given]))])
