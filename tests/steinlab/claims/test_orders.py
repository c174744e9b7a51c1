"""The machinery behind the claims on orders, equivalences and the split of the error."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from steinlab.claims import convergence, integration_error_decomposition, published
from steinlab.claims.convergence import Convergence, compare_orders, declared, observe
from steinlab.claims.falsified import falsify
from steinlab.claims.integration_error_decomposition import Run, measure, split
from steinlab.claims.solver_equivalences import PAIRS, PairCase, compare
from steinlab.claims.solver_equivalences import measure as measure_pair
from steinlab.claims.third_order_as_published import BUDGETS, few_steps
from steinlab.processes import EDM, PROCESSES
from steinlab.solvers import get_solver
from steinlab.solvers.base import LinearMultistep


@pytest.mark.parametrize(
    ("name", "own", "matching", "local"),
    [
        ("euler", 1, 1, 2),
        ("heun", 2, 2, 3),
        ("dpmpp-3m", 2, 2, 3),
        ("dpmpp-3m-exact", 2, 3, 4),
        ("unipc-2", 3, 3, 3),
        ("ipndm-v-4", 2, 4, 5),
    ],
)
def test_declared_orders(name: str, own: int, matching: int, local: int) -> None:
    solver = get_solver(name, EDM)
    assert [declared(solver, k) for k in ("own", "matching", "local")] == [own, matching, local]


@pytest.mark.parametrize("name", ["heun", "dpmpp-2m", "unipc-2", "deis-rho-2"])
def test_a_falsified_solver_loses_its_order(name: str) -> None:
    case = Convergence(name, "flow", "logsnr", "own")
    right, wrong = observe(case), observe(case, falsify)
    assert not compare_orders(right, 0).violated.any()
    assert compare_orders(wrong, 0).violated.all()


def test_the_reference_must_stand_clear(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(convergence, "_exact_end", lambda p: (*_end(p), 1.0))
    with pytest.raises(RuntimeError, match="does not stand clear"):
        observe(Convergence("euler", "edm", "logsnr", "own"))


def _end(process: str) -> tuple[np.ndarray, np.ndarray]:
    level = PROCESSES[process].level_at(convergence.TOP)
    return level.alpha * convergence.STATES, convergence.STATES


@pytest.mark.parametrize("pair", PAIRS)
def test_a_typing_error_in_a_printed_formula_shows(pair: str) -> None:
    case = PairCase(pair, PAIRS[pair][2][0], 5)
    data = measure_pair(case)
    assert not compare(data, 0.0).violated.any()
    assert compare(data, 1e-9).violated.any()


def test_printed_third_order_with_the_wrong_factor_is_another_solver() -> None:
    """The identity that distinguishes ``c = 1`` from ``c = 2`` notices a swap."""
    ours = get_solver("dpmpp-3m-exact")
    assert isinstance(ours, LinearMultistep)
    levels = tuple(EDM.level_at(r) for r in (1.0, 2.0, 4.0))
    right = ours.weights(levels, EDM.level_at(0.5)).betas
    for c, same in ((1, False), (2, True)):
        printed = published.in_data_form(published.dpmpp_3m(c, published.dpmpp_2m_heun), 3)
        betas = printed.weights(levels, EDM.level_at(0.5)).betas
        assert np.allclose(betas, right, rtol=1e-12) == same


def test_budgets_too_small_for_a_matching_start_are_left_out() -> None:
    errors = few_steps()
    assert all(len(row) == len(BUDGETS) for row in errors.values())
    assert all(e is None or e > 0 for row in errors.values() for e in row)
    assert errors["published, first-order start"] != errors["c = 2, first-order start"]


@pytest.mark.parametrize("error", [0.0, 0.05])
def test_parts_add_up(error: float) -> None:
    parts = measure(Run("dpmpp-2m", "vp-linear", 4, error))
    comparison = integration_error_decomposition.compare(parts, split)
    assert not comparison.violated.any()
    assert np.max(comparison.tolerance) < 1e-10
    wrong = replace(comparison, predicted=parts.local.sum(axis=0) + 0.999 * parts.denoiser)
    assert wrong.violated.any() == (error > 0)
