r"""Adams methods on the flow's slope: DEIS (Zhang and Chen, 2023) and iPNDM.

In EDM coordinates ``y = x / alpha``, ``s = sigma / alpha`` the flow is ``dy/ds = d`` with
``d = (y - D) / s = (x - alpha D) / sigma``, the noise prediction. The polynomial through the last
``N`` slopes, in a variable ``v`` of the noise level, is integrated over the step:

    y_t = y + sum_j C_j d_j,   C_j = int l_j(v(s)) ds,

with the Lagrange basis ``l_j`` on ``v_0, v_1, ...``. Since ``sum_j C_j = s_t - s_0``, this is the
first-order step plus ``alpha_t sum_{j>=1} C_j (d_j - d_0)``, which is how it is computed.

    deis-rho    v = s       variable-step Adams-Bashforth in s, also known as LMS
    deis-log    v = log s: exponential multistep in noise form, exact moments
    dpm         the same with the moments of DPM-Solver's multistep code (below)
    deis-tab    v = t       the process's time
    ipndm       fixed weights of the even grid times ``s_t - s_0``
    ipndm-v     iPNDM with the weights of the steps taken: the same method as deis-rho

With ``h``, ``r_0``, ``r_1`` of :mod:`steinlab.solvers.exponential`, ``d10 = (d_0 - d_1)/r_0`` and
``d11 = (d_1 - d_2)/r_1``, DPM-Solver (Lu et al., 2022) in noise form is

    2M  T = (alpha_t/alpha_s) x - sigma_t (e^h - 1) (d_0 + d10/2)
    3M  T = (alpha_t/alpha_s) x - sigma_t ((e^h - 1) d_0 + ((e^h - 1)/h - 1) d1
            + ((e^h - 1 - h)/h^2 - 1/2) d2),   d2 = (d10 - d11)/(r_0 + r_1),  d1 = d10 + r_0 d2

as in diffusers' ``algorithm_type="dpmsolver"``: two slopes take the midpoint's second moment, three
slopes half of the third, so 3M is of order two.

``N`` counts slopes; tAB-r and rho-AB-r of the literature have ``r + 1``. ``ipndm`` is of order two
on uneven grids for every ``N > 1``.
"""

import functools
import math
from collections.abc import Callable

import numpy as np

from analytic import NoiseLevel
from analytic.levels import Scalar
from steinlab.diffusion.processes import Process
from steinlab.solvers.base import LinearMultistep, LinearStep, Weights, first_order, log_snr_step
from steinlab.solvers.exponential import nodes_of
from steinlab.solvers.phi import interpolatory, phis
from steinlab.solvers.scalars import exp, plain

Quadrature = Callable[[tuple[NoiseLevel, ...], NoiseLevel], list[Scalar]]
"""``levels (newest first), t -> C_1, C_2, ...``; ``C_0 = s_t - s_0 - sum_{j>=1} C_j``."""

AB = ((), (-1 / 2,), (-16 / 12, 5 / 12), (-59 / 24, 37 / 24, -9 / 24))
"""Adams-Bashforth weights of the past slopes on an even grid."""


