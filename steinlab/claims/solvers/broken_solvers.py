"""Break one coefficient of a solver by 5 %, or the noise of one: negative controls of order checks.

The error is one that a constant denoiser does not notice, so consistency is kept and only the
order suffers, as with a typing error in a published formula.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.claims.instruments.wrapped_solver import Wrapped
from steinlab.diffusion.denoisers import Denoiser
from steinlab.solvers import EULER, Candidate, History, LinearMultistep, LinearStep, Solver
from steinlab.solvers.stochastic import SEEDS_2

OFF = 0.05


def falsify(solver: Solver) -> Solver:
    """Return the solver with its last coefficient 5 % off."""
    if not isinstance(solver, LinearMultistep):
        return _Bent(solver)
    corrected = solver.depth == solver.width
    if solver.width == 1 and not corrected:
        return replace(solver, weights=_scaled(solver))
    return replace(solver, weights=_shifted(solver))


def _scaled(solver: LinearMultistep) -> Callable[..., LinearStep]:
    """A one-output solver has one coefficient; 5 % off it is inconsistent."""

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        step = solver.weights(levels, t)
        return replace(step, betas=((1 + OFF) * step.betas[0],))

    return weights


def _shifted(solver: LinearMultistep) -> Callable[..., LinearStep]:
    """Move 5 % of the oldest output's coefficient to the newest's, in the corrector too."""

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        step = solver.weights(levels, t)
        return replace(step, betas=_moved(step.betas), corrector=_moved(step.corrector))

    return weights


def _moved(values: tuple[Any, ...]) -> tuple[Any, ...]:
    if len(values) < 2:
        return values
    off = OFF * values[-1]
    return (values[0] - off, *values[1:-1], values[-1] + off)


@dataclass(frozen=True)
class _Bent(Wrapped):
    """A solver with stages whose difference from the Euler step is 5 % too large."""

    @property
    def name(self) -> str:
        return f"{self.inner.name}, 5 % off"

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        right = self.inner.step(denoiser, x, s, t, history)
        euler = EULER.step(denoiser, x, s, t, history)
        bend = (1 + OFF) * (right.state - euler.state)
        return replace(right, state=euler.state + bend, residual=euler.residual - bend)


class SplitNoise:
    """SEEDS-2 whose end draws anew what its stage drew: the two share no noise."""

    name, order, depth, ends_at_zero, noises = "seeds-2, independent noise", 2, 0, True, 3
    evaluations = SEEDS_2.evaluations

    def step(self, *given: Any, noise: Any) -> Candidate:
        """Take the step, and put another normal in the place of the stage's at the end."""
        found, (s, t) = SEEDS_2.step(*given, noise=noise[::2]), given[2:4]
        q = t.ratio / s.ratio
        moved = t.sigma * (q * (1 - q)) ** 0.5 * (noise[1] - noise[0])
        return replace(found, state=found.state + moved)


SPLIT_NOISE = SplitNoise()
