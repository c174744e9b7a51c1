"""Second evaluators on arrays of boxes against the balls, and what they leave to them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analytic.certified.intervals import Intervals
from steinlab.verification.continuum import certificate
from steinlab.verification.continuum.search import OPEN, PROVED, REFUTED, Node, Search
from steinlab.verification.continuum.statement import load_statement, read_box, statement_ids

pytest.importorskip("flint")
second_posterior = pytest.importorskip("steinlab.claims.continua.second_posterior")

NAMES = [name for name in statement_ids() if load_statement(name).second_on is not None]
HELD = {
    "coefficient-vp-euler": ("threshold=1", "threshold=10", "threshold=1000", "threshold=1:3"),
    "conditioning-vp-euler": ("alpha=1e-8:0.05", "threshold=0.05:0.2"),
}


def test_there_are_some() -> None:
    assert sorted(HELD) == NAMES


BOUNDED = 1e9
"""Of larger bounds nothing is beside: the power may be 0 there."""


def leaves_of(name: str, text: str, budget: int = 2000) -> list[Node]:
    statement = load_statement(name)
    search = Search(statement, read_box(statement, text))
    for _ in search.run(budget):
        pass
    return [leaf for leaf in search.root.leaves() if leaf.mark != OPEN]


def on(name: str, leaves: list[Node]) -> tuple[Intervals, Intervals]:
    statement = load_statement(name)
    assert statement.second_on is not None
    low, high = (np.array([getattr(leaf, end) for leaf in leaves]) for end in ("low", "high"))
    axes = [i for i in range(low.shape[1]) if leaves[0].box[i][0] < leaves[0].box[i][1]]
    with np.errstate(all="ignore"):
        margin, power, effects = statement.second_on(low, high, axes)
    assert effects.shape == (len(leaves), len(axes))
    return margin, power


CASES = [(name, text) for name in NAMES for text in HELD[name]]


@pytest.mark.parametrize(("name", "text"), CASES)
def test_both_enclose_the_same(name: str, text: str) -> None:
    """At middles of leaves both are narrow, and share a number; so do they on the leaves."""
    statement = load_statement(name)
    rng = np.random.default_rng(0)
    every = leaves_of(name, text)
    leaves = [every[i] for i in rng.choice(len(every), 40, replace=False)]
    points = [Node.root(tuple(((a + b) / 2,) * 2 for a, b in leaf.box)) for leaf in leaves]
    assert statement.second_on is not None
    low, high = (np.array([getattr(at, end) for at in points]) for end in ("low", "high"))
    made: list[tuple[list[Node], Any]] = [
        (points, statement.second_on(low, high, [0, 1, 2])[:2]),
        (leaves, on(name, leaves)),
    ]
    for nodes, found in made:
        for i, node in enumerate(nodes):
            for one, exact in zip(found, certificate.second(statement, node.box), strict=True):
                if exact.is_finite() and np.isfinite(one.low[i]):
                    assert not exact > float(one.high[i])
                    assert not exact < float(one.low[i])
    margin, power = made[0][1]
    size = np.maximum(np.abs(margin.low), 1)
    assert np.median((margin.high - margin.low) / size) < 1e-4
    assert (power.low > 0).mean() > 0.9


def test_the_table_holds_the_sums_between_its_numbers() -> None:
    rng = np.random.default_rng(0)
    mu = np.r_[0.0, second_posterior.STEP, 6.0, 6.1, 9.0, rng.uniform(0, 6, 60), 1e-3, 1e-9]
    found = second_posterior.posterior(Intervals(mu, mu))
    for i, at in enumerate(mu.tolist()):
        with certificate_precision():
            exact = second_posterior.posterior(flint_number(at))
        assert not exact > float(found.high[i])
        assert not exact < float(found.low[i])
    assert (found.high - found.low).max() < 1e-6
    assert (1 - found.low[-2]) / 1e-6 == pytest.approx(1, abs=1e-4)


def test_the_table_on_wide_intervals() -> None:
    """``Q`` falls: its ends, and the slope's at the ends of ``-2 mu R``."""
    low, high = np.array([-1e-300, 0.2, 1.0, 5.9, 7.0]), np.array([0.3, 0.21, 9.0, 100.0, 1e9])
    one = np.ones((1, 1))
    found = second_posterior.posterior(Intervals(low, high, Intervals(one, one)))
    assert found.slope is not None
    for share in (0.0, 0.3, 1.0):
        mu = np.minimum(np.maximum(low + (high - low) * share, 0), 8.0)
        mu = np.maximum(mu, low)
        step = 1e-4
        at = second_posterior.posterior(Intervals(mu, mu))
        above, below = (
            second_posterior.posterior(Intervals(x, x)) for x in (mu + step, np.abs(mu - step))
        )
        assert (found.low <= at.high).all()
        assert (at.low <= found.high).all()
        quotient = (above.low - below.high) / (2 * step)
        slip = 1e-6 / step
        assert (found.slope.low[0] - slip <= quotient).all()
        assert (quotient <= found.slope.high[0] + slip).all()
    assert found.high[1] - found.low[1] < 0.01
    with np.errstate(invalid="ignore"):
        unknown = second_posterior.posterior(Intervals(*np.full((2, 1), np.nan)))
    assert unknown.low[0] <= 0
    assert unknown.high[0] >= 1


def certificate_precision() -> Any:
    from analytic.certified.balls import precision

    return precision(certificate.BITS)


def flint_number(value: float) -> Any:
    from analytic.certified.series import number

    return number(value)


@pytest.mark.parametrize(("name", "text"), CASES)
def test_they_bear_out_what_was_searched(name: str, text: str) -> None:
    leaves = leaves_of(name, text)
    assert len(leaves) > 100
    left = certificate.left_by_arrays(load_statement(name), leaves)
    assert len(left) <= 0.02 * len(leaves)


@pytest.mark.parametrize(("name", "text"), CASES)
def test_they_leave_what_is_false_to_the_balls(name: str, text: str) -> None:
    """Every other leaf is flipped, or has bounds beside its value: those are left.

    What is flipped the balls refuse. They may accept wrong bounds where they are too wide to tell.
    """
    statement, leaves = load_statement(name), leaves_of(name, text)
    flipped, moved = leaves[1::4], [leaf for leaf in leaves[3::4] if leaf.bounds[1] < BOUNDED]
    moved = [leaf for leaf in moved if leaf.bounds[0] > -BOUNDED]
    assert min(len(flipped), len(moved)) > 5
    for leaf in flipped:
        leaf.mark = REFUTED if leaf.mark == PROVED else PROVED
        leaf.bounds = (-leaf.bounds[1], -leaf.bounds[0])
    for leaf in moved:
        beside = 1e3 * (abs(leaf.bounds[1]) + 1)
        leaf.bounds = (beside - 1, beside)
    left = {id(one) for one in certificate.left_by_arrays(statement, leaves)}
    assert all(id(leaf) in left for leaf in flipped + moved)
    for leaf in flipped[:6]:
        with pytest.raises(certificate.CertificateError, match="a leaf"):
            certificate._prove(statement, leaf)


def test_what_no_arrays_can_prove_is_left_after_the_last_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    name, text = CASES[0]
    leaves = leaves_of(name, text)
    monkeypatch.setattr(certificate, "CUTS", 0)
    left = certificate.left_by_arrays(load_statement(name), leaves)
    assert 0 < len(left) < len(leaves)
