r"""Forward processes, apart from any discretisation.

A process maps its time ``t`` to the noise-to-signal ratio ``s = sigma / alpha`` (the noise level in
EDM coordinates), invertibly, and the ratio to the level ``(alpha, sigma)``:

    VP      alpha = 1 / sqrt(1 + s^2),  sigma = s / sqrt(1 + s^2)
    VE/EDM  alpha = 1,                  sigma = s
    flow    alpha = 1 / (1 + s),        sigma = s / (1 + s)

Two VP processes differ only in their time.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.errors import one_of

COSINE_OFFSET = 0.008
"""Offset of the cosine process (Nichol and Dhariwal, 2021)."""

BETA_MIN, BETA_MAX = 0.1, 20.0
"""Rates of the linear VP process (Song et al., 2021)."""

VE_MIN, VE_MAX = 0.01, 50.0
"""Noise range of the VE process (Song et al., 2021, CIFAR-10)."""

_FAR = 1e300
"""A finite ratio at which the limit at infinity is evaluated."""


def _plain(value: Any) -> Any:
    return value if getattr(value, "ndim", 0) else float(value)


@dataclass(frozen=True)
class Process:
    """A forward process.

    Parameters
    ----------
    name : str
    levels : callable
        ``s -> (alpha, sigma)`` for ratios ``s >= 0``, elementwise.
    ratio : callable
        ``t -> s``, increasing.
    time : callable
        Its inverse.
    rates : callable, optional
        ``(t, level) -> (d alpha / dt, d sigma / dt)``, elementwise; Runge-Kutta methods in the
        process's own time need them.
    t_min, t_max : float
        The customary range of ``t``; grids begin at ``t_max``, end at ``t_min`` or zero noise.
    t_end : float
        The last time there is; the first is 0.

    Examples
    --------
    >>> FLOW.level(0.25)
    NoiseLevel(alpha=0.75, sigma=0.25)
    >>> round(float(VP_LINEAR.time(VP_LINEAR.ratio(0.3))), 12)
    0.3
    """

    name: str
    levels: Callable[[Any], tuple[Any, Any]]
    ratio: Callable[[Any], Any]
    time: Callable[[Any], Any]
    t_min: float
    t_max: float
    rates: Callable[[Any, NoiseLevel], tuple[Any, Any]] | None = None
    t_end: float = math.inf

    def level_at(self, ratio: Any) -> NoiseLevel:
        """Return the level whose ``sigma / alpha`` is ``ratio`` (a number, or an array of them).

        An infinite ratio is ``alpha = 0``, where the process has such a level.

        Examples
        --------
        >>> FLOW.level_at(math.inf), FLOW.level(1.0)
        (NoiseLevel(alpha=0.0, sigma=1.0), NoiseLevel(alpha=0.0, sigma=1.0))
        """
        most = ratio if isinstance(ratio, float) else float(np.max(ratio, initial=0.0))
        if not (most >= 0.0 if isinstance(ratio, float) else bool(np.all(np.asarray(ratio) >= 0))):
            raise ValueError(f"ratio must be >= 0, got {ratio}")
        if most == math.inf:
            return self._without_signal(ratio)
        alpha, sigma = self.levels(ratio)
        return NoiseLevel(_plain(alpha), _plain(sigma))

    def _without_signal(self, ratio: Any) -> NoiseLevel:
        """Levels of ratios some of which are infinite: the limit, ``(0, sigma)``."""
        infinite = np.isinf(ratio)
        alpha, sigma = (np.asarray(v) for v in self.levels(np.where(infinite, _FAR, ratio)))
        if float(np.min(alpha)) > 1 / math.sqrt(_FAR):
            raise ValueError(f"ratio must be finite for {self.name}, whose alpha is 1, got {ratio}")
        return NoiseLevel(_plain(np.where(infinite, 0.0, alpha)), _plain(sigma))

    def level(self, t: Any) -> NoiseLevel:
        """Return the level at time ``t``.

        Raises
        ------
        ValueError
            Outside the process's times.

        Examples
        --------
        >>> VP_LINEAR.level(-0.1)
        Traceback (most recent call last):
        ...
        ValueError: t must be in [0, 1] for vp-linear, got -0.1
        """
        if not np.all((np.asarray(t) >= 0) & (np.asarray(t) <= self.t_end)):
            raise ValueError(f"t must be in [0, {self.t_end:g}] for {self.name}, got {t}")
        return self.level_at(_plain(self.ratio(t)))

    def within(self, least: float, greatest: float) -> Process:
        """Return the process restricted to ratios from ``least`` to ``greatest``.

        Raises
        ------
        ValueError
            If its range has no ratio between them.

        Examples
        --------
        >>> cut = EDM.within(0.05, 148.0)
        >>> cut.ratio_min, cut.ratio_max
        (0.05, 80.0)
        """
        low, high = (float(self.time(ratio)) for ratio in (least, greatest))
        t_min, t_max = max(self.t_min, low), min(self.t_max, high)
        if not t_min < t_max:
            raise ValueError(
                f"schedule must reach sigma/alpha between {least:.4g} and {greatest:.4g}, "
                f"got {self.name} from {self.ratio_min:.4g} to {self.ratio_max:.4g}"
            )
        return dataclasses.replace(self, t_min=t_min, t_max=t_max)

    @property
    def ratio_max(self) -> float:
        """Ratio at ``t_max``."""
        return float(self.ratio(self.t_max))

    @property
    def ratio_min(self) -> float:
        """Ratio at ``t_min``."""
        return float(self.ratio(self.t_min))


def _vp_levels(s: Any) -> tuple[Any, Any]:
    scale = np.hypot(1.0, s)
    return 1.0 / scale, s / scale


def _linear_ratio(t: Any) -> Any:
    return np.sqrt(np.expm1(BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t * t))


def _linear_time(s: Any) -> Any:
    infinite = np.isinf(s)
    if infinite.any():
        return np.where(infinite, math.inf, _linear_time(np.where(infinite, 1.0, s)))
    integral = np.log1p(np.square(s))
    return 2 * integral / (BETA_MIN + np.sqrt(BETA_MIN**2 + 2 * (BETA_MAX - BETA_MIN) * integral))


_TURN = 0.5 * math.pi / (1 + COSINE_OFFSET)
"""Radians per unit of time of the cosine schedule, whose angle is ``turn (t + offset)``."""

_SIN0, _COS0 = math.sin(_TURN * COSINE_OFFSET), math.cos(_TURN * COSINE_OFFSET)


def _cosine_ratio(t: Any) -> Any:
    """``sqrt(cos0^2 - cos^2) / cos`` with ``cos0^2 - cos^2 = sin(a - a0) sin(a + a0)``."""
    apart, total = _TURN * t, _TURN * (t + 2 * COSINE_OFFSET)
    with np.errstate(divide="ignore"):
        ratio = np.sqrt(np.sin(apart) * np.sin(total)) / np.sin(_TURN * (1.0 - t))
    return ratio


def _cosine_time(s: Any) -> Any:
    """The angle less the first: ``tan a = sqrt(sin0^2 + s^2) / cos0``, without a difference."""
    infinite = np.isinf(s)
    if infinite.any():
        return np.where(infinite, 1.0, _cosine_time(np.where(infinite, 1.0, s)))
    root = np.hypot(_SIN0, s)
    return np.arctan2(_COS0 * s * (s / (root + _SIN0)), _COS0**2 + _SIN0 * root) / _TURN


def _ve_levels(s: Any) -> tuple[Any, Any]:
    return (1.0 if isinstance(s, float) else np.ones_like(s, dtype=float)), s


def _flow_ratio(t: Any) -> Any:
    with np.errstate(divide="ignore"):
        return np.divide(t, 1.0 - t)


def _flow_time(s: Any) -> Any:
    infinite = np.isinf(s)
    if infinite.any():
        return np.where(infinite, 1.0, _flow_time(np.where(infinite, 1.0, s)))
    return s / (1.0 + s)


def _vp_rates(drift: Callable[[Any], Any]) -> Callable[[Any, NoiseLevel], tuple[Any, Any]]:
    """Rates where ``alpha' = -drift alpha`` and ``alpha^2 + sigma^2 = 1``."""

    def rates(t: Any, level: NoiseLevel) -> tuple[Any, Any]:
        rate = drift(t)
        return -rate * level.alpha, rate * level.alpha**2 / level.sigma

    return rates


