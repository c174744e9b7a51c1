r"""A data set as a mixture: one equal isotropic component ``N(data_i, b^2 I)`` per row.

With the data centred, ``m_i = data_i - c``, ``u = x - alpha c``, ``v = alpha^2 b^2 + sigma^2``,
responsibilities ``r_i`` are the softmax of ``(alpha u.m_i - alpha^2 |m_i|^2 / 2) / v``. With the
most probable row ``top``,

    shift = sum_{i != top} r_i (m_i - m_top),
    V_atoms = sum_{i != top} r_i |m_i - m_top|^2 - |shift|^2,
    D = c + (sigma^2 / v) (m_top + shift) + (alpha b^2 / v) u,
    V = (sigma^2 / v)^2 V_atoms + d b^2 sigma^2 / v,
    div D = d alpha b^2 / v + (alpha sigma^2 / v^2) V_atoms.

All terms are small when the posterior is nearly one row, so a ``V`` of ``1e-30`` keeps its digits.
"""

import math
from collections.abc import Callable, Iterator
from dataclasses import KW_ONLY, dataclass, field, replace
from typing import Any, NamedTuple

import numpy as np
from array_api_compat import array_namespace, device

from analytic.arrays import Array, as_rows, assign, by_rows, like
from analytic.levels import NoiseLevel
from analytic.posterior import ExactDenoiser
from analytic.rows import Centred, kept, pieces
from analytic.screening import (
    BLOCK,
    Heads,
    Screen,
    all_normal,
    heads,
    least_log,
    rounding,
    weighted,
    without_subnormals,
)

TEMPORARIES = 4
"""Arrays of shape ``(rows, n)`` alive at once in an evaluation."""


class _Atoms(NamedTuple):
    centre: Array  # (d,)
    rows: Array  # (n, d) centred data
    half_norms: Array  # (n,) |m_i|^2 / 2
    size: float  # the largest |m_i|^2
    heads: Heads | None = None  # None where the data are too small to leave rows out

    def only(self, which: Array) -> "_Atoms":
        """Return some of the rows, by booleans ``(n,)``."""
        xp = array_namespace(which)
        places = xp.nonzero(which)[0]
        halves = xp.take(self.half_norms, places, axis=0)
        return self._replace(rows=self.take(places), half_norms=halves)

    def take(self, places: Array) -> Array:
        """Return rows by their places."""
        if isinstance(self.rows, Centred):
            return self.rows[places]
        return array_namespace(places).take(self.rows, places, axis=0)


class Gains(NamedTuple):
    """Numbers of one level: ``mean = noise m + signal u`` for a component's posterior mean."""

    alpha: float
    sigma: float
    v: float  # alpha^2 b^2 + sigma^2
    noise: float  # sigma^2 / v
    signal: float  # alpha b^2 / v


@dataclass(frozen=True, eq=False)
class _Posterior:
    atoms: _Atoms
    gains: Gains
    u: Array  # (N, d) x - alpha c
    terms: Array  # (N, n) probabilities over that of the top row, 0 there
    total: Array  # (N, 1) their sum and 1
    mass: Array  # (N, 1) probability of all rows but the top one
    log_top: Array  # (N,) log responsibility of the top row
    top: Array  # (N, d) the most probable row
    shift: Array  # (N, d) mean of the rows under the responsibilities, less top
    few: bool = False  # of few rows, far below their size

    @property
    def apart(self) -> Iterator[tuple[Array, Array]]:
        """Each row's responsibility, ``(N, 1)``, and the row less top, ``(N, d)``."""
        rows, shares = self.atoms.rows, self.terms / self.total
        return ((shares[:, j : j + 1], rows[j, :] - self.top) for j in range(rows.shape[0]))

    @property
    def steepness(self) -> float:
        """``alpha sigma^2 / v^2``, and 0 where ``v`` is no normal number: a point's posterior."""
        least = float(array_namespace(self.u).finfo(self.u.dtype).smallest_normal)
        gains = self.gains
        return gains.alpha * gains.noise / gains.v if gains.v > least else 0.0


