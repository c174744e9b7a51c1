"""Draws that are answered, and rounding on its own grids, of subjects whose numbers are known."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture
from steinlab.diffusion.grids import make_grid
from steinlab.testing.bench import EPS
from steinlab.testing.checks import own_grids
from steinlab.testing.checks.conduct import UNITS
from steinlab.testing.noise import Probes, Seeded, answered, probed
from steinlab.testing.step_trace import StepError, Trace
from steinlab.testing.subject import SubjectError
from tests.steinlab.testing.told import moved


class Constant:
    """Answers every draw with one number."""

    def __init__(self, value: float) -> None:
        self.value = value

    def draw(self, real: np.ndarray) -> np.ndarray:
        return np.full(real.shape, self.value)

    def between(self, shape: tuple[int, ...], *_: float) -> np.ndarray:
        return np.full(shape, self.value)


def test_every_way_to_draw_a_normal_is_answered_with_its_mean_and_scale() -> None:
    with answered(Constant(2.0)):
        rng, x = np.random.default_rng(0), torch.zeros(2, 3, dtype=torch.float64)
        found = [
            (np.random.randn(4), 2.0),  # noqa: NPY002
            (np.random.standard_normal(4), 2.0),  # noqa: NPY002
            (np.random.normal(size=4), 2.0),  # noqa: NPY002
            (np.random.normal(1.0, 3.0, 4), 7.0),  # noqa: NPY002
            (np.random.normal(loc=1.0, scale=0.5, size=(2, 2)), 2.0),  # noqa: NPY002
            (np.random.normal(1.0, 0.0, 4), 1.0),  # noqa: NPY002
            (rng.standard_normal(4), 2.0),
            (rng.normal(1.0, 3.0, 4), 7.0),
            (rng.normal(size=(2, 2)), 2.0),
            (torch.randn(2, 3), 2.0),
            (torch.randn_like(x), 2.0),
            (x.clone().normal_(), 2.0),
            (x.clone().normal_(1.0, 3.0), 7.0),
        ]
        kept = np.empty(4)
        assert rng.standard_normal(out=kept) is kept
        assert rng.standard_normal(4, dtype=np.float32).dtype == np.float32
    for values, due in found:
        assert np.asarray(values).size in (4, 6)
        np.testing.assert_array_equal(np.asarray(values), due)
    np.testing.assert_array_equal(kept, 2.0)
    assert np.random.randn(4).std() > 0  # noqa: NPY002 - given back


def test_increments_of_a_path_add_up_and_those_inside_are_a_bridge() -> None:
    source, shape = Seeded(3), (50_000,)
    whole = source.between(shape, 0.0, 4.0)
    first, second = source.between(shape, 0.0, 1.0), source.between(shape, 1.0, 4.0)
    np.testing.assert_allclose(first + 3**0.5 * second, 2 * whole, atol=1e-12)
    np.testing.assert_allclose(source.between(shape, 4.0, 0.0), -whole)
    beyond = source.between(shape, 4.0, 6.0)
    inside = [source.between(shape, *ends) for ends in ((4.0, 5.5), (5.5, 6.0), (4.0, 4.5))]
    for a, b in ((first, second), (whole, beyond), inside[:2], inside[1:]):
        assert abs(np.mean(a * b)) < 4 * 50_000**-0.5
        assert abs(np.mean(b**2) - 1) < 4 * (2 / 50_000) ** 0.5
    assert not np.any(source.between(shape, 2.0, 2.0))


def test_a_run_on_probes_ends_as_its_coefficients() -> None:
    """``x_t = t/s x + (1 - t/s) D + t z`` per step, with ``D = 0``: one column per draw."""

    def run(_denoiser: Any, x: np.ndarray, levels: Any) -> np.ndarray:
        rng = np.random.default_rng(0)
        for s, t in itertools.pairwise(levels):
            x = t / s * x + t * rng.standard_normal(x.shape)
        return x

    start = np.eye(1)
    found = probed(SimpleNamespace(run=run), None, start, (4.0, 2.0, 1.0))
    np.testing.assert_allclose(found, [[0.25, 0.5 * 2.0, 1.0]])


def test_increments_on_probes_are_shares_of_their_intervals() -> None:
    learnt = Probes(2)
    for ends in ((0.0, 1.0), (1.0, 4.0), (0.0, 4.0)):
        assert not np.any(learnt.between((1, 2), *ends))
    assert learnt.size == 2
    source = Probes(2, learnt)
    np.testing.assert_allclose(source.between((1, 4), 0.0, 4.0), [[0, 0, 0.5, 0.75**0.5]])
    np.testing.assert_allclose(source.between((1, 4), 4.0, 1.0), [[0, 0, 0, -1.0]])


class Planted:
    """A scheduler whose float32 run is off by so much on so many steps, and fails beyond."""

    kind = "scheduler"

    def __init__(self, process: str = "vp-linear", **off: float) -> None:
        self.process, self.off = process, {int(name[1:]): e for name, e in off.items()}

    def own_grid(self, steps: int) -> Any:
        if steps not in self.off:
            raise SubjectError(f"{steps} are too many")
        return make_grid(self.process, "karras", steps)

    def run(self, _: Any, x: np.ndarray, levels: Any, *, dtype: str = "float64") -> Any:
        off = self.off[len(levels) - 1] * (dtype == "float32")
        return SimpleNamespace(end=x + off * (np.abs(x) == np.abs(x).max()))


LINE = GaussianMixture([1.0], [[0.0]], 1.0)


def drift(**off: float) -> Any:
    return own_grids.drift(SimpleNamespace(subject=Planted(**off), line=LINE))  # type: ignore[arg-type]


def test_rounding_is_judged_per_step_where_there_is_most_of_it() -> None:
    """Sixteen units per step, thrice where the grid starts with signal: of steps beyond 20."""
    unit = 3 * UNITS * EPS["float32"]
    if make_grid("vp-linear", "karras", 20)[0].alpha < 1e-2:
        unit *= 10
    found = drift(n20=9e-3, n100=50 * unit, n500=100 * unit, n999=99.9 * unit)
    assert (found["verdict"], found["measured"]) == ("ok", pytest.approx(50 * unit, rel=1e-9))
    assert found["bound"] == pytest.approx(100 * unit)
    found = drift(n20=0.0, n100=50 * unit, n500=505 * unit, n999=999 * unit)
    assert (found["verdict"], found["measured"]) == ("fails", pytest.approx(505 * unit, rel=1e-9))
    assert found["text"].endswith(" at 20, 100, 500, 999 steps")
    assert "cancellation" in found["cause"]
    found = drift(n20=0.0, n100=50 * unit)
    assert found["text"].endswith(" at 20, 100 steps")
    assert drift(n20=0.0, n100=0.0)["bound"] is None


def test_what_says_nothing_of_rounding_is_declined() -> None:
    assert drift(n100=1.0) == {"verdict": "declined", "text": "20 are too many"} | {
        key: value for key, value in drift(n100=1.0).items() if key not in ("verdict", "text")
    }
    found = drift(n20=0.011, n100=0.0329)
    assert found["text"].startswith("its steps are not those of its levels: 1e-02, 3e-02 at 20")
    assert drift(n20=0.011, n100=0.0331)["verdict"] == "fails"
    assert drift(n20=0.009, n100=0.02)["verdict"] == "fails"
    assert drift(n20=0.009, n100=np.nan)["text"] == "not finite: said above"


def test_a_trace_is_a_table_of_its_steps() -> None:
    steps = (StepError(1, 80.0, 2.5, 0.5, 0.25, 0.75), StepError(2, 2.5, 0.0, 1e-3, 1e-3, 0.25))
    shown = str(Trace("mine", steps, 0.125, 2e-9)).splitlines()
    assert shown[0] == "mine: final error 1.250e-01 ± 2e-09"
    assert [line.split() for line in shown[2:]] == [
        ["1", "80", "2.5", "5.00e-01", "2.50e-01", "75.0", "%"],
        ["2", "2.5", "0", "1.00e-03", "1.00e-03", "25.0", "%"],
    ]
    assert len({len(line) for line in shown[2:]}) == 1
    assert steps[0].as_json() == {
        "step": 1, "start": 80.0, "end": 2.5, "local": 0.5, "carried": 0.25, "share": 0.75,
    }  # fmt: skip


ROW = {"check": "one", "verdict": "ok", "text": "5 of 20, 1e-07", "cause": ""}


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({}, True),
        ({"measured": 0.505}, True),
        ({"measured": 0.52}, False),
        ({"measured": None}, False),
        ({"bound": 1.1}, False),
        ({"text": "5 of 20, 2e-07"}, True),
        ({"text": "5 of 20, 3e-07"}, False),
        ({"text": "6 of 20, 1e-07"}, False),
        ({"text": "5 in 20, 1e-07"}, False),
        ({"verdict": "fails"}, False),
        ({"cause": "a clip"}, False),
        ({"check": "two"}, False),
    ],
)
def test_a_report_is_held_to_its_words_and_numbers(change: dict[str, Any], same: bool) -> None:
    row = {**ROW, "measured": 0.5, "bound": 1.0}
    assert (list(moved([row], [{**row, **change}])) == []) == same


def test_far_below_the_bound_the_words_alone_are_held() -> None:
    row = {**ROW, "measured": 1e-3, "bound": 1.0}
    for other in ({"measured": 0.09}, {"text": "1 of 2, 3e-09"}):
        assert list(moved([row], [{**row, **other}])) == []
    for other in ({"measured": 0.2}, {"text": "1 in 2, 3e-09"}, {"bound": 2.0}):
        assert list(moved([row], [{**row, **other}])) != []
