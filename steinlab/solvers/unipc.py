r"""UniPC (Zhao et al., 2023), predictor and corrector, in data form.

UniP-p is the multistep solver of :mod:`steinlab.solvers.exponential` through ``p`` outputs. UniC-p
adds the output at the predicted state as a node at ``theta = 1``, which the next step evaluates
anyway. The published coefficients integrate the interpolant exactly, except that a single
coefficient is ``rho = 1/2``; with ``B = h`` (bh1) or ``1 - e^-h`` (bh2),

    UniP-2  J_1 = B/2        UniC-1  J_1 = B/2        all others: the exact moments.

The corrector restarts from the state before the prediction. Both are linear in the outputs, so the
corrector adds ``sum_j (w^C_j - w^P_j) D_j`` to the predicted state, which a step passes on to the
next (``LinearStep.corrector``). The evaluation at the predicted state is reused as history. The
last state, where the denoiser is not evaluated, stays as predicted. From ``alpha_s = 0`` bh2's
``B`` is 1: a first-order step, whose corrector takes the mean of both outputs. bh1's ``B`` is
infinite, and the step is refused.

In noise form (``predict_x0=False`` in diffusers) the same is done to ``d = (x - alpha D)/sigma``,
with ``h`` in place of ``-h``: the growing moments ``K_k = h k! phi_{k+1}(h)`` and bh2's
``B = e^h - 1``,

    T = (alpha_t/alpha_s) x - sigma_t sum_j w_j d_j.

It cannot end at zero noise, where past ``d_j`` would have infinite weights.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType

from analytic import NoiseLevel
from analytic.levels import Scalar
from steinlab.solvers.base import (
    LinearMultistep,
    LinearStep,
    Weights,
    first_order,
    log_snr_step,
    require_signal,
)
from steinlab.solvers.exponential import integrate, nodes_of
from steinlab.solvers.phi import decaying_moments, interpolatory, phis
from steinlab.solvers.scalars import has_noise

B_FUNCTIONS: Mapping[str, Callable[[Scalar, Scalar], Scalar]] = MappingProxyType(
    {"bh1": lambda h, j0: h, "bh2": lambda h, j0: j0}  # noqa: ARG005
)
"""``B`` of the published variants, from ``h`` and ``J_0 = 1 - e^-h``."""


def _weights(variant: str) -> Weights:
    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        s, p = levels[0], len(levels)
        step = first_order(s, t)
        if not has_noise(t):
            return step
        if variant == "bh1":
            require_signal("unipc with bh1", s)
        h = log_snr_step(s, t)
        moments = decaying_moments(h, p + 1)
        halved = [moments[0], 0.5 * B_FUNCTIONS[variant](h, moments[0])]
        nodes = nodes_of(levels, h)
        predictor = integrate(step, t, nodes, halved if p == 2 else moments[:p])
        corrector = integrate(step, t, [*nodes, 1.0], halved if p == 1 else moments)
        gain = tuple(c - w for c, w in zip(corrector[:-1], predictor, strict=True))
        return LinearStep(
            step.kappa, step.one_minus_kappa, predictor, corrector=(corrector[-1], *gain)
        )

    return weights


def _noise_weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
    s, p = levels[0], len(levels)
    step = first_order(s, t)
    if not has_noise(t):
        return step
    require_signal("unipc in noise form", s)
    h = log_snr_step(s, t)
    moments = [t.sigma * h * math.factorial(k) * phi for k, phi in enumerate(phis(p + 1, h))]
    halved = [moments[0], 0.5 * moments[0]]
    nodes = nodes_of(levels, h)
    predictor = interpolatory(nodes, halved if p == 2 else moments[:p])
    corrector = interpolatory([*nodes, 1.0], halved if p == 1 else moments)
    # T is the first-order step less sum_{j >= 1} w_j (d_j - d_0)
    zetas = tuple(-w / level.sigma for w, level in zip(predictor[1:], levels[1:], strict=True))
    betas = tuple(-zeta * level.alpha for zeta, level in zip(zetas, levels[1:], strict=True))
    rest = sum(predictor[1:], 0.0) / s.sigma
    gain = [corrector[-1], *(c - w for c, w in zip(corrector[:-1], predictor, strict=True))]
    states = tuple(-g / level.sigma for g, level in zip(gain, (t, *levels), strict=True))
    return LinearStep(
        step.kappa + rest,
        step.one_minus_kappa - rest,
        (step.betas[0] - rest * s.alpha, *betas),
        zetas,
        tuple(-c * level.alpha for c, level in zip(states, (t, *levels), strict=True)),
        states,
        t.alpha / s.alpha,
    )


def unipc_noise(p: int) -> LinearMultistep:
    """Return UniPC-p in noise form, bh2; orders as :func:`unipc`."""
    return replace(unipc(p), name=f"unipc-{p}-noise", weights=_noise_weights, ends_at_zero=p == 1)


def unipc(p: int, variant: str = "bh2") -> LinearMultistep:
    """Return UniPC-p.

    Guarantee: global order ``p + 1`` from accurate starting values. Its own start, an Euler step
    corrected by the trapezoid rule, caps the order at 3.

    Parameters
    ----------
    p : {1, 2, 3}
    variant : {"bh1", "bh2"}
    """
    if p not in (1, 2, 3):
        raise ValueError(f"order must be 1, 2 or 3 for unipc, got {p}")
    if variant not in B_FUNCTIONS:
        raise ValueError(f"variant must be bh1 or bh2, got {variant}")
    return LinearMultistep(
        f"unipc-{p}" + ("" if variant == "bh2" else f"-{variant}"),
        order=min(p + 1, 3),
        depth=p,
        weights=_weights(variant),
        full_order=p + 1,
        nodes=p,
    )


UNIPC = (
    *(unipc(p, variant) for variant in ("bh2", "bh1") for p in (1, 2, 3)),
    *(unipc_noise(p) for p in (1, 2, 3)),
)
"""Orders 1 to 3, bh2 and bh1, and bh2 in noise form."""
