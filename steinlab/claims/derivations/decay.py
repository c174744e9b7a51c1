r"""Derivation of Theorem 4.8: one step, the range of ``rho``, and ``N`` steps by induction."""

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, positives, reals
from steinlab.claims.derivations.coefficient import schwarz
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

u, x, x_star, miss = reals("u x x_star miss")
gamma_star, rho, eta, N = reals("gamma_star rho eta N")
err_0, err_n, err_next = positives("Err_0 Err_N Err_N+1")
product, rho_next, power = reals("prod_N rho_N+1 (1-eta)^N")

RHO = E(u * miss) ** 2 / (E(u**2) * E(miss**2))

ZERO, ONE = sp.Integer(0), sp.Integer(1)


def error_decay() -> Proof:
    """``Err_next = (1 - rho) Err``, ``rho in [0, 1]``, and over ``N`` steps.

    ``prod_N`` is the product of ``1 - rho_k`` over the first ``N`` steps; the errors count from
    the data, as in the theorem: ``Err_0`` is the last one reached.
    """
    rest, cauchy = schwarz(u, miss)
    return Proof(
        Algebra(
            vectors=(u, miss, x_star),
            moving=(u, miss),
            definitions=((gamma_star, E(u * miss) / E(u**2)), (rho, RHO), (x, x_star + miss)),
        ),
        premises=(
            rest,
            Premise("hypothesis", "induction", err_0, product * err_n),
            Premise("next step", "every-step", err_n, (1 - rho_next) * err_next),
            Premise("next range", "every-step", rho_next, ONE, AT_MOST),
            Premise("product is nonnegative", "induction", ZERO, product, AT_MOST),
            Premise("hypothesis of the bound", "induction", product, power, AT_MOST),
            Premise("eta is a lower bound", "eta", eta, rho_next, AT_MOST),
        ),
        steps=(*_one_step(cauchy), *_many_steps()),
    )


def _one_step(cauchy: Step) -> tuple[Step, ...]:
    corrected = E((x - gamma_star * u - x_star) ** 2)
    return (
        Step(
            "decay",
            corrected,
            (1 - rho) * E((x - x_star) ** 2),
            by=("linearity", "moving", "error"),
        ),
        Step("rho is nonnegative", ZERO, rho, ((rho,),), AT_MOST, by=("moving", "error")),
        cauchy,
        Step(
            "rho is at most 1",
            rho,
            ONE,
            ((1 / (E(u**2) * E(miss**2)), cauchy.name),),
            AT_MOST,
            by=("moving", "error"),
        ),
        Step(
            "no increase", corrected, E(miss**2), ((rho * E(miss**2),),), AT_MOST, by=("linearity",)
        ),
    )


def _many_steps() -> tuple[Step, ...]:
    """The step of the induction from ``N`` to ``N + 1``; at ``N = 0`` both products are 1."""
    none = {product: ONE, err_n: err_0}
    return (
        Step("no step", product * err_n, err_0, given=none),
        Step("no step, bound", product, (1 - eta) ** N, given={**none, N: ZERO}),
        Step(
            "telescoping",
            err_0,
            product * (1 - rho_next) * err_next,
            ((1, "hypothesis"), (product, "next step")),
        ),
        Step(
            "product stays nonnegative",
            ZERO,
            product * (1 - rho_next),
            ((1, "product is nonnegative", "next range"),),
            AT_MOST,
        ),
        Step(
            "eta is at most 1", eta, ONE, ((1, "eta is a lower bound"), (1, "next range")), AT_MOST
        ),
        Step(
            "bound",
            product * (1 - rho_next),
            power * (1 - eta),
            (
                (1, "hypothesis of the bound", "eta is at most 1"),
                (1, "product is nonnegative", "eta is a lower bound"),
            ),
            AT_MOST,
        ),
        Step(
            "error within the bound",
            err_0,
            power * err_n,
            ((err_n, "hypothesis of the bound"), (1, "hypothesis")),
            AT_MOST,
        ),
    )
