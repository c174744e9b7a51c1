"""Checks that several claims share: steps by quadrature, by samples, and on the digits."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar, Self

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from steinlab.claims.instruments.linear_forms import (
    Identity,
    Measured,
    compare_integrated,
    compare_sampled,
    pool_sampled,
)
from steinlab.claims.instruments.random_steps import (
    FAMILIES,
    StepCases,
    drawing,
    drawing_embedded,
    level_of,
)
from steinlab.coefficient.divergence import Divergence, Hutchinson, draw_probes
from steinlab.coefficient.step_terms import (
    Problem,
    Terms,
    quadrature_terms,
    sampled_divergence,
    sampled_terms,
    take_step,
    terms_at,
)
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.laws import load_digits
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.solvers.step import Step
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Effort
from steinlab.verification.comparison import Comparison

CLAIMED_SOLVERS = ("euler", "heun", "dpmpp-2m")
"""The solvers on which the coefficient's claims are checked: one of each kind of step."""

QUADRATURE_DIMS = (1, 2, 8, 64)
SAMPLED_DIMS = (1, 2, 3, 8, 24, 64)
SAMPLED_LONGEST = {"heun": 1.0}
"""Longest sampled steps, in ``log(sigma / alpha)``. A long step of Heun has derivatives that live
on sets which a thousand states miss, so its samples say nothing; quadrature covers those."""

STATES = 512
"""States per sampled case."""

ELEMENTS = 2**18
"""Elements of the largest temporary, a cache's: sampled stacks are evaluated in parts below it."""


def past_states(cases: StepCases) -> np.ndarray | None:
    """Draw one frozen past state per case from the earlier level's law: independent of ``x``."""
    problem = cases.problem
    if problem.earlier is None:
        return None
    states = []
    for i, seed in enumerate(cases.seeds):
        rng = np.random.default_rng([seed, 1])
        x_star = problem.law.take(i).sample(1, rng)
        states.append(level_of(problem.earlier, i).noised(x_star, rng))
    return np.stack(states)


def integrate_steps(cases: StepCases) -> Measured:
    """Integrate the terms; a law that stands for ``dim > 1`` adds its Gaussian directions."""
    problem = cases.problem
    terms = quadrature_terms(problem, past_states(cases))
    if np.any(cases.dims > 1):
        count = len(cases)
        side = GaussianMixture(
            np.ones((count, 1)), np.zeros((count, 1)), problem.law.spectra[:, :1, 0]
        )
        across = problem._replace(law=side)
        rest = quadrature_terms(across, past_states(StepCases(across, cases.seeds, cases.dims)))
        terms = terms.plus(rest, cases.dims - 1.0)
    return Measured(problem.s.alpha[:, 0, 0], problem.s.sigma[:, 0, 0], terms)


