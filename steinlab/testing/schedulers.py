r"""Scheduler objects of diffusers as subjects: on levels given, or on the grid that they make.

A scheduler is driven without a pipeline: its denoiser is asked at the level that its *solver*
assumes, ``sigmas[i]`` or the entry of ``alphas_cumprod``, and the level that a network would have
been told, by the timestep, is kept beside it (:meth:`Scheduled.seen`).

On levels given, the scheduler's own are overwritten in float64: ``sigmas`` where it has them, the
whole table ``alphas_cumprod`` of a scheduler rebuilt with one entry per level where it has not, and
``step`` may not cast to float32. On its own grid (:meth:`Scheduled.own_grid`) nothing is touched.
"""

import copy
import functools
import logging
import math
import sys
import types
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR, Process
from steinlab.testing.subject import (
    Bridge,
    Denoise,
    Levels,
    Own,
    Recorder,
    Run,
    Subject,
    SubjectError,
    called,
    finish,
)

EDM_DATA = 0.5
"""Deviation of the data in EDM's preconditioning, the schedulers' default ``sigma_data``."""

VARIANCE_EXPLODING = ("Euler", "Heun", "LMS", "KDPM2", "EDM", "Cosine", "DPMSolverSDE")
"""Beginnings of the names of those that take states ``x0 + sigma eps``."""


def from_diffusers(
    factory: Callable[[], Any] | Any, *, prediction: str | None = None, name: str | None = None
) -> Subject:
    """Adapt a scheduler of diffusers: a factory of it, its class, or one object.

    Parameters
    ----------
    factory : callable or scheduler
        Called without arguments for every run; an object is rebuilt from its configuration.
    prediction : str, optional
        ``epsilon``, ``sample``, ``v_prediction`` or ``flow_prediction``; by default its own.
    """
    if hasattr(factory, "set_timesteps") and not isinstance(factory, type):
        built: Any = factory
        if not hasattr(built, "from_config"):  # a scheduler of another library
            return Scheduled(lambda: copy.deepcopy(built), prediction, name)
        return Scheduled(lambda: type(built).from_config(built.config), prediction, name)
    return Scheduled(factory, prediction, name)


def vp(ratio: float) -> NoiseLevel:
    """Return the variance-preserving level of this ratio."""
    scale = math.hypot(1.0, ratio)
    return NoiseLevel(1.0 / scale, ratio / scale)


def ve(ratio: float) -> NoiseLevel:
    """Return the level with ``alpha = 1``."""
    return NoiseLevel(1.0, ratio)


def flow(sigma: float) -> NoiseLevel:
    """Return the level of rectified flow, as near to ``alpha = 0`` as a level may be."""
    return NoiseLevel(max(1.0 - sigma, 1e-12), sigma)


