"""Adapters: a step, a loop, a velocity solver or a solver of ours, each made a subject.

Arrays are torch's first, NumPy's where the subject refuses those. Whatever a subject calls its
levels, ``(alpha, sigma)`` is what its denoiser is asked at; see
:class:`steinlab.testing.subject.Subject`.
"""

from __future__ import annotations

import inspect
import itertools
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR, Process, get_process
from steinlab.solvers import Plan, Solver, get_solver
from steinlab.solvers.base import couples_batch
from steinlab.solvers.loop import solve
from steinlab.testing import noise
from steinlab.testing.subject import (
    LEAST,
    Bridge,
    Denoise,
    Levels,
    Recorder,
    Run,
    Subject,
    SubjectError,
    called,
    finish,
)

BRIDGES = (Bridge("torch"), Bridge("torch", axes=2), Bridge("numpy"))
"""What a stranger's code is given, in the order of trial: rows, pictures of one pixel, NumPy."""

QUIET: Mapping[str, Any] = {"extra_args": {}, "callback": None, "disable": True}
"""Keywords of k-diffusion's loops, passed where they are accepted."""


def _name(function: Any) -> str:
    return str(getattr(function, "__name__", type(function).__name__))


def _parameters(function: Any) -> list[inspect.Parameter]:
    try:
        return list(inspect.signature(function).parameters.values())
    except (TypeError, ValueError):
        return []


def _names(function: Any) -> list[str]:
    """Return the keywords that a function takes."""
    return [
        p.name for p in _parameters(function) if p.kind not in (p.VAR_KEYWORD, p.VAR_POSITIONAL)
    ]


def _needed(function: Any) -> list[str]:
    """Return the positional parameters that have no default."""
    kinds = (inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD)
    found = [p for p in _parameters(function) if p.kind in kinds]
    return [p.name for p in found if p.default is p.empty]


def _tolerances(names: Sequence[str]) -> tuple[str, ...]:
    """Return the names that mean a tolerance: ``rtol``, ``atol``, ``tol``, ``abs_tolerance``."""
    means = r"(r|a|rel|abs|relative|absolute|local|err|error)?_?tol(erance)?"
    return tuple(name for name in names if re.fullmatch(means, name.lower()))


def _ends(needed: Sequence[str]) -> tuple[int, int] | None:
    """Return the places in a grid of an adaptive loop's third and fourth parameter, if it has them.

    ``sigma_start, sigma_end`` are first and last, ``sigma_min, sigma_max`` last and first.
    """
    last = re.compile(r"(min|end|final|last|stop|to|low)\d*$")
    if len(needed) != 4:
        return None
    return {(False, True): (0, -1), (True, False): (-1, 0)}.get(
        (bool(last.search(needed[2])), bool(last.search(needed[3])))
    )


def _level_of(
    sigma: Any, make: Callable[[float], NoiseLevel], bridge: Bridge, rows: int
) -> NoiseLevel:
    """Return the level of a scalar, or of one value per state."""
    values = bridge.take(sigma).reshape(-1)
    if len(values) not in (1, rows):
        raise SubjectError(
            f"the model must be called with a scalar level or one per state, {rows}, "
            f"got {len(values)}"
        )
    first = float(values[0])
    if len(values) == 1 or bool(np.all(values == first)):
        return make(first)
    each = [make(float(value)) for value in values]
    return NoiseLevel(
        *(np.array([getattr(e, k) for e in each])[:, None] for k in ("alpha", "sigma"))
    )


