"""Dialled errors: their sizes are what was set, their derivatives are exact, on every library."""

from __future__ import annotations

import array_api_strict
import numpy as np
import pytest

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.characteristic import characteristic, mean_square_of_waves
from analytic.quadrature import expect, tensor_nodes
from steinlab.coefficient.divergence import Exact
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM, PROCESSES
from steinlab.solvers import EULER, SOLVERS
from steinlab.solvers.loop import solve
from steinlab.solvers.step import Step
from toy_models.dialled.denoiser import Dialled, Target
from toy_models.dialled.fields import Waves, bias, fourier, ripple, smoothing

LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
PLANE = GaussianMixture(
    [0.4, 0.6], [[-1.0, 0.5], [1.0, 0.0]], [[[0.5, 0.2], [0.2, 0.3]], np.eye(2)]
)
DIAGONAL = GaussianMixture([0.4, 0.6], [[-1.0, 0.5], [1.0, 0.0]], [[0.5, 0.1], [0.2, 0.3]])
SPACE = GaussianMixture([0.4, 0.6], np.random.default_rng(0).standard_normal((2, 5)), 0.3)
ROWS = EmpiricalMixture(np.random.default_rng(1).standard_normal((12, 3)), 0.2)
LAWS = {"line": LINE, "plane": PLANE, "diagonal": DIAGONAL, "space": SPACE, "rows": ROWS}
LEVELS = [NoiseLevel(1.0, 0.3), NoiseLevel(0.6, 0.8), NoiseLevel(0.05, 0.95), NoiseLevel(1.0, 20.0)]

FIELDS = {
    "fourier": lambda law: fourier(law.dim),
    "ripple": lambda law: ripple(law.dim, frequency=9.0),
    "bias": lambda law: bias(np.arange(1.0, law.dim + 1)),
    "over-smoothed": lambda law: smoothing(law, 1.5),
    "under-smoothed": lambda law: smoothing(law, 0.6),
}


def states(law, level, n, seed=0):
    rng = np.random.default_rng(seed)
    data = law.sample(n, rng)
    return level.noised(data, rng)


@pytest.mark.parametrize("name", LAWS)
def test_the_characteristic_function_is_the_mean_of_waves(name):
    law, level = LAWS[name], LEVELS[1]
    k = np.random.default_rng(2).standard_normal((4, law.dim))
    waves = np.exp(1j * states(law, level, 200_000) @ k.T)
    error = waves.std(axis=0) / np.sqrt(len(waves))
    assert (np.abs(characteristic(law, level, k) - waves.mean(axis=0)) < 5 * error).all()


@pytest.mark.parametrize("level", LEVELS)
def test_the_characteristic_function_is_the_integral(level):
    k = np.array([[0.5], [2.0]])
    found = characteristic(LINE, level, k)
    for part, wave in ((found.real, np.cos), (found.imag, np.sin)):
        value = expect(lambda x, wave=wave: wave(x @ k.T), LINE, level).value[0]
        np.testing.assert_allclose(part, value, atol=1e-14)
    x, weights = tensor_nodes(PLANE, level)
    k = np.array([[0.5, -0.2], [1.0, 0.7]]) / max(level.sigma, 1)
    np.testing.assert_allclose(
        characteristic(PLANE, level, k), weights @ np.exp(1j * x @ k.T), atol=1e-10
    )


def test_a_stack_is_its_laws():
    stack = GaussianMixture(
        [[0.3, 0.7], [1.0, 0.0]], [[-1.0, 1.5], [0.2, 0.0]], [[0.16, 0.49], [1, 1]]
    )
    level = NoiseLevel(np.array([1.0, 0.5])[:, None, None], np.array([0.3, 0.7])[:, None, None])
    field = fourier(1)
    model = Dialled(stack, field, Target(np.array([0.1, 2.0])[:, None, None]))
    x = np.random.default_rng(0).standard_normal((2, 6, 1))
    for i in range(2):
        one = Dialled(stack.take(i), field, Target([0.1, 2.0][i]))
        at = NoiseLevel(float(level.alpha[i, 0, 0]), float(level.sigma[i, 0, 0]))
        for name in ("__call__", "divergence", "score"):
            np.testing.assert_allclose(
                getattr(model, name)(x, level)[i], getattr(one, name)(x[i], at), rtol=1e-12
            )
        assert model.fisher(level).value[i] == pytest.approx(one.fisher(at).value, rel=1e-13)
        part = model.take([i])
        inner = NoiseLevel(level.alpha[[i]], level.sigma[[i]])
        np.testing.assert_array_equal(part(x[[i]], inner)[0], model(x, level)[i])