@dataclass(eq=False)
class Scheduled:
    """See :func:`from_diffusers`."""

    factory: Callable[[], Any]
    prediction: str | None = None
    given_name: str | None = None
    kind: str = "scheduler"
    library: Any = field(default=None, init=False)

    def __post_init__(self) -> None:
        one = called("the factory of the scheduler", self.factory)
        for method in ("set_timesteps", "step"):
            if not hasattr(one, method):
                raise SubjectError(
                    f"the factory must return a scheduler with {method}, got {type(one).__name__}"
                )
        self.name = self.given_name or type(one).__name__
        config = getattr(one, "config", {})
        self._config = dict(
            config if isinstance(config, Mapping) else getattr(config, "__dict__", {})
        )
        self._class = type(one).__name__
        self._told = self.prediction or self._config.get("prediction_type") or "epsilon"

    # what it works in

    @property
    def _is_flow(self) -> bool:
        return (
            "Flow" in self._class
            or bool(self._config.get("use_flow_sigmas"))
            or self._told == "flow_prediction"
        )

    @property
    def _is_ve(self) -> bool:
        return self._class.startswith(VARIANCE_EXPLODING) and not self._is_flow

    @property
    def _at(self) -> Callable[[float], NoiseLevel]:
        return flow if self._is_flow else (ve if self._is_ve else vp)

    @property
    def processes(self) -> tuple[Process, ...]:
        """Its coordinates, told from its class and its configuration."""
        return (FLOW if self._is_flow else (EDM if self._is_ve else VP_LINEAR),)

    @property
    def clips(self) -> bool:
        """Whether it is told to clip what is denoised."""
        return bool(self._config.get("clip_sample") or self._config.get("thresholding"))

    # one run

    def _new(self) -> Any:
        with _quiet():
            return called("the factory of the scheduler", self.factory)

    def _own(self, steps: int) -> Any:
        scheduler = self._new()
        what = f"{self.name}.set_timesteps({steps})"
        if self._is_flow and self._config.get("use_dynamic_shifting"):
            called(what, scheduler.set_timesteps, steps, mu=1.0)
        else:
            called(what, scheduler.set_timesteps, steps)
        return scheduler

    def own_grid(self, steps: int, begin: int = 0) -> Own:
        """Return the levels that its solver assumes on the grid that it makes for so many steps."""
        with _quiet():
            scheduler = self._own(steps)
        if hasattr(scheduler, "sigmas"):
            sigmas = [float(s) for s in scheduler.sigmas]
            if self._interleaved(scheduler):
                # some hold the final zero once more than their steps ask for
                count = (len(scheduler.timesteps) + 1) // 2
                sigmas = [sigmas[0], *sigmas[1:-1:2], sigmas[-1]][: count + 1]
            return Own.of([self._at(s) for s in sigmas], steps, begin)
        if hasattr(scheduler, "betas") and self._class.startswith("IPNDM"):
            pairs = zip(scheduler.alphas, scheduler.betas, strict=True)
            levels = [NoiseLevel(max(float(a), 1e-12), float(b)) for a, b in pairs]
            return Own.of(levels, steps, begin)
        times = [int(t) for t in scheduler.timesteps]
        kept = [t for i, t in enumerate(times) if i == 0 or t < min(times[:i])]
        levels = [self._entry(scheduler, t) for t in kept]
        last = float(getattr(scheduler, "final_alpha_cumprod", 1.0))
        end = NoiseLevel(last**0.5, max(1 - last, 0.0) ** 0.5)
        if end.ratio < levels[-1].ratio:
            levels.append(end)
        return Own.of(levels, steps, begin)

    @staticmethod
    def _interleaved(scheduler: Any) -> bool:
        sigmas = [float(s) for s in scheduler.sigmas]
        inner = sigmas[1:-1]
        return len(inner) >= 2 and len(inner) % 2 == 0 and inner[::2] == inner[1::2]

    @staticmethod
    def _entry(scheduler: Any, t: int) -> NoiseLevel:
        power = float(scheduler.alphas_cumprod[t])
        return NoiseLevel(power**0.5, max(1 - power, 0.0) ** 0.5)

    def _given(self, levels: Levels) -> Any:
        """Return a scheduler whose levels are overwritten."""
        import torch

        steps = len(levels) - 1
        scheduler = self._new()
        if hasattr(scheduler, "sigmas"):
            scheduler = self._own(steps)
            twice = self._interleaved(scheduler) if steps > 2 else self._interleaved(self._own(5))
            values = [x.sigma if self._is_flow else x.ratio for x in levels]
            sigmas = torch.tensor(values, dtype=torch.float64)
            middles = sigmas.log().lerp(sigmas.roll(1).log(), 0.5).exp()
            if twice:
                middles = torch.cat([sigmas[:1], middles[1:].repeat_interleave(2), sigmas[-1:]])
                sigmas = torch.cat([sigmas[:1], sigmas[1:-1].repeat_interleave(2), sigmas[-1:]])
            if hasattr(scheduler, "sigmas_interpol"):
                scheduler.sigmas_interpol = middles
            scheduler.sigmas = sigmas
            return scheduler
        if self._class.startswith("IPNDM"):
            called(f"{self.name}.set_timesteps({steps})", scheduler.set_timesteps, steps)
            scheduler.betas = torch.tensor([x.sigma for x in levels], dtype=torch.float64)
            scheduler.alphas = torch.tensor([x.alpha for x in levels], dtype=torch.float64)
            return scheduler
        return self._tabled(scheduler, levels)

    def _tabled(self, scheduler: Any, levels: Levels) -> Any:
        import torch

        steps, entries = len(levels) - 1, 2 if self._class.startswith("PNDM") else 1
        options: dict[str, Any] = {"num_train_timesteps": entries * steps, "steps_offset": 0}
        options |= {"timestep_spacing": "leading", "set_alpha_to_one": True}
        known = {key: value for key, value in options.items() if key in self._config}
        if not hasattr(scheduler, "from_config"):
            raise SubjectError(
                f"{self.name} must hold its levels as sigmas, or have from_config, to be given "
                "levels; a loop f(model, x, sigmas) around it can be checked"
            )
        scheduler = type(scheduler).from_config(scheduler.config, **known)
        called(f"{self.name}.set_timesteps({steps})", scheduler.set_timesteps, steps)
        powers = []
        for k in range(entries * steps):
            i, part = divmod(k, entries)
            noisy = levels[steps - 1 - i]
            above = levels[max(steps - 2 - i, 0)]
            ratio = noisy.ratio if not part else math.sqrt(noisy.ratio * above.ratio)
            powers.append(1 / (1 + ratio**2))
        scheduler.alphas_cumprod = torch.tensor(powers, dtype=torch.float64)
        scheduler.final_alpha_cumprod = torch.tensor(levels[-1].alpha ** 2, dtype=torch.float64)
        scheduler.one = scheduler.final_alpha_cumprod
        return scheduler

    def run(
        self, denoiser: Denoise, x: np.ndarray, levels: Levels, *, dtype: str = "float64"
    ) -> Run:
        """Carry ``x`` at ``levels[0]`` to ``levels[-1]``: on given levels, or on its own grid."""
        return self.run_with(self.prepared(levels), denoiser, x, levels, dtype=dtype)

    def prepared(self, levels: Levels) -> Any:
        """Return a scheduler ready to run over levels."""
        with _quiet():
            return self._own(levels.steps) if isinstance(levels, Own) else self._given(levels)

    def run_with(
        self,
        scheduler: Any,
        denoiser: Denoise,
        x: np.ndarray,
        levels: Levels,
        *,
        dtype: str = "float64",
    ) -> Run:
        """Run an object whose timesteps are set; used again, it shows what it remembers."""
        import torch

        bridge, recorder = Bridge("torch", dtype), Recorder(denoiser, x.shape)
        begin = levels.begin if isinstance(levels, Own) else 0
        state = bridge.give(x)
        double = dtype == "float64" and not isinstance(levels, Own)
        times = list(scheduler.timesteps)
        twice = begin > 0 and hasattr(scheduler, "sigmas") and self._interleaved(scheduler)
        if begin and not twice and len(set(map(float, times))) != len(times):
            raise SubjectError(f"{self.name} must have one timestep per step to start midway")
        first = (2 if twice else 1) * begin
        times = times[first:]
        if hasattr(scheduler, "set_begin_index"):
            scheduler.set_begin_index(first)
        with _quiet(), _double(scheduler) if double else nullcontext():
            for i, t in enumerate(times):
                what = f"{self.name}.step, call {i + 1} of {len(times)},"
                if hasattr(scheduler, "scale_model_input"):
                    called(what, scheduler.scale_model_input, state, t)
                level = self._solver_level(scheduler, t, first + i)
                output = self._predicted(bridge.take(state), level, recorder)
                given = torch.from_numpy(np.ascontiguousarray(output)).to(state.dtype)
                state = called(what, scheduler.step, given, t, state, return_dict=False)[0]
        return finish(
            f"{self.name}, on {len(levels) - 1} steps,", state, recorder.calls, bridge, x.shape
        )

    def _solver_level(self, scheduler: Any, t: Any, i: int) -> NoiseLevel:
        if hasattr(scheduler, "sigmas"):
            index = getattr(scheduler, "step_index", None)
            index = i if index is None else index
            table = scheduler.sigmas
            if hasattr(scheduler, "sigmas_interpol") and not scheduler.state_in_first_order:
                table = scheduler.sigmas_interpol
            return self._at(float(table[index]))
        if self._class.startswith("IPNDM"):
            return NoiseLevel(max(float(scheduler.alphas[i]), 1e-12), float(scheduler.betas[i]))
        return self._entry(scheduler, int(t))

    def seen(self, steps: int) -> list[tuple[int, float, float]]:
        """Return ``(call, ratio that a network is told, ratio that the solver assumes)`` per call.

        A timestep is the entry of ``alphas_cumprod`` that the network was trained at, in between
        by interpolation in ``log sigma``; a flow's is ``sigma`` in thousandths, EDM's is
        ``log(sigma) / 4``.
        """
        with _quiet():
            scheduler = self._own(steps)
        if not hasattr(scheduler, "sigmas"):
            return []
        out = []
        for i, t in enumerate(scheduler.timesteps):
            told = self._told_ratio(scheduler, float(t))
            assumed = scheduler.sigmas[i]
            if hasattr(scheduler, "sigmas_interpol") and i % 2:
                assumed = scheduler.sigmas_interpol[i]
            if told is not None:
                out.append((i, told, self._at(float(assumed)).ratio))
        return out

    def _told_ratio(self, scheduler: Any, t: float) -> float | None:
        if self._is_flow:
            return float(flow(t / self._config.get("num_train_timesteps", 1000)).ratio)
        if self._class.startswith("EDM"):
            return math.exp(4 * t)
        if not hasattr(scheduler, "alphas_cumprod"):
            return None
        powers = np.asarray(scheduler.alphas_cumprod, dtype=np.float64)
        ratios = np.log(np.sqrt((1 - powers) / powers))
        return float(np.exp(np.interp(t, np.arange(len(ratios)), ratios)))

    def _predicted(self, x: np.ndarray, level: NoiseLevel, recorder: Recorder) -> np.ndarray:
        """Return what a network would have predicted for the denoised states."""
        x0 = recorder(x, level)
        if self._class.startswith(("EDM", "Cosine")):
            data = float(self._config.get("sigma_data", EDM_DATA))
            power = level.sigma**2 + data**2
            scale = power**0.5 / (level.sigma * data)
            sign = -1.0 if self._told == "v_prediction" else 1.0
            return np.asarray(sign * (x0 - data**2 / power * x) * scale)
        if self._told == "sample":
            return x0
        eps = (x - level.alpha * x0) / level.sigma
        if self._is_flow:
            return np.asarray(eps - x0)
        if self._told == "v_prediction" or self._class.startswith("IPNDM"):
            if self._is_ve:  # the preserving form of the same level
                same = vp(level.ratio)
                return np.asarray(same.alpha * eps - same.sigma * x0)
            return np.asarray(level.alpha * eps - level.sigma * x0)
        return np.asarray(eps)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep a library's advice on options out of the report."""
    log = logging.getLogger("diffusers")
    level = log.level
    log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        log.setLevel(level)


@contextmanager
def _double(scheduler: Any) -> Iterator[None]:
    """Let ``step`` keep float64, where it casts the state to float32."""
    modules = {
        sys.modules[cls.__module__]
        for cls in type(scheduler).__mro__
        if hasattr(sys.modules.get(cls.__module__), "torch")
    }
    originals = [(module, module.torch) for module in modules]
    for module, torch in originals:
        proxy = types.ModuleType("torch")
        proxy.__getattr__ = functools.partial(getattr, torch)  # type: ignore[method-assign]
        proxy.float32 = torch.float64  # type: ignore[attr-defined]
        module.torch = proxy  # type: ignore[attr-defined]
    try:
        yield
    finally:
        for module, torch in originals:
            module.torch = torch  # type: ignore[attr-defined]
