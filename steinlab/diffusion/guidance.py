r"""Guidance and thresholding: denoisers made of denoisers.

``guided(cond, uncond, w)`` is ``D = D_u + w (D_c - D_u)``: ``w = 1`` is the conditional denoiser,
``w = 0`` the unconditional one, ``w > 1`` guides. (Some write ``1 + w`` for it.) Denoised states,
eps, v and velocities at one ``x`` are affine in each other, so the same ``w`` serves them all.

A guided denoiser is no posterior mean, nor is one whose states are rescaled: it carries ``guided =
True``, which corrections that rest on
the law's identity look at. Stein's identity needs no law of the denoiser's, so Theorem 4.7 stays
exact for it (the claim ``guided-coefficient``).

References
----------
Ho and Salimans, "Classifier-free diffusion guidance", 2022.
Lin, Liu, Li and Yang, "Common diffusion noise schedules and sample steps are flawed", 2024, 3.4.
Kynkaanniemi et al., "Applying guidance in a limited interval improves sample and distribution
quality in diffusion models", 2024.
Karras et al., "Guiding a diffusion model with a bad version of itself", 2024.
Saharia et al., "Photorealistic text-to-image diffusion models with deep language understanding"
(Imagen), 2022, 2.3.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.arrays import Array, like, namespace
from steinlab.diffusion.denoisers import (
    Denoiser,
    HasDivergence,
    HasJvp,
    HasVjp,
    of_states,
    picture_axes,
)


@dataclass(frozen=True)
class Guided:
    """``D_u + w(level) (D_c - D_u)``; see :func:`guided`."""

    cond: Any
    uncond: Any
    w: float
    interval: tuple[float, float] = (0.0, math.inf)
    rescale: float = 0.0

    @property
    def guided(self) -> bool:
        """Whether it is another field than the conditional denoiser."""
        return self.w != 1.0

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture, where the conditional denoiser states it; else empty."""
        return tuple(getattr(self.cond, "shape", ()))

    @property
    def on(self) -> Callable[[str], Guided] | None:
        """``device -> Guided`` with both parts there, where both are networks; else None."""
        if not all(hasattr(part, "on") for part in (self.cond, self.uncond)):
            return None
        return lambda device: replace(
            self, cond=self.cond.on(device), uncond=self.uncond.on(device)
        )

    def of_states(self, states: slice) -> Guided:
        """Return the same guidance of some of the states."""
        parts = (of_states(part, states) for part in (self.cond, self.uncond))
        return replace(self, cond=next(parts), uncond=next(parts))

    def weight(self, level: NoiseLevel, x: Array) -> Any:
        """Return ``w`` within the interval, 1 outside: a number, or one a state."""
        low, high = self.interval
        inside = np.asarray((level.ratio >= low) & (level.ratio <= high))
        if inside.all() or not inside.any():
            return self.w if inside.all() else 1.0
        return like(np.where(inside, self.w, 1.0), x)

    def _mixed(self, cond: Array, uncond: Array, w: Any) -> Array:
        return uncond + w * (cond - uncond)

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Denoise; outside the interval by the conditional denoiser alone."""
        w = self.weight(level, x)
        cond = self.cond(x, level)
        if not np.ndim(w) and w == 1.0:
            return cond
        out = self._mixed(cond, self.uncond(x, level), w)
        if not self.rescale:
            return out
        own = _coordinates(x, self)
        ratio = _ratio(_deviation(cond, own), _deviation(out, own))
        return out * (1 + self.rescale * (ratio - 1))


class _Product(Guided):
    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) v``: of the parts; the deviations' own derivatives where it rescales."""
        w = self.weight(level, x)
        along = self.cond.jvp(x, level, tangent)
        out = self._mixed(along, self.uncond.jvp(x, level, tangent), w)
        if not self.rescale:
            return out
        cond = self.cond(x, level)
        y = self._mixed(cond, self.uncond(x, level), w)
        own = _coordinates(x, self)
        (a, da), (b, db) = _moved_deviation(cond, along, own), _moved_deviation(y, out, own)
        ratio = _ratio(a, b)
        slope = _ratio(da, b) - ratio * _ratio(db, b)
        return out * (1 + self.rescale * (ratio - 1)) + self.rescale * slope * y


class _Reverse(_Product):
    def vjp(self, x: Array, level: NoiseLevel, cotangent: Array) -> Array:
        """Return ``D'(x)' v``."""
        cond, uncond = (part.vjp(x, level, cotangent) for part in (self.cond, self.uncond))
        return self._mixed(cond, uncond, self.weight(level, x))


