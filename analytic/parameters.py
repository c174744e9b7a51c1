"""Checks and factorisations of the parameters of a law."""

from typing import Any

import numpy as np

WEIGHT_TOLERANCE = 1e-12
"""Allowed ``|sum of weights - 1|``: rounding of a few hundred decimal weights."""

ASYMMETRY = 1e-12
"""Allowed asymmetry of a matrix, relative to its largest entry: rounding of products."""


def finite(name: str, values: Any) -> np.ndarray:
    """Return ``values`` in float64; raise ``ValueError`` naming ``name`` unless all are finite."""
    array = np.asarray(values, dtype=np.float64)
    if not np.all(np.isfinite(array)):
        raise ValueError(f"{name} must be finite, got {array[~np.isfinite(array)].flat[0]}")
    return array


def components(weights: Any, means: Any) -> tuple[np.ndarray, np.ndarray]:
    """Return checked weights ``(..., K)`` and means ``(..., K, d)`` of a mixture.

    Raise ``ValueError`` unless the weights are a distribution and there is one mean per weight.
    """
    p, m = finite("weights", weights), finite("means", means)
    if p.ndim < 1 or p.shape[-1] < 1:
        raise ValueError(f"weights must hold at least one component, got {weights!r}")
    if m.ndim == p.ndim:
        m = m[..., None]
    if m.shape[:-1] != p.shape:
        raise ValueError(
            f"means must hold one mean per weight: {p.shape[-1]} weights, "
            f"got means of shape {np.shape(means)}"
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
        if not _symmetric(covariances):
            skew = np.abs(covariances - np.swapaxes(covariances, -1, -2)).max()
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
    """Raise for ``(d, d)`` and ``K = d`` components if it may be one covariance for all of them."""
    square = covariances.shape[-2:] == (dim, dim)
    if dim == 1 or not square or not _symmetric(covariances):
        return
    if np.all(np.linalg.eigvalsh(covariances) > 0):
        raise ValueError(
            f"covariances of shape {covariances.shape} for {dim} components in {dim} dimensions "
            f"may be diagonals or one matrix: give full matrices, of shape "
            f"{(*covariances.shape, dim)}"
        )


def _symmetric(matrices: np.ndarray) -> bool:
    """Whether square matrices ``(..., d, d)`` equal their transposes, to rounding."""
    skew = np.abs(matrices - np.swapaxes(matrices, -1, -2)).max()
    return bool(skew <= ASYMMETRY * np.abs(matrices).max())
