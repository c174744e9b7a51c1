r"""Steps in the trajectories' arc length, whose first step keeps mean and variance for every law.

In ``z = x / alpha``, ``S = sigma / alpha`` the flow is ``dz/dS = r / S`` with ``r = z - D``. Under
the forward law ``E<z_c, r_c> = S^2 d`` (Stein's identity; ``_c``: minus the mean), and with the
``w`` and ``l`` of :mod:`steinlab.diffusion.spread`, ``E|r_c|^2 = w S^2 d``. The states' root mean
square speed is therefore ``sqrt(w)`` per unit of ``S`` and coordinate. In the arc length ``tau``,
``dtau = sqrt(w) dS``, they move with unit speed:

    dz/dtau = f = r / (S sqrt(w)),   w = S^2 / (l + S^2),   tau = sqrt(l + S^2)  for constant l.

**One velocity** (``unit-speed-1``) is Euler's step in ``tau``:

    z' = z - dtau f,   dtau = sqrt(l + S^2) - sqrt(l + S'^2).

With ``k = S'/S`` it is Euler's step in ``S`` times ``(1 + k) / (1 + sqrt(1 - w (1 - k^2)))``, which
lies in ``[(1 + k)/2, 1]``. Guarantee (tight): from the forward law at ``S`` it reaches the mean and
the total variance of that at ``S'``, for every law. Proof: ``E r = 0``; with ``P = l + S^2``,
``P' = l + S'^2`` and ``dtau f = h r``, ``h = (P - sqrt(P P')) / S^2``,

    E|z'_c|^2 - E|z_c|^2 = -2 h S^2 d + h^2 (S^4 / P) d = (S'^2 - S^2) d.

On ``N(m, c^2 I)``, ``f = (z - m) / sqrt(P)`` is constant along the flow and the step is exact.

**One per principal axis** (``unit-speed-1c``) takes a matrix ``C = S^2 A`` for ``l``: ``A`` is the
symmetric matrix that fits ``D_c = A r_c`` best over the batch, by least squares. Under the forward
law ``E r r' = M`` and ``E D r' = S^2 I - M`` give ``A = S^2 M^-1 - I``, which commutes with ``M``;
the computation above then holds for matrices: mean and *whole covariance* are exact in one step for
every law. On a Gaussian ``D_c = (C / S^2) r_c`` for each state, so that ``d + 1`` states in general
position give ``C`` and the exact map.

**Two and three velocities** (``unit-speed-2``, ``-3``) extrapolate ``f`` by the weights of
Adams-Bashforth on even steps, 3/2, -1/2 and 23/12, -16/12, 5/12, over ``dtau`` with

    l~ = l clip(sqrt(l / l_1), 1/4, 3/2),

``l`` carried on by half a step from that of the level before, ``l_1``. Both are of order two: the
weights are those of even steps, which smooth grids have up to ``O(h)``, and ``l~`` is ``l`` at the
middle up to ``O(h^2)``. The first steps, whose history is short, are of lower order.

At ``S' = 0`` the formulas stay the same: the step leaves the variance ``l``, it does not return
``D``. Up the noise, a step that ends at ``alpha = 0`` is Euler's.

``l`` comes from the batch, which couples its states (``couples_batch``); or from a stored curve
(:class:`Curve`), and then each state is stepped alone. The step is linear in ``D(x)`` and the past
with coefficients from the batch; divergences hold those fixed, which is right up to ``O(1/n)``.
A run depends on ``z`` and ``S`` only: every process takes the same one.
"""

import itertools
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
from array_api_compat import array_namespace

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.spread import centred, seen_variance
from steinlab.errors import InputError, quote
from steinlab.solvers.adams import AB
from steinlab.solvers.base import (
    Candidate,
    Evaluation,
    History,
    LinearStep,
    OneEvaluation,
    combined,
    require_signal,
)
from steinlab.solvers.euler import EULER
from steinlab.solvers.scalars import has_signal
from steinlab.storage import in_file, sealed, write_json
from steinlab.storage.schemas import read_stored

LEAST_FACTOR, MOST_FACTOR = 1 / 4, 3 / 2
"""Range of ``l~ / l``."""

VERSION = 1


