# ruff: noqa: ARG002, ARG005 - what is planted is called as what it stands for
"""Each check's bound, told by planted errors just below it and just above it.

The checks are called on planted benches that hold only what the check asks for, so that the error
is known to the last digit and a bound that is off by a few percent fails.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.testing.adapters import as_subject
from steinlab.testing.bench import EPS, MEAN, PLANE_STATES, Bench, Declared, Order, _flow_end
from steinlab.testing.checks import adaptive, calls, conduct, exactness, orders, own_grids
from steinlab.testing.checks import stochastic as by_law
from steinlab.testing.subject import Call, Run, SubjectError
from tests.steinlab.testing import loops

DOUBLE, SINGLE = 2.0**-53, 2.0**-24
SIDES = [(0.99, "ok"), (1.01, "fails")]
"""An error in units of its bound, and the verdict."""


def planted(**given: Any) -> Any:
    """A bench of what a check asks for."""
    own: dict[str, Any] = {"eps": DOUBLE, "stochastic": False, "draws": "none", "reading": None}
    return SimpleNamespace(**{"declared": Declared(), "takes_tolerance": False, **own, **given})


def level(sigma: float) -> NoiseLevel:
    return NoiseLevel(1.0, sigma)


def levels(*sigmas: float) -> tuple[NoiseLevel, ...]:
    return tuple(level(one) for one in sigmas)


# rounding


@pytest.mark.parametrize(
    ("size", "linear", "terms"), [(7.0, True, 7.0), (0.5, True, 1.0), (7.0, False, 10.0)]
)
def test_a_runs_rounding_is_32_units_per_step_and_term(
    size: float, linear: bool, terms: float
) -> None:
    bench = planted(reading=SimpleNamespace(size=size, linear=linear))
    assert exactness.rounding(bench, 12) == pytest.approx(
        32 * DOUBLE * 12 * terms, rel=1e-12, abs=0
    )


def test_a_runs_rounding_without_a_reading_counts_ten_terms() -> None:
    assert exactness.rounding(planted(eps=SINGLE), 5) == pytest.approx(
        1600 * SINGLE, rel=1e-12, abs=0
    )


# calls


@pytest.mark.parametrize(
    ("count", "declared", "verdict"),
    [
        (12, 1, "ok"),
        (11, 1, "ok"),
        (10, 1, "fails"),
        (13, 1, "fails"),
        (24, 2, "ok"),
        (22, 2, "ok"),
        (21, 2, "fails"),
        (25, 2, "fails"),
        (7, None, "ok"),
    ],
)
def test_evaluations_are_counted_but_for_the_last_steps(
    count: int, declared: int | None, verdict: str
) -> None:
    asked = []

    def grid(name: str, steps: int) -> tuple[str, int]:
        asked.append((name, steps))
        return name, steps

    bench = planted(
        subject="it", grid=grid, declared=Declared(evaluations=declared),
        carried=lambda subject, grid: (Run(np.zeros((1, 2)), (None,) * count, "float64"), None),  # type: ignore[arg-type]
    )  # fmt: skip
    found = calls.evaluations(bench)
    assert asked == [("uneven", 12)]
    assert found["verdict"] == verdict
    assert found["measured"] == count / 12
    assert found["text"].startswith(f"{count} in 12 steps, {count / 12:.3g} per step")
    if declared:
        assert found["bound"] == declared
        assert found["text"].endswith(f"; {declared} per step is declared") == (verdict == "fails")


def reading_of(rows: Any, sigmas: list[float]) -> Any:
    return SimpleNamespace(
        rows=np.array(rows), asked=[level(one) for one in sigmas], linear=True, size=1.0
    )


@pytest.mark.parametrize(("eps", "bound"), [(DOUBLE, 1e-9), (SINGLE, 64 * SINGLE)])
@pytest.mark.parametrize("side", [0.99, 1.01])
def test_an_output_is_wasted_below_its_share_of_the_largest_weight(
    eps: float, bound: float, side: float
) -> None:
    """The second output has the weight ``w`` in the end alone, the largest weight is 4."""
    w = side * bound * 4.0
    rows = [[1.0, 0.0, 0.0], [0.5, 4.0, 0.0], [0.25, 1.0, w]]
    found = calls.wasted(planted(eps=eps, reading=reading_of(rows, [2.0, 1.0])))
    assert found["verdict"] == ("fails" if side < 1 else "ok")
    if side < 1:
        assert found["text"] == "the output of call 2 changes nothing; 1 of 2 calls"
        assert (found["measured"], found["bound"]) == (1.0, 0.0)
        assert found["cause"] == "an output is computed and dropped"


@pytest.mark.parametrize(
    ("gap", "apart", "again"),
    [(0.99e-9, 0.0, True), (1.01e-9, 0.0, False), (0.0, 0.9e-9, True), (0.0, 2e-9, False)],
)
def test_a_call_repeats_an_earlier_one_at_its_level_and_state(
    gap: float, apart: float, again: bool
) -> None:
    rows = [[1.0, 0.0, 0.0], [1.0, gap, 0.0], [0.5, 0.5, 0.5]]
    found = calls.wasted(planted(reading=reading_of(rows, [1.0, 1.0 + apart])))
    assert (found["text"] == "call 2 repeats an earlier one; 1 of 2 calls") == again
    assert found["verdict"] == ("fails" if again else "ok")


def test_what_cannot_be_read_is_not_called_wasted() -> None:
    assert calls.wasted(planted())["verdict"] == "declined"
    bent = SimpleNamespace(linear=False)
    assert calls.wasted(planted(reading=bent))["verdict"] == "declined"


PLACES = [
    ((8.0, 4.0), 6.0, "(sigma + sigma_next) / 2"),
    ((8.0, 2.0), 4.0, "sqrt(sigma sigma_next)"),
    ((8.0, 2.0), 2.0, "sigma_next"),
    ((8.0, 2.0), 8.0, "sigma"),
    ((8.0, 2.0), 8.0 + 7.9e-6, "sigma"),
    ((8.0, 2.0), 8.0 + 8.1e-6, "sigma 8 between 8 and 2"),
    ((8.0, 2.0), 3.0, "sigma 3 between 8 and 2"),
]


@pytest.mark.parametrize(("step", "sigma", "name"), PLACES)
def test_a_level_inside_a_step_is_named(step: tuple[float, float], sigma: float, name: str) -> None:
    assert calls._place(sigma, *step) == name


NEXT = "the model is asked at sigma_next (sigmas[i+1]) where sigma (sigmas[i]) is due"
MOVED = (
    "the model is asked at sigma (sigmas[i]) for a state that has moved on to sigma_next "
    "(sigmas[i+1])"
)
MISPLACED = [
    ((4.0, 8.0), NEXT),
    ((2.0, 4.0), NEXT),
    ((8.0, 4.0), MOVED),
    ((4.0, 2.0), MOVED),
    ((2.0, 1.0), MOVED),
    ((2.0, 8.0), "the model is asked at sigmas[i+2] where sigma (sigmas[i]) is due"),
    ((8.0, 1.0), "the model is asked at sigmas[i-3] where sigma (sigmas[i]) is due"),
    ((4.0, 6.0), "evaluation 5 at sigma 4, expected in 8 to 4 at step 1: the next level in place"
     " of the middle"),
    ((2.0, 3.0), "evaluation 5 at sigma 2, expected in 4 to 2 at step 2: the next level in place"
     " of the middle"),
    ((4.0, 3.0), "evaluation 5 at sigma 4, expected in 4 to 2 at step 2: the first level in place"
     " of the middle"),
    ((3.0, 3.5), "evaluation 5 asks at (sigma + sigma_next) / 2, its state is at"
     " sigma 3.5 between 4 and 2"),
    ((3.0, 4.0), "evaluation 5 asks at (sigma + sigma_next) / 2, its state is at sigma"),
    ((3.0, 2.0), "evaluation 5 asks at (sigma + sigma_next) / 2, its state is at sigma_next"),
    ((3.0, 6.5), "evaluation 5 asks at sigma 3, but on constant data its state is at sigma 6.5:"
     " mend the level or the state"),
    ((8.0, 3.0), "evaluation 5 asks at sigma 8, but on constant data its state is at sigma 3:"
     " mend the level or the state"),
    ((8.0 + 7.9e-6, 4.0), MOVED),
    ((8.0 + 8.1e-6, 4.0), "evaluation 5 asks at sigma 8, but on constant data its state is at"
     " sigma 4: mend the level or the state"),
    ((8.0, 4.0 + 3.9e-6), MOVED),
    ((8.0, 4.0 + 4.1e-6), "evaluation 5 at sigma 8, expected in 8 to 4 at step 1: the first level"
     " in place of the middle"),
]  # fmt: skip


@pytest.mark.parametrize(("pair", "text"), MISPLACED)
def test_a_misplaced_level_is_named(pair: tuple[float, float], text: str) -> None:
    """``pair``: the level asked, and the one that the state is at, on levels 8, 4, 2, 1."""
    assert calls._misplaced(levels(8.0, 4.0, 2.0, 1.0), *pair, 4) == text


def asked(
    pairs: list[tuple[float, tuple[float, float]]], *, limit: bool = False, **given: Any
) -> Any:
    """Judge calls, each a level asked and what its state carries, on levels 8, 4, 2, 1."""
    run = Run(
        np.zeros((1, 2)),
        tuple(Call(level(s), np.zeros(1), np.zeros(1)) for s, _ in pairs),
        "float64",
    )
    rows = np.array([*(carried for _, carried in pairs), (1.0, 1.0)])
    bench = planted(
        subject=SimpleNamespace(kind=given.pop("kind", "loop")), above=None, process=EDM,
        carried=lambda subject, grid: (run, rows), **given,
    )  # fmt: skip
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(calls, "in_the_limit", lambda bench: limit)
        return calls.asked_on(bench, levels(8.0, 4.0, 2.0, 1.0))


ROUNDING = 32 * DOUBLE * 12 * 10


@pytest.mark.parametrize(("side", "verdict"), SIDES)
@pytest.mark.parametrize("part", [0, 1])
def test_a_state_is_at_its_level_up_to_rounding(side: float, verdict: str, part: int) -> None:
    """Relative to the level asked, 4, not first in a run that is out of order."""
    off = np.array([1.0, 4.0])
    off[part] += side * ROUNDING * 4.0
    found = asked([(4.0, tuple(off)), (8.0, (1.0, 8.0))])
    assert found["verdict"] == verdict
    if verdict == "fails":
        assert found["measured"] == pytest.approx(1.01 * ROUNDING, rel=1e-2, abs=0)
        assert found["bound"] == pytest.approx(ROUNDING, rel=1e-12, abs=0)


@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_a_state_between_levels_may_be_exact_in_the_limit(side: float, verdict: str) -> None:
    """In float32 1.01 of the rounding, 2.3e-4, is between two levels; 1e-7 off is at one."""
    bound = 32 * SINGLE * 12 * 10
    pairs = [(4.0, (1.0, 4.0 * (1 + side * bound))), (8.0, (1.0, 8.0))]
    assert asked(pairs, eps=SINGLE)["verdict"] == verdict
    limit = "declined" if verdict == "fails" else "ok"
    assert asked(pairs, eps=SINGLE, limit=True)["verdict"] == limit
    pairs[0] = (4.0, (1.0 + 1.01 * bound * 4, 4.0 * (1 + 1e-7)))
    assert asked(pairs, eps=SINGLE, limit=True)["verdict"] == "fails"


@pytest.mark.parametrize(
    ("sigma", "verdict"), [(8.007, "ok"), (8.009, "fails"), (0.9991, "ok"), (0.9989, "fails")]
)
def test_levels_outside_the_grid_fail_by_a_thousandth(sigma: float, verdict: str) -> None:
    found = asked([(8.0, (1.0, 8.0)), (sigma, (1.0, sigma))])
    assert found["verdict"] == verdict
    if verdict == "fails":
        assert found["text"] == f"call 2 asks at sigma {sigma:.4g}, outside the grid"
    assert asked([(8.0, (1.0, 8.0)), (sigma, (1.0, sigma))], stochastic=True)["verdict"] == "ok"
    free = asked([(8.0, (1.0, 8.0)), (sigma, (1.0, sigma))], takes_tolerance=True)
    assert free["verdict"] == "ok"


def test_where_levels_are_right_other_checks_speak_of_the_states() -> None:
    right = [(8.0, (1.0, 8.0)), (4.0, (1.0, 4.4)), (2.0, (1.0, 2.0))]
    assert asked(right)["verdict"] == "ok"
    assert asked([(8.0, (1.0, 8.8)), *right[1:]])["verdict"] == "fails"  # at the first call
    assert asked([right[0], (2.0, (1.0, 2.2)), (4.0, (1.0, 4.0))])["verdict"] == "fails"
    assert (
        asked([(1e-7, (1.0, 5.0)), *right[:1]], kind="velocity", stochastic=True)["verdict"] == "ok"
    )  # no state is there


# exactness


def carries(off: Callable[[int], float], **given: Any) -> Any:
    """A bench whose runs of ``n`` steps end ``off(n)`` beside the level that is due."""

    def carried(subject: Any, grid: Any) -> tuple[None, np.ndarray]:
        n = subject if isinstance(subject, float) else len(grid) - 1
        return None, np.array([[1.0, 2.0 * (1 + off(n))]])

    return planted(
        subject=SimpleNamespace(kind="loop", at_tolerance=float), above=None, process=EDM,
        grid=lambda name, n, wide=False, zero=False: levels(*np.geomspace(20.0, 2.0, n + 1)),
        carried=carried, **given,
    )  # fmt: skip


@pytest.mark.parametrize(("slope", "met"), [(1.69, False), (1.71, True), (2.5, True)])
def test_one_point_data_are_met_in_the_limit_as_fast_as_the_order(slope: float, met: bool) -> None:
    bench = carries(lambda n: n**-slope, declared=Declared(order=2), calls_per_step=2.0)
    found = exactness.in_the_limit(bench)
    assert bool(found) == met
    if met:
        sizes = ", ".join(f"{n**-slope:.0e}" for n in (24, 48, 96))
        assert found == f"met in the limit only: {sizes} off at 24, 48, 96 steps"


@pytest.mark.parametrize(("slope", "met"), [(0.39, False), (0.41, True)])
def test_with_a_tolerance_the_gap_falls_as_its_power(slope: float, met: bool) -> None:
    bench = carries(lambda tolerance: tolerance**slope, takes_tolerance=True)
    found = exactness.in_the_limit(bench)
    assert bool(found) == met
    if met:
        sizes = ", ".join(f"{one**slope:.0e}" for one in (1e-2, 1e-4, 1e-6))
        assert found == f"met in the limit only: {sizes} off at tolerances 1e-2, 1e-4, 1e-6"


def test_first_order_methods_and_schedulers_have_no_limit() -> None:
    def gap(n: int) -> float:
        return n**-3.0

    assert (
        exactness.in_the_limit(carries(gap, declared=Declared(order=1), calls_per_step=1.0)) == ""
    )
    assert exactness.in_the_limit(carries(gap, stochastic=True)) == ""
    bench = carries(gap, declared=Declared(order=2), calls_per_step=2.0)
    bench.subject.kind = "scheduler"
    assert exactness.in_the_limit(bench) == ""


@pytest.mark.parametrize(
    ("alpha", "sigma", "back"),
    [
        (1.0, 2.0, 2),
        (1.0, 4.0, 3),
        (1.0, 8.0, 0),
        (1.0, 1.0, 0),
        (1.0, 2.0 + 1.9e-06, 2),
        (1.0, 2.0 + 2.1e-06, 0),
        (1.0 + 1.9e-06, 2.0, 2),
        (1.0 + 2.1e-06, 2.0, 0),
    ],
)
def test_a_run_that_stops_early_is_told_by_its_level(alpha: float, sigma: float, back: int) -> None:
    """Ends of a datum 3 with the two signs of noise; the first level of a run is no end of one."""
    end = np.array([3 * alpha + sigma, 3 * alpha - sigma])
    found = exactness._unfinished(levels(8.0, 4.0, 2.0, 1.0), end, 3.0)
    text = f"the run ends at sigmas[-{back}]: it takes no step from there to sigmas[-1]"
    assert found == (text if back else "")


def ends(gap: float, start: Any = None) -> Any:
    """A subject whose runs end at ``alpha data + sigma eps``, the largest state off by ``gap``."""
    del start

    class One:
        kind, processes, name = "loop", (EDM,), "planted"

        def run(self, denoiser: Any, x: Any, grid: Any, **_: Any) -> Run:
            data = denoiser(x, grid[0])
            noise = (x - grid[0].alpha * data) / grid[0].sigma
            end = grid[-1].alpha * data + grid[-1].sigma * noise
            return Run(end + gap * (np.abs(data) + grid[0].sigma), (), "float64")

        def own_grid(self, steps: int) -> None:
            return None

    return One()


@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_one_point_data_are_carried_to_rounding(
    side: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(exactness, "rounding", lambda bench, steps: 1e-9 * steps)
    monkeypatch.setattr(exactness, "in_the_limit", lambda bench: "")
    subject = ends(side * 12e-9)
    bench: Any = Bench(subject)
    bench.reading = bench.above = None
    bench.__dict__ |= {"above": subject, "ends_at_zero": True, "reading": None, "eps": DOUBLE}
    monkeypatch.setattr(Bench, "above", subject)
    found = exactness.one_point(bench)
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(side * 12e-9, rel=1e-3, abs=0)
    assert found["bound"] == pytest.approx(12e-9, rel=1e-12, abs=0)
    if verdict == "fails":
        assert "on a grid of 12 steps that ends above zero" in found["text"]


# conduct


@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_neighbours_change_a_state_by_rounding_at_most(side: float, verdict: str) -> None:
    """64 units per step of six; the largest state is 4."""

    def run(denoiser: Any, x: Any, grid: Any) -> Run:
        end = 2.0 * x
        return Run(end + (side * 64 * 6 * SINGLE * 4.0 if len(x) == 1 else 0.0), (), "float64")

    asked = []
    bench = planted(
        eps=SINGLE, grid=lambda name, n: asked.append((name, n)) or levels(2.0, 1.0), line=None,
        line_states=lambda level: np.linspace(-2.0, 2.0, 9)[:, None],
        subject=SimpleNamespace(run=run),
    )  # fmt: skip
    found = conduct.batch(bench)
    assert found["verdict"] == verdict
    assert asked == [("uneven", 6)]
    assert found["measured"] == pytest.approx(side * 384 * SINGLE, rel=1e-9, abs=0)
    assert found["bound"] == 384 * SINGLE
    assert found["error"] == SINGLE


def test_states_are_compared_at_both_ends_and_in_the_middle() -> None:
    for k in range(9):

        def run(denoiser: Any, x: Any, grid: Any, k: int = k) -> Run:
            end = x.copy()
            if len(x) == 9:
                end[k] += 1.0
            return Run(end, (), "float64")

        bench = planted(
            grid=lambda name, n: levels(2.0, 1.0), line=None, subject=SimpleNamespace(run=run),
            line_states=lambda level: np.linspace(-2.0, 2.0, 9)[:, None],
        )  # fmt: skip
        assert conduct.batch(bench)["verdict"] == ("fails" if k in (0, 4, 8) else "ok")


def gaussian_bench(off: Callable[[Any, Any], Any], **given: Any) -> Any:
    """A bench whose runs on Gaussian data end ``off(exact, levels)`` beside the exact end."""
    bench = Bench(as_subject(loops.euler))

    def run(denoiser: Any, x: Any, grid: Any, dtype: str = "float64") -> Run:
        exact = bench.gaussian_end(x, grid[0], grid[-1])
        return Run(exact + off(x, grid) * (dtype == given.get("moved", "float64")), (), dtype)

    subject = SimpleNamespace(run=run, kind=given.get("kind", "loop"), name="planted")
    return planted(
        subject=subject, above=subject, process=EDM, grid=bench.grid, wide=bench.wide,
        gaussian=bench.gaussian, gaussian_states=bench.gaussian_states,
        gaussian_end=bench.gaussian_end, reading=given.get("reading"), eps=given.get("eps", DOUBLE),
    )  # fmt: skip


@pytest.mark.parametrize("begin", [5, 12, 13, 14])
@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_a_run_from_midway_errs_by_three_eulers_at_most(
    begin: int, side: float, verdict: str
) -> None:
    """At a third and four fifths of fifteen steps, and with two steps and one left."""

    def off(x: Any, grid: Any) -> Any:
        if len(grid) != 16 - begin:
            return 0.0
        bench = Bench(as_subject(loops.euler))
        exact = bench.gaussian_end(x, grid[0], grid[-1])
        euler = np.asarray(solve(bench.gaussian, x, grid, EULER).state)
        return side * 3.0 * np.max(np.abs(euler - exact))

    found = conduct.midway(gaussian_bench(off))
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(3.0 * side, rel=1e-6, abs=0)
    assert found["bound"] == 3.0
    tail = "; at most 3" if verdict == "fails" else ""
    assert found["text"] == f"{3.0 * side:.2g} of Euler's error{tail}"


@pytest.mark.parametrize("least", [14, 4, 2])
def test_a_run_too_short_to_run_is_told_by_its_steps(least: int) -> None:
    def off(x: Any, grid: Any) -> Any:
        if len(grid) - 1 < least:
            raise SubjectError("too short")
        return 0.0

    left = next(15 - b for b in (5, 12, 13, 14) if 15 - b < least)
    found = conduct.midway(gaussian_bench(off))
    assert found["verdict"] == "fails"
    assert found["cause"] == f"it takes a run to have more than {left} steps"
    assert conduct.midway(gaussian_bench(off, kind="scheduler"))["verdict"] == "declined"


@pytest.mark.parametrize("n", [20, 100])
@pytest.mark.parametrize(("side", "verdict"), SIDES)
@pytest.mark.parametrize(("size", "factor"), [(5.0, 1.0), (40.0, 4.0), (None, 1.0)])
def test_float32_loses_16_units_per_step_at_most(
    n: int, side: float, verdict: str, size: float | None, factor: float
) -> None:
    """Times the coefficients' size over the first level, 10, where that is more than one."""
    bound = 16 * n * SINGLE * factor

    def off(x: Any, grid: Any) -> Any:
        bench = Bench(as_subject(loops.euler))
        largest = max(np.max(np.abs(bench.gaussian_end(x, grid[0], grid[-1]))), 1.0)
        return side * bound * largest if len(grid) == n + 1 else 0.0

    reading = None if size is None else SimpleNamespace(size=size, linear=True)
    found = conduct.float32(gaussian_bench(off, moved="float32", reading=reading))
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(side * bound, rel=1e-6, abs=0)
    assert found["bound"] == pytest.approx(bound, rel=1e-12, abs=0)
    assert found["text"] == f"{side * bound / SINGLE:.0f} units at {n} steps"
    assert found["error"] == SINGLE


