r"""DPM-Solver++ multistep solvers (Lu et al., 2022), in data form for any process.

``r = (lam_0 - lam_1) / h`` compares the previous step with this one. Written with
``beta = alpha_t (1 - exp(-h))``, the second-order midpoint form is

    T = kappa x + beta D_0 + beta / (2 r) (D_0 - D_1).
"""

from __future__ import annotations

import numpy as np

from analytic import NoiseLevel
from steinlab.solvers.base import LinearMultistep, LinearStep, first_order, log_snr_step


def _midpoint(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
    step = first_order(levels[0], t)
    if len(levels) == 1 or not np.all(np.asarray(t.sigma) > 0):
        return step  # no history yet, or h infinite: first order
    r = log_snr_step(levels[1], levels[0]) / log_snr_step(levels[0], t)
    beta = step.betas[0]
    extra = beta / (2 * r)
    return LinearStep(step.kappa, step.one_minus_kappa, (beta + extra, -extra))


DPMPP_2M = LinearMultistep("dpmpp-2m", order=2, depth=1, weights=_midpoint)
"""DPM-Solver++(2M), midpoint form; the first step and a last step to zero are first order."""
