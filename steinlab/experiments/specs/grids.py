"""Grids of a specification, with the data's deviation where they ask for it."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import with_data
from steinlab.diffusion.models import Model
from steinlab.diffusion.processes import Process
from steinlab.diffusion.spread import STATES, data_deviation
from steinlab.errors import InputError

NOISIEST = 80.0
"""``sigma / alpha`` where a network's spread is taken on a process that begins at ``alpha = 0``."""


def grid_for(grid: Any, source: Callable[[], Any], process: Process) -> str:
    """Return a grid's canonical name; ``tangent:scale=data`` gets its number.

    Parameters
    ----------
    grid : str, dict or list
    source : callable
        Returns the law or the :class:`~steinlab.diffusion.models.Model`.
    process : Process
        Whose noisiest level shows a network's spread.

    Raises
    ------
    InputError
        If the grid is none, or the source shows no variance there.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> from steinlab.diffusion.processes import EDM
    >>> law = GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.25)
    >>> grid_for("tangent:scale=data", lambda: law, EDM)
    'tangent:scale=1.1180339887498949'
    """

    def deviation() -> float:
        try:
            return _deviation(source(), process)
        except ValueError as error:
            raise InputError(f"grid: scale=data: {error}") from None

    return with_data(grid, deviation)


def _deviation(source: Any, process: Process) -> float:
    law: Any = source.exact_law if isinstance(source, Model) else source
    if hasattr(law, "variance"):
        return math.sqrt(float(law.variance()) / law.dim)
    rng = np.random.default_rng(0)
    level = process.level_at(process.ratio_max if process.ratio_max < math.inf else NOISIEST)
    if isinstance(source, Model):
        return data_deviation(source.denoiser, source.start(level, STATES, rng), level)
    return data_deviation(law, _noised(law, level, rng), level)


def _noised(law: Any, level: NoiseLevel, rng: np.random.Generator) -> np.ndarray:
    return np.asarray(level.noised(law.sample(STATES, rng), rng))