def test_a_state_that_is_no_number_in_float32_fails() -> None:
    found = conduct.float32(gaussian_bench(lambda x, grid: np.nan, moved="float32"))
    assert found["verdict"] == "fails"


def test_two_runs_are_compared_to_the_bit() -> None:
    a = np.array([1.0, np.nan])
    assert conduct._same(a, a.copy(), "x")["text"] == "to the bit"
    found = conduct._same(np.array([1.0, 2.0]), np.array([1.0, 2.25]), "two runs differ")
    assert (found["verdict"], found["text"], found["measured"], found["bound"]) == (
        "fails", "two runs differ by 2.5e-01", 0.25, 0.0,
    )  # fmt: skip
    assert found["cause"] == "history kept between runs"


@pytest.mark.parametrize(
    ("rows", "firsts", "remembers"),
    [
        ([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25, 0.5]], [0, 1], False),  # Euler
        ([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.0, 0.75]], [0, 1], True),
        ([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25 + 0.9e-6 * 0.5, 0.5]], [0, 1], False),
        ([[1, 0, 0], [0.5, 0.5, 0], [0.25, 0.25 + 1.1e-6 * 0.5, 0.5]], [0, 1], True),
    ],
)
def test_a_past_is_what_a_state_alone_does_not_give(
    rows: list[list[float]], firsts: list[int], remembers: bool
) -> None:
    reading = SimpleNamespace(rows=np.array(rows), linear=True, first_calls=lambda: firsts)
    assert conduct._remembers(planted(reading=reading)) == remembers


