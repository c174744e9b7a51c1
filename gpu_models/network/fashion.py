"""Fashion-MNIST: 60,000 pictures of clothes to train on and 10,000 to test with, 28 x 28, in grey.

Debian's package ``dataset-fashion-mnist`` installs the four files; nothing is downloaded here.
"""

import gzip
import hashlib
import math
import os
import zlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType

import numpy as np

from steinlab.errors import InputError

VARIABLE = "STEINLAB_FASHION_MNIST"
"""The environment variable that names the folder."""
DEFAULT_FOLDER = Path("/usr/share/datasets/fashion-mnist")
"""Where Debian's package puts the files."""
HOW = f"apt-get install dataset-fashion-mnist, or set {VARIABLE} to the folder of the IDX files"
SHAPE = (1, 28, 28)
"""Channels, height and width of one picture."""
DIM = math.prod(SHAPE)
CLASSES = 10
UNSIGNED_BYTE = 8
"""The IDX code of the only type used here."""

SHAPES: Mapping[str, tuple[int, ...]] = MappingProxyType(
    {
        "train-images-idx3-ubyte": (60000, 28, 28),
        "train-labels-idx1-ubyte": (60000,),
        "t10k-images-idx3-ubyte": (10000, 28, 28),
        "t10k-labels-idx1-ubyte": (10000,),
    }
)
"""Every file by name, plain or with ``.gz``, and the shape of its array."""
PARTS = MappingProxyType({"train": "train", "test": "t10k"})


def data_folder(folder: str | Path | None = None) -> Path:
    """Return the folder of the data: the argument, the environment variable or Debian's place.

    Raises
    ------
    InputError
        If it is not there, saying how to get the data.
    """
    path = Path(folder or os.environ.get(VARIABLE) or DEFAULT_FOLDER)
    if not path.is_dir():
        raise InputError(f"the Fashion-MNIST folder must exist, got {path} ({HOW})")
    return path


def installed() -> bool:
    """Whether the four files are where the environment variable or Debian's package has them."""
    try:
        return bool(data_files())
    except InputError:
        return False


def data_files(folder: str | Path | None = None) -> dict[str, Path]:
    """Return the path of each of the four files, plain or compressed.

    Raises
    ------
    InputError
        Naming the first file that is missing.
    """
    root = data_folder(folder)
    found = {}
    for name in SHAPES:
        choices = [path for path in (root / name, root / f"{name}.gz") if path.is_file()]
        if not choices:
            raise InputError(f"{name} or {name}.gz must be in {root}, found neither ({HOW})")
        found[name] = choices[0]
    return found


def load_images(part: str, folder: str | Path | None = None) -> np.ndarray:
    """Return the pictures of ``train`` or ``test``, ``(n, 28, 28)`` in unsigned bytes.

    Raises
    ------
    InputError
        If a file is missing, is no IDX file, or has another size than its name demands.
    """
    return _load(f"{PARTS[part]}-images-idx3-ubyte", folder)


def load_labels(part: str, folder: str | Path | None = None) -> np.ndarray:
    """Return the classes of ``train`` or ``test``, ``(n,)`` in 0 to 9, t-shirt to ankle boot."""
    return _load(f"{PARTS[part]}-labels-idx1-ubyte", folder)


def load_states(part: str, folder: str | Path | None = None) -> np.ndarray:
    """Return the pictures as states: ``(n, 784)`` in float64, in [-1, 1]."""
    return to_states(load_images(part, folder))


def to_states(images: np.ndarray) -> np.ndarray:
    """Return bytes as states, ``byte / 127.5 - 1``, each picture a row.

    Examples
    --------
    >>> to_states(np.array([[[0, 255]]], dtype=np.uint8))
    array([[-1.,  1.]])
    """
    return images.reshape(len(images), -1).astype(np.float64) / 127.5 - 1


def checksums(folder: str | Path | None = None) -> dict[str, str]:
    """Return the SHA-256 of each file's decompressed bytes, the same for plain and compressed."""
    return {
        name: hashlib.sha256(_bytes(path)).hexdigest() for name, path in data_files(folder).items()
    }


def _load(name: str, folder: str | Path | None) -> np.ndarray:
    path = data_files(folder)[name]
    shape = SHAPES[name]
    raw = _bytes(path)
    head = bytes((0, 0, UNSIGNED_BYTE, len(shape)))
    head += b"".join(n.to_bytes(4, "big") for n in shape)
    expected = len(head) + math.prod(shape)
    if len(raw) != expected:
        raise InputError(f"{path} must hold {expected} bytes decompressed, found {len(raw)}")
    if raw[: len(head)] != head:
        raise InputError(
            f"{path} must begin with the IDX header {head.hex()} (bytes of shape {shape}), "
            f"found {raw[: len(head)].hex()}"
        )
    return np.frombuffer(raw, dtype=np.uint8, offset=len(head)).reshape(shape)


def _bytes(path: Path) -> bytes:
    try:
        if path.suffix != ".gz":
            return path.read_bytes()
        with gzip.open(path) as file:
            return file.read()
    except (OSError, EOFError, zlib.error) as error:
        raise InputError(f"{path} must be readable, found: {error}") from error
