"""The strategies draw what they say, and the page's examples catch what they should."""

from __future__ import annotations

import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from steinlab.diffusion.processes import FLOW, PROCESSES
from steinlab.verification import strategies as lab

PAGE = (Path(__file__).parents[3] / "docs" / "property-test.md").read_text()
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
BROKEN = [
    (0, "(t.alpha - kappa * s.alpha) * denoiser", "t.alpha * denoiser"),
    (0, "t.sigma / s.sigma", "t.sigma / s.sigma * s.alpha / t.alpha"),
    (1, "np.sum(u * (x - x_star))", "np.sum(u * x)"),
    (1, "np.sum(u * (x - x_star)) / np.sum(u * u)", "1.001"),
]


def run(code: str) -> None:
    names: dict[str, Any] = {"__name__": "example"}
    exec(compile(code, "example.py", "exec"), names)
    tests = [value for name, value in names.items() if name.startswith("test_")]
    assert tests
    for test in tests:
        settings(phases=[Phase.generate])(test)()


@pytest.mark.parametrize("block", range(2))
def test_the_examples_pass_in_ten_lines(block) -> None:
    run(BLOCKS[block])
    after = BLOCKS[block].split("@given")[1].strip().splitlines()
    assert len(after) <= 10


@pytest.mark.parametrize(("block", "right", "wrong"), BROKEN)
def test_the_examples_catch_a_wrong_solver_or_correction(block, right, wrong) -> None:
    assert right in BLOCKS[block]
    with pytest.raises(AssertionError):
        run(BLOCKS[block].replace(right, wrong))


def test_the_page_names_every_strategy() -> None:
    public = {"processes", "solvers", "noise_levels", "steps", "grids", "mixtures", "denoisers",
              "probes", "couplings"}  # fmt: skip
    assert set(re.findall(r"`(\w+)\(", PAGE)) == public
    assert all(callable(getattr(lab, name)) for name in public)


@given(lab.noise_levels(low=0.1, high=10), lab.steps(FLOW, longest=2), lab.steps(final_zero=True))
def test_levels_and_steps(level, flow_step, step) -> None:
    assert 0.1 * (1 - 1e-9) <= level.ratio <= 10 * (1 + 1e-9)
    for s, t in (flow_step, step):
        assert 0 <= t.ratio < s.ratio
    assert flow_step[0].alpha + flow_step[0].sigma == pytest.approx(1)
    assert 0.02 * (1 - 1e-6) <= np.log(flow_step[0].ratio / flow_step[1].ratio) <= 2 * (1 + 1e-6)


@given(lab.grids(min_steps=2, max_steps=5), lab.grids(PROCESSES["edm"], final_zero=True))
def test_grids(grid, ending) -> None:
    assert 3 <= len(grid) <= 6
    assert all(a.ratio > b.ratio for a, b in itertools.pairwise(grid))
    assert ending[-1].sigma == 0
    assert ending[0].alpha == 1


@given(lab.mixtures(max_components=3, max_mean=2, stds=(0.5, 1.5)), lab.mixtures(dim=2))
def test_mixtures(law, plane) -> None:
    assert law.weights.shape[0] <= 3
    assert law.weights.sum() == pytest.approx(1)
    assert np.abs(law.means).max() <= 2
    assert np.all((law.spectra >= 0.25 * (1 - 1e-9)) & (law.spectra <= 2.25 * (1 + 1e-9)))
    assert plane.dim == 2


@pytest.mark.parametrize("covariance", lab.COVARIANCES)
def test_covariances(covariance) -> None:
    @given(lab.mixtures(dim=2, covariance=covariance))
    def check(law: Any) -> None:
        within = np.ptp(law.spectra, axis=-1).max() < 1e-12
        assert within or covariance in ("diagonal", "full")
        assert covariance != "shared" or np.ptp(law.spectra) == 0

    check()


