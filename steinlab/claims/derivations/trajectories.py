"""Derivations for sampling trajectories in EDM coordinates.

``E`` is the expectation under the posterior of ``x_star`` given ``x``, in which ``x`` and the score
``g`` are constant.
"""

from __future__ import annotations

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

x, x_star, D, g, y, step, rise = reals("x x_star D g y l rise")
(sigma, part) = positives("sigma a")
rest = sp.Symbol("b", nonnegative=True)


def ascent() -> Proof:
    """``log p(x + l (D - x)) - log p(x) >= sigma^2 |g|^2 l (1 - l/2)``."""
    right = sigma**2 * E(g**2) * step * (1 - step / 2)
    surrogate = E((x - x_star) ** 2 - (y - x_star) ** 2) / (2 * sigma**2)
    inside = {step: 2 * part / (part + rest)}
    return Proof(
        Algebra(
            vectors=(x, x_star, g),
            definitions=((y, x + step * (D - x)), (D, x + sigma**2 * g)),
        ),
        (
            Step(
                "the surrogate",
                surrogate,
                right,
                ((step, "posterior mean along g"),),
                by=("linearity", "tweedie"),
            ),
            Step("ascent", right, rise, ((1, "jensen"), (-1, "the surrogate")), AT_MOST),
            Step(
                "right side for l in [0, 2]",
                sp.Integer(0),
                right,
                ((sigma**2 * E(g**2) * 2 * part * rest / (part + rest) ** 2,),),
                AT_MOST,
                given=inside,
            ),
        ),
        (
            Premise("posterior mean along g", "tower", E(x_star * g), E(D * g)),
            Premise("jensen", "jensen", surrogate, rise, AT_MOST),
        ),
    )
