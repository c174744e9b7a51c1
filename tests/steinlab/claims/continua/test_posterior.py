"""The moments of two modes: against quadrature, and what encloses them against points."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.integrate import quad

from analytic.certified.affine import Form, bounds, jets, sides, square
from steinlab.claims.continua.posterior import ORDERS, between, moment, moments, posterior, spread


def integrated(mu: float, order: int) -> float:
    """``E[sech^{2n}(mu Y)]`` as it is defined, over ``Y ~ N(mu, 1)``."""

    def integrand(y: float) -> float:
        sech = np.exp(-np.logaddexp(mu * y, -mu * y) + np.log(2))
        return float(np.exp(-0.5 * (y - mu) ** 2) * sech ** (2 * order))

    return (
        float(quad(integrand, mu - 12, mu + 12, points=[0.0], epsabs=1e-14, limit=400)[0])
        / (2 * np.pi) ** 0.5
    )


@pytest.mark.parametrize("order", range(1, ORDERS + 1))
def test_moments_are_what_they_say(order: int) -> None:
    mu = np.array([0.0, 0.03, 0.4, 1.0, 2.5, 6.0])
    values, errors = moments(mu)
    exact = np.array([integrated(one, order) for one in mu.tolist()])
    assert np.abs(values[order - 1] - exact).max() < 1e-11
    assert (np.abs(values[order - 1] - exact) <= errors[order - 1] + 1e-12).all()


def boxes(width: float) -> tuple[np.ndarray, np.ndarray]:
    low = np.r_[0.0, 1e-3, np.linspace(0.05, 10, 40)][:, None]
    return low, low + width


ENCLOSED = {
    "E_1": (lambda mu: moment(mu, 1), lambda mu: moments(mu)[0][0]),
    "E_2": (lambda mu: moment(mu, 2), lambda mu: moments(mu)[0][1]),
    "mu^2 Q": (spread, lambda mu: mu * mu * moments(mu)[0][0]),
}


@pytest.mark.parametrize("name", ENCLOSED)
@pytest.mark.parametrize("width", [30.0, 1.0, 0.1, 1e-3])
@pytest.mark.parametrize("ended", [False, True])
def test_a_form_holds_every_point_along_its_line(name: str, width: float, ended: bool) -> None:
    """Not only between its bounds: beside ``centre + part e`` by at most its rest."""
    function, value = ENCLOSED[name]
    low, high = boxes(width)
    form = function(*sides(low, high, ended=ended))
    least, most = bounds(form)
    for share in np.linspace(0, 1, 9):
        exact = value((low + (high - low) * share)[:, 0])
        slip = 1e-11 * (1 + high[:, 0] ** 2)
        assert (least - slip <= exact).all()
        assert (exact <= most + slip).all()
        line = form.centre + form.parts[0] * (2 * share - 1)
        assert (np.abs(exact - line) <= form.rest + slip).all()


def test_what_it_leaves_is_of_second_order() -> None:
    """Half the curvature, at most 2 and 4, times the square of half the width; and half of that."""
    for order, curve in ((1, 2.0), (2, 4.0)):
        form = moment(*sides(*boxes(0.02)), order)
        assert (form.rest <= 0.5 * curve * 0.01**2 * 1.2).all()


def test_wide_forms_are_no_wider_than_what_falls() -> None:
    low, high = boxes(30.0)
    [mu] = sides(low, high, ended=True)
    for order, (least, most) in enumerate(between(low[:, 0], high[:, 0])[:2], start=1):
        under, over = bounds(moment(mu, order))
        assert (under >= least).all()
        assert (over <= most).all()
    assert (bounds(spread(mu))[1] <= 2 / np.e + 1e-12).all()


@pytest.mark.parametrize("function", [posterior, spread])
def test_slopes_are_derivatives(function: Callable[[Any], Any]) -> None:
    at = np.linspace(0.1, 5, 20)[:, None]
    [jet] = jets(at, at + 1e-12, ended=True)
    found = function(jet).slopes[0].centre
    step = 1e-5
    quotient = (
        function(*sides(at + step, at + step)).centre
        - function(*sides(at - step, at - step)).centre
    ) / (2 * step)
    assert found == pytest.approx(quotient, abs=1e-6)


def test_a_number_so_far_off_that_no_table_holds_it() -> None:
    far = Form(np.array([200.0]), [np.array([150.0])], 0.0, (np.array([50.0]), np.array([350.0])))
    assert 0 <= bounds(posterior(far))[1] <= 1e-15
    assert bounds(square(far) * posterior(far))[1] < 1e-9
