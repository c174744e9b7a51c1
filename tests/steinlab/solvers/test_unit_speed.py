"""Unit speed: what its steps keep, whom they turn, stretch and move with, and what couples them."""

from __future__ import annotations

import itertools
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel, exact_flow
from analytic.flow.exact import gaussian_gain
from steinlab.coefficient.divergence import Exact
from steinlab.diffusion.grids import given_grid, make_grid
from steinlab.diffusion.processes import EDM, FLOW, PROCESSES, Process
from steinlab.diffusion.spread import seen_variance
from steinlab.errors import InputError
from steinlab.solvers import EULER, SOLVERS, get_solver
from steinlab.solvers.base import couples_batch
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step
from steinlab.solvers.unit_speed import Curve, carried
from steinlab.testing import check_solver, from_solver, rows_of
from tests.steinlab.solvers.cases import EVERY_PROCESS, PLANE, states, uneven_grid

NAMES = tuple(name for name in SOLVERS if name.startswith("unit-speed"))
EACH = pytest.mark.parametrize("name", NAMES)
RATIOS = [20.0, 5.0, 1.5, 0.4, 0.1, 0.0]
MATRIX = np.array([[1.0, 0.6, 0.0], [0.6, 0.8, -0.1], [0.0, -0.1, 0.3]])
GAUSSIAN = GaussianMixture([1.0], [[1.0, -2.0, 0.5]], MATRIX[None])


