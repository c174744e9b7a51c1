"""From a SPEC to a proved enclosure, and from a law in doubles to its exact numbers."""

from __future__ import annotations

import numpy as np

from analytic import GaussianMixture
from analytic.certified import Enclosure, missing
from analytic.certified_coefficient import coefficient
from analytic.certified_laws import ExactMixture
from analytic.certified_steps import SOLVERS, ExactStep
from steinlab.errors import InputError
from steinlab.specs.coefficient import CoefficientSpec

BITS = 128
"""Working precision of ``--certify``."""

SPACE_BITS = 53
"""The same for several variances beyond one dimension: double integrals, seconds at 53 bits."""


def certified_gamma(spec: CoefficientSpec, *, bits: int | None = None) -> Enclosure:
    """Enclose ``gamma*`` of a SPEC by the reference route, from its exact fractions.

    Raises
    ------
    InputError
        Without python-flint, and for what cannot be certified: history that shares the noise of
        ``x``, other solvers, means off one line.
    """
    reason = missing()
    if reason:
        raise InputError(f"--certify: {reason}")
    solver = spec.solver.name
    if solver not in SOLVERS:
        raise InputError(f"--certify: solver must be one of {', '.join(SOLVERS)}, got {solver}")
    if spec.history:
        raise InputError(
            "--certify: history must be empty: it shares the noise of x, which is not certified, "
            f"got {len(spec.history)} levels"
        )
    data = spec.data
    if data is None:
        raise InputError("--certify: SPEC must hold data, got a model")
    try:
        law = ExactMixture.of(data.weights, data.means, [std**2 for std in data.stds])
        step = ExactStep.of(solver, spec.start, spec.end)
        own = BITS if law.dim == 1 or law.shared else SPACE_BITS
        return coefficient(law, step, bits=bits or own)["reference"]
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"--certify: {error}") from None


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
