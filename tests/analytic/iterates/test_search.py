"""The search for branches, its cost, and the breaks and sizes of the distances' integrals.

Each check of a cell is tried alone, on cells that pass the others, just below and just above its
bound; a search that costs more steps than its order allows fails by the number of its calls.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from scipy.stats import norm

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates import distances
from analytic.iterates.branches import LineJet, _unresolved, covers, find_branches, invert
from analytic.iterates.line import Fold, LineIterate
from analytic.quadrature import mixture_breaks

EPS = 2.0**-52
HALF = NoiseLevel(1.0, 0.5**0.5)
NORMAL = GaussianMixture([1.0], [0.0], 0.5)  # N(0, 1) at HALF


# the checks of a cell


def cell(a: float, m: float, b: float, **rest: float) -> bool:
    """Whether a cell with slopes ``a, m, b`` is halved; by default all else fits its checks."""
    h, l2, r2 = (rest.get(key, 0.0) for key in ("h", "l2", "r2"))
    h = h or 1.0
    rise = h * (a + 4 * m + b) / 6 + rest.get("spike", 0.0)
    low = rest.get("low", 0.0)
    ends = [(low, a, l2), (0.0, m, 0.0), (low + rise, b, r2)]
    jets = [LineJet(*(np.array([value]) for value in end)) for end in ends]
    return bool(_unresolved(*jets, np.array([h]))[0])


SIGNS = [1.0, -1.0]
SIDES = [(0.98, False), (1.02, True)]


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(("side", "split"), SIDES)
def test_an_increment_is_simpsons_to_two_percent_of_its_terms(
    sign: float, side: float, split: bool
) -> None:
    """Slopes 1, 2, 3 on a width of a half: ``0.02 (1/2) (1 + 8 + 3) / 6 = 0.02``."""
    rest = {"h": 0.5, "l2": 4.0 * sign, "r2": 4.0 * sign}
    for way in SIGNS:
        spike = way * side * 0.02
        assert cell(sign, 2 * sign, 3 * sign, spike=spike, **rest) == split


@pytest.mark.parametrize(("side", "split"), SIDES)
def test_an_increment_within_its_rounding_is_no_spike(side: float, split: bool) -> None:
    """64 units of ``|X|`` at both ends, 1e6 each, above slopes of 1e-12."""
    slopes = (1e-12,) * 3
    assert cell(*slopes, low=1e6, spike=side * 64 * EPS * 2e6) == split
    assert cell(*slopes, low=-1e6, spike=side * 64 * EPS * 2e6) == split


BENT = [
    ((1.0, 3.0, 2.0, 2.0), 0.02 * 1),  # the least of three slopes of one sign
    ((3.0, 1.0, -2.0, -2.0), 0.02 * 1),
    ((1.0, 1.0, -1.0, 3.0), -0.02 * 0.49),  # the middle is the least
    ((-1.0, 3.0, 4.0, 4.0), 0.02 * 3),  # the largest of two of two signs
    ((3.0, -1.0, -4.0, -4.0), 0.02 * 3),
]


@pytest.mark.parametrize(("slopes", "bound"), BENT)
@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(("side", "split"), SIDES)
def test_a_middle_slope_is_the_cubics_to_two_percent(
    slopes: tuple[float, ...], bound: float, sign: float, side: float, split: bool
) -> None:
    a, b, l2, r2 = (sign * one for one in slopes)
    cubic = 0.5 * (a + b) + (l2 - r2) / 8
    assert cell(a, cubic + sign * side * bound, b, l2=l2, r2=r2) == split


@pytest.mark.parametrize("h", [0.25, 4.0])
def test_the_cubic_is_that_of_the_cells_width(h: float) -> None:
    """``X' = 1 + x^2`` and ``1 + x^3`` around 0, of which the cubic is exact."""
    s = h / 2
    assert not cell(1 + s * s, 1.0, 1 + s * s, h=h, l2=-2 * s, r2=2 * s) or s > 1
    slopes = (9 - s**3, 9.0, 9 + s**3)
    assert not cell(*slopes, h=h, l2=3 * s * s, r2=3 * s * s)
    assert cell(slopes[0], 9.25, slopes[2], h=h, l2=3 * s * s, r2=3 * s * s)


