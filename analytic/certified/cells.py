"""Expectations over states, enclosed on many boxes at once: sums over cells of linear forms."""

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np
from scipy.special import ndtr

from analytic.certified.affine import SLIP, Form

REACH = 6.0
"""Where the cells of a normal variable end."""

BEYOND, SQUARE_BEYOND = 2e-9, 7.6e-8
"""Bounds on ``P(|z| > REACH)`` and on ``E[z^2]`` there."""


class Cells(NamedTuple):
    """Cells of a variable, ``(C,)`` each: middles, half their width, and two integrals.

    ``mass`` is a cell's probability, ``first`` its mean of ``z - middle`` times that.
    """

    middles: np.ndarray
    half: float
    mass: np.ndarray
    first: np.ndarray


@cache
def normal_cells(count: int) -> Cells:
    """Return an even number of equal cells."""
    edges = np.linspace(-REACH, REACH, count + 1)
    middles = 0.5 * (edges[:-1] + edges[1:])
    lower = np.diff(ndtr(edges[: count // 2 + 1]))
    mass = np.concatenate((lower, lower[::-1]))
    first = -np.diff(np.exp(-0.5 * edges**2)) / np.sqrt(2 * np.pi) - middles * mass
    return Cells(middles, REACH / count, mass, first)


SUMMED = 1e-12
"""Relative rounding of a sum over at most a thousand cells."""


def on_cells(form: Form) -> Form:
    """Return a form of boxes ``(B,)`` on their cells ``(B, C)``, with room for a part in ``z``."""
    parts = [np.asarray(part)[..., None] for part in form.parts]
    return Form(np.asarray(form.centre)[..., None], [*parts, 0.0], np.asarray(form.rest)[..., None])


def normal_means(integrand: Callable[..., list[Form]], *given: Form, count: int = 96) -> list[Form]:
    """Enclose ``E[f(z, *given)]`` over ``|z| < REACH``, ``z ~ N(0, 1)``, for several ``f``.

    A cell's mean of the part linear in ``z`` is known, so what errs is the curvature in a cell.
    """
    return cell_means(normal_cells(count), integrand, *given)


def cell_means(cells: Cells, integrand: Callable[..., list[Form]], *given: Form) -> list[Form]:
    """Enclose the integrals of several functions over cells."""
    room = [0.0] * len(given[0].parts)
    z = Form(cells.middles, [*room, cells.half * (1 + SLIP)])
    return [_mean(form, cells) for form in integrand(z, *map(on_cells, given))]


def _mean(form: Form, cells: Cells) -> Form:
    *parts, odd = form.parts
    size = np.abs(form.centre) + form.radius
    centre = (cells.mass * form.centre + cells.first / cells.half * odd).sum(-1)
    slip = (SUMMED * cells.mass + SLIP * 1e-2) * size
    made = [(cells.mass * part).sum(-1) for part in parts]
    return Form(centre, made, (cells.mass * form.rest + slip).sum(-1))


def widened(form: Form, by: np.ndarray) -> Form:
    """Return a form whose numbers may lie farther off."""
    return Form(form.centre, form.parts, form.rest + by)
