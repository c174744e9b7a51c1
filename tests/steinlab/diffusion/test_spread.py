"""What a batch shows of the data's spread."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.diffusion.spread import data_deviation, seen_variance
from steinlab.errors import InputError
from steinlab.experiments.compare import runs_of
from steinlab.experiments.sample import SampleRun
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.experiments.specs.grids import grid_for

MIXTURE = GaussianMixture([0.3, 0.7], [[-1.0, 2.0], [1.0, 0.0]], [[0.2, 0.4], [0.3, 0.1]])
LEVELS = [p.level_at(ratio) for p in PROCESSES.values() for ratio in (50.0, 1.0, 0.05)]


@pytest.mark.parametrize("level", LEVELS)
def test_two_states_show_the_variance_of_an_isotropic_gaussian(level: NoiseLevel) -> None:
    law = GaussianMixture([1.0], [[3.0, -1.0, 0.5]], 0.36)
    x = level.noised(law.sample(2, np.random.default_rng(0)), np.random.default_rng(1))
    found = seen_variance(x, law(x, level), level)
    np.testing.assert_allclose(found, 0.36, rtol=1e-10)
    stack = np.stack([x, 2 * x])
    np.testing.assert_allclose(seen_variance(stack, law(stack, level), level), 0.36, rtol=1e-10)
    there = torch.from_numpy(x)
    np.testing.assert_allclose(seen_variance(there, law(there, level), level), 0.36, rtol=1e-10)


@pytest.mark.parametrize("level", LEVELS)
def test_a_large_batch_shows_the_posterior_variance_of_any_law(level: NoiseLevel) -> None:
    """``l = S^2 (1 - w) / w`` with ``1 - w = V / (S^2 d)``; V by its definition, paired."""
    rng = np.random.default_rng(0)
    star = MIXTURE.sample(200_000, rng)
    x = level.noised(star, rng)
    denoised = MIXTURE(x, level)
    share = ((star - denoised) ** 2).sum(axis=1).mean() / (2 * level.ratio**2)
    found = float(seen_variance(x, denoised, level))
    assert found / (found + level.ratio**2) == pytest.approx(share, rel=0.02)


def test_the_deviation_at_a_noisy_level_is_the_datas() -> None:
    level = EDM.level_at(80.0)
    rng = np.random.default_rng(0)
    x = level.noised(MIXTURE.sample(2000, rng), rng)
    exact = (float(MIXTURE.variance()) / 2) ** 0.5
    assert data_deviation(MIXTURE, x, level) == pytest.approx(exact, rel=0.05)
    with pytest.raises(ValueError, match="states must be >= 2 to show a spread, got 1"):
        data_deviation(MIXTURE, x[:1], level)
    with pytest.raises(ValueError, match="the states must show a variance > 0 at sigma/alpha 80"):
        data_deviation(lambda y, _: 0 * y, x, level)


def test_a_grid_takes_its_scale_from_a_law_or_from_a_model() -> None:
    assert grid_for("tangent:scale=data", lambda: MIXTURE, EDM) == (
        f"tangent:scale={(float(MIXTURE.variance()) / 2) ** 0.5:.17g}"
    )
    seen = float(grid_for("tangent:scale=data", _Bare, EDM).partition("=")[2])
    assert seen == pytest.approx((float(MIXTURE.variance()) / 2) ** 0.5, rel=0.05)
    with pytest.raises(InputError, match=r"^grid: scale=data: the states must show a variance"):
        grid_for("tangent:scale=data", _Point, EDM)


class _Bare:
    """A law that states nothing but samples and its denoiser."""

    dim = 2

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        return np.asarray(MIXTURE.sample(n, rng))

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        return np.asarray(MIXTURE(x, level))


class _Point:
    dim = 1

    def sample(self, n: int, _rng: np.random.Generator) -> np.ndarray:
        return np.zeros((n, 1))

    def __call__(self, x: np.ndarray, _level: NoiseLevel) -> np.ndarray:
        return np.asarray(0 * x)


def test_specifications_and_samples_take_it() -> None:
    data = {"weights": [1], "means": [[1, -1]], "stds": ["1/2"]}
    spec = {"data": data, "solvers": ["euler"], "evaluations": [4], "corrections": ["none"]}
    found = CompareSpec.from_json({**spec, "grid": {"name": "tangent", "scale": "data"}})
    assert found.grid == "tangent:scale=0.5"
    (*_, grid), *_ = runs_of(found)
    assert grid == next(runs_of(CompareSpec.from_json({**spec, "grid": "tangent:scale=0.5"})))[3]
    run = SampleRun.of("digits", "euler", 4, grid="tangent:scale=data", samples=2)
    scale = float(run.grid_name.partition("=")[2])
    assert 0.2 < scale < 0.5
