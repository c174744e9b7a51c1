from __future__ import annotations

import subprocess
import sys
import tracemalloc
from typing import Any

import array_api_strict
import mpmath as mp
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from tests.analytic.laws import LEVEL

METHODS = ("log_prob", "score", "denoise", "divergence", "posterior_variance", "jacobian")
EPS = float(np.finfo(np.float64).eps)


def data(n: int = 30, d: int = 3, seed: int = 0, offset: float = 0.0) -> np.ndarray:
    return offset + np.random.default_rng(seed).standard_normal((n, d))


def close(actual: Any, expected: Any, tolerance: float = 1e-12) -> None:
    expected = np.asarray(expected)
    scale = max(1.0, float(np.abs(expected).max()))
    np.testing.assert_allclose(np.asarray(actual), expected, rtol=0, atol=tolerance * scale)


def exact(rows: np.ndarray, b: float, x: np.ndarray, level: NoiseLevel) -> tuple[Any, ...]:
    """``log p``, ``D`` and ``V`` at one state with 80 digits, from the definition."""
    with mp.workdps(80):
        a, s2, b2 = mp.mpf(level.alpha), mp.mpf(level.sigma) ** 2, mp.mpf(b) ** 2
        v = a**2 * b2 + s2
        state = [mp.mpf(c) for c in x.tolist()]
        atoms = [[mp.mpf(c) for c in row] for row in rows.tolist()]
        terms = [
            mp.exp(-mp.fsum((xi - a * mi) ** 2 for xi, mi in zip(state, m, strict=True)) / (2 * v))
            for m in atoms
        ]
        total, d = mp.fsum(terms), len(state)
        mean = [
            mp.fsum(t * m[j] for t, m in zip(terms, atoms, strict=True)) / total for j in range(d)
        ]
        spread = (
            mp.fsum(
                t * (mi - me) ** 2
                for t, m in zip(terms, atoms, strict=True)
                for mi, me in zip(m, mean, strict=True)
            )
            / total
        )
        denoised = [float((s2 * m + a * b2 * xi) / v) for m, xi in zip(mean, state, strict=True)]
        log_prob = mp.log(total / len(atoms)) - d * mp.log(2 * mp.pi * v) / 2
        variance = (s2 / v) ** 2 * spread + d * b2 * s2 / v
        return float(log_prob), np.array(denoised), float(variance), float(a / s2 * variance)


@given(
    st.integers(1, 12),
    st.integers(1, 4),
    st.integers(0, 999),
    st.floats(0.05, 2.0),
    st.builds(NoiseLevel, st.floats(0.05, 1.0), st.sampled_from([0.0, 0.1, 1.0, 20.0])),
)
def test_it_is_the_mixture_of_equal_weights(
    n: int, d: int, seed: int, bandwidth: float, level: NoiseLevel
) -> None:
    rows = data(n, d, seed)
    law = EmpiricalMixture(rows, bandwidth)
    twin = GaussianMixture(np.full(n, 1 / n), rows, bandwidth**2)
    rng = np.random.default_rng(seed)
    x = (level.sigma + 1) * rng.standard_normal((5, d))
    tangent = rng.standard_normal((2, 5, d))
    v = (level.alpha * bandwidth) ** 2 + level.sigma**2
    tolerance = 1e-13 + 8 * EPS * np.abs(x).max() * np.linalg.norm(rows, axis=1).max() * d / v
    for name in METHODS:
        close(getattr(law, name)(x, level), getattr(twin, name)(x, level), tolerance)
    close(law.jvp(x, level, tangent), twin.jvp(x, level, tangent), tolerance)
    close(law.mean(), twin.mean())
    close(law.second_moment(), twin.second_moment())
    close(law.variance(), twin.variance())
    assert law.smallest_variance == twin.smallest_variance


