r"""A run's coefficients, read off a black box in one run.

Solvers combine states and outputs linearly, coordinate by coordinate. So let the start be the unit
vector ``e_0`` and the ``k``-th answer of the denoiser ``e_k``: the state of every later call, and
the end, then *are* the rows of coefficients of ``x_0, D_1, D_2, ...``. A third run with answers
drawn at random tells whether the subject is linear at all; one that clips, adapts or thresholds is
not.
"""

from dataclasses import dataclass

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.testing.subject import Call, Levels, Subject, SubjectError

LINEAR = 1e-6
"""Relative misfit of a random run above which a subject is not linear: float32's rounding
passes."""


@dataclass(frozen=True, eq=False)
class Reading:
    """Rows of coefficients.

    Attributes
    ----------
    levels : tuple of NoiseLevel
        The grid.
    asked : tuple of NoiseLevel
        The level of every call.
    rows : array (calls + 1, calls + 1)
        Of the state of every call, the end last; columns ``x_0, D_1, D_2, ...``.
    misfit : float
        Relative distance of a random run to what the rows say.
    """

    levels: Grid
    asked: tuple[NoiseLevel, ...]
    rows: np.ndarray
    misfit: float

    @property
    def linear(self) -> bool:
        """Whether the rows describe the subject."""
        return bool(self.misfit < LINEAR)

    @property
    def size(self) -> float:
        """Largest sum of absolute terms over the rows: what roundings are multiples of."""
        return float(np.abs(self.rows).sum(axis=1).max())

    def first_calls(self) -> list[int] | None:
        """Return the call that begins each step: the last one at its level, in order."""
        out: list[int] = []
        for level in self.levels[:-1]:
            at = [k for k, one in enumerate(self.asked) if same(one, level)]
            if not at or (out and at[-1] <= out[-1]):
                return None
            out.append(at[-1])
        return out


def same(a: NoiseLevel, b: NoiseLevel, tolerance: float = 1e-5) -> bool:
    """Whether two levels agree up to the rounding of a float32 table."""
    gap = abs(a.sigma - b.sigma) + abs(a.alpha - b.alpha)
    return bool(np.all(gap <= tolerance * (abs(b.sigma) + 1e-3 * b.alpha)))


def read(subject: Subject, levels: Levels) -> Reading | None:
    """Read the coefficients of a run over levels; ``None`` where calls depend on the answers."""
    first = subject.run(lambda x, _level: 0.0 * x, np.ones((1, 1)), levels)
    count = len(first.calls)
    if count == 0:
        raise SubjectError(
            f"{subject.name} must call its denoiser, it did not in {len(levels) - 1} steps"
        )
    asked: list[Call] = []

    def answer(rows: np.ndarray) -> object:
        at = iter(rows)
        return lambda x, _level: next(at, np.zeros(x.shape[1]))[None] + 0.0 * np.nan_to_num(x)

    unit = np.eye(count + 1)
    probe = subject.run(answer(unit[1:]), unit[:1], levels)  # type: ignore[arg-type]
    asked = list(probe.calls)
    if len(asked) != count:
        return None
    rows = np.concatenate([*(call.state for call in asked), probe.end])
    rng = np.random.default_rng(0)
    values = 3.0 * rng.standard_normal((count + 1, 4))
    check = subject.run(answer(values[1:]), values[:1], levels)  # type: ignore[arg-type]
    if len(check.calls) != count:
        return None
    expected = rows[-1] @ values
    scale = np.abs(rows[-1]) @ np.abs(values) + 1e-300
    misfit = float(np.max(np.abs(check.end[0] - expected) / scale))
    return Reading(
        tuple(levels),
        tuple(c.level for c in asked),
        rows,
        misfit if np.isfinite(misfit) else np.inf,
    )
