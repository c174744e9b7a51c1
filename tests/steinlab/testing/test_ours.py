"""Our own solvers conform, on every process, over drawn laws and grids: no false alarm."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVER_IDS, get_solver
from steinlab.testing import from_solver, identify, rows_of
from steinlab.testing.bench import Bench, Declared
from steinlab.testing.checks.orders import STEPS, _read
from steinlab.testing.rows import Row, table
from tests.steinlab.solvers.cases import ALONE
from tests.steinlab.testing.told import held

CONFIGURATIONS = [
    (name, process)
    for name in SOLVER_IDS
    for process in PROCESSES
    if name != "pndm" and not (name.startswith("rk-") and process.startswith("vp"))
]
"""All but Runge-Kutta in VP's own time, whose stages leave the line of one-point data, and PNDM,
whose formula is for levels even in its time."""

ORDER = np.random.default_rng(16).permutation(len(CONFIGURATIONS))
DRAWN = [(*CONFIGURATIONS[k], seed) for seed, k in enumerate(ORDER)]
QUICK = [*dict.fromkeys(DRAWN)][:12]


def conforms(name: str, process: str, seed: int) -> list[Row]:
    order = get_solver(name, PROCESSES[process]).order
    rows = rows_of(from_solver(name, process), order=order, seed=seed)
    wrong = [row for row in rows if row.verdict == "fails"]
    assert not wrong, f"{name}, {process}, seed {seed}\n{table(wrong)}"
    return rows


@pytest.mark.parametrize(("name", "process", "seed"), QUICK)
def test_it_conforms(name: str, process: str, seed: int) -> None:
    held(f"ours: {name}, {process}", conforms(name, process, seed))


@pytest.mark.slow
@pytest.mark.parametrize("part", range(10))
def test_two_hundred_configurations_conform(part: int) -> None:
    for k in range(20 * part, 20 * part + 20):
        name, process, _ = DRAWN[k % len(DRAWN)]
        conforms(name, process, 1000 + k)


@pytest.mark.parametrize(("process", "seed"), [("flow", 1033), ("ve", 1138), ("vp-linear", 1148)])
def test_pndm_conforms_on_even_steps(process: str, seed: int) -> None:
    """On jumping steps it is of order one; one long step carries a constant to 1e-11."""
    rows = rows_of(from_solver("pndm", process), order=2, seed=seed)
    assert {row.check for row in rows if row.verdict == "fails"} == {"order-rough", "one-point"}


@pytest.mark.parametrize("name", ALONE)
def test_it_is_identified(name: str) -> None:
    found = identify(from_solver(name, "vp-linear"))
    assert found is not None
    assert found.known
    same = {name, *SAME.get(name, ())}
    assert found.name in same, str(found)


SAME = {
    **{
        f"{family}-1": ("euler",)
        for family in ("deis-rho", "deis-log", "deis-tab", "ipndm", "ipndm-v")
    },
    "ipndm-v-2": ("deis-rho-2",),
    "ipndm-v-3": ("deis-rho-3",),
    "ipndm-v-4": ("deis-rho-4",),
}
"""Solvers of one formula."""


def test_an_order_whose_limit_comes_late_is_read_from_finer_runs() -> None:
    """Errors ``h - 15 h^2`` have slope 0.79 at 128 steps: DC-Solver's two orders cancel so."""
    bench = Bench(from_solver("euler"), Declared(order=1))

    def read(error: Callable[[int], float]) -> tuple[float, int]:
        found, errors = _read(bench, error, lambda _: 0.0, STEPS, (256, 512), least=0.8)
        assert found is not None
        return found.value, max(errors)

    assert read(lambda n: 1 / n - 15 / n**2) == (pytest.approx(0.956, abs=1e-3), 512)
    assert read(lambda n: n**-0.5) == (pytest.approx(0.5), 128)
