"""The phi functions against mpmath, and interpolatory weights against exact integrals."""

from __future__ import annotations

import math
from fractions import Fraction

import mpmath as mp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from steinlab.solvers.phi import decaying_moments, interpolatory, phis

ROUNDING = 64 * np.finfo(float).eps
"""Relative error allowed to ``phi_4``: about 30 units just above the switch of formulas."""

MAGNITUDES = (0.0, 1e-300, 1e-12, 1e-6, 1e-3, 0.1, 0.99, 1.0, 1.01, 2.0, 5.0, 12.0)


def reference(k: int, z: float) -> float:
    with mp.workdps(60):
        return float(
            mp.nsum(lambda n: mp.mpf(z) ** n / mp.factorial(n + k), [0, mp.inf], method="d")
        )


@pytest.mark.parametrize("z", [sign * m for m in MAGNITUDES for sign in (-1.0, 1.0)])
def test_phi_functions(z: float) -> None:
    for k, value in enumerate(phis(4, z), start=1):
        assert value == pytest.approx(reference(k, z), rel=ROUNDING, abs=0)


def test_arrays_agree_with_floats() -> None:
    z = np.array([-m for m in MAGNITUDES])
    stacked = phis(4, z)
    for i, one in enumerate(z):
        single = phis(4, float(one))
        np.testing.assert_allclose([values[i] for values in stacked], single, rtol=ROUNDING)


@given(st.floats(1e-8, 20.0))
def test_decaying_moments_are_integrals(h: float) -> None:
    with mp.workdps(30):
        for k, value in enumerate(decaying_moments(h, 3)):
            integral = mp.quad(lambda c, k=k: h * mp.exp(-h * (1 - c)) * c**k, [0, 0.5, 1])
            assert value == pytest.approx(float(integral), rel=1e-12)


@given(st.lists(st.floats(0.1, 3.0), min_size=1, max_size=4))
def test_weights_integrate_polynomials_exactly(gaps: list[float]) -> None:
    exact = [Fraction(0)]
    for gap in gaps[1:]:
        exact.append(exact[-1] - Fraction(gap))
    moments = [Fraction(1, k + 1) for k in range(len(exact))]
    rational = interpolatory(exact, moments)
    for k, moment in enumerate(moments):
        total = sum((w * c**k for w, c in zip(rational, exact, strict=True)), Fraction(0))
        assert total == moment
    floats = interpolatory([float(c) for c in exact], [float(m) for m in moments])
    scale = math.fsum(abs(w) for w in rational)
    assert floats == pytest.approx([float(w) for w in rational], abs=1e-12 * scale)
