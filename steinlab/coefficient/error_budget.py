r"""Where an estimated coefficient's error comes from, part by part, adding up to the whole.

A step with the candidate of the model's denoiser ``D_m`` has the residual ``u_m``; ``q`` is the law
of a sampler's states where the step begins and ``p`` the forward law of the data, whose exact
denoiser is ``D``, with the residual ``u`` of the same step. In the order in which one goes from
what is estimated to what is meant, with ``A(x, u) = (1 - 1/alpha) <u, x> + (sigma^2/alpha) div u``:

    g0 = sum_B A(x, u_m; probes, as computed) / sum_B |u_m|^2    batch, probes, float32
    g1 = sum_B A(x, u_m; probes) / sum_B |u_m|^2                 the same in float64
    g2 = sum_B A(x, u_m) / sum_B |u_m|^2                         exact traces
    g3 = E_q A(x, u_m) / E_q |u_m|^2                             the expectation
    g4 = E_p A(x, u_m) / E_p |u_m|^2                             under p
    g5 = E_p <u_m, x - D_m> / E_p |u_m|^2                        Tweedie's
    g6 = E_p <u, x - D> / E_p |u|^2 = gamma*                     the exact step's

and the parts are the differences, which telescope:

    rounding = g0 - g1,  probes = g1 - g2,  batch = g2 - g3,  drift = g3 - g4,
    score = g4 - g5 = E_p <u_m, D_m - D> / E_p |u_m|^2,       residual = g5 - g6.

*score* is the model's score error along its residual: Stein's identity under ``p`` gives
``g4 - g5 = (sigma^2/alpha) E_p <u_m, s_m - s_p> / E_p |u_m|^2`` and ``(sigma^2/alpha)(s_m - s_p) =
D_m - D``. It is estimated by the formula on the right, without ``div u``. *residual* is what
the model's error does to the step itself; where ``u = (1 - kappa)(x - D)`` (EDM, VE and rectified
flow with a first-order step), ``g5 = 1/(1 - kappa)`` whatever the denoiser, and it is 0.

Where ``D`` is not known (a network without a law), ``p`` is the forward law of the network's own
long runs, ``score`` is estimated by ``<u_m, D_m - x_star>``, which has the same mean, and the chain
ends at ``g5``: the residual's part is left out on both sides.

**Evidence.** The first three parts are facts about one batch, computed on it. Each expectation is
estimated on a sample of its own, ``g6`` too, so ``sum of parts - total`` has mean 0, up to the
ratios' bias of ``O(1/N)``, and the variance that the errors state: whether the budget closes is a
test, of every formula above, which a wrong one fails.

What an error budget is about: a model as used, in float64, and what is known of its truth.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.coefficient.divergence import Exact, Hutchinson, draw_probes
from steinlab.coefficient.formulas import estimate, stein_numerator, tweedie_numerator
from steinlab.diffusion.denoisers import Denoiser, HasDivergence
from steinlab.estimates import Estimate
from steinlab.solvers import Solver
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step, inner

PARTS = ("rounding", "probes", "batch", "drift", "score", "residual")
"""Every part, in the order of the chain."""


@dataclass(frozen=True)
class Setting:
    """One step of one run, and how much is spent on it.

    Parameters
    ----------
    grid : sequence of NoiseLevel
    index : int
        The step looked at: from ``grid[index]``.
    solver : Solver
        Of the step; one that uses no past evaluation, since Stein's identity needs a candidate that
        is a function of ``x``.
    sampler : Solver
        Of the run that leads there, plain.
    batch, states : int
        States of the batch, and of each expectation.
    seed : int
    """

    grid: Sequence[NoiseLevel]
    index: int
    solver: Solver
    sampler: Solver
    batch: int = 256
    states: int = 4096
    seed: int = 0

    def __post_init__(self) -> None:
        if self.solver.depth:
            raise ValueError(f"solver must use no history, got {self.solver.name}")
        if not 0 <= self.index < len(self.grid) - 1:
            raise ValueError(f"index must be in 0 to {len(self.grid) - 2}, got {self.index}")

    def rng(self, name: str) -> np.random.Generator:
        """Return the generator of one sample."""
        return np.random.default_rng([self.seed, self.index, *name.encode()])


@dataclass(frozen=True)
class Budget:
    """The parts, each with its standard error, and the whole that they explain.

    ``estimated`` is ``g0``, ``exact`` is ``g6`` (``g5`` without a truth), ``total`` their
    difference. ``states`` are those of each expectation.
    """

    parts: Mapping[str, Estimate]
    estimated: float
    exact: Estimate
    total: Estimate
    states: int

    @property
    def explained(self) -> float:
        """Sum of the parts."""
        return float(sum(part.value for part in self.parts.values()))

    @property
    def error(self) -> float:
        """Standard error of ``explained - total``."""
        return math.hypot(self.total.error, *(part.error for part in self.parts.values()))

    @property
    def z(self) -> float:
        """``(explained - total) / error``: of order 1 where the budget closes."""
        return float((self.explained - self.total.value) / self.error)


def error_budget(subject: Subject, setting: Setting) -> Budget:
    """Return the budget of one step.

    Parameters
    ----------
    subject : Subject
    setting : Setting

    Raises
    ------
    ValueError
        If the solver uses history, or no state moves.

    Examples
    --------
    An exact model, two modes: no score error, and the parts explain the total.

    >>> from analytic import GaussianMixture
    >>> from steinlab.coefficient.error_budget import of_law
    >>> from steinlab.diffusion.grids import make_grid
    >>> from steinlab.diffusion.processes import EDM
    >>> from steinlab.solvers import EULER
    >>> law = GaussianMixture([0.5, 0.5], [[-1.0], [1.0]], 0.04)
    >>> budget = error_budget(
    ...     of_law(law, law), Setting(make_grid(EDM, "karras", 6), 3, EULER, EULER)
    ... )
    >>> budget.parts["score"].value, abs(budget.z) < 4
    (0.0, True)
    """
    chain = _Chain(subject, setting)
    realised, g0 = chain.realised()
    under_q = chain.stein("q", "expectation under q")
    parts = {name: Estimate(value, 0.0) for name, value in realised.items()}
    parts["batch"] = Estimate(parts["batch"].value - under_q.value, under_q.error)
    drift = chain.stein("q", "drift under q"), chain.stein("p", "drift under p")
    parts["drift"] = _difference(*drift)
    parts["score"] = chain.score()
    if subject.truth is not None:
        parts["residual"] = chain.residual()
    exact = chain.exact()
    return Budget(parts, g0, exact, Estimate(g0 - exact.value, exact.error), setting.states)


@dataclass(frozen=True)
class _Chain:
    """The estimators of the chain, each on a sample of its own."""

    subject: Subject
    setting: Setting

    @property
    def levels(self) -> tuple[NoiseLevel, NoiseLevel]:
        i = self.setting.index
        return self.setting.grid[i], self.setting.grid[i + 1]

    def step(self, denoiser: Denoiser, x: np.ndarray) -> Step:
        return Step.take(denoiser, self.setting.solver, x, *self.levels)

    def under_q(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """States of the plain run, in the model's own arithmetic."""
        setting, subject = self.setting, self.subject
        x = subject.start(setting.grid[0], n, rng)
        if setting.index == 0:
            return x
        passed = tuple(setting.grid[: setting.index + 1])
        return np.asarray(solve(subject.model, x, passed, setting.sampler).state)

    def under_p(self, n: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
        """States of the forward law with the ``x_star`` they are made of."""
        s, x_star = self.levels[0], self.subject.clean(n, rng)
        return s.noised(x_star, rng), x_star

    def realised(self) -> tuple[dict[str, float], float]:
        """``g0 - g1``, ``g1 - g2`` and ``g2`` on the batch, and ``g0``."""
        rng, s = self.setting.rng("batch"), self.levels[0]
        x = self.under_q(self.setting.batch, rng)
        v = draw_probes(x, 1, "rademacher", rng)
        used, precise = self.step(self.subject.model, x), self.step(self.subject.precise, x)
        u = precise.candidate.residual
        probed, trace = Hutchinson().along(precise, v), Exact()(precise, rng)
        g0 = _ratio(used, Hutchinson().along(used, v))
        g1, g2 = _ratio(precise, probed), _ratio(precise, trace)
        off = s.sigma**2 / s.alpha * float(np.mean(probed - trace) / np.mean(inner(u, u)))
        return {"rounding": g0 - g1, "probes": off, "batch": g2}, g0

    def stein(self, law: str, name: str) -> Estimate:
        """``E A / E|u_m|^2`` under ``q`` or ``p``; traces exact or probed, unbiased both."""
        rng, n = self.setting.rng(name), self.setting.states
        x = self.under_q(n, rng) if law == "q" else self.under_p(n, rng)[0]
        step = self.step(self.subject.precise, x)
        known = step.candidate.linear is not None and isinstance(step.denoiser, HasDivergence)
        div = (Exact() if known else Hutchinson())(step, rng)
        u = step.candidate.residual
        return estimate(stein_numerator(x, u, div, step.s), u)

    def score(self) -> Estimate:
        """``E_p <u_m, D_m - D> / E_p |u_m|^2``, with ``x_star`` for an unknown ``D``."""
        x, x_star = self.under_p(self.setting.states, self.setting.rng("score"))
        step, truth = self.step(self.subject.precise, x), self.subject.truth
        u, denoised = step.candidate.residual, step.candidate.denoised
        target = x_star if truth is None else truth(x, step.s)
        return estimate(inner(denoised - target, u), u)

    def residual(self) -> Estimate:
        """``g5 - g6`` on the same states, both by Tweedie's formula."""
        assert self.subject.truth is not None
        x, _ = self.under_p(self.setting.states, self.setting.rng("residual"))
        values, influences = [], []
        for denoiser in (self.subject.precise, self.subject.truth):
            step = self.step(denoiser, x)
            u = step.candidate.residual
            a, b = tweedie_numerator(x, u, step.candidate.denoised), inner(u, u)
            gamma = float(np.mean(a) / np.mean(b))
            values.append(gamma)
            influences.append((a - gamma * b) / np.mean(b))
        spread = float(np.std(influences[0] - influences[1], ddof=1) / math.sqrt(len(x)))
        return Estimate(values[0] - values[1], spread)

    def exact(self) -> Estimate:
        """``gamma*``; without a truth ``g5``.

        For ``E <u, x - x_star>`` stands ``E <u, x - D>``, ``x_star`` averaged out exactly: at small
        noise the other scatters fifty times as much.
        """
        x, _ = self.under_p(self.setting.states, self.setting.rng("exact"))
        step = self.step(self.subject.truth or self.subject.precise, x)
        u = step.candidate.residual
        return estimate(tweedie_numerator(x, u, step.candidate.denoised), u)


def _ratio(step: Step, div: np.ndarray) -> float:
    u = step.candidate.residual
    value: float = estimate(stein_numerator(step.x, u, div, step.s), u).value
    return value


def _difference(a: Estimate, b: Estimate) -> Estimate:
    return Estimate(a.value - b.value, math.hypot(a.error, b.error))


@dataclass(frozen=True)
class Rounded:
    """A NumPy denoiser computed in float32 around float64 states, as a network would be."""

    inner: Any

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Return ``D(x)``."""
        return np.asarray(self.inner(x.astype(np.float32), level)).astype(x.dtype)

    def jvp(self, x: np.ndarray, level: NoiseLevel, tangent: np.ndarray) -> np.ndarray:
        """Return ``D'(x) v``."""
        out = self.inner.jvp(x.astype(np.float32), level, tangent.astype(np.float32))
        return np.asarray(out).astype(x.dtype)


@dataclass(frozen=True)
class Subject:
    """A model and what is known of its truth.

    Parameters
    ----------
    model : Denoiser
        As it is used, in float32 say, with ``jvp``.
    precise : Denoiser
        The same model in float64, with ``jvp`` or an exact divergence.
    clean : callable
        ``(n, rng) -> x_star (n, d)``: states of the data.
    start : callable
        ``(level, n, rng) -> x (n, d)``: states where a run begins.
    truth : Denoiser, optional
        The exact denoiser of the data.
    """

    model: Denoiser
    precise: Denoiser
    clean: Callable[[int, np.random.Generator], np.ndarray]
    start: Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]
    truth: Denoiser | None = None


def of_model(model: Any, clean: Callable[..., np.ndarray] | None = None) -> Subject:
    """Return the subject of a registered network, with its data's exact denoiser where known.

    Parameters
    ----------
    model : Model
    clean : callable, optional
        ``(n, rng) -> x_star`` where the law of its data is not known; by default its long runs.
    """
    import torch

    from steinlab.coefficient.routes import clean_states

    network = model.denoiser
    law = model.data_law() if model.data_law else None
    draw = law.sample if law else clean or (lambda n, rng: clean_states(model, n, rng)[0])
    return Subject(network, network.in_dtype(torch.float64), draw, model.start, law)


def of_law(model: Any, law: Any, start: Callable[..., np.ndarray] | None = None) -> Subject:
    """Return the subject of an exact denoiser, that of ``law`` or of another, wrong one.

    Parameters
    ----------
    model : law
        Whose denoiser is used, in float32.
    law : law
        Of the data; runs start under its forward law unless ``start`` says otherwise.
    """

    def forward(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        x_star = law.sample(n, rng)
        return np.asarray(level.noised(x_star, rng))

    return Subject(Rounded(model), model, law.sample, start or forward, law)
