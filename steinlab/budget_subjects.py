"""What an error budget is about: a model as used, in float64, and what is known of its truth."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.denoisers import Denoiser


@dataclass(frozen=True)
class Rounded:
    """A NumPy denoiser computed in float32 around float64 states, as a network would be."""

    inner: Any

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Return ``D(x)``."""
        return np.asarray(self.inner(x.astype(np.float32), level)).astype(x.dtype)

    def jvp(self, x: np.ndarray, level: NoiseLevel, tangent: np.ndarray) -> np.ndarray:
        """Return ``D'(x) v``."""
        out = self.inner.jvp(x.astype(np.float32), level, tangent.astype(np.float32))
        return np.asarray(out).astype(x.dtype)


@dataclass(frozen=True)
class Subject:
    """A model and what is known of its truth.

    Parameters
    ----------
    model : Denoiser
        As it is used, in float32 say, with ``jvp``.
    precise : Denoiser
        The same model in float64, with ``jvp`` or an exact divergence.
    clean : callable
        ``(n, rng) -> x_star (n, d)``: states of the data.
    start : callable
        ``(level, n, rng) -> x (n, d)``: states where a run begins.
    truth : Denoiser, optional
        The exact denoiser of the data.
    """

    model: Denoiser
    precise: Denoiser
    clean: Callable[[int, np.random.Generator], np.ndarray]
    start: Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]
    truth: Denoiser | None = None


def of_model(model: Any, clean: Callable[..., np.ndarray] | None = None) -> Subject:
    """Return the subject of a registered network, with its data's exact denoiser where known.

    Parameters
    ----------
    model : Model
    clean : callable, optional
        ``(n, rng) -> x_star`` where the law of its data is not known; by default its long runs.
    """
    import torch

    from steinlab.model_coefficient import clean_states

    network = model.denoiser
    law = model.data_law() if model.data_law else None
    draw = law.sample if law else clean or (lambda n, rng: clean_states(model, n, rng)[0])
    return Subject(network, network.in_dtype(torch.float64), draw, model.start, law)


def of_law(model: Any, law: Any, start: Callable[..., np.ndarray] | None = None) -> Subject:
    """Return the subject of an exact denoiser, that of ``law`` or of another, wrong one.

    Parameters
    ----------
    model : law
        Whose denoiser is used, in float32.
    law : law
        Of the data; runs start under its forward law unless ``start`` says otherwise.
    """

    def forward(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        x_star = law.sample(n, rng)
        return np.asarray(level.alpha * x_star + level.sigma * rng.standard_normal(x_star.shape))

    return Subject(Rounded(model), model, law.sample, start or forward, law)
