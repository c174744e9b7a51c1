r"""PFDiff (Wang et al., 2025): a springboard by the last slope, the step by the slope found there.

In ``y = x / alpha``, ``S = sigma / alpha`` its states rest at ``T_0 > T_1 > ...`` and it asks the
denoiser at springboards ``S_i`` between ``T_i`` and ``T_(i+1)`` alone:

    z_i = y_i + (S_i - T_i) e_(i-1),   e_i = (z_i - D(z_i)) / S_i,
    y_(i+1) = y_i + (T_(i+1) - T_i) e_i.

Written for the springboards, at which a grid here has its levels, this is a method of two slopes,

    z_(i+1) = z_i + (S_(i+1) - T_i) e_i + (T_i - S_i) e_(i-1),

with ``T_i = S_i (S_(i-1)/S_i)^R``: a springboard lies at the fraction ``R`` of its step in ``lam``.
PFDiff-k_h has ``R = h/(k + 1)``; its ``k`` is no more than the grid. The first slope, taken where
the run starts, also leads to the first resting state. The last step goes on to the grid's end.

Guarantee (tight, smooth grids): of order two if and only if ``R = 1/2``, else of order one. Two
slopes follow a line if ``T_i - S_i`` is half a step; the weights are then those of Adams-Bashforth
on even steps, to ``O(h)``. So PFDiff-1_1 and 3_2 are of order two, 2_1, 2_2, 3_1 and 3_3 of order
one.
"""

from __future__ import annotations

from analytic import NoiseLevel
from analytic.levels import Scalar
from steinlab.solvers.adams import Quadrature, combining_slopes
from steinlab.solvers.base import LinearMultistep, LinearStep, require_signal
from steinlab.solvers.scalars import has_signal
from steinlab.solvers.single import fraction_of


def _springing(fraction: float) -> Quadrature:
    def quadrature(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> list[Scalar]:  # noqa: ARG001
        now, last = levels
        if not has_signal(last):
            return [0.0]  # a slope infinitely far away
        return [now.ratio ** (1 - fraction) * last.ratio**fraction - now.ratio]

    return quadrature


def pfdiff(name: str) -> LinearMultistep:
    """Return PFDiff with its springboards at the fraction that ``pfdiff@R`` names.

    Examples
    --------
    >>> pfdiff("pfdiff@1/2").order, pfdiff("pfdiff@1/3").order
    (2, 1)
    """
    fraction = 0.5 if name == "pfdiff" else fraction_of(name)
    combined = combining_slopes(_springing(fraction))

    def weights(levels: tuple[NoiseLevel, ...], t: NoiseLevel) -> LinearStep:
        require_signal(name, levels[0])  # the state would rest at alpha = 0 too
        return combined(levels, t)

    return LinearMultistep(name, order=1 + (fraction == 0.5), depth=1, weights=weights)


PFDIFF = pfdiff("pfdiff")
"""PFDiff-1_1 and 3_2."""
