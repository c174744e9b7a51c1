"""From exact numbers to a proved enclosure, and from a law in doubles to its exact numbers."""

from __future__ import annotations

import numpy as np

from analytic import GaussianMixture
from analytic.certified.balls import Enclosure
from analytic.certified.coefficient import coefficient
from analytic.certified.laws import ExactMixture
from analytic.certified.steps import ExactStep

BITS = 128
"""Working precision of ``--certify``."""

SPACE_BITS = 53
"""The same for several variances beyond one dimension: double integrals, seconds at 53 bits."""


def certified_gamma(law: ExactMixture, step: ExactStep, *, bits: int | None = None) -> Enclosure:
    """Enclose ``gamma*`` of an exact step on an exact law by the reference route.

    Raises
    ------
    ValueError, ArithmeticError
        For what cannot be certified: means off one line, a residual that vanishes.
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
