"""Guidance and thresholding: formulas, derivatives, arrays, and what corrections make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

import steinlab as sl
from analytic import GaussianMixture, NoiseLevel
from steinlab.corrections import get_correction
from steinlab.diffusion.denoisers import HasDivergence, HasJvp, HasVjp
from steinlab.diffusion.guidance import autoguidance, classes, guided, is_guided, thresholded
from steinlab.diffusion.laws import load_law
from steinlab.diffusion.networks import edm_denoiser

LAW: Any = GaussianMixture(
    [0.2, 0.3, 0.4, 0.1], [[-1.0, 0.0, 1], [0.0, 1, 0], [1.0, 1, 1], [2.0, 0, 1]], 0.1
)
COND = classes(LAW, "aabb")["a"]
LEVEL = NoiseLevel(0.8, 0.7)
X = np.random.default_rng(0).standard_normal((6, 3))


class Linear:
    """``D = x A'``, whose derivatives are known both ways."""

    def __init__(self, matrix: np.ndarray) -> None:
        self.matrix = matrix

    def __call__(self, x: Any, _level: Any) -> Any:
        return x @ self.matrix.T

    def jvp(self, _x: Any, _level: Any, tangent: Any) -> Any:
        return tangent @ self.matrix.T

    def vjp(self, _x: Any, _level: Any, cotangent: Any) -> Any:
        return cotangent @ self.matrix


def test_the_convention() -> None:
    for w, expected in ((1.0, COND(X, LEVEL)), (0.0, LAW(X, LEVEL))):
        np.testing.assert_allclose(guided(COND, LAW, w)(X, LEVEL), expected, rtol=1e-15)
    cond, whole = COND(X, LEVEL), LAW(X, LEVEL)
    np.testing.assert_allclose(guided(COND, LAW, 3.0)(X, LEVEL), whole + 3 * (cond - whole))
    np.testing.assert_allclose(autoguidance(COND, LAW, 3.0)(X, LEVEL), whole + 3 * (cond - whole))
    assert sl.guided is guided
    assert not is_guided(guided(COND, LAW, 1.0))
    assert is_guided(thresholded(guided(COND, LAW, 2.0)))
    assert not is_guided(LAW)


@pytest.mark.parametrize("rescale", [0.0, 0.7, 1.0])
@pytest.mark.parametrize("w", [0.0, 1.0, 4.0])
def test_derivatives_are_those_of_autograd(w: float, rescale: float) -> None:
    field: Any = guided(COND, LAW, w, rescale=rescale)
    x, tangent = torch.tensor(X), torch.randn(3, 6, 3, dtype=torch.float64)
    found = field.jvp(x, LEVEL, tangent)
    for own, t in zip(found, tangent, strict=True):
        expected = torch.func.jvp(lambda z: field(z, LEVEL), (x,), (t,))[1]
        torch.testing.assert_close(own, expected, rtol=1e-10, atol=1e-10)
    np.testing.assert_allclose(field.jvp(X, LEVEL, tangent.numpy()), found, rtol=1e-12, atol=1e-13)
    if rescale:
        assert not isinstance(field, HasDivergence)
        return
    jacobian = torch.func.vmap(torch.func.jacrev(lambda z: field(z[None], LEVEL)[0]))(x)
    trace = torch.einsum("nii->n", jacobian)
    np.testing.assert_allclose(field.divergence(X, LEVEL), trace, rtol=1e-10)


def test_what_the_parts_know_is_passed_on() -> None:
    a, b = Linear(np.eye(3)), Linear(np.arange(9.0).reshape(3, 3))
    both: Any = guided(a, b, 2.0)
    v = np.ones((2, 6, 3))
    np.testing.assert_allclose(both.vjp(X, LEVEL, v), v @ (2 * a.matrix - b.matrix))
    assert isinstance(both, HasVjp)
    assert not isinstance(both, HasDivergence)
    assert not isinstance(guided(a, LAW, 2.0), HasVjp)
    assert not isinstance(guided(lambda x, _l: x, LAW, 2.0), HasJvp)
    assert isinstance(guided(COND, LAW, 2.0), HasDivergence)


def test_rescaling_matches_the_deviation_of_each_state() -> None:
    plain, cond = guided(COND, LAW, 5.0)(X, LEVEL), COND(X, LEVEL)
    full = guided(COND, LAW, 5.0, rescale=1.0)(X, LEVEL)
    np.testing.assert_allclose(full.std(axis=1), cond.std(axis=1), rtol=1e-13)
    part = guided(COND, LAW, 5.0, rescale=0.7)(X, LEVEL)
    np.testing.assert_allclose(part, 0.7 * full + 0.3 * plain, rtol=1e-12)
    pictures = np.random.default_rng(1).standard_normal((4, 3, 2, 2))
    field = guided(lambda x, _l: x, lambda x, _l: 0.2 * x**3, 2.0, rescale=1.0)
    found = field(pictures, LEVEL)
    np.testing.assert_allclose(found.std(axis=(1, 2, 3)), pictures.std(axis=(1, 2, 3)), rtol=1e-13)
    flat = np.ones((2, 3))
    constant = guided(lambda x, _l: x, lambda x, _l: 0.5 * x, 2.0, rescale=1.0)
    np.testing.assert_array_equal(constant(flat, LEVEL), 1.5 * flat)
    with pytest.raises(
        ValueError, match=r"x must have 2 coordinates or more to rescale, got \(2, 1"
    ):
        constant(np.ones((2, 1)), LEVEL)