def couple(cases: StepCases, states: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw ``(x_star, eps)``, ``(C, N, d)``, each case from its own seed."""
    law = cases.problem.law
    pairs = []
    for i, seed in enumerate(cases.seeds):
        rng = np.random.default_rng([seed, 0])
        x_star = law.take(i).sample(states, rng)
        pairs.append((x_star, rng.standard_normal(x_star.shape)))
    return np.stack([p[0] for p in pairs]), np.stack([p[1] for p in pairs])


@dataclass(frozen=True)
class NoDivergence:
    """For checks that do not look at the divergence: zeros."""

    def __call__(self, step: Step, rng: np.random.Generator) -> np.ndarray:  # noqa: ARG002
        """Return zeros, shape of the batch."""
        return np.zeros(step.x.shape[:-1])


@dataclass(frozen=True)
class SeededProbes:
    """The sampled checks' divergence, each case's probes from its own seed: cases replay alone."""

    seeds: np.ndarray

    def __call__(self, step: Step, rng: np.random.Generator) -> np.ndarray:
        """Return ``div u`` of a stack, shape of the batch."""
        divergence = sampled_divergence(step)
        if not isinstance(divergence, Hutchinson):
            return np.asarray(divergence(step, rng))
        generators = (np.random.default_rng([seed, 2]) for seed in self.seeds)
        drawn = (
            draw_probes(x, divergence.probes, divergence.law, own)
            for x, own in zip(step.x, generators, strict=True)
        )
        return np.asarray(divergence.along(step, np.stack(list(drawn), axis=1)))


def sample_steps(
    cases: StepCases, *, states: int = STATES, divergence: Divergence | None = None
) -> Measured:
    """Sample the terms under the forward coupling, a part of the stack at a time."""
    problem = cases.problem
    per_case = states * problem.law.dim * problem.law.weights.shape[-1]
    size = max(1, ELEMENTS // per_case)
    past = past_states(cases)
    parts = []
    for start in range(0, len(cases), size):
        index = slice(start, start + size)
        part = StepCases(problem.take(index), cases.seeds[index], cases.dims[index])
        x_star, eps = couple(part, states)
        frozen = None if past is None else past[index]
        probes = divergence or SeededProbes(part.seeds)
        rng = np.random.default_rng(0)  # the probes have their own
        parts.append(sampled_terms(part.problem, x_star, eps, frozen, rng=rng, divergence=probes))
    stacked = (np.concatenate([getattr(p, name) for p in parts]) for name in Terms.names())
    return Measured(problem.s.alpha[:, 0, 0], problem.s.sigma[:, 0, 0], Terms(*stacked))


def on_field(check: Check, field: str) -> Check:
    """Return a check that compares with one field of the claim's formula."""

    def compare(data: Any, formula: Any) -> Comparison:
        return check.compare(data, getattr(formula, field))

    def pool(batches: Sequence[Any], formula: Any) -> Comparison:
        assert check.pool is not None
        return check.pool(batches, getattr(formula, field))

    return replace(check, compare=compare, pool=pool if check.pool else None)


def quadrature_check(count: int, *, families: Sequence[str] = FAMILIES) -> Check:
    """Integrate random steps in one dimension and on collinear laws in up to 64."""
    dims = QUADRATURE_DIMS[1:]
    draw = drawing_embedded(count, dims, solvers=CLAIMED_SOLVERS, families=families)
    return Check(
        "quadrature",
        "quadrature",
        StepCases,
        draw=draw,
        measure=integrate_steps,
        compare=compare_integrated,
        seconds=3.0,
    )


def sampled_check(count: int, *, families: Sequence[str] = FAMILIES) -> Check:
    """Sample random steps on laws of every covariance in 1 to 64 dimensions."""
    draw = drawing(
        count,
        solvers=CLAIMED_SOLVERS,
        families=families,
        dims=SAMPLED_DIMS,
        covariances=("scalar", "diagonal", "full"),
        longest=SAMPLED_LONGEST,
    )
    return Check(
        "samples",
        "monte-carlo",
        StepCases,
        draw=draw,
        measure=sample_steps,
        compare=compare_sampled,
        pool=pool_sampled,
        seconds=5.0,
    )


DIGITS_BANDWIDTH = 0.1
DIGITS_STEPS = 6
DIGITS_STATES = 1000


@lru_cache(maxsize=1)
def digits_law() -> EmpiricalMixture:
    """Return the 1,797 handwritten digits as an exact mixture of bandwidth 0.1.

    Evaluated in chunks that stay in cache: a third faster.
    """
    return EmpiricalMixture(load_digits(), DIGITS_BANDWIDTH, chunk_bytes=2**24)


@dataclass(frozen=True)
class DigitsCases(SingleCase):
    """One step of a solver on the digits."""

    dataset: ClassVar[str | None] = "digits"

    process: str
    step: int
    solver: str
    seed: int

    def describe(self, index: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the case as JSON."""
        s, t = self.levels()
        return {
            "data": {"dataset": "digits", "bandwidth": DIGITS_BANDWIDTH},
            "process": self.process,
            "step": self.step,
            "from": [s.alpha, s.sigma],
            "to": [t.alpha, t.sigma],
            "solver": self.solver,
            "seed": self.seed,
        }

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back."""
        return cls(case["process"], case["step"], case["solver"], case["seed"])

    def levels(self) -> tuple[NoiseLevel, NoiseLevel]:
        """Return the step's two levels, of a Karras grid."""
        grid = make_grid(PROCESSES[self.process], "karras", DIGITS_STEPS)
        return grid[self.step], grid[self.step + 1]


def digits_terms(case: DigitsCases, *, divergence: Divergence | None = None) -> Measured:
    """Sample the terms of one step on the digits; history, if any, is a frozen evaluation."""
    law: Any = digits_law()
    rng = np.random.default_rng(case.seed)
    x_star = law.sample(DIGITS_STATES, rng)
    s, t = case.levels()
    solver = SOLVERS[case.solver]
    earlier = None
    past = None
    if solver.depth and case.step:
        earlier = make_grid(PROCESSES[case.process], "karras", DIGITS_STEPS)[case.step - 1]
        noise = rng.standard_normal(x_star.shape)
        past = earlier.noised(law.sample(DIGITS_STATES, rng), noise)
    x = s.noised(x_star, rng)
    step = take_step(Problem(law, s, t, solver, earlier), x, past)
    terms = terms_at(step, x_star, divergence or sampled_divergence(step), rng)
    stacked = Terms(*(getattr(terms, name)[None] for name in Terms.names()))
    return Measured(np.array([s.alpha]), np.array([s.sigma]), stacked)


DIGITS_GRADE = 0.02
"""Relative error that the joint test on the digits must expose; it is known to 0.17 %."""


def _pool_digits(batches: Sequence[Measured], identity: Identity) -> Comparison:
    return replace(pool_sampled(batches, identity), grade=DIGITS_GRADE)


def digits_check(*, processes: Sequence[str] = ("edm", "vp-linear", "flow")) -> Check:
    """Sample every step of a Karras grid on the digits, every solver, every process."""

    def draw(effort: Effort) -> list[DigitsCases]:
        return [
            DigitsCases(process, step, solver, int(effort.rng.integers(2**32)))
            for process in processes
            for step in range(DIGITS_STEPS)
            for solver in CLAIMED_SOLVERS
        ]

    return Check(
        "digits",
        "monte-carlo",
        DigitsCases,
        draw=draw,
        measure=digits_terms,
        compare=compare_sampled,
        pool=_pool_digits,
        seconds=4.0,
    )
