"""The grid linter names what is wrong with a list of levels, and leaves right ones alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from hypothesis import given

from steinlab.diffusion.grids import GRIDS, make_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError
from steinlab.testing import lint_grid
from steinlab.testing.strategies import KINDS, grids


def kinds(*args: object, **kwargs: object) -> list[str]:
    return [finding.kind for finding in lint_grid(*args, **kwargs)]  # type: ignore[arg-type]


KARRAS = [level.sigma for level in make_grid("edm", "karras", 12)]
SHIFTED = [3 * u / (1 + 2 * u) for u in np.linspace(1.0, 0.0, 11)]
TWICE = [3 * u / (1 + 2 * u) for u in SHIFTED]


@pytest.mark.parametrize(
    ("sigmas", "kind"),
    [
        ([*KARRAS[:4], KARRAS[3], *KARRAS[4:]], "repeated"),
        ([*KARRAS, 0.0], "doubled-zero"),
        (KARRAS[:-1], "missed-zero"),
        ([*KARRAS[:-1], 1e-8], "missed-zero"),
        (KARRAS[::-1][1:], "rising"),
        ([1.0, 0.5, 0.7, 0.2, 0.0], "rising"),
        ([1.0, 0.5, 0.5 - 1e-12, 0.2, 0.0], "float32-collision"),
        ([10.0, 2.0, 0.0], "long-last-step"),
        (TWICE, "shift-twice"),
    ],
)
def test_a_fault_is_named(sigmas: list[float], kind: str) -> None:
    found = {finding.kind: finding for finding in lint_grid(sigmas)}
    assert kind in found
    assert found[kind].cause
    assert found[kind].mend


@pytest.mark.parametrize(
    ("sigmas", "appended"),
    [
        ([8.0, 4.0, 2.0, 1.0, 1.0], True),
        ([8.0, 4.0, 2.0, 1.0, 1.0, 0.0], True),
        ([8.0, 4.0, 2.0, 2.0, 1.0, 0.0], False),
        ([8.0, 4.0, 2.0, 2.0, 1.0, 0.5], False),
        ([8.0, 4.0, 4.0, 2.0, 1.0, 0.0], False),
        ([8.0, 4.0, 2.0, 2.0, 1.0], False),
    ],
)
def test_a_level_appended_twice_is_told_from_one_that_rounding_repeats(
    sigmas: list[float], appended: bool
) -> None:
    (found,) = (one for one in lint_grid(sigmas) if one.kind == "repeated")
    first = sigmas.index(next(a for a, b in itertools.pairwise(sigmas) if a == b)) + 1
    assert found.text.startswith(f"levels {first} and {first + 1} are both {sigmas[first]:g}: ")
    assert found.cause.startswith("the last level is appended" if appended else "times rounded")


@pytest.mark.parametrize("shift", [1.5, 2.0, 2.5, 3.0, 5.0, 7.0, 12.0, 13.0])
def test_every_shift_that_models_ship_is_told_twice(shift: float) -> None:
    both = shift * shift
    twice = [both * u / (1 + (both - 1) * u) for u in np.linspace(1.0, 0.0, 11)]
    (found,) = (one for one in lint_grid(twice) if one.kind == "shift-twice")
    assert found.text.endswith(f" = {shift:g} x {shift:g}")


def test_a_low_start_is_told_from_the_model() -> None:
    assert kinds(KARRAS, sigma_max=157.0) == ["low-start"]
    assert kinds(KARRAS, sigma_max=80.0) == []


@pytest.mark.parametrize("name", GRIDS)
@pytest.mark.parametrize("process", PROCESSES)
def test_our_own_grids_are_clean(process: str, name: str) -> None:
    found = [one for one in lint_grid(make_grid(process, name, 20)) if one.severity == "fault"]
    assert not found


def test_a_grid_shifted_once_is_clean() -> None:
    assert "shift-twice" not in kinds(SHIFTED)


@given(grid=grids(kind="repeated"))
def test_a_repeated_level_is_always_found(grid: tuple) -> None:  # type: ignore[type-arg]
    assert "repeated" in kinds(grid)


@given(grid=grids())
def test_other_grids_hold_no_fault(grid: tuple) -> None:  # type: ignore[type-arg]
    assert {one.kind for one in lint_grid(grid) if one.severity == "fault"} <= {"float32-collision"}


def test_every_kind_of_grid_is_drawn() -> None:
    assert KINDS == ("even", "uneven", "graded", "short", "repeated")


@pytest.mark.parametrize(
    ("grid", "message"),
    [
        ([1.0], "at least 2 levels, got 1"),
        ([1.0, float("nan")], "level 2 of the grid must be finite"),
        (["a", 1.0], "must hold numbers"),
    ],
)
def test_bad_levels_are_refused(grid: list[object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        lint_grid(grid)


def test_a_last_level_counts_as_zero_by_its_size_and_its_share() -> None:
    """Below 1e-6, and below 1e-4 of the first."""
    for sigmas, cause in (
        ([80.0, 1.0, 0.9e-6], "a guard against log 0"),
        ([80.0, 1.0, 1.1e-6], "zero is not appended"),
        ([5e-3, 1e-3, 0.6e-6], "zero is not appended"),
        ([5e-3, 1e-3, 0.4e-6], "a guard against log 0"),
    ):
        (found,) = (one for one in lint_grid(sigmas) if one.kind == "missed-zero")
        assert found.cause == cause, sigmas


@pytest.mark.parametrize("place", [0, 1, 3])
def test_levels_that_float32_does_not_tell_apart_are_named_by_their_places(place: int) -> None:
    sigmas = [8.0, 4.0, 2.0, 1.0, 0.5, 0.0]
    sigmas.insert(place + 1, sigmas[place] * (1 - 1e-12))
    (found,) = (one for one in lint_grid(sigmas) if one.kind == "float32-collision")
    assert found.text.startswith(f"levels {place + 1} and {place + 2} differ in float64")


@pytest.mark.parametrize("place", [1, 2, 4])
def test_the_level_that_rises_is_named(place: int) -> None:
    sigmas = [8.0, 4.0, 2.0, 1.0, 0.5, 0.0]
    sigmas.insert(place, 9.0)
    (found,) = (one for one in lint_grid(sigmas) if one.kind == "rising")
    text = f"level {place + 1}, 9, is noisier than {sigmas[place - 1]:g} before it"
    assert found.text == text
