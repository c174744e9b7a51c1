"""Solvers against the own code of the libraries that have them, in float64.

diffusers and torchdiffeq are test extras. The others are not: k-diffusion and azula ask for
torchvision, flow_matching installs a package ``tests``. ``pip install --no-deps k-diffusion azula
flow-matching einops torchsde trampoline`` is enough for what is used here.
"""

from __future__ import annotations

import functools
import importlib.util
import itertools
import sys
import types
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.diffusion.denoisers import convert
from steinlab.diffusion.grids import Grid, given_grid
from steinlab.diffusion.processes import FLOW, VE, Process
from steinlab.solvers import get_solver, make_plan
from steinlab.solvers.loop import normals, solve
from tests.peers import drive
from tests.steinlab.solvers.cases import PLANE, states

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

DOUBLE = 1e-12
STEPS = 9
FRACTIONS = (0.25, 0.5, 0.7)


def split(levels: Sequence[NoiseLevel], fraction: float) -> list[NoiseLevel]:
    """Each step cut at a fraction of its length in ``lam``, on a VP process."""
    out = [levels[0]]
    for s, t in itertools.pairwise(levels):
        out += [drive.vp(s.ratio ** (1 - fraction) * t.ratio**fraction), t]
    return out


@pytest.mark.parametrize("fraction", FRACTIONS)
@pytest.mark.parametrize(
    ("name", "algorithm"), [("dpmpp-2s", "dpmsolver++"), ("dpm-2", "dpmsolver")]
)
def test_stage_at_any_fraction(name: str, algorithm: str, fraction: float) -> None:
    """diffusers' singlestep scheduler takes two of its levels for one step of ours."""
    diffusers = pytest.importorskip("diffusers")
    grid = drive.levels(drive.spaced(20.0, 0.05, 4, bend=0.3), drive.vp)
    inner = [level.ratio for level in split(grid, fraction)]
    scheduler = diffusers.DPMSolverSinglestepScheduler(
        solver_order=2,
        algorithm_type=algorithm,
        prediction_type="sample",
        lower_order_final=False,
        final_sigmas_type="sigma_min",
    )
    scheduler.set_timesteps(len(inner) - 1)
    drive.inject(scheduler, inner)
    x = states(grid)
    theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.vp, drive.to_sample)
    assert drive.gap(solve(PLANE, x, grid, f"{name}@{fraction}").state, theirs) < DOUBLE


def test_a_stage_in_the_middle_is_the_solver_without_a_fraction() -> None:
    grid = drive.levels(drive.spaced(20.0, 0.05, 4, bend=0.3), drive.vp)
    for name in ("dpm-2", "dpmpp-2s"):
        a, b = (solve(PLANE, states(grid), grid, n).state for n in (name, f"{name}@1/2"))
        assert drive.gap(a, b) < 1e-14


def pndm_levels(table: np.ndarray, times: Sequence[int]) -> Grid:
    return tuple(drive.vp(float(table[t])) for t in times)