@dataclass(frozen=True)
class Curve:
    """``w`` by level, measured once: a model's denoising loss is ``(1 - w) S^2`` per coordinate.

    Parameters
    ----------
    model : str
        What it was measured on.
    states : int
        Number of states per level.
    ratios : tuple of float
        ``S = sigma / alpha``, increasing.
    shares : tuple of float
        ``w`` there, in (0, 1].
    """

    model: str
    states: int
    ratios: tuple[float, ...]
    shares: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.ratios) < 2 or len(self.ratios) != len(self.shares):
            raise InputError("curve must hold two levels or more, and one w for each")
        if not all(0 < a < b < math.inf for a, b in itertools.pairwise(self.ratios)):
            raise InputError("curve: ratios must be positive and increase")
        if not all(0 < w <= 1 for w in self.shares):
            raise InputError(f"curve: w must be in (0, 1], got {quote(list(self.shares))}")

    def variance(self, ratio: Any) -> Any:
        """Return ``l = S^2 (1 - w) / w``, linear in ``log S`` between levels, constant beyond."""
        s, w = np.array(self.ratios), np.array(self.shares)
        found = np.interp(np.log(ratio), np.log(s), s**2 * (1 - w) / w)
        return found if np.ndim(ratio) else float(found)

    def require_model(self, model: str) -> None:
        """Raise ``InputError`` unless the curve belongs to this model or law."""
        if self.model != model:
            raise InputError(f"curve must be of the model {model}, got {self.model}")

    def save(self, file: Path) -> None:
        """Write the curve as JSON."""
        found = {"version": VERSION, "kind": "curve", "model": self.model, "states": self.states}
        write_json(file, sealed({**found, "ratios": self.ratios, "w": self.shares}), indent=1)

    @classmethod
    def load(cls, file: Path, field: str = "curve") -> Self:
        """Read a curve.

        Raises
        ------
        InputError
            If the file is none of this version.
        """
        found = read_stored(file, "curve", field)
        ratios, shares = (tuple(float(v) for v in found[key]) for key in ("ratios", "w"))
        with in_file(file):
            return cls(found["model"], found["states"], ratios, shares)


class Seeing(OneEvaluation):
    """What takes ``l`` from a stored curve, or from the batch."""

    name: str
    curve: Curve | None

    @property
    def couples_batch(self) -> bool:
        """Whether ``l`` comes from the batch."""
        return self.curve is None

    def seen(self, x: Array, denoised: Array, level: NoiseLevel) -> Any:
        """Return ``l``."""
        if self.curve is not None:
            return self.curve.variance(level.ratio)
        return _shown(self.name, seen_variance, _value(x), _value(denoised), level)


@dataclass(frozen=True)
class UnitSpeed(Seeing):
    """Unit speed with one velocity, two or three.

    Parameters
    ----------
    name : str
    order : int
    velocities : int
        1, 2 or 3.
    curve : Curve, optional
        Where ``l`` comes from; by default from the batch.
    """

    name: str
    order: int
    velocities: int
    curve: Curve | None = None
    ends_at_zero: bool = True

    @property
    def depth(self) -> int:
        """Past evaluations: one per earlier velocity."""
        return self.velocities - 1

    def step(
        self, denoiser: Denoiser, x: Array, s: NoiseLevel, t: NoiseLevel, history: History
    ) -> Candidate:
        """Return the step and its residual.

        Raises
        ------
        ValueError
            If ``alpha_s = 0``, or a batch of one state is to show its spread.
        """
        if not has_signal(t):
            return EULER.step(denoiser, x, s, t, ())
        require_signal(self.name, s)
        denoised = denoiser(x, s)
        past = tuple(itertools.takewhile(_shows, history[: self.depth]))
        seen = self.seen(x, denoised, s)
        before = [self.seen(one.state, one.denoised, one.level) for one in past]
        length = _arc(carried(seen, before[0]) if before else seen, s.ratio, t.ratio)
        weights = AB[len(past)]
        own = t.alpha * length * (1 - sum(weights)) * _speed(seen, s.ratio)
        earlier = tuple(
            t.alpha * length * weight * _speed(variance, one.level.ratio)
            for weight, variance, one in zip(weights, before, past, strict=True)
        )
        linear = LinearStep(
            (t.alpha - own) / s.alpha,
            ((s.alpha - t.alpha) + own) / s.alpha,
            (own, *earlier),
            tuple(-c / one.level.alpha for c, one in zip(earlier, past, strict=True)),
        )
        return combined(linear, x, denoised, history)


def begins(solver: Any, level: NoiseLevel) -> bool:
    """Whether a solver can begin at a level: unit speed has no first step from pure noise."""
    return has_signal(level) or not isinstance(solver, (UnitSpeed, UnitSpeedByAxis))


def _shows(entry: Evaluation) -> bool:
    """Whether an evaluation shows a spread: at ``alpha = 0`` every state has the same ``D``."""
    return has_signal(entry.level)


def _shown(name: str, function: Any, x: Array, denoised: Array, level: NoiseLevel) -> Any:
    """Return what a batch shows; name the solver where it shows nothing."""
    try:
        return function(x, denoised, level)
    except ValueError as error:
        raise ValueError(f"{error}, which {name} takes from its batch") from None


def _value(x: Any) -> Any:
    """The states themselves of dual numbers: coefficients have no derivative."""
    return getattr(x, "value", x)


def _arc(seen: Any, before: Any, after: Any) -> Any:
    """``sqrt(l + S^2) - sqrt(l + S'^2)`` without a difference of roots."""
    both = (seen + before**2) ** 0.5 + (seen + after**2) ** 0.5
    return (before - after) * (before + after) / both


def _speed(seen: Any, ratio: Any) -> Any:
    """``1 / (S sqrt(w))``, the factor of ``r`` in ``f``."""
    return (seen + ratio**2) ** 0.5 / ratio**2