@dataclass(eq=False)
class Foreign:
    """A stranger's function under a bridge: the first that it does not refuse.

    ``drive(bridge, recorder, x, levels, **extra)`` calls it once and returns what it returned.
    ``tolerances`` names the parameters that hold a tolerance.
    """

    name: str
    kind: str
    processes: tuple[Process, ...]
    drive: Callable[..., Any]
    tolerances: tuple[str, ...] = ()
    ends_at_zero: bool = True
    extra: Mapping[str, Any] = field(default_factory=dict)
    chosen: Bridge | None = None

    def at_tolerance(self, tolerance: float) -> Foreign:
        """Return it with every tolerance that it takes set to one value."""
        return replace(self, extra={**self.extra, **dict.fromkeys(self.tolerances, tolerance)})

    def own_grid(self, steps: int) -> Grid | None:  # noqa: ARG002
        """Return nothing: levels are given."""
        return None

    def run(
        self, denoiser: Denoise, x: np.ndarray, levels: Levels, *, dtype: str = "float64"
    ) -> Run:
        """Carry ``x`` at ``levels[0]`` to ``levels[-1]``."""
        if self.chosen is not None:
            bridge = Bridge(self.chosen.library, dtype, self.chosen.axes)
            return self._run(bridge, denoiser, x, levels)
        first: SubjectError | None = None
        for option in BRIDGES:
            try:
                done = self._run(Bridge(option.library, dtype, option.axes), denoiser, x, levels)
            except SubjectError as error:
                first = first or error
                continue
            self.chosen = option
            return done
        assert first is not None
        raise first

    def _run(self, bridge: Bridge, denoiser: Denoise, x: np.ndarray, levels: Levels) -> Run:
        recorder = Recorder(denoiser, x.shape)
        given = bridge.give(x)
        what = f"{self.name}, on {len(levels) - 1} steps,"
        end = called(what, self.drive, bridge, recorder, given, levels, **self.extra)
        if not np.array_equal(bridge.take(given).reshape(x.shape), x.astype(bridge.dtype)):
            raise SubjectError(f"{what} must leave its input states as they are, they were changed")
        return finish(what, end, recorder.calls, bridge, x.shape)


def from_loop(function: Callable[..., Any], *, name: str | None = None, **extra: Any) -> Subject:
    """Adapt a whole loop ``f(model, x, sigmas, **extra) -> x_end``, ``alpha = 1`` throughout.

    ``model(x, sigma)`` takes a scalar or one sigma per state and returns the denoised state, as in
    k-diffusion and ComfyUI. Keywords ``extra_args``, ``callback``, ``disable`` and, for stochastic
    loops, ``noise_sampler`` are passed where they are accepted. An adaptive loop takes the grid, or
    its two ends: ``f(model, x, sigma_start, sigma_end, rtol=...)``, or ``sigma_min, sigma_max``.

    Examples
    --------
    >>> def euler(model, x, sigmas):
    ...     for s, t in zip(sigmas[:-1], sigmas[1:]):
    ...         x = x + (x - model(x, s)) / s * (t - s)
    ...     return x
    >>> grid = (NoiseLevel(1.0, 2.0), NoiseLevel(1.0, 1.0))
    >>> from_loop(euler).run(lambda x, level: 0 * x, np.ones((1, 1)), grid).end
    array([[0.5]])
    """
    names = _names(function)
    ends = _ends(_needed(function))
    quiet = {key: value for key, value in QUIET.items() if key in names and key not in extra}

    def drive(bridge: Bridge, recorder: Recorder, x: Any, levels: Levels, **given: Any) -> Any:
        def model(states: Any, sigma: Any, **_: Any) -> Any:
            level = _level_of(sigma, lambda s: NoiseLevel(1.0, s), bridge, len(states))
            return like(recorder(bridge.take(states), level), states)

        sampler = noise.sampler(bridge, recorder.given)
        drawn = {"noise_sampler": sampler} if "noise_sampler" in names else {}
        sigmas = bridge.give([level.sigma for level in levels])
        before = bridge.take(sigmas).copy()
        asked = (sigmas,) if ends is None else tuple(sigmas[at] for at in ends)
        end = function(model, x, *asked, **{**quiet, **drawn, **extra, **given})
        if not np.array_equal(bridge.take(sigmas), before):
            raise SubjectError(
                f"{_name(function)} must leave its sigmas as they are, they were changed"
            )
        return end

    tolerances = _tolerances(names)
    return Foreign(name or _name(function), "loop", (EDM,), drive, tolerances, ends is None)


