"""Paths of VP steps towards ``alpha = 0``, and the quantities whose rates tell what is singular.

The paths and quantities are those of :mod:`steinlab.claims.coordinates.vp_singularity`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.instruments.random_steps import stacked
from steinlab.coefficient.step_terms import Problem, Terms, quadrature_terms, sampled_terms
from steinlab.diffusion.processes import EDM
from steinlab.solvers import SOLVERS

Rates = Mapping[str, Mapping[str, float]]

RATES: Rates = {
    "fixed": {
        "gamma": 0, "drift": -1, "condition": -1, "sampling": -1, "tweedie": 0, "edm": 0,
    },
    "ratio": {
        "gamma": -1, "drift": -1, "condition": 0, "sampling": -2, "tweedie": -1, "edm": 0,
    },
    "centred": {
        "gamma": -2, "drift": -3, "condition": -1, "sampling": -3, "tweedie": 0, "edm": 0,
    },
}  # fmt: skip
"""Exponents of ``alpha`` by path and quantity.

With ``c = alpha'/alpha``: towards a fixed level ``u`` is of order one, so the terms carry their
``1/alpha`` and their sum is ``<u, x - x_star>``. At fixed ratio ``u = -(c-1) alpha E[x_star]`` to
leading order, whence ``gamma* = 1 / ((c-1) alpha)``. With a zero mean ``u`` is of order
``alpha^2`` and parallel to ``x`` up to ``alpha``: Tweedie's numerator and ``|u|^2`` are then both
multiples of ``|x|^2`` to leading order, whose ratio has no spread.
"""

_TWO_MODES = GaussianMixture(np.array([0.3, 0.7]), np.array([-1.0, 1.5]), np.array([0.16, 0.49]))
LAWS = {
    "fixed": _TWO_MODES,
    "ratio": _TWO_MODES,
    "centred": GaussianMixture(np.array([0.5, 0.5]), np.array([-1.0, 1.0]), 0.16),
}

ALPHAS = {"fixed": (1e-5, 1e-6), "ratio": (1e-3, 1e-4), "centred": (1e-3, 1e-4)}
"""Where rates are read off. Along the ratio paths ``1 - kappa ~ alpha^2`` and a float64 ``sigma``
carries it to ``eps / alpha^2`` only, so ``alpha`` stays above 1e-4 there."""

RATE_TOLERANCE = 0.01
"""Rates approach their limits like ``alpha``, below 0.003 here; common random numbers make those
of standard deviations deterministic."""

NOISE_STATES = 20_000


@dataclass(frozen=True)
class Path:
    """The quantities of one path, a case each."""

    dataset: ClassVar[str | None] = None

    path: str
    seed: int

    def __len__(self) -> int:
        """Return the number of quantities."""
        return len(RATES[self.path])

    def describe(self, index: int) -> dict[str, Any]:
        """Return one rate as JSON."""
        return {
            "path": self.path,
            "quantity": list(RATES[self.path])[index],
            "alphas": list(ALPHAS[self.path]),
            "seed": self.seed,
        }

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the path back; all its quantities are computed again."""
        return cls(case["path"], case["seed"])


def levels(path: str, alpha: float) -> tuple[NoiseLevel, NoiseLevel]:
    """Return the step of a path that begins at ``alpha``."""
    end = 0.5 if path == "fixed" else 2 * alpha
    return _vp(alpha), _vp(end)


def _vp(alpha: float) -> NoiseLevel:
    return NoiseLevel(alpha, np.sqrt((1 - alpha) * (1 + alpha)))


def quantities(path: str, alpha: float, seed: int) -> dict[str, float]:
    """Return the quantities of a path at ``alpha``."""
    s, t = levels(path, alpha)
    terms = quadrature_terms(_problem(path, s, t)).value
    gamma = _one(terms.u_ref / terms.u_u)
    drift = _one((1 - 1 / alpha) * terms.u_x / terms.u_u)
    geometric = _one(float(s.sigma) ** 2 / alpha * terms.div / terms.u_u)
    vp = _deviations(path, s, t, seed)
    edm = _deviations(path, EDM.level_at(s.ratio), EDM.level_at(t.ratio), seed)
    return {
        "gamma": gamma,
        "drift": drift,
        "condition": (abs(drift) + abs(geometric)) / abs(gamma),
        "sampling": vp[0],
        "tweedie": vp[1],
        "edm": edm[0],
        "rounding": abs(drift + geometric - gamma) / abs(gamma),
    }


def _one(value: Any) -> float:
    return float(np.asarray(value)[0])


def _problem(path: str, s: NoiseLevel, t: NoiseLevel) -> Problem:
    law = LAWS[path]
    stack = GaussianMixture(
        law.weights[None], law.means[None, :, 0], np.broadcast_to(law.spectra[:, 0], (1, 2))
    )
    return Problem(stack, stacked(s), stacked(t), SOLVERS["euler"], None)


def _deviations(path: str, s: NoiseLevel, t: NoiseLevel, seed: int) -> tuple[float, float]:
    """Per-state standard deviations of both estimates of ``gamma*``, by the delta method."""
    rng = np.random.default_rng(seed)
    problem = _problem(path, s, t)
    x_star = problem.law.sample(NOISE_STATES, rng)
    terms = sampled_terms(problem, x_star, rng.standard_normal(x_star.shape), None, rng=rng)
    stein = (1 - 1 / s.alpha) * terms.u_x + s.sigma**2 / s.alpha * terms.div
    return _spread(stein, terms), _spread(terms.u_tweedie, terms)


def _spread(numerator: np.ndarray, terms: Terms) -> float:
    power = terms.u_u.mean()
    return float((numerator - numerator.mean() / power * terms.u_u).std() / power)


def measure_path(path: Path) -> dict[str, tuple[float, float]]:
    """Return every quantity at both ``alpha`` of the path."""
    both = [quantities(path.path, alpha, path.seed) for alpha in ALPHAS[path.path]]
    return {name: (both[0][name], both[1][name]) for name in both[0]}


def rate(path: str, values: tuple[float, float]) -> float:
    """Exponent of ``alpha`` between the two points of a path."""
    first, second = ALPHAS[path]
    return float(np.log(abs(values[0] / values[1])) / np.log(first / second))