def test_a_past_is_assumed_where_nothing_can_be_read() -> None:
    assert conduct._remembers(planted())
    assert conduct._remembers(planted(reading=SimpleNamespace(linear=False)))


# orders


def errors_of(slope: float, steps: tuple[int, ...] = (32, 64, 128)) -> dict[int, float]:
    return {n: n**-slope for n in steps}


@pytest.mark.parametrize(("slope", "verdict"), [(1.79, "fails"), (1.81, "ok")])
def test_an_order_may_be_a_fifth_short(slope: float, verdict: str) -> None:
    order = Order(slope, 0.05, {})
    found = orders._judged(planted(declared=Declared(order=2)), order, 2, 0.2, errors_of(slope))
    assert found["verdict"] == verdict
    assert (found["measured"], found["bound"], found["error"]) == (slope, 1.8, 0.05)
    assert found["text"].endswith("; 2 is declared") == (verdict == "fails")
    sizes = ", ".join(f"{n**-slope:.1e}" for n in (32, 64, 128))
    assert f"{slope:.2f} ± 0.05; errors {sizes} at 32, 64, 128 steps" in found["text"]


@pytest.mark.parametrize(
    ("value", "error", "verdict"),
    [
        (1.5, 0.49, "fails"),
        (1.5, 0.51, "declined"),
        (1.2, 0.59, "fails"),
        (1.2, 0.61, "declined"),
        (2.3, 0.49, "ok"),
        (2.3, 0.51, "declined"),
        (2.4, 0.59, "ok"),
        (2.4, 0.61, "declined"),
    ],
)
def test_an_order_is_undecided_within_its_error_above_a_half(
    value: float, error: float, verdict: str
) -> None:
    """It stands 0.3 or 0.6 from what is asked, 1.8, on either side."""
    order = Order(value, error, {})
    assert orders._judged(planted(), order, 2, 0.2, errors_of(2.0))["verdict"] == verdict


def test_an_order_that_nobody_declared_is_expected_of_the_outputs() -> None:
    texts = [
        orders._judged(planted(), Order(0.1, 0.0, {}), k, 0.2, errors_of(1.0))["text"]
        for k in (1, 2)
    ]
    assert texts[0].endswith("; 1 is expected of any step")
    assert texts[1].endswith("; 2 is expected of a step of two outputs or more")
    assert orders._judged(planted(), None, 1, 0.2, errors_of(1.0))["verdict"] == "declined"
    wrong = orders._judged(planted(), None, 1, 0.2, {32: np.inf, 64: 1.0})
    assert (wrong["verdict"], wrong["text"]) == (
        "fails",
        "not finite: errors inf, 1.0e+00 at 32, 64 steps",
    )


