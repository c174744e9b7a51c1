"""A law that remembers gives the same numbers, evaluates once, and forgets in time."""

from __future__ import annotations

import numpy as np
import pytest

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.memory import LATEST, remembering

LEVEL = NoiseLevel(0.8, 0.6)
LAWS = {
    "mixture": GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.0, 2.0]], [0.2, 0.5]),
    "data": EmpiricalMixture(np.array([[-1.0, 0.5], [1.0, 2.0], [0.0, 0.0]]), 0.1),
}


def counted(law):
    """Return the law with a list of the calls of its posterior."""
    calls, plain = [], law._posterior

    def posterior(x, level, *plan):
        calls.append(x)
        return plain(x, level, *plan)

    object.__setattr__(law, "_posterior", posterior)
    return calls


@pytest.fixture(params=LAWS)
def law(request):
    yield LAWS[request.param]
    vars(LAWS[request.param]).pop("_posterior", None)


def test_numbers_are_the_same_and_the_posterior_is_evaluated_once(law):
    x = np.random.default_rng(0).standard_normal((5, 2))
    t = np.ones_like(x)
    expected = [law(x, LEVEL), *law.moments(x, LEVEL), law.score(x, LEVEL), law.jvp(x, LEVEL, t)]
    calls = counted(law)
    kept = remembering(law)
    got = [kept(x, LEVEL), *kept.moments(x.copy(), LEVEL), kept.score(x, LEVEL)]
    got.append(kept.jvp(x, NoiseLevel(0.8, 0.6), t))
    assert len(calls) == 1
    for a, b in zip(got, expected, strict=True):
        np.testing.assert_array_equal(a, b)


def test_other_states_and_levels_are_other_evaluations(law):
    x = np.zeros((1, 2))
    calls = counted(law)
    kept = remembering(law)
    for states, level in ((x, LEVEL), (x + 1e-16, LEVEL), (x, NoiseLevel(0.8, 0.5))):
        kept(states, level)
    assert len(calls) == 3
    for i in range(LATEST):
        kept(x + i + 1, LEVEL)
    kept(x, LEVEL)
    assert len(calls) == 4 + LATEST


def test_a_law_of_another_kind_is_left_alone(law):
    other = object()
    assert remembering(other) is other
    kept = remembering(law)
    assert remembering(kept) is kept


def test_a_state_in_another_dtype_is_another_state() -> None:
    law, level = remembering(GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.25)), NoiseLevel(1.0, 1.0)
    for dtype in (np.float64, np.float32, np.float64):
        assert law(np.zeros((3, 1), dtype=dtype), level).dtype == dtype
