r"""What a subject is judged on: laws, grids and exact answers, all drawn from one seed.

Seed 0 has the laws and ranges below; others vary them. Everything measured is a function of the
subject and the seed, so that a stored case replays.

Gaussian data. With ``D(x) = m + a (x - alpha m)``, ``a = alpha l / (alpha^2 l + sigma^2)``, per
coordinate with an eigenvalue ``l`` of its own, the flow is ``alpha' m + gain (x - alpha m)`` in
closed form; one run judges every eigenvalue.

Orders. The slope in base 2 of the errors of runs of ``n``, ``2 n``, ``4 n`` steps; its own error is
how far it moves when all are doubled. An error below ``100`` times the reference's own, or the
rounding ``size * eps * n``, is not read.
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow, gaussian_gain
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import Process
from steinlab.testing import noise
from steinlab.testing.reading import Reading, read
from steinlab.testing.subject import LEAST, Denoise, Levels, Run, Subject, SubjectError

EPS = {"float64": 2.0**-53, "float32": 2.0**-24}
"""Half a unit in the last place."""

ORDER_TOLERANCE = 0.2
"""Distance below the expected order at which a subject fails, as in the laboratory's own tests."""

CLEAR = 100.0
"""How far an error must stand above the reference's own, so that its slope is off by 0.03 at
most."""

MEAN = 0.7
"""Mean of the Gaussian laws, along every coordinate."""

GRIDS: dict[str, Callable[[float], Callable[[np.ndarray], np.ndarray]]] = {
    "even": lambda _bend: lambda u: u,
    "uneven": lambda bend: lambda u: u + bend * u * (1 - u),
}
"""How the share of the way in ``log ratio`` depends on the step's number, by name of the grid."""


@dataclass(frozen=True)
class Declared:
    """What the author says of a subject; each is checked where it is said."""

    order: int | None = None
    evaluations: int | None = None
    returns_denoised: bool | None = None
    ends_at_zero: bool = True
    law: bool = False


class Order(NamedTuple):
    """An observed order, its own error, and the errors that it was read from by steps."""

    value: float
    error: float
    errors: dict[int, float]


@dataclass(eq=False)
class Trimmed:
    """A subject that only ends at zero noise, read where its last step begins.

    Its runs go one step further, to zero; the end is the state that the denoiser is given at the
    level asked for.
    """

    inner: Subject

    def __getattr__(self, name: str) -> Any:
        return getattr(self.inner, name)

    def run(
        self, denoiser: Denoise, x: np.ndarray, levels: Levels, *, dtype: str = "float64"
    ) -> Run:
        """Run to zero noise and return the state at ``levels[-1]``."""
        from steinlab.testing.reading import same

        if levels[-1].sigma == 0:
            return self.inner.run(denoiser, x, levels, dtype=dtype)
        longer = (*levels, NoiseLevel(1.0, 0.0))
        done = self.inner.run(denoiser, x, longer, dtype=dtype)
        at = [k for k, call in enumerate(done.calls) if same(call.level, levels[-1])]
        if not at:
            raise SubjectError(
                f"{self.name} must ask at the grid's last level with noise, it did not"
            )
        return Run(done.calls[at[-1]].state, done.calls[: at[-1]], done.dtype)