class _Exact(_Product):
    def divergence(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``div D``, exact: the formula is linear in the parts."""
        w = self.weight(level, x)
        cond, uncond = (part.divergence(x, level) for part in (self.cond, self.uncond))
        return self._mixed(cond, uncond, w[..., 0] if np.ndim(w) else w)


class _ExactReverse(_Exact, _Reverse):
    pass


def guided(
    cond: Denoiser,
    uncond: Denoiser,
    w: float,
    *,
    rescale: float = 0.0,
    interval: tuple[float, float] = (0.0, math.inf),
) -> Guided:
    r"""Return classifier-free guidance, ``D = D_u + w (D_c - D_u)``; ``w = 1`` is ``cond``.

    What both parts know is passed on: ``divergence``, ``jvp`` and ``vjp``, exact. With ``rescale``
    the formula is no longer linear: ``jvp`` alone is passed on.

    Parameters
    ----------
    cond, uncond : Denoiser
    w : float
        Guidance weight, finite.
    rescale : float
        ``phi`` of Lin et al., in [0, 1]: ``D (1 + phi (std(D_c) / std(D) - 1))``, deviations over
        the coordinates of each state, two or more. Here it acts on denoised states; theirs acts on
        what the network predicts. A state whose ``D`` has no deviation is left as it is.
    interval : tuple of float
        ``sigma / alpha`` at which it guides, ends included; elsewhere ``D = D_c``, at the price of
        one evaluation.

    Raises
    ------
    ValueError
        Naming the argument, its value and the requirement.

    Examples
    --------
    >>> cond, uncond = (lambda x, level: 0.5 * x), (lambda x, level: 0.1 * x)
    >>> x, level = np.array([[1.0, 2.0]]), NoiseLevel(1.0, 1.0)
    >>> guided(cond, uncond, 2.0)(x, level)
    array([[0.9, 1.8]])
    >>> guided(cond, uncond, 2.0, rescale=1.0)(x, level)
    array([[0.5, 1. ]])
    """
    if not (_is_number(w) and math.isfinite(w)):
        raise ValueError(f"w must be finite, got {w}")
    if not (_is_number(rescale) and 0 <= rescale <= 1):
        raise ValueError(f"rescale must be in [0, 1], got {rescale}")
    ends = interval if isinstance(interval, tuple | list) and len(interval) == 2 else (1.0, 0.0)
    if not (all(map(_is_number, ends)) and 0 <= ends[0] < ends[1]):
        raise ValueError(f"interval must be (low, high) with 0 <= low < high, got {interval}")
    low, high = ends
    parts = (cond, uncond)
    product = all(isinstance(part, HasJvp) for part in parts)
    exact = product and not rescale and all(isinstance(part, HasDivergence) for part in parts)
    reverse = product and not rescale and all(isinstance(part, HasVjp) for part in parts)
    kinds = {(False, False): _Product, (True, False): _Exact, (False, True): _Reverse}
    made = kinds.get((exact, reverse), _ExactReverse) if product else Guided
    return made(cond, uncond, float(w), (float(low), float(high)), float(rescale))


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float | np.number)


def autoguidance(
    model: Denoiser, weaker: Denoiser, w: float, *, interval: tuple[float, float] = (0.0, math.inf)
) -> Guided:
    """Return a model guided by a weaker version of itself: :func:`guided`, ``w = 1`` the model."""
    return guided(model, weaker, w, interval=interval)


def is_guided(denoiser: Any) -> bool:
    """Whether a denoiser says that it is guided, or scaled: no law has it as its posterior mean."""
    return bool(getattr(denoiser, "guided", False))


def _coordinates(y: Array, denoiser: Any) -> tuple[int, ...]:
    """Return the axes of a state, counted from the end: the last of rows, all of pictures."""
    if axes := picture_axes(y, denoiser):
        return axes
    return (-1,) if y.ndim <= 3 else tuple(range(1 - y.ndim, 0))


def _deviation(y: Array, own: tuple[int, ...]) -> Array:
    return _moved_deviation(y, 0.0 * y, own)[0]


def _moved_deviation(y: Array, tangent: Array, own: tuple[int, ...]) -> tuple[Array, Array]:
    """Return the deviation over a state's coordinates, and its derivative along tangents of y."""
    xp = namespace(y)
    if math.prod(y.shape[axis] for axis in own) < 2:
        raise ValueError(f"x must have 2 coordinates or more to rescale, got {tuple(y.shape)}")
    off = y - xp.mean(y, axis=own, keepdims=True)
    size = xp.sqrt(xp.mean(off * off, axis=own, keepdims=True))
    return size, _ratio(xp.mean(off * tangent, axis=own, keepdims=True), size, empty=0.0)


def _ratio(a: Array, b: Array, *, empty: float = 1.0) -> Array:
    """Return ``a / b``, and ``empty`` where ``b`` is 0."""
    xp = namespace(b)
    some = b > 0
    safe = xp.where(some, b, xp.ones_like(b))
    return xp.where(some, a / safe, empty * xp.ones_like(a / safe))


@dataclass(frozen=True)
class Thresholded:
    """``D`` clipped; see :func:`thresholded`."""

    denoiser: Any
    bound: float
    percentile: float | None = None

    @property
    def guided(self) -> bool:
        """Whether no law has it as its posterior mean: the denoiser within, or states rescaled."""
        return self.percentile is not None or is_guided(self.denoiser)

    @property
    def shape(self) -> tuple[int, ...]:
        """Of one picture, where the denoiser within states it; else empty."""
        return tuple(getattr(self.denoiser, "shape", ()))

    def of_states(self, states: slice) -> Thresholded:
        """Return the same of some of the states."""
        return replace(self, denoiser=of_states(self.denoiser, states))

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Denoise and clip."""
        y = self.denoiser(x, level)
        xp = namespace(y)
        if self.percentile is None:
            return xp.clip(y, -self.bound, self.bound)
        batch = y.ndim - len(_coordinates(y, self))
        flat = xp.reshape(xp.abs(y), (*y.shape[:batch], -1))
        edge = _quantile(flat, self.percentile)
        edge = xp.maximum(edge, self.bound * xp.ones_like(edge))
        edge = xp.reshape(edge, (*y.shape[:batch], *(1,) * (y.ndim - batch)))
        return xp.minimum(xp.maximum(y, -edge), edge) * (self.bound / edge)


class _StaticJvp(Thresholded):
    def jvp(self, x: Array, level: NoiseLevel, tangent: Array) -> Array:
        """Return ``D'(x) v``, 0 where it is clipped."""
        y, out = self.denoiser(x, level), self.denoiser.jvp(x, level, tangent)
        return namespace(y).where(namespace(y).abs(y) <= self.bound, out, 0.0 * out)


def thresholded(
    denoiser: Denoiser, *, bound: float = 1.0, percentile: float | None = None
) -> Thresholded:
    r"""Return a denoiser whose states are kept within ``[-bound, bound]``.

    Static: coordinates are clipped. Dynamic (Imagen's), with a ``percentile``: a state is clipped
    to ``[-s, s]`` and multiplied by ``bound / s``, ``s`` the percentile of its ``|D|`` or ``bound``
    if that is larger. Clipping passes ``jvp`` on; dynamic thresholding declines derivatives.

    Clipping is a projection: of data within the bound it leaves an exact denoiser as it is, and
    brings any other nearer. Dynamic thresholding scales whole states, and what it gives is no law's
    posterior mean: it carries ``guided = True``.

    Parameters
    ----------
    denoiser : Denoiser
    bound : float
        > 0.
    percentile : float, optional
        In (0, 100]; interpolated between coordinates as NumPy does.

    Examples
    --------
    >>> x, level = np.array([[0.5, -4.0, 1.0]]), NoiseLevel(1.0, 1.0)
    >>> thresholded(lambda x, level: x)(x, level)
    array([[ 0.5, -1. ,  1. ]])
    >>> thresholded(lambda x, level: x, percentile=100)(x, level)
    array([[ 0.125, -1.   ,  0.25 ]])
    """
    if not 0 < bound < math.inf:
        raise ValueError(f"bound must be finite and > 0, got {bound}")
    if percentile is not None and not 0 < percentile <= 100:
        raise ValueError(f"percentile must be in (0, 100], got {percentile}")
    static = percentile is None and isinstance(denoiser, HasJvp)
    return (_StaticJvp if static else Thresholded)(denoiser, float(bound), percentile)


def _quantile(values: Array, percentile: float) -> Array:
    """Return the percentile over the last axis, interpolated linearly."""
    xp = namespace(values)
    at = percentile / 100 * (values.shape[-1] - 1)
    below = min(int(at), values.shape[-1] - 1)
    above, share = min(below + 1, values.shape[-1] - 1), at - below
    ordered = xp.sort(values, axis=-1)
    return (1 - share) * ordered[..., below] + share * ordered[..., above]


def classes(law: GaussianMixture, labels: Sequence[Hashable]) -> dict[Hashable, GaussianMixture]:
    """Return the exact law of each class of a mixture whose components have labels.

    The mixture itself is the unconditional law: ``guided(classes(law, labels)[c], law, w)`` is
    exact guidance towards the class ``c``.

    Parameters
    ----------
    law : GaussianMixture
        A single one.
    labels : sequence
        One a component.

    Raises
    ------
    ValueError
        For a stack, another number of labels, or a class of no weight.

    Examples
    --------
    >>> law = GaussianMixture([0.25, 0.25, 0.5], [-1.0, 0.0, 2.0], 0.1)
    >>> {label: one.weights.tolist() for label, one in classes(law, "aab").items()}
    {'a': [0.5, 0.5], 'b': [1.0]}
    """
    if law.weights.ndim > 1:
        raise ValueError(f"law must be single, got a stack of shape {law.weights.shape[:-1]}")
    if len(labels) != len(law.weights):
        raise ValueError(f"labels must be {len(law.weights)}, one a component, got {len(labels)}")
    out: dict[Hashable, GaussianMixture] = {}
    whole = law.covariances
    for label in dict.fromkeys(labels):
        kept = np.array([one == label for one in labels])
        share = law.weights[kept].sum()
        if not share > 0:
            raise ValueError(f"labels must name classes of some weight, got none for {label!r}")
        covariances = whole if np.ndim(whole) == 0 else whole[kept]
        out[label] = GaussianMixture(law.weights[kept] / share, law.means[kept], covariances)
    return out
