"""A potential's terms, gradients and second derivatives are those of its value."""

from __future__ import annotations

import numpy as np
import pytest

from analytic.iterates.potentials import Potential

RNG = np.random.default_rng(5)
POTENTIAL = Potential(RNG.standard_normal(8), RNG.standard_normal((3, 2)), 0.7)
Z = RNG.standard_normal((6, 2))


def test_the_value_is_by_hand() -> None:
    (p, q, aa, ab, bb), heights = POTENTIAL.coefficients[:5], POTENTIAL.coefficients[5:]
    for (a, b), value in zip(Z, POTENTIAL.at(Z)[0], strict=True):
        gaps = ((np.array([a, b]) - POTENTIAL.centers) ** 2).sum(axis=1)
        bumps = 0.49 * np.exp(-gaps / (2 * 0.49)) @ heights
        expected = p * a + q * b + aa * a * a / 2 + ab * a * b + bb * b * b / 2 + bumps
        assert value == pytest.approx(expected, rel=1e-13)


def test_terms_and_gradients_add_up() -> None:
    value, slope, _ = POTENTIAL.at(Z)
    np.testing.assert_allclose(POTENTIAL.features(Z) @ POTENTIAL.coefficients, value, rtol=1e-13)
    np.testing.assert_allclose(
        (POTENTIAL.gradients(Z) @ POTENTIAL.coefficients).T, slope, rtol=1e-12
    )


def test_derivatives_are_differences() -> None:
    _, slope, second = POTENTIAL.at(Z)
    for axis, step in enumerate(1e-5 * np.eye(2)):
        above, below = POTENTIAL.at(Z + step), POTENTIAL.at(Z - step)
        np.testing.assert_allclose((above[0] - below[0]) / 2e-5, slope[:, axis], atol=1e-8)
        bend = (above[1] - below[1]) / 2e-5 + np.eye(2)[axis]
        np.testing.assert_allclose(bend, second[:, axis], atol=1e-8)
