"""The machinery behind the claims on orders, equivalences and the split of the error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from steinlab.claims.instruments import observed_order
from steinlab.claims.instruments.observed_order import (
    Convergence,
    Observed,
    compare_orders,
    declared,
    observe,
    side_by_side,
)
from steinlab.claims.solvers import (
    integration_error_decomposition,
    published_formulas,
    solver_order,
)
from steinlab.claims.solvers.broken_solvers import falsify
from steinlab.claims.solvers.integration_error_decomposition import Run, measure, split
from steinlab.claims.solvers.solver_equivalences import PAIRS, PairCase, compare
from steinlab.claims.solvers.solver_equivalences import measure as measure_pair
from steinlab.claims.solvers.third_order_as_published import BUDGETS, few_steps
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.solvers import SOLVER_IDS, get_solver, make_plan, matching_start
from steinlab.solvers.base import LinearMultistep
from steinlab.solvers.loop import solve
from steinlab.verification.comparison import join


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
    monkeypatch.setattr(observed_order, "_exact_end", lambda p: (*_end(p), 1.0))
    with pytest.raises(RuntimeError, match="does not stand clear"):
        observe(Convergence("euler", "edm", "logsnr", "own"))


def _end(process: str) -> tuple[np.ndarray, np.ndarray]:
    level = PROCESSES[process].level_at(observed_order.TOP)
    return level.alpha * observed_order.STATES, observed_order.STATES


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
        printed = published_formulas.in_data_form(
            published_formulas.dpmpp_3m(c, published_formulas.dpmpp_2m_heun), 3
        )
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


def test_a_solver_of_the_wrong_order_is_named_and_its_row_marked() -> None:
    """Not among "all solvers": the finding counts the others and says which it is."""

    def result(kind: str, solvers: Sequence[str], wrong: str) -> Any:
        seen = [
            Observed(
                Convergence(name, "edm", "logsnr", kind),
                order=1.01 if name == wrong else 2.0,
                confidence=0.02,
                declared=2,
                error=1e-3,
            )
            for name in solvers
        ]
        return SimpleNamespace(data=seen, comparison=join([compare_orders(o, 0) for o in seen]))

    def said(wrong: str) -> tuple[str, dict[str, list[str]]]:
        found = {k: result(k, SOLVER_IDS, wrong if k == "own" else "") for k in solver_order.KINDS}
        rows = solver_order._table(found).rows
        return solver_order._finding(found), {row[0]: list(row[1:]) for row in rows}

    finding, rows = said("heun")
    assert finding.startswith(f"{len(SOLVER_IDS) - 1} of {len(SOLVER_IDS)} solvers have their")
    assert "; not heun (declared 2, observed 1.01 +- 0.02, own)" in finding
    assert rows["heun"][1] == "1.01 +- 0.02, WRONG"
    assert not any("WRONG" in cell for name, row in rows.items() if name != "heun" for cell in row)
    finding, rows = said("")
    assert finding.startswith(f"all {len(SOLVER_IDS)} solvers")
    assert not any("WRONG" in cell for row in rows.values() for cell in row)


@pytest.mark.parametrize("kind", ["own", "matching"])
@pytest.mark.parametrize("name", ["unipc-3-noise", "dpmpp-3m-exact", "ipndm-v-4"])
def test_solvers_side_by_side_end_where_each_ends_alone(name: str, kind: str) -> None:
    case = Convergence(name, "vp-linear", "karras", kind)
    solver = get_solver(name, PROCESSES[case.process])
    start = matching_start(solver) if kind == "matching" else ()
    rows = observed_order._linear_rows(case.process, SOLVER_IDS)
    assert (solver, start) in rows
    assert len(rows) > 40
    levels = observed_order._grids(case.process, 7, axes=4)
    x = levels[0].alpha[0, 0] * observed_order.STATES
    stack = np.broadcast_to(x, (len(rows), len(observed_order.SPACINGS), *x.shape))
    together = solve(observed_order.LAW, stack, levels, side_by_side(rows, levels)).state
    for g in range(len(observed_order.SPACINGS)):
        own = [observed_order._one(level, g) for level in levels]
        plan = make_plan(solver, 7, start=start)
        alone = solve(observed_order.LAW, own[0].alpha * observed_order.STATES, own, plan).state
        end = together[rows.index((solver, start)), g]
        np.testing.assert_allclose(end, alone, rtol=1e-14)