@pytest.mark.parametrize(
    ("declared", "calls", "order"),
    [(1, 1.0, 1), (2, 1.0, 2), (3, 1.0, 2), (3, 1.9, 3), (4, 1.1, 2), (4, 1.2, 3), (4, 3.0, 4)],
)
def test_the_order_asked_is_capped_by_the_start(declared: int, calls: float, order: int) -> None:
    bench = planted(declared=Declared(order=declared), calls_per_step=calls)
    assert orders.wanted(bench) == order


@pytest.mark.parametrize(("calls", "takes"), [(1.49, 1), (1.51, 2), (3.0, 2)])
def test_what_cannot_be_read_takes_its_calls(calls: float, takes: int) -> None:
    assert orders.outputs(planted(calls_per_step=calls)) == takes


@pytest.mark.parametrize(("share", "takes"), [(0.9e-6, 1), (1.1e-6, 2)])
def test_outputs_are_combined_from_a_millionth_of_the_largest_on(share: float, takes: int) -> None:
    """Five steps of one call; the third takes a share of the output before."""
    rows = np.zeros((6, 6))
    rows[0, 0] = 1.0
    for k in range(5):
        rows[k + 1] = 0.5 * rows[k]
        rows[k + 1, k + 1] += 1.0
    rows[3, 2] += share
    reading = SimpleNamespace(rows=rows, linear=True, first_calls=lambda: [0, 1, 2, 3, 4])
    assert orders.outputs(planted(reading=reading, calls_per_step=1.0)) == takes


def reader(values: dict[int, float], least: float) -> Any:
    bench: Any = Bench(as_subject(loops.euler))
    return orders._read(
        bench, values.__getitem__, lambda n: 1e-15, (32, 64, 128), (256, 512), least=least
    )


