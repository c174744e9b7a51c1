"""How many dimensions a trajectory spans, by the singular values of its states."""

from typing import NamedTuple

import numpy as np

from steinlab.coefficient.rounding import EPS

LEAST = 2**12 * EPS
"""Singular values above it are counted: states are sums of up to that many roundings."""


class Span(NamedTuple):
    """Of a trajectory's states less the last: singular values over the root of their squares' sum.

    ``length`` is that root over the last state's norm.
    """

    values: np.ndarray
    length: float

    @property
    def dimension(self) -> int:
        """Singular values that rounding does not explain."""
        return int((self.values > LEAST).sum())

    def beyond(self, dimensions: int) -> float:
        """Return the root mean square share beyond so many dimensions."""
        return float(np.linalg.norm(self.values[dimensions:]))


def span_of(path: np.ndarray) -> Span:
    """Return what the states of a trajectory ``(n, d)`` span.

    Examples
    --------
    >>> span = span_of(np.array([[2.0, 0.0, 1.0], [1.0, 0.0, 1.0], [0.0, 0.0, 1.0]]))
    >>> span.dimension, span.beyond(1)
    (1, 0.0)
    """
    found = np.linalg.svd(path[:-1] - path[-1], compute_uv=False)
    size = float(np.linalg.norm(found))
    return Span(found / size, size / float(np.linalg.norm(path[-1])))
