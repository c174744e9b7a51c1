"""Laws that cache their posterior at the last few states.

A step's candidate, its divergence and its rounding all need the responsibilities at the same
states, which are the most expensive part of an exact denoiser.
"""

import copy
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

import numpy as np

from analytic.levels import NoiseLevel

BYTES, LATEST = 2**27, 64
"""Posteriors kept: at most the latest 64, a few passes over states in chunks, and 128 MB."""

L = TypeVar("L")


class Memory:
    """A law's posterior with a cache of its last values; states must not be changed in place."""

    def __init__(self, posterior: Callable[..., Any]) -> None:
        self._posterior = posterior
        self._known: deque[tuple[np.ndarray, NoiseLevel, Any]] = deque()
        self._bytes = 0

    def __call__(self, x: np.ndarray, level: NoiseLevel, *plan: Any) -> Any:
        """Return the posterior at the states, remembered or computed as a law plans it."""
        for states, where, found in self._known:
            if _same_level(where, level) and (states is x or _same_states(states, x)):
                return found
        found = self._posterior(x, level, *plan)
        self._known.append((x, level, found))
        self._bytes += _size(found)
        while self._bytes > BYTES or len(self._known) > LATEST:
            self._bytes -= _size(self._known.popleft()[-1])
        return found


def _size(found: Any) -> int:
    return sum(part.nbytes for part in vars(found).values() if isinstance(part, np.ndarray))


def _same_states(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    for end in (0, -1) if a.size else ():  # tells most others at once
        if a.flat[end] != b.flat[end]:
            return False
    return np.array_equal(a, b)


def _same_level(a: NoiseLevel, b: NoiseLevel) -> bool:
    return a is b or (np.array_equal(a.alpha, b.alpha) and np.array_equal(a.sigma, b.sigma))


def remembering(law: L) -> L:
    """Return a copy of an exact law that caches its posterior, for states in NumPy.

    Any other denoiser is returned as it is.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law, level = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.25), NoiseLevel(1.0, 1.0)
    >>> x = np.array([[0.3]])
    >>> bool(remembering(law).divergence(x, level) == law.divergence(x, level))
    True
    """
    posterior = getattr(law, "_posterior", None)
    if posterior is None or isinstance(posterior, Memory):
        return law
    new = copy.copy(law)
    object.__setattr__(new, "_posterior", Memory(posterior))
    return new