@given(lab.denoisers(error=0.3), lab.noise_levels(low=0.1, high=10), st.data())
def test_denoisers_have_the_error_and_derivatives_they_state(denoiser, level, data) -> None:
    x, _ = data.draw(lab.couplings(denoiser.law, states=8))(level)
    off = np.linalg.norm(denoiser(x, level) - denoiser.law(x, level), axis=-1)
    assert np.all(off <= denoiser.error * (1 + 1e-9) + 1e-12)
    assert denoiser.error <= 0.3
    probe = data.draw(lab.probes(x.shape, kind="gaussian"))
    h = 1e-6
    ahead, behind = (
        denoiser(x + k * probe, level) - denoiser.law(x + k * probe, level) for k in (h, -h)
    )
    exact = denoiser.jvp(x, level, probe) - denoiser.law.jvp(x, level, probe)
    np.testing.assert_allclose((ahead - behind) / (2 * h), exact, atol=1e-6)
    trace = sum(
        denoiser.jvp(x, level, np.broadcast_to(e, x.shape))[..., i]
        for i, e in enumerate(np.eye(denoiser.dim))
    )
    np.testing.assert_allclose(trace, denoiser.divergence(x, level), rtol=1e-9, atol=1e-9)


def test_errors_point_in_many_directions() -> None:
    angles = set()

    @settings(max_examples=20, phases=[Phase.generate])
    @given(lab.denoisers(lab.mixtures(dim=2)))
    def collect(denoiser: Any) -> None:
        angles.add(round(float(np.arctan2(*denoiser.direction)), 6))

    collect()
    assert len(angles) > 5


@given(lab.probes((3, 2)), lab.probes((4,), kind="gaussian"))
def test_probes(signs, noise) -> None:
    assert signs.shape == (3, 2)
    assert set(np.abs(signs).ravel()) == {1.0}
    assert np.isfinite(noise).all()


@given(lab.mixtures(), st.data())
def test_couplings_share_their_noise(law, data) -> None:
    at = data.draw(lab.couplings(law, states=4))
    (x, x_star), (y, _) = (at(PROCESSES["edm"].level_at(r)) for r in (1.0, 3.0))
    np.testing.assert_allclose(y - x_star, 3 * (x - x_star), atol=1e-12)


@pytest.mark.parametrize(
    ("strategy", "message"),
    [
        (lab.mixtures(max_components=0), "max_components must be >= 1, got 0"),
        (lab.mixtures(stds=(0.0, 1.0)), "stds must be"),
        (lab.mixtures(covariance="round"), "covariance must be one of"),
        (lab.noise_levels(low=0.0), "low must be in"),
        (lab.steps(longest=0.0), "longest must be > 0, got 0.0"),
        (lab.grids(min_steps=0), "min_steps must be in 1 to max_steps, got 0"),
        (lab.denoisers(error=-1.0), "error must be >= 0, got -1.0"),
    ],
)
def test_bad_arguments(strategy, message) -> None:
    @given(strategy)
    def check(_: Any) -> None:
        raise AssertionError

    with pytest.raises(ValueError, match=re.escape(message)):
        check()


def test_bad_probes() -> None:
    with pytest.raises(ValueError, match="kind must be rademacher or gaussian, got uniform"):
        lab.probes((1,), kind="uniform")


@pytest.mark.parametrize("shape", [(), (3, 32, 32), (16, 3, 32, 32)])
def test_large_probes_are_drawn_within_the_health_check(shape: tuple[int, ...]) -> None:
    seen = []

    @settings(max_examples=20, database=None)
    @given(lab.probes(shape))
    def draw(probe: np.ndarray) -> None:
        assert probe.shape == shape
        assert set(np.unique(probe)) <= {-1.0, 1.0}
        seen.append(probe.copy())

    draw()
    assert len({probe.tobytes() for probe in seen}) > 1


@pytest.mark.parametrize("kind", lab.COVARIANCES)
def test_a_mixtures_deviations_are_those_asked_for(kind: str) -> None:
    @settings(max_examples=5, database=None)
    @given(lab.mixtures(dim=3, stds=(2.0, 2.0), covariance=kind))
    def one(law: Any) -> None:
        np.testing.assert_allclose(law.spectra, 4.0, rtol=1e-12)

    one()
