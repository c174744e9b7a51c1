"""One point of the forward process."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

Scalar = Any
"""A Python float, or an array of floats that broadcasts against states (a stack of cases)."""


@dataclass(frozen=True)
class NoiseLevel:
    r"""Noise level of the forward coupling ``x = alpha x_star + sigma eps``.

    Parameters
    ----------
    alpha : float or array
        Signal scale, in [0, 1]; 0 is pure noise. An array has as many axes as the states, the last
        of length 1 (:func:`require_fit`): a stack of ``C`` cases of ``N`` states in ``d``
        dimensions, ``(C, N, d)``, takes ``(C, 1, 1)``; one level per state is ``(N, 1)``.
    sigma : float or array
        Noise scale, finite and >= 0, and > 0 where ``alpha = 0``.

    Raises
    ------
    ValueError
        If a value is outside its range, naming it.

    Examples
    --------
    >>> NoiseLevel(1.0, 0.5).ratio
    0.5
    >>> NoiseLevel(1.0, -0.5)
    Traceback (most recent call last):
    ...
    ValueError: sigma must be finite and >= 0, got -0.5
    """

    alpha: Scalar
    sigma: Scalar

    def __post_init__(self) -> None:
        if isinstance(self.alpha, int | float) and isinstance(self.sigma, int | float):
            alpha_ok, sigma_ok = 0.0 <= self.alpha <= 1.0, 0.0 <= self.sigma < math.inf
            nothing = self.alpha == 0.0 == self.sigma
        else:
            alpha, sigma = np.asarray(self.alpha), np.asarray(self.sigma)
            alpha_ok = bool(((alpha >= 0) & (alpha <= 1)).all())
            sigma_ok = bool(((sigma >= 0) & (sigma < math.inf)).all())
            nothing = bool(((alpha == 0) & (sigma == 0)).any())
        if not alpha_ok:
            raise ValueError(f"alpha must be in [0, 1], got {self.alpha}")
        if not sigma_ok:
            raise ValueError(f"sigma must be finite and >= 0, got {self.sigma}")
        if nothing:
            raise ValueError(f"sigma must be > 0 where alpha is 0, got {self.sigma}")

    def noised(self, data: Any, noise: Any) -> Any:
        """Return ``alpha x_star + sigma eps``, states at the level.

        Parameters
        ----------
        data : array (..., N, d)
            States of the data law.
        noise : numpy Generator or array
            A generator that draws ``eps``, for states in NumPy, or ``eps`` itself.

        Examples
        --------
        >>> NoiseLevel(0.5, 0.0).noised(np.array([[2.0]]), np.random.default_rng(0))
        array([[1.]])
        """
        if isinstance(noise, np.random.Generator):
            noise = noise.standard_normal(np.shape(data))
        return self.alpha * data + self.sigma * noise

    @property
    def ratio(self) -> Scalar:
        """Noise level in EDM coordinates, ``sigma / alpha``; infinite at ``alpha = 0``."""
        if getattr(self.alpha, "ndim", 0):
            with np.errstate(divide="ignore"):
                return self.sigma / self.alpha
        return self.sigma / self.alpha if self.alpha else math.inf

    @property
    def lam(self) -> Scalar:
        """Half log signal-to-noise ratio ``log(alpha / sigma)``; infinite at either zero."""
        with np.errstate(divide="ignore"):
            lam = np.log(self.alpha) - np.log(self.sigma)
        return lam if np.ndim(lam) else float(lam)


def require_fit(level: NoiseLevel, shape: tuple[int, ...]) -> None:
    """Raise unless a level's arrays fit states of a shape: one level per case or per state.

    Broadcasting alone would read ``(N,)`` as levels of the coordinates where ``N = d``.

    Raises
    ------
    ValueError
        Unless ``alpha`` and ``sigma`` are numbers, or arrays of the states' axes that end in 1 and
        broadcast to their shape; it names both shapes.

    Examples
    --------
    >>> require_fit(NoiseLevel(1.0, np.ones((5, 1))), (5, 2))
    >>> require_fit(NoiseLevel(1.0, np.ones(2)), (2, 2))
    Traceback (most recent call last):
    ...
    ValueError: sigma must be a number or (2, 1), up to ones, for states (2, 2), got (2,)
    """
    if type(level.alpha) is float and type(level.sigma) is float:
        return  # at once: runs of few states ask a hundred thousand times
    for name, value in (("alpha", level.alpha), ("sigma", level.sigma)):
        own, most = np.shape(value), (*shape[:-1], 1)
        if own and (
            len(own) != len(most) or any(n not in (1, m) for n, m in zip(own, most, strict=True))
        ):
            raise ValueError(
                f"{name} must be a number or {most}, up to ones, for states {shape}, got {own}"
            )
