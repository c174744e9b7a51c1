r"""The perturbation bound against a dialled score error.

The sampler is exact, ``q = p``, and the model errs by a set amount: with ``s`` the law's score and
``F = E_p|s_model - s|^2``, Stein's identity and Cauchy-Schwarz give

    |gamma_tilde - gamma_q| = (sigma^2/alpha) |E_p<u, s_model - s>| / E_p|u|^2 <= C sqrt F,
    C = sigma^2 / (alpha |u|_{L2(p)}),

with ``u`` the model's own residual. Both sides are integrated, the left one from ``div u``;
``sqrt F`` is what was dialled. Divided by ``C / sigma``, all points meet one line: a dimensionless
left side below ``sigma sqrt F``.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import mixture_breaks
from steinlab.claims.error_bounds.perturbation import (
    BOUNDS,
    Bounds,
    Perturbed,
    States,
    compare_bounds,
    integrate_perturbed,
)
from steinlab.coefficient.step_terms import Problem, at
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.verification.comparison import Comparison
from toy_models.dialled.denoiser import Dialled, Target
from toy_models.dialled.fields import bias, fourier, ripple, smoothing

SIZES = tuple(float(size) for size in np.geomspace(1e-6, 10.0, 15))
"""The ladder: ``sigma sqrt F``, the score's error in units of its own size ``1 / sigma``."""

SOLVERS_DRAWN = ("euler", "heun")

LAWS: Mapping[str, tuple[tuple[float, ...], tuple[float, ...], tuple[float, ...]]] = (
    MappingProxyType(
        {
            "Gaussian": ((1.0, 0.0, 0.0), (0.5, 0.0, 0.0), (1.0, 1.0, 1.0)),
            "two modes": ((0.5, 0.5, 0.0), (-1.0, 1.0, 0.0), (0.2, 0.2, 1.0)),
            "three modes": ((0.2, 0.3, 0.5), (-2.0, 0.0, 1.5), (0.2, 0.4, 0.1)),
        }
    )
)
"""Weights, means and deviations; components of weight 0 make one stack of them."""

STEPS = tuple(
    (process, ratio, longest)
    for process in ("edm", "vp-linear", "flow")
    for ratio, longest in ((0.2, 0.5), (1.0, 1.0), (8.0, 2.0))
)
"""Process, ``sigma / alpha`` where a step begins, and its length in ``log(sigma / alpha)``."""


def _waves(field: object) -> Callable[[GaussianMixture, np.ndarray], Dialled]:
    return lambda law, sizes: Dialled(law, field, Target(sizes[:, None, None], "relative"))  # type: ignore[arg-type]


def _smooth(power: int) -> Callable[[GaussianMixture, np.ndarray], Dialled]:
    def model(law: GaussianMixture, sizes: np.ndarray) -> Dialled:
        return Dialled(law, smoothing(law, (1 + sizes) ** power), Target(1.0, "field"))

    return model


KINDS: Mapping[str, Callable[[GaussianMixture, np.ndarray], Dialled]] = MappingProxyType(
    {
        "Fourier": _waves(fourier(1, terms=4)),
        "bias": _waves(bias([1.0])),
        "ripple": _waves(ripple(1, frequency=3.0)),
        "over-smoothed": _smooth(1),
        "under-smoothed": _smooth(-1),
    }
)
"""Errors by name: ``(stack of laws, sizes (C,)) -> model``. The bandwidth's factor is ``1 + size``
or its inverse: how large an error that makes is measured, not set."""


@dataclass(frozen=True, eq=False)
class Ladder:
    """Points of the ladder, arrays ``(P,)``: what each is, what was dialled, and both sides."""

    data: Perturbed
    kind: np.ndarray
    solver: np.ndarray
    law: np.ndarray
    process: np.ndarray
    size: np.ndarray

    @property
    def error(self) -> np.ndarray:
        """``sigma sqrt F``, integrated."""
        return np.asarray(self.data.sigma * np.sqrt(self.data.fisher))

    @property
    def deviation(self) -> np.ndarray:
        """``|gamma_tilde - gamma_q| sigma / C``, to be compared with :attr:`error`."""
        scale = self.data.alpha * np.sqrt(self.data.power) / self.data.sigma
        return np.asarray(self.data.gap * scale)

    @property
    def deviation_error(self) -> np.ndarray:
        """Its error from rounding and quadrature."""
        scale = self.data.alpha / (self.data.sigma * np.sqrt(self.data.power))
        relative = 0.5 * self.data.power_error / self.data.power
        return np.asarray(self.data.error * scale + self.deviation * relative)

    @property
    def tightness(self) -> np.ndarray:
        """Measured over bound."""
        return np.asarray(self.deviation / self.error)

    def compared(self, bounds: Bounds = BOUNDS) -> Comparison:
        """Return both forms of the bound at every point."""
        return compare_bounds(self.data, bounds)


def climb(sizes: tuple[float, ...] = SIZES, kinds: tuple[str, ...] = tuple(KINDS)) -> Ladder:
    """Integrate both sides of the bound at every size, kind of error, step, solver and law."""
    parts, labels = [], []
    names = [(law, step, size) for law in LAWS for step in STEPS for size in sizes]
    columns = zip(*(LAWS[law] for law, _, _ in names), strict=True)
    weights, means, stds = (np.array(column) for column in columns)
    law = GaussianMixture(weights, means, stds**2)
    s, t = (_levels([step for _, step, _ in names], end) for end in (0, 1))
    dialled = np.array([size for _, _, size in names])
    for kind in kinds:
        model = KINDS[kind](law, dialled)
        for solver in SOLVERS_DRAWN:
            parts.append(_integrate(Problem(model, s, t, SOLVERS[solver], None), law))  # type: ignore[arg-type]
            labels += [(kind, solver, name, step[0], size) for name, step, size in names]
    data = Perturbed(*(np.concatenate(column) for column in zip(*parts, strict=True)))
    texts = (np.array(column) for column in zip(*labels, strict=True))
    return Ladder(data, *texts)


def _levels(steps: list[tuple[str, float, float]], end: int) -> NoiseLevel:
    levels = [PROCESSES[p].level_at(ratio * np.exp(-end * length)) for p, ratio, length in steps]
    pairs = np.array([(level.alpha, level.sigma) for level in levels])
    return NoiseLevel(pairs[:, :1, None], pairs[:, 1:, None])


def _integrate(problem: Problem, law: GaussianMixture) -> Perturbed:
    def states(case: np.ndarray, x: np.ndarray) -> States:
        level, part = at(problem.s, case), law.take(case)
        assert level is not None
        score = part.score(x[..., None], level)[..., 0]
        mass = np.exp(part.log_prob(x[..., None], level))
        return States(x, mass, score, np.abs(x), np.abs(score))

    return integrate_perturbed(problem, states, mixture_breaks(law, problem.s))
