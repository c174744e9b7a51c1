r"""UniPC (Zhao et al., 2023), predictor and corrector, in data form.

UniP-p is the multistep solver of :mod:`steinlab.solvers.exponential` through ``p`` outputs; UniC-p
adds the output at the predicted state as a node at ``theta = 1``, so it costs no evaluation of its
own. The published solution for the coefficients is exact integration of the interpolant, but where
one coefficient is left it is ``rho = 1/2``; with ``B = h`` (bh1) or ``1 - e^-h`` (bh2),

    UniP-2  J_1 = B/2        UniC-1  J_1 = B/2        all others: the exact moments.

The corrector restarts from the state before the prediction. Both are linear in the outputs, so it
equals adding ``sum_j (w^C_j - w^P_j) D_j`` to the predicted state, which needs no other state: that
is what a step hands to the next (``LinearStep.corrector``). The uncorrected evaluation is
reused as history, and the last state, where the denoiser is not evaluated, stays as predicted.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType

from analytic import NoiseLevel
from analytic.levels import Scalar
from steinlab.solvers.base import LinearMultistep, LinearStep, Weights, first_order, log_snr_step
from steinlab.solvers.exponential import integrate, nodes_of
from steinlab.solvers.phi import decaying_moments
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


def unipc(p: int, variant: str = "bh2") -> LinearMultistep:
    """Return UniPC-p.

    Guarantee: global order ``p + 1`` given accurate starting values; its own start, an Euler
    step corrected by the trapezoid, keeps orders up to 3.

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


UNIPC = tuple(unipc(p, variant) for variant in ("bh2", "bh1") for p in (1, 2, 3))
"""Orders 1 to 3, bh2 and bh1."""