@pytest.mark.parametrize("sign", SIGNS)
def test_a_middle_slope_of_zero_hides_two_zeros(sign: float) -> None:
    """``a = b = 1`` and the cubic is 0 at the middle, without tangents that meet."""
    assert cell(sign, 0.0, sign, l2=-8 * sign, r2=0.0)
    assert cell(sign, -0.5 * sign, sign, l2=-12 * sign, r2=0.0)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize(
    ("slopes", "h"), [((1.0, 1.0, -2.0, 2.0), 1.0), ((2.0, 1.0, -2.0, 1.0), 2.0)]
)
@pytest.mark.parametrize(("side", "split"), SIDES)
def test_tangents_that_meet_beyond_zero_hide_two_zeros(
    slopes: tuple[float, ...], h: float, sign: float, side: float, split: bool
) -> None:
    """At side 1 the tangents meet at zero exactly; the middle is the cubic's."""
    a, b, l2, r2 = (sign * one for one in slopes)
    r2 *= side
    m = 0.5 * (a + b) + h / 8 * (l2 - r2)
    assert cell(a, m, b, h=h, l2=l2, r2=r2) == split


def test_tangents_that_part_hide_nothing() -> None:
    """A slope that rises and falls, or falls to a smaller one."""
    assert not cell(1.0, 1.5, 1.0, l2=2.0, r2=-2.0)
    assert not cell(2.0, 1.5, 1.0, l2=-1.0, r2=-1.0)
    assert not cell(1.0, 1.5, 2.0, l2=1.0, r2=1.0)


@pytest.mark.parametrize("sign", SIGNS)
@pytest.mark.parametrize("left", [True, False])
@pytest.mark.parametrize(("side", "split"), SIDES)
def test_a_change_of_sign_needs_a_monotone_slope(
    sign: float, left: bool, side: float, split: bool
) -> None:
    """Slopes -1 and 1 on a width of a half: ``X''`` of two signs up to ``0.02 * 2 / 0.5``."""
    small, large = 0.01, side * 0.08
    l2, r2 = (-large, small) if left else (-small, large)
    m = 0.5 / 8 * (l2 - r2)
    rest = {"h": 0.5, "l2": sign * l2, "r2": sign * r2}
    assert cell(-sign, sign * m, sign, **rest) == split
    assert not cell(-sign, sign * 0.5 / 8 * (large - small), sign, h=0.5, l2=large, r2=small)


# branches and their inverse


def counted(jet: Callable[[np.ndarray], LineJet]) -> tuple[Any, list[int]]:
    calls: list[int] = []

    def asked(x: np.ndarray) -> LineJet:
        calls.append(len(x))
        return jet(x)

    return asked, calls


def cubic(x: np.ndarray) -> LineJet:
    """Folds at -1 and 1."""
    return LineJet(x**3 - 3 * x, 3 * x**2 - 3, 6 * x)


def test_a_cubics_branches_and_preimages() -> None:
    found = find_branches(cubic, np.linspace(-3.0, 3.0, 9))
    np.testing.assert_allclose(found.folds, [-1.0, 1.0], atol=1e-15)
    assert found.signs.tolist() == [1.0, -1.0, 1.0]
    y = np.array([-5.0, -1.9, 0.0, 1.5, 1.99, 6.0])
    inside = covers(found, y)
    assert inside.sum(axis=0).tolist() == [1, 3, 3, 3, 3, 1]
    jet, calls = counted(cubic)
    x = invert(jet, found, y)
    exact = [np.sort(r[np.abs(r.imag) < 1e-12].real) for r in (np.roots([1, 0, -3, -v]) for v in y)]
    np.testing.assert_allclose(np.sort(x.T[inside.T]), np.sort(np.concatenate(exact)), rtol=1e-13)
    # where a branch does not reach, its nearer end stands
    assert x[1, 0] == 1.0
    assert x[1, 5] == -1.0
    assert x[0, 5] == pytest.approx(-1.0, rel=1e-6, abs=0)
    assert x[2, 0] == pytest.approx(1.0, rel=1e-6, abs=0)
    assert len(calls) <= 6  # third order from a cell's chord
    assert calls[0] == inside.sum()


