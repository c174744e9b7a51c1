r"""Every estimator of the coefficient of one step of a named model, side by side.

States are ``x = alpha x_star + sigma eps``. Where the law of the model's data is known, ``x_star``
is of that law, so ``reference`` is the optimum towards the data. Where it is not, ``x_star`` are
the ends of the network's own long run (:mod:`steinlab.solvers.reference_flow`), noised forward: the
optimum then is the one towards what the network itself generates. Theorem 4.7 holds for any field
under either coupling, so ``stein`` and ``reference`` agree within their errors whatever the
network; ``tweedie`` departs by the network's score error along ``u``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analytic import NoiseLevel
from steinlab.coefficient.divergence import Exact, Hutchinson
from steinlab.coefficient.formulas import reference_route, stein_route, tweedie_route
from steinlab.diffusion.denoisers import HasDivergence, HasJvp
from steinlab.diffusion.grids import require_step
from steinlab.diffusion.models import Model
from steinlab.errors import InputError
from steinlab.estimates import Estimate
from steinlab.solvers import Evaluation, Solver
from steinlab.solvers.reference_flow import Progress, long_run
from steinlab.solvers.step import Step

TRACE_PRODUCTS = 2**13
"""Jacobian-vector products that the exact traces of a network may take: ``dim`` a state."""

DEFAULT_SAMPLES = 1024


@dataclass(frozen=True)
class ModelCoefficients:
    """The routes by name, the number of states each is averaged over, and where states are from."""

    gamma: dict[str, Estimate]
    counts: dict[str, int]
    states: str


def clean_states(
    model: Model, n: int, rng: np.random.Generator, progress: Progress | None = None
) -> tuple[np.ndarray, str]:
    """Return ``n`` states without noise and a sentence that says where they are from."""
    if model.exact_law is not None:
        return model.exact_law.sample(n, rng), "the model's exact law, noised forward"
    if model.data_law is not None:
        return model.data_law().sample(n, rng), "the law of the model's data, noised forward"
    process = model.process()
    noisy = process.level_at(process.ratio_max)
    run = long_run(
        model.denoiser,
        model.start(noisy, n, rng),
        process,
        estimate_error=False,
        progress=progress,
    )
    return run.state, "the network's own long run, noised forward"


def model_coefficients(
    model: Model,
    s: NoiseLevel,
    t: NoiseLevel,
    solver: Solver,
    *,
    history: tuple[NoiseLevel, ...] = (),
    samples: int = DEFAULT_SAMPLES,
    seed: int = 0,
    progress: Progress | None = None,
) -> ModelCoefficients:
    """Return ``gamma`` by every route that exists for a model, errors being standard errors.

    Parameters
    ----------
    model : Model
    s, t : NoiseLevel
        The step.
    solver : Solver
    history : tuple of NoiseLevel
        Levels passed before ``s``, newest first; coupled as in
        :func:`steinlab.coefficient.on_law.coefficients`.
    samples, seed : int
    progress : callable, optional
        Called with the fraction done of the long run, where one is needed.

    Returns
    -------
    ModelCoefficients
        ``reference``, ``stein`` by exact traces (for a network on the first states that
        :data:`TRACE_PRODUCTS` pays for), ``stein_hutchinson`` by one Rademacher probe a state where
        the denoiser offers products, and ``tweedie``.

    Raises
    ------
    InputError
        If the model is not made for the noise of a level.
    """
    require_step(s, t)
    _require_range(model, (s, *history))
    rng = np.random.default_rng(seed)
    x_star, words = clean_states(model, samples, rng, progress)
    eps = rng.standard_normal(x_star.shape)
    past = []
    for level in history[: solver.depth]:
        state = level.noised(x_star, eps)
        past.append(Evaluation(level, state, model.denoiser(state, level)))
    x, seen = s.noised(x_star, eps), tuple(past)
    step = Step.take(model.denoiser, solver, x, s, t, history=seen)
    gamma = {"reference": reference_route(step, x_star)}
    counts = {"reference": samples}
    first = _first(step, samples if _knows_trace(step) else _traced(model.dim, samples))
    gamma["stein"] = stein_route(first, Exact()(first, rng))
    counts["stein"] = len(first.x)
    if isinstance(model.denoiser, HasJvp):
        gamma["stein_hutchinson"] = stein_route(step, Hutchinson()(step, rng))
        counts["stein_hutchinson"] = samples
    gamma["tweedie"] = tweedie_route(step)
    counts["tweedie"] = samples
    return ModelCoefficients(gamma, counts, words)


def _traced(dim: int, samples: int) -> int:
    return min(samples, max(2, TRACE_PRODUCTS // dim))


def _knows_trace(step: Step) -> bool:
    return step.candidate.linear is not None and isinstance(step.denoiser, HasDivergence)


def _first(step: Step, n: int) -> Step:
    """The step at its first ``n`` states."""
    if n == len(step.x):
        return step
    past = tuple(Evaluation(e.level, e.state[:n], e.denoised[:n], e.linear) for e in step.history)
    candidate = step.solver.step(step.denoiser, step.x[:n], step.s, step.t, past)
    return Step(step.denoiser, step.solver, step.x[:n], step.s, step.t, past, candidate)


def _require_range(model: Model, levels: tuple[NoiseLevel, ...]) -> None:
    if model.sigma_range is None:
        return
    low, high = model.sigma_range
    for level in levels:
        if not low * (1 - 1e-9) <= level.ratio <= high * (1 + 1e-9):
            raise InputError(
                f"sigma/alpha must be in {low:.4g} to {high:.4g} for {model.name}, "
                f"got {level.ratio:.6g}"
            )
