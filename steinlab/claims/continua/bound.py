r"""The perturbation bound: a model of two point masses, states of a law that it does not know.

The model ``p`` has masses ``w`` at ``+m`` and ``1 - w`` at ``-m``; the states come from ``q``, two
equal masses at ``+-m``, moved by ``delta`` noises. With an even model (``w = 1/2``) and states that
differ in their weights alone, every mean in the bound is one of an even function, which has the
same law under both: the deviation is 0 whatever the weights. The model must be uneven or the states
moved for the bound to say anything.

Euler in EDM, data and states in units of the noise, ``mu = m/sigma``. With ``e = x - D_p`` and
``A = D_p - D_q``, the residual is ``(1 - k) e`` and Stein's identity gives

    gamma_tilde - gamma_q = E_q[e A] / ((1 - k) P),   P = E_q[e^2],   F = E_q[A^2] / sigma^2,

so the bound over the deviation knows no step: its *tightness* is
``|E_q[e A]| / sqrt(P E_q[A^2])``. In EDM ``gamma_q = 1/(1 - k)``, which is the model's own
optimum too (:mod:`steinlab.claims.causes.geometry_blindness`): both readings of the bound are one.

With ``e_q = x - D_q = e + A``, ``E = E_q[e_q^2] = 1 - mu^2 Q(mu)`` (``Q`` of
:mod:`steinlab.claims.continua.coefficient`), ``M = E_q[e_q A]`` and ``G = E_q[A^2]``,

    P = E - 2 M + G,   tau^2 P G - E_q[e A]^2 = (E G - M^2) - (1 - tau^2) P G.

About the upper mode ``x = mu + delta + z``; with ``g = 1 - tanh``, ``b = log(w/(1 - w))/2``,
``eta = mu delta + b``, ``g_q = g(mu (mu + z))``, ``g_p = g(mu (mu + z) + eta)``,

    e_q = z + mu g_q,   A = -delta + mu tanh(eta) (g_q + g_p - g_q g_p),

where nothing cancels; about the lower mode ``delta`` and ``b`` change their signs. Beyond the last
cell ``|e_q| <= |z| + 2 mu`` and ``|A| <= |delta| + 2 mu |tanh(eta)|``.
"""

from collections.abc import Mapping
from functools import partial

import numpy as np

from analytic import GaussianMixture
from analytic.certified.affine import Form, log, square, tanh, tanh_rest
from analytic.certified.cells import BEYOND, SQUARE_BEYOND, normal_means, widened
from steinlab.claims.continua import second_bound
from steinlab.claims.continua.coefficient import over_power
from steinlab.claims.continua.posterior import posterior
from steinlab.claims.error_bounds.perturbation import PairCases, measure_pairs, ratios
from steinlab.coefficient.step_terms import Problem
from steinlab.diffusion.processes import EDM
from steinlab.solvers import EULER
from steinlab.verification.continuum.statement import Control, Parameter, Statement

FINE, COARSE = 256, 64
"""Cells of an enclosure, and of one that only says along which side to cut."""

PARAMETERS = (
    Parameter.of(
        "separation", "distance of the modes over the noise", ("0.25", "40"), ("0.01", "100")
    ),
    Parameter.of("weight", "of the model's upper mode", ("0.505", "0.9"), ("0.1", "0.9")),
    Parameter.of("shift", "of the states, over the noise", ("0", "4"), ("0", "10")),
    Parameter.of("threshold", "what the tightness is compared with", "1", ("0.001", "1")),
)


def means(count: int, separation: Form, weight: Form, shift: Form) -> list[Form]:
    """Enclose ``M`` and ``G``."""
    mu, bias = 0.5 * separation, 0.5 * log(weight / (1 - weight))
    found = [_about(count, mu, bias, shift), _about(count, mu, -bias, -shift)]
    return [0.5 * (first + last) for first, last in zip(*found, strict=True)]


def _about(count: int, mu: Form, bias: Form, shift: Form) -> list[Form]:
    """Enclose the means about one mode."""
    steep = tanh(mu * shift + bias)

    def integrand(z: Form, mu: Form, bias: Form, shift: Form, steep: Form) -> list[Form]:
        at = mu * (mu + z)
        own, known = tanh_rest(at), tanh_rest(at + mu * shift + bias)
        a = mu * steep * (own + known - own * known) - shift
        return [(z + mu * own) * a, square(a)]

    inner = normal_means(integrand, mu, bias, shift, steep, count=count)
    most, far, turn = (np.abs(one.centre) + one.radius for one in (mu, shift, steep))
    gap, last = far + 2 * most * turn, np.sqrt(SQUARE_BEYOND) + 2 * np.sqrt(BEYOND) * most
    tails = np.sqrt(BEYOND) * last * gap, BEYOND * gap**2
    return [widened(one, tail) for one, tail in zip(inner, tails, strict=True)]


def parts(
    count: int, separation: Form, weight: Form, shift: Form, threshold: Form
) -> tuple[list[Form], list[Form]]:
    """Return the forms of ``tau^2 P G - E_q[e A]^2`` and of ``P G``."""
    cross, gap = means(count, separation, weight, shift)
    mu = 0.5 * separation
    own = 1 - square(mu) * posterior(mu)
    both = (own - 2 * cross + gap) * gap
    return [own * gap - square(cross) - (1 - square(threshold)) * both], [both]


def lowered(
    separation: Form, weight: Form, shift: Form, threshold: Form
) -> tuple[list[Form], list[Form]]:
    """Say that nine tenths of the constant are enough."""
    return parts(COARSE, separation, weight, shift, 0.9 * threshold)


def measure(point: Mapping[str, float]) -> float:
    """Return ``threshold^2`` less the squared tightness, by the claim's own quadrature."""
    half = 0.5 * point["separation"]
    model, states = (
        GaussianMixture(np.array([[w, 1 - w]]), np.array([[[half], [-half]]]) + by, 1e-26)
        for w, by in ((point["weight"], 0.0), (0.5, point["shift"]))
    )
    s, t = (EDM.level_at(np.full((1, 1, 1), level)) for level in (1.0, 0.5))
    found = measure_pairs(PairCases(Problem(model, s, t, EULER, None), states))
    return float(point["threshold"] ** 2 - ratios(found)[0] ** 2)


EULER_EDM = Statement(
    id="bound-edm-euler",
    title="Where the perturbation bound holds, and how tightly: an uneven model, moved states",
    says="the deviation is below the threshold times the bound",
    fails="the deviation is above the threshold times the bound",
    latex=r"\tau^2 - \frac{E_q[e A]^2}{E_q[e^2]\, E_q[A^2]}",
    parameters=PARAMETERS,
    evaluate=over_power(partial(parts, FINE), partial(parts, COARSE)),
    second=second_bound.bound,
    measure=measure,
    controls=(Control("nine tenths of the constant are enough", over_power(lowered)),),
    claim="perturbation-bound",
    everywhere=True,
)
