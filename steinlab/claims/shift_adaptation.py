r"""A test law B that differs from the model's law A: what the coefficient then is.

States are ``x = alpha x_star + sigma eps`` with ``x_star`` of B; the solver and the divergence see
A's denoiser only. Stein's identity holds for any field under B's coupling, so Theorem 4.7's
estimate is B's own optimum ``gamma_B* = E_B<u, x - x_star>/E_B|u|^2`` whatever A is. What is bound
to A departs from it: Tweedie's estimate ``E_B<u, x - D_A>/E_B|u|^2``, by
``(sigma^2/alpha) E_B<u, s_A - s_B>/E_B|u|^2``, and a coefficient calibrated under A.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.draws import draw_law, draw_levels
from steinlab.claims.forms import Identity, compare_integrated, reference, stein, tweedie
from steinlab.claims.forms import Measured as MeasuredTerms
from steinlab.denoisers import Denoiser
from steinlab.dual import Dual, on_duals
from steinlab.rounding import Sized, on_sizes, on_slopes
from steinlab.solvers import SOLVERS, Candidate, History, Solver
from steinlab.terms import Integrated, Problem, quadrature_terms
from steinlab.verdicts import Check, Claim, Comparison, Dropped, Effort, Result, Table, Twin

SHIFTS = (0.0, 0.01, 0.1, 0.5, 1.0, 2.0)
"""Sizes of the shift: means move by up to as much, variances and weights change with them."""

FAMILIES = ("edm", "vp-linear", "flow")
SOLVER_NAMES = ("euler", "heun")
COMPONENTS = 3


@dataclass(frozen=True)
class Foreign:
    """A solver run on the denoiser of another law than the states'.

    It passes itself the law's extension to whatever carries derivatives or rounding through it.
    """

    inner: Solver
    law: GaussianMixture

    @property
    def name(self) -> str:
        """Id of the solver within."""
        return self.inner.name

    @property
    def order(self) -> int:
        """Order of the solver within."""
        return self.inner.order

    @property
    def depth(self) -> int:
        """No history."""
        return 0

    @property
    def ends_at_zero(self) -> bool:
        """As the solver within."""
        return self.inner.ends_at_zero

    def evaluations(self, t: NoiseLevel) -> int:
        """As the solver within."""
        return self.inner.evaluations(t)

    def step(
        self,
        denoiser: Denoiser,  # noqa: ARG002
        x: Any,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,
    ) -> Candidate:
        """Step with the other law's denoiser; not linear in the one it was offered."""
        own = self.inner.step(_extended(self.law, x), x, s, t, history)
        return replace(own, linear=None)


def _extended(law: GaussianMixture, x: Any) -> Any:
    """The law's denoiser for states of this kind."""
    if isinstance(x, Sized):
        return on_sizes(law)
    if isinstance(x, Dual):
        return on_slopes(law) if isinstance(x.tangent, Sized) else on_duals(law)
    return law


@dataclass(frozen=True)
class Shifts:
    """One step on one pair of laws; a case a size of the shift.

    At size ``h`` the test law B is A with means moved by ``h m``, variances multiplied by
    ``exp(h v)`` and weights by ``exp(h w)``, with random ``m``, ``v``, ``w``.
    """

    dataset: ClassVar[str | None] = None

    family: str
    solver: str
    seed: int
    sizes: tuple[float, ...] = SHIFTS

    def __len__(self) -> int:
        """Return the number of sizes."""
        return len(self.sizes)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        law, levels = self.model(), self.levels()
        return {
            "family": self.family,
            "solver": self.solver,
            "seed": self.seed,
            "shift": self.sizes[index],
            "model": {"weights": law.weights.tolist(), "means": law.means[:, 0].tolist()},
            "from": [levels[0].alpha, levels[0].sigma],
            "to": [levels[1].alpha, levels[1].sigma],
        }

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read one case back."""
        return cls(case["family"], case["solver"], case["seed"], (case["shift"],))

    def model(self) -> GaussianMixture:
        """Return A, the law of the model."""
        return draw_law(self._rng(0), 1, COMPONENTS, 1, "scalar").take(0)

    def levels(self) -> tuple[NoiseLevel, NoiseLevel]:
        """Return the step, up to 3 long in ``log(sigma/alpha)``."""
        s, t, _ = draw_levels(self._rng(1), 1, self.family, final_zero=False, longest=3.0)
        first, second = (NoiseLevel(float(v.alpha[0, 0, 0]), float(v.sigma[0, 0, 0])) for v in (s, t))
        return first, second

    def tests(self) -> GaussianMixture:
        """Return B for every size, a stack."""
        law, rng, size = self.model(), self._rng(2), np.array(self.sizes)[:, None]
        m, v, w = rng.standard_normal((3, COMPONENTS))
        weights = law.weights * np.exp(size * w)
        return GaussianMixture(
            weights / weights.sum(axis=1, keepdims=True),
            (law.means[:, 0] + size * m)[..., None],
            law.spectra[:, 0] * np.exp(size * v),
        )

    def _rng(self, part: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, part])


class Shifted(NamedTuple):
    """Terms under B with A's denoiser, and the coefficient that is optimal under A."""

    measured: MeasuredTerms
    case: Shifts
    calibrated: float


def _stacked(level: NoiseLevel, count: int) -> NoiseLevel:
    return NoiseLevel(*(np.full((count, 1, 1), v) for v in (level.alpha, level.sigma)))


def measure(case: Shifts) -> Shifted:
    """Integrate the terms for every size, and once under A itself."""
    s, t = (_stacked(level, len(case)) for level in case.levels())
    law = case.model()
    solver = Foreign(SOLVERS[case.solver], law)
    terms = quadrature_terms(Problem(case.tests(), s, t, solver, None))
    same = GaussianMixture(law.weights[None], law.means[None], law.spectra[None, :, 0])
    first = tuple(_stacked(level, 1) for level in case.levels())
    own = quadrature_terms(Problem(same, *first, solver, None)).value
    measured = MeasuredTerms(s.alpha[:, 0, 0], s.sigma[:, 0, 0], terms)
    return Shifted(measured, case, float(own.u_ref[0] / own.u_u[0]))


def compare(data: Shifted, identity: Identity) -> Comparison:
    """Compare the optimum under B with the estimate, per unit of ``E|u|^2``."""
    return compare_integrated(data.measured, identity)


def gammas(data: Shifted) -> dict[str, np.ndarray]:
    """Return the optimum under B, the three ways to come near it, and plain, each ``(C,)``."""
    terms = data.measured.terms
    assert isinstance(terms, Integrated)
    alpha, sigma, value = data.measured.alpha, data.measured.sigma, terms.value
    free = (1 - 1 / alpha) * value.u_x + sigma**2 / alpha * value.div
    return {
        "optimum": value.u_ref / value.u_u,
        "stein": free / value.u_u,
        "tweedie": value.u_tweedie / value.u_u,
        "calibrated": np.full(len(alpha), data.calibrated),
        "plain": np.ones(len(alpha)),
    }