@pytest.mark.parametrize("bandwidth", [0.0, 1e-3])
@pytest.mark.parametrize("gap", [6.0, 10.0, 16.0])
def test_a_posterior_of_nearly_one_point_keeps_its_digits(bandwidth: float, gap: float) -> None:
    rows = data(20, 3, offset=1.0)
    level = NoiseLevel(1.0, 0.05)
    order = np.argsort(np.linalg.norm(rows - rows[0], axis=1))
    v = bandwidth**2 + level.sigma**2
    # from the watershed to the nearest neighbour, moved until the log odds are gap^2 / 2
    away = rows[0] - rows[order[1]]
    distance = float(np.linalg.norm(away))
    x = (rows[0] + rows[order[1]]) / 2 + away / distance * (gap**2 / 2 * v / distance)
    _, denoised, variance, divergence = exact(rows, bandwidth, x, level)
    law = EmpiricalMixture(rows, bandwidth)
    got = law.moments(x, level)
    scale = np.linalg.norm(x - law.mean()) * np.linalg.norm(rows - law.mean(), axis=1).max()
    stated = 8 * EPS * level.alpha * scale / v + 1e-14
    assert stated < 1e-11
    close(got[0], denoised, 1e-15)
    np.testing.assert_allclose(got[1:], (divergence, variance), rtol=stated)
    if bandwidth == 0:
        assert variance < 1e-6 if gap == 6.0 else variance < 1e-20


def test_rounding_of_the_logits_is_as_stated() -> None:
    rows, level = data(10, 2, offset=5.0), NoiseLevel(1.0, 1e-3)
    law, worst = EmpiricalMixture(rows), 0.0
    rng = np.random.default_rng(1)
    norms = np.linalg.norm(rows - law.mean(), axis=1)
    for _ in range(20):
        i, j = rng.choice(10, 2, replace=False)
        x = (rows[i] + rows[j]) / 2 + 1e-7 * rng.standard_normal(2)
        if min(np.linalg.norm(x - row) for row in rows) < np.linalg.norm(x - rows[i]) * 0.99:
            continue
        variance = exact(rows, 0.0, x, level)[2]
        error = abs(law.posterior_variance(x, level) / variance - 1)
        unit = EPS * np.linalg.norm(x - law.mean()) * norms.max() / level.sigma**2
        worst = max(worst, error / unit)
    assert 1e-3 < worst < 8


@pytest.mark.parametrize("level", [NoiseLevel(1e-8, 1.0), NoiseLevel(1.0, 80.0), LEVEL])
def test_mpmath_at_ordinary_levels(level: NoiseLevel) -> None:
    rows = data(20, 3, offset=1.0)
    x = (1 + level.sigma) * np.random.default_rng(2).standard_normal(3)
    for bandwidth in (0.0, 0.2):
        law = EmpiricalMixture(rows, bandwidth)
        log_prob, denoised, variance, divergence = exact(rows, bandwidth, x, level)
        assert law.log_prob(x, level) == pytest.approx(log_prob, rel=1e-14)
        close(law(x, level), denoised, 1e-14)
        np.testing.assert_allclose(law.moments(x, level)[1:], (divergence, variance), rtol=1e-13)


@pytest.mark.parametrize("bandwidth", [0.0, 0.3])
@pytest.mark.parametrize("shape", [(3,), (7, 3), (2, 4, 3), (0, 3)], ids=str)
def test_libraries_and_chunks_agree(bandwidth: float, shape: tuple[int, ...]) -> None:
    law = EmpiricalMixture(data(), bandwidth)
    small = EmpiricalMixture(data(), bandwidth, chunk_bytes=3 * 4 * 8 * 30)
    x = np.random.default_rng(3).standard_normal(shape)
    tangent = np.random.default_rng(4).standard_normal((2, *shape))
    for make in (np.asarray, torch.tensor, array_api_strict.asarray):
        for name in METHODS:
            ours = getattr(law, name)(x, LEVEL)
            theirs = getattr(small, name)(make(x), LEVEL)
            assert type(theirs) is type(make(x)) or ours.ndim == 0
            assert tuple(theirs.shape) == ours.shape
            if x.size:
                close(theirs, ours, 1e-14)
        if x.size:
            close(small.jvp(make(x), LEVEL, make(tangent)), law.jvp(x, LEVEL, tangent), 1e-14)


