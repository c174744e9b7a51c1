"""Whatever broadcasts is right or refused: states, levels, laws and covariances of every shape."""

from __future__ import annotations

import itertools
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from tests.analytic.laws import FORMS, mixture

METHODS = ("denoise", "score", "log_prob", "divergence", "posterior_variance", "jacobian")
SMALL = st.integers(1, 3)
LIKELY = ("", "11", "N1", "C11", "CN1", "1N1", "N", "d", "K", "Nd", "K1")
LEVELS = st.sampled_from(LIKELY).map(list) | st.lists(st.sampled_from("1NCdK"), max_size=4)


def test_a_level_a_state_with_one_component() -> None:
    """The levels were taken for those of the component."""
    law = GaussianMixture([1.0], [0.0], 0.25)
    x, sigma = np.array([[1.0], [-2.0]]), np.array([[0.5], [3.5]])
    expected = [law(x[i], NoiseLevel(1.0, float(sigma[i, 0]))) for i in range(2)]
    np.testing.assert_allclose(law(x, NoiseLevel(1.0, sigma)), expected, rtol=1e-15)
    np.testing.assert_allclose(expected, [[0.5], [-2.0 * 0.25 / 12.5]], rtol=1e-15)


@given(
    st.tuples(st.sampled_from(FORMS), st.integers(0, 99)),
    st.tuples(SMALL, SMALL, SMALL, SMALL),
    st.sampled_from(["", "C"]),
    st.sampled_from(["d", "Nd", "CNd"]),
    LEVELS,
)
def test_a_result_is_the_loop_over_states_or_a_refusal(
    kind: tuple[str, int], sizes: tuple[int, ...], stack: str, states: str, level: list[str]
) -> None:
    """Sizes of 1 to 3 often agree by chance, as N = K did when it went wrong."""
    form, seed = kind
    size: dict[str, int] = {**dict(zip("CNKd", sizes, strict=True)), "1": 1}
    law = mixture(form, k=size["K"], d=size["d"], seed=seed, stack=tuple(size[s] for s in stack))
    rng = np.random.default_rng(seed)
    x = rng.standard_normal([size[s] for s in states])
    shape = [size[s] for s in level]
    at = NoiseLevel(rng.uniform(0.3, 1.0, shape), rng.uniform(0.3, 2.0, shape))
    fits = not shape or (len(shape) == max(x.ndim, 2) and shape[-1] == 1)
    rows = x[None] if x.ndim == 1 else x
    fits = fits and all(n in (1, m) for n, m in zip(shape, rows.shape, strict=False))
    if stack:
        fits = fits and rows.ndim == 3 and size["C"] in (1, rows.shape[0])
    for name in METHODS:
        method = getattr(law, name)
        if not fits:
            with pytest.raises(ValueError, match=re.escape(str(rows.shape))):
                method(x, at)
            continue
        got = method(x, at)
        assert got.shape[: x.ndim - 1] == x.shape[:-1]
        for index in itertools.product(*map(range, rows.shape[:-1])):
            own = [np.broadcast_to(v, (*rows.shape[:-1], 1))[index] for v in (at.alpha, at.sigma)]
            one = law.take(index[0] % size["C"]) if stack else law
            alone = getattr(one, name)(rows[index], NoiseLevel(*(float(v[0]) for v in own)))
            whole = got[None] if x.ndim == 1 else got
            np.testing.assert_allclose(whole[index], alone, rtol=1e-11, atol=1e-12)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("method", METHODS)
def test_a_level_a_state(form: str, method: str) -> None:
    """As many states as components and dimensions."""
    law, rng = mixture(form, k=3, d=3), np.random.default_rng(0)
    x, alpha, sigma = rng.standard_normal((3, 3)), rng.uniform(0.3, 1, 3), rng.uniform(0.3, 2, 3)
    got = getattr(law, method)(x, NoiseLevel(alpha[:, None], sigma[:, None]))
    levels = [NoiseLevel(*map(float, pair)) for pair in zip(alpha, sigma, strict=True)]
    alone = [getattr(law, method)(*pair) for pair in zip(x, levels, strict=True)]
    np.testing.assert_allclose(got, alone, rtol=1e-12, atol=1e-13)


def test_states_and_levels_that_do_not_fit_are_named() -> None:
    law = GaussianMixture([0.5, 0.5], [[0.0, 0.0], [1.0, 1.0]], 0.25)
    x = np.zeros((2, 2))
    with pytest.raises(ValueError, match=r"^sigma must be a number or \(2, 1\), up to ones, for"):
        law(x, NoiseLevel(1.0, np.ones(2)))
    with pytest.raises(ValueError, match=r"for states \(2, 2\), got \(2, 2\)$"):
        law(x, NoiseLevel(np.ones((2, 2)), 1.0))
    stack = mixture("one", stack=(3,))
    with pytest.raises(ValueError, match=r"^x must have shape \(3, 'N', 2\) for a stack \(3,\)"):
        stack(x, NoiseLevel(1.0, 1.0))
    with pytest.raises(ValueError, match="level must hold numbers"):
        EmpiricalMixture(x)(x, NoiseLevel(1.0, np.ones((2, 1))))


@pytest.mark.parametrize("law", [mixture("one"), EmpiricalMixture(np.ones((3, 2)), 0.1)])
@pytest.mark.parametrize("method", METHODS)
def test_integer_states_are_refused(law: Any, method: str) -> None:
    with pytest.raises(ValueError, match=r"^x must have a real floating dtype, got int64"):
        getattr(law, method)(np.zeros((4, 2), dtype=int), NoiseLevel(1.0, 1.0))


def test_a_matrix_for_as_many_components_as_dimensions_is_refused() -> None:
    """It was read as diagonals: the two variances of each component."""
    means = [[0.0, 0.0], [1.0, 1.0]]
    matrix = np.array([[1.0, 0.5], [0.5, 2.0]])
    with pytest.raises(ValueError, match=r"may be diagonals or one matrix: give full matrices"):
        GaussianMixture([0.5, 0.5], means, matrix)
    both = GaussianMixture([0.5, 0.5], means, np.broadcast_to(matrix, (2, 2, 2)))
    np.testing.assert_allclose(both.spectra, np.linalg.eigvalsh(matrix) * np.ones((2, 1)))
    GaussianMixture([0.5, 0.5], means, matrix[:, :, None] * np.eye(2))  # the same as diagonals
    # no covariance: not symmetric, or of eigenvalue 0
    for diagonals in ([[1.0, 0.5], [0.25, 2.0]], [[0.5, 0.5], [0.5, 0.5]]):
        assert GaussianMixture([0.5, 0.5], means, diagonals).basis is None
    for bad in (np.nan, np.inf, -0.5, 0.0):
        with pytest.raises(ValueError, match=r"^covariances must be"):
            GaussianMixture([0.5, 0.5], means, bad)
