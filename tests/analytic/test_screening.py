from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
import torch

from analytic import EmpiricalMixture, NoiseLevel, screening
from analytic.screening import LEAST, Screen, heads, weighted

COUNT, DIM = LEAST[0] + 104, LEAST[1] + 2


def pictures(seed: int = 0) -> np.ndarray:
    """Rows of few directions and a little of all, as pictures have."""
    rng = np.random.default_rng(seed)
    few = rng.standard_normal((COUNT, 12)) @ rng.standard_normal((12, DIM))
    return 2.0 + few + 0.3 * rng.standard_normal((COUNT, DIM))


DATA = pictures()
CENTRED = DATA - DATA.mean(axis=0)
SIZE = float((CENTRED**2).sum(axis=1).max())


def states(level: NoiseLevel, count: int = 40) -> np.ndarray:
    rng = np.random.default_rng(1)
    noise = rng.standard_normal((count, DIM))
    return level.alpha * DATA[rng.integers(COUNT, size=count)] + level.sigma * noise


def probabilities(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
    squares = ((x[:, None] - level.alpha * DATA) ** 2).sum(-1) / (2 * level.sigma**2)
    weights = np.exp(-(squares - squares.min(axis=1, keepdims=True)))
    return np.asarray(weights / weights.sum(axis=1, keepdims=True))


def screen(level: NoiseLevel, left_out: float, x: Any = CENTRED) -> Screen:
    found = heads(CENTRED, x)
    assert found is not None
    scale = level.sigma**2 / level.alpha
    rows = CENTRED.astype(x.dtype)
    return Screen(found, lambda i: rows[i], SIZE, level.alpha, scale, left_out)


def test_ceilings_are_never_below_and_near_where_the_axes_hold_the_row() -> None:
    found, alpha = heads(CENTRED, CENTRED), 0.7
    assert found is not None
    np.testing.assert_allclose(found.axes.T @ found.axes, np.eye(screening.AXES), atol=1e-12)
    u = states(NoiseLevel(alpha, 1.0)) - alpha * DATA.mean(axis=0)
    nearness = u @ CENTRED.T - alpha / 2 * (CENTRED**2).sum(axis=1)
    slack = found.ceilings(u, alpha) - nearness
    assert slack.min() > -1e-9
    assert np.median(slack) < 0.1 * np.ptp(nearness)


@pytest.mark.parametrize("left_out", [0.3, 1e-3, 2.0**-53])
@pytest.mark.parametrize("level", [NoiseLevel(1.0, 1.0), NoiseLevel(0.6, 2.0)], ids=str)
def test_what_is_left_out_has_at_most_its_share(level: NoiseLevel, left_out: float) -> None:
    x = states(level)
    r = probabilities(x, level)
    low = screen(level, left_out).low(x - level.alpha * DATA.mean(axis=0))
    mass = 1 - r.max(axis=1)
    lost = np.where(low, r, 0.0).sum(axis=1)
    assert (lost <= left_out * mass + 1e-15).all()
    assert not low[np.arange(len(x)), r.argmax(axis=1)].any()
    assert low.mean() > 0.2


def test_a_second_row_of_any_probability_stays() -> None:
    # the top one's probability is 1 to the last bit, and the variance is that of the second alone
    level = NoiseLevel(1.0, 0.5)
    near = CENTRED + 0.0
    near[5] = near[700] + 6.2 * near[1] / np.linalg.norm(near[1])
    law = EmpiricalMixture(near)
    x = near[[700]] + 0.0
    got, whole = law.moments(x, level)[2], EmpiricalMixture(near, left_out=0.0).moments(x, level)[2]
    assert law._screen(x, level) is not None
    assert 1e-40 < whole[0] < 1e-30
    np.testing.assert_allclose(got, whole, rtol=1e-9)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("sigma", [20.0, 2.0, 1.0, 0.3, 0.02, 1e-4])
def test_moments_move_by_rounding_alone(sigma: float, dtype: Any) -> None:
    level = NoiseLevel(0.9, sigma)
    x = states(level).astype(dtype)
    tangent = np.random.default_rng(2).standard_normal(x.shape).astype(dtype)
    laws = [EmpiricalMixture(DATA, 0.01, left_out=share) for share in (None, 0.0)]
    eps = float(np.finfo(dtype).eps)
    logit = 64 * eps * np.abs(x).max() * DIM**0.5 * math.sqrt(SIZE) / sigma**2
    for make in (np.asarray, torch.as_tensor):
        ours, whole = (law.moments(make(x), level) for law in laws)
        for a, b in zip(ours, whole, strict=True):
            np.testing.assert_allclose(a, b, rtol=min(logit + 64 * eps, 0.1), atol=64 * eps)
        ours, whole = (law.jvp(make(x), level, make(tangent)) for law in laws)
        scale = float(np.abs(np.asarray(whole)).max())
        np.testing.assert_allclose(ours, whole, rtol=0, atol=min(logit + 64 * eps, 0.1) * scale)


def test_levels_of_both_kinds_were_screened() -> None:
    law = EmpiricalMixture(DATA)
    kinds = []
    for sigma in (20.0, 0.3, 0.02):
        level = NoiseLevel(1.0, sigma)
        kinds.append(law._screen(states(level), level) is not None)
    assert kinds == [False, True, True]


@pytest.mark.parametrize("share", [0.5, 1e-3])
@pytest.mark.parametrize("sigma", [2.0, 0.7])
def test_a_large_share_left_out_keeps_the_stated_bound(sigma: float, share: float) -> None:
    level = NoiseLevel(1.0, sigma)
    x = states(level)
    rough = EmpiricalMixture(DATA, left_out=share)
    whole = EmpiricalMixture(DATA, left_out=0.0).moments(x, level)
    got = rough.moments(x, level)
    mass = 1 - probabilities(x, level).max(axis=1)
    lost, radius = share * mass, math.sqrt(SIZE)
    off = np.linalg.norm(got[0] - whole[0], axis=1)
    assert (off <= 3 * radius * lost + 1e-12).all()
    assert (np.abs(got[2] - whole[2]) <= 12 * radius**2 * lost + 1e-10).all()


def test_a_product_of_few_weights_leaves_out_what_is_below_the_cut() -> None:
    rng = np.random.default_rng(3)
    terms = np.where(rng.random((300, COUNT)) < 1e-3, 1.0, 1e-9) * rng.random((300, COUNT))
    table, cut = rng.standard_normal((COUNT, 5)), np.full((300, 1), 1e-6)
    got = weighted(terms, table, cut)
    kept = np.where(terms > 1e-6, terms, 0.0) @ table
    assert np.abs(got - kept).max() < 1e-5
    assert np.abs(got - terms @ table).max() > 1e-12
    np.testing.assert_array_equal(weighted(terms, table, 0 * cut), terms @ table)


def test_a_state_that_is_not_a_number_leaves_no_row_out() -> None:
    level = NoiseLevel(1.0, 0.3)
    x = states(level, 6)
    x[2, 0] = np.nan
    assert not screen(level, 1e-6).low(x - DATA.mean(axis=0))[2].any()
    law = EmpiricalMixture(DATA)
    out = law(x, level)
    assert np.isnan(out[2]).all()
    np.testing.assert_allclose(out[3], law(x[3], level), rtol=1e-9)


@pytest.mark.parametrize(("sigma", "some"), [(30.0, True), (2.5, False)])
def test_a_weight_is_a_normal_number_or_none(sigma: float, some: bool) -> None:
    law, level = EmpiricalMixture(DATA, left_out=0.0), NoiseLevel(1.0, sigma)
    x = states(level).astype(np.float32)
    terms = law._posterior(x, level, None).terms
    others = terms[terms > 0]
    assert (np.count_nonzero(terms) == terms.size - len(x)) == some, "all but the top ones"
    assert others.min() >= np.finfo(np.float32).smallest_normal


@pytest.mark.parametrize("share", [-0.1, 1.0, math.nan])
def test_a_bad_share_is_named(share: float) -> None:
    with pytest.raises(ValueError, match=rf"^left_out must be in \[0, 1\), got {share}$"):
        EmpiricalMixture(DATA[:3], left_out=share)
