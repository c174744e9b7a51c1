r"""Hypothesis strategies for property tests of solvers and corrections.

What they draw is what the claims are judged on: exact laws, noise levels of every process, steps,
grids, denoisers with an error of known size, and probe vectors. Everything shrinks: towards one
standard component at 0, short steps near ``sigma = alpha``, and probes of ones.

Needs hypothesis (the extra ``steinlab[strategies]``).
"""

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from hypothesis import strategies as st

from analytic import GaussianMixture, NoiseLevel
from steinlab.diffusion.grids import GRIDS, Grid, make_grid
from steinlab.diffusion.processes import PROCESSES, Process
from steinlab.solvers.base import Solver
from steinlab.solvers.registry import SOLVERS
from steinlab.verification.arguments import HIGHEST_RATIO, LONGEST, LOWEST_RATIO
from steinlab.verification.laws import FARTHEST, LIGHTEST, STDS


def processes() -> st.SearchStrategy[Process]:
    """Draw a forward process: EDM, VE, VP linear, VP cosine or rectified flow."""
    return st.sampled_from(list(PROCESSES.values()))


def solvers() -> st.SearchStrategy[Solver]:
    """Draw a registered solver that takes a single step without history."""
    return st.sampled_from([solver for solver in SOLVERS.values() if solver.depth == 0])


def _log(low: float, high: float) -> st.SearchStrategy[float]:
    """Floats between limits, even in the logarithm, that shrink towards 1."""
    exponents = st.floats(math.log(low), math.log(high))
    return exponents.map(lambda e: min(max(math.exp(e), low), high))


@st.composite
def noise_levels(
    draw: st.DrawFn,
    process: Process | None = None,
    *,
    low: float = LOWEST_RATIO,
    high: float = HIGHEST_RATIO,
) -> NoiseLevel:
    """Draw a level with noise of a process, by default of any.

    Parameters
    ----------
    process : Process, optional
    low, high : float
        Limits of ``sigma / alpha``, ``0 < low <= high``.
    """
    _require(0 < low <= high, "low", low, "in (0, high]")
    return (process or draw(processes())).level_at(draw(_log(low, high)))


@st.composite
def steps(
    draw: st.DrawFn,
    process: Process | None = None,
    *,
    longest: float = LONGEST,
    final_zero: bool = False,
    low: float = LOWEST_RATIO,
    high: float = HIGHEST_RATIO,
) -> tuple[NoiseLevel, NoiseLevel]:
    """Draw ``(s, t)``, from a level to a less noisy one of the same process.

    Parameters
    ----------
    process : Process, optional
    longest : float
        Longest step in ``log(sigma / alpha)``; the shortest is 0.01 of it.
    final_zero : bool
        Whether the step may end at zero noise.
    low, high : float
        Limits of ``sigma / alpha`` at ``s``.
    """
    _require(longest > 0, "longest", longest, "> 0")
    _require(0 < low <= high, "low", low, "in (0, high]")
    chosen = process or draw(processes())
    ratio = draw(_log(low, high))
    if final_zero and draw(st.booleans()):
        return chosen.level_at(ratio), chosen.level_at(0.0)
    length = draw(st.floats(0.01 * longest, longest))
    return chosen.level_at(ratio), chosen.level_at(ratio * math.exp(-length))


@st.composite
def grids(
    draw: st.DrawFn,
    process: Process | None = None,
    *,
    min_steps: int = 1,
    max_steps: int = 10,
    final_zero: bool | None = None,
) -> Grid:
    """Draw a grid from noise to data: any discretisation, ``min_steps`` to ``max_steps`` steps.

    ``final_zero`` says whether it ends at zero noise; by default it may or may not.
    """
    _require(1 <= min_steps <= max_steps, "min_steps", min_steps, "in 1 to max_steps")
    chosen = process or draw(processes())
    name, number = draw(st.sampled_from(list(GRIDS))), draw(st.integers(min_steps, max_steps))
    zero = draw(st.booleans()) if final_zero is None else final_zero
    return make_grid(chosen, name, number, final_zero=zero)


COVARIANCES = ("shared", "scalar", "diagonal", "full")


@st.composite
def mixtures(
    draw: st.DrawFn,
    *,
    dim: int | None = None,
    max_components: int = 4,
    max_mean: float = FARTHEST,
    stds: tuple[float, float] = STDS,
    covariance: str | None = None,
) -> GaussianMixture:
    """Draw a Gaussian mixture: an exact data law, which is also its exact denoiser.

    Parameters
    ----------
    dim : int, optional
        By default 1 to 4.
    max_components : int
        At least 1.
    max_mean : float
        Largest coordinate of a mean, in absolute value.
    stds : tuple of float
        Limits of the standard deviations along the principal axes, ``0 < low <= high``.
    covariance : {"shared", "scalar", "diagonal", "full"}, optional
        By default any.
    """
    _require(max_components >= 1, "max_components", max_components, ">= 1")
    _require(0 < stds[0] <= stds[1], "stds", stds, "(low, high) with 0 < low <= high")
    known = covariance is None or covariance in COVARIANCES
    _require(known, "covariance", covariance, f"one of {', '.join(COVARIANCES)}")
    d = dim or draw(st.integers(1, 4))
    count = draw(st.integers(1, max_components))
    kind = covariance or draw(st.sampled_from(COVARIANCES))

    def array(entries: st.SearchStrategy[float], *shape: int) -> np.ndarray:
        size = math.prod(shape)
        return np.array(draw(st.lists(entries, min_size=size, max_size=size))).reshape(shape)

    weights = array(st.floats(LIGHTEST, 1.0), count)
    means = array(st.floats(-max_mean, max_mean), count, d)
    std = array(_log(*stds), count, d if kind in ("diagonal", "full") else 1)
    variances = std**2
    if kind == "shared":
        variances = np.repeat(variances[:1, 0], count)
    elif kind == "scalar":
        variances = variances[:, 0]
    elif kind == "full":
        turn = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
        axes = np.linalg.qr(turn.standard_normal((count, d, d)))[0] * std[:, None, :]
        variances = axes @ np.swapaxes(axes, -1, -2)
        variances = 0.5 * (variances + np.swapaxes(variances, -1, -2))
    return GaussianMixture(weights / weights.sum(), means, variances)


