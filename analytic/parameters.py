"""Checks and factorisations of the parameters of a law."""

from __future__ import annotations

from typing import Any

import numpy as np


def finite(name: str, values: Any) -> np.ndarray:
    """Return ``values`` in float64; raise ``ValueError`` naming ``name`` unless all are finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return array


def factor(
    covariances: np.ndarray, shape: tuple[int, ...], dim: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Eigenvalues ``(..., K, 1 or d)`` and eigenvectors ``(..., K, d, d)`` where needed."""
    full = (*shape, dim, dim)
    if covariances.shape == full:
        skew = np.abs(covariances - np.swapaxes(covariances, -1, -2)).max()
        if skew > 1e-12 * np.abs(covariances).max():
            raise ValueError(f"covariances must be symmetric, got an asymmetry of {skew}")
        spectra, basis = np.linalg.eigh(covariances)
    elif covariances.ndim == 0 or covariances.shape == shape:
        spectra, basis = np.broadcast_to(covariances, shape)[..., None].copy(), None
    elif covariances.shape == (*shape, dim):
        spectra, basis = covariances, None
    else:
        raise ValueError(
            f"covariances must be one number, or of shape {shape}, {(*shape, dim)} or {full}, "
            f"got {covariances.shape}"
        )
    if np.any(spectra <= 0):
        raise ValueError(
            f"covariances must be positive definite, got the eigenvalue {spectra.min()}"
        )
    return spectra, basis
