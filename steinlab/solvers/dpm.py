r"""DPM-Solver++ multistep solvers (Lu et al., 2022), in data form for any process.

With ``h = lam_t - lam_0``, ``r_0 = (lam_0 - lam_1)/h``, ``r_1 = (lam_1 - lam_2)/h``,
``D10 = (D_0 - D_1)/r_0``, ``D11 = (D_1 - D_2)/r_1`` and, from :mod:`steinlab.solvers.exponential`,
``J_0 = 1 - e^-h``, ``J_1 = 1 - J_0/h``, ``J_2 = 1 - 2 J_1/h``:

    2M midpoint  T = kappa x + alpha_t (J_0 D_0 + J_0/2 D10)
    2M heun      T = kappa x + alpha_t (J_0 D_0 + J_1 D10)
    3M           T = kappa x + alpha_t (J_0 D_0 + J_1 D1 + (c/2) J_2 D2),
                 D2 = (D10 - D11)/(r_0 + r_1),  D1 = D10 + r_0 D2

The published 3M has ``c = 1`` and is of order two; ``c = 2`` is what the expansion of ``D`` gives.
"""

from __future__ import annotations

from steinlab.solvers.base import LinearMultistep
from steinlab.solvers.exponential import exponential_weights, midpoint, published
from steinlab.solvers.phi import decaying_moments

DPMPP_2M = LinearMultistep("dpmpp-2m", order=2, depth=1, weights=exponential_weights(midpoint))
"""DPM-Solver++(2M), midpoint form; the first step and a last step to zero are first order."""

DPMPP_2M_HEUN = LinearMultistep(
    "dpmpp-2m-heun", order=2, depth=1, weights=exponential_weights(decaying_moments)
)
"""DPM-Solver++(2M), heun form: the two-step exponential Adams-Bashforth method."""

DPMPP_3M = LinearMultistep("dpmpp-3m", order=2, depth=2, weights=exponential_weights(published))
"""DPM-Solver++(3M) as published and as every peer has it (``c = 1``)."""

DPMPP_3M_EXACT = LinearMultistep(
    "dpmpp-3m-exact",
    order=2,
    depth=2,
    weights=exponential_weights(decaying_moments),
    full_order=3,
)
"""DPM-Solver++(3M) with ``c = 2``: of order three once its first two steps are accurate enough."""
