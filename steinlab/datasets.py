"""Data sets by name: each a callable that returns ``(n, d)`` rows in float64."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

import numpy as np


def load_digits() -> np.ndarray:
    """Return scikit-learn's 1797 handwritten digits of 8 x 8 pixels, in [0, 1].

    Reference: Alpaydin and Kaynak, "Optical Recognition of Handwritten Digits", UCI, 1998.

    Examples
    --------
    >>> digits = load_digits()
    >>> digits.shape, float(digits.max())
    ((1797, 64), 1.0)
    """
    from sklearn.datasets import load_digits as load

    return np.asarray(load().data, dtype=np.float64) / 16


DATASETS: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType({"digits": load_digits})
"""Every data set by name."""
