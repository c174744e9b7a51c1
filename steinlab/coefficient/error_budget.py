r"""The error of an estimated coefficient, split into parts that add up to the whole.

``u_m`` is the residual of a step with the model's denoiser ``D_m``, ``u`` that of the same step
with the exact denoiser ``D`` of the data. ``q`` is the law of a sampler's states at its beginning,
``p`` the forward law of the data. From the estimate to the number that is meant, with
``A(x, u) = (1 - 1/alpha) <u, x> + (sigma^2/alpha) div u``:

    g0 = sum_B A(x, u_m; probes, as computed) / sum_B |u_m|^2    batch, probes, float32
    g1 = sum_B A(x, u_m; probes) / sum_B |u_m|^2                 the same in float64
    g2 = sum_B A(x, u_m) / sum_B |u_m|^2                         exact traces
    g3 = E_q A(x, u_m) / E_q |u_m|^2                             the expectation
    g4 = E_p A(x, u_m) / E_p |u_m|^2                             under p
    g5 = E_p <u_m, x - D_m> / E_p |u_m|^2                        Tweedie's
    g6 = E_p <u, x - D> / E_p |u|^2 = gamma*                     the exact step's

The parts are the differences, which add up to ``g0 - g6``:

    rounding = g0 - g1,  probes = g1 - g2,  batch = g2 - g3,  drift = g3 - g4,
    score = g4 - g5 = E_p <u_m, D_m - D> / E_p |u_m|^2,       residual = g5 - g6.

*score* is the model's score error along its residual. By Stein's identity under ``p``,
``g4 - g5 = (sigma^2/alpha) E_p <u_m, s_m - s_p> / E_p |u_m|^2`` with
``(sigma^2/alpha)(s_m - s_p) = D_m - D``; it is estimated by the formula on the right, without
``div u``. *residual* is the effect of the model's error on the step itself. It is 0 where
``u = (1 - kappa)(x - D)`` (first-order steps in EDM, VE and rectified flow): then
``g5 = 1/(1 - kappa)`` for every denoiser.

Where ``D`` is not known (a network without a law), ``p`` is the forward law of the network's own
long runs, ``score`` is estimated by ``<u_m, D_m - x_star>``, which has the same mean, and the chain
ends at ``g5``, without *residual*.

The first three parts are computed on one batch. Each expectation is estimated on a sample of its
own, ``g6`` too, so ``sum of parts - total`` has mean 0, up to the ratios' bias of ``O(1/N)``, and
the variance that the errors state. Whether the budget closes therefore tests every formula above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import NoiseLevel
from analytic.memory import remembering
from steinlab.coefficient.divergence import Exact, Hutchinson, draw_probes, one_probe
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
    """One step of one run, and the numbers of states.

    Parameters
    ----------
    grid : sequence of NoiseLevel
    index : int
        The step begins at ``grid[index]``.
    solver : Solver
        Of the step. It must use no past evaluation, since Stein's identity needs a candidate that
        is a function of ``x``.
    sampler : Solver
        Of the uncorrected run to ``grid[index]``.
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
    """The parts, each with its standard error, and their total.

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
    q, p = chain.stein("q", "drift under q"), chain.stein("p", "drift under p")
    parts["drift"] = Estimate(q.value - p.value, math.hypot(q.error, p.error))
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
        pairs = ((used, Hutchinson().along(used, v)), (precise, probed), (precise, trace))
        numerators = [stein_numerator(x, a.candidate.residual, div, s) for a, div in pairs]
        g0, g1, g2 = (
            float(estimate(numerator, a.candidate.residual).value)
            for numerator, (a, _) in zip(numerators, pairs, strict=True)
        )
        off = s.sigma**2 / s.alpha * float(np.mean(probed - trace) / np.mean(inner(u, u)))
        return {"rounding": g0 - g1, "probes": off, "batch": g2}, g0

    def stein(self, law: str, name: str) -> Estimate:
        """``E A / E|u_m|^2`` under ``q`` or ``p``, from exact traces if available, else probes."""
        rng, n = self.setting.rng(name), self.setting.states
        x = self.under_q(n, rng) if law == "q" else self.under_p(n, rng)[0]
        step = self.step(self.subject.precise, x)
        linear = step.candidate.linear is not None
        known = linear and isinstance(step.denoiser, HasDivergence)
        div = (Exact() if known else one_probe(step.denoiser, linear=linear))(step, rng)
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
        """``gamma*`` by Tweedie's numerator; without a truth ``g5``.

        The reference numerator ``<u, x - x_star>`` scatters fifty times as much at small noise.
        """
        x, _ = self.under_p(self.setting.states, self.setting.rng("exact"))
        step = self.step(self.subject.truth or self.subject.precise, x)
        u = step.candidate.residual
        return estimate(tweedie_numerator(x, u, step.candidate.denoised), u)


@dataclass(frozen=True)
class Rounded:
    """A NumPy denoiser computed in float32 on float64 states, as a network is."""

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
    """A model and the law of its data, as far as it is known.

    Parameters
    ----------
    model : Denoiser
        As it is used, usually in float32, with ``jvp``.
    precise : Denoiser
        The same model in float64, with ``jvp`` or an exact divergence.
    clean : callable
        ``(n, rng) -> x_star (n, d)``, states of the data.
    start : callable
        ``(level, n, rng) -> x (n, d)``, states where a run begins.
    truth : Denoiser, optional
        The exact denoiser of the data.
    """

    model: Denoiser
    precise: Denoiser
    clean: Callable[[int, np.random.Generator], np.ndarray]
    start: Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]
    truth: Denoiser | None = None


def of_model(model: Any, clean: Callable[..., np.ndarray] | None = None) -> Subject:
    """Return the subject of a registered network, with its data's exact denoiser if known.

    Parameters
    ----------
    model : Model
    clean : callable, optional
        ``(n, rng) -> x_star (n, d)``, if the data law is not known; by default ends of long runs.
    """
    import torch

    from steinlab.coefficient.routes import clean_states

    network = model.denoiser
    law = model.data_law() if model.data_law else None
    draw = law.sample if law else clean or (lambda n, rng: clean_states(model, n, rng)[0])
    truth = None if law is None else remembering(law)
    return Subject(network, network.in_dtype(torch.float64), draw, model.start, truth)


def of_law(model: Any, law: Any, start: Callable[..., np.ndarray] | None = None) -> Subject:
    """Return the subject of a model that is itself an exact denoiser, of ``law`` or of another law.

    Parameters
    ----------
    model : law
        Its denoiser is used, in float32.
    law : law
        The data law. Runs start under its forward law unless ``start`` is given.
    """

    def forward(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        x_star = law.sample(n, rng)
        return np.asarray(level.noised(x_star, rng))

    precise = remembering(model)
    truth = precise if law is model else remembering(law)
    return Subject(Rounded(model), precise, law.sample, start or forward, truth)