def test_pndm() -> None:
    """A table of ratios stands for the process: the middle of a step is an index of the table."""
    diffusers = pytest.importorskip("diffusers")
    length, n = 120, 10
    table = np.geomspace(0.05, 20.0, length) * (1 + 0.3 * np.linspace(0, 1, length) ** 2)
    process = Process(
        "table",
        lambda s: tuple(np.array([1.0, s]) / np.hypot(1.0, s)),
        lambda t: float(np.interp(t, np.arange(length), table)),
        lambda s: float(np.interp(s, table, np.arange(length))),
        0.0,
        length - 1.0,
    )
    scheduler = diffusers.PNDMScheduler(num_train_timesteps=length, steps_offset=0)
    scheduler.set_timesteps(n)
    scheduler.alphas_cumprod = torch.from_numpy(1 / (1 + table**2))
    scheduler.final_alpha_cumprod = scheduler.alphas_cumprod[0]
    grid = pndm_levels(table, [*range(length - length // n, -1, -(length // n))])
    x = states(grid)
    y = torch.from_numpy(x)
    for t in scheduler.timesteps[:-1]:
        level = drive.vp(float(table[t]))
        y = scheduler.step(drive.to_eps(y, PLANE(y, level), level), int(t), y).prev_sample
    ours = solve(PLANE, x, grid, get_solver("pndm", process))
    assert drive.gap(ours.state, y) < DOUBLE
    assert ours.evaluations == len(scheduler.timesteps) - 1


# --- rectified flow: torchdiffeq and flow_matching -------------------------------------------

TIMES = [1.0, 0.93, 0.8, 0.72, 0.5, 0.31, 0.2, 0.07]
"""From noise, ``alpha = 0``, to data; the libraries' own time runs from 0 to 1."""


def velocity(x: Any, t: float) -> Any:
    """``eps - x0`` at the flow's time."""
    return drive.to_velocity(x, PLANE(x, FLOW.level(t)), FLOW.level(t))


def on_velocity(x: Any, level: NoiseLevel) -> Any:
    return velocity(x, level.sigma)


@pytest.mark.parametrize(
    ("name", "method"), [("rk-midpoint", "midpoint"), ("rk-heun", "heun2"), ("rk-4-38", "rk4")]
)
def test_runge_kutta_on_velocities(name: str, method: str) -> None:
    torchdiffeq = pytest.importorskip("torchdiffeq")
    grid = tuple(FLOW.level(t) for t in TIMES)
    x = states(grid)
    times = torch.tensor([1 - t for t in TIMES], dtype=torch.float64)
    theirs = torchdiffeq.odeint(
        lambda t, y: -velocity(y, 1 - float(t)), torch.from_numpy(x), times, method=method
    )[-1]
    solver = get_solver(name, FLOW)
    assert drive.gap(solve(PLANE, x, grid, solver).state, theirs) < DOUBLE
    assert drive.gap(solve(convert(on_velocity, "flow"), x, grid, solver).state, theirs) < DOUBLE


def test_flow_matching() -> None:
    solvers = pytest.importorskip("flow_matching.solver")
    from flow_matching.utils import ModelWrapper

    class Wrapped(ModelWrapper):
        def forward(self, x: Any, t: Any) -> Any:
            return -velocity(x, 1 - float(t))

    grid = tuple(FLOW.level(t) for t in TIMES)
    x = states(grid)
    theirs = solvers.ODESolver(Wrapped(torch.nn.Identity())).sample(
        torch.from_numpy(x),
        step_size=None,
        method="midpoint",
        time_grid=torch.tensor([1 - t for t in TIMES], dtype=torch.float64),
    )
    assert drive.gap(solve(PLANE, x, grid, get_solver("rk-midpoint", FLOW)).state, theirs) < DOUBLE


def test_classical_runge_kutta() -> None:
    common = pytest.importorskip("torchdiffeq._impl.rk_common")
    grid = tuple(FLOW.level(t) for t in TIMES)
    x = states(grid)
    y = torch.from_numpy(x)

    def func(t: float, y: Any, perturb: Any = None) -> Any:
        return velocity(y, t)

    for s, t in itertools.pairwise(TIMES):
        y = y + common.rk4_step_func(func, s, t - s, t, y)
    assert drive.gap(solve(PLANE, x, grid, get_solver("rk-4", FLOW)).state, y) < DOUBLE


def test_trapezoid_in_time_of_flow_matching_in_diffusers() -> None:
    diffusers = pytest.importorskip("diffusers")
    values = [*drive.spaced(0.95, 0.05, STEPS - 1, bend=0.3), 0.0]
    scheduler = diffusers.FlowMatchHeunDiscreteScheduler()
    scheduler.set_timesteps(STEPS)
    drive.inject(scheduler, values, interleaved=True)
    grid = drive.levels(values, drive.flow)
    x = states(grid)
    with drive.double_precision(scheduler):
        theirs = drive.run(scheduler, PLANE, torch.from_numpy(x), drive.flow, drive.to_velocity)
    assert drive.gap(solve(PLANE, x, grid, get_solver("rk-heun", FLOW)).state, theirs) < DOUBLE


# --- azula -------------------------------------------------------------------------------------

AZULA = [
    ("euler", "EulerSampler", {}),
    ("euler", "DDIMSampler", {}),
    ("heun", "HeunSampler", {}),
    *((f"deis-rho-{n}", "zABSampler", {"order": n}) for n in (1, 2, 3, 4)),
    *((f"deis-log-{n}", "zEABSampler", {"order": n}) for n in (1, 2, 3, 4)),
    ("dpmpp-2m-heun", "xEABSampler", {"order": 2}),
    ("dpmpp-3m-exact", "xEABSampler", {"order": 3}),
]


@pytest.mark.parametrize(("name", "sampler", "options"), AZULA, ids=str)
def test_azula(name: str, sampler: str, options: dict[str, Any]) -> None:
    module = pytest.importorskip("azula.sample", exc_type=ImportError)

    class Exact:
        """What a sampler asks of azula's denoiser, in the process's own float64."""

        @staticmethod
        def schedule(t: Any) -> tuple[Any, Any]:
            sigma = torch.as_tensor(VE.ratio(t.double().numpy()))
            return torch.ones_like(sigma), sigma

        def __call__(self, x: Any, t: Any) -> Any:
            return types.SimpleNamespace(mean=PLANE(x, VE.level(float(t))))

    made = getattr(module, sampler)(
        Exact(), start=0.95, stop=0.2, steps=7, silent=True, dtype=torch.float64, **options
    )
    grid = given_grid(VE, [float(VE.ratio(float(t))) for t in made.timesteps])
    x = states(grid)
    theirs = made(torch.from_numpy(x))
    assert drive.gap(solve(PLANE, x, grid, name).state, theirs) < DOUBLE


# --- k-diffusion -------------------------------------------------------------------------------


@functools.cache
def k_diffusion() -> Any:
    """Return its sampling module, without the package's other imports."""
    found = importlib.util.find_spec("k_diffusion")
    for needed in ("torchsde", "torchdiffeq", "tqdm"):
        pytest.importorskip(needed)
    if found is None or not found.submodule_search_locations:
        pytest.skip("k-diffusion, a test extra, is not installed")
    package = types.ModuleType("k_diffusion")
    package.__path__ = list(found.submodule_search_locations)
    utils = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]  # type: ignore[attr-defined]
    package.utils = utils  # type: ignore[attr-defined]
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    return importlib.import_module("k_diffusion.sampling")


SIGMAS = [*drive.spaced(40.0, 0.02, 8, bend=-0.4), 0.0]

K_DIFFUSION: list[tuple[Any, Callable[[Any, Any, Any, Any], Any]]] = [
    ("euler", lambda k, m, x, s: k.sample_euler(m, x, s, disable=True)),
    ("heun", lambda k, m, x, s: k.sample_heun(m, x, s, disable=True)),
    ("dpm-2", lambda k, m, x, s: k.sample_dpm_2(m, x, s, disable=True)),
    ("dpmpp-2m", lambda k, m, x, s: k.sample_dpmpp_2m(m, x, s, disable=True)),
    ("dpmpp-2s", lambda k, m, x, s: k.sample_dpmpp_2s_ancestral(m, x, s, disable=True, eta=0.0)),
    *(
        (f"ipndm-v-{n}", lambda k, m, x, s, n=n: k.sample_lms(m, x, s, disable=True, order=n))
        for n in (1, 2, 3)
    ),
]


@pytest.mark.parametrize(("name", "sampler"), K_DIFFUSION, ids=[name for name, _ in K_DIFFUSION])
def test_k_diffusion(name: str, sampler: Callable[..., Any]) -> None:
    k = k_diffusion()
    grid = drive.levels(SIGMAS, drive.ve)
    x = states(grid)

    def model(y: Any, sigma: Any) -> Any:
        return PLANE(y, drive.ve(float(sigma[0])))

    theirs = sampler(k, model, torch.from_numpy(x), torch.tensor(SIGMAS, dtype=torch.float64))
    # k-diffusion's LMS integrates its coefficients to 1e-4
    agreement = 1e-4 if name.startswith("ipndm") else DOUBLE
    assert drive.gap(solve(PLANE, x, grid, name).state, theirs) < agreement


@pytest.mark.parametrize(
    ("name", "sampler"), [("seeds-1", "euler_ancestral"), ("sde-dpmpp-2m", "dpmpp_2m_sde")]
)
def test_k_diffusion_on_the_same_noise(name: str, sampler: str) -> None:
    k, draw = k_diffusion(), normals(3)
    grid = drive.levels(SIGMAS, drive.ve)
    x, steps = torch.from_numpy(states(grid)), itertools.count()
    theirs = getattr(k, f"sample_{sampler}")(
        lambda y, sigma: PLANE(y, drive.ve(float(sigma[0]))),
        x,
        torch.tensor(SIGMAS, dtype=torch.float64),
        noise_sampler=lambda *_: draw(next(steps), 1, x)[0],
        disable=True,
    )
    assert drive.gap(solve(PLANE, x, grid, name, noise=draw).state, theirs) < DOUBLE


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_single_step_of_k_diffusion(fraction: float) -> None:
    """``DPMSolver.dpm_solver_2_step`` with its stage at ``r1``."""
    k = k_diffusion()
    grid = drive.levels(SIGMAS[:-1], drive.ve)
    x = states(grid)
    solver = k.DPMSolver(lambda y, sigma: PLANE(y, drive.ve(float(sigma[0]))))
    y = torch.from_numpy(x)
    for s, t in itertools.pairwise(grid):
        ends = (torch.tensor(-np.log(level.sigma)) for level in (s, t))
        y, _ = solver.dpm_solver_2_step(y, *ends, r1=fraction)
    assert drive.gap(solve(PLANE, x, grid, f"dpm-2@{fraction}").state, y) < DOUBLE


def test_own_start_of_pndm_is_part_of_its_plan() -> None:
    solver = get_solver("pndm", FLOW)
    names = [one.name for one in make_plan(solver, 5).solvers]
    assert names == ["pndm-start"] * 3 + ["pndm"] * 2
    assert make_plan(solver, 5).order == 2
