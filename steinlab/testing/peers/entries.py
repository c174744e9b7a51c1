"""What is judged: schedulers and samplers of other libraries in their common configurations.

``order`` is what the library says of itself: ``solver_order``, the order in the class's name or its
documentation (UniPC: "the effective order of accuracy is solver_order + 1"). Options that only
choose a grid change nothing of the method, so there the checks of a scheduler's own grid are run
alone.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from steinlab.testing.adapters import from_loop, from_velocity
from steinlab.testing.checks import CHECKS
from steinlab.testing.peers.libraries import library
from steinlab.testing.subject import Subject

OWN = ("network-level", "own-grid", "own-finite", "own-levels", "own-midway")
"""Checks of a scheduler's own grid, but for its rounding."""

STORED = {"own-grid": "zero noise is stored twice, no step begins there"}
BY_DESIGN = {"order-graded": "lower order in the last steps, by design (lower_order_final)"}

METHOD = tuple(check.id for check in CHECKS if check.of != "own")
"""Checks of the method itself; with :data:`OWN` all but the rounding on its own grid."""

LAW = ("law", "law-distance", "end-at-zero")
"""Checks of what draws noise."""

ROUNDED = ("own-float32",)
"""Runs in float32 up to 999 steps: dear, so of one configuration per scheduler."""


@dataclass(frozen=True)
class Entry:
    """One sampler in one configuration.

    Parameters
    ----------
    library, sampler, options : str
        Its name in three parts.
    make : callable
        Returns the subject, or raises :class:`~steinlab.testing.peers.libraries.MissingLibrary`.
    order : int, optional
        Declared by the library.
    only : tuple of str
        Checks to run.
    design : mapping
        Failures that are by design, with the words of it.
    law : bool
        Whether it draws noise.
    ends_at_zero : bool
        Whether it is made for grids that end at zero noise.
    """

    library: str
    sampler: str
    options: str
    make: Callable[[], Subject]
    order: int | None = None
    only: tuple[str, ...] = (*METHOD, *OWN)
    design: Mapping[str, str] = field(default_factory=dict)
    law: bool = False
    ends_at_zero: bool = True

    @property
    def name(self) -> str:
        """The three parts in one line."""
        return " ".join(part for part in (self.library, self.sampler, self.options) if part)


def words(options: Mapping[str, Any]) -> str:
    """Return options as ``a=1, b``, the true ones by their name alone."""
    return ", ".join(key if value is True else f"{key}={value}" for key, value in options.items())


def scheduler(
    sampler: str,
    order: int | None,
    *,
    only: tuple[str, ...] = (*METHOD, *OWN),
    design: Mapping[str, str] | None = None,
    hidden: Mapping[str, Any] | None = None,
    **options: Any,
) -> Entry:
    """Return a scheduler of diffusers; ``hidden`` options are passed and not named."""

    def make() -> Subject:
        from steinlab.testing.schedulers import from_diffusers

        module = library("diffusers")
        built = {**(hidden or {}), **options}
        return from_diffusers(lambda: getattr(module, f"{sampler}Scheduler")(**built))

    return Entry("diffusers", sampler, words(options), make, order, only, design or {})


def drawing(entry: Entry) -> Entry:
    """Return an entry that draws noise; its order is a weak one."""
    return replace(entry, law=True, only=LAW)


GRIDS: tuple[dict[str, Any], ...] = (
    {"use_karras_sigmas": True},
    {"use_exponential_sigmas": True},
    {"use_beta_sigmas": True},
)
FLOWING: dict[str, Any] = {"use_flow_sigmas": True, "prediction_type": "flow_prediction"}
SPACINGS = ("linspace", "leading", "trailing")
PLAIN: dict[str, Any] = {"clip_sample": False}