@EACH
@pytest.mark.parametrize("process", EVERY_PROCESS)
@pytest.mark.parametrize("steps", [1, 5])
def test_it_is_the_exact_map_of_isotropic_gaussians(
    name: str, process: Process, steps: int
) -> None:
    """From any states, four of three coordinates, in one step or several, to zero noise."""
    law = GaussianMixture([1.0], [[2.0, -1.0, 0.5]], 0.7)
    ratios = [20.0, 0.0] if steps == 1 else RATIOS
    grid = given_grid(process, ratios)
    x = states(grid, law, n=4)
    gain = gaussian_gain(np.full(3, 0.7), grid[0], grid[-1])
    exact = grid[-1].alpha * law.means + gain * (x - grid[0].alpha * law.means)
    np.testing.assert_allclose(solve(law, x, grid, name).state, exact, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("process", EVERY_PROCESS)
def test_by_axis_it_is_the_exact_map_of_any_gaussian(process: Process) -> None:
    """One more state than coordinates give the covariance: no axis is told."""
    grid = given_grid(process, RATIOS)
    x = states(grid, GAUSSIAN, n=4)
    values, axes = np.linalg.eigh(MATRIX)
    gain = axes @ np.diag(gaussian_gain(values, grid[0], grid[-1])) @ axes.T
    mean = GAUSSIAN.means[0]
    exact = grid[-1].alpha * mean + (x - grid[0].alpha * mean) @ gain
    found = solve(GAUSSIAN, x, grid, "unit-speed-1c").state
    np.testing.assert_allclose(found, exact, rtol=1e-8, atol=1e-9)
    scalar = solve(GAUSSIAN, x, grid, "unit-speed-1").state
    assert np.abs(scalar - exact).max() > 0.01


@pytest.mark.parametrize(("s", "t"), [(3.0, 0.8), (0.8, 0.5), (0.6, 0.0), (40.0, 1.0)])
def test_one_step_keeps_mean_and_variance_of_any_law(s: float, t: float) -> None:
    """``E r = 0``, ``E<z_c, r_c> = S^2 d``: by quadrature, no sampling; by axis every moment."""
    spreads = np.array([[[0.2, 0.1], [0.1, 0.4]], [[0.3, -0.1], [-0.1, 0.15]]])
    law = GaussianMixture([0.3, 0.7], [[-1.0, 0.5], [1.0, -0.2]], spreads)
    level = EDM.level_at(s)
    x, mass = _forward(law, spreads, level)
    rest = x - law(x, level)
    mean = mass @ x
    centre = x - mean
    np.testing.assert_allclose(mass @ rest, 0, atol=1e-9 * s)
    shares = (mass @ (rest * centre).sum(axis=1), mass @ (rest * rest).sum(axis=1))
    seen = s**2 * (shares[0] / shares[1] - 1)
    due = float(law.variance()) + 2 * t**2
    z = x - (np.sqrt(seen + s**2) - np.sqrt(seen + t**2)) * rest * np.sqrt(seen + s**2) / s**2
    assert mass @ ((z - mean) ** 2).sum(axis=1) == pytest.approx(due, rel=1e-9)
    fisher = (mass[:, None] * rest).T @ rest
    values, axes = np.linalg.eigh(fisher)
    along = s**4 / values - s**2
    size = (np.sqrt(along + s**2) - np.sqrt(along + t**2)) * np.sqrt(along + s**2) / s**2
    z = x - rest @ (axes * size) @ axes.T
    found = (mass[:, None] * (z - mean)).T @ (z - mean)
    covariance = np.einsum("k,kij", law.weights, spreads)
    covariance += (law.weights[:, None] * (law.means - mean)).T @ (law.means - mean)
    np.testing.assert_allclose(found, covariance + t**2 * np.eye(2), rtol=1e-8, atol=1e-9)


def _forward(
    law: GaussianMixture, spreads: np.ndarray, level: NoiseLevel
) -> tuple[np.ndarray, np.ndarray]:
    """States and weights of the forward law: Gauss and Hermite's points of each component."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(200)
    kept = weights > 1e-30
    nodes, weights = nodes[kept], weights[kept]
    mesh = np.stack(np.meshgrid(nodes, nodes), axis=-1).reshape(-1, 2)
    mass = np.outer(weights, weights).ravel()
    mass /= mass.sum()
    points = []
    for mean, spread in zip(law.means, spreads, strict=True):
        root = np.linalg.cholesky(level.alpha**2 * spread + level.sigma**2 * np.eye(2))
        points.append(level.alpha * mean + mesh @ root.T)
    return np.concatenate(points), np.concatenate([w * mass for w in law.weights])


@EACH
@pytest.mark.parametrize("s", [3.0, 0.8])
def test_its_step_is_that_of_a_large_batch(name: str, s: float) -> None:
    """A batch of 200,000 has mean and variance of the next level, up to its own sampling noise."""
    grid = given_grid(EDM, [s, 0.4 * s])
    x = states(grid, PLANE, n=200_000)
    end = np.asarray(solve(PLANE, x, grid, name).state)
    before = x.var(axis=0).sum() - 2 * s**2
    after = end.var(axis=0).sum() - 2 * (0.4 * s) ** 2
    assert after == pytest.approx(before, abs=0.03 * s**2)
    np.testing.assert_allclose(end.mean(axis=0), PLANE.mean(), atol=0.02 * s)
    euler = np.asarray(solve(PLANE, x, grid, "euler").state)
    assert euler.var(axis=0).sum() < end.var(axis=0).sum() - 0.02 * s**2


@EACH
@pytest.mark.parametrize(("angle", "scale", "shift"), [(0.7, 1.0, 0.0), (0, 3.0, 0), (0, 1.0, 5.0)])
def test_it_turns_stretches_and_moves_with_the_data(
    name: str, angle: float, scale: float, shift: float
) -> None:
    c, s = np.cos(angle), np.sin(angle)
    turn = scale * np.array([[c, -s], [s, c]])
    spreads = np.array([[[0.2, 0.05], [0.05, 0.4]], [[0.3, 0.0], [0.0, 0.1]]])
    means = np.array([[-1.0, 0.5], [1.0, -0.2]])
    law = GaussianMixture([0.3, 0.7], means, spreads)
    other = GaussianMixture([0.3, 0.7], means @ turn.T + shift, turn @ spreads @ turn.T)
    grid, wide = (given_grid(EDM, [k * r for r in RATIOS]) for k in (1.0, scale))
    x = states(grid, law, n=8)
    ours = solve(law, x, grid, name).state
    theirs = solve(other, x @ turn.T + shift, wide, name).state
    np.testing.assert_allclose(theirs, ours @ turn.T + shift, rtol=1e-9, atol=1e-9)


@EACH
def test_every_process_takes_the_same_run(name: str) -> None:
    """In ``z = x / alpha`` at the same ``sigma / alpha``."""
    x = states(given_grid(EDM, RATIOS), PLANE, n=8)
    ends = []
    for process in PROCESSES.values():
        grid = given_grid(process, RATIOS)
        ends.append(solve(PLANE, grid[0].alpha * x, grid, name).state / grid[-1].alpha)
    for end in ends[1:]:
        np.testing.assert_allclose(end, ends[0], rtol=1e-9, atol=1e-10)


@EACH
def test_one_state_is_refused_in_one_line(name: str) -> None:
    for x in (np.ones((1, 2)), np.ones((1, 1, 2, 1)), torch.ones((1, 2), dtype=torch.float64)):
        with pytest.raises(ValueError, match=rf"^states must be >= 2 .* got 1, which {name} takes"):
            solve(lambda y, _: 0.5 * y, x, given_grid(EDM, RATIOS), name)


@EACH
def test_states_that_coincide_step_as_euler_does(name: str) -> None:
    """They show no spread: ``l = 0``."""
    x = np.ones((2, 2))
    grid = given_grid(EDM, [2.0, 1.0])
    np.testing.assert_allclose(
        solve(PLANE, x, grid, name).state, solve(PLANE, x, grid, EULER).state, rtol=1e-12
    )


@EACH
def test_a_batch_of_eight_errs_little_more_than_a_large_one(name: str) -> None:
    """The root mean square error over many batches, against one batch of all states."""
    grid = given_grid(EDM, [20.0, 5.0, 1.5, 0.4, 0.1])
    x = states(grid, PLANE, n=800)
    exact = exact_flow(PLANE, x, grid[0], grid[-1]).state
    together = np.asarray(solve(PLANE, x, grid, name).state)
    apart = np.concatenate([solve(PLANE, part, grid, name).state for part in np.split(x, 100)])
    euler = np.asarray(solve(PLANE, x, grid, "euler").state)
    errors = [float(np.sqrt(np.mean((end - exact) ** 2))) for end in (together, apart, euler)]
    assert errors[1] < 1.25 * errors[0]
    assert errors[1] < 0.75 * errors[2]


@EACH
def test_divergence_holds_the_batchs_numbers_fixed(name: str) -> None:
    """Autograd, which also moves the batch's numbers, differs by ``O(1/n)``."""
    s, t = EDM.level_at(1.0), EDM.level_at(0.4)
    gaps = []
    for n in (50, 800):
        x = torch.from_numpy(states((s, t), PLANE, n=n)).requires_grad_(True)
        step = Step.take(PLANE, get_solver(name), x.detach(), s, t)
        exact = np.asarray(Exact()(step, np.random.default_rng(0)))
        u = get_solver(name).step(PLANE, x, s, t, ()).residual
        own = [torch.autograd.grad(u[k, i], x, retain_graph=True)[0][k, i] for k in range(20)
               for i in range(2)]  # fmt: skip
        by_grad = np.array([float(g) for g in own]).reshape(20, 2).sum(axis=1)
        gaps.append(float(np.abs(by_grad - exact[:20]).max()))
    assert gaps[1] < gaps[0] / 6
    assert gaps[1] < 0.02


@EACH
def test_it_couples_the_batch_and_says_so(name: str) -> None:
    assert get_solver(name).couples_batch  # type: ignore[attr-defined]
    grid = uneven_grid(FLOW)
    x = states(grid, n=6)
    whole = solve(PLANE, x, grid, name).state
    assert np.abs(solve(PLANE, x[:3], grid, name).state - whole[:3]).max() > 1e-3


@EACH
@pytest.mark.parametrize("process", [EDM, FLOW], ids=lambda p: p.name)
def test_the_kit_finds_it_conforming_and_declines_what_needs_states_alone(
    name: str, process: Process
) -> None:
    rows = rows_of(from_solver(name, process), order=get_solver(name).order)
    assert [row for row in rows if row.verdict == "fails"] == []
    declined = {row.check: row.text for row in rows if row.verdict == "declined"}
    for check in ("one-point", "wasted", "method", "batch"):
        assert declined[check] == "its step depends on the whole batch, as it declares"


def test_it_is_checked_by_its_name() -> None:
    check_solver("unit-speed-2", order=get_solver("unit-speed-2").order)


def test_a_wrong_factor_loses_the_order() -> None:
    """``l`` itself in the place of ``l~``: the kit sees first order."""
    from steinlab.solvers import unit_speed

    class Stale(unit_speed.UnitSpeed):
        def step(self, *args: Any) -> Any:
            kept, unit_speed.carried = unit_speed.carried, lambda seen, _before: seen
            try:
                return super().step(*args)
            finally:
                unit_speed.carried = kept

    wrong = Stale("stale", 2, 2)
    rows = {row.check: row.verdict for row in rows_of(wrong, order=2)}
    assert rows["order-even"] == "fails"
    assert {row.verdict for row in rows_of(replace(wrong, order=1), order=1)} == {"ok", "declined"}


def test_steps_of_the_laws_flow_have_equal_length() -> None:
    """``|f|`` has root mean square 1 per coordinate under every forward law."""
    for s, t in itertools.pairwise(make_grid("edm", "karras", 6, final_zero=False)):
        x = states((s, t), PLANE, n=100_000)
        step = Step.take(PLANE, get_solver("unit-speed-1"), x, s, t)
        rest = x - PLANE(x, s)
        centred = rest - rest.mean(axis=0)
        share = np.sum(centred**2) / np.sum(centred * (x - x.mean(axis=0)))
        f = centred / (s.sigma * np.sqrt(share))
        assert np.mean(f**2) == pytest.approx(1.0, rel=0.02)
        assert step.candidate.evaluations == 1


def test_a_curve_uncouples_the_batch() -> None:
    """Each state alone is stepped as in its batch, and like a large batch's own numbers."""
    levels = given_grid(EDM, [20.0, 5.0, 1.5, 0.4, 0.1])
    shares = []
    for level in levels:
        x = states((level,), PLANE, n=100_000)
        seen = float(seen_variance(x, PLANE(x, level), level))
        shares.append(level.ratio**2 / (seen + level.ratio**2))
    ratios = tuple(level.ratio for level in reversed(levels))
    curve = Curve("plane", 100_000, ratios, tuple(reversed(shares)))
    x = states(levels, PLANE, n=4000)
    for name in ("unit-speed-1", "unit-speed-2", "unit-speed-3"):
        alone = replace(get_solver(name), curve=curve)  # type: ignore[type-var]
        assert not couples_batch(alone)
        together = np.asarray(solve(PLANE, x, levels, alone).state)
        one = np.asarray(solve(PLANE, x[7:8], levels, alone).state)
        np.testing.assert_allclose(one, together[7:8], rtol=1e-12)
        own = np.asarray(solve(PLANE, x, levels, name).state)
        assert np.sqrt(np.mean((own - together) ** 2)) < 0.02
        rows = rows_of(from_solver(alone, EDM), order=1)
        assert {row.check for row in rows if row.verdict == "fails"} <= {"one-point", "scale"}


def test_a_curve_is_linear_between_levels_and_constant_beyond(tmp_path: Path) -> None:
    curve = Curve("any", 10, (0.5, 2.0), (0.2, 0.8))
    assert curve.variance(0.5) == pytest.approx(1.0)
    assert curve.variance(2.0) == pytest.approx(1.0)
    curve = Curve("any", 10, (0.5, 2.0), (0.2, 0.5))
    assert [curve.variance(s) for s in (0.1, 1.0, 9.0)] == pytest.approx([1.0, 2.5, 4.0])
    file = tmp_path / "curve.json"
    curve.save(file)
    assert Curve.load(file) == curve
    with pytest.raises(InputError, match="curve must be of the model other, got any"):
        curve.require_model("other")
    for change, message in (
        ({"kind": "table"}, "kind must be curve, got table, in .*curve.json"),
        ({"w": [0.2, 1.5]}, r"w must be in \(0, 1\], got"),
        ({"ratios": [2.0, 0.5]}, "ratios must be positive and increase"),
        ({"w": [0.2]}, "two levels or more, and one w for each"),
    ):
        file.write_text(json.dumps({**_read(curve, tmp_path), **change}))
        with pytest.raises(InputError, match=message):
            Curve.load(file)
    with pytest.raises(InputError, match=r"curve must be a readable JSON file, got .*none\.json"):
        Curve.load(tmp_path / "none.json")


def _read(curve: Curve, folder: Path) -> dict[str, Any]:
    curve.save(folder / "good.json")
    found: dict[str, Any] = json.loads((folder / "good.json").read_text())
    del found["sum"]
    return found


@pytest.mark.parametrize("before", [0.0, 1e-3, 0.05, 0.3, 1.0, 1.7, 2.4, 40.0])
def test_numbers_and_arrays_are_carried_alike(before: float) -> None:
    """``l sqrt(clip(l / l_1, 1/16, 9/4))`` by hand, for numbers and for one per state."""
    seen = 0.8
    share = seen / before if before else 1.0
    due = seen * min(max(share**0.5, 1 / 4), 3 / 2)
    assert carried(seen, before) == pytest.approx(due, rel=1e-14)
    found = carried(np.array([seen, 2 * seen]), np.array([before, 2 * before]))
    np.testing.assert_allclose(found, [due, 2 * due], rtol=1e-14)