def like(output: np.ndarray, states: Any) -> Any:
    """Return an output in the library of the states that were denoised."""
    if hasattr(states, "detach"):
        import torch

        return torch.from_numpy(np.ascontiguousarray(output))
    return output


def from_step(
    function: Callable[..., Any], *, process: Process | str | None = None, name: str | None = None
) -> Subject:
    """Adapt one step, ``step(denoise, x, s, t)`` or ``step(x, sigma, sigma_next, denoise)``.

    In the first form ``s`` and ``t`` are levels of any process and ``denoise(x, level)``; in the
    second ``alpha = 1``, levels are scalars of the states' library and ``denoise(x, sigma)``. The
    position of ``x`` tells which.
    """
    parameters = list(inspect.signature(function).parameters)
    sigmas = parameters[0] in ("x", "sample", "state", "latent", "latents", "y", "z")
    wanted = get_process(process) if process is not None else None
    processes = (wanted,) if wanted else ((EDM,) if sigmas else (VP_LINEAR, EDM, FLOW))

    def drive(bridge: Bridge, recorder: Recorder, x: Any, levels: Levels) -> Any:
        def denoise(states: Any, level: Any) -> Any:
            if not isinstance(level, NoiseLevel):
                level = _level_of(level, lambda s: NoiseLevel(1.0, s), bridge, len(states))
            return like(recorder(bridge.take(states), level), states)

        for s, t in itertools.pairwise(levels):
            if sigmas:
                x = function(x, bridge.give(s.sigma), bridge.give(t.sigma), denoise)
            else:
                x = function(denoise, x, s, t)
        return x

    return Foreign(name or _name(function), "step", processes, drive)


def from_velocity(
    function: Callable[..., Any], *, noise_at: float = 0.0, name: str | None = None
) -> Subject:
    """Adapt an ODE solver ``solver(v, x, t_grid) -> x_end`` on a rectified flow's velocity.

    ``v(x, t)`` or ``v(t, x)`` as the solver calls it. With ``noise_at=0`` time runs from noise to
    data, ``x_t = t x0 + (1 - t) eps`` and ``v = x0 - eps`` (flow matching); with ``noise_at=1`` it
    runs backwards, ``x_t = (1 - t) x0 + t eps`` and ``v = eps - x0``. At zero noise and past it the
    velocity of ``sigma = 1e-6`` is answered, past the start that of the start.
    """
    if noise_at not in (0.0, 1.0):
        raise ValueError(f"noise_at must be 0 or 1, got {noise_at}")

    def drive(bridge: Bridge, recorder: Recorder, x: Any, levels: Levels, **given: Any) -> Any:
        def at(time: float) -> NoiseLevel:
            sigma = min(max(time if noise_at else 1.0 - time, LEAST), 1.0)
            return NoiseLevel(1.0 - sigma, sigma)

        def velocity(first: Any, second: Any, **_: Any) -> Any:
            states, time = (first, second) if np.ndim(first) >= 2 else (second, first)
            level = _level_of(time, at, bridge, len(states))
            array = bridge.take(states)
            denoised = recorder(array, level)
            flow = (denoised - array) / level.sigma
            return like(-flow if noise_at else flow, states)

        times = [level.sigma if noise_at else 1.0 - level.sigma for level in levels]
        end = function(velocity, x, bridge.give(times), **given)
        if hasattr(end, "shape") and len(end.shape) == len(x.shape) + 1 and len(end) == len(levels):
            return end[-1]  # the whole path
        return end

    tolerances = _tolerances(_names(function))
    return Foreign(name or _name(function), "velocity", (FLOW,), drive, tolerances)