def _diffusers() -> Iterator[Entry]:  # noqa: PLR0912, PLR0915 - a list
    for spacing in SPACINGS:
        yield scheduler("DDIM", 1, hidden=PLAIN, timestep_spacing=spacing)
    rescaled: dict[str, Any] = {"timestep_spacing": "trailing", "rescale_betas_zero_snr": True}
    yield scheduler("DDIM", 1, only=OWN, hidden=PLAIN, prediction_type="v_prediction", **rescaled)
    yield scheduler("DDIM", 1, only=OWN, hidden=PLAIN, set_alpha_to_one=False)
    yield scheduler("DDIMParallel", 1, hidden=PLAIN)
    yield scheduler("CogVideoXDDIM", 1, hidden=PLAIN)
    for skip in (False, True):
        yield scheduler("PNDM", 4, skip_prk_steps=skip)
    yield scheduler("PNDM", 4, only=OWN, skip_prk_steps=True, timestep_spacing="linspace")
    yield scheduler("PNDM", 4, only=OWN, skip_prk_steps=True, timestep_spacing="trailing")
    yield scheduler("IPNDM", 4)
    yield scheduler("LMSDiscrete", 4, only=(*METHOD, *OWN, *ROUNDED))
    for grid in (*GRIDS, {"timestep_spacing": "trailing"}, {"timestep_spacing": "leading"}):
        yield scheduler("LMSDiscrete", 4, only=OWN, **grid)
    for name, order in (("EulerDiscrete", 1), ("HeunDiscrete", 2), ("KDPM2Discrete", 2)):
        kept = STORED if name == "KDPM2Discrete" else {}
        yield scheduler(name, order, only=(*METHOD, *OWN, *ROUNDED), design=kept)
        for grid in (*GRIDS, {"timestep_spacing": "leading"}, {"timestep_spacing": "trailing"}):
            yield scheduler(name, order, only=OWN, design=kept, **grid)
    yield scheduler("EulerDiscrete", 1, only=OWN, timestep_spacing="trailing",
                    rescale_betas_zero_snr=True, prediction_type="v_prediction")  # fmt: skip
    yield scheduler("EulerDiscrete", 1, only=OWN, final_sigmas_type="sigma_min")
    whole = (*METHOD, *OWN, *ROUNDED)
    for order in (1, 2, 3):
        yield scheduler("DEISMultistep", order, only=whole, solver_order=order)
    for grid in (*GRIDS, FLOWING, {"timestep_spacing": "leading"}):
        yield scheduler("DEISMultistep", 2, only=(*OWN, "wasted"), **grid)
    for order in (1, 2, 3):
        yield scheduler("DPMSolverMultistep", order, only=whole, solver_order=order)
    yield scheduler("DPMSolverMultistep", 2, solver_type="heun")
    least: dict[str, Any] = {"final_sigmas_type": "sigma_min"}
    for order in (1, 2, 3):
        yield scheduler("DPMSolverMultistep", order, algorithm_type="dpmsolver",
                        solver_order=order, **least)  # fmt: skip
    yield scheduler("DPMSolverMultistep", 2, algorithm_type="dpmsolver", solver_type="heun",
                    **least)  # fmt: skip
    yield scheduler("DPMSolverMultistep", 2, euler_at_final=True)
    yield scheduler("DPMSolverMultistep", 2, only=OWN, lower_order_final=False)
    yield scheduler("DPMSolverMultistep", 3, only=OWN, solver_order=3, lower_order_final=False)
    lu: dict[str, Any] = {"use_lu_lambdas": True}
    for grid in (*GRIDS, lu, FLOWING, {"timestep_spacing": "leading"},
                 {"timestep_spacing": "trailing"}, {"beta_schedule": "squaredcos_cap_v2"},
                 {**FLOWING, "flow_shift": 3.0}):  # fmt: skip
        yield scheduler("DPMSolverMultistep", 2, only=OWN, **grid)
    for order in (1, 2, 3):
        yield scheduler("DPMSolverSinglestep", order, solver_order=order)
    yield scheduler("DPMSolverSinglestep", 2, algorithm_type="dpmsolver", **least)
    yield scheduler("DPMSolverSinglestep", 2, solver_type="heun")
    for grid in (*GRIDS, FLOWING):
        yield scheduler("DPMSolverSinglestep", 2, only=OWN, **grid)
    for order in (1, 2, 3):
        yield scheduler("UniPCMultistep", order + 1, design=BY_DESIGN, solver_order=order)
    for order in (1, 2, 3):
        yield scheduler("UniPCMultistep", order + 1, solver_order=order, lower_order_final=False)
    for order in (1, 2, 3):
        yield scheduler("UniPCMultistep", order + 1, design=BY_DESIGN, solver_order=order,
                        solver_type="bh1")  # fmt: skip
        yield scheduler("UniPCMultistep", order + 1, design=BY_DESIGN, solver_order=order,
                        predict_x0=False)  # fmt: skip
    others: tuple[dict[str, Any], ...] = (
        FLOWING,
        {**FLOWING, "flow_shift": 3.0},
        {"timestep_spacing": "leading"},
        {"timestep_spacing": "trailing"},
        rescaled,
        least,
    )
    for grid in (*GRIDS, *others):
        yield scheduler("UniPCMultistep", 3, only=OWN, **grid)
    plain = {"tau_func": _no_noise}
    yield scheduler("SASolver", None, hidden=plain)
    for grid in (*GRIDS, FLOWING):
        yield scheduler("SASolver", None, only=OWN, hidden=plain, **grid)
    yield scheduler("EDMEuler", 1)
    yield scheduler("EDMEuler", 1, only=OWN, sigma_schedule="exponential")
    for order in (1, 2, 3):
        yield scheduler("EDMDPMSolverMultistep", order, solver_order=order)
    yield scheduler("EDMDPMSolverMultistep", 2, solver_type="heun")
    yield scheduler("EDMDPMSolverMultistep", 2, only=OWN, sigma_schedule="exponential")
    cosine: dict[str, Any] = {"beta_schedule": "squaredcos_cap_v2", "use_karras_sigmas": True}
    yield scheduler("DPMSolverMultistep", 2, only=OWN, **cosine)
    # its noise is defined from sigma_min on
    yield scheduler("CosineDPMSolverMultistep", 2, hidden={"sigma_min": 0.02})
    yield scheduler("FlowMatchEulerDiscrete", 1, only=whole)
    shifts: tuple[dict[str, Any], ...] = (
        {"shift": 3.0},
        {"use_dynamic_shifting": True},
        {"shift_terminal": 0.1},
    )
    for grid in (*shifts, *GRIDS):
        yield scheduler("FlowMatchEulerDiscrete", 1, only=OWN, **grid)
    yield scheduler("FlowMatchHeunDiscrete", 2)
    yield drawing(scheduler("EulerAncestralDiscrete", 1))
    yield drawing(scheduler("DDPM", 1, hidden=PLAIN))
    sde: dict[str, Any] = {"algorithm_type": "sde-dpmsolver++"}
    for order in (1, 2):
        yield drawing(scheduler("DPMSolverMultistep", order, solver_order=order, **sde))
    yield drawing(scheduler("DPMSolverMultistep", 2, solver_type="heun", **sde))
    yield drawing(scheduler("DPMSolverSinglestep", 2, **sde))
    yield drawing(scheduler("EDMDPMSolverMultistep", 2, **sde))
    yield scheduler("FlowMatchHeunDiscrete", 2, only=OWN, shift=3.0)


