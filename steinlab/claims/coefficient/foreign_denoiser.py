"""Laws that shift, and a solver on the denoiser of another law than that of its states."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.instruments.random_steps import draw_law, draw_levels, level_of
from steinlab.claims.instruments.wrapped_solver import Wrapped
from steinlab.coefficient.forward_mode import Dual, on_duals
from steinlab.coefficient.rounding import Sized, on_sizes, on_slopes
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.guidance import Guided
from steinlab.solvers import Candidate, History


@dataclass(frozen=True)
class Foreign(Wrapped):
    """A solver run on the denoiser of another law than the states', or on a guided one.

    It passes itself the law's extension to whatever carries derivatives or rounding through it.
    """

    law: GaussianMixture | Guided

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


def _extended(law: GaussianMixture | Guided, x: Any) -> Any:
    """The law's denoiser for states of this kind."""
    if isinstance(law, Guided):
        return Guided(_extended(law.cond, x), _extended(law.uncond, x), law.w)
    if isinstance(x, Sized):
        return on_sizes(law)
    if isinstance(x, Dual):
        return on_slopes(law) if isinstance(x.tangent, Sized) else on_duals(law)
    return law


SHIFTS = (0.0, 0.01, 0.1, 0.5, 1.0, 2.0)
"""Sizes of the shift: means move by up to as much, variances and weights change with them."""

COMPONENTS = 3


@dataclass(frozen=True)
class Shifts:
    """One step on one pair of laws; one case per size of the shift.

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
        return level_of(s), level_of(t)

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
