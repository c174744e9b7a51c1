r"""Files of concatenated ``.npy`` arrays (equinox's ``.eqx``): what they must hold, reading them.

Neither JAX nor torch is needed. What is wrong with a file is told in one line: the file, what it
must hold, what was found.
"""

import hashlib
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from steinlab.errors import InputError

PATCH, CHANNELS, HIDDEN, BLOCKS = 4, 64, 512, 4
"""Side of a patch, size of its embedding, hidden units of a mixer, blocks: every network's."""

Shape = tuple[int, ...]


def mixer_shapes(side: int) -> list[Shape]:
    """Return the shapes of the arrays in a mixer's file, in its order; the last is ``t1``.

    Parameters
    ----------
    side : int
        Pixels of a picture's side.

    Examples
    --------
    >>> shapes = mixer_shapes(32)
    >>> len(shapes), shapes[2], shapes[-1], count_parameters(shapes)
    (55, (1, 64, 4, 4), (), 605761)
    """
    patches = (side // PATCH) ** 2
    shapes: list[Shape] = [(CHANNELS, 2, PATCH, PATCH), (CHANNELS, 1, 1)]
    shapes += [(1, CHANNELS, PATCH, PATCH), (1, 1, 1)]
    for _ in range(BLOCKS):
        for size in (patches, CHANNELS):
            shapes += [(HIDDEN, size), (HIDDEN,), (size, HIDDEN), (size,)]
        shapes += 2 * [(CHANNELS, patches)] + 2 * [(patches, CHANNELS)]
    return [*shapes, *2 * [(CHANNELS, patches)], ()]


def count_parameters(shapes: Sequence[Shape]) -> int:
    """Return how many numbers the arrays hold, ``t1`` left out."""
    return sum(math.prod(shape) for shape in shapes[:-1])


def problem(file: Path, shapes: Sequence[Shape], digest: str) -> str:
    """Return what keeps a file from being the one that was verified, in one line, or nothing.

    Parameters
    ----------
    file : Path
    shapes : sequence of tuple
        Of the arrays that it must hold.
    digest : str
        SHA-256 of the file, in hexadecimal.
    """
    try:
        found = hashlib.sha256(file.read_bytes()).hexdigest()
    except OSError as error:
        reason = (error.strerror or "unreadable").lower()
        return f"{file} must be a readable file of weights: {reason}"
    if found == digest:
        return ""
    try:
        read_leaves(file, shapes)
    except InputError as error:
        return str(error)
    return f"{file} must have SHA-256 {digest[:12]}..., found {found[:12]}..., other numbers"


def read_leaves(file: Path, shapes: Sequence[Shape]) -> list[np.ndarray]:
    """Return a file's arrays.

    Raises
    ------
    InputError
        Unless it holds arrays of exactly these shapes.
    """
    expected = f"{file} must hold {len(shapes)} arrays"
    leaves: list[np.ndarray] = []
    size = file.stat().st_size
    with file.open("rb") as stream:
        while stream.tell() < size:
            at = f"array {len(leaves) + 1}"
            if len(leaves) == len(shapes):
                rest = size - stream.tell()
                raise InputError(f"{expected}, found {rest} bytes more after the last")
            leaf = _next(stream, f"{expected}, found {at} cut short or corrupt")
            wanted = shapes[len(leaves)]
            if leaf.shape != wanted or leaf.dtype.kind != "f":
                raise InputError(
                    f"{file}: {at} must hold real numbers of shape {wanted}, "
                    f"found {leaf.dtype} of shape {leaf.shape}"
                )
            leaves.append(leaf)
    if len(leaves) < len(shapes):
        raise InputError(f"{expected}, found {len(leaves)}")
    return leaves


def _next(stream: object, complaint: str) -> np.ndarray:
    try:
        leaf = np.load(stream, allow_pickle=False)  # type: ignore[arg-type]
    except (ValueError, EOFError, OSError, MemoryError):
        raise InputError(complaint) from None
    if not isinstance(leaf, np.ndarray):
        raise InputError(complaint)
    return leaf
