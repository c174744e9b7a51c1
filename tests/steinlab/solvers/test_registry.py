"""Solvers by name."""

from __future__ import annotations

import re

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import FLOW, PROCESSES
from steinlab.errors import InputError
from steinlab.solvers import ON_PROCESS, SOLVER_IDS, SOLVERS, deis_tab, get_solver, unipc

PROMISED = (
    *("euler", "heun", "dpm-2", "dpmpp-2s", "dpmpp-3s"),
    *("dpmpp-2m", "dpmpp-2m-heun", "dpmpp-3m", "dpmpp-3m-exact"),
    *(f"unipc-{p}{variant}" for variant in ("", "-bh1") for p in (1, 2, 3)),
    *("dpm-2m", "dpm-3m", "rk-midpoint", "rk-heun", "rk-4", "pndm"),
    *(f"unipc-{p}-noise" for p in (1, 2, 3)),
    *(f"deis-{clock}-{nodes}" for clock in ("tab", "rho", "log") for nodes in (1, 2, 3, 4)),
    *(f"ipndm-{v}{nodes}" for v in ("", "v-") for nodes in (1, 2, 3, 4)),
)


def test_every_promised_solver_is_there_under_its_own_name() -> None:
    assert set(PROMISED) <= set(SOLVER_IDS)
    assert len(SOLVER_IDS) == len(set(SOLVER_IDS))
    for name in SOLVER_IDS:
        assert get_solver(name, FLOW).name == name
    assert get_solver("ddim") is SOLVERS["euler"]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("unipc-4", "order must be 1, 2 or 3 for unipc, got 4"),
        ("unipc-4-bh1", "order must be 1, 2 or 3 for unipc, got 4"),
        ("deis-tab-0", "order must be 1, 2, 3 or 4 for deis-tab, got 0"),
        ("ipndm-v-5", "order must be 1, 2, 3 or 4 for ipndm-v, got 5"),
        ("dpmpp-2n", "see docs/solvers.md), got dpmpp-2n"),
        ("ddmi", "did you mean ddim? "),
        ("unipc-4-noise", "order must be 1, 2 or 3 for unipc, got 4"),
        ("dpm-2@0", "R must be in (0, 1] for dpm-2@R, got 0"),
        ("dpmpp-2s@half", "R must be in (0, 1] for dpmpp-2s@R, got half"),
        ("dpmpp-3s@0.5", "solver must be one of euler, "),
        ("pndm", "a process must be given for pndm, whose formula uses its time, got none"),
        ("runge", "solver must be one of euler, heun, "),
        ("", "solver must be one of euler, heun, "),
        ("deis-tab-2", "a process must be given for deis-tab-2, whose formula uses its time, got"),
    ],
)
def test_unknown_names(name: str, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        get_solver(name)


def test_messages_name_the_field() -> None:
    for name in ("unipc-4", "runge", "deis-tab-2"):
        with pytest.raises(InputError, match=r"^solvers\[3\]"):
            get_solver(name, field="solvers[3]")


def test_factories_refuse_orders_they_do_not_have() -> None:
    with pytest.raises(ValueError, match="order must be 1, 2 or 3 for unipc, got 0"):
        unipc(0)
    with pytest.raises(ValueError, match="variant must be bh1 or bh2, got bh3"):
        unipc(2, "bh3")
    with pytest.raises(ValueError, match="order must be 1, 2, 3 or 4 for deis-tab, got 5"):
        deis_tab(5, FLOW)


def test_stages_lie_on_the_process_they_were_built_for() -> None:
    s, t = FLOW.level(0.9), FLOW.level(0.2)
    seen = []

    def denoiser(x: float, level: NoiseLevel) -> float:
        seen.append(level)
        return 0.5 * x

    for name in ("dpm-2", "dpmpp-2s", "dpmpp-3s", "dpm-2@0.3", "dpmpp-2s@0.7"):
        assert name in ON_PROCESS or "@" in name
        get_solver(name, FLOW).step(denoiser, 1.0, s, t, ())
    assert len(seen) == 2 + 2 + 3 + 2 + 2
    for level in seen:
        assert level.alpha + level.sigma == pytest.approx(1, abs=1e-15)


def test_a_process_may_be_named() -> None:
    grid = make_grid("flow", "logsnr", 3)
    x = np.ones((1, 1))
    for name in ("rk-4", "dpmpp-2s", "dpm-2@1/3", "deis-tab-2"):
        ends = [
            get_solver(name, process).step(lambda y, _: 0.1 * y, x, grid[0], grid[1], ()).state
            for process in ("flow", PROCESSES["flow"])
        ]
        assert ends[0] == ends[1]


def test_of_the_noise_form_of_unipc_the_first_alone_ends_at_zero() -> None:
    found = [SOLVERS[f"unipc-{p}-noise"].ends_at_zero for p in (1, 2, 3)]
    assert found == [True, False, False]