def test_a_known_preimage_stands_for_its_branch() -> None:
    found = find_branches(cubic, np.linspace(-3.0, 3.0, 9))
    known = np.array([-1.5, 0.3, 2.0])
    jet, calls = counted(cubic)
    x = invert(jet, found, cubic(known).value, known=known)
    np.testing.assert_array_equal(x[[0, 1, 2], [0, 1, 2]], known)
    assert calls[0] == covers(found, cubic(known).value).sum() - 3


@pytest.mark.parametrize("sign", SIGNS)
def test_a_step_is_exact_on_a_quadratic(sign: float) -> None:
    """The Taylor polynomial of second order is the map: one step, and one look."""

    def square(x: np.ndarray) -> LineJet:
        return LineJet(sign * (x**2 + 0.5 * x), sign * (2 * x + 0.5), sign * (2.0 + 0 * x))

    found = find_branches(square, np.linspace(0.0, 8.0, 5))
    jet, calls = counted(square)
    x = np.array([0.07, 0.9, 3.3, 7.7])
    np.testing.assert_allclose(invert(jet, found, square(x).value)[0], x, rtol=4e-16)
    assert len(calls) <= 3


def test_a_map_is_inverted_beside_its_zero() -> None:
    """Roots of 1e-3 to 1e-9 of a cubic map keep their relative accuracy."""

    def bent(x: np.ndarray) -> LineJet:
        return LineJet(x + x**2 + 5 * x**3, 1 + 2 * x + 15 * x**2, 2 + 30 * x)

    found = find_branches(bent, np.linspace(-0.1, 1.0, 5))
    x = np.array([1e-9, 1e-6, 1e-3, 0.6])
    jet, calls = counted(bent)
    np.testing.assert_allclose(invert(jet, found, bent(x).value)[0], x, rtol=1e-14)
    assert len(calls) <= 8


def test_a_map_known_to_its_rounding_alone_ends_the_search() -> None:
    """``(x + 1e9) - 1e9``: residuals of 1e-7 never vanish, steps do."""

    def coarse(x: np.ndarray) -> LineJet:
        return LineJet((x + 1e9) - 1e9, 1 + 0 * x, 0 * x)

    found = find_branches(lambda x: LineJet(x, 1 + 0 * x, 0 * x), np.linspace(0.0, 1.0, 3))
    jet, calls = counted(coarse)
    x = invert(jet, found, np.array([0.3, 0.7]))[0]
    np.testing.assert_allclose(x, [0.3, 0.7], atol=3e-7)
    assert len(calls) < 70


def test_beside_a_fold_the_search_stalls_at_the_rounding() -> None:
    found = find_branches(cubic, np.linspace(-3.0, 3.0, 9))
    jet, calls = counted(cubic)
    gaps = 10.0 ** -np.arange(3, 15)
    x = invert(jet, found, -2 + gaps)
    np.testing.assert_allclose((x[2] - 1) ** 2, gaps / 3, rtol=0.02 + 2e-15 / gaps.min())
    assert len(calls) <= 40


# the distances


def fold(x: float, y: float, density: float, curvature: float) -> Fold:
    return Fold(x, y, density, curvature)


def test_nodes_stay_off_a_fold() -> None:
    """1e-9 of ``1 + |x|``, or where ``X'' gap^2 / 2`` is 8 units of ``y``."""
    near, far = fold(3.0, 0.0, 0.1, 2.0), fold(0.0, 1e6, 0.1, -4.0)
    assert distances._gap(near) == pytest.approx(4e-9, rel=1e-6, abs=0)
    assert distances._gap(far) == pytest.approx(math.sqrt(16 * EPS * 1e6 / 4), rel=1e-6, abs=0)
    gap = distances._gap(near)
    x = np.array([2.0, 3 - 0.5 * gap, 3.0, 3 + 0.5 * gap, 3 + 2 * gap])
    found = distances._beside_folds(x, (near,))
    np.testing.assert_array_equal(found, [2.0, 3 - gap, 3 + gap, 3 + gap, 3 + 2 * gap])


