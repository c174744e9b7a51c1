"""Random steps on random laws, drawn as stacks and written down one by one."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, ClassVar, Self

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.claims.instruments.step_spaces import step_spaces
from steinlab.coefficient.step_terms import Problem
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.verification.claim import Check, Effort
from steinlab.verification.falsify.spaces import Space

FAMILIES = ("edm", "vp-linear", "flow", "free")
"""Level families drawn: one process of each geometry, and levels with ``alpha``, ``sigma`` free."""

RATIOS: Mapping[str, tuple[float, float]] = {
    "edm": (1e-4, 1e2),
    "vp-linear": (1e-4, 1e8),
    "flow": (1e-4, 1e8),
}
"""Noise-to-signal ratios drawn: ``sigma`` from 1e-4 to 1e2, ``alpha`` from 1e-8 to 1."""

COMMON_RATIO = 1e2
"""Half the cases of a process lie below this ratio, half range over all."""


def log_uniform(rng: np.random.Generator, low: Any, high: Any, size: Any = None) -> np.ndarray:
    """Draw uniformly in the logarithm."""
    return np.asarray(np.exp(rng.uniform(np.log(low), np.log(high), size)))


@dataclass(frozen=True)
class StepCases:
    """A stack of steps of one solver: what :class:`Problem` needs, and a seed per case.

    ``dims`` is the dimension of the space a one-dimensional law stands for: beyond its line the
    law is Gaussian with the same variance in ``dims - 1`` directions.
    """

    dataset: ClassVar[str | None] = None

    problem: Problem
    seeds: np.ndarray
    dims: np.ndarray

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.seeds)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON."""
        p = self.problem
        out: dict[str, Any] = {
            "data": law_json(p.law, index),
            "from": _pair(p.s, index),
            "to": _pair(p.t, index),
            "solver": p.solver.name,
            "seed": int(self.seeds[index]),
            "dim": int(self.dims[index]),
        }
        if p.earlier is not None:
            out["history"] = [_pair(p.earlier, index)]
        return out

    @property
    def searchable(self) -> bool:
        """Whether the law is one on a line, whose parameters the falsifier knows."""
        return self.problem.law.dim == 1

    def spaces(self, check: Check, effort: Effort) -> Sequence[Space]:
        """Return where the falsifier looks for more of them."""
        return step_spaces(check, effort)

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read one case back, to the last digit."""
        law = read_law(case["data"])
        earlier = _level([case["history"][0]]) if case.get("history") else None
        problem = Problem(
            law, _level([case["from"]]), _level([case["to"]]), SOLVERS[case["solver"]], earlier
        )
        return cls(problem, np.array([case["seed"]]), np.array([case["dim"]]))


def law_json(laws: GaussianMixture, index: int) -> dict[str, Any]:
    """Return one law of a stack as JSON."""
    law = laws.take(index)
    return {name: getattr(law, name).tolist() for name in ("weights", "means", "covariances")}


def read_law(data: Mapping[str, Any]) -> GaussianMixture:
    """Return a stack of the law that was written."""
    parts = (data[name] for name in ("weights", "means", "covariances"))
    return GaussianMixture(*(np.asarray(part)[None] for part in parts))


def level_of(level: NoiseLevel, index: int = 0) -> NoiseLevel:
    """Return one level of a stack, in numbers."""
    return NoiseLevel(float(level.alpha[index, 0, 0]), float(level.sigma[index, 0, 0]))


def stacked(level: NoiseLevel, count: int = 1) -> NoiseLevel:
    """Return a stack ``(count, 1, 1)`` of one level."""
    return NoiseLevel(*(np.full((count, 1, 1), v) for v in (level.alpha, level.sigma)))


def _pair(level: NoiseLevel, index: int) -> list[float]:
    own = level_of(level, index)
    return [own.alpha, own.sigma]


def _level(pairs: Any) -> NoiseLevel:
    array = np.asarray(pairs, dtype=float)
    return NoiseLevel(array[:, :1, None], array[:, 1:, None])


def draw_levels(
    rng: np.random.Generator,
    count: int,
    family: str,
    *,
    final_zero: bool,
    longest: float = 8.0,
    ratios: tuple[float, float] | None = None,
) -> tuple[NoiseLevel, NoiseLevel, NoiseLevel]:
    """Draw ``count`` steps ``(s, t)`` and a noisier earlier level, arrays ``(count, 1, 1)``.

    Steps are up to ``longest`` in ``log(sigma / alpha)``, or end at zero noise. They begin at
    ``ratios``, by default the family's.
    """
    low, high = ratios or RATIOS.get(family, (1e-4, 1e4))
    top = np.where(rng.random(count) < 0.5, min(high, COMMON_RATIO), high)
    ratio = log_uniform(rng, low, top)
    finer = (
        np.zeros(count) if final_zero else ratio / np.exp(log_uniform(rng, 1e-2, longest, count))
    )
    coarser = ratio * np.exp(log_uniform(rng, 1e-2, 2.0, count))
    if family != "free":
        levels = (PROCESSES[family].level_at(r[:, None, None]) for r in (ratio, finer, coarser))
        s, t, earlier = levels
        return s, t, earlier
    alphas = log_uniform(rng, 1e-8, 1.0, (3, count, 1, 1))
    pairs = zip(alphas, (ratio, finer, coarser), strict=True)
    s, t, earlier = (NoiseLevel(a, a * r[:, None, None]) for a, r in pairs)
    return s, t, earlier


def draw_law(
    rng: np.random.Generator, count: int, components: int, dim: int, covariance: str
) -> GaussianMixture:
    """Draw a stack of mixtures: ``covariance`` is shared, scalar, diagonal or full."""
    weights = rng.dirichlet(np.ones(components), count)
    means = rng.standard_normal((count, components, dim)) * rng.uniform(0, 4, (count, 1, 1))
    std = log_uniform(rng, 0.05, 2.0, (count, components, dim))
    variances: np.ndarray
    if covariance == "shared":
        variances = np.broadcast_to(std[:, :1, 0] ** 2, (count, components)).copy()
    elif covariance == "scalar":
        variances = std[..., 0] ** 2
    elif covariance == "diagonal":
        variances = std**2
    else:
        q = np.linalg.qr(rng.standard_normal((count, components, dim, dim)))[0]
        root = q * std[..., None, :]
        variances = root @ np.swapaxes(root, -1, -2)
        variances = 0.5 * (variances + np.swapaxes(variances, -1, -2))
    return GaussianMixture(weights / weights.sum(axis=1, keepdims=True), means, variances)


def draw_steps(
    rng: np.random.Generator,
    count: int,
    *,
    solvers: Sequence[str],
    families: Sequence[str] = FAMILIES,
    dims: Sequence[int] = (1,),
    covariances: Sequence[str] = ("scalar",),
    embed: bool = False,
    longest: Mapping[str, float] = MappingProxyType({}),
    ratios: tuple[float, float] | None = None,
) -> list[StepCases]:
    """Draw about ``count`` cases in stacks, one per solver, family and dimension.

    With ``embed`` the laws are one-dimensional with one shared variance and stand for ``dims``.
    One stack in eight steps to zero noise. ``longest`` shortens the steps of the solvers it names.
    Steps begin at ``ratios``, by default the family's.
    """
    blocks = [(n, f, d) for n in solvers for f in families for d in dims]
    size = -(-count // len(blocks))
    out = []
    for i, (name, family, dim) in enumerate(blocks):
        solver = SOLVERS[name]
        s, t, earlier = draw_levels(
            rng, size, family, final_zero=i % 8 == 7, longest=longest.get(name, 8.0), ratios=ratios
        )
        shape = "shared" if embed else covariances[i % len(covariances)]
        law = draw_law(rng, size, 1 + int(rng.integers(4)), 1 if embed else dim, shape)
        problem = Problem(law, s, t, solver, earlier if solver.depth else None)
        seeds = rng.integers(2**32, size=size)
        out.append(StepCases(problem, seeds, np.full(size, dim)))
    return out


Draw = Callable[[Effort], list[StepCases]]
"""What a check draws its steps by."""


def drawing(count: int, **options: Any) -> Draw:
    """Return what draws ``count`` cases in the quick profile by :func:`draw_steps`."""
    return lambda effort: draw_steps(effort.rng, effort.count(count), **options)


def drawing_embedded(count: int, dims: Sequence[int] = (2, 8, 64), **options: Any) -> Draw:
    """Return what draws half of the cases on a line, half on laws of a line embedded in space."""

    def draw(effort: Effort) -> list[StepCases]:
        n = effort.count(count)
        line = draw_steps(effort.rng, n // 2, **options)
        return [*line, *draw_steps(effort.rng, n - n // 2, dims=dims, embed=True, **options)]

    return draw