def test_an_order_is_refined_where_it_falls_short_by_less_than_its_error() -> None:
    """Slopes 1.5, 1.75, then 1.9 and 1.95: the error of the first two is 0.25."""
    slopes = {64: 1.5, 128: 1.75, 256: 1.9, 512: 1.95}
    values = {32: 1.0}
    for n, slope in slopes.items():
        values[n] = values[n // 2] * 2.0**-slope
    for least, refined in ((1.74, False), (1.76, True), (1.99, True), (2.01, False)):
        order, errors = reader(values, least)
        assert (len(errors) == 5) == refined, least
        assert order.value == pytest.approx(1.95 if refined else 1.75, abs=1e-9)
        assert order.error == pytest.approx(0.05 if refined else 0.25, abs=1e-9)


def test_an_order_in_doubt_is_read_from_the_first_run_to_the_finest() -> None:
    """Slopes 1, 1.6, 2 and 2: from the first run to the third 1.3, to the last 1.65."""
    values = {32: 1.0, 64: 2.0**-1, 128: 2.0**-2.6, 256: 2.0**-4.6, 512: 2.0**-6.6}
    order, errors = reader(values, 1.8)
    assert set(errors) == {32, 64, 128, 256, 512}
    assert order.value == pytest.approx(6.6 / 4, rel=1e-6, abs=0)
    assert order.error == pytest.approx(6.6 / 4 - 2.6 / 2, rel=1e-6, abs=0)
    calm, few = reader(values | {128: 2.0**-2.49}, 1.0)
    assert (len(few), calm.value) == (3, pytest.approx(1.49, rel=1e-6, abs=0))


# one's own grids


@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_a_level_reached_may_be_three_thousandths_off(
    side: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gaps(bench: Any, steps: int, begin: int = 0) -> Any:
        del bench, begin
        return {20: ([1e-4, 2e-4], ["a", "b"]), 30: ([side * 3e-3, 1e-5], ["c", "d"])}[steps]

    monkeypatch.setattr(own_grids, "_gaps", gaps)
    found = own_grids.levels(planted())
    assert found["verdict"] == verdict
    assert (found["measured"], found["bound"]) == (side * 3e-3, 3e-3)
    if verdict == "fails":
        assert found["text"] == "c: 0.3 % apart"


@pytest.mark.parametrize(
    ("asked_at", "carried", "gap", "text"),
    [
        ((1.0, 2.0), (1.0, 2.5), 0.25, "call 1 is at sigma 2, its state at 2.5"),
        ((1.0, 2.0), (1.5, 2.5), 0.5, "call 1 is at alpha 1, its state at 1.5"),
        ((1.0, 2.0), (1.2, 2.5), 0.25, "call 1 is at sigma 2, its state at 2.5"),
        ((1.0, 2e-4), (1.0, 3e-4), 0.1, "call 1 is at sigma 0.0002, its state at 0.0003"),
        ((0.9e-3, 1.0), (0.9e-3, 2.0), 0.0, "call 1 is at sigma 1, its state at 2"),
        ((1.1e-3, 1.0), (1.1e-3, 2.0), 1.0, "call 1 is at sigma 1, its state at 2"),
    ],
)
def test_how_far_a_state_is_from_the_level_asked(
    asked_at: tuple[float, float], carried: tuple[float, float], gap: float, text: str
) -> None:
    own, call = levels(5.0, 1.0), Call(NoiseLevel(*asked_at), np.zeros(1), np.zeros(1))
    run = Run(np.zeros((1, 2)), (call,), "float32")
    bench = planted(
        subject=SimpleNamespace(own_grid=lambda steps, begin: own),
        carried=lambda subject, grid: (run, np.array([carried, (1.0, 1.0)])),
    )
    gaps, texts = own_grids._gaps(bench, 20)
    assert gaps == pytest.approx([gap, 0.0], rel=1e-6, abs=0)
    assert texts == [text, "the end is at sigma 1, its state at 1"]


@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_a_network_may_be_told_half_a_percent_of_the_angle_off(side: float, verdict: str) -> None:
    angle = math.atan(2.0)
    told = [(0, 1.0, 1.0), (1, math.tan(angle * (1 + side * 5e-3)), 2.0), (2, 5.0, 0.0)]
    bench = planted(subject=SimpleNamespace(seen=lambda steps: told if steps == 20 else []))
    found = own_grids.network(bench)
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(side * 5e-3, rel=1e-9, abs=0)
    assert found["bound"] == 5e-3


@pytest.mark.parametrize("alpha", [1.0, 1e-3])
@pytest.mark.parametrize(("side", "verdict"), SIDES)
@pytest.mark.parametrize("worst", [100, 500, 999])
def test_drift_grows_with_the_steps(alpha: float, side: float, verdict: str, worst: int) -> None:
    """16 units per step, thrice magnified, thirty times where a grid begins without signal."""
    bound = 16 * worst * SINGLE * (30.0 if alpha < 1e-2 else 3.0)
    own = {
        n: (NoiseLevel(alpha, 5.0), *levels(*np.geomspace(4.0, 1.0, n)))
        for n in (20, 100, 500, 999)
    }

    def run(denoiser: Any, x: Any, grid: Any, dtype: str = "float64") -> Run:
        off = side * bound if len(grid) - 1 == worst and dtype == "float32" else 0.0
        return Run(x + off, (), dtype)

    bench = planted(subject=SimpleNamespace(run=run, own_grid=own.__getitem__), line=None)
    found = own_grids.drift(bench)
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(side * bound, rel=1e-6, abs=0)
    assert found["bound"] == pytest.approx(bound, rel=1e-6, abs=0)


@pytest.mark.parametrize(
    ("first", "most", "verdict"),
    [(1.1e-2, 3.2e-2, "declined"), (1.1e-2, 3.4e-2, "fails"), (0.9e-2, 2.6e-2, "fails")],
)
def test_steps_that_are_not_those_of_the_levels_do_not_grow(
    first: float, most: float, verdict: str
) -> None:
    off = {20: first, 100: most, 500: first, 999: first}
    own = {n: levels(*np.geomspace(4.0, 1.0, n + 1)) for n in off}

    def run(denoiser: Any, x: Any, grid: Any, dtype: str = "float64") -> Run:
        return Run(x + off[len(grid) - 1] * (dtype == "float32"), (), dtype)

    bench = planted(subject=SimpleNamespace(run=run, own_grid=own.__getitem__), line=None)
    assert own_grids.drift(bench)["verdict"] == verdict


def midway_bench(kind: str, off: Callable[[int], float], raises: bool = False) -> Any:
    bench = Bench(as_subject(loops.euler))
    grid = levels(*np.geomspace(10.0, 0.5, 31))

    def run(denoiser: Any, x: Any, own: Any, **_: Any) -> Run:
        if raises:
            raise SubjectError("cannot begin")
        return Run(bench.gaussian_end(x, own[0], own[-1]) + off(len(own) - 1), (), "float32")

    subject = SimpleNamespace(kind=kind, run=run, own_grid=lambda steps, begin=0: grid[begin:])
    return planted(
        subject=subject, gaussian=bench.gaussian, gaussian_states=bench.gaussian_states,
        gaussian_end=bench.gaussian_end,
    )  # fmt: skip


@pytest.mark.parametrize("left", [15, 6, 3])
@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_a_scheduler_begun_midway_errs_by_three_eulers_at_most(
    left: int, side: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(own_grids, "_gaps", lambda bench, steps, begin=0: ([0.0], [""]))
    bench = Bench(as_subject(loops.euler))
    grid = levels(*np.geomspace(10.0, 0.5, 31))[30 - left :]
    x = bench.gaussian_states(grid[0])
    exact = bench.gaussian_end(x, grid[0], grid[-1])
    euler = np.max(np.abs(np.asarray(solve(bench.gaussian, x, grid, EULER).state) - exact))
    planted_off = side * 3.0 * (euler + 1e-4)
    found = own_grids.midway(midway_bench("scheduler", lambda n: planted_off if n == left else 0.0))
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(3.0 * side, rel=1e-6, abs=0)
    tail = f" with {left} of 30 steps left" if verdict == "fails" else ""
    assert found["text"] == f"{3.0 * side:.2g} of Euler's error{tail}"


def test_what_cannot_begin_midway_is_declined(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(own_grids, "_gaps", lambda bench, steps, begin=0: ([0.0], [""]))
    found = own_grids.midway(midway_bench("loop", lambda n: 0.0))
    assert (found["verdict"], found["text"]) == ("declined", "cannot be started midway")
    found = own_grids.midway(midway_bench("scheduler", lambda n: 0.0, raises=True))
    assert (found["verdict"], found["text"]) == ("declined", "cannot begin")


@pytest.mark.parametrize(
    ("begun", "whole", "verdict"),
    [
        (3.1e-3, 0.0, "fails"),
        (2.9e-3, 0.0, "ok"),
        (3.1e-3, 3.1e-3, "ok"),
        (3.1e-3, 2.9e-3, "fails"),
    ],
)
def test_a_start_midway_is_exact_on_one_point_where_the_whole_run_is(
    begun: float, whole: float, verdict: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def gaps(bench: Any, steps: int, begin: int = 0) -> Any:
        return ([0.0, begun, 1e-5] if begin else [0.0, whole]), ["a", "b", "c"]

    monkeypatch.setattr(own_grids, "_gaps", gaps)
    found = own_grids.midway(midway_bench("scheduler", lambda n: 0.0))
    assert found["verdict"] == verdict
    if verdict == "fails":
        assert found["text"] == "begun at step 16 of 30, b"
        assert (found["measured"], found["bound"]) == (begun, 3e-3)


# with a tolerance


def tolerant(errors: list[float], counts: list[int]) -> Any:
    """A subject whose run at each tolerance errs and costs as told, with the exact flow."""
    from analytic.flow.exact import exact_flow

    grid = levels(10.0, 3.0, 1.0, 0.3, 0.1)
    x = 10.0 * adaptive.NOISES
    end = exact_flow(adaptive.SHARP, x, grid[0], grid[-1]).state

    def at(one: float) -> Any:
        k = adaptive.TOLERANCES.index(one)
        run = Run(
            end + errors[k] * np.array([[0.0], [1.0], [-0.5], [0.0]]),
            (None,) * counts[k],
            "float64",
        )  # type: ignore[arg-type]
        return SimpleNamespace(run=lambda denoiser, x, levels: run)

    bench = planted(subject=SimpleNamespace(at_tolerance=at), grid=lambda *a, **k: grid)
    return adaptive.tolerance(bench), 1.0 + float(np.max(np.abs(end)))


@pytest.mark.parametrize(("power", "verdict"), [(0.39, "fails"), (0.41, "ok")])
def test_the_error_falls_with_the_tolerance(power: float, verdict: str) -> None:
    counts = [10, 20, 40, 80, 160]
    found, _ = tolerant([1e-4 * (one / 1e-2) ** power for one in adaptive.TOLERANCES], counts)
    assert found["measured"] == pytest.approx(power, abs=1e-6)
    assert found["bound"] == 0.4
    # the last stands above what is allowed of it, too: 1e-6 for each of 160 evaluations
    assert (found["verdict"] == "fails") == (verdict == "fails")


@pytest.mark.parametrize("k", range(5))
@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_the_error_stays_below_ten_tolerances_per_evaluation(
    k: int, side: float, verdict: str
) -> None:
    counts = [10, 20, 40, 80, 160]
    size = tolerant([1.0] * 5, counts)[1]
    errors = [
        10.0 * one * n * size * 0.5 for one, n in zip(adaptive.TOLERANCES, counts, strict=True)
    ]
    errors[k] *= 2 * side
    found, _ = tolerant(errors, counts)
    assert found["verdict"] == verdict
    if verdict == "fails":
        assert found["text"].endswith(f"; {10 * side:.2g} tolerances per evaluation")
        assert found["cause"].startswith("the error estimate is too small")


@pytest.mark.parametrize(
    ("counts", "spread", "cause"),
    [([9] * 5, 0.9e-9, "the tolerance changes nothing: it is not passed on"),
     ([9] * 5, 1.1e-9, "the error estimate is not held to the tolerance, or a rejected step is"
      " kept"),
     ([9] * 4 + [10], 0.0, "the error estimate is not held to the tolerance, or a rejected step is"
      " kept")],
)  # fmt: skip
def test_a_tolerance_that_changes_nothing_is_told(
    counts: list[int], spread: float, cause: str
) -> None:
    found, _ = tolerant([1e-3, 1e-3, 1e-3, 1e-3, 1e-3 * (1 - spread)], counts)
    assert (found["verdict"], found["cause"]) == ("fails", cause)


# by law


def stochastic_bench(errors: dict[int, float], expected: int, **given: Any) -> Any:
    return planted(draws="answered", declared=Declared(order=expected), errors=errors, **given)


@pytest.mark.parametrize("expected", [1, 2])
@pytest.mark.parametrize(("short", "fine"), [(0.29, True), (0.31, False)])
def test_a_weak_order_may_be_three_tenths_short(
    expected: int, short: float, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Slopes 1.5, 1.2 and then what is judged: its error is the last change of the slope."""
    slope = expected - short
    values, sizes = [0.5], (1.5, 1.2, slope)
    for one in sizes:
        values.append(values[-1] * 2.0**-one)
    errors = dict(zip((24, 48, 96, 192), values, strict=True))
    monkeypatch.setattr(by_law, "moment_errors", lambda b, n: (0.1 * errors[n], errors[n]))
    monkeypatch.setattr(
        by_law, "_cause", lambda bench, variance, slope: f"{variance:.9g} {slope:.9g}"
    )
    found = by_law.moments(stochastic_bench(errors, expected))
    assert found["verdict"] == ("ok" if fine else "fails")
    assert found["measured"] == pytest.approx(slope, rel=1e-6, abs=0)
    assert found["bound"] == pytest.approx(expected - 0.3, rel=1e-6, abs=0)
    assert found["error"] == pytest.approx(abs(slope - 1.2), rel=1e-6, abs=0)
    assert found["text"].startswith(f"weak order {slope:.2f}; off in variance by 50 %, ")
    assert found["text"].endswith("" if fine else f"; {expected} is due")
    if not fine:
        assert found["cause"] == f"{errors[192]:.9g} {slope:.9g}"


@pytest.mark.parametrize(
    ("eps", "size", "fine"),
    [
        (DOUBLE, 0.9e-7, True),
        (DOUBLE, 1.1e-7, False),
        (SINGLE, 5.9e-5, True),
        (SINGLE, 6.1e-5, False),
    ],
)
def test_moments_count_as_exact_below_rounding(
    eps: float, size: float, fine: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Below 1e-7, or a thousand units: 1e3 2^-24 is 6.0e-5."""
    monkeypatch.setattr(by_law, "moment_errors", lambda b, n: (size, 0.5 * size))
    monkeypatch.setattr(by_law, "_cause", lambda bench, variance, slope: "")
    assert (by_law.moments(stochastic_bench({}, 1, eps=eps))["verdict"] == "ok") == fine


@pytest.mark.parametrize(
    ("alpha", "share", "slope", "begins"),
    [
        (1.011, 1.0, 1.0, "the signal is not carried"),
        (0.989, 1.0, 1.0, "the signal is not carried"),
        (1.009, 1.021, 1.0, "the noise at the end is 1 of what is due: noise too large"),
        (1.009, 0.979, 1.0, "the noise at the end is 0.98 of what is due: noise too small"),
        (1.0, 1.019, 1.71, "the variance of the noise inside the step"),
        (1.0, 1.0, 1.69, "a draw inside the step is independent"),
        (1.0, 1.0, 0.31, "a draw inside the step is independent"),
        (1.0, 1.0, 0.29, "the variance tends to another limit, 12 % off"),
    ],
)
def test_the_cause_of_wrong_moments(alpha: float, share: float, slope: float, begins: str) -> None:
    grid = levels(10.0, 2.0)
    bench = planted(
        grid=lambda name, n, wide: grid if (name, n, wide) == ("uneven", 96, True) else (),
        above=None, carried=lambda s, g: (None, np.array([[9.0, 9.0], [alpha, 2.0 * share]])),
    )  # fmt: skip
    assert by_law._cause(bench, 0.123, slope).startswith(begins)


# the bench


def test_the_bench_of_seed_0() -> None:
    bench = Bench(as_subject(loops.euler))
    assert (bench.top, bench.bottom, bench.wide, bench.bend) == (1.0, 0.3, (10.0, 0.1), 0.4)
    np.testing.assert_allclose(bench.line.weights, [0.4, 0.6])
    np.testing.assert_allclose(bench.line.means[:, 0], [-1.0, 1.5])
    np.testing.assert_allclose(bench.line.spectra[:, 0], [0.3, 0.5])
    np.testing.assert_allclose(bench.eigenvalues, 0.05 * 80.0 ** (np.arange(6) / 5))
    assert MEAN == 0.7
    assert EPS == {"float64": 2.0**-53, "float32": 2.0**-24}
    sigmas = [one.sigma for one in bench.grid("uneven", 4)]
    u = np.arange(5) / 4
    np.testing.assert_allclose(sigmas, 0.3 ** (u + 0.4 * u * (1 - u)))
    np.testing.assert_allclose(
        [s.sigma for s in bench.grid("even", 4, wide=True)], 10.0 ** (1 - 2 * u)
    )
    zero = [s.sigma for s in bench.grid("even", 4, zero=True)]
    np.testing.assert_allclose(zero, [*(0.3 ** (np.arange(4) / 3)), 0.0])


@pytest.mark.parametrize("seed", [1, 2, 3, 4, 5])
def test_other_seeds_stay_in_their_ranges(seed: int) -> None:
    bench = Bench(as_subject(loops.euler), seed=seed)
    ranges = [
        (bench.top, math.exp(-0.2), math.exp(0.3)),
        (bench.bottom, 0.3 * math.exp(-0.2), 0.3 * math.exp(0.2)),
        (bench.wide[0], 10 * math.exp(-0.5), 10 * math.exp(0.5)),
        (bench.bend, 0.25, 0.55),
    ]
    for value, low, high in ranges:
        assert low < value < high
    assert len({value for value, _, _ in ranges} & {1.0, 0.3, 10.0, 0.4}) == 0
    shape = bench.eigenvalues / np.geomspace(0.05, 4.0, 6)
    assert np.all(np.abs(np.log(shape)) < 0.2)
    assert np.all(np.abs(bench.line.means[:, 0] - [-1.0, 1.5]) < 0.2)
    assert np.all(np.abs(0.5 * np.log(bench.line.spectra[:, 0] / [0.3, 0.5])) < 0.2)


def test_alternating_steps_have_lengths_1_3_2() -> None:
    bench = Bench(as_subject(loops.euler))
    lam = -np.log([one.sigma for one in bench.alternating(5)])
    np.testing.assert_allclose(np.diff(lam) / lam[-1], np.array([1, 3, 2, 1, 3]) / 10)
    assert lam[-1] == pytest.approx(-math.log(0.3), rel=1e-6, abs=0)


@pytest.mark.parametrize("h", [0.5, 0.3, 0.9, 1.0])
def test_graded_steps_double_from_a_cube_on(h: float) -> None:
    """``h^3, 2 h^3, ...`` up to ``h``; a last step below ``h / 2`` joins the one before."""
    bench = Bench(as_subject(loops.euler))
    total, steps = math.log(1 / 0.3), []
    step = h**3
    while sum(steps) + step < total:
        steps.append(step)
        step = min(2 * step, h)
    rest = total - sum(steps)
    if rest < h / 2 and steps:
        steps[-1] += rest
    else:
        steps.append(rest)
    found = np.diff(-np.log([one.sigma for one in bench.graded(h)]))
    np.testing.assert_allclose(found, steps, rtol=1e-9)


def test_the_floor_of_a_run_grows_as_the_root_of_its_steps() -> None:
    bench: Any = Bench(as_subject(loops.euler))
    bench.top = 3.0
    for eps in (DOUBLE, SINGLE):
        bench.__dict__["eps"] = eps
        for n in (16, 1024):
            assert bench.floor(n) == pytest.approx(
                12 * eps * math.sqrt(n) + 1e-15, rel=1e-12, abs=0
            )


def test_an_order_is_read_from_the_last_three_errors_above_a_hundred_floors() -> None:
    bench = Bench(as_subject(loops.euler))
    errors = {8: 1.0, 16: 0.3, 32: 0.05, 64: 0.011, 256: 0.001}
    floors = dict.fromkeys(errors, 0.99e-5)
    order = bench.order(errors, floors)
    assert order
    last, first = math.log(11) / math.log(4), math.log(0.05 / 0.011) / math.log(2)
    assert order.value == pytest.approx(last, rel=1e-6, abs=0)
    assert order.error == pytest.approx(abs(last - first), rel=1e-6, abs=0)
    assert set(order.errors) == {8, 16, 32, 64, 256}
    above = bench.order(errors, dict.fromkeys(errors, 1.01e-5))
    assert above
    assert set(above.errors) == {8, 16, 32, 64}
    assert bench.order({8: 1.0, 16: 0.5}, {8: 0.0, 16: 0.0}) is None
    assert bench.order({8: np.inf, 16: 0.5, 32: 0.2, 64: 0.1}, dict.fromkeys((8, 16, 32, 64), 0.0))


@pytest.mark.parametrize(
    ("gap", "dtype", "eps"),
    [
        (9e-13, "float64", DOUBLE),
        (1.1e-12, "float64", SINGLE),
        (9e-13, "float32", SINGLE),
        (63 * SINGLE * 10, "float64", SINGLE),
        (65 * SINGLE * 10, "float64", DOUBLE),
    ],
)
def test_a_precision_is_told_by_the_error_on_one_point(
    gap: float, dtype: str, eps: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = Run(np.zeros((1, 2)), (None,) * 30, dtype)  # type: ignore[arg-type]
    monkeypatch.setattr(
        Bench, "carried",
        lambda self, subject, grid: (
            run, np.array([[grid[0].alpha, 9.0], [grid[-1].alpha, grid[-1].sigma + gap]])
        ),
    )  # fmt: skip
    monkeypatch.setattr(Bench, "above", None)
    bench = Bench(as_subject(loops.euler))
    assert bench.eps == eps
    assert bench.calls_per_step == 30 / 12


@pytest.mark.parametrize(("calls", "is_adaptive"), [((10, 19), True), ((10, 20), False)])
def test_fourfold_levels_for_less_than_twofold_calls_are_adaptive(
    calls: tuple[int, int], is_adaptive: bool
) -> None:
    bench = Bench(ends(0.0))
    bench.subject.run = lambda denoiser, x, grid: Run(  # type: ignore[method-assign]
        x,
        (None,) * calls[len(grid) == 33],
        "float64",  # type: ignore[arg-type]
    )
    assert bench.adaptive == is_adaptive


def test_what_a_run_of_eight_levels_errs_by_and_costs() -> None:
    bench: Any = Bench(ends(0.0))
    bench.subject.run = lambda denoiser, x, grid: Run(
        bench.gaussian_end(x, grid[0], grid[-1]) + 0.02, (None,) * (len(grid) - 1), "float64"
    )
    assert bench.spent == "error 2e-02 with 8 evaluations"


def test_errors_are_those_of_the_exact_answers() -> None:
    """A subject that is off by 0.1 everywhere; Gaussian errors count in deviations at the end."""
    bench: Any = Bench(ends(0.0))
    levels_ = bench.grid("uneven", 8)
    s, t = levels_[0], levels_[-1]

    def off(exact: Any) -> Any:
        return SimpleNamespace(run=lambda denoiser, x, grid: Run(exact(x) + 0.1, (), "float64"))

    deviations = np.sqrt(bench.eigenvalues + 0.09)
    gain = deviations / np.sqrt(bench.eigenvalues + 1.0)
    found = bench.gaussian_error(off(lambda x: 0.7 + gain * (x - 0.7)), levels_)
    np.testing.assert_allclose(found, 0.1 / deviations, rtol=1e-9)
    line = off(lambda x: _flow_end(bench.line, s, t)[0])
    assert bench.line_error(line, levels_) == pytest.approx(0.1, rel=1e-6, abs=0)
    from steinlab.testing.bench import PLANE

    plane = off(lambda x: _flow_end(PLANE, s, t)[0])
    assert bench.plane_error(plane, levels_) == pytest.approx(0.1, rel=1e-6, abs=0)
    assert _flow_end(PLANE, s, t)[0].shape == PLANE_STATES.shape == (5, 2)
    np.testing.assert_allclose(bench.line_states(s), np.linspace(-2.0, 2.0, 9)[:, None])


def test_an_end_that_cannot_be_reached_is_no_end() -> None:
    grid = levels(10.0, 1.0)
    for off, reaches in ((0.9e-3, True), (1.1e-3, False)):
        for part in (0, 1):
            row = np.array([1.0, 1.0])
            row[part] += off
            bench: Any = Bench(ends(0.0))
            bench.carried = lambda subject, levels_, row=row: (None, np.array([row]))
            assert bench._reaches(None, grid) == reaches
    for sigma, over in ((0.9e-6, True), (1.1e-6, False), (1.0, False)):
        bench = Bench(ends(0.0))
        bench.carried = lambda subject, levels_, sigma=sigma: (None, np.array([[1.0, sigma]]))
        assert bench._overshoots(grid) == over
    for share, over in ((1.0009, False), (1.0011, True), (0.9991, False), (0.9989, True)):
        bench = Bench(ends(0.0))
        bench.subject.kind = "scheduler"
        bench.carried = lambda subject, levels_, share=share: (None, np.array([[1.0, share]]))
        bench.__dict__["draws"] = "none"
        assert bench._overshoots(grid) == over


def test_pairs_of_neighbours_share_no_length() -> None:
    bench = Bench(as_subject(loops.euler))
    for n in (16, 64):
        lengths = np.diff(-np.log([one.sigma for one in bench.alternating(n)]))
        assert all(abs(a / b - 1) > 0.3 for a, b in itertools.pairwise(lengths))


@pytest.mark.parametrize(
    ("ends", "draws"),
    [
        (lambda seed, turn: 1.0, "none"),
        (lambda seed, turn: 1.0 if seed else turn, "own"),
        (lambda seed, turn: seed or turn, "answered"),
        (lambda seed, turn: turn, "own"),
        (lambda seed, turn: float("nan"), "none"),
    ],
)
def test_whose_numbers_a_sampler_draws(
    ends: Callable[[Any, int], float], draws: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An end by the seed that the kit answers with, and by the number of the run."""
    from contextlib import contextmanager

    from steinlab.testing import noise

    seeds: list[Any] = [None]
    monkeypatch.setattr(noise, "Seeded", lambda seed: seed)

    @contextmanager
    def answered(seed: Any) -> Any:
        seeds.append(seed)
        yield
        seeds.pop()

    monkeypatch.setattr(noise, "answered", answered)
    turns = itertools.count(10)
    bench = Bench(ends_of(lambda: np.array([[ends(seeds[-1], next(turns))]])))
    assert bench.draws == draws
    assert bench.stochastic == (draws == "answered")
    declared = Bench(bench.subject, Declared(law=True))
    declared.__dict__["draws"] = draws
    assert declared.stochastic == (draws != "none")


def ends_of(end: Callable[[], np.ndarray]) -> Any:
    return SimpleNamespace(
        run=lambda denoiser, x, grid: Run(end(), (), "float64"), processes=(EDM,), kind="loop"
    )


@pytest.mark.parametrize("part", [0, 1])
@pytest.mark.parametrize(("side", "judged"), [(0.99, True), (1.01, False)])
def test_a_sampler_that_draws_is_asked_its_levels_where_it_ends_as_is_due(
    part: int, side: float, judged: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    grid = levels(8.0, 1.0)
    end = np.array([1.0, 1.0])
    end[part] += side * ROUNDING
    bench = planted(
        stochastic=True, draws="answered", above=None, seed=0, grid=lambda *a, **k: grid,
        carried=lambda subject, levels: (None, np.array([[9.0, 9.0], end])),
        subject=SimpleNamespace(processes=("a", "b", "c")),
    )  # fmt: skip
    asked_: list[Any] = []
    monkeypatch.setattr(calls, "Bench", lambda *given: planted(process=given[-1], grid=bench.grid))

    def on(other: Any, grid: Any) -> Any:
        asked_.append(other.process)
        return {"verdict": "fails" if other.process == "b" else "ok"}

    monkeypatch.setattr(calls, "asked_on", on)
    found = calls.levels(bench)
    assert found["verdict"] == ("fails" if judged else "declined")
    assert asked_ == (["a", "b"] if judged else [])
    bench.draws = "own"
    assert calls.levels(bench)["verdict"] == "declined"


@pytest.mark.parametrize(
    ("strangers", "order", "zero", "expected"),
    [
        ((5,), 2.49, False, ("fails", 0.05)),
        ((5,), 2.51, False, ("ok", None)),
        ((12,), 2.51, False, ("ok", None)),
        ((12,), 2.51, True, ("fails", 0.12)),
        ((2, 4, 5), 2.0, False, ("fails", 0.05)),
        ((2, 4, 5, 6), 2.0, False, ("declined", 0.5)),
    ],
)
def test_stray_steps_of_a_known_method_must_be_of_second_order(
    strangers: tuple[int, ...],
    order: float,
    zero: bool,
    expected: tuple[str, Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Up to a quarter of twelve steps are looked at, on a grid of twenty-four too."""
    from steinlab.testing.methods import Identity

    def named(bench: Any, reading: Any) -> Identity:
        count = reading
        off = strangers if count == 12 else tuple(k if k < 7 else k + 12 for k in strangers)
        steps = tuple("" if k + 1 in off else "m" for k in range(count))
        return Identity("m", steps, 0.5, tuple((k + 1) / 100 for k in range(count)), 1e-9)

    monkeypatch.setattr(calls, "identity_of", named)
    monkeypatch.setattr(calls, "read", lambda subject, grid: grid)
    monkeypatch.setattr(calls, "local_order", lambda coarse, fine, place: order)
    monkeypatch.setattr(calls, "explain", lambda reading, identity, process: "why")
    bench = planted(subject=None, above=None, process=EDM, reading=12, grid=lambda name, n, **_: n)
    found = calls._method(bench, zero)
    verdict = expected[0]
    assert (found["verdict"], found["measured"]) == expected
    if verdict == "fails":
        assert found["cause"] == "why"
        assert found["text"].endswith(" on a grid that ends at zero") == zero
    if verdict == "ok":
        assert found["text"].endswith("; of second order there")


@pytest.mark.parametrize("seed", [None, 3])
def test_a_failure_says_how_to_see_it_again(seed: int | None) -> None:
    from steinlab.testing import ConformanceError, check_sampler

    given: dict[str, Any] = {} if seed is None else {"seed": seed}
    with pytest.raises(ConformanceError) as caught:
        check_sampler(loops.euler, order=2, only=["gaussian"], **given)
    assert f'rows_of(target, only=["gaussian"], seed={seed or 0}, ' in str(caught.value)


@pytest.mark.parametrize(("kind", "steps"), [("scheduler", {12}), ("loop", {1, 2, 3, 12})])
@pytest.mark.parametrize("to_zero", [True, False])
def test_one_point_is_carried_over_long_and_short_grids(
    kind: str, steps: set[int], to_zero: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At and above zero noise; a scheduler's own table has no short grids."""
    seen: list[tuple[int, bool]] = []
    subject = ends(0.0)
    subject.kind = kind
    run = subject.run

    def noted(denoiser: Any, x: Any, grid: Any, **rest: Any) -> Run:
        seen.append((len(grid) - 1, grid[-1].sigma == 0))
        return run(denoiser, x, grid, **rest)  # type: ignore[no-any-return]

    subject.run = noted
    monkeypatch.setattr(Bench, "above", subject)
    bench: Any = Bench(subject)
    bench.__dict__ |= {"ends_at_zero": to_zero, "reading": None, "eps": DOUBLE}
    assert exactness.one_point(bench)["verdict"] == "ok"
    assert set(seen) == {
        (n, zero) for n in steps for zero in ({True, False} if to_zero else {False})
    }
    assert len(seen) == len(set(seen))


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        (lambda data: np.clip(data, -2, 2), "clipped: data of 1 pass, of 1,000 do not"),
        (np.round, "rounded inside: data of 1 pass, of 4/3 do not"),
    ],
)
def test_what_size_of_data_is_lost_is_told(
    cut: Any, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    subject = ends(0.0)

    def run(denoiser: Any, x: Any, grid: Any, **_: Any) -> Run:
        data = denoiser(x, grid[0])
        noise = (x - grid[0].alpha * data) / grid[0].sigma
        return Run(grid[-1].alpha * cut(data) + grid[-1].sigma * noise, (), "float64")

    subject.run = run
    monkeypatch.setattr(Bench, "above", subject)
    monkeypatch.setattr(exactness, "in_the_limit", lambda bench: "")
    bench: Any = Bench(subject)
    bench.__dict__ |= {"ends_at_zero": True, "reading": None, "eps": DOUBLE}
    found = exactness.one_point(bench)
    assert found["verdict"] == "fails"
    assert found["cause"].endswith(text)


@pytest.mark.parametrize("c", [2.0**-6, 2.0**6])
@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_a_scaled_run_is_the_run_scaled(c: float, side: float, verdict: str) -> None:
    """Sixteen roundings of ten steps, of the largest state of the plain run."""
    bound = 16 * 32 * DOUBLE * 10 * 10

    def run(denoiser: Any, x: Any, grid: Any) -> Run:
        scale = grid[0].sigma
        first = 2.0 * x / scale
        off = side * bound * 4.0 if scale == pytest.approx(c, rel=1e-6, abs=0) else 0.0
        answer = denoiser(x, grid[0])
        np.testing.assert_allclose(answer / scale, x / scale * 0.5)
        return Run((first + off) * scale, (), "float64")

    bench = planted(
        process=EDM, grid=lambda name, n: levels(1.0, 0.5) if n == 10 else (),
        line_states=lambda level: np.linspace(-2.0, 2.0, 9)[:, None],
        line=lambda x, level: 0.5 * x / level.sigma, subject=SimpleNamespace(run=run),
    )  # fmt: skip
    found = exactness.scale(bench)
    assert found["verdict"] == verdict
    assert found["measured"] == pytest.approx(side * bound, rel=1e-3, abs=0)
    assert found["bound"] == pytest.approx(bound, rel=1e-12, abs=0)
    assert found["text"].endswith(f" at scale {c:g}") == (verdict == "fails")


@pytest.mark.parametrize("eps", [DOUBLE, SINGLE])
@pytest.mark.parametrize(("side", "returns"), [(0.99, True), (1.01, False)])
def test_a_run_to_zero_noise_returns_d_to_64_units(eps: float, side: float, returns: bool) -> None:
    last = np.array([[2.0, -4.0]])
    off = side * 64 * eps * 4.0

    def run(denoiser: Any, x: Any, grid: Any) -> Run:
        return Run(last + off, (Call(level(1.0), x, 0 * x), Call(level(0.5), x, last)), "float64")

    for declared, verdict in ((None, "ok"), (True, "ok" if returns else "fails")):
        bench = planted(
            eps=eps, ends_at_zero=True, grid=lambda *a, **k: levels(1.0, 0.0), gaussian=None,
            gaussian_states=lambda level: np.ones((1, 2)), subject=SimpleNamespace(run=run),
            declared=Declared(returns_denoised=declared),
        )  # fmt: skip
        found = exactness.end_at_zero(bench)
        assert found["verdict"] == verdict
        assert (found["text"] == "returns D") == returns
        assert found["bound"] == 64 * eps
        assert found["measured"] == pytest.approx(off / 4.0, rel=0.02, abs=0)


@pytest.mark.parametrize(
    ("asked_at", "end", "text"),
    [(0.0, 1.0, "call 1 asks the denoiser at zero noise"), (1.0, np.nan, "not finite")],
)
def test_a_run_to_zero_noise_asks_above_it_and_is_finite(
    asked_at: float, end: float, text: str
) -> None:
    def run(denoiser: Any, x: Any, grid: Any) -> Run:
        return Run(end * x, (Call(level(asked_at), x, x),), "float64")

    bench = planted(
        ends_at_zero=True, grid=lambda *a, **k: levels(1.0, 0.0), gaussian=None,
        gaussian_states=lambda level: np.ones((1, 2)), subject=SimpleNamespace(run=run),
    )  # fmt: skip
    found = exactness.end_at_zero(bench)
    assert (found["verdict"], found["text"]) == ("fails", text)


@pytest.mark.parametrize(("side", "verdict"), SIDES)
def test_noise_that_is_left_at_zero_is_rounding(side: float, verdict: str) -> None:
    left = side * 32 * DOUBLE * 10 * 10
    bench = planted(
        ends_at_zero=True, grid=lambda *a, **k: levels(1.0, 0.0), gaussian=None, stochastic=True,
        draws="answered", gaussian_states=lambda level: np.ones((1, 2)),
        subject=SimpleNamespace(run=lambda d, x, g: Run(x, (Call(level(1.0), x, x),), "float64")),
        carried=lambda subject, grid: (None, np.array([[1.0, left]])),
    )  # fmt: skip
    found = exactness.end_at_zero(bench)
    assert found["verdict"] == verdict
    assert found["measured"] == left
    bench.draws = "own"
    assert exactness.end_at_zero(bench)["verdict"] == "ok"


@pytest.mark.parametrize(
    ("eps", "stochastic", "given", "verdict"),
    [
        (DOUBLE, False, None, "ok"),
        (SINGLE, False, None, "fails"),
        (SINGLE, True, None, "ok"),
        (DOUBLE, False, "float64", "fails"),
        (DOUBLE, False, "float32", "fails"),
    ],
)
def test_a_dtype_is_kept_outside_and_inside(
    eps: float, stochastic: bool, given: str | None, verdict: str
) -> None:
    seen = []

    def run(denoiser: Any, x: Any, grid: Any, dtype: str = "") -> Run:
        seen.append((dtype, grid[0].sigma))
        return Run(x, (), given or dtype)

    bench = planted(
        eps=eps, stochastic=stochastic, line=None, line_states=lambda level: np.ones((2, 1)),
        grid=lambda name, n: levels(0.1, 0.05), subject=SimpleNamespace(run=run),
    )  # fmt: skip
    found = conduct.dtype(bench)
    assert found["verdict"] == verdict
    assert seen == [("float64", 0.1), ("float32", float(np.float32(0.1)))]
    if given:
        other = {"float64": "float32", "float32": "float64"}[given]
        assert found["text"] == f"{other} gives {given}"


@pytest.mark.parametrize(
    ("coarse", "fine", "error", "ok"),
    [
        (1.0, 0.9, 0.23, True),
        (1.0, 0.9, 0.22, False),
        (4.0, 0.99, 0.0, True),
        (4.0, 1.01, 0.0, False),
    ],
)
def test_a_law_is_met_within_four_errors_or_by_a_quarter(
    coarse: float, fine: float, error: float, ok: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    found = iter(
        [SimpleNamespace(value=coarse, error=9.0), SimpleNamespace(value=fine, error=error)]
    )
    monkeypatch.setattr(by_law, "energy_distance", lambda a, b: next(found))
    bench: Any = Bench(ends(0.0))
    bench.__dict__ |= {"above": bench.subject}
    shared = SimpleNamespace(run=lambda d, x, g: Run(0 * x, (), "float64"))
    steps = []
    grid = bench.grid
    bench.grid = lambda name, n, wide=False: steps.append((name, n, wide)) or grid(name, n, wide)
    bench.__dict__["above"] = shared
    got = by_law.distance(bench)
    assert (got["verdict"] == "ok") == ok
    assert steps == [("uneven", 64, True), ("uneven", 256, True)]
    assert got["measured"] == fine
    assert got["bound"] == max(4 * error, 0.25 * coarse)
    if not ok:
        assert got["cause"].startswith("one draw is shared")


def test_a_slope_has_an_error_where_the_one_before_is_finite(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for values, error in (((0.5, 0.0, 0.1, 0.05), None), ((0.0, 0.4, 0.2, 0.05), 1.0)):
        errors = dict(zip((24, 48, 96, 192), values, strict=True))
        monkeypatch.setattr(by_law, "moment_errors", lambda b, n, e=errors: (0.0, e[n]))
        found = by_law.moments(stochastic_bench({}, 1))
        assert found["error"] == error


def test_moments_of_a_right_run_are_exact() -> None:
    """The exact flow of each eigenvalue, and one whose mean or spread is off by a known share."""
    bench: Any = Bench(as_subject(loops.euler))

    def flowed(gain: float, off: float) -> Any:
        def run(denoiser: Any, x: Any, grid: Any, **_: Any) -> Run:
            s, t = grid[0], grid[-1]
            deviation = np.sqrt(bench.eigenvalues + t.sigma**2)
            start = np.sqrt(bench.eigenvalues + s.sigma**2)
            np.testing.assert_allclose(x[:, 0], 0.7)
            np.testing.assert_allclose(x[:, 1], start)
            answer = denoiser(x, s)
            np.testing.assert_allclose(answer[:, 0], 0.7)
            np.testing.assert_allclose(answer[:, 1], bench.eigenvalues / start)
            end = np.zeros_like(x)
            end[:, 0], end[:, 1] = 0.7 + off * deviation, gain * deviation
            return Run(end, (), "float64")

        return run

    with pytest.MonkeyPatch.context() as patch:
        for gain, off in ((1.0, 0.0), (1.1, 0.02)):
            run = flowed(gain, off)
            patch.setattr(by_law.noise, "probed", lambda subject, *rest, run=run: run(*rest))
            mean, variance = by_law.moment_errors(bench, 24)
            assert mean == pytest.approx(off, abs=1e-12)
            assert variance == pytest.approx(gain**2 - 1, abs=1e-12)


@pytest.mark.parametrize("cause", ["", "a clip"])
def test_a_failing_case_says_its_cause(cause: str) -> None:
    from steinlab.testing.parametrize import _Case
    from steinlab.testing.rows import Row

    def case(verdict: str, xfail: Any = None) -> Any:
        row = Row("scale", "scale", verdict, "off", cause=cause)
        unit: Any = lambda: row  # noqa: E731
        return _Case(unit, xfail or {})

    with pytest.raises(AssertionError) as caught:
        case("fails")()
    assert str(caught.value).startswith(
        "scale: off" + ("; probable cause: a clip" if cause else "")
    )
    case("ok")()
    with pytest.raises(AssertionError, match="scale passes, though expected to fail: why"):
        case("ok", {"scale": "why"})()
