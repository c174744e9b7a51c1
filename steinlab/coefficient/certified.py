"""Proved enclosures of the coefficient, and laws in double precision as exact numbers."""

import numpy as np

from analytic import GaussianMixture
from analytic.certified.balls import Enclosure
from analytic.certified.coefficient import coefficient
from analytic.certified.laws import ExactMixture
from analytic.certified.steps import ExactStep

BITS = 128
"""Working precision of ``--certify``."""

SPACE_BITS = 53
"""The same for laws of several variances beyond one dimension, whose integrals are double."""


def certified_gamma(law: ExactMixture, step: ExactStep, *, bits: int | None = None) -> Enclosure:
    """Enclose ``gamma*`` of an exact step on an exact law by the reference route.

    Raises
    ------
    ValueError, ArithmeticError
        If the law cannot be certified (means not on one line), or the residual vanishes.
    """
    own = BITS if law.dim == 1 or law.shared else SPACE_BITS
    return coefficient(law, step, bits=bits or own)["reference"]


def exact_mixture(law: GaussianMixture) -> ExactMixture:
    """Return one isotropic law with the exact binary values of its parameters.

    Raises
    ------
    ValueError
        For a stack of laws or covariances that are not multiples of the identity.
    """
    if law.weights.ndim != 1:
        raise ValueError(f"law must be one mixture, got a stack of shape {law.weights.shape}")
    spectra = np.broadcast_to(law.spectra, law.means.shape)
    if law.basis is not None or np.any(spectra != spectra[:, :1]):
        raise ValueError("covariances must be multiples of the identity, got others")
    return ExactMixture.of(law.weights.tolist(), law.means.tolist(), spectra[:, 0].tolist())