def test_the_rate_of_the_truncated_divergence() -> None:
    folds = (fold(0.0, 0.0, 0.3, 8.0), fold(1.0, 0.0, 0.6, -2.0))
    assert distances.fisher_rate(folds) == pytest.approx(0.3 / 12 + 0.6 / 6, rel=1e-6, abs=0)
    text = distances._reason(folds * 3)
    assert "x = 0, 1, 0, 1 and 2 more: the density" in text
    assert "more" not in distances._reason(folds * 2)
    assert distances._reason(folds[:1]).endswith("like 0.025 c^(-3/2)")


def square_law() -> LineIterate:
    return LineIterate(NORMAL, HALF, lambda x: LineJet(x**2, 2 * x, 2 + 0 * x))


def test_what_moved_nodes_change_is_bounded_by_the_densitys_gap() -> None:
    law = square_law()
    gap = distances._gap(law.folds[0])
    assert distances._gap_error(law) == pytest.approx(
        -2 * norm.pdf(0) * gap * math.log(gap), rel=1e-6, abs=0
    )


def test_breaks_shrink_by_four_towards_a_singular_one() -> None:
    """On both sides, by the distance to the neighbour there; at an end there is none."""
    breaks, parts = np.array([-2.0, 1.0, 2.0]), 4.0 ** -np.arange(1, 14)
    found = np.sort(distances._graded(breaks, np.array([1.0])))
    np.testing.assert_allclose(found, np.sort(np.concatenate((1 - 3 * parts, 1 + parts))))
    end = np.sort(distances._graded(breaks, np.array([2.0])))
    np.testing.assert_allclose(end, np.sort(np.concatenate((2 - parts, np.full(13, 2.0)))))
    first = np.sort(distances._graded(breaks, np.array([-2.0])))
    np.testing.assert_allclose(first, np.sort(np.concatenate((-2 + 3 * parts, np.full(13, -2.0)))))


def test_the_breaks_of_a_folded_law() -> None:
    """Those of its base, its map's nodes within them, and grades about folds and their shadows."""
    law = LineIterate(NORMAL, HALF, cubic)
    base = mixture_breaks(NORMAL, HALF)
    nodes = law.branches.nodes
    inside = nodes[(nodes > base[0]) & (nodes < base[-1])]
    assert 0 < len(inside) < len(nodes)
    plain = distances._base_breaks(law)
    np.testing.assert_array_equal(plain, np.unique(np.concatenate((base, inside))))
    found = distances._singular_breaks(law)
    singular = np.array([-2.0, -1.0, 1.0, 2.0])  # X(2) = X(-1) = 2
    for one in singular:
        near = np.abs(found - one).min()
        assert near < 1e-12
        others = np.sort(np.abs(found - one))
        assert others[others > 1e-12].min() < 1e-6
    for a, b in ((-2.0, -1.0), (1.0, 2.0)):
        assert np.sum((found > a) & (found < b)) >= 26
    simple = LineIterate(NORMAL, HALF, lambda x: LineJet(x, 1 + 0 * x, 0 * x))
    np.testing.assert_array_equal(
        distances._singular_breaks(simple), distances._base_breaks(simple)
    )


@pytest.mark.parametrize(
    ("window", "folds"),
    [((-0.5, 0.5), 0), ((-1.5, 0.5), 1), ((-1.0, 3.0), 1), ((-3.0, 1.0), 1), ((-2.0, 2.0), 2)],
)
def test_a_windows_breaks_are_its_ends_and_grades_towards_its_folds(
    window: tuple[float, float], folds: int
) -> None:
    law = LineIterate(NORMAL, HALF, cubic)
    found = distances._window_breaks(law, window)
    assert len(found) == 2 + 27 * folds
    assert (found[0], found[-1]) == window


