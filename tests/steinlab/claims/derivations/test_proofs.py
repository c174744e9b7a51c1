"""The checker: what it accepts, and every way a certificate can fail."""

import numpy as np
import pytest
import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, E, Normal, positives, reals
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step, corrupted, gap

a, b, s = reals("a b s")
u, v = reals("u v")
p, q = positives("p q")
ALGEBRA = Algebra(vectors=(u, v), scalars=(s,), moving=(u,), definitions=((b, u + 2 * v),))
BOUND = Premise("bound", "words", a, p, AT_MOST)
EQUATION = Premise("equation", "words", E(u * v), p)


def reason(*steps, positive=()):
    proof = Proof(ALGEBRA, steps, (BOUND, EQUATION), positive)
    return gap(proof, len(steps) - 1)


def test_the_expectation_is_linear():
    mean = sp.Symbol
    out = ALGEBRA.resolve(E((p * u - v) ** 2 + a * s + 3))
    uu, vv = mean("E<u,u>", positive=True), mean("E<v,v>", nonnegative=True)
    uv, single = mean("E<u,v>", real=True), mean("E<s>", real=True)
    assert sp.expand(out - (p**2 * uu - 2 * p * uv + vv + a * single + 3)) == 0


def test_the_expectation_agrees_with_sample_means():
    rng = np.random.default_rng(0)
    values = {u: rng.standard_normal((50, 3)), v: rng.standard_normal((50, 3))}
    resolved = ALGEBRA.resolve(E(b * (u - 3 * v)))
    means = {
        ALGEBRA.moment((f, g)): float((values[f] * values[g]).sum(-1).mean())
        for f, g in ((u, u), (u, v), (v, v))
    }
    left, right = values[u] + 2 * values[v], values[u] - 3 * values[v]
    assert float(resolved.subs(means)) == pytest.approx((left * right).sum(-1).mean(), rel=1e-13)


def test_expectations_nest():
    out = ALGEBRA.resolve(E((E(u**2) * v - E(u * v) * u) ** 2))
    uu, vv = ALGEBRA.moment((u, u)), ALGEBRA.moment((v, v))
    assert sp.expand(out - uu * (uu * vv - ALGEBRA.moment((u, v)) ** 2)) == 0


@pytest.mark.parametrize("bad", [u, u * s, s**2, u**3, u**2 * v**2])
def test_only_inner_products_and_single_scalars_have_expectations(bad):
    with pytest.raises(ValueError, match="E must hold inner products or single scalars"):
        ALGEBRA.resolve(E(bad))


def test_normal_moments():
    moments = [ALGEBRA.resolve(Normal(a**n, a)) for n in range(9)]
    assert moments == [1, 0, 1, 0, 3, 0, 15, 0, 105]


def test_identities_and_certificates_hold():
    assert reason(Step("definition", b, u + 2 * v)) == ""
    assert reason(Step("equation used", 2 * E(u * v) + 1, 2 * p + 1, ((2, "equation"),))) == ""
    assert reason(Step("bound used", q * a, q * p, ((q, "bound"),), AT_MOST)) == ""
    assert reason(Step("product", 0, (p - a) ** 2, ((1, "bound", "bound"),), AT_MOST)) == ""
    first = Step("first", E(u * v) + a, p + a, ((1, "equation"),))
    assert reason(first, Step("second", E(u * v), p, ((1, "first"),))) == ""


def test_a_step_that_is_not_true_has_a_gap():
    assert "does not simplify" in reason(Step("false", u, v))
    assert "does not simplify" in reason(
        Step("multiplier", 2 * E(u * v), 2 * p, ((1, "equation"),))
    )


def test_only_axioms_and_earlier_steps_are_facts():
    assert "no earlier step" in reason(Step("own", u, v, ((1, "own"),)))
    later = Step("later", p, p)
    proof = Proof(ALGEBRA, (Step("early", p, p, ((1, "later"),)), later))
    assert "no earlier step" in gap(proof, 0)


def test_inequalities_need_nonnegative_multipliers_and_prove_no_equation():
    assert "nonnegative" in reason(Step("sign", a * p, a**2, ((-a, "bound"),), AT_MOST))
    assert "nonnegative" in reason(Step("negative", p, a, ((-1, "bound"),), AT_MOST))
    assert "prove an equation" in reason(Step("equation", a, p, ((1, "bound"),)))
    assert "nonnegative" in reason(Step("no fact", 0, a, ((a,),), AT_MOST))


def test_nothing_that_may_vanish_is_divided_by():
    step = Step("division", a / a**2, 1 / a)
    assert "may vanish" in reason(step)
    assert reason(step, positive=(a,)) == ""
    assert "may vanish" in reason(Step("difference", p / (p - q), p / (p - q)))
    assert reason(Step("difference", p / (p - q), p / (p - q)), positive=(q - p,)) == ""
    assert "may vanish" in reason(Step("multiplier", E(u * v) / a, p / a, ((1 / a, "equation"),)))
    assert reason(Step("moving", 1 / E(u**2), 1 / E(u**2))) == ""
    assert "may vanish" in reason(Step("still", 1 / E(v**2), 1 / E(v**2)))


def test_roots_need_a_right_side_that_is_not_negative():
    square = Step("square", a**2, p**2, ((1, "bound2"),), AT_MOST)
    premises = (Premise("bound2", "words", a**2, p**2, AT_MOST),)
    for right, ok in ((p, True), (-p, False)):
        root = Step("root", sp.Abs(a), right, ((1, "square"),), AT_MOST, squared=True)
        assert (gap(Proof(ALGEBRA, (square, root), premises), 1) == "") is ok


def test_limits_cancel_first_and_are_no_facts():
    limit = Step("limit", ((1 + p) ** 2 - 1) / p, 2, at={p: 0})
    assert reason(limit) == ""
    assert "limit does not exist" in reason(Step("pole", 1 / p, 0, at={p: 0}))
    assert "limit and no fact" in reason(limit, Step("use", p, p, ((0, "limit"),)))


def test_special_values_of_a_fact_stay_with_it():
    special = Step("special", a * b, b, given={a: sp.Integer(1)})
    assert reason(special) == ""
    assert "does not simplify" in reason(special, Step("general", a * b, b, ((1, "special"),)))


def test_corruption_changes_a_side_that_is_not_zero():
    assert corrupted(Step("right", p, q), -1).right == -q
    assert corrupted(Step("left", p - p, 0), 2).right == 0
    assert corrupted(Step("left", p, 0), 2).left == 2 * p