@pytest.mark.parametrize("level", LEVELS[:3])
@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("name", LAWS)
def test_the_size_is_what_was_set(name, kind, level):
    """Against a sample of the law: no formula of the size is used."""
    law = LAWS[name]
    x = states(law, level, 20_000, seed=5)
    fisher = Dialled(law, FIELDS[kind](law), Target(0.3, "fisher"))
    squares = ((fisher.score(x, level) - law.score(x, level)) ** 2).sum(axis=-1)
    slack = 5 * squares.std() / np.sqrt(len(x)) + 2 * 0.3 * 5 * fisher.fisher(level).error
    assert squares.mean() == pytest.approx(0.09, abs=slack + 1e-12)
    assert fisher.fisher(level).value == pytest.approx(0.3, rel=1e-12)
    for unit, size in (("l2", 0.3), ("relative", 0.3 * level.sigma / level.alpha)):
        model = Dialled(law, FIELDS[kind](law), Target(0.3, unit))
        squares = ((model(x, level) - law(x, level)) ** 2).sum(axis=-1)
        slack = 5 * squares.std() / np.sqrt(len(x)) + 2 * size * 5 * model.l2(level).error
        assert squares.mean() == pytest.approx(size**2, abs=slack + 1e-12)
    assert model.fisher(level).value * level.sigma == pytest.approx(0.3, rel=1e-12)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("kind", ["fourier", "ripple", "over-smoothed"])
def test_the_size_is_the_integral(kind, level):
    """On the line, to the quadrature's accuracy."""
    model = Dialled(LINE, FIELDS[kind](LINE), Target(0.3, "fisher"))
    found = expect(lambda x: (model.score(x, level) - LINE.score(x, level)) ** 2, LINE, level)
    assert found.value[0, 0] == pytest.approx(0.09, rel=1e-9)


@pytest.mark.parametrize("level", LEVELS[:3])
@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("name", LAWS)
def test_derivatives_are_those_of_the_map(name, kind, level):
    law = LAWS[name]
    model = Dialled(law, FIELDS[kind](law), Target(0.5))
    x = states(law, level, 4)
    h = 1e-6 * level.sigma
    unit = np.eye(law.dim)[:, None] * np.ones_like(x)
    columns = np.stack(
        [(model(x + h * e, level) - model(x - h * e, level)) / (2 * h) for e in unit]
    )
    reach = 3 * np.max(model.gain(level)) + 1  # a field is at most the sum of two denoisers
    rounding = ROUNDING * EPS * reach * (np.abs(law(x, level)).max() + 1) / h
    scale = 1e-7 * (1 + np.abs(columns).max()) + rounding
    np.testing.assert_allclose(model.jvp(x, level, unit), columns, atol=scale)
    np.testing.assert_allclose(
        model.vjp(x, level, unit), np.einsum("jni->inj", columns), atol=scale
    )
    trace = np.einsum("ini->n", columns)
    np.testing.assert_allclose(model.divergence(x, level), trace, atol=law.dim * scale)
    np.testing.assert_allclose(model.moments(x, level)[1], trace, atol=law.dim * scale)


def test_only_a_field_along_its_waves_is_a_gradient():
    level, law = LEVELS[1], PLANE
    x, v = states(law, level, 5), np.random.default_rng(0).standard_normal((5, 2))
    for field, symmetric in ((ripple(2), True), (fourier(2), False)):
        model = Dialled(law, field, Target(0.5))
        skew = np.abs(model.jvp(x, level, v) - model.vjp(x, level, v)).max()
        assert (skew < 1e-12) == symmetric


def test_a_wrong_bandwidth_is_the_exact_denoiser_of_that_law():
    for law, wrong in (
        (PLANE, GaussianMixture(PLANE.weights, PLANE.means, 4 * PLANE.covariances)),
        (ROWS, EmpiricalMixture(ROWS.data, 0.4)),
    ):
        model = Dialled(law, smoothing(law, 2.0), Target(1.0, "field"))
        x = states(law, LEVELS[0], 6)
        np.testing.assert_allclose(model(x, LEVELS[0]), wrong(x, LEVELS[0]), rtol=1e-12)
        np.testing.assert_allclose(
            model.divergence(x, LEVELS[0]), wrong.divergence(x, LEVELS[0]), rtol=1e-10
        )


