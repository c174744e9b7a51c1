r"""Checks of a data law: its denoiser against its samples, its density and what it states.

False alarms. A sampled check compares means over independent states with 0, within Student's limit
widened for skewness (:mod:`steinlab.verification.significance`): it fails a right law with
probability :data:`steinlab.verification.claim.FAMILY_LEVEL`, 1.25e-6, all its comparisons together,
as far as the mean's law is Student's: ``|x|^2`` of a law with few moments has longer tails. The
others compare to rounding and have none.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.laws import Law, as_law, load_law
from steinlab.testing.components import Found, denoiser_checks, judged
from steinlab.testing.rows import Row
from steinlab.testing.subject import shaped
from steinlab.verification.significance import Mean

SAMPLES = 20_000

RATIOS = (0.05, 0.3, 1.0, 5.0)
"""Noise over signal at which a law is tried, in units of its samples' deviation."""

AXES = 4
"""Coordinates that the regression is tried on: the first ones."""

FEATURES: tuple[Callable[[np.ndarray], np.ndarray], ...] = (
    np.ones_like,
    np.tanh,
    lambda z: np.sin(2 * z),
    np.cos,
)
"""Of a standardised coordinate ``z``: what the residual ``x_star - D(x)`` must not follow."""

EXACT = 1e-9
"""Rounding of what is stated, relative to the law's size."""

SLOPE = 1e-4
"""Step of a central difference in units of ``sigma``: it truncates 1e-8 of a slope, 1e-6 allowed,
and magnifies the rounding of what it differs by 1e4."""


def check_law(
    law: Any, *, samples: int = SAMPLES, seed: int = 0, xfail: Mapping[str, str] | None = None
) -> list[Row]:
    r"""Check a law, a factory of one, or the law of a name.

    ``samples``: shape, finite, the same from the same generator, others from another, neighbours
    and halves of a draw uncorrelated. ``regression``: ``E f(x) (x_star - D(x)) = 0`` for four
    features of up to four coordinates at four levels; it sees an error of D of some 4 % of the
    posterior's deviation. ``tweedie``: ``D = (x + sigma^2 grad log p) / alpha`` by central
    differences. ``score``: ``alpha D = x + sigma^2 score``. ``levels``: ``log p`` follows the heat
    equation, ``d log p / d sigma^2 = (div score + |score|^2) / 2``, and is ``log p(x / alpha, sigma
    / alpha) - d log alpha``. ``normalised``: ``E q(x) / p(x) = 1`` for a normal density ``q``.
    ``mean``, ``second-moment``, ``variance``, ``covariance``: as stated, against samples.
    ``zero-noise``: ``E|x_star - D|^2 <= (sigma / alpha)^2 d``, true of every law, where the noise
    is a thousandth of its size: ``D`` is ``x / alpha`` there. ``pure-noise``: ``D`` is the mean at
    ``alpha = 0``. ``symmetric`` and ``monotone``: ``D'`` is a covariance. Then those of
    ``check_denoiser`` of a denoiser: ``divergence`` and ``jvp`` against differences, dtype, no
    state changed, one level per state.
    What a law does not offer is ``declined``.

    Parameters
    ----------
    law : Law, callable or str
    samples : int
        States of each sampled check, >= 100.
    seed : int
    xfail : mapping, optional
        ``{check: reason}`` of failures that are expected, strict.

    Raises
    ------
    ConformanceError
        Where a check fails; ``.rows`` holds all rows.
    InputError
        For what is no law.

    Examples
    --------
    >>> rows = check_law("circle-2", samples=1000)
    >>> {row.verdict for row in rows}
    {'ok'}
    """
    if samples < 100:
        raise ValueError(f"samples must be >= 100, got {samples}")
    found = load_law(law) if isinstance(law, str) else as_law(law, "law")
    name = law if isinstance(law, str) else str(getattr(law, "__name__", type(law).__name__))
    tried = _Tried(found, name, samples, seed)
    states = tried.data
    size = float(np.sqrt(states.var(axis=0).mean())) or 1.0
    levels = [_level(size * ratio) for ratio in RATIOS]
    checks: dict[str, Callable[[], Found]] = {
        "samples": tried.drawn,
        "regression": lambda: tried.regression(levels),
        "tweedie": lambda: tried.tweedie(levels),
        "score": lambda: tried.score(levels),
        "levels": lambda: tried.between(levels),
        "normalised": lambda: tried.normalised(size),
        "mean": tried.mean,
        "second-moment": tried.second_moment,
        "variance": tried.variance,
        "covariance": tried.covariance,
        "zero-noise": lambda: tried.zero_noise(size),
        "pure-noise": lambda: tried.pure_noise(size),
        "symmetric": lambda: tried.symmetric(levels),
        "monotone": lambda: tried.monotone(levels),
    }
    own = denoiser_checks(found, name, levels, found.dim, spread=size)
    return judged(name, "a law", {**checks, **own}, xfail or {})


