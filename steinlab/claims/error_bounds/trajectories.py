"""Runs that record, at every step, the coefficient by reference beside the one without."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, NamedTuple, Self

import numpy as np

from analytic.memory import remembering
from steinlab.coefficient.formulas import stein_numerator
from steinlab.coefficient.step_terms import sampled_divergence
from steinlab.corrections import DEFAULT_GAMMA_MIN
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.laws import problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Diagnostics, Step, inner
from steinlab.verification.significance import Mean

STATES = 256
STEPS = 5
LAWS = ("two modes, 1-D", "ring, 2-D", "five modes, 64-D", "digits, 64-D")


Choice = Callable[[float, float], float]
"""``(reference, stein) -> gamma``, of the two estimates at a step."""


class Met(NamedTuple):
    """What a correction met at one step: batch means, and the coefficient it applied.

    ``size`` bounds what was added up to form the corrected state, squared, and ``gap`` is the
    difference of the two estimates of the coefficient, with its error.
    """

    err: float
    size: float
    u_ref: float
    u_u: float
    stein: float
    gap: Mean
    gamma: float


@dataclass(frozen=True)
class Recording:
    """Apply the coefficient that ``choose`` picks of ``(reference, stein)`` and record both."""

    x_star: np.ndarray
    choose: Choice
    seen: list[Met] = field(default_factory=list)
    name: str = "recording"

    def __call__(self, step: Step, rng: np.random.Generator) -> tuple[Any, Diagnostics]:
        """Return ``x - gamma u``."""
        u, off = step.candidate.residual, step.x - self.x_star
        reference, power = inner(off, u), float(inner(u, u).mean())
        stein = stein_numerator(step.x, u, sampled_divergence(step)(step, rng), step.s)
        means = float(reference.mean()) / power, float(stein.mean()) / power
        gamma = self.choose(*means)
        self.seen.append(
            Met(
                err=float(inner(off, off).mean()),
                size=float(inner(step.x, step.x).mean()) + gamma**2 * power,
                u_ref=means[0] * power,
                u_u=power,
                stein=means[1],
                gap=Mean.of(stein - reference).per(power),
                gamma=gamma,
            )
        )
        return step.x - gamma * u, Diagnostics(gamma)


CHOICES: Mapping[str, Choice] = {
    "reference": lambda reference, _stein: reference,
    "stein": lambda _reference, stein: max(stein, DEFAULT_GAMMA_MIN),
}
"""The batch's own optimum; Algorithm 1: the reference-free estimate, clipped from below only."""


@dataclass(frozen=True)
class Trajectory:
    """A run on a named law; one case per step, from ``first`` on."""

    law: str
    process: str
    solver: str
    choice: str
    seed: int
    first: int = 0
    last: int = STEPS

    def __len__(self) -> int:
        """Return the number of steps looked at."""
        return self.last - self.first

    @property
    def dataset(self) -> str | None:
        """The data set, or None for a mixture."""
        return "digits" if self.law.startswith("digits") else None

    def describe(self, index: int) -> dict[str, Any]:
        """Return one step as JSON."""
        step = self.first + index
        return {**asdict(self), "first": step, "last": step + 1, "states": STATES, "steps": STEPS}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the step back; the run is repeated."""
        return cls(**{key: case[key] for key in cls.__dataclass_fields__})


class Path(NamedTuple):
    """A finished run: what each step met, the error after it, and its end.

    ``floor`` is ``V`` at the start, ``variance`` that of the end states over that of the data.
    """

    case: Trajectory
    met: Sequence[Met]
    after: np.ndarray
    floor: float
    variance: float

    def column(self, name: str) -> np.ndarray:
        """Return one quantity over the steps looked at."""
        return np.array([getattr(m, name) for m in self.met[self.case.first : self.case.last]])

    @property
    def next_err(self) -> np.ndarray:
        """Error after each step looked at."""
        return self.after[self.case.first : self.case.last]


class Followed(NamedTuple):
    """What a run met, its error before every step and at the end, ``V`` at the start, its end."""

    met: Sequence[Met]
    errors: np.ndarray
    floor: float
    end: np.ndarray
    x_star: np.ndarray


def follow(
    law: Any, process: str, choose: Choice, *, solver: str, steps: int, rng: np.random.Generator
) -> Followed:
    """Run a solver on a Karras grid with the coefficients chosen and record every step."""
    grid = make_grid(PROCESSES[process], "karras", steps)
    x_star = law.sample(STATES, rng)
    x = grid[0].noised(x_star, rng)
    floor = float(np.mean(law.posterior_variance(x, grid[0])))
    record = Recording(x_star, choose)
    end = np.asarray(
        solve(remembering(law), x, grid, SOLVERS[solver], correction=record, rng=rng).state
    )
    last = float(inner(end - x_star, end - x_star).mean())
    errors = np.array([*(m.err for m in record.seen), last])
    return Followed(record.seen, errors, floor, end, x_star)


def measure(case: Trajectory) -> Path:
    """Follow the case's run."""
    law, rng = problem(case.law), np.random.default_rng(case.seed)
    choose = CHOICES[case.choice]
    run = follow(law, case.process, choose, solver=case.solver, steps=STEPS, rng=rng)
    variance = float(run.end.var(axis=0).sum() / run.x_star.var(axis=0).sum())
    return Path(case, run.met, run.errors[1:], run.floor, variance)