def captured(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What is integrated under the base, and where it breaks."""
    taken: list[Any] = []

    def under(law: Any, f: Any, breaks: Any, *_: Any) -> Any:
        taken.append((f, breaks))
        return distances.Distance(4.0, 0.5)

    monkeypatch.setattr(distances, "_under_base", under)
    return taken


@pytest.mark.parametrize(
    ("window", "near"),
    [(None, [-0.1, 0.1]), ((-0.5, 0.5), [-0.1, 0.1]), ((-0.05, 0.5), [0.1]), ((-0.5, 0.1), [-0.1])],
)
def test_a_truncation_breaks_where_it_cuts(
    window: Any, near: list[float], monkeypatch: pytest.MonkeyPatch
) -> None:
    """``y = x^2 > cut`` begins at ``|x| = 0.1``; nothing lies below ``-cut``."""
    taken = captured(monkeypatch)
    law, target = square_law(), GaussianMixture([1.0], [0.7], 1.5)
    distances.truncated_fisher(law, target, HALF, 0.01, window=window)
    integrand, breaks = taken[0]
    plain = distances._window_breaks(law, window) if window else distances._singular_breaks(law)
    new = np.setdiff1d(np.round(breaks, 12), np.round(plain, 12))
    new = new[np.abs(new) < 30]
    np.testing.assert_allclose(new, near if window != (-0.5, 0.1) else [-0.1], atol=1e-9)
    values, sizes = integrand(np.array([0.05, -0.0999, 0.1001, 0.5]))
    assert (values > 0).tolist() == (sizes > 0).tolist() == [False, False, True, True]
    y = np.array([0.1001, 0.5]) ** 2
    gap = -0.5 - 0.5 / y + (y - 0.7) / 2.0
    np.testing.assert_allclose(values[2:], gap**2, rtol=1e-9)


def test_folds_outside_the_window_are_not_cut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    taken = captured(monkeypatch)
    law = LineIterate(NORMAL, HALF, cubic)
    for window, cut in (((0.0, 2.0), 1.0), ((-2.0, 0.0), -1.0)):
        distances.truncated_fisher(law, NORMAL, HALF, 0.1, window=window)
        values = taken[-1][0](np.array([cut + 0.01, -cut + 0.01]))[0]
        assert values[0] == 0
        assert values[1] > 0


def bent_law() -> tuple[LineIterate, np.ndarray, dict[str, np.ndarray]]:
    """``X = x + 0.1 x^2`` near 0, where it rises, with its law in closed form there."""
    law = LineIterate(NORMAL, HALF, lambda x: LineJet(x + 0.1 * x**2, 1 + 0.2 * x, 0.2 + 0 * x))
    x = np.array([-1.5, -0.2, 0.6, 2.0])
    y, slope = x + 0.1 * x**2, 1 + 0.2 * x
    noise = 16 * np.abs(0.2 * y) / slope**2
    parts = {
        "y": y, "noise": noise, "log": norm.logpdf(x) - np.log(slope),
        "score": (-x - 0.2 / slope) / slope,
    }  # fmt: skip
    return law, x, parts


def test_the_integrands_of_the_divergences_and_their_sizes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Against ``N(0.7, 2)``; the error of a distance is a rounding of these sizes."""
    law, x, own = bent_law()
    monkeypatch.setattr(LineIterate, "folds", ())
    target = GaussianMixture([1.0], [0.7], 1.5)
    taken = captured(monkeypatch)
    model = -(own["y"] - 0.7) / 2
    gap = own["score"] - model
    distances.fisher_divergence(law, target, HALF)
    values, sizes = taken[-1][0](x)
    np.testing.assert_allclose(values, gap**2, rtol=1e-10)
    expected = np.abs(gap) * (np.abs(own["score"]) * (1 + own["noise"]) + np.abs(model))
    np.testing.assert_allclose(sizes, expected, rtol=1e-10)
    log_p = norm.logpdf(own["y"], 0.7, math.sqrt(2))
    distances.kl_divergence(law, target, HALF)
    values, sizes = taken[-1][0](x)
    np.testing.assert_allclose(values, own["log"] - log_p, rtol=1e-10)
    np.testing.assert_allclose(sizes, np.abs(own["log"]) + np.abs(log_p) + own["noise"], rtol=1e-10)
    monkeypatch.setattr(distances, "_coupled_breaks", lambda *_: np.zeros(1))
    line = LineIterate(NORMAL, HALF, lambda x: LineJet(0.5 * x - 1, 0.5 + 0 * x, 0 * x))
    found = distances.wasserstein(line, target, HALF)
    values, sizes = taken[-1][0](x)
    y, ideal = 0.5 * x - 1, 0.7 + math.sqrt(2) * x
    np.testing.assert_allclose(values, (y - ideal) ** 2, rtol=1e-9)
    np.testing.assert_allclose(sizes, np.abs(y - ideal) * (np.abs(y) + np.abs(ideal)), rtol=1e-9)
    assert found[:2] == (2.0, 0.25)  # sqrt 4, 0.5 / 2


def test_a_small_distances_error_is_the_root_of_its_squares(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    law = LineIterate(NORMAL, HALF, lambda x: LineJet(x, 1 + 0 * x, 0 * x))
    for square, error, expected in ((1e-8, 1e-6, (1e-4, 1e-3)), (-1e-9, 1e-6, (0.0, 1e-3))):
        pair = distances.Distance(square, error)
        monkeypatch.setattr(distances, "_under_base", lambda *_, pair=pair: pair)
        found = distances.wasserstein(law, NORMAL, HALF)
        assert found[:2] == pytest.approx(expected, rel=1e-6, abs=0)


def test_the_integrand_of_the_energy(monkeypatch: pytest.MonkeyPatch) -> None:
    """``2 (F_q - F_p)^2`` and its size ``2 |F_q - F_p|``."""
    law = LineIterate(NORMAL, HALF, lambda x: LineJet(2 * x, 2 + 0 * x, 0 * x))
    taken: list[Any] = []

    class Found:
        single = (3.0, 1e6, 1e-3)

    def integrate(f: Any, breaks: Any) -> Any:
        taken.append((f, breaks))
        return Found

    monkeypatch.setattr(distances, "integrate", integrate)
    target = GaussianMixture([1.0], [0.7], 1.5)
    found = distances.energy(law, target, HALF)
    assert found[:2] == pytest.approx((3.0, 1e-3 + 16 * EPS * 1e6), rel=1e-12, abs=0)
    y = np.array([[-3.0, 0.1], [1.2, 4.0]])
    values, sizes = taken[0][0](None, y)
    gap = norm.cdf(y / 2) - norm.cdf((y - 0.7) / math.sqrt(2))
    np.testing.assert_allclose(values[..., 0], 2 * gap**2, rtol=1e-10)
    np.testing.assert_allclose(sizes[..., 0], 2 * np.abs(gap), rtol=1e-10)
    breaks = taken[0][1][0]
    for mark in (*mixture_breaks(target, HALF), *(2 * distances._base_breaks(law))):
        assert np.abs(breaks - mark).min() < 1e-12


def test_an_integral_under_the_base_is_cut_at_its_ends() -> None:
    """``E x^2 = 1`` and the rounding of its size, whatever breaks lie outside."""
    law = LineIterate(NORMAL, HALF, lambda x: LineJet(x, 1 + 0 * x, 0 * x))
    breaks = np.union1d(distances._base_breaks(law), [-1e9, 1e9])
    plain = distances._under_base(law, lambda x: (x**2, 0 * x), breaks)
    wide = distances._under_base(law, lambda x: (x**2, 1e6 + 0 * x), breaks)
    assert plain.value == pytest.approx(1.0, abs=1e-13)
    assert wide.error - plain.error == pytest.approx(16 * EPS * 1e6, rel=1e-9, abs=0)


@pytest.mark.parametrize("gain", [2.0, -0.5])
def test_coupled_breaks_are_the_targets_marks_carried_back(gain: float) -> None:
    """Of a linear map of a normal: ``x = sign (mark - m) / s``."""
    law = LineIterate(NORMAL, HALF, lambda x: LineJet(gain * x, gain + 0 * x, 0 * x))
    target = GaussianMixture([1.0], [0.7], 1.5)
    marks = mixture_breaks(target, HALF)
    found = distances._coupled_breaks(law, target, HALF)
    expected = np.sign(gain) * (marks - 0.7) / math.sqrt(2)
    np.testing.assert_allclose(found, expected, rtol=1e-9, atol=1e-12)


def test_coupled_breaks_of_a_fold_are_preimages_of_its_quantiles() -> None:
    """Of ``x^2``, chi-square: at most as far off as the images that are interpolated."""
    law, target = square_law(), GaussianMixture([1.0], [1.0], 0.5)
    marks = mixture_breaks(target, HALF)
    marks = marks[(marks > 0) & (marks < 5)]
    found = distances._coupled_breaks(law, target, HALF)
    for mark in marks:
        share = norm.cdf(mark - 1)
        x = -norm.ppf(0.5 * norm.sf(mark - 1)) if share > 0.5 else norm.ppf(0.5 + 0.5 * share)
        for sign in SIGNS:
            assert np.abs(found - sign * x).min() < 0.15 * abs(x) + 1e-3, mark


@pytest.mark.parametrize("tail", [1e-300, 1e-12, 0.3, 0.5, 0.7, 1 - 1e-12])
def test_quantiles_come_of_the_smaller_tail(tail: float) -> None:
    target = GaussianMixture([1.0], [0.7], 1.5)
    found = distances.quantile(target, HALF, np.array([tail]), np.array([1 - tail]))
    assert found[0] == pytest.approx(norm.ppf(tail, 0.7, math.sqrt(2)), rel=1e-9, abs=0)
    other = distances.quantile(target, HALF, np.array([1 - tail]), np.array([tail]))
    assert other[0] == pytest.approx(norm.isf(tail, 0.7, math.sqrt(2)), rel=1e-9, abs=0)
    none = distances.quantile(target, HALF, np.array([0.0]), np.array([1.0]))
    assert -40 < (none[0] - 0.7) / math.sqrt(2) < -37  # P(|z| > 37) stands for nothing


# the law


def test_first_nodes_are_dense_where_the_mass_is() -> None:
    law = LineIterate(NORMAL, HALF, lambda x: LineJet(x, 1 + 0 * x, 0 * x))
    nodes = law.first_nodes
    np.testing.assert_allclose(nodes, -nodes[::-1], atol=1e-12)
    assert (nodes[0], nodes[-1]) == pytest.approx((-38.0, 38.0), rel=1e-6, abs=0)
    assert len(nodes) == 4 * 24 + 1
    gaps, middle = np.diff(nodes), np.abs(nodes[1:] + nodes[:-1]) / 2
    assert np.all(gaps[middle < 4] <= 0.201)
    assert np.all(gaps <= np.maximum(0.201, 0.2 * middle))


@pytest.mark.parametrize("std", [1.0, 2.0])
def test_the_largest_slope_within_ten_deviations(std: float) -> None:
    """``X' = 1 + x^2 / 10`` is ``1 + 10 std^2`` there; nodes stand at the tenth deviation."""
    base = GaussianMixture([1.0], [0.0], std**2 - 0.5)
    law = LineIterate(base, HALF, lambda x: LineJet(x + x**3 / 30, 1 + x**2 / 10, x / 5))
    assert law.lipschitz() == pytest.approx(1 + 10 * std**2, rel=1e-6, abs=0)


def test_the_noise_of_a_density_has_a_cap() -> None:
    law = square_law()
    x = np.array([1e-12, 0.5])
    found = law.along(x)
    np.testing.assert_allclose(found.noise, [16 * 2 / 4, 16 * 2 / 4])
    flat = LineIterate(NORMAL, HALF, lambda x: LineJet(1 + x**2, 2 * x, 2 + 0 * x))
    np.testing.assert_allclose(flat.along(np.array([1e-9, 1e-3])).noise, [1e15, 8e6], rtol=1e-5)


def test_a_mass_keeps_its_tails() -> None:
    law = LineIterate(NORMAL, HALF, cubic)
    for a, b in ((-1.0, 2.0), (8.0, 9.0), (-9.0, -8.0), (30.0, np.inf)):
        exact = norm.sf(a) - norm.sf(b) if a > 0 else norm.cdf(b) - norm.cdf(a)
        assert law.mass(np.array([a]), np.array([b]))[0] == pytest.approx(exact, rel=1e-10, abs=0)
    assert law.folded_mass() == pytest.approx(norm.cdf(1) - norm.cdf(-1), rel=1e-6, abs=0)
