"""Steps taken at the exact iterates of a run: the perturbation bound where ``q`` is the sampler's.

A run of ``k`` steps starts under the forward process; ``q`` is the exact law of its state, and the
next step is the one whose coefficient is looked at. A multistep run is followed by a first-order
step, since its own candidate is no function of the state alone.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates.branches import covers, invert
from analytic.iterates.distances import fisher_rate, truncated_fisher
from analytic.iterates.line import LineIterate
from analytic.memory import remembering
from analytic.quadrature import mixture_breaks
from steinlab.claims.error_bounds.perturbation import (
    FORMS,
    Perturbed,
    Sampler,
    States,
    integrate_perturbed,
)
from steinlab.claims.instruments.random_steps import (
    draw_law,
    law_json,
    level_of,
    log_uniform,
    read_law,
    stacked,
)
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.step_terms import Problem, at, take_step
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS, Solver
from steinlab.solvers.iterate_laws import line_iterate, run_jets
from steinlab.verification.claim import Effort

RUN_SOLVERS = ("euler", "heun", "dpmpp-2m")
RUN_FAMILIES = ("edm", "vp-linear", "flow")

Keep = Callable[[Problem], np.ndarray]
"""``step -> mask (C,)`` of the runs to be looked at."""


@dataclass(frozen=True)
class IterateCases:
    """Runs over the levels but the last, and a step to it: two cases each, as for pairs.

    ``levels`` hold a stack each; ``marks`` are states where the composed map bends, for
    quadrature, and ``folded`` is the mass on decreasing branches.
    """

    dataset: ClassVar[str | None] = None

    law: GaussianMixture
    levels: tuple[NoiseLevel, ...]
    solver: str
    marks: tuple[np.ndarray, ...]
    folds: np.ndarray
    folded: np.ndarray

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(FORMS) * len(self.law.weights)

    @property
    def problem(self) -> Problem:
        """The step taken at the iterates."""
        s, t = self.levels[-2:]
        return Problem(self.law, s, t, step_solver(self.solver), None)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        run, form = divmod(index, len(FORMS))
        grid = [[float(v[run, 0, 0]) for v in (x.alpha, x.sigma)] for x in self.levels]
        data = law_json(self.law, run)
        return {"data": data, "grid": grid, "solver": self.solver, "form": FORMS[form]}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back; both of its forms are computed again."""
        levels = tuple(stacked(NoiseLevel(*pair)) for pair in case["grid"])
        return cls.marked(read_law(case["data"]), levels, case["solver"])

    @classmethod
    def marked(cls, law: GaussianMixture, levels: tuple[NoiseLevel, ...], solver: str) -> Self:
        """Return the cases with the marks of their runs."""
        none = np.empty(0)
        bare = cls(law, levels, solver, (), none, none)
        iterates = [bare.iterate(i) for i in range(len(law.weights))]
        return replace(
            bare,
            marks=tuple(bending(iterate) for iterate in iterates),
            folds=np.array([len(iterate.folds) for iterate in iterates]),
            folded=np.array([iterate.folded_mass() for iterate in iterates]),
        )

    def iterate(self, run: int) -> LineIterate:
        """Return the exact law of one run's last state."""
        grid = [level_of(level, run) for level in self.levels[:-1]]
        return line_iterate(self.law.take(run), grid, SOLVERS[self.solver])

    def take(self, kept: np.ndarray) -> Self:
        """Return the runs marked by a mask."""
        index = np.flatnonzero(kept)
        levels = _taken(self.levels, index)
        marks = tuple(self.marks[i] for i in index)
        law = self.law.take(index)
        return type(self)(law, levels, self.solver, marks, self.folds[index], self.folded[index])


def step_solver(name: str) -> Solver:
    """The solver of the step at the iterates: first order after a multistep run."""
    solver = SOLVERS[name]
    return SOLVERS["euler"] if solver.depth else solver


def bending(iterate: LineIterate) -> np.ndarray:
    """Nodes that the search for branches added where the map bends."""
    nodes = iterate.branches.nodes
    return np.setdiff1d(nodes, iterate.first_nodes)


def draw_runs(
    rng: np.random.Generator,
    count: int,
    solver: str,
    family: str,
    components: int,
    *,
    lengths: tuple[float, float] = (0.2, 2.0),
    keep: Keep | None = None,
) -> IterateCases:
    """Draw runs of 1 to 3 steps and one step after, all of one length in ``log(sigma/alpha)``.

    Of the runs whose last step ``keep`` leaves out nothing more is computed.
    """
    levels = run_levels(rng, count, family, lengths)
    law = draw_law(rng, count, components, 1, "scalar")
    if keep is not None:
        s, t = levels[-2:]
        kept = np.flatnonzero(keep(Problem(law, s, t, step_solver(solver), None)))
        law, levels = law.take(kept), _taken(levels, kept)
    return IterateCases.marked(law, levels, solver)


def _taken(levels: tuple[NoiseLevel, ...], index: np.ndarray) -> tuple[NoiseLevel, ...]:
    return tuple(NoiseLevel(x.alpha[index], x.sigma[index]) for x in levels)


def run_levels(
    rng: np.random.Generator, count: int, family: str, lengths: tuple[float, float]
) -> tuple[NoiseLevel, ...]:
    """Draw the levels of :func:`draw_runs`."""
    steps = 2 + int(rng.integers(3))
    top = log_uniform(rng, 2.0, 30.0, count)
    length = log_uniform(rng, *lengths, count)
    ratios = top * np.exp(-length * np.arange(steps + 1)[:, None])
    return tuple(PROCESSES[family].level_at(r[:, None, None]) for r in ratios)