@dataclass(eq=False)
class Bench:
    """A subject on its way through the checks.

    Parameters
    ----------
    subject : Subject
    declared : Declared
    seed : int
    process : Process, optional
        One of the subject's, by default its first.
    """

    subject: Subject
    declared: Declared = field(default_factory=Declared)
    seed: int = 0
    process: Process | None = None
    stage: str = ""

    def __post_init__(self) -> None:
        rng = np.random.default_rng(self.seed)
        vary = 0.0 if self.seed == 0 else 1.0
        self.process = self.process or self.subject.processes[0]
        self.top = float(1.0 * math.exp(vary * rng.uniform(-0.2, 0.3)))
        self.bottom = float(0.3 * math.exp(vary * rng.uniform(-0.2, 0.2)))
        self.wide = (10.0 * math.exp(vary * rng.uniform(-0.5, 0.5)), 0.1)
        self.bend = float(0.4 + vary * rng.uniform(-0.15, 0.15))
        shift = vary * rng.uniform(-0.2, 0.2, 4)
        stds = np.array([0.3, 0.5]) ** 0.5 * np.exp(shift[:2])
        means = np.array([-1.0, 1.5]) + shift[2:]
        self.line = GaussianMixture(np.array([0.4, 0.6]), means, stds**2)
        spread = np.exp(vary * rng.uniform(-0.2, 0.2, 6))
        self.eigenvalues = np.geomspace(0.05, 4.0, 6) * spread

    @cached_property
    def ends_at_zero(self) -> bool:
        """Whether it is to be run to zero noise: unless it is declared, or made, to end above."""
        if not self.declared.ends_at_zero:
            return False
        if self.asks_at_zero:
            return False
        own = self.subject.own_grid(10)
        return bool(getattr(self.subject, "ends_at_zero", True)) and not (own and own[-1].sigma > 0)

    @cached_property
    def asks_at_zero(self) -> bool:
        """Whether it asks for the velocity at zero noise, as general ODE solvers do."""
        if self.subject.kind != "velocity":
            return False
        levels = self.grid("uneven", 6, zero=True)
        run = self.subject.run(self.line, self.line_states(levels[0]), levels)
        return any(np.any(call.level.sigma <= LEAST) for call in run.calls)

    # levels

    def at(self, ratio: float) -> NoiseLevel:
        """Return the process's level of a ratio."""
        assert self.process is not None
        return self.process.level_at(float(ratio))

    def grid(self, name: str, steps: int, wide: bool = False, zero: bool = False) -> Grid:
        """Return a grid by name, from the top ratio to the bottom one or on to zero noise."""
        top, bottom = self.wide if wide else (self.top, self.bottom)
        inner = steps - 1 if zero else steps
        share = GRIDS[name](self.bend)(np.linspace(0.0, 1.0, inner + 1))
        ratios = top * (bottom / top) ** share
        return tuple(self.at(r) for r in (*ratios, *((0.0,) if zero else ())))

    def alternating(self, steps: int) -> Grid:
        """Return steps in ``log ratio`` of lengths 1, 3, 2, 1, ..., none like its neighbours."""
        lengths = np.resize([1.0, 3.0, 2.0], steps)
        share = np.concatenate([[0.0], np.cumsum(lengths)]) / lengths.sum()
        return tuple(self.at(r) for r in self.top * (self.bottom / self.top) ** share)

    def graded(self, h: float) -> Grid:
        """Return steps of ``h^3, 2 h^3, 4 h^3, ...`` up to ``h``, then ``h``, in ``log ratio``."""
        total = math.log(self.top / self.bottom)
        steps: list[float] = []
        step = h**3
        while sum(steps) + step < total:
            steps.append(step)
            step = min(2 * step, h)
        steps.append(total - sum(steps))
        if steps[-1] < 0.5 * h and len(steps) > 1:
            last = steps.pop()
            steps[-1] += last
        lam = np.concatenate([[0.0], np.cumsum(steps)])
        return tuple(self.at(r) for r in self.top * np.exp(-lam))

    # runs

    @cached_property
    def above(self) -> Subject:
        """The subject on grids that end above zero noise, trimmed if it cannot stop there."""
        levels = self.grid("uneven", 12, wide=True)
        if not self.ends_at_zero or not self._overshoots(levels):
            return self.subject
        trimmed: Any = Trimmed(self.subject)
        return trimmed if self._reaches(trimmed, levels) else self.subject

    def _overshoots(self, levels: Grid) -> bool:
        """Whether it ends at zero noise wherever the grid ends; a scheduler may stop on the way."""
        sigma = self.carried(self.subject, levels)[1][-1][1]
        free = self.subject.kind == "scheduler" and self.draws == "none"
        return bool(abs(sigma) < 1e-6 or (free and abs(sigma / levels[-1].sigma - 1) > 1e-3))

    def _reaches(self, subject: Subject, levels: Grid) -> bool:
        try:
            end = self.carried(subject, levels)[1][-1]
        except SubjectError:
            return False
        return bool(np.all(np.abs(end - (levels[-1].alpha, levels[-1].sigma)) < 1e-3))

    def carried(self, subject: Subject, levels: Levels) -> tuple[Run, np.ndarray]:
        """Run one-point data; return the run and what each call's state, the end last, carries.

        With data and noise as two coordinates, ``x = (alpha, sigma)`` and ``D = (1, 0)``: the state
        at a level is that level.
        """
        signs = [1.0, -1.0] if self.couples_batch else [1.0]
        start = np.array([[levels[0].alpha, sign * levels[0].sigma] for sign in signs])

        def constant(x: np.ndarray, _level: NoiseLevel) -> np.ndarray:
            return np.eye(1, x.shape[1]) + 0.0 * x

        drawn = self.draws == "answered"
        run = (noise.probed if drawn else _plainly)(subject, constant, start, levels)
        rows = np.concatenate([*(call.state[:1] for call in run.calls), run.end[:1]])
        sigmas = np.linalg.norm(rows[:, 1:], axis=1) if drawn else rows[:, 1]
        return run, np.stack([rows[:, 0], sigmas], axis=1)

    @cached_property
    def reading(self) -> Reading | None:
        """The coefficients of a run of twelve uneven steps."""
        return self.read(self.grid("uneven", 12, wide=True))

    def read(self, levels: Grid) -> Reading | None:
        """Read the coefficients over a grid that ends above zero, those of any draws left out."""
        if self.draws == "answered":
            with noise.answered(noise.Probes(0)):
                return read(self.above, levels)
        return None if self.stochastic or self.couples_batch else read(self.above, levels)

    @property
    def couples_batch(self) -> bool:
        """Whether the subject says that a state's step depends on the others of its batch."""
        return bool(getattr(self.subject, "couples_batch", False))

    @cached_property
    def draws(self) -> str:
        """Whose numbers it draws: ``none``, ``answered`` by the kit, or of its ``own`` source."""
        levels, x = self.grid("uneven", 8), np.linspace(-1.0, 1.0, 6)[:, None]

        def once(seed: int | None) -> np.ndarray:
            if seed is None:
                return self.subject.run(self.line, x, levels).end
            with noise.answered(noise.Seeded(seed)):
                return self.subject.run(self.line, x, levels).end

        def same(a: int | None, b: int | None) -> bool:
            return np.array_equal(once(a), once(b), equal_nan=True)

        if same(1, 2):
            return "none" if same(None, None) else "own"
        return "answered" if same(1, 1) else "own"

    @property
    def stochastic(self) -> bool:
        """Whether it is judged by law: it draws what the kit answers, or is declared to draw."""
        return self.draws == "answered" or (self.declared.law and self.draws == "own")

    @cached_property
    def adaptive(self) -> bool:
        """Whether it chooses its own steps: fourfold levels cost less than twofold calls."""
        counts = []
        for steps in (8, 32):
            levels = self.grid("uneven", steps)
            x = self.line_states(levels[0])
            counts.append(len(self.subject.run(self.line, x, levels).calls))
        return counts[1] < 2 * counts[0]

    @property
    def takes_tolerance(self) -> bool:
        """Whether it has parameters that mean a tolerance."""
        return bool(getattr(self.subject, "tolerances", ()))

    @property
    def spent(self) -> str:
        """What a run of eight levels errs by and costs, for an adaptive subject."""
        levels = self.grid("uneven", 8)
        x = self.gaussian_states(levels[0])
        run = self.subject.run(self.gaussian, x, levels)
        gap = float(np.max(np.abs(run.end - self.gaussian_end(x, levels[0], levels[-1]))))
        return f"error {gap:.0e} with {len(run.calls)} evaluations"

    @cached_property
    def eps(self) -> float:
        """Half a unit of the precision that it works in, told by the error on one-point data."""
        levels = self.grid("uneven", 12, wide=True)
        run, carried = self.carried(self.above, levels)
        if run.dtype == "float32":
            return EPS["float32"]
        gap = float(np.max(np.abs(carried[-1] - (levels[-1].alpha, levels[-1].sigma))))
        single = 1e-12 < gap < 64 * EPS["float32"] * self.wide[0]
        return EPS["float32"] if single else EPS["float64"]

    @cached_property
    def calls_per_step(self) -> float:
        """Denoiser calls per step on the uneven grid."""
        levels = self.grid("uneven", 12, wide=True)
        return len(self.carried(self.above, levels)[0].calls) / 12

    # exact answers

    def gaussian(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Denoise under the Gaussian law, an eigenvalue per coordinate."""
        values = self.eigenvalues[: x.shape[-1]]
        a = level.alpha * values / (level.alpha**2 * values + level.sigma**2)
        return np.asarray(MEAN + a * (x - level.alpha * MEAN))

    def gaussian_states(self, level: NoiseLevel) -> np.ndarray:
        """Return the mean and a state one deviation off, ``(2, d)``."""
        deviation = np.sqrt(level.alpha**2 * self.eigenvalues + level.sigma**2)
        return np.asarray(level.alpha * MEAN + np.array([0.0, 1.0])[:, None] * deviation)

    def gaussian_end(self, x: np.ndarray, s: NoiseLevel, t: NoiseLevel) -> np.ndarray:
        """Return where the flow takes states, in closed form."""
        gain = gaussian_gain(self.eigenvalues, s, t)
        return np.asarray(t.alpha * MEAN + gain * (x - s.alpha * MEAN))

    def gaussian_error(self, subject: Subject, levels: Levels) -> np.ndarray:
        """Return the error of a run on Gaussian data per eigenvalue, in deviations at the end."""
        x = self.gaussian_states(levels[0])
        end = subject.run(self.gaussian, x, levels).end
        t = levels[-1]
        exact = self.gaussian_end(x, levels[0], t)
        return np.asarray(
            np.max(np.abs(end - exact), axis=0)
            / np.sqrt(t.alpha**2 * self.eigenvalues + t.sigma**2)
        )

    def line_states(self, level: NoiseLevel) -> np.ndarray:
        """Return states on the line that the mixture's mass is about, ``(9, 1)``."""
        return np.asarray(level.alpha * np.linspace(-2.0, 2.0, 9)[:, None])

    def line_error(self, subject: Subject, levels: Grid) -> float:
        """Return the root mean square error of a run on the two-mode mixture."""
        x = self.line_states(levels[0])
        exact, _ = self._line_end(levels[0], levels[-1])
        return float(np.sqrt(np.mean((subject.run(self.line, x, levels).end - exact) ** 2)))

    def _line_end(self, s: NoiseLevel, t: NoiseLevel) -> tuple[np.ndarray, float]:
        return _flow_end(self.line, s, t)

    def plane_error(self, subject: Subject, levels: Grid) -> float:
        """Return the root mean square error of a run on the mixture in the plane."""
        x = levels[0].alpha * PLANE_STATES
        exact, _ = _flow_end(PLANE, levels[0], levels[-1])
        return float(np.sqrt(np.mean((subject.run(PLANE, x, levels).end - exact) ** 2)))

    # orders

    def floor(self, steps: int) -> float:
        """Return the rounding of a run of so many steps: a unit per step and term."""
        return float(4 * self.eps * steps**0.5 * self.top + 1e-15)

    def order(self, errors: dict[int, float], floors: dict[int, float]) -> Order | None:
        """Return the slope of the last three errors clear of the floor, if there are three."""
        good = [n for n, e in sorted(errors.items()) if math.isfinite(e) and e > CLEAR * floors[n]]
        if len(good) < 3:
            return None
        a, b, c = good[-3:]
        first, last = (
            math.log(errors[p] / errors[q]) / math.log(q / p) for p, q in ((a, b), (b, c))
        )
        return Order(last, abs(last - first), {n: errors[n] for n in good})


def _plainly(subject: Subject, denoiser: Denoise, start: np.ndarray, levels: Levels) -> Run:
    return subject.run(denoiser, start, levels)


PLANE = GaussianMixture(
    np.array([0.3, 0.7]),
    np.array([[-1.0, 0.3], [0.8, -0.5]]),
    np.array([[[0.5, 0.2], [0.2, 0.4]], [[0.3, -0.1], [-0.1, 0.6]]]),
)
"""A law in the plane whose modes' axes do not agree."""

PLANE_STATES = np.array([[-1.5, 1.0], [-0.4, -1.2], [0.3, 0.8], [1.1, -0.2], [2.0, 1.5]])


@lru_cache(maxsize=64)
def _flow_end(law: GaussianMixture, s: NoiseLevel, t: NoiseLevel) -> tuple[np.ndarray, float]:
    x = s.alpha * (PLANE_STATES if law is PLANE else np.linspace(-2.0, 2.0, 9)[:, None])
    flow = exact_flow(law, x, s, t, rtol=1e-12) if law is PLANE else exact_flow(law, x, s, t)
    return flow.state, float(np.max(flow.error))