def test_an_interval_guides_within_only() -> None:
    field: Any = guided(COND, LAW, 3.0, interval=(0.2, 5.0))
    always: Any = guided(COND, LAW, 3.0)
    for ratio, expected in ((0.1, COND), (0.2, always), (5.0, always), (6.0, COND)):
        level = NoiseLevel(1.0, ratio)
        np.testing.assert_array_equal(field(X, level), expected(X, level))
        np.testing.assert_array_equal(field.divergence(X, level), expected.divergence(X, level))
    ratios = np.array([0.1, 0.2, 1.0, 5.0, 6.0, 9.0])[:, None]
    each = NoiseLevel(np.ones((6, 1)), ratios)
    for method in ("__call__", "divergence"):
        one = [
            getattr(field, method)(X[i : i + 1], NoiseLevel(1.0, float(r[0])))[0]
            for i, r in enumerate(ratios)
        ]
        np.testing.assert_allclose(getattr(field, method)(X, each), one, rtol=1e-12)
        tensor = getattr(field, method)(torch.tensor(X), each)
        np.testing.assert_allclose(tensor, one, rtol=1e-12)


@pytest.mark.parametrize("percentile", [None, 50.0, 90.0, 99.5, 100.0])
@pytest.mark.parametrize("shape", [(5, 7), (4, 3, 2, 2)])
def test_thresholding_is_imagens(percentile: float | None, shape: tuple[int, ...]) -> None:
    x, bound = 2 * np.random.default_rng(3).standard_normal(shape), 0.8
    field = thresholded(lambda x, _l: x, bound=bound, percentile=percentile)
    rows = x.reshape(len(x), -1)
    if percentile is None:
        expected = np.clip(rows, -bound, bound)
    else:
        edge = np.maximum(np.percentile(np.abs(rows), percentile, axis=1)[:, None], bound)
        expected = np.clip(rows, -edge, edge) / edge * bound
    np.testing.assert_allclose(field(x, LEVEL), expected.reshape(shape), rtol=1e-13)
    np.testing.assert_allclose(field(torch.tensor(x), LEVEL), expected.reshape(shape), rtol=1e-13)


def test_clipping_passes_products_on_and_dynamic_thresholding_declines() -> None:
    clipped: Any = thresholded(LAW, bound=0.9)
    step = 1e-6 * np.ones_like(X)
    numeric = (clipped(X + step, LEVEL) - clipped(X - step, LEVEL)) / 2e-6
    np.testing.assert_allclose(clipped.jvp(X, LEVEL, np.ones_like(X)), numeric, atol=1e-8)
    assert not isinstance(clipped, HasDivergence)
    assert not isinstance(thresholded(LAW, percentile=99.5), HasJvp)


@pytest.mark.parametrize("form", ["shared", "diagonal", "full"])
def test_classes_make_up_the_mixture(form: str) -> None:
    rng = np.random.default_rng(5)
    root = rng.standard_normal((4, 3, 3))
    whole = {
        "shared": 0.3,
        "diagonal": rng.uniform(0.1, 1, (4, 3)),
        "full": root @ np.swapaxes(root, 1, 2) + np.eye(3),
    }[form]
    law = GaussianMixture(LAW.weights, LAW.means, whole)
    parts = classes(law, ["cat", "dog", "cat", "cat"])
    shares = {"cat": 0.7, "dog": 0.3}
    density = sum(shares[c] * np.exp(one.log_prob(X, LEVEL)) for c, one in parts.items())
    np.testing.assert_allclose(density, np.exp(law.log_prob(X, LEVEL)), rtol=1e-12)


DECLINING = (
    "law-matched",
    "law-matched-subspaces",
    "law-matched-moments",
    "gmm",
    "local",
    "stein-lookahead",
    "tweedie",
)


@pytest.mark.parametrize("name", DECLINING)
def test_what_rests_on_the_law_declines_under_guidance(name: str) -> None:
    from steinlab.corrections import correction_factory

    rng = np.random.default_rng(6)
    grid = sl.make_grid("edm", "karras", steps=5)[:-1]
    x = grid[0].noised(COND.sample(200, rng), rng)
    field = guided(COND, LAW, 3.0)
    plain = sl.solve(field, x, grid, "euler").state
    found = sl.solve(field, x, grid, "euler", correction=name)
    np.testing.assert_array_equal(found.state, plain)
    assert {one.note for one in found.diagnostics} == {
        "declined: a guided denoiser, or one that scales states, is no law's posterior mean "
        "(under_guidance: act)"
    }
    told = correction_factory(name)(under_guidance="act")
    assert not np.array_equal(sl.solve(field, x, grid, "euler", correction=told).state, plain)
    unguided = guided(COND, LAW, 1.0)
    same = [sl.solve(one, x, grid, "euler", correction=name).state for one in (unguided, COND)]
    np.testing.assert_allclose(*same, rtol=1e-9)
    with pytest.raises(ValueError, match="under_guidance must be one of decline, act, got no"):
        correction_factory(name)(under_guidance="no")


