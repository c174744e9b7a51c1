r"""Runs up the noise, from data: the probability flow the other way (inversion).

The flow is an ordinary differential equation, so each solver follows it in either direction, with
``h = lam_t - lam_s < 0``: its formulas, its order and its number of evaluations stay. What differs
is where errors go. In ``y = x / alpha``, ``e = sigma / alpha`` the flow is ``dy/de = (y - D) / e``:
towards data it spreads states over the modes, towards noise it brings them together.

Nothing is approximated beside the step. DDIM inversion is often said to evaluate the network at the
wrong state: an upward step would invert the *discrete* downward one only if it took the denoiser at
the state where it arrives, which it does not know. The explicit step that is taken is Euler's on
the same flow, off by ``O(h)`` from the flow and so by ``O(h)`` from the downward run.

A run down the same levels after one up them is a round trip. Say a one-step method of order ``p``
errs by ``c h^(p+1) + O(h^(p+2))`` in a step; the step back, of length ``-h``, errs by
``c (-h)^(p+1)``. Summed over both ways, the errors of even order ``p`` cancel but for the next:

    one way  O(h^p)        round trip  O(h^p) for odd p,  O(h^(p+1)) for even p,

so that a round trip flatters a solver of even order. The exact flow does not
(:func:`analytic.flow.exact.exact_flow`, :func:`steinlab.solvers.reference_flow.follow`).
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid, require_grid
from steinlab.estimates import Estimate
from steinlab.metrics import rms_distance
from steinlab.solvers.base import Solver
from steinlab.solvers.loop import Progress, Solution, in_rows, solve
from steinlab.solvers.plans import Plan
from steinlab.solvers.scalars import has_noise


def upwards(grid: Sequence[NoiseLevel], first: NoiseLevel | None = None) -> Grid:
    """Return a grid's levels from data to noise, with ``first`` in place of zero noise.

    Raises
    ------
    ValueError
        If the grid does not run from noise to data; if it ends at zero noise and ``first`` is not
        given, or the other way round; if
        ``first`` has no noise, or is not less noisy than the grid's first level.

    Examples
    --------
    >>> levels = [NoiseLevel(1.0, sigma) for sigma in (4.0, 1.0, 0.0)]
    >>> [level.sigma for level in upwards(levels, NoiseLevel(1.0, 0.1))]
    [0.1, 1.0, 4.0]
    """
    last = require_grid(grid)[-1]
    if first is None:
        if not has_noise(last):
            raise ValueError(
                f"grid must end above zero noise, where the flow's time log(sigma) begins, got "
                f"sigma {last.sigma}: state the first level of noise (first), or leave the end out"
            )
        return tuple(reversed(grid))
    if has_noise(last):
        raise ValueError(
            f"first must be left out where the grid ends above zero noise, at sigma {last.sigma}, "
            f"got {first}"
        )
    if not (
        isinstance(first, NoiseLevel) and has_noise(first) and np.all(first.ratio < grid[0].ratio)
    ):
        raise ValueError(
            f"first must have noise, and less than the grid's first level, {grid[0]}, got {first}"
        )
    return (first, *(one for one in reversed(grid) if np.all(one.ratio > first.ratio)))


def invert(
    denoiser: Denoiser,
    x: Array,
    grid: Sequence[NoiseLevel],
    solver: Solver | Plan | str,
    *,
    first: NoiseLevel | None = None,
    progress: Progress | None = None,
    keep_trajectory: bool = False,
) -> Solution:
    """Run a solver up the noise, over a grid that is given as for sampling.

    Parameters
    ----------
    denoiser : Denoiser
    x : array
        States at ``grid[-1]``; any array library.
    grid : sequence of NoiseLevel
        From noise to data; it is walked backwards. The noisiest level may be ``alpha = 0``, where
        the last step is of first order but for Runge-Kutta methods in the process's time.
    solver : Solver, Plan or str
        As for :func:`steinlab.solvers.loop.solve`; a plan's first solver takes the first step up.
    first : NoiseLevel, optional
        The first level of noise, where the grid ends at zero: ``x`` is clean, and ``alpha x`` is
        taken for its state there, less noisy levels being left out. That holds ``y = x / alpha``
        fixed from zero noise to ``e = sigma / alpha`` and is off by ``e^2 |score| / 2`` to leading
        order, where the law is smooth on the scale of ``e``.
    progress : callable, optional
    keep_trajectory : bool
        Whether to keep the states, those at the least noisy level first.

    Returns
    -------
    Solution
        ``state`` at ``grid[0]``.

    Raises
    ------
    ValueError
        As :func:`upwards` and :func:`steinlab.solvers.loop.solve`.
    NonFiniteStateError
        If a state turns non-finite.

    Examples
    --------
    The flow of a standard normal law scales by the deviations.

    >>> import math
    >>> from analytic import GaussianMixture
    >>> from steinlab.diffusion.grids import make_grid
    >>> law = GaussianMixture([1.0], [0.0], 1.0)
    >>> grid = make_grid("edm", "karras", steps=64, final_zero=False)
    >>> end = invert(law, np.array([[1.0]]), grid, "dpmpp-3s").state
    >>> float(end[0, 0].round(1)), round(math.hypot(1.0, 80.0), 1)
    (80.0, 80.0)
    """
    walk = upwards(grid, first)
    start: Any = x if first is None else first.alpha * x
    return solve(
        denoiser,
        start,
        walk,
        solver,
        progress=progress,
        keep_trajectory=keep_trajectory,
        towards="noise",
    )


def round_trip(
    denoiser: Denoiser, x: Array, grid: Sequence[NoiseLevel], solver: Solver | Plan | str
) -> Estimate:
    """Return the root mean square distance of states to where up and down again leads them.

    It tells whether a run can be undone, not how well it follows the flow: see this module. On a
    grid that ends at zero noise the way up begins at the level before. The metric ``round_trip`` of
    ``steinlab compare`` is that of end states.

    Parameters
    ----------
    denoiser, x, grid, solver
        As for :func:`invert`, two states or more.

    Examples
    --------
    >>> from analytic import GaussianMixture
    >>> from steinlab.diffusion.grids import make_grid
    >>> law = GaussianMixture([1.0], [0.0], 1.0)
    >>> grid = make_grid("edm", "karras", steps=64, final_zero=False)
    >>> round_trip(law, np.array([[1.0], [-1.0]]), grid, "heun").value < 0.01
    True
    """
    down = there_and_back(denoiser, x, grid, solver)
    return rms_distance(*(_plain(in_rows(states, denoiser)) for states in (x, down)))


def there_and_back(
    denoiser: Denoiser, x: Array, grid: Sequence[NoiseLevel], solver: Solver | Plan | str
) -> Array:
    """Return where up and down again leads states; arguments as for :func:`round_trip`."""
    first, up = None, solver
    if not has_noise(grid[-1]):
        first = grid[-2]
        up = replace(up, solvers=up.solvers[:-1]) if isinstance(up, Plan) else up
    noise = invert(denoiser, x, grid, up, first=first).state
    return solve(denoiser, noise, grid, solver).state


def _plain(x: Any) -> np.ndarray:
    return np.asarray(x.detach().cpu() if hasattr(x, "detach") else x)
