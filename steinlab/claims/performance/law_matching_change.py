r"""How far law matching moves a batch: a bound by the defect, where the noised law is log-concave.

Scale a batch about its mean, ``y(s) = m + s z`` with ``E z = 0``, under any law of finite second
moment, and let ``N(y) = y - alpha D(y) = -sigma^2 score(y)`` of the model's law. Stein's defect is

    Delta(s) = E<s z, N(m + s z)> - sigma^2 d.

If ``N' >= nu > 0`` everywhere, ``<z, N(m + s z) - N(m + r z)> >= nu (s - r) |z|^2``, and since
``E<z, N(m)> = 0``, ``Delta'(s) >= 2 nu s E|z|^2``: ``Delta`` increases, its root ``s*`` is the
only one, and by integration

    E|z|^2 |s*^2 - 1| <= |Delta(1)| / nu,        hence   E|y' - y|^2 <= (Delta(1) / nu)^2 / E|z|^2.

The second moment is moved by the defect over the least slope; equality for isotropic Gaussian
data. For a mixture of equal isotropic components of variance ``l``, their means within a diameter
``R``, with ``v = alpha^2 l + sigma^2``,

    nu = (sigma^2 / v) (1 - alpha^2 R^2 / (4 v)),

since ``Cov(x_star | x)`` is ``l sigma^2 / v`` and the covariance of the posterior means, which lie
within ``R sigma^2 / v`` (Popoviciu). Where modes are so far apart that ``nu <= 0`` there may be
several roots, and nothing is promised.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.quadrature import integrate, mixture_breaks
from steinlab.claims.instruments.random_steps import law_json, log_uniform, read_law, stacked
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.verification.claim import Effort
from steinlab.verification.comparison import Comparison

CASES, MODES = 48, 3
SECANTS = 12
CLEAN = NoiseLevel(1.0, 0.0)
CLOSEST = 0.95
"""Largest ``alpha^2 R^2 / (4 v)`` drawn."""


@dataclass(frozen=True)
class Batches:
    """A stack of model laws with a level, and of the laws that their batches follow there."""

    dataset: ClassVar[str | None] = None

    law: GaussianMixture
    level: NoiseLevel
    batch: GaussianMixture

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.law.weights)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        laws = {"data": law_json(self.law, index), "batch": law_json(self.batch, index)}
        level = [float(value[index, 0, 0]) for value in (self.level.alpha, self.level.sigma)]
        return {**laws, "level": level}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read one case back, to the last digit."""
        law, batch = (read_law(case[name]) for name in ("data", "batch"))
        return cls(law, stacked(NoiseLevel(*case["level"])), batch)


class Change(NamedTuple):
    """What the bound is made of; ``moved`` is ``E|z|^2 |s*^2 - 1|``, ``left`` what is left of it.

    ``defect`` is ``Delta(1)``, ``share`` is ``alpha^2 l / v``, ``spread`` is ``alpha^2 R^2/(4 v)``,
    and ``residual`` is ``|Delta|`` at the root found with every error of rounding and quadrature.
    """

    moved: np.ndarray
    defect: np.ndarray
    share: np.ndarray
    spread: np.ndarray
    residual: np.ndarray


Slope = Callable[[Change], np.ndarray]
"""``nu``, the least slope of ``N``."""


def slope(data: Change) -> np.ndarray:
    """``(sigma^2 / v) (1 - alpha^2 R^2 / (4 v))``."""
    return np.asarray((1 - data.share) * (1 - data.spread))


def draw(effort: Effort) -> list[Batches]:
    """Draw laws of one to ``MODES`` modes and batches that miss them in mean, width and shape."""
    count = effort.count(CASES) // MODES
    return [_stack(effort.rng, count, k) for k in range(1, MODES + 1)]


def _stack(rng: np.random.Generator, count: int, modes: int) -> Batches:
    v, alpha = log_uniform(rng, 1e-2, 1e2, count), log_uniform(rng, 1e-2, 1.0, count)
    share = rng.uniform(0.02, 0.98, count)
    sigma = np.sqrt((1 - share) * v)
    means = rng.standard_normal((count, modes))
    if modes > 1:
        reach = 2 * np.sqrt(rng.uniform(0, CLOSEST, count) * v) / alpha
        means *= (reach / np.ptp(means, axis=1))[:, None]
    widths = np.repeat((share * v / alpha**2)[:, None], modes, axis=1)
    law = GaussianMixture(rng.dirichlet(np.ones(modes), count), means, widths)
    unit = np.sqrt(v)[:, None]
    centres = alpha[:, None] * means + 0.5 * unit * rng.standard_normal((count, modes))
    spreads = (unit * np.exp(rng.uniform(-0.7, 0.7, (count, modes)))) ** 2
    batch = GaussianMixture(rng.dirichlet(np.ones(modes), count), centres, spreads)
    return Batches(law, NoiseLevel(alpha[:, None, None], sigma[:, None, None]), batch)


def measure(cases: Batches) -> Change:
    """Find every root by secants in ``s^2``, and integrate what the bound needs."""
    alpha, sigma = (value[:, 0, 0] for value in (cases.level.alpha, cases.level.sigma))
    mean = cases.batch.mean()[:, 0]
    width = cases.law.spectra[:, 0, 0]
    v = alpha**2 * width + sigma**2
    second = cases.batch.second_moment() - mean**2
    start, slack = _defect(cases, mean, np.ones(len(cases)))
    old, value = np.ones(len(cases)), start
    new = np.clip(1 - start / second * v / sigma**2, 0.1, 10.0)  # exact for Gaussian data
    error = slack
    for _ in range(SECANTS):
        found, error = _defect(cases, mean, np.sqrt(new))
        rise = np.where(new == old, np.inf, (found - value) / np.where(new == old, 1.0, new - old))
        better = np.abs(found) > error
        step = np.where(better & (rise > 0), -found / np.where(rise > 0, rise, 1.0), 0.0)
        if not np.any(step):
            break
        old, value, new = new, found, np.clip(new + step, new / 4, new * 4)
    found, error = _defect(cases, mean, np.sqrt(new))
    means = cases.law.means[..., 0]
    spread = alpha**2 * np.ptp(means, axis=1) ** 2 / (4 * v)
    share = alpha**2 * width / v
    return Change(second * np.abs(new - 1), start, share, spread, np.abs(found) + error + slack)


def _defect(cases: Batches, mean: np.ndarray, s: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``Delta(s)`` with the errors of rounding and quadrature."""
    alpha, sigma = (value[:, 0, 0] for value in (cases.level.alpha, cases.level.sigma))

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        level = NoiseLevel(cases.level.alpha[case], cases.level.sigma[case])
        density = np.exp(cases.batch.take(case).log_prob(x[..., None], CLEAN))
        z = s[case][:, None] * (x - mean[case][:, None])
        y = mean[case][:, None] + z
        clean = alpha[case][:, None] * cases.law.take(case)(y[..., None], level)[..., 0]
        size = np.abs(z) * (np.abs(y) + np.abs(clean)) * density
        return (z * (y - clean) * density)[..., None], size[..., None]

    found = integrate(integrand, mixture_breaks(cases.batch, CLEAN))
    rounding = ROUNDING * EPS * (found.size[:, 0] + sigma**2)
    return found.value[:, 0] - sigma**2, rounding + found.error[:, 0]


def compare(data: Change, formula: Slope) -> Comparison:
    """Bound the move of the second moment; the root's residual moves it by as much over ``nu``."""
    bound = np.abs(data.defect) / formula(data)
    return Comparison(data.moved, bound, data.residual / slope(data), upper=True)