def _level(ratio: float) -> NoiseLevel:
    """Return the level of a variance-preserving process: ``alpha`` differs from 1."""
    return NoiseLevel(1 / math.hypot(1, ratio), ratio / math.hypot(1, ratio))


class _Tried:
    def __init__(self, law: Law, name: str, count: int, seed: int):
        self.law, self.name, self.count, self.seed = law, name, count, seed
        self.data = self._draw()
        self.size = float(np.linalg.norm(self.data, axis=1).max())

    def _draw(self, part: int = 0) -> np.ndarray:
        rng, shape = np.random.default_rng([self.seed, part]), (self.count, self.law.dim)
        out = shaped(f"sample of {self.name}", shape, self.law.sample, self.count, rng)
        return out.astype(np.float64)

    def _noised(self, level: NoiseLevel, part: int = 1) -> np.ndarray:
        rng = np.random.default_rng([self.seed, part])
        return np.asarray(level.noised(self.data, rng))

    def _denoised(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        what = f"{self.name} at alpha {level.alpha:.4g}, sigma {level.sigma:.4g}"
        return shaped(what, x.shape, self.law, x, level).astype(np.float64)

    def _density(self, x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        law: Any = self.law
        return shaped(f"log_prob of {self.name}", x.shape[:1], law.log_prob, x, level)

    def _stated(self, name: str, axes: int = 0) -> np.ndarray | None:
        known, shape = getattr(self.law, name, None), (self.law.dim,) * axes
        return None if known is None else shaped(f"{name} of {self.name}", shape, known)

    def drawn(self) -> Found:
        """Finite, and the same from the same generator."""
        if not np.all(np.isfinite(self.data)):
            return False, "not finite"
        if not np.array_equal(self.data, self._draw()):
            return False, "the same generator draws others"
        if np.ptp(self.data) and np.array_equal(self.data, self._draw(10)):
            return False, "another generator draws the same"
        off, half = self.data - self.data.mean(axis=0), self.count // 2
        pairs = (off[:-1:2], off[1::2]), (off[:half], off[half : 2 * half])
        axes = range(min(AXES, self.law.dim))
        products = [np.stack([(a * b)[:, k] for k in axes]) for a, b in pairs]
        worst = max(_excess(rows, 2 * len(rows), self.size**2) for rows in products)
        return worst <= 1, f"{self.count} states" if worst <= 1 else "states depend on others"

    def regression(self, levels: list[NoiseLevel]) -> Found:
        """``E f(x) (x_star - D) = 0``."""
        worst, axes = 0.0, range(min(AXES, self.law.dim))
        for part, level in enumerate(levels):
            x = self._noised(level, 1 + part)
            rest = self.data - self._denoised(x, level)
            z = (x - x.mean(axis=0)) / np.where(x.std(axis=0) > 0, x.std(axis=0), 1.0)
            features = [f(z[:, j]) for f in FEATURES for j in axes]
            products = np.stack([f * rest[:, k] for f in features for k in axes])
            worst = _larger(worst, _excess(products, len(levels) * len(products), self.size))
        return worst <= 1, f"{worst:.2f} of the limit, {len(levels)} levels"

    def tweedie(self, levels: list[NoiseLevel]) -> Found:
        """``D`` against the gradient of ``log p``."""
        if not hasattr(self.law, "log_prob"):
            return None
        worst, density = 0.0, self._density
        for level in levels:
            x = self._noised(level)[:32]
            step, score = SLOPE * level.sigma, np.zeros_like(x)
            for k in range(self.law.dim):
                e = step * np.eye(self.law.dim)[k]
                score[:, k] = (density(x + e, level) - density(x - e, level)) / (2 * step)
            gap = np.abs((x + level.sigma**2 * score) / level.alpha - self._denoised(x, level))
            unit = level.sigma / level.alpha
            rounding = 2.0**-52 * np.abs(density(x, level)).max() / SLOPE
            worst = _larger(worst, gap.max() / (unit * (1e-6 + 8 * rounding)))
        return worst <= 1, f"{worst:.1e} of the tolerance, 1e-6 sigma / alpha"

    def score(self, levels: list[NoiseLevel]) -> Found:
        """``alpha D = x + sigma^2 score``."""
        if not hasattr(self.law, "score"):
            return None
        worst = 0.0
        for level in levels:
            x = self._noised(level)[:32]
            score = shaped(f"score of {self.name}", x.shape, self.law.score, x, level)
            gap = np.abs(x + level.sigma**2 * score - level.alpha * self._denoised(x, level))
            worst = _larger(worst, gap.max() / (np.abs(x).max() + self.size))
        return worst <= EXACT, f"{worst:.0e} from sigma^2 score = alpha D - x"

    def between(self, levels: list[NoiseLevel]) -> Found:
        """``log p`` along a change of ``sigma``, and of both ``alpha`` and ``sigma``."""
        if not hasattr(self.law, "log_prob"):
            return None
        worst, dim = 0.0, self.law.dim
        for level in levels:
            x, step = self._noised(level)[:32], SLOPE * level.sigma
            ends = [
                self._density(x, NoiseLevel(level.alpha, level.sigma + sign * step))
                for sign in (1, -1)
            ]
            slope, trace = (ends[0] - ends[1]) / (2 * step), np.zeros(len(x))
            for k, e in enumerate(step * np.eye(dim)):
                trace += (self._denoised(x + e, level) - self._denoised(x - e, level))[:, k]
            score = (level.alpha * self._denoised(x, level) - x) / level.sigma
            second = (level.alpha * trace / (2 * step) - dim) / level.sigma
            terms = np.stack([second, (score**2).sum(axis=1) / level.sigma])
            scaled = self._density(x / level.alpha, NoiseLevel(1.0, level.ratio))
            plain = self._density(x, level)
            gap = np.abs(scaled - dim * math.log(level.alpha) - plain)
            rounding = 2.0**-52 * (np.abs(plain) + dim * (1 + self.size / level.sigma)).max()
            allowed = 1e-6 * (np.abs(terms).sum(axis=0) + dim / level.sigma)
            allowed += 16 * rounding / step
            off = np.abs(slope - terms.sum(axis=0)) / allowed
            worst = _larger(worst, np.max([off, gap / (64 * rounding + 1e-9)]))
        return worst <= 1, f"{worst:.1e} of the tolerance, 1e-6"

    def normalised(self, size: float) -> Found:
        """``E q / p = 1``, ``q`` the noise around the mean, wide enough that the ratio is small."""
        if not hasattr(self.law, "log_prob"):
            return None
        level = _level(size * math.sqrt(self.law.dim))
        x, centre = self._noised(level), level.alpha * self.data.mean(axis=0)
        far = ((x - centre) ** 2).sum(axis=1) / level.sigma**2
        log_q = -0.5 * far - 0.5 * self.law.dim * math.log(2 * math.pi * level.sigma**2)
        ratio = np.exp(log_q - self._density(x, level))
        worst = _excess(ratio[None] - 1, 1, 1.0)
        return worst <= 1, f"mean ratio {ratio.mean():.4f}, {worst:.2f} of the limit"

    def mean(self) -> Found:
        """As stated."""
        stated = self._stated("mean", 1)
        return None if stated is None else _against((self.data - stated).T, self.size)

    def second_moment(self) -> Found:
        """As stated."""
        stated = self._stated("second_moment")
        if stated is None:
            return None
        return _against(((self.data**2).sum(axis=1) - stated)[None], self.size**2)

    def variance(self) -> Found:
        """As stated, and what second moment and mean give where they are stated too."""
        stated, mean = self._stated("variance"), self._stated("mean", 1)
        if stated is None:
            return None
        moment = self._stated("second_moment")
        if moment is not None and mean is not None:
            gap = abs(float(moment - (mean**2).sum() - stated)) / float(moment)
            return gap <= EXACT, f"{gap:.0e} from second moment less squared mean"
        centre = self.data.mean(axis=0) if mean is None else mean
        return _against((((self.data - centre) ** 2).sum(axis=1) - stated)[None], self.size**2)

    def covariance(self) -> Found:
        """As stated, the first coordinates."""
        stated = self._stated("covariance", 2)
        if stated is None:
            return None
        axes = range(min(AXES, self.law.dim))
        off = self.data - self.data.mean(axis=0)
        products = np.stack([off[:, j] * off[:, k] - stated[j, k] for j in axes for k in axes])
        return _against(products, self.size**2)

    def zero_noise(self, size: float) -> Found:
        """No worse than ``x / alpha``, whose mean square error is ``(sigma / alpha)^2 d``."""
        level = NoiseLevel(0.8, 0.8e-3 * size)
        off = self.data - self._denoised(self._noised(level), level)
        limit = self.law.dim * level.ratio**2
        squares = (off**2).sum(axis=1)
        mean = Mean.of((squares - limit)[None])
        over = float((mean.value / np.maximum(mean.limit(1.0, 1), 1e-300))[0])
        root = math.sqrt(squares.mean() / limit)
        return over <= 1, f"r.m.s. error {root:.2f} of that of x / alpha"

    def pure_noise(self, size: float) -> Found:
        """``D`` is the mean."""
        level, stated = NoiseLevel(0.0, size), self._stated("mean", 1)
        x = size * np.random.default_rng([self.seed, 9]).standard_normal((16, self.law.dim))
        denoised = self._denoised(x, level)
        if stated is None and np.ptp(denoised, axis=0).max() <= EXACT * size:
            return _against((self.data - denoised.mean(axis=0)).T, self.size)
        stated = denoised.mean(axis=0) if stated is None else stated
        gap = float(np.abs(denoised - stated).max()) / (size + float(np.abs(stated).max()))
        return gap <= EXACT, f"{gap:.0e} from the mean"

    def symmetric(self, levels: list[NoiseLevel]) -> Found:
        """``<u, D' v> = <v, D' u>`` by central differences."""
        if self.law.dim == 1:
            return None
        worst = 0.0
        for level in levels:
            x, step = self._noised(level)[:32], SLOPE * level.sigma
            u, v = np.random.default_rng([self.seed, 8]).standard_normal((2, *x.shape))

            def along(t: np.ndarray, x: Any = x, step: Any = step, level: Any = level) -> Any:
                ends = (self._denoised(x + sign * step * t, level) for sign in (1, -1))
                return (next(ends) - next(ends)) / (2 * step)

            left, right = along(v), along(u)
            sizes = [np.linalg.norm(a, axis=1) for a in (u, v, left, right)]
            rounding = 2.0**-52 * np.abs(self.data).max() * math.sqrt(self.law.dim) / step
            allowed = 1e-6 * (sizes[0] * sizes[2] + sizes[1] * sizes[3])
            allowed += 16 * rounding * (sizes[0] + sizes[1])
            gap = np.abs((u * left - v * right).sum(axis=1))
            worst = _larger(worst, (gap / allowed).max())
        return worst <= 1, f"{worst:.1e} of the tolerance, 1e-6"

    def monotone(self, levels: list[NoiseLevel]) -> Found:
        """``<x - y, D(x) - D(y)> >= 0``."""
        least = math.inf
        for level in levels:
            x = self._noised(level)[:2048]
            denoised = self._denoised(x, level)
            for shift in (1, 7):
                dx, dy = x - np.roll(x, shift, axis=0), denoised - np.roll(denoised, shift, axis=0)
                size = np.linalg.norm(dx, axis=1) * np.abs(self.data).max()
                least = -_larger(-least, -((dx * dy).sum(axis=1) / size).min())
        return least >= -EXACT, f"least product {least:.0e} of the sizes"


def _larger(worst: float, found: Any) -> float:
    """Return the larger; what is no number stays."""
    return float(np.maximum(worst, found))


def _excess(values: np.ndarray, cases: int, size: float) -> float:
    """Return the largest mean of rows ``(K, n)`` over its limit at a check's level.

    ``size`` is that of the terms whose differences the values are: their rounding is let pass.
    """
    mean = Mean.of(values)
    limit = mean.limit(mean.value, cases) + max(EXACT * size, 1e-300)
    return float((np.abs(mean.value) / limit).max())


def _against(values: np.ndarray, size: float) -> Found:
    worst = _excess(values, len(values), size)
    return worst <= 1, f"{worst:.2f} of the limit from the samples"