def _linear_drift(t: Any) -> Any:
    return 0.5 * (BETA_MIN + (BETA_MAX - BETA_MIN) * t)


def _cosine_rates(t: Any, level: NoiseLevel) -> tuple[Any, Any]:
    """``alpha' = -turn sin(angle) / cos0``, also at ``alpha = 0``."""
    fall = _TURN * np.sin(_TURN * (t + COSINE_OFFSET)) / _COS0
    return -fall, fall * level.alpha / level.sigma


VP_LINEAR = Process(
    "vp-linear", _vp_levels, _linear_ratio, _linear_time, 1e-3, 1.0, _vp_rates(_linear_drift), 1.0
)
VP_COSINE = Process(
    "vp-cosine", _vp_levels, _cosine_ratio, _cosine_time, 1e-3, 0.9946, _cosine_rates, 1.0
)
VE = Process(
    "ve",
    _ve_levels,
    lambda t: VE_MIN * (VE_MAX / VE_MIN) ** t,
    lambda s: np.log(s / VE_MIN) / math.log(VE_MAX / VE_MIN),
    0.0,
    1.0,
    lambda t, level: (0.0 * t, level.sigma * math.log(VE_MAX / VE_MIN)),
    1.0,
)


def _edm_rates(t: Any, level: NoiseLevel) -> tuple[Any, Any]:  # noqa: ARG001
    return 0.0 * t, 0.0 * t + 1.0


EDM = Process("edm", _ve_levels, lambda t: t, lambda s: s, 0.002, 80.0, _edm_rates)
FLOW = Process(
    "flow",
    lambda s: (1.0 / (1.0 + s), s / (1.0 + s)),
    _flow_ratio,
    _flow_time,
    1e-3,
    1.0 - 1e-3,
    lambda t, level: (0.0 * t - 1.0, 0.0 * t + 1.0),  # noqa: ARG005
    1.0,
)

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {p.name: p for p in (EDM, VE, VP_LINEAR, VP_COSINE, FLOW)}
)
"""Every process by name. The flow's own range ends at ``t = 1 - 1e-3``; a grid may begin at
``t = 1`` (option ``start`` of :func:`steinlab.diffusion.grids.make_grid`)."""


def get_process(process: Process | str) -> Process:
    """Return the process of that name, or a process as it is.

    Raises
    ------
    InputError
        For an unknown name.

    Examples
    --------
    >>> get_process("vp-linear").t_max
    1.0
    """
    if isinstance(process, Process):
        return process
    return PROCESSES[one_of("process", process, PROCESSES)]
