r"""Which step of a run contributes what to its final error.

With ``F(x, s)`` where the exact flow takes a state from level ``s`` to the end, step ``i``
contributes ``F(x_{i+1}, s_{i+1}) - F(x_i, s_i)``: its local error, carried to the end. The sum
telescopes to the run's whole error, exactly.
"""

import itertools
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analytic.flow.exact import exact_flow
from steinlab.testing.adapters import as_subject
from steinlab.testing.reading import same
from steinlab.testing.subject import Levels, SubjectError


@dataclass(frozen=True)
class StepError:
    """One step: its levels, its local error, what is left of it at the end, and its share.

    Errors are root mean squares over states of Euclidean distances; ``share`` is the part of the
    mean square final error along which the contribution points: shares sum to one.
    """

    step: int
    start: float
    end: float
    local: float
    carried: float
    share: float

    def as_json(self) -> dict[str, float]:
        """Return it as JSON."""
        return asdict(self)


@dataclass(frozen=True, eq=False)
class Trace:
    """The steps of a run, its final error and the exact flow's own."""

    name: str
    steps: tuple[StepError, ...]
    total: float
    error: float

    def __str__(self) -> str:
        """Return the table."""
        lines = [
            f"  {one.step:4d} {one.start:14.5g} {one.end:8.4g} {one.local:9.2e} "
            f"{one.carried:9.2e} {100 * one.share:7.1f} %"
            for one in self.steps
        ]
        title = f"{self.name}: final error {self.total:.3e} ± {self.error:.0e}"
        head = "  step     from sigma       to     local   carried    share"
        return "\n".join([title, head, *lines])


def trace(
    target: Any, law: Any, levels: Levels, x: np.ndarray, *, kind: str | None = None
) -> Trace:
    """Trace a run of any sampler from states ``x`` at ``levels[0]`` under an exact law.

    Raises
    ------
    SubjectError
        If the denoiser is not asked once a step at least, at the step's level.

    Examples
    --------
    >>> from analytic import GaussianMixture, NoiseLevel
    >>> law = GaussianMixture([1.0], [[0.0]], 1.0)
    >>> grid = [NoiseLevel(1.0, s) for s in (2.0, 1.0, 0.5)]
    >>> found = trace("euler", law, grid, np.array([[1.0]]))
    >>> len(found.steps), round(sum(one.share for one in found.steps), 12)
    (2, 1.0)
    """
    subject = as_subject(target, kind)
    run = subject.run(law, x, levels)
    states = []
    for i, level in enumerate(levels[:-1]):
        at = [call for call in run.calls if same(call.level, level)]
        if not at:
            raise SubjectError(
                f"{subject.name} must ask at sigma {level.sigma:.4g} of step {i + 1}, it did not"
            )
        states.append(at[-1].state)
    states.append(run.end)
    if not all(np.all(np.isfinite(state)) for state in states):
        raise SubjectError(f"{subject.name} must keep finite states, a state is not a number")
    last, carried, error = levels[-1], [], 0.0
    for state, level in zip(states, levels, strict=True):
        if level is last:
            carried.append(state)
            continue
        flow = exact_flow(law, state, level, last)
        carried.append(flow.state)
        error = max(error, float(np.max(flow.error)))
    whole = run.end - carried[0]
    power = float(np.sum(whole**2)) or 1.0
    steps = []
    for i, (s, t) in enumerate(itertools.pairwise(levels)):
        local = states[i + 1] - exact_flow(law, states[i], s, t).state
        part = carried[i + 1] - carried[i]
        steps.append(
            StepError(
                i + 1,
                float(s.sigma),
                float(t.sigma),
                _size(local),
                _size(part),
                float(np.sum(part * whole)) / power,
            )
        )
    return Trace(subject.name, tuple(steps), _size(whole), error)


def _size(x: np.ndarray) -> float:
    return float(np.sqrt(np.mean(np.sum(x**2, axis=-1))))