@pytest.mark.parametrize("kind", FIELDS)
@pytest.mark.parametrize("name", LAWS)
def test_every_library_gives_the_same(name, kind):
    torch = pytest.importorskip("torch")
    law, level = LAWS[name], LEVELS[1]
    model = Dialled(law, FIELDS[kind](law), Target(0.5))
    x = states(law, level, 5)
    v = np.random.default_rng(0).standard_normal((2, *x.shape))
    for make in (torch.from_numpy, array_api_strict.asarray):
        for method, args in (
            ("__call__", ()),
            ("divergence", ()),
            ("jvp", (v,)),
            ("vjp", (v,)),
            ("score", ()),
        ):
            expected = getattr(model, method)(x, level, *args)
            found = getattr(model, method)(make(x), level, *(make(a) for a in args))
            assert type(found) is type(make(x))
            np.testing.assert_allclose(np.asarray(found), expected, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("kind", FIELDS)
def test_it_runs_through_every_part_that_takes_a_denoiser(kind):
    model = Dialled(PLANE, FIELDS[kind](PLANE), Target(lambda level: 0.1 / (1 + level.sigma)))
    x = 80 * np.random.default_rng(0).standard_normal((40, 2))
    assert np.isfinite(
        solve(model, x, make_grid(EDM, "karras", 5), SOLVERS["dpmpp-2m"]).state
    ).all()
    s, t = PROCESSES["vp-linear"].level_at(1.5), PROCESSES["vp-linear"].level_at(0.5)
    x = states(PLANE, s, 6)
    for solver in (EULER, SOLVERS["heun"]):
        step = Step.take(model, solver, x, s, t)
        exact = Exact()(step, np.random.default_rng(0))
        h = 1e-5
        residual = lambda z, solver=solver: solver.step(model, z, s, t, ()).residual  # noqa: E731
        by_hand = sum(
            (residual(x + h * e) - residual(x - h * e))[:, i] / (2 * h)
            for i, e in enumerate(np.eye(2))
        )
        np.testing.assert_allclose(exact, by_hand, atol=1e-6)


def test_no_size_no_error():
    model = Dialled(PLANE, fourier(2), Target(0.0))
    x = states(PLANE, LEVELS[0], 5)
    np.testing.assert_array_equal(model(x, LEVELS[0]), PLANE(x, LEVELS[0]))
    assert model.fisher(LEVELS[0]).value == 0


def test_the_closed_form_needs_both_of_its_terms():
    """A control: with the sum or the difference of waves alone the size is off."""
    field, level = fourier(1), LEVELS[0]
    exact = float(field.mean_square(LINE, level).value)
    scale = np.hypot(level.alpha, level.sigma)
    value = expect(lambda x: field(x, level) ** 2, LINE, level).value[0, 0]
    assert exact == pytest.approx(value, rel=1e-12)
    gram = field.vectors @ field.vectors.T
    k = field.waves / scale
    phi = characteristic(LINE, level, (k[:, None] - k[None, :]).reshape(-1, 1)).reshape(gram.shape)
    turn = np.exp(1j * (field.phases[:, None] - field.phases[None, :]))
    assert 0.5 * (gram * (turn * phi).real).sum() != pytest.approx(value, rel=1e-3)
    assert float(mean_square_of_waves(LINE, level, k, field.phases, field.vectors)) == exact


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: Dialled(LINE, bias([1.0]), Target(0.1, "kl")), "unit must be one of l2, fisher"),
        (
            lambda: Dialled(LINE, bias([0.0]), Target(0.1))(np.ones((1, 1)), LEVELS[0]),
            "field must not vanish",
        ),
        (
            lambda: Dialled(LINE, bias([1.0]), Target(-0.1))(np.ones((1, 1)), LEVELS[0]),
            "amount must be >= 0",
        ),
        (lambda: smoothing(LINE, 1.0), "factor must be finite, > 0 and not 1, got 1.0"),
        (lambda: smoothing(LINE, -1.0), "factor must be finite, > 0 and not 1, got -1.0"),
        (lambda: smoothing(EmpiricalMixture(np.ones((2, 2))), 2.0), "bandwidth must be > 0"),
        (
            lambda: Waves(np.ones((2, 1)), np.ones(3), np.ones((2, 1))),
            "waves and vectors must have shape",
        ),
    ],
)
def test_bad_input_names_the_field(call, message):
    with pytest.raises(ValueError, match=message):
        call()
