"""Forward processes: their published clocks, inverses, ranges and extremes."""

from __future__ import annotations

import math
from typing import Any

import mpmath as mp
import numpy as np
import pytest

from steinlab.diffusion.processes import EDM, FLOW, PROCESSES, VE, VP_COSINE, VP_LINEAR, Process

ALL = pytest.mark.parametrize("process", PROCESSES.values(), ids=lambda p: p.name)


@ALL
def test_the_clock_and_its_inverse(process: Process) -> None:
    t = np.linspace(process.t_min, process.t_max, 301)
    ratio = np.asarray(process.ratio(t))
    assert np.all(np.diff(ratio) > 0)
    np.testing.assert_allclose(process.time(ratio), t, rtol=1e-9, atol=1e-13)
    assert process.ratio_min == ratio[0]
    assert process.ratio_max == ratio[-1]
    assert 0 < process.ratio_min < process.ratio_max < math.inf


@ALL
def test_levels_have_their_ratio(process: Process) -> None:
    ratios = np.array([0.0, 1e-8, 1e-3, 1.0, 30.0, 1e8])[:, None, None]
    level = process.level_at(ratios)
    np.testing.assert_allclose(level.ratio, ratios, rtol=4e-16)
    clean = process.level_at(0.0)
    assert (clean.alpha, clean.sigma) == (1.0, 0.0)
    for r in ratios.ravel():
        one = process.level_at(float(r))
        assert isinstance(one.alpha, float)
        assert isinstance(one.sigma, float)
        assert 0 < one.alpha <= 1


@pytest.mark.parametrize("process", [VP_LINEAR, VP_COSINE], ids=lambda p: p.name)
def test_vp_preserves_variance(process: Process) -> None:
    level = process.level_at(np.geomspace(1e-8, 1e8, 200))
    np.testing.assert_allclose(level.alpha**2 + level.sigma**2, 1, rtol=5e-16)


def test_flow_and_ve_levels() -> None:
    ratios = np.geomspace(1e-8, 1e8, 200)
    flow = FLOW.level_at(ratios)
    np.testing.assert_allclose(flow.alpha + flow.sigma, 1, rtol=3e-16)
    for process in (EDM, VE):
        level = process.level_at(ratios)
        np.testing.assert_array_equal(level.alpha, 1)
        np.testing.assert_array_equal(level.sigma, ratios)


def _linear(t: Any) -> Any:
    """``log alpha = -t^2 (beta_1 - beta_0) / 4 - t beta_0 / 2`` (Song et al., 2021)."""
    return mp.exp(-(t**2) * (20 - mp.mpf("0.1")) / 4 - t * mp.mpf("0.1") / 2)


def _cosine(t: Any) -> Any:
    """``cos((t + s) / (1 + s) pi / 2)``, one at 0 (Nichol and Dhariwal, 2021)."""
    s = mp.mpf("0.008")
    return mp.cos((t + s) / (1 + s) * mp.pi / 2) / mp.cos(s / (1 + s) * mp.pi / 2)


@pytest.mark.parametrize(
    ("process", "alpha"), [(VP_LINEAR, _linear), (VP_COSINE, _cosine)], ids=["linear", "cosine"]
)
def test_published_vp_clocks(process: Process, alpha: Any) -> None:
    for t in np.linspace(process.t_min, process.t_max, 23):
        level = process.level(float(t))
        with mp.workdps(40):
            exact = alpha(mp.mpf(float(t)))
            noise = mp.sqrt(1 - exact**2)
        assert level.alpha == pytest.approx(float(exact), rel=1e-12)
        assert level.sigma == pytest.approx(float(noise), rel=1e-12)


def test_other_published_clocks() -> None:
    assert VE.level(0.0).sigma == pytest.approx(0.01)
    assert VE.level(1.0).sigma == pytest.approx(50)
    assert VE.level(0.5).sigma == pytest.approx(math.sqrt(0.5))
    assert (EDM.ratio_min, EDM.ratio_max) == (0.002, 80.0)
    for t in (0.1, 0.25, 0.9):
        assert FLOW.level(t).alpha == pytest.approx(1 - t, rel=1e-15)
        assert FLOW.level(t).sigma == pytest.approx(t, rel=1e-15)


def test_extreme_levels_of_vp() -> None:
    level = VP_LINEAR.level_at(1e8)
    assert level.alpha == pytest.approx(1e-8, rel=1e-15)
    assert level.sigma == 1.0
    near = VP_LINEAR.level_at(1e-12)
    assert (near.alpha, near.sigma) == (1.0, 1e-12)


@pytest.mark.parametrize("ratio", [-0.1, math.nan])
def test_a_ratio_outside_its_range_is_named(ratio: float) -> None:
    with pytest.raises(ValueError, match=f"ratio must be >= 0, got {ratio}"):
        EDM.level_at(ratio)


def test_the_cosine_schedule_keeps_its_digits() -> None:
    """Below its range ``1 - alpha`` lost them: four were left at ``t = 1e-10``."""
    for t in (1e-300, 1e-12, 1e-6, 1e-3, 0.3, 0.9946, 1 - 1e-9):
        with mp.workdps(60):
            alpha = _cosine(mp.mpf(t))
            exact = float(mp.sqrt(1 - alpha**2) / alpha)
        assert float(VP_COSINE.ratio(t)) == pytest.approx(exact, rel=1e-14)
        rate = 1e-15 if t < 0.5 else 1e-6 * (1 - t)
        assert float(VP_COSINE.time(exact)) == pytest.approx(t, rel=1e-14, abs=rate)
    assert VP_COSINE.level(1.0).alpha == 0.0
    assert VP_COSINE.time(math.inf) == 1.0


@ALL
def test_levels_outside_a_process_get_their_line(process: Process) -> None:
    assert process.level(0.0).sigma >= 0
    beyond = [] if process is EDM else [1.01]
    for t in (-0.1, math.nan, np.array([0.5, -1e-9]), *beyond):
        with pytest.raises(
            ValueError, match=rf"^t must be in \[0, (1|inf)\] for {process.name}, got"
        ):
            process.level(t)
