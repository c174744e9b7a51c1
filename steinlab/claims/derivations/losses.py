r"""Derivations of losses: per class, and of a denoiser beside that of the states' own law."""

from typing import Any

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

u_1, r_1, u_2, r_2, gamma, gamma_1, gamma_2, gamma_star = reals(
    "u_1 r_1 u_2 r_2 gamma gamma_1 gamma_2 gamma_star"
)
p_1, p_2 = positives("p_1 p_2")
J, J_classes = reals("J J_classes")

x, x_star, s_model, s_q, D, D_q, u, off = reals("x x_star s_model s_q D D_q u off")
alpha, sigma, F = positives("alpha sigma F")


def per_class() -> Proof:
    """``J(gamma) - J(gamma_class) = sum p_c E_c|u|^2 (gamma_c - gamma)^2``, two classes.

    ``r_c = x - x_star`` and ``u_c`` are the letters of class ``c``.
    """

    def own(u: Any, r: Any, coefficient: Any) -> Any:
        return E((r - coefficient * u) ** 2)

    def excess(c: int, u: Any, r: Any, best: Any) -> Step:
        right = own(u, r, best) + E(u**2) * (best - gamma) ** 2
        return Step(f"class {c}", own(u, r, gamma), right, by=("linearity", "moving"))

    spread = p_1 * E(u_1**2) * (gamma_1 - gamma) ** 2 + p_2 * E(u_2**2) * (gamma_2 - gamma) ** 2
    whole = p_1 * E(u_1**2) + p_2 * E(u_2**2)
    return Proof(
        Algebra(
            vectors=(u_1, r_1, u_2, r_2),
            moving=(u_1, u_2),
            definitions=(
                (J, p_1 * own(u_1, r_1, gamma) + p_2 * own(u_2, r_2, gamma)),
                (J_classes, p_1 * own(u_1, r_1, gamma_1) + p_2 * own(u_2, r_2, gamma_2)),
                (gamma_star, (p_1 * E(u_1 * r_1) + p_2 * E(u_2 * r_2)) / whole),
                (gamma_1, E(u_1 * r_1) / E(u_1**2)),
                (gamma_2, E(u_2 * r_2) / E(u_2**2)),
            ),
        ),
        steps=(
            excess(1, u_1, r_1, gamma_1),
            excess(2, u_2, r_2, gamma_2),
            Step("all classes", J - J_classes, spread, by=("linearity", "moving", "classes")),
            Step(
                "the one coefficient is the weighted mean",
                gamma_star * whole,
                p_1 * E(u_1**2) * gamma_1 + p_2 * E(u_2**2) * gamma_2,
                by=("moving", "classes"),
            ),
        ),
    )


def excess_loss() -> Proof:
    """``(sigma^2/alpha)^2 F = E_q|D - D_q|^2 = L_q(D) - mmse_q``, and the bound with it."""

    def tower(name: str, f: Any) -> Premise:
        return Premise(name, "tower-q", E(x_star * f), E(D_q * f))

    loss, mmse = E((x_star - D) ** 2), E((x_star - D_q) ** 2)
    return Proof(
        Algebra(
            vectors=(x, x_star, s_model, s_q, u),
            definitions=(
                (F, E((s_model - s_q) ** 2)),
                (D, (x + sigma**2 * s_model) / alpha),
                (D_q, (x + sigma**2 * s_q) / alpha),
            ),
        ),
        premises=(
            tower("tower for D", D),
            tower("tower for D_q", D_q),
            Premise("bound", "state-form", off**2 * E(u**2), sigma**4 / alpha**2 * F, AT_MOST),
        ),
        steps=(
            Step(
                "by the scores",
                sigma**4 / alpha**2 * F,
                E((D - D_q) ** 2),
                by=("tweedie", "tweedie-q", "linearity"),
            ),
            Step(
                "as a loss",
                loss - mmse,
                E((D - D_q) ** 2),
                ((-2, "tower for D"), (2, "tower for D_q")),
            ),
            Step(
                "bound, squared",
                off**2 * E(u**2),
                loss - mmse,
                ((1, "bound"), (2, "tower for D"), (-2, "tower for D_q")),
                AT_MOST,
            ),
        ),
    )
