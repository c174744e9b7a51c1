"""One door to a coefficient: laws, models and ids, and routes by name."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

import steinlab as sl
from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from steinlab.coefficient.routes import _require_range
from steinlab.diffusion.models import load_model
from steinlab.errors import InputError
from steinlab.solvers import EULER

LAW = GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.5, 0.5]], [0.16, 0.49])
S, T = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.6)


def test_ids_and_objects_are_the_same_question() -> None:
    by_id = sl.coefficients("digits", S, T, "euler", samples=20)
    by_object = sl.coefficients(load_model("digits"), S, T, EULER, samples=20)
    assert dict(by_id) == dict(by_object)
    assert by_id.states == "the model's exact law, noised forward"
    assert set(by_id.counts.values()) == {20}


def test_every_route_of_a_law_is_2_and_a_half_for_its_first_order_step() -> None:
    for law in (LAW, EmpiricalMixture(np.array([[0.0, 1.0], [2.0, -1.0], [1.0, 0.5]]), 0.3)):
        found = sl.coefficients(law, S, T, "euler", samples=20_000)
        assert ("three_scalar" in found) == isinstance(law, GaussianMixture)
        for entry in found.values():
            assert abs(entry.value - 2.5) <= 4.5 * entry.error + 1e-12


def test_routes_are_picked_by_name_and_a_proof_is_one() -> None:
    pytest.importorskip("flint")
    whole = sl.coefficients(LAW, S, T, "dpmpp-2m", samples=500)
    some = sl.coefficients(LAW, S, T, "dpmpp-2m", samples=500, routes=["certified", "tweedie"])
    assert list(some) == ["certified", "tweedie"]
    assert "certified" not in whole
    assert some["tweedie"] == whole["tweedie"]
    assert abs(some["certified"].value - 2.5) <= some["certified"].error < 1e-9
    assert some.counts == {"tweedie": 500}


def test_a_route_that_does_not_apply_is_refused() -> None:
    message = r"routes must be one of reference, stein, tweedie, got certified"
    past = [NoiseLevel(1.0, 2.0)]
    with pytest.raises(InputError, match=message):
        sl.coefficients(LAW, S, T, "dpmpp-2m", history=past, samples=50, routes=["certified"])


@pytest.mark.parametrize(
    ("ratio", "taken"),
    [
        (0.5, True),
        (8.0, True),
        (0.5 * (1 - 0.9e-9), True),
        (8.0 * (1 + 0.9e-9), True),
        (0.5 * (1 - 1.1e-9), False),
        (8.0 * (1 + 1.1e-9), False),
        (0.1, False),
        (80.0, False),
    ],
)
def test_a_models_levels_end_where_they_end(ratio: float, taken: bool) -> None:
    """Up to the rounding of a schedule's table, on either side."""
    model: Any = SimpleNamespace(sigma_range=(0.5, 8.0), name="mine")
    levels = NoiseLevel(1.0, 2.0), NoiseLevel(1.0, ratio)
    if taken:
        _require_range(model, levels)
        return
    with pytest.raises(InputError, match=r"sigma/alpha must be in 0\.5 to 8 for mine, got"):
        _require_range(model, levels)