def carried(seen: Any, before: Any) -> Any:
    """Return ``l~ = l clip(sqrt(l / l_1), 1/4, 3/2)``; ``l`` where the level before showed none.

    Examples
    --------
    >>> carried(1.0, 4.0), carried(1.0, 0.01), carried(1.0, 0.0)
    (0.5, 1.5, 1.0)
    """
    if isinstance(seen, float):
        share = seen / before if before > 0 else 1.0
        return seen * min(max(share, LEAST_FACTOR**2), MOST_FACTOR**2) ** 0.5
    xp = array_namespace(seen)
    known = before > 0
    one = xp.ones_like(seen)
    share = xp.where(known, seen, one) / xp.where(known, before, one)
    return seen * xp.clip(share, LEAST_FACTOR**2, MOST_FACTOR**2) ** 0.5


@dataclass(frozen=True)
class UnitSpeedByAxis(OneEvaluation):
    """Unit speed with one velocity and an ``l`` of its own along each principal axis.

    Two eigendecompositions of ``(d, d)`` per step.
    """

    name: str = "unit-speed-1c"
    order: int = 1
    depth: int = 0
    ends_at_zero: bool = True
    couples_batch: bool = True

    def step(
        self,
        denoiser: Denoiser,
        x: Array,
        s: NoiseLevel,
        t: NoiseLevel,
        history: History,  # noqa: ARG002
    ) -> Candidate:
        """Return the step and its residual; see :class:`UnitSpeed`."""
        if not has_signal(t):
            return EULER.step(denoiser, x, s, t, ())
        require_signal(self.name, s)
        denoised = denoiser(x, s)
        values = _value(x), _value(denoised)
        variances, axes = _shown(self.name, seen_variances, *values, s)
        before, after = (_flat(level.ratio) for level in (s, t))
        length = _arc(variances, before, after) * _speed(variances, before)
        matrix = (axes * length[..., None, :]) @ _transposed(axes)
        drive = t.alpha * _along(x / s.alpha - denoised, matrix)
        ratio, slack = t.alpha / s.alpha, (s.alpha - t.alpha) / s.alpha
        return Candidate(ratio * x - drive, slack * x + drive, denoised, None, 1)


def _along(rest: Any, matrix: Array) -> Any:
    if getattr(rest, "ndim", 2) <= 3:
        return rest @ matrix
    return (rest.reshape(rest.shape[0], -1) @ matrix).reshape(rest.shape)


def _transposed(a: Array) -> Array:
    return array_namespace(a).linalg.matrix_transpose(a)


def _flat(ratio: Any) -> Any:
    """Drop the axis of states of ``(C, 1, 1)``, for what has one number per coordinate."""
    return ratio[..., 0] if getattr(ratio, "ndim", 0) else ratio


def seen_variances(x: Array, denoised: Array, level: NoiseLevel) -> tuple[Array, Array]:
    """Return the eigenvalues ``(..., d)`` and the eigenvectors, in columns, of ``C = S^2 A``.

    ``A`` minimises ``sum |D_c - A r_c|^2`` among symmetric matrices: ``A M + M A = B + B'`` with
    ``M = sum r_c r_c'`` and ``B = sum D_c r_c'``. It is 0 along axes that the batch does not span,
    up to rounding; eigenvalues below 0, which no posterior covariance has, are taken for 0.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> law, level = GaussianMixture([1.0], [[0.0, 1.0]], [[4.0, 0.25]]), NoiseLevel(1.0, 3.0)
    >>> x = np.array([[1.0, 0.0], [2.0, -1.0], [0.0, 5.0]])
    >>> seen_variances(x, law(x, level), level)[0].round(12)
    array([0.25, 4.  ])
    """
    signal, rest = centred(x, denoised, level)
    if x.ndim > 3:
        signal, rest = (a.reshape(a.shape[0], -1) for a in (signal, rest))
    xp = array_namespace(rest)
    signal = xp.astype(signal, rest.dtype)
    sizes, axes = xp.linalg.eigh(_transposed(rest) @ rest)
    both = _transposed(signal) @ rest
    both = _transposed(axes) @ (both + _transposed(both)) @ axes
    sums = sizes[..., :, None] + sizes[..., None, :]
    least = 4 * sizes.shape[-1] * float(xp.finfo(rest.dtype).eps)
    spanned = sums > least * xp.max(sizes, axis=-1)[..., None, None]
    one = xp.ones_like(sums)
    slope = xp.where(spanned, both, 0 * one) / xp.where(spanned, sums, one)
    values, turned = xp.linalg.eigh(slope)
    return _flat(level.ratio) ** 2 * xp.where(values > 0, values, 0 * values), axes @ turned


UNIT_SPEED: tuple[Any, ...] = (
    UnitSpeed("unit-speed-1", 1, 1),
    UnitSpeedByAxis(),
    UnitSpeed("unit-speed-2", 2, 2),
    UnitSpeed("unit-speed-3", 2, 3),
)
