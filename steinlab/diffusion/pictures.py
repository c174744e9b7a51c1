"""States as pictures: how values become grey, and sheets of pictures, pixel for pixel."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

LARGEST_SIDE = 128
"""Small pictures are enlarged by a whole number of times, up to this many pixels a side."""

GAP = 2
"""Pixels between the pictures of a sheet."""

GAP_GREY = 64
"""Grey of the gap, so that black pictures still show where they end."""


@dataclass(frozen=True)
class Display:
    """How the values of a state are shown.

    Parameters
    ----------
    words : str
        A description, printed beside a picture.
    grey : callable
        Maps values to brightness in [0, 1], elementwise; results outside are clipped.
    """

    words: str
    grey: Callable[[np.ndarray], np.ndarray]


UNIT = Display("black at 0, white at 1", lambda x: x)
"""For data in [0, 1]."""


def sheet(
    states: np.ndarray, shape: Sequence[int], display: Display = UNIT, columns: int | None = None
) -> np.ndarray:
    """Return pictures side by side, ``uint8`` of shape ``(height, width)`` or ``(h, w, 3)``.

    Parameters
    ----------
    states : array, shape (N, d)
    shape : sequence of int
        Shape of one picture, ``(channels, height, width)`` with 1 or 3 channels.
    display : Display
    columns : int, optional
        Pictures per row; by default the sheet is about square.

    Raises
    ------
    ValueError
        If the shape is no picture's, the states do not fit it, or a value is not finite.

    Examples
    --------
    >>> sheet(np.array([[0.0, 1.0]]), (1, 1, 2))[:, [0, -1]][0]
    array([  0, 255], dtype=uint8)
    """
    if len(shape) != 3 or shape[0] not in (1, 3):
        raise ValueError(f"shape must be (1 or 3, height, width), got {tuple(shape)}")
    if states.ndim != 2 or states.shape[1] != math.prod(shape) or not len(states):
        raise ValueError(
            f"states must have shape (N, {math.prod(shape)}) with N >= 1, got {states.shape}"
        )
    if not np.all(np.isfinite(states)):
        raise ValueError("states must be finite to be shown")
    channels, height, width = shape
    with np.errstate(over="ignore"):  # what overflows is white
        grey = np.clip(display.grey(states.astype(np.float64)), 0.0, 1.0)
    tiles = np.rint(255 * grey).astype(np.uint8).reshape(-1, channels, height, width)
    times = max(1, LARGEST_SIDE // max(height, width))
    tiles = tiles.repeat(times, axis=2).repeat(times, axis=3).transpose(0, 2, 3, 1)
    columns = columns or math.ceil(math.sqrt(len(tiles)))
    rows = -(-len(tiles) // columns)
    step = np.array(tiles.shape[1:3]) + GAP
    out = np.full((rows * step[0] - GAP, columns * step[1] - GAP, channels), GAP_GREY, np.uint8)
    for i, tile in enumerate(tiles):
        top, left = (i // columns) * step[0], (i % columns) * step[1]
        out[top : top + tile.shape[0], left : left + tile.shape[1]] = tile
    return out[..., 0] if channels == 1 else out