def _no_noise(*_: Any) -> float:
    return 0.0


def loop(
    sampler: str, order: int | None, *, hidden: Mapping[str, Any] | None = None, **options: Any
) -> Entry:
    """Return a sampling loop of k-diffusion."""

    def make() -> Subject:
        function = getattr(library("k_diffusion.sampling"), sampler)
        return from_loop(function, name=sampler, **{**(hidden or {}), **options})

    return Entry("k-diffusion", sampler, words(options), make, order)


def _k_diffusion() -> Iterator[Entry]:
    for name, order in (("euler", 1), ("heun", 2), ("dpm_2", 2), ("dpmpp_2m", 2)):
        yield loop(f"sample_{name}", order)
    yield loop("sample_lms", 4)
    yield loop("sample_dpm_adaptive", None)
    yield loop("sample_dpmpp_2s_ancestral", 2, eta=0.0)
    yield loop("sample_dpmpp_2m_sde", 2, eta=0.0)
    yield loop("sample_dpmpp_2m_sde", 2, eta=0.0, solver_type="heun")
    yield loop("sample_dpmpp_3m_sde", 3, eta=0.0)
    yield loop("sample_dpmpp_sde", 2, hidden={"noise_sampler": _no_noise}, eta=0.0)
    for name, order in (("euler_ancestral", 1), ("dpm_2_ancestral", 2), ("dpmpp_2s_ancestral", 2)):
        yield drawing(loop(f"sample_{name}", order))
    for name, order in (("sde", 2), ("2m_sde", 2), ("3m_sde", 3)):
        yield drawing(loop(f"sample_dpmpp_{name}", order))
    yield drawing(loop("sample_dpmpp_2m_sde", 2, solver_type="heun"))
    for name, order in (("euler", 1), ("heun", 2)):
        yield drawing(loop(f"sample_{name}", order, s_churn=10.0))