@dataclass(frozen=True)
class Perturbed:
    r"""A denoiser with an error of known size: ``D(x) + error sin(<w, x> + phase) v``, ``|v| = 1``.

    Its error is at most ``error`` in norm at every state, and its Jacobian is off by
    ``error cos(<w, x> + phase) v w'``, at most ``error |w|``, which is not symmetric: no score has
    such a denoiser.

    Parameters
    ----------
    law : exact denoiser
        With ``divergence`` and ``jvp``.
    error : float
    wave, direction : array (d,)
    phase : float
    """

    law: Any
    error: float
    wave: np.ndarray = field(repr=False)
    direction: np.ndarray = field(repr=False)
    phase: float

    @property
    def dim(self) -> int:
        """Dimension of the states."""
        return len(self.wave)

    def __call__(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Denoise ``(..., d)``."""
        return np.asarray(self.law(x, level) + self._along(np.sin(x @ self.wave + self.phase)))

    def divergence(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        """Return ``div D``, exactly."""
        slope = self.error * np.cos(x @ self.wave + self.phase) * float(self.wave @ self.direction)
        return np.asarray(self.law.divergence(x, level) + slope)

    def jvp(self, x: np.ndarray, level: NoiseLevel, tangent: np.ndarray) -> np.ndarray:
        """Return ``D'(x) v``, exactly."""
        slope = np.cos(x @ self.wave + self.phase) * (tangent @ self.wave)
        return np.asarray(self.law.jvp(x, level, tangent) + self._along(slope))

    def _along(self, size: np.ndarray) -> np.ndarray:
        return np.asarray(self.error * size[..., None] * self.direction)


@st.composite
def denoisers(
    draw: st.DrawFn,
    laws: st.SearchStrategy[GaussianMixture] | None = None,
    *,
    error: float = 0.1,
    frequency: float = 2.0,
) -> Perturbed:
    """Draw a denoiser that is off by at most ``error``, ``.law`` being the exact one.

    Parameters
    ----------
    laws : strategy, optional
        By default :func:`mixtures`.
    error : float
        At least 0; the size drawn, ``.error``, is 0 to this.
    frequency : float
        Largest ``|w|`` of the error's wave, so its slope is at most ``error * frequency``.
    """
    _require(error >= 0, "error", error, ">= 0")
    _require(frequency > 0, "frequency", frequency, "> 0")
    law = draw(laws if laws is not None else mixtures())
    turn = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    wave, direction = turn.standard_normal((2, law.dim))
    size = draw(st.floats(0, error))
    length = draw(st.floats(0, frequency))
    return Perturbed(
        law,
        size,
        length * wave / np.linalg.norm(wave),
        direction / np.linalg.norm(direction),
        draw(st.floats(0, 2 * math.pi)),
    )


MOST_BITS = 2**14
"""Signs that are drawn one by one, and shrink; more come from a drawn seed."""


def probes(shape: tuple[int, ...], *, kind: str = "rademacher") -> st.SearchStrategy[np.ndarray]:
    """Draw probe vectors, or noise: ``rademacher`` signs or ``gaussian`` from a drawn seed.

    Parameters
    ----------
    shape : tuple of int
    kind : {"rademacher", "gaussian"}
    """
    _require(kind in ("rademacher", "gaussian"), "kind", kind, "rademacher or gaussian")
    seeds = st.integers(0, 2**32 - 1)
    if kind == "gaussian":
        return seeds.map(lambda seed: np.random.default_rng(seed).standard_normal(shape))
    size = math.prod(shape)
    if size > MOST_BITS:
        return seeds.map(lambda seed: np.random.default_rng(seed).choice([1.0, -1.0], shape))
    count = -(-size // 8)

    def signs(drawn: bytes) -> np.ndarray:
        bits = np.unpackbits(np.frombuffer(drawn, dtype=np.uint8))[:size]
        return np.asarray(1.0 - 2.0 * bits).reshape(shape)

    return st.binary(min_size=count, max_size=count).map(signs)


@st.composite
def couplings(
    draw: st.DrawFn, law: Any, *, states: int = 64
) -> Callable[[NoiseLevel], tuple[np.ndarray, np.ndarray]]:
    """Draw ``level -> (x, x_star)`` under the forward coupling, ``x = alpha x_star + sigma eps``.

    The noise is the same at every level; ``law`` is what ``x_star`` is sampled from.
    """
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    x_star = law.sample(states, rng)
    eps = rng.standard_normal(x_star.shape)
    return lambda level: (level.noised(x_star, eps), x_star)


def _require(condition: bool, name: str, value: Any, requirement: str) -> None:
    if not condition:
        raise ValueError(f"{name} must be {requirement}, got {value}")
