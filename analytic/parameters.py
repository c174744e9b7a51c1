"""Checks and factorisations of the parameters of a law."""

from __future__ import annotations

from typing import Any

import numpy as np

WEIGHT_TOLERANCE = 1e-12
"""Allowed ``|sum of weights - 1|``: rounding of a few hundred decimal weights."""


def finite(name: str, values: Any) -> np.ndarray:
    """Return ``values`` in float64; raise ``ValueError`` naming ``name`` unless all are finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return array


def components(weights: Any, means: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return checked weights ``(..., K)`` and means ``(..., K, d)`` of a mixture.

    Raise ``ValueError`` unless the weights are a distribution and there is one mean a weight.
    """
    p, m = finite("weights", weights), finite("means", means)
    if p.ndim < 1 or p.shape[-1] < 1:
        raise ValueError(f"weights must hold at least one component, got {weights!r}")
    if m.ndim == p.ndim:
        m = m[..., None]
    if m.shape[:-1] != p.shape:
        raise ValueError(
            f"means must hold one mean a weight: {p.shape[-1]} weights, "
            f"means of shape {np.shape(means)}"
        )
    if np.any(p < 0):
        raise ValueError(f"weights must be >= 0, got {p.min()}")
    total = p.sum(axis=-1)
    if np.any(np.abs(total - 1) > WEIGHT_TOLERANCE):
        worst = total.flat[np.argmax(np.abs(total - 1))]
        raise ValueError(f"weights must sum to 1, got a sum of {worst}")
    return p, m


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
        _require_diagonals(covariances, dim)
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


def _require_diagonals(covariances: np.ndarray, dim: int) -> None:
    """Refuse ``(d, d)`` for ``K = d`` components where it may be one covariance for all of them."""
    turned = np.swapaxes(covariances, -1, -2)
    if dim == 1 or turned.shape != covariances.shape or not np.array_equal(covariances, turned):
        return
    if np.all(np.linalg.eigvalsh(covariances) > 0):
        raise ValueError(
            f"covariances of shape {covariances.shape} for {dim} components in {dim} dimensions "
            f"may be diagonals or one matrix: give full matrices, of shape "
            f"{(*covariances.shape, dim)}"
        )