def velocity(kind: str, sampler: str, order: int | None, make: Callable[[], Any]) -> Entry:
    """Return an ODE solver on a velocity."""
    own = lambda: from_velocity(make(), name=sampler)  # noqa: E731
    return Entry(kind, sampler, "", own, order)


def _odeint(method: str) -> Callable[[], Any]:
    def make() -> Any:
        odeint = library("torchdiffeq").odeint

        def solver(v: Any, x: Any, times: Any) -> Any:
            return odeint(lambda t, y: v(y, t), x, times, method=method)

        def adaptive(v: Any, x: Any, times: Any, *, rtol: float = 1e-7, atol: float = 1e-9) -> Any:
            return odeint(lambda t, y: v(y, t), x, times, method=method, rtol=rtol, atol=atol)

        return solver if METHODS[method] else adaptive

    return make


def _flow_matching(method: str) -> Callable[[], Any]:
    def make() -> Any:
        ode: Any = library("flow_matching.solver")
        wrapper: Any = library("flow_matching.utils").ModelWrapper

        def solver(v: Any, x: Any, times: Any) -> Any:
            class Wrapped(wrapper):  # type: ignore[misc]
                def forward(self, x: Any, t: Any) -> Any:
                    return v(x, t)

            given = {"step_size": None, "method": method, "time_grid": times}
            return ode.ODESolver(Wrapped(None)).sample(x, **given)

        return solver

    return make


METHODS = {
    "dopri5": None,
    "bosh3": None,
    "euler": 1,
    "midpoint": 2,
    "heun2": 2,
    "heun3": 3,
    "rk4": 4,
    "explicit_adams": 4,
}


def _on_velocities() -> Iterator[Entry]:
    for method, order in METHODS.items():
        yield velocity("torchdiffeq", method, order, _odeint(method))
    for method in ("euler", "midpoint", "heun3"):
        yield velocity("flow_matching", method, METHODS[method], _flow_matching(method))


def azula(sampler: str, declared: int, **options: Any) -> Entry:
    """Return a sampler of azula, on sigmas in place of its own schedule of times."""

    def make() -> Subject:
        made = getattr(library("azula.sample"), sampler)
        return from_loop(_azula_loop(made, options), name=sampler)

    design = {"scale": "integrates in sigma / (alpha + sigma)"} if "vAB" in sampler else {}
    # its schedules end above zero noise
    return Entry(
        "azula", sampler, words(options), make, declared, design=design, ends_at_zero=False
    )


def _azula_loop(made: Any, options: Mapping[str, Any]) -> Callable[[Any, Any, Any], Any]:
    def run(model: Any, x: Any, sigmas: Any) -> Any:
        import torch

        class Denoiser:
            @staticmethod
            def schedule(t: Any) -> tuple[Any, Any]:
                return torch.ones_like(t), t

            def __call__(self, states: Any, t: Any) -> Any:
                return types_of(model(states, t))

        class Given(made):  # type: ignore[misc]
            timesteps = sigmas

        return Given(Denoiser(), silent=True, **options)(x)

    return run


def types_of(mean: Any) -> Any:
    """Return what azula calls a posterior, of which samplers take the mean."""
    from types import SimpleNamespace

    return SimpleNamespace(mean=mean)


def _azula() -> Iterator[Entry]:
    yield azula("DDIMSampler", 1)
    yield azula("EulerSampler", 1)
    yield azula("HeunSampler", 2)
    for sampler in ("zABSampler", "vABSampler", "zEABSampler", "xEABSampler"):
        for order in (2, 3):
            yield azula(sampler, order, order=order)


def entries() -> tuple[Entry, ...]:
    """Return everything that is judged, in the order of the page."""
    return (*_diffusers(), *_k_diffusion(), *_on_velocities(), *_azula())