def _fixed(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> list[Scalar]:
    step = t.ratio - levels[0].ratio
    return [weight * step for weight in AB[len(levels) - 1]]


def _in_ratio(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> list[Scalar]:
    start = levels[0].ratio
    step = t.ratio - start
    nodes = [(level.ratio - start) / step for level in levels]
    return interpolatory(nodes, [step / (k + 1) for k in range(len(levels))])[1:]


def _log_moments(
    levels: tuple[NoiseLevel, ...], t: NoiseLevel
) -> tuple[list[Scalar], list[Scalar]]:
    """Nodes and moments in ``theta``: ``s = s_0 e^(-h theta)``."""
    h = log_snr_step(levels[0], t)
    scale = -h * levels[0].ratio * exp(-h)  # int theta^k ds = -h s_0 e^-h k! phi_{k+1}(h)
    powers = enumerate(phis(len(levels), h))
    return nodes_of(levels, h), [scale * math.factorial(k) * value for k, value in powers]


def _in_log(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> list[Scalar]:
    return interpolatory(*_log_moments(levels, t))[1:]


def _published(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> list[Scalar]:
    nodes, moments = _log_moments(levels, t)
    if len(moments) == 2:
        moments[1] = 0.5 * moments[0]
    else:
        moments[2] = 0.5 * moments[2]
    return interpolatory(nodes, moments)[1:]


REACH, POINTS = 3.2, 81
"""Range and number of points of the tanh-sinh rule; its weights at the ends are below rounding.

It tolerates the square root that the time of some processes has at zero noise."""


def _tanh_sinh() -> tuple[np.ndarray, np.ndarray]:
    """Return the points and weights of the rule on (0, 1)."""
    z, step = np.linspace(-REACH, REACH, POINTS, retstep=True)
    inner = 0.5 * math.pi * np.sinh(z)
    return 0.5 * (1 + np.tanh(inner)), step * 0.25 * math.pi * np.cosh(z) / np.cosh(inner) ** 2


def _in_time(process: Process) -> Quadrature:
    points, rule = _tanh_sinh()

    def quadrature(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> list[Scalar]:
        times = [process.time(level.ratio) for level in levels]
        step = process.time(t.ratio) - times[0]
        # the integrand is smooth in u = asinh(s) for both small and large s
        u = np.asarray(np.arcsinh(levels[0].ratio))[..., None]
        width = np.asarray(np.arcsinh(t.ratio))[..., None] - u
        u = u + width * points
        theta = process.time(np.sinh(u)) - np.asarray(times[0])[..., None]
        theta = theta / np.asarray(step)[..., None]
        measure = width * np.cosh(u) * rule
        moments = [plain((measure * theta**k).sum(axis=-1)) for k in range(len(levels))]
        return interpolatory([plain((time - times[0]) / step) for time in times], moments)[1:]

    return quadrature


def combining_slopes(quadrature: Quadrature) -> Weights:
    """Return the coefficients of the method that integrates slopes by a quadrature."""

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        s = levels[0]
        step = first_order(s, t)
        if len(levels) == 1:
            return step
        past = [t.alpha * c for c in quadrature(levels, t)]
        total = sum(past[1:], past[0])
        zetas = tuple(c / level.sigma for c, level in zip(past, levels[1:], strict=True))
        betas = tuple(-zeta * level.alpha for zeta, level in zip(zetas, levels[1:], strict=True))
        return LinearStep(
            step.kappa - total / s.sigma,
            step.one_minus_kappa + total / s.sigma,
            (step.betas[0] + total * s.alpha / s.sigma, *betas),
            zetas,
        )

    return weights


def adams(
    family: str, nodes: int, quadrature: Quadrature, *, full_order: int, ends_at_zero: bool = True
) -> LinearMultistep:
    """Return the Adams method through ``nodes`` slopes; its first step is Euler's: order <= 2."""
    return LinearMultistep(
        f"{family}-{nodes}",
        order=min(full_order, 2),
        depth=nodes - 1,
        weights=combining_slopes(quadrature),
        full_order=full_order,
        ends_at_zero=ends_at_zero or nodes == 1,
    )


@functools.cache
def deis_tab(nodes: int, process: Process) -> LinearMultistep:
    """Return DEIS-tAB, which integrates in the time of a process.

    ``nodes`` is 1 to 4. It can end at zero noise if the process's time is finite there.

    Examples
    --------
    >>> from steinlab.diffusion.processes import VE, VP_LINEAR
    >>> deis_tab(2, VP_LINEAR).ends_at_zero, deis_tab(2, VE).ends_at_zero
    (True, False)
    """
    if nodes not in (1, 2, 3, 4):
        raise ValueError(f"order must be 1, 2, 3 or 4 for deis-tab, got {nodes}")
    with np.errstate(divide="ignore"):
        reached = bool(np.isfinite(process.time(0.0)))
    return adams("deis-tab", nodes, _in_time(process), full_order=nodes, ends_at_zero=reached)


DEIS_RHO = tuple(adams("deis-rho", n, _in_ratio, full_order=n) for n in (1, 2, 3, 4))
DEIS_LOG = tuple(
    adams("deis-log", n, _in_log, full_order=n, ends_at_zero=False) for n in (1, 2, 3, 4)
)
IPNDM = tuple(adams("ipndm", n, _fixed, full_order=min(n, 2)) for n in (1, 2, 3, 4))
IPNDM_V = tuple(adams("ipndm-v", n, _in_ratio, full_order=n) for n in (1, 2, 3, 4))

DPM_2M = LinearMultistep(
    "dpm-2m", order=2, depth=1, weights=combining_slopes(_published), ends_at_zero=False
)
"""DPM-Solver's two-step method in noise form, midpoint."""

DPM_3M = LinearMultistep(
    "dpm-3m", order=2, depth=2, weights=combining_slopes(_published), ends_at_zero=False
)
"""DPM-Solver's three-step method in noise form as published; of order two, as ``dpmpp-3m`` is."""
