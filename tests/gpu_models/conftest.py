"""A folder of pictures in the format of Fashion-MNIST: ellipses, drawn here."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from gpu_models.network.fashion import SHAPES


def header(shape: tuple[int, ...]) -> bytes:
    return bytes((0, 0, 8, len(shape))) + b"".join(n.to_bytes(4, "big") for n in shape)


def ellipses(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    width, height = rng.uniform(4, 12, (2, count, 1, 1))
    level = rng.uniform(100, 255, (count, 1, 1))
    rows, columns = np.meshgrid(np.arange(28) - 13.5, np.arange(28) - 13.5, indexing="ij")
    inside = (rows / height) ** 2 + (columns / width) ** 2 < 1
    return (level * inside).astype(np.uint8)


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fashion")
    for seed, (name, shape) in enumerate(SHAPES.items()):
        if len(shape) == 3:
            few = ellipses(500, seed)
            values = np.tile(few, (shape[0] // len(few), 1, 1))
        else:
            values = np.arange(shape[0]) % 10
        (folder / name).write_bytes(header(shape) + values.astype(np.uint8).tobytes())
    return folder
