"""What every registered correction must do: turn and stretch with the data, keep the order or not.

A new entry of the registry is tested without a word here, but for its order, which it must declare.
"""

from __future__ import annotations

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel, exact_flow
from steinlab.corrections import CORRECTIONS
from steinlab.corrections.directions import DIRECTIONS
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import EDM
from steinlab.solvers import EULER, get_solver
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step

STEIN_MATCHED = (
    "law-matched",
    "law-matched-subspaces",
    "law-matched-moments",
    "gmm",
    "local",
)
KEEP = (
    *("none", *STEIN_MATCHED, "calibrated", "flow-oracle", "auto", "auto-v1", "pilot", "gated"),
    *("chooser", "epsilon-scale", "span-floor"),
)
LOSE = ("stein", "stein-lookahead", "tweedie", "next-level", "time-shift")
"""Whether a correction keeps a second-order solver's order, as its docstring says."""

OPTIONS = {name: {"significance": 3.0} for name in STEIN_MATCHED}
"""At fine steps the batch's own noise must not be acted on, or it limits the order."""

MEANS = np.array([[-1.0, 0.5], [1.0, -0.2]])
SPREADS = np.array([[[0.2, 0.05], [0.05, 0.4]], [[0.3, 0.0], [0.0, 0.1]]])
WEIGHTS = [0.3, 0.7]
RATIOS = [8.0, 3.0, 1.0, 0.3, 0.1]


def states(law: GaussianMixture, grid: Grid, n: int) -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.asarray(law.sample(n, rng) + grid[0].sigma * rng.standard_normal((n, law.dim)))


def ends(law: GaussianMixture, grid: Grid, x: np.ndarray, name: str) -> np.ndarray:
    run = solve(law, x, grid, get_solver("dpmpp-2m"), correction=CORRECTIONS[name]())
    return np.asarray(run.state)


@pytest.mark.parametrize("name", CORRECTIONS)
@pytest.mark.parametrize(("angle", "scale", "shift"), [(0.7, 1.0, 0.0), (0, 3.0, 0), (0, 1.0, 5.0)])
def test_it_turns_stretches_and_moves_with_the_data(
    name: str, angle: float, scale: float, shift: float
) -> None:
    """Where alpha stays 1; the noise levels stretch with the data."""
    c, s = np.cos(angle), np.sin(angle)
    turn = scale * np.array([[c, -s], [s, c]])
    law = GaussianMixture(WEIGHTS, MEANS, SPREADS)
    other = GaussianMixture(WEIGHTS, MEANS @ turn.T + shift, turn @ SPREADS @ turn.T)
    grid, wide = (given_grid(EDM, [k * r for r in RATIOS]) for k in (1.0, scale))
    x = states(law, grid, 300)
    ours, theirs = ends(law, grid, x, name), ends(other, wide, x @ turn.T + shift, name)
    size = max(1.0, np.abs(theirs).max())  # coefficients of 100 and more amplify rounding
    np.testing.assert_allclose(theirs, ours @ turn.T + shift, rtol=0, atol=1e-7 * size)


def test_every_correction_says_whether_it_keeps_the_order() -> None:
    assert set(KEEP) | set(LOSE) == set(CORRECTIONS)
    assert not set(KEEP) & set(LOSE)


@pytest.mark.parametrize("name", CORRECTIONS)
def test_the_order_observed_is_the_one_declared(name: str) -> None:
    """Heun between 16 and 32 steps: 2 where it is kept, else 1 at most."""
    law = GaussianMixture([0.4, 0.6], [-1.0, 1.5], [0.3, 0.5])
    errors = []
    for n in (16, 32):
        grid = given_grid(EDM, list(np.geomspace(1.0, 0.3, n + 1)))
        x = states(law, grid, 400)
        exact = exact_flow(law, x, grid[0], grid[-1]).state
        correction = CORRECTIONS[name](**OPTIONS.get(name, {}))
        run = solve(law, x, grid, get_solver("heun"), correction=correction)
        errors.append(float(np.sqrt(np.mean((run.state - exact) ** 2))))
    order = np.log2(errors[0] / errors[1])
    if name in KEEP:
        assert order > 1.7
    else:
        assert order < 1.2


@pytest.mark.parametrize("name", ["noise", "state", "slope", "local"])
def test_a_shift_of_the_data_leaves_a_direction_alone_where_alpha_changes(name: str) -> None:
    s, t = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)
    found = []
    for shift in (0.0, 5.0):
        law = GaussianMixture(WEIGHTS, MEANS + shift, SPREADS)
        x = np.random.default_rng(0).standard_normal((50, 2)) + s.alpha * shift
        step = Step.take(law, EULER, x, s, t)
        found.append(DIRECTIONS[name](step))
    np.testing.assert_allclose(found[1], found[0], atol=1e-12)
