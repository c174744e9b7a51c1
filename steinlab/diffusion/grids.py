"""Grids: discretisations of a process, tuples of levels from noise to data."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.processes import Process, get_process

KARRAS_RHO = 7.0
"""Exponent of Karras et al. (2022), eq. (5)."""

Grid = tuple[NoiseLevel, ...]


def _karras(process: Process, n: int) -> np.ndarray:
    top, bottom = process.ratio_max ** (1 / KARRAS_RHO), process.ratio_min ** (1 / KARRAS_RHO)
    return np.linspace(top, bottom, n) ** KARRAS_RHO


def _logsnr(process: Process, n: int) -> np.ndarray:
    return np.geomspace(process.ratio_max, process.ratio_min, n)


def _time_uniform(process: Process, n: int) -> np.ndarray:
    return np.asarray(process.ratio(np.linspace(process.t_max, process.t_min, n)))


def _quadratic(process: Process, n: int) -> np.ndarray:
    root = np.linspace(process.t_max**0.5, process.t_min**0.5, n)
    return np.asarray(process.ratio(root**2))


GRIDS: Mapping[str, Callable[[Process, int], np.ndarray]] = MappingProxyType(
    {"karras": _karras, "logsnr": _logsnr, "time-uniform": _time_uniform, "quadratic": _quadratic}
)
"""Every discretisation by name: ``(process, n) -> n`` decreasing noise-to-signal ratios."""


def make_grid(process: Process | str, name: str, steps: int, *, final_zero: bool = True) -> Grid:
    """Return the levels of ``steps`` steps, from the process's noisiest level to zero noise.

    Parameters
    ----------
    process : Process or str
        The process, or its name.
    name : str
        ``karras`` (uniform in ``ratio^(1/7)``), ``logsnr`` (uniform in ``log ratio``),
        ``time-uniform`` or ``quadratic`` (uniform in ``t`` or ``sqrt t``).
    steps : int
        At least 1.
    final_zero : bool
        Whether the last level is zero noise, ``(1, 0)``, reached from the process's least noisy
        level (the customary end), or that least noisy level itself.

    Examples
    --------
    >>> [round(level.sigma, 3) for level in make_grid("edm", "karras", steps=3)]
    [80.0, 2.515, 0.002, 0.0]
    """
    process = get_process(process)
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    if name not in GRIDS:
        raise ValueError(f"grid must be one of {', '.join(GRIDS)}, got {name}")
    ratios = GRIDS[name](process, steps if final_zero else steps + 1)
    return given_grid(process, [*ratios, 0.0] if final_zero else list(ratios))


def given_grid(process: Process, ratios: Sequence[float]) -> Grid:
    """Return the levels of a process at the given noise-to-signal ratios, noise first."""
    return require_grid(tuple(process.level_at(float(ratio)) for ratio in ratios))


def require_grid(grid: Sequence[NoiseLevel]) -> Grid:
    """Return the grid as a tuple; raise ``ValueError`` unless it runs from noise to data."""
    if len(grid) < 2:
        raise ValueError(f"grid must hold at least 2 levels, got {len(grid)}")
    for i, (s, t) in enumerate(itertools.pairwise(grid)):
        try:
            require_step(s, t)
        except ValueError as error:
            raise ValueError(f"grid step {i}: {error}") from None
    return tuple(grid)


def require_step(s: NoiseLevel, t: NoiseLevel) -> None:
    """Raise ``ValueError`` unless every step from ``s`` to ``t`` goes towards less noise."""
    if not _everywhere(s.sigma > 0):
        raise ValueError(f"from: sigma must be > 0, got {s.sigma}")
    if not _everywhere(t.ratio < s.ratio):
        raise ValueError(
            f"to must be less noisy than from: sigma/alpha must be < {s.ratio}, got {t.ratio}"
        )


def _everywhere(condition: Any) -> bool:
    """Whether a comparison holds at every case; a plain bool is answered without NumPy."""
    return condition is True or bool(np.all(condition))
