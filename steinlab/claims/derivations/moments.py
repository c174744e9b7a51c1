r"""Derivations of second moments at a level and after a moment-exact step.

Letters stand for vectors less their means, which changes no premise: ``E[x - alpha D] = 0``.
"""

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.first_order import (
    PREMISES,
    D,
    V,
    alpha,
    d,
    div_D,
    eps,
    first_order,
    sigma,
    x,
    x_star,
)
from steinlab.claims.derivations.proofs import Premise, Proof, Step

w, k = reals("w k")
(gain,) = positives("X,")

INDEPENDENT, UNIT, TOWER_D, TOWER_X, PARTS = PREMISES


def posterior_variance() -> Proof:
    """Four expressions for ``alpha V``, ``V = E|x_star - D|^2``."""
    r = x - alpha * D
    return Proof(
        first_order(),
        (
            Step(
                "state and residual",
                E(x * r),
                sigma**2 * d,
                (
                    (alpha * sigma, "independent noise"),
                    (sigma**2, "unit noise"),
                    (-alpha, "tower in x"),
                ),
                by=("linearity",),
            ),
            Step(
                "orthogonality",
                E(D * r),
                alpha * V,
                ((1, "tower in x"), (sigma, "independent noise"), (2 * alpha, "tower in D")),
            ),
            Step(
                "power of the residual",
                sigma**2 * d - E(r**2),
                alpha**2 * V,
                ((-1, "state and residual"), (alpha, "orthogonality")),
            ),
            Step(
                "self-normalised",
                E(D * r) * sigma**2 * d,
                alpha * V * E(x * r),
                ((sigma**2 * d, "orthogonality"), (-alpha * V, "state and residual")),
            ),
            Step(
                "trace",
                sigma**2 * E(div_D),
                alpha * V,
                ((-sigma, "parts"), (1, "orthogonality"), (-alpha, "tower in D")),
            ),
        ),
        PREMISES,
    )


def moment_exact_step() -> Proof:
    """``E|x - gamma u|^2 = E|x_star|^2 + sigma'^2 d`` for ``gamma = (1 + k)/(1 + X)``."""
    moved = (1 - k**2) / (1 + gain)
    return Proof(
        Algebra(vectors=(x_star, eps, D), definitions=((x, x_star + sigma * eps),)),
        (
            Step(
                "power of the state",
                E(x**2),
                E(x_star**2) + sigma**2 * d,
                ((2 * sigma, "independent noise"), (sigma**2, "unit noise")),
                by=("linearity",),
            ),
            Step(
                "state and residual",
                E(x * (x - D)),
                sigma**2 * d,
                ((sigma, "independent noise"), (sigma**2, "unit noise"), (-1, "tower in x")),
            ),
            Step("what is moved", (1 + k) / (1 + gain) * (1 - k) * (x - D), moved * (x - D)),
            Step(
                "total variance",
                E((x - moved * (x - D)) ** 2),
                E(x_star**2) + (k * sigma) ** 2 * d,
                (
                    (1, "power of the state"),
                    (-2 * moved, "state and residual"),
                    (moved**2, "spread of the residual"),
                    (sigma**2 * d * (1 - k**2) / (1 + gain) ** 2, "gain"),
                ),
            ),
        ),
        (
            INDEPENDENT,
            UNIT,
            TOWER_X,
            Premise("spread of the residual", "spread", E((x - D) ** 2), w * sigma**2 * d),
            Premise("gain", "spread", gain**2, 1 - w * (1 - k**2)),
        ),
    )
