r"""The variance of Hutchinson's estimate: a denoiser's Jacobian in two dimensions, in EDM.

Two equal modes of width ``d`` stand at ``+-h`` noises along a direction at the angle ``phi`` to the
first axis; the state is ``x`` noises along it. With ``v = 1 + d^2`` and ``t = tanh(h x / v)``

    A = D' = a I + b n n',   a = d^2/v,   b = (1 - t^2) h^2/v^2.

For a symmetric ``A`` (otherwise its symmetric part) the probes' ``z' A z`` has the variance

    2 (|A|_F^2 - sum_i a_ii^2)  for signs,     2 |A|_F^2  for normal probes.

Where ``A`` is positive semidefinite, ``a_12^2 <= a_11 a_22``, so signs have at most half of the
variance in two dimensions. A factor of ``A`` does not count: with ``q = b/a`` and
``c = cos(2 phi)``, of ``A/a``, ``|A|_F^2 = (1 + q)^2 + 1`` and
``sum_i a_ii^2 = ((2 + q)^2 + q^2 c^2)/2``, so the statement ``f = tau - ratio`` is

    f = (2 + 2 q + q^2 c^2 + (2 tau - 1) |A|_F^2) / (2 |A|_F^2).

The checker does not know the formulas: it adds up all sign vectors, and all pairings of the
fourth moments of a normal vector (Isserlis 1918).
"""

from collections.abc import Mapping
from functools import partial
from itertools import product

import numpy as np

from analytic import GaussianMixture
from analytic.certified.affine import Form, reciprocal, square, tanh
from steinlab.claims.continua import second_hutchinson
from steinlab.claims.continua.coefficient import over_power
from steinlab.diffusion.processes import EDM
from steinlab.verification.continuum.statement import Control, Parameter, Statement

PARAMETERS = (
    Parameter.of("separation", "distance of the modes over the noise", ("0", "8"), ("0", "50")),
    Parameter.of("state", "along the modes, over the noise", ("0", "8"), ("0", "50")),
    Parameter.of("width", "of a mode, over the noise", ("0.1", "1"), ("0.01", "10")),
    Parameter.of("axis", "cos(2 phi): 0 the diagonal, 1 an axis", ("0", "1"), ("0", "1")),
    Parameter.of("threshold", "the most that the ratio may be", "1/2", ("0", "1")),
)

Forms = tuple[list[Form], list[Form]]


def bent(separation: Form, state: Form, width: Form) -> Form:
    """Return ``q``."""
    half, d2 = 0.5 * separation, square(width)
    v = 1 + d2
    t = tanh(half * state * reciprocal(v))
    return square(half) * (1 - square(t)) * reciprocal(v * d2)


def parts(factor: float, separation: Form, state: Form, width: Form, *rest: Form) -> Forms:
    """Return the forms of ``2 |A|_F^2 f`` and of that power; ``factor`` multiplies the ratio."""
    q, (axis, threshold) = bent(separation, state, width), rest
    power = square(1 + q) + 1
    diagonal = 2 + 2 * q + square(q * axis)
    return [factor * diagonal + (2 * threshold - factor) * power], [2 * power]


def whole(separation: Form, state: Form, width: Form, *rest: Form) -> Forms:
    """Say that the diagonal is not taken off: both variances are one."""
    power = square(1 + bent(separation, state, width)) + 1
    return [2 * (rest[1] - 1) * power], [2 * power]


NODES, WEIGHTS = np.array([0.0, np.sqrt(3), -np.sqrt(3)]), np.array([2 / 3, 1 / 6, 1 / 6])
"""Gauss and Hermite's rule, exact for fourth moments of a normal variable."""


def measure(point: Mapping[str, float]) -> float:
    """Return ``f`` by the law's own ``jvp`` on every sign vector, and by a rule for normals."""
    phi = 0.5 * np.arccos(point["axis"])
    along = np.array([np.cos(phi), np.sin(phi)])
    means = 0.5 * point["separation"] * np.stack((along, -along))
    law = GaussianMixture(np.array([0.5, 0.5]), means, point["width"] ** 2)
    x, level = point["state"] * along, EDM.level_at(1.0)

    def variance(nodes: np.ndarray, weights: np.ndarray) -> float:
        found = []
        for pair in product(range(len(nodes)), repeat=2):
            z = nodes[list(pair)]
            found.append((weights[list(pair)].prod(), float(z @ law.jvp(x, level, z))))
        mass, values = np.array(found).T
        return float(mass @ (values - mass @ values) ** 2)

    signs = variance(np.array([1.0, -1.0]), np.array([0.5, 0.5]))
    return point["threshold"] - signs / variance(NODES, WEIGHTS)


HUTCHINSON = Statement(
    id="hutchinson-two-modes",
    title="Where signs have at most half the variance of normal probes: two modes in a plane",
    says="the estimate from signs has at most the threshold times the variance from normal probes",
    fails="it has more",
    latex=r"\tau - \frac{2 (|A|_F^2 - \sum_i a_{ii}^2)}{2 |A|_F^2},\quad A = D'(x)",
    parameters=PARAMETERS,
    evaluate=over_power(partial(parts, 1.0)),
    second=second_hutchinson.ratio,
    measure=measure,
    controls=(
        Control("normal probes without their factor 2", over_power(partial(parts, 2.0))),
        Control("the diagonal is not taken off", over_power(whole)),
    ),
    claim="hutchinson-estimator",
    everywhere=True,
)
