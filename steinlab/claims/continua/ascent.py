r"""Ascent: two equal point masses, every state, every length of the move towards the denoiser.

In units of the noise, ``log p(y) = log cosh(mu y) - y^2/2`` up to a constant, and
``D = mu tanh(mu y)``. The move by ``l`` times ``e = y - D`` raises it by ``l e^2 f``,

    f = 1 - l/2 + l mu^2 B,   B = int_0^1 (1 - s) sech^2(mu (y - s l e)) ds,

Taylor's formula for ``log cosh``. ``B > 0``, so ``f > 0`` for ``l < 2``; beyond, it depends.
"""

from collections.abc import Mapping

import numpy as np

from analytic import GaussianMixture
from analytic.certified.affine import Form, square, tanh
from analytic.certified.cells import Cells, cell_means
from steinlab.claims.continua import second_short
from steinlab.claims.continua.coefficient import over_power
from steinlab.diffusion.processes import EDM
from steinlab.verification.continuum.statement import Control, Enclosed, Parameter, Statement

PARAMETERS = (
    Parameter.of("state", "over the noise; the other side mirrors it", ("0", "8"), ("0", "50")),
    Parameter.of("separation", "distance of the modes over the noise", ("0", "8"), ("0", "50")),
    Parameter.of("length", "of the move, over x - D", ("0", "2"), ("0", "8")),
)

COUNT = 16
WIDTH = 1 / COUNT
MIDDLES = (np.arange(COUNT) + 0.5) * WIDTH
PATH = Cells(MIDDLES, 0.5 * WIDTH, (1 - MIDDLES) * WIDTH, np.full(COUNT, -(WIDTH**3) / 12))
"""Cells of ``s``, weighted by ``1 - s``."""


def parts(state: Form, separation: Form, length: Form) -> tuple[list[Form], list[Form]]:
    """Return the form of ``f``, and 1."""
    mu = 0.5 * separation
    move = length * (state - mu * tanh(mu * state))

    def integrand(s: Form, mu: Form, state: Form, move: Form) -> list[Form]:
        return [1 - square(tanh(mu * (state - s * move)))]

    [bend] = cell_means(PATH, integrand, mu, state, move)
    found = 1 - 0.5 * length + length * square(mu) * bend
    return [found], [Form(np.ones_like(found.centre), [0.0] * len(found.parts))]


def evaluate(low: np.ndarray, high: np.ndarray) -> Enclosed:
    """Enclose ``f``, which is at least ``1 - l/2``."""
    found = over_power(parts)(low, high)
    return found._replace(lower=np.fmax(found.lower, 1 - 0.5 * high[:, 2]))


def _halved(low: np.ndarray, high: np.ndarray) -> Enclosed:
    found = over_power(parts)(low, high)
    return found._replace(lower=found.lower - 0.5, upper=found.upper - 0.5)


TINY = 1e-5
"""A move below which the rise is measured by its limit."""


def measure(point: Mapping[str, float]) -> float:
    """Return the rise of the law's own log density over ``l e^2``, its limit at a tiny move.

    There ``f = 1 - l (1 - D')/2`` to first order in the move: below 1e-5 the quotient's rounding,
    ``1e-16 / (l e^2)``, is the larger error.
    """
    half, length = 0.5 * point["separation"], point["length"]
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([half, -half]), 1e-26)
    level, x = EDM.level_at(1.0), np.array([[point["state"]]])
    off = x - law(x, level)
    if abs(length * off[0, 0]) < TINY:
        return float(1 - 0.5 * length * (1 - law.divergence(x, level)[0]))
    rise = law.log_prob(x - length * off, level) - law.log_prob(x, level)
    return float(rise[0] / (length * off[0, 0] ** 2))


ASCENT = Statement(
    id="ascent-two-modes",
    title="Where a move along x - D raises the density: two equal point masses",
    says="the move raises the log density",
    fails="the move lowers the log density",
    latex=r"(\log p(x - l e) - \log p(x)) / (l e^2),\quad e = x - D(x)",
    parameters=PARAMETERS,
    evaluate=evaluate,
    second=second_short.ascent,
    measure=measure,
    controls=(Control("the rise is at least half of l |x - D|^2", _halved),),
    claim="trajectory-ascent",
    everywhere=True,
)