@dataclass(frozen=True, eq=False)
class EmpiricalMixture(ExactDenoiser):
    r"""A data set under the forward process, exact at every noise level, in bounded memory.

    The interface is that of :class:`analytic.mixtures.GaussianMixture`, for one law and levels
    that are numbers. States have shape ``(..., N, d)`` or ``(d,)``; computations run in their
    library, dtype and device, where a copy of the data is kept after the first call.

    A logit carries a rounding error of about ``eps alpha |u| |m_i| / v``, and with it every
    responsibility other than the top one, hence ``V_atoms``, relatively. Rows closer to the top
    one than ``sqrt(eps)`` of their norm (duplicates) add ``eps r_i |m_i|^2`` of noise to it. Where
    ``v`` is below ``eps alpha^2 |m|^2``, the rows that count are few, and their differences from
    the top one are taken one by one: both errors are then ``eps`` of those differences.

    Parameters
    ----------
    data : array (n, d), or analytic.rows.Rows
        Finite, in NumPy; kept in float64 unless ``storage`` says otherwise.
    bandwidth : float
        Standard deviation ``b >= 0`` of every component; 0 makes the law a sum of point masses.
    chunk_bytes : int
        Memory for the temporaries of one chunk of states, > 0.
    left_out : float, optional
        Share in [0, 1) that the rows left out may have of the probability of all rows but the most
        probable one, see :mod:`analytic.screening`; by default half the dtype's epsilon, 0 for
        none. Nothing is left out of small data.
    storage : {"work", "given", "codes"}, optional
        ``work`` keeps a copy of the centred rows in the states' dtype. ``given`` keeps the data as
        they are, a memory map that other processes read, ``codes`` as whole numbers of 8 or 16 bits
        if they lie on a grid, as pictures do. Both convert some rows at a time whenever they are
        used, and find the same but for the order of sums; what ``given`` keeps, or its file, must
        not change meanwhile. By default ``given`` for a memory map, otherwise ``work``. ``data`` is
        then a :class:`analytic.rows.Rows`.

    Raises
    ------
    ValueError
        Naming the field, its value and the requirement; from an evaluation, when the states do not
        fit the data, the level is not one of numbers, or both ``bandwidth`` and ``sigma`` are 0.

    Examples
    --------
    Two points: the denoiser is ``tanh(x / sigma^2)``.

    >>> law = EmpiricalMixture(np.array([[-1.0], [1.0]]))
    >>> bool(abs(law(np.array([0.5]), NoiseLevel(1.0, 1.0))[0] - math.tanh(0.5)) < 1e-15)
    True
    """

    data: np.ndarray = field(repr=False)
    bandwidth: float = 0.0
    _: KW_ONLY
    chunk_bytes: int = 2**28
    left_out: float | None = None
    storage: str | None = None
    centre: np.ndarray = field(init=False, repr=False)
    cache: dict[Any, _Atoms] = field(init=False, repr=False, default_factory=dict)

    def __post_init__(self) -> None:
        data = kept(self.data, self.storage)
        if data.ndim != 2 or 0 in data.shape:
            raise ValueError(f"data must have shape (n, d) with n, d > 0, got {data.shape}")
        if not 0 <= self.bandwidth < math.inf:
            raise ValueError(f"bandwidth must be finite and >= 0, got {self.bandwidth}")
        if self.chunk_bytes <= 0:
            raise ValueError(f"chunk_bytes must be > 0, got {self.chunk_bytes}")
        if self.left_out is not None and not 0 <= self.left_out < 1:
            raise ValueError(f"left_out must be in [0, 1), got {self.left_out}")
        object.__setattr__(self, "data", data)
        centre = (
            data.mean(axis=0)
            if isinstance(data, np.ndarray)
            else sum(piece.sum(axis=0) for piece in pieces(data)) / len(data)
        )
        object.__setattr__(self, "centre", centre)

    @property
    def dim(self) -> int:
        """Dimension ``d`` of the states."""
        return int(self.data.shape[1])

    @property
    def smallest_variance(self) -> float:
        """Variance ``b^2`` of every component; the data may spread more."""
        return float(self.bandwidth) ** 2

    def mean(self) -> np.ndarray:
        """Return ``E[x_star]``, shape ``(d,)``."""
        return self.centre.copy()

    def second_moment(self) -> np.ndarray:
        """Return ``M = E|x_star|^2``, shape ``()``."""
        return self._squares(None)

    def variance(self) -> np.ndarray:
        """Return the total variance ``E|x_star - E[x_star]|^2``, shape ``()``."""
        return self._squares(self.centre)

    def _squares(self, origin: np.ndarray | None) -> np.ndarray:
        """Return ``E|x_star - origin|^2``, from 0 if there is none."""
        parts = (m if origin is None else m - origin for m in pieces(self.data))
        squares = sum(np.einsum("ij,ij->", m, m) for m in parts)
        return np.asarray(squares / len(self.data) + self.dim * self.bandwidth**2)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Draw ``n`` states from the data law, shape ``(n, d)``."""
        rows = self.data[rng.integers(len(self.data), size=n)]
        return rows + self.bandwidth * rng.standard_normal(rows.shape)

    def log_prob(self, x: Array, level: NoiseLevel) -> Array:
        """Return the log density of ``alpha x_star + sigma eps`` at ``x``, shape ``(..., N)``."""

        def read(post: _Posterior) -> tuple[Array]:
            v, off = post.gains.v, post.u - post.gains.alpha * post.top
            distance = array_namespace(off).sum(off**2, axis=-1)
            constant = math.log(len(self.data)) + 0.5 * self.dim * math.log(2 * math.pi * v)
            return (-distance / (2 * v) - post.log_top - constant,)

        return self._evaluate(read, x, level)[0]

    def score(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``grad log p(x) = (alpha E[m | x] - u) / v`` at the level, shape of ``x``."""

        def read(post: _Posterior) -> tuple[Array]:
            alpha = post.gains.alpha
            return ((alpha * post.shift - (post.u - alpha * post.top)) / post.gains.v,)

        return self._evaluate(read, x, level)[0]

    def denoise(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x) = E[x_star | x]``, shape of ``x``."""
        return self._evaluate(lambda post: (_denoised(post),), x, level)[0]

    def moments(self, x: Array, level: NoiseLevel) -> tuple[Array, Array, Array]:
        """Return ``D``, ``div D`` and ``V = tr Cov(x_star | x)`` in one pass."""

        def read(post: _Posterior) -> tuple[Array, Array, Array]:
            gains, spread = post.gains, _spread(post)
            divergence = self.dim * gains.signal + post.steepness * spread
            variance = gains.noise**2 * spread + self.dim * self.smallest_variance * gains.noise
            return _denoised(post), divergence, variance

        denoised, divergence, variance = self._evaluate(read, x, level)
        return denoised, divergence, variance

    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) tangent``; axes of ``tangent`` before those of ``x`` count probes."""
        xp, rows = array_namespace(x), as_rows(x, self.dim)
        shape = np.broadcast_shapes(tangent.shape, x.shape)
        flat = xp.reshape(rows, (-1, self.dim))
        count = math.prod(shape[: len(shape) - x.ndim])
        probes = xp.reshape(xp.broadcast_to(tangent, shape), (count, *flat.shape))

        screen, size = self._plan(flat, level)

        def evaluate(part: Array, tangents: Array) -> tuple[Array]:
            post = self._posterior(part, level, screen)
            columns = [_jvp(post, tangents[i, ...]) for i in range(tangents.shape[0])]
            return (xp.stack(columns, axis=0),)

        return xp.reshape(by_rows(evaluate, size, flat, probes)[0], shape)

    def _evaluate(
        self, read: Callable[[_Posterior], tuple[Array, ...]], x: Array, level: NoiseLevel
    ) -> tuple[Array, ...]:
        """Evaluate ``(N, d)`` chunks of the states and restore their leading axes."""
        xp = array_namespace(x)
        flat = xp.reshape(as_rows(x, self.dim), (-1, self.dim))
        screen, size = self._plan(flat, level)
        outputs = by_rows(lambda rows: read(self._posterior(rows, level, screen)), size, flat)
        return tuple(xp.reshape(out, (*x.shape[:-1], *out.shape[1:])) for out in outputs)

    def _plan(self, x: Array, level: NoiseLevel) -> tuple[Screen | None, int]:
        """Return what leaves rows out for states ``(N, d)``, and the states of a chunk."""
        itemsize = int(array_namespace(x).finfo(x.dtype).bits) // 8
        size = max(1, self.chunk_bytes // (TEMPORARIES * itemsize * len(self.data)))
        screen, gains = self._screen(x, level), self.gains(level)
        if screen is None:
            return None, size
        # differences from the top row, taken one by one, cost as much as rows and states together
        few = gains.v < _resolved(self._atoms(x), gains, x)
        return screen, min(size, BLOCK // 4 if few else BLOCK)

    def _atoms(self, x: Array) -> _Atoms:
        """Return the centred data in the library, dtype and device of ``x``, converted once."""
        key = (array_namespace(x).__name__, str(x.dtype), str(device(x)))
        if key not in self.cache:
            data: Any = self.data
            whole, wide = isinstance(data, np.ndarray), np.empty((0, self.dim))
            rows = data - self.centre if whole else Centred(data, self.centre, wide)
            parts = (m - self.centre for m in pieces(data))
            half_norms = np.concatenate([0.5 * np.einsum("ij,ij->i", m, m) for m in parts])
            atoms = like(rows, x) if whole else Centred(data, self.centre, x)
            centre, halves = (like(one, x) for one in (self.centre, half_norms))
            size, first = 2 * float(half_norms.max()), heads(rows, x)
            self.cache[key] = _Atoms(centre, atoms, halves, size, first)
        return self.cache[key]

    def gains(self, level: NoiseLevel) -> Gains:
        """Return the numbers of a level; raise where both ``bandwidth`` and ``sigma`` are 0."""
        if np.ndim(level.alpha) or np.ndim(level.sigma):
            shapes = f"{np.shape(level.alpha)} and {np.shape(level.sigma)}"
            raise ValueError(f"level must hold numbers, got arrays of shapes {shapes}")
        alpha, sigma, b2 = float(level.alpha), float(level.sigma), self.smallest_variance
        v = alpha**2 * b2 + sigma**2
        if v == 0:
            raise ValueError(f"sigma must be > 0 when bandwidth is 0, got {sigma}")
        return Gains(alpha, sigma, v, sigma**2 / v, alpha * b2 / v)

    def _posterior(self, x: Array, level: NoiseLevel, screen: Screen | None) -> _Posterior:
        xp, gains, atoms = array_namespace(x), self.gains(level), self._atoms(x)
        rate = gains.alpha / gains.v
        u = x - gains.alpha * atoms.centre
        if screen is not None:
            atoms = atoms.only(~xp.all(screen.low(u), axis=0))
        if gains.v < _resolved(atoms, gains, x):
            return _few(atoms, gains, u)
        logits = (rate * u) @ atoms.rows.T
        logits -= (rate * gains.alpha) * atoms.half_norms
        best = xp.argmax(logits, axis=1)
        behind = logits - xp.take_along_axis(logits, best[:, None], axis=1)
        # taking them out costs nearly as much as the exponentials
        subnormal = atoms.heads is not None and not all_normal(behind)
        assign(behind, best, -math.inf)
        terms = xp.exp(behind)
        if subnormal:
            terms = without_subnormals(terms)
        return _given(atoms, gains, u, terms, best, left_out=self._left_out(x))

    def _left_out(self, x: Array) -> float:
        given = self.left_out
        return float(array_namespace(x).finfo(x.dtype).eps) / 2 if given is None else given

    def _screen(self, x: Array, level: NoiseLevel) -> Screen | None:
        """Return what leaves rows out for states ``(N, d)``, or None where most would stay."""
        gains, atoms, left_out = self.gains(level), self._atoms(x), self._left_out(x)
        if atoms.heads is None or 0 in (left_out, gains.alpha, x.shape[0]):
            return None
        scale = gains.v / gains.alpha
        screen = Screen(atoms.heads, atoms.take, atoms.size, gains.alpha, scale, left_out)
        return screen if screen.pays(x - gains.alpha * atoms.centre) else None


def _resolved(atoms: _Atoms, gains: Gains, x: Array) -> float:
    """Return the ``v`` below which logits of far rows no longer tell them apart."""
    return float(array_namespace(x).finfo(x.dtype).eps) * gains.alpha**2 * atoms.size


def _few(atoms: _Atoms, gains: Gains, u: Array) -> _Posterior:
    """Return the posterior far below the size of the rows, of those rows that may count."""
    xp, scale, low = array_namespace(u), gains.v / gains.alpha, least_log(u)
    nearness = u @ atoms.rows.T - gains.alpha * atoms.half_norms
    behind = xp.max(nearness, axis=1, keepdims=True) - nearness
    near = xp.any(behind <= low * scale + rounding(u, atoms.size, gains.alpha), axis=0)
    few = atoms.only(near)
    best = xp.argmax(nearness[:, near], axis=1)
    for _ in range(2):  # from the row that looks nearest, then from the nearest
        chosen, top = best, few.take(best)
        ahead = [
            xp.sum((row - top) * (u - (gains.alpha / 2) * (row + top)), axis=1)
            for row in (few.rows[j, :] for j in range(few.rows.shape[0]))
        ]
        best = xp.argmax(xp.stack(ahead, axis=1), axis=1)
    behind = xp.maximum(-xp.stack(ahead, axis=1), like(0.0, u))
    gone = behind > low * scale
    least = float(xp.finfo(u.dtype).smallest_normal)
    terms = xp.exp(-xp.where(gone, like(0.0, u), behind) / max(scale, least))
    terms = xp.where(gone, like(0.0, u), terms)
    assign(terms, chosen, 0.0)
    post = _given(few, gains, u, terms, chosen)
    shift = sum(share * apart for share, apart in post.apart)
    return replace(post, shift=shift, few=True)


def _given(
    atoms: _Atoms, gains: Gains, u: Array, terms: Array, best: Array, *, left_out: float = 0.0
) -> _Posterior:
    """Return the posterior of the rows' probabilities over that of the best, which is set to 0."""
    xp = array_namespace(u)
    others = xp.sum(terms, axis=1, keepdims=True)
    total, top = 1 + others, atoms.take(best)
    mass, log_top = others / total, -xp.log1p(others[:, 0])
    if atoms.heads is None or not left_out:
        rest = terms @ atoms.rows
    else:
        rest = weighted(terms, atoms.rows, (left_out / terms.shape[1]) * others)
    shift = rest / total - mass * top
    return _Posterior(atoms, gains, u, terms, total, mass, log_top, top, shift)


def _denoised(post: _Posterior) -> Array:
    gains = post.gains
    return post.atoms.centre + gains.noise * (post.top + post.shift) + gains.signal * post.u


def _spread(post: _Posterior) -> Array:
    """Trace of the covariance of the rows under the responsibilities, shape ``(N,)``."""
    xp = array_namespace(post.u)
    if post.few:
        squares = sum(share[:, 0] * xp.sum(apart**2, axis=-1) for share, apart in post.apart)
        return squares - xp.sum(post.shift**2, axis=-1)
    squares = 2 * (post.terms @ post.atoms.half_norms) / post.total[:, 0] - post.mass[
        :, 0
    ] * xp.sum(post.top**2, axis=-1)
    return squares - xp.sum(post.shift * (2 * post.top + post.shift), axis=-1)


def _jvp(post: _Posterior, t: Array) -> Array:
    xp = array_namespace(t)
    if post.few:
        second = sum(
            share * apart * xp.sum(t * apart, axis=-1, keepdims=True) for share, apart in post.apart
        )
    else:
        along = t @ post.atoms.rows.T - xp.sum(t * post.top, axis=-1, keepdims=True)
        weights = post.terms / post.total * along
        second = weights @ post.atoms.rows - xp.sum(weights, axis=1, keepdims=True) * post.top
    between = second - post.shift * xp.sum(post.shift * t, axis=-1, keepdims=True)
    gains = post.gains
    return gains.signal * t + post.steepness * between
