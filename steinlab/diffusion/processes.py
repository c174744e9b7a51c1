r"""Forward processes: how signal and noise are scaled, kept apart from any discretisation.

A process is a time ``t`` mapped to the noise-to-signal ratio ``s = sigma / alpha`` (the noise
level in EDM coordinates, invertible), and a ratio mapped to the level ``(alpha, sigma)``:

    VP      alpha = 1 / sqrt(1 + s^2),  sigma = s / sqrt(1 + s^2)
    VE/EDM  alpha = 1,                  sigma = s
    flow    alpha = 1 / (1 + s),        sigma = s / (1 + s)

Two VP processes differ only in their clock.
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
"""Offset of the cosine schedule (Nichol and Dhariwal, 2021)."""

BETA_MIN, BETA_MAX = 0.1, 20.0
"""Rates of the linear VP schedule (Song et al., 2021)."""

VE_MIN, VE_MAX = 0.01, 50.0
"""Noise range of the VE process (Song et al., 2021, CIFAR-10)."""


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
    t_min, t_max : float
        The customary range of ``t``; grids begin at ``t_max``, end at ``t_min`` or zero noise.

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

    def level_at(self, ratio: Any) -> NoiseLevel:
        """Return the level whose ``sigma / alpha`` is ``ratio`` (a number, or an array of them)."""
        if isinstance(ratio, float):
            allowed = 0.0 <= ratio < math.inf
        else:
            allowed = bool(np.all((np.asarray(ratio) >= 0) & np.isfinite(ratio)))
        if not allowed:
            raise ValueError(f"ratio must be finite and >= 0, got {ratio}")
        alpha, sigma = self.levels(ratio)
        return NoiseLevel(_plain(alpha), _plain(sigma))

    def level(self, t: Any) -> NoiseLevel:
        """Return the level at time ``t``."""
        return self.level_at(_plain(self.ratio(t)))

    def within(self, least: float, greatest: float) -> Process:
        """Return the process on the part of its range with ratios from ``least`` to ``greatest``.

        Raises
        ------
        ValueError
            If its range has no such part.

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
        """Noise-to-signal ratio at ``t_max``."""
        return float(self.ratio(self.t_max))

    @property
    def ratio_min(self) -> float:
        """Noise-to-signal ratio at ``t_min``."""
        return float(self.ratio(self.t_min))


def _vp_levels(s: Any) -> tuple[Any, Any]:
    scale = np.hypot(1.0, s)
    return 1.0 / scale, s / scale


def _linear_ratio(t: Any) -> Any:
    return np.sqrt(np.expm1(BETA_MIN * t + 0.5 * (BETA_MAX - BETA_MIN) * t * t))


def _linear_time(s: Any) -> Any:
    integral = np.log1p(np.square(s))
    return 2 * integral / (BETA_MIN + np.sqrt(BETA_MIN**2 + 2 * (BETA_MAX - BETA_MIN) * integral))


_COS0 = math.cos(0.5 * math.pi * COSINE_OFFSET / (1 + COSINE_OFFSET))


def _cosine_ratio(t: Any) -> Any:
    alpha = np.cos(0.5 * math.pi * (t + COSINE_OFFSET) / (1 + COSINE_OFFSET)) / _COS0
    return np.sqrt((1 - alpha) * (1 + alpha)) / alpha


def _cosine_time(s: Any) -> Any:
    angle = np.arccos(_COS0 / np.hypot(1.0, s))
    return angle * (1 + COSINE_OFFSET) / (0.5 * math.pi) - COSINE_OFFSET


def _ve_levels(s: Any) -> tuple[Any, Any]:
    return (1.0 if isinstance(s, float) else np.ones_like(s, dtype=float)), s


VP_LINEAR = Process("vp-linear", _vp_levels, _linear_ratio, _linear_time, 1e-3, 1.0)
VP_COSINE = Process("vp-cosine", _vp_levels, _cosine_ratio, _cosine_time, 1e-3, 0.9946)
VE = Process(
    "ve",
    _ve_levels,
    lambda t: VE_MIN * (VE_MAX / VE_MIN) ** t,
    lambda s: np.log(s / VE_MIN) / math.log(VE_MAX / VE_MIN),
    0.0,
    1.0,
)
EDM = Process("edm", _ve_levels, lambda t: t, lambda s: s, 0.002, 80.0)
FLOW = Process(
    "flow",
    lambda s: (1.0 / (1.0 + s), s / (1.0 + s)),
    lambda t: t / (1.0 - t),
    lambda s: s / (1.0 + s),
    1e-3,
    1.0 - 1e-3,
)

PROCESSES: Mapping[str, Process] = MappingProxyType(
    {p.name: p for p in (EDM, VE, VP_LINEAR, VP_COSINE, FLOW)}
)
"""Every process by name. The flow starts at ``t = 1 - delta`` with ``delta = 1e-3``."""


def get_process(process: Process | str) -> Process:
    """Return the process of that name; a process is returned as it is.

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