@dataclass(eq=False)
class Known:
    """A solver of ours, by id or object, on a process; or a plan for every number of steps."""

    solver: Solver | Callable[[int], Solver | Plan]
    processes: tuple[Process, ...]
    name: str
    kind: str = "solver"
    ends_at_zero: bool = True

    @property
    def couples_batch(self) -> bool:
        """Whether the solver says that its step depends on the whole batch."""
        return couples_batch(self.solver)

    def own_grid(self, steps: int) -> Grid | None:  # noqa: ARG002
        """Return nothing: levels are given."""
        return None

    def run(
        self, denoiser: Denoise, x: np.ndarray, levels: Levels, *, dtype: str = "float64"
    ) -> Run:
        """Carry ``x`` at ``levels[0]`` to ``levels[-1]`` by :func:`steinlab.solvers.loop.solve`."""
        recorder, bridge = Recorder(denoiser, x.shape), Bridge("numpy", dtype)
        found: Any = self.solver
        solver = found if hasattr(found, "step") else found(len(levels) - 1)
        what = f"{self.name}, on {len(levels) - 1} steps,"
        given = bridge.give(x)
        end = called(what, lambda: solve(recorder, given, levels, solver).state)
        return finish(what, end, recorder.calls, bridge, x.shape)


def from_solver(solver: Solver | str, process: Process | str | None = None) -> Subject:
    """Return a solver of ours, or one with its protocol, as a subject.

    Examples
    --------
    >>> from_solver("heun", "flow").name
    'heun'
    """
    chosen = get_process(process) if process is not None else None
    one = get_solver(solver, chosen or EDM) if isinstance(solver, str) else solver
    processes = (chosen,) if chosen else (EDM, VP_LINEAR, FLOW)
    if chosen is None and isinstance(solver, str):
        processes = (EDM,)  # stages and times are placed on it
    return Known(one, processes, one.name, ends_at_zero=one.ends_at_zero)


KIND_OF: Mapping[str, Callable[..., Subject]] = {
    "step": from_step,
    "loop": from_loop,
    "velocity": from_velocity,
    "solver": from_solver,
}
"""Adapters of functions by kind; the scheduler's stands in a file of its own."""


def kind_of(target: Any) -> str:  # noqa: PLR0911 - a kind per line
    """Tell what a target is from its attributes and its signature.

    Raises
    ------
    SubjectError
        If its signature fits none, naming what it takes and the kinds to choose from.

    Examples
    --------
    >>> kind_of(lambda model, x, sigmas: x), kind_of(lambda v, x, t_grid: x)
    ('loop', 'velocity')
    >>> kind_of(lambda x, sigma, sigma_next, denoise: x), kind_of(lambda x, level: x)
    ('step', 'denoiser')
    """
    if isinstance(target, str):
        return "solver"
    if hasattr(target, "set_timesteps") and hasattr(target, "step"):
        return "scheduler"
    if hasattr(target, "step") and hasattr(target, "depth"):
        return "solver"
    if not callable(target):
        raise SubjectError(f"target must be callable or a solver, got {type(target).__name__}")
    needed, names = _needed(target), _names(target)
    if not needed:
        return "scheduler"  # a factory
    if len(needed) == 2:
        return "correction" if needed[1] in ("rng", "generator") else "denoiser"
    if _ends(needed):
        return "loop"
    if len(needed) == 4 or (len(names) >= 4 and names[3] in ("denoise", "denoiser", "model")):
        return "step"
    if len(needed) == 3:
        timed = needed[2].startswith("t") and "sig" not in needed[2]
        timed = timed and not needed[0].startswith("denois")
        return "velocity" if needed[0].startswith("v") or timed else "loop"
    raise SubjectError(
        f"target must be one of {', '.join(('step', 'loop', 'velocity', 'scheduler'))} "
        f"(say which with --as, and give any further argument a default), got "
        f"{_name(target)}({', '.join(names)})"
    )


def as_subject(target: Any, kind: str | None = None) -> Subject:
    """Return anything as a subject, of the kind told by its signature or given."""
    if hasattr(target, "own_grid") and hasattr(target, "run"):
        subject: Subject = target
        return subject
    kind = kind or kind_of(target)
    if kind == "scheduler":
        from steinlab.testing.schedulers import from_diffusers

        return from_diffusers(target)
    if kind not in KIND_OF:
        raise SubjectError(
            f"kind must be one of {', '.join((*KIND_OF, 'scheduler'))} for a sampler, got {kind}"
        )
    return KIND_OF[kind](target)