@pytest.mark.parametrize("name", ["law-matched", "stein-lookahead", "tweedie"])
def test_a_denoiser_that_scales_states_is_no_posterior_mean_either(name: str) -> None:
    """``E<D, x* - D> = 0`` of an exact denoiser; half its size leaves ``|D|^2 / 4``."""
    grid = sl.make_grid("edm", "karras", steps=4)
    x = grid[0].noised(LAW.sample(64, rng := np.random.default_rng(0)), rng)
    dynamic, clipped = (thresholded(LAW, bound=0.5, percentile=p) for p in (90.0, None))
    assert is_guided(dynamic)
    assert not is_guided(clipped)
    found = sl.solve(dynamic, x, grid, "euler", correction=name)
    line = "declined: a guided denoiser, or one that scales states, is no law's"
    assert all(one.note.startswith(line) for one in found.diagnostics[:-1])
    notes = [one.note for one in sl.solve(clipped, x, grid, "euler", correction=name).diagnostics]
    assert not any("guided" in note for note in notes)


def test_algorithm_1_goes_on_under_guidance() -> None:
    rng = np.random.default_rng(7)
    grid = sl.make_grid("edm", "karras", steps=4)
    x = grid[0].noised(COND.sample(500, rng), rng)
    found = sl.solve(guided(COND, LAW, 2.0), x, grid, "euler", correction=get_correction("stein"))
    assert all(one.estimate is not None for one in found.diagnostics)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: guided(LAW, LAW, np.inf), "w must be finite, got inf"),
        (lambda: guided(LAW, LAW, 2.0, rescale=1.5), r"rescale must be in \[0, 1\], got 1.5"),
        (lambda: guided(LAW, LAW, 2.0, interval=(5, 1)), r"interval must be .*, got \(5, 1\)"),
        (lambda: thresholded(LAW, bound=0.0), "bound must be finite and > 0, got 0.0"),
        (lambda: thresholded(LAW, percentile=0.0), r"percentile must be in \(0, 100\], got 0.0"),
        (lambda: classes(LAW, "ab"), "labels must be 4, one a component, got 2"),
        (
            lambda: classes(GaussianMixture([1.0, 0.0], [0.0, 1.0], 1.0), "ab"),
            "labels must name classes of some weight, got none for 'b'",
        ),
    ],
)
def test_bad_input_is_named(make: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


def test_other_laws_are_guided_too() -> None:
    box, circle = load_law("box-2"), load_law("circle-2")
    field: Any = guided(box, circle, 2.0)
    x = X[:, :2]
    expected = 2 * box(x, LEVEL) - circle(x, LEVEL)
    np.testing.assert_allclose(field(x, LEVEL), expected, rtol=1e-12)
    assert isinstance(field, HasDivergence)


def test_grey_pictures_are_rescaled_and_clipped_over_all_their_pixels() -> None:
    mix = torch.from_numpy(np.random.default_rng(0).standard_normal((4, 4)))

    def grey(gain: float) -> Any:
        def net(x: torch.Tensor, _sigma: torch.Tensor) -> torch.Tensor:
            return torch.tanh(gain * x.reshape(-1, 4) @ mix).reshape(x.shape)

        return edm_denoiser(net, (2, 2), dtype=torch.float64)

    x = np.random.default_rng(1).standard_normal((3, 2, 2))
    strong = guided(grey(1.0), grey(0.3), 2.0, rescale=0.7)
    kept = thresholded(strong, percentile=60, bound=0.1)
    for one in (strong, kept):
        flat = one(x.reshape(3, 4), LEVEL)
        np.testing.assert_allclose(one(x, LEVEL).reshape(3, 4), flat, rtol=1e-13)
    plain, grid = guided(grey(1.0), grey(0.3), 2.0), sl.make_grid("edm", "karras", 3)
    end = sl.solve(plain, x, grid, "euler", correction="tweedie").state
    flat = sl.solve(plain, x.reshape(3, 4), grid, "euler", correction="tweedie").state
    np.testing.assert_array_equal(end, flat.reshape(3, 2, 2))


@pytest.mark.parametrize(
    ("options", "line"),
    [
        ({"w": "a"}, "w must be finite, got a"),
        ({"w": 2.0, "rescale": None}, r"rescale must be in \[0, 1\], got None"),
        ({"w": 2.0, "interval": 3}, r"interval must be \(low, high\) .*, got 3"),
        ({"w": 2.0, "interval": (1.0,)}, r"interval must be \(low, high\) .*, got \(1\.0,\)"),
        ({"w": 2.0, "interval": ("a", "b")}, r"interval must be \(low, high\)"),
    ],
)
def test_what_is_no_number_gets_its_line(options: Any, line: str) -> None:
    with pytest.raises(ValueError, match=line):
        guided(LAW, LAW, **options)