def test_derivatives_agree_with_autograd() -> None:
    law, x = EmpiricalMixture(data(), 0.2), torch.tensor(data(5, seed=5)).requires_grad_()
    score = torch.autograd.grad(law.log_prob(x, LEVEL).sum(), x)[0]
    close(law.score(x, LEVEL).detach(), score)
    columns = [torch.autograd.grad(law(x, LEVEL)[:, i].sum(), x)[0] for i in range(3)]
    close(law.jacobian(x, LEVEL).detach(), torch.stack(columns, dim=1))


def test_data_are_converted_once_for_each_library_and_dtype() -> None:
    law = EmpiricalMixture(data(), 0.1)
    x = torch.tensor(data(4))
    law(x, LEVEL)
    kept = next(iter(law.cache.values())).rows
    law(2 * x, LEVEL)
    assert next(iter(law.cache.values())).rows is kept
    single = law(x.to(torch.float32), LEVEL)
    assert single.dtype == torch.float32
    assert len(law.cache) == 2
    close(single, law(x, LEVEL), 1e-5)


def test_temporaries_stay_within_chunk_bytes() -> None:
    law = EmpiricalMixture(data(2000), 0.1, chunk_bytes=2**20)
    x = data(1500, seed=1)
    law(x[:1], LEVEL)
    tracemalloc.start()
    law.moments(x, LEVEL)
    law.jvp(x, LEVEL, x)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert 2**19 < peak < 2**21  # one array of all pairs would take 24 MB


def test_sixty_thousand_images_fit_in_two_gibibytes() -> None:
    program = """
import resource, numpy as np
from analytic import EmpiricalMixture, NoiseLevel
rows = np.random.default_rng(0).random((60_000, 784), dtype=np.float32)
law = EmpiricalMixture(rows, 0.1)
law.moments(np.ones((300, 784)), NoiseLevel(1.0, 2.0))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert 0.7 < float(done.stdout) < 2.0


def test_samples_are_rows_plus_noise() -> None:
    rows, rng = data(5), np.random.default_rng(6)
    points = EmpiricalMixture(rows).sample(500, rng)
    assert {tuple(p) for p in points} == {tuple(r) for r in rows}
    noisy = EmpiricalMixture(rows, 0.5)
    squares = (noisy.sample(40_000, rng) ** 2).sum(axis=1)
    assert abs(squares.mean() - noisy.second_moment()) < 5 * squares.std() / 200


@pytest.mark.parametrize(
    ("rows", "bandwidth", "chunk_bytes", "message"),
    [
        (np.zeros(3), 0.0, 1, r"data must have shape \(n, d\) with n, d > 0, got \(3,\)"),
        (np.zeros((0, 3)), 0.0, 1, r"data must have shape \(n, d\) with n, d > 0, got \(0, 3\)"),
        (np.array([[np.nan]]), 0.0, 1, "data must be finite, got nan"),
        (np.zeros((2, 1)), -0.1, 1, "bandwidth must be finite and >= 0, got -0.1"),
        (np.zeros((2, 1)), 0.0, 0, "chunk_bytes must be > 0, got 0"),
    ],
)
def test_bad_parameters_are_named(
    rows: np.ndarray, bandwidth: float, chunk_bytes: int, message: str
) -> None:
    with pytest.raises(ValueError, match=f"^{message}$"):
        EmpiricalMixture(rows, bandwidth, chunk_bytes=chunk_bytes)


def test_bad_evaluations_are_named() -> None:
    law, x = EmpiricalMixture(data()), np.zeros((2, 3))
    with pytest.raises(ValueError, match=r"^sigma must be > 0 when bandwidth is 0, got 0.0"):
        law(x, NoiseLevel(1.0, 0.0))
    with pytest.raises(ValueError, match=r"^level must hold numbers, got arrays of shapes \(2,"):
        law(x, NoiseLevel(np.ones((2, 1)), np.ones((2, 1))))
    with pytest.raises(ValueError, match=r"^x must have 3 coordinates in its last axis, got"):
        law(np.zeros((2, 4)), LEVEL)
    with pytest.raises(ValueError, match=r"^x must have a real floating dtype"):
        law(np.zeros((2, 3), dtype=int), LEVEL)
