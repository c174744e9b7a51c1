"""Where the checks of a law's parameters draw the line, and what they report of a stack."""

from __future__ import annotations

import numpy as np
import pytest

from analytic.parameters import components, factor, finite


def test_the_sum_of_weights_may_be_off_by_rounding() -> None:
    for off in (0.5e-12, -0.5e-12):
        weights, _ = components([0.5, 0.5 + off], [0.0, 1.0])
        assert weights[1] == 0.5 + off
    for off in (2e-12, -2e-12):
        with pytest.raises(ValueError, match=r"weights must sum to 1, got a sum of (1\.0|0\.9)"):
            components([0.5, 0.5 + off], [0.0, 1.0])


@pytest.mark.parametrize("bad", [0, 1, 2])
def test_the_worst_sum_of_a_stack_is_named(bad: int) -> None:
    weights = np.array([[0.5, 0.5], [0.25, 0.75], [0.125, 0.875]])
    weights[bad, 0] -= 0.0625
    weights[(bad + 1) % 3, 0] += 1e-6
    with pytest.raises(ValueError, match=r"weights must sum to 1, got a sum of 0\.9375"):
        components(weights, np.zeros((3, 2)))


def test_means_get_an_axis_only_in_one_dimension() -> None:
    for shape in ((2,), (3, 2)):
        weights = np.full(shape, 0.5)
        assert components(weights, np.zeros(shape))[1].shape == (*shape, 1)
        assert components(weights, np.zeros((*shape, 4)))[1].shape == (*shape, 4)
        with pytest.raises(ValueError, match="means must hold one mean per weight: 2 weights"):
            components(weights, np.zeros((*shape[:-1], 3, 4)))
    assert components([1.0], [[1.0, 2.0]])[1].tolist() == [[1.0, 2.0]]
    with pytest.raises(ValueError, match="weights must hold at least one component, got 1"):
        components(1.0, [0.0])
    with pytest.raises(ValueError, match="weights must hold at least one component"):
        components(np.zeros((2, 0)), np.zeros((2, 0)))


def test_the_first_value_that_is_not_finite_is_named() -> None:
    with pytest.raises(ValueError, match="means must be finite, got inf"):
        finite("means", [[1.0, 2.0], [np.inf, np.nan]])
    assert finite("means", [1, 2]).dtype == np.float64


def test_symmetry_is_relative_to_the_largest_entry() -> None:
    large = np.array([[[3e6, 1e6], [1e6 + 1e-6, 2e6]]])
    spectra, basis = factor(large, (1,), 2)
    assert basis is not None
    turned = basis[0] @ np.diag(spectra[0]) @ basis[0].T
    np.testing.assert_allclose(turned, large[0], rtol=1e-11)
    for skew in (1e-5, -1e-5):
        bad = np.array([[[3e6, 1e6], [1e6 + skew, 2e6]]])
        with pytest.raises(
            ValueError, match=r"covariances must be symmetric, got .* of (9|1)\.\d+e"
        ):
            factor(bad, (1,), 2)


def test_a_variance_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match=r"positive definite, got the eigenvalue 0\.0"):
        factor(np.array([1.0, 0.0]), (2,), 1)
    assert factor(np.array([1.0, 1e-300]), (2,), 1)[0].tolist() == [[1.0], [1e-300]]


def test_every_form_gives_its_spectra() -> None:
    spectra, basis = factor(np.array(0.5), (3,), 2)
    assert (spectra.tolist(), basis) == ([[0.5]] * 3, None)
    spectra, basis = factor(np.array([0.5, 1.0, 2.0]), (3,), 2)
    assert (spectra.tolist(), basis) == ([[0.5], [1.0], [2.0]], None)
    diagonal = np.arange(1.0, 7.0).reshape(3, 2)
    spectra, basis = factor(diagonal, (3,), 2)
    assert (spectra.tolist(), basis) == (diagonal.tolist(), None)
    spectra, basis = factor(np.diag([1.0, 3.0])[None], (1,), 2)
    assert spectra.tolist() == [[1.0, 3.0]]
    assert basis is not None
    message = r"one number, or of shape \(3,\), \(3, 2\) or \(3, 2, 2\), got \(2, 3\)"
    with pytest.raises(ValueError, match=message):
        factor(np.ones((2, 3)), (3,), 2)
    with pytest.raises(ValueError, match=r"covariances must be one number, .* got \(2,\)"):
        factor(np.ones(2), (3,), 2)


def test_the_sum_that_is_farthest_from_one_is_named() -> None:
    with pytest.raises(ValueError, match=r"weights must sum to 1, got a sum of 0\.5"):
        components([[0.3, 0.2], [0.6, 0.6]], np.zeros((2, 2)))
    with pytest.raises(ValueError, match=r"weights must sum to 1, got a sum of 1\.8"):
        components([[0.3, 0.5], [0.9, 0.9]], np.zeros((2, 2)))