def draw_runs_of_all(effort: Effort, count: int, keep: Keep | None = None) -> list[IterateCases]:
    """Draw about ``count`` runs: every solver and process, laws of 1 to 4 components."""
    blocks = [(s, f, k) for s in RUN_SOLVERS for f in RUN_FAMILIES for k in (1, 2, 3, 4)]
    size = -(-effort.count(count) // len(blocks))
    return [draw_runs(effort.rng, size, *block, keep=keep) for block in blocks]


def iterate_states(cases: IterateCases) -> tuple[Sampler, np.ndarray]:
    """Return the states of ``q`` at initial states, and where the integrands change."""
    law, start = cases.law, cases.levels[0]
    own = mixture_breaks(law, start)
    width = max(len(m) for m in cases.marks)
    marks = np.repeat(own[:, -1:], width, axis=1)
    for row, mark in zip(marks, cases.marks, strict=True):
        row[: len(mark)] = mark
    inside = np.clip(marks, own[:, :1], own[:, -1:])
    breaks = np.sort(np.concatenate((own, inside), axis=1), axis=1)

    def states(case: np.ndarray, x: np.ndarray) -> States:
        part = remembering(law.take(case))
        levels = [level for level in (at(v, case) for v in cases.levels) if level]
        jet = run_jets(part, x[..., None], levels[:-1], SOLVERS[cases.solver])
        y, slope, bend = jet.value[..., 0], jet.first[..., 0, 0], jet.second[..., 0, 0, 0]
        own_score = part.score(x[..., None], levels[0])[..., 0]
        with np.errstate(divide="ignore", invalid="ignore"):  # a node on a fold has no score
            score = (own_score - bend / slope) / slope
            size = (np.abs(own_score) + np.abs(bend / slope)) / np.abs(slope)
        mass = np.exp(part.log_prob(x[..., None], levels[0]))
        return States(y, mass, score, np.abs(y) + np.abs(slope * x), size)

    return states, breaks


def measure_iterates(cases: IterateCases) -> Perturbed:
    """Integrate both sides under the exact law of the iterates, over the initial state."""
    return integrate_perturbed(cases.problem, *iterate_states(cases))


LIPSCHITZ_STATES = 801


def lipschitz(problem: Problem) -> np.ndarray:
    """Return the largest ``|T'|`` found over the states of ``p``, ``(C,)``: a lower bound of L_T.

    ``p`` is the law at the step's level, out to 10 deviations of every component.
    """
    marks = mixture_breaks(problem.law, problem.s)
    between = np.linspace(0, 1, LIPSCHITZ_STATES // marks.shape[1] + 1, endpoint=False)
    x = (marks[:, :-1, None] + np.diff(marks, axis=1)[..., None] * between).reshape(len(marks), -1)
    step = take_step(problem, x[..., None], None)
    slope = 1 - np.asarray(Exact()(step, np.random.default_rng(0)))
    return np.asarray(np.abs(slope).max(axis=1))


REGULAR_SHARE = 0.01
"""Part of the density beside a fold's singular one, at most, where its rate is read off."""
NEAREST = 1e-10
"""Least distance from a fold's image, relative to it, that preimages in float64 resolve."""
RATE_DIGITS = 1e-5
"""Tolerance of the integrals that a rate is read off, per panel: the exponent, the logarithm of
their ratio over ``log 4``, moves by about twice their error. A claim allows it ``0.05``."""


class Rate(NamedTuple):
    """How F diverges at a fold: exponent in the distance left out, F over ``A c^(-3/2)``.

    ``reached`` tells whether float64 reaches distances where the singular part governs.
    """

    exponent: float
    amplitude: float
    reached: bool


def divergence_rate(iterate: LineIterate, law: GaussianMixture, level: NoiseLevel) -> Rate:
    r"""Measure the rate at the fold that contributes most, in a window that sees no other.

    Beside the singular density ``2 p0 / sqrt(2 |X''| c)`` stands that of the other branches; their
    ratio is the relative correction to ``A c^(-3/2)``, as is ``sqrt(c / height)``.
    """
    index = int(np.argmax([fisher_rate((fold,)) for fold in iterate.folds]))
    fold = iterate.folds[index]
    images = np.array([other.y for other in iterate.folds])
    others = np.abs(np.delete(images, index) - fold.y)
    edges = iterate.jet(iterate.branches.edges[[index, index + 2]]).value
    height = 0.5 * float(np.append(others, np.abs(edges - fold.y)).min())
    top = np.array([fold.y + np.sign(fold.curvature) * height])
    window = invert(iterate.jet, iterate.branches, top)[index : index + 2, 0]
    at = np.array([fold.y])
    beside = covers(iterate.branches, at)[:, 0]
    beside[index : index + 2] = False
    x = invert(iterate.jet, iterate.branches, at)[beside, 0]
    regular = float(np.exp(iterate.along(x).log).sum())
    singular = 2 * fold.density / np.sqrt(2 * abs(fold.curvature))
    cut = REGULAR_SHARE**2 * min(height, (singular / max(regular, 1e-300)) ** 2)
    if cut < NEAREST * max(abs(fold.y), height):
        return Rate(np.nan, np.nan, False)
    cuts = (cut, 0.25 * cut)
    ends = (float(window[0]), float(window[1]))
    values = [
        truncated_fisher(iterate, law, level, c, window=ends, tolerance=RATE_DIGITS).value
        for c in cuts
    ]
    exponent = np.log(values[1] / values[0]) / np.log(cuts[1] / cuts[0])
    return Rate(float(exponent), values[1] * cuts[1] ** 1.5 / fisher_rate((fold,)), True)
