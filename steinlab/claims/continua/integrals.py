"""Expectations over states, enclosed on many boxes at once: sums over cells of linear forms."""

from collections.abc import Callable

import numpy as np
from scipy.special import ndtr

from analytic.certified.affine import SLIP, Form

CELLS, REACH = 96, 7.0
"""Cells of a normal variable, and where they end."""

EDGES = np.linspace(-REACH, REACH, CELLS + 1)
MIDDLES, HALF = 0.5 * (EDGES[:-1] + EDGES[1:]), REACH / CELLS
_HALVES = np.diff(ndtr(EDGES[: CELLS // 2 + 1]))
MASS = np.concatenate((_HALVES, _HALVES[::-1]))
FIRST = -np.diff(np.exp(-0.5 * EDGES**2)) / np.sqrt(2 * np.pi) - MIDDLES * MASS
"""A cell's probability, and its mean of ``z - middle`` times that."""

BEYOND, SQUARE_BEYOND = 2.6e-12, 1.4e-10
"""Bounds on ``P(|z| > REACH)`` and on ``E[z^2]`` there."""

SUMMED = 4e-14
"""Relative rounding of a sum over cells."""


def on_cells(form: Form) -> Form:
    """Return a form of boxes ``(B,)`` on their cells ``(B, C)``, with room for a part in ``z``."""
    parts = [np.asarray(part)[..., None] for part in form.parts]
    return Form(np.asarray(form.centre)[..., None], [*parts, 0.0], np.asarray(form.rest)[..., None])


def normal_means(integrand: Callable[..., list[Form]], *given: Form) -> list[Form]:
    """Enclose ``E[f(z, *given)]`` over ``|z| < REACH``, ``z ~ N(0, 1)``, for several ``f``.

    A cell's mean of the part linear in ``z`` is known, so what errs is the curvature in a cell.
    """
    room = [0.0] * len(given[0].parts)
    z = Form(MIDDLES, [*room, HALF * (1 + SLIP)])
    return [_mean(form) for form in integrand(z, *map(on_cells, given))]


def _mean(form: Form) -> Form:
    *parts, odd = form.parts
    size = np.abs(form.centre) + form.radius
    centre = (MASS * form.centre + FIRST / HALF * odd).sum(-1)
    slip = (SUMMED * MASS + SLIP * 1e-2) * size
    made = [(MASS * part).sum(-1) for part in parts]
    return Form(centre, made, (MASS * form.rest + slip).sum(-1))


def widened(form: Form, by: np.ndarray) -> Form:
    """Return a form whose numbers may lie farther off."""
    return Form(form.centre, form.parts, form.rest + by)
