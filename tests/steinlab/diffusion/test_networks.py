"""Torch networks as denoisers: a mixture in every style a network comes in, against the mixture."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from analytic import GaussianMixture, NoiseLevel  # noqa: E402
from steinlab.coefficient.divergence import Exact, Hutchinson  # noqa: E402
from steinlab.diffusion.denoisers import (  # noqa: E402
    PREDICTIONS,
    HasDivergence,
    HasJvp,
    HasVjp,
)
from steinlab.diffusion.grids import make_grid  # noqa: E402
from steinlab.diffusion.networks import (  # noqa: E402
    COORDINATES,
    NetworkDenoiser,
    discrete_times,
    edm_denoiser,
    from_torch,
    timed_denoiser,
)
from steinlab.diffusion.processes import PROCESSES, VP_LINEAR  # noqa: E402
from steinlab.solvers import EULER, SOLVERS  # noqa: E402
from steinlab.solvers.step import Step  # noqa: E402

SHAPE, DIM = (1, 2, 2), 4
WEIGHTS = np.array([0.2, 0.5, 0.3])
MEANS = np.random.default_rng(1).standard_normal((3, DIM))
VARIANCE = 0.25
LAW = GaussianMixture(WEIGHTS, MEANS, VARIANCE)

RATIOS = (0.05, 0.7, 6.0)
BARS = 1 / (1 + np.geomspace(0.01, 40.0, 500) ** 2)


class EdmNet(torch.nn.Module):
    """``net(x, sigma) -> D``, a mixture with a level a picture, written anew in torch."""

    def __init__(self):
        super().__init__()
        self.register_buffer("means", torch.from_numpy(MEANS))
        self.register_buffer("weights", torch.from_numpy(WEIGHTS))
        self.scale = torch.nn.Parameter(torch.ones(()))

    def forward(self, x, sigma):
        assert x.shape[1:] == SHAPE
        assert sigma.shape == x.shape[:1]
        flat, power = x.flatten(1), sigma[:, None] ** 2
        off = flat[:, None, :] - self.means
        logits = self.weights.log() - (off**2).sum(-1) / (2 * (VARIANCE + power))
        means = self.means + off * (VARIANCE / (VARIANCE + power))[..., None]
        out = (logits.softmax(-1)[..., None] * means).sum(1)
        return (self.scale * out).reshape(x.shape)


OWN = {
    "edm": lambda r: (torch.ones_like(r), r),
    "vp": lambda r: (1 / (1 + r**2).sqrt(), r / (1 + r**2).sqrt()),
    "flow": lambda r: (1 / (1 + r), r / (1 + r)),
}


class ExactNet(torch.nn.Module):
    """``net(x, t)`` on states of the given coordinates, exact in every prediction."""

    def __init__(self, prediction, ratio_of, coordinates="vp"):
        super().__init__()
        self.edm, self.prediction, self.ratio_of = EdmNet(), prediction, ratio_of
        self.own = OWN[coordinates]

    def forward(self, x, t):
        ratio = self.ratio_of(t)
        alpha, sigma = self.own(ratio[:, None, None, None])
        denoised = self.edm(x / alpha, ratio)
        eps = (x - alpha * denoised) / sigma
        return {
            "eps": eps,
            "v": alpha * eps - sigma * denoised,
            "score": -eps / sigma,
            "velocity": eps - denoised,
            "velocity-to-data": denoised - eps,
            "x0": denoised,
        }[self.prediction]


def interpolated(t):
    """The inverse of ``discrete_times(BARS)``."""
    logs = torch.from_numpy(0.5 * np.log((1 - BARS) / BARS)).to(t.dtype)
    low = t.floor().long().clamp(0, len(logs) - 2)
    return (logs[low] + (t - low) * (logs[low + 1] - logs[low])).exp()


def linear_ratio(t):
    integral = 0.1 * t + 0.5 * 19.9 * t * t
    return integral.expm1().sqrt()


class Preconditioned(EdmNet):
    """EDM's ``c_skip x + c_out F(c_in x, log(sigma) / 4)`` around the ``F`` that makes it exact."""

    def forward(self, x, sigma):
        wide = sigma[:, None, None, None]
        total = (wide**2 + 0.25).sqrt()
        skip, out = 0.25 / total**2, 0.5 * wide / total
        back = (x / total) * total
        return skip * x + out * ((super().forward(back, sigma) - skip * back) / out)


STYLES = {
    "edm": lambda **options: edm_denoiser(EdmNet(), SHAPE, **options),
    "edm, preconditioned": lambda **options: edm_denoiser(Preconditioned(), SHAPE, **options),
    **{
        f"{prediction}, alphas_cumprod": lambda prediction=prediction, **options: timed_denoiser(
            ExactNet(prediction, interpolated),
            SHAPE,
            prediction=prediction,
            time_of=discrete_times(BARS),
            **options,
        )
        for prediction in ("eps", "v", "score", "x0")
    },
    "score, vp-linear": lambda **options: timed_denoiser(
        ExactNet("score", linear_ratio),
        SHAPE,
        prediction="score",
        time_of=VP_LINEAR.time,
        **options,
    ),
    "velocity, flow": lambda **options: from_torch(
        ExactNet("velocity", lambda t: t / (1 - t), "flow"),
        SHAPE,
        prediction="velocity",
        coordinates="flow",
        **options,
    ),
}

DTYPES = {"float32": torch.float32, "float64": torch.float64}


def states(level, n=7, seed=0):
    rng = np.random.default_rng(seed)
    return level.noised(LAW.sample(n, rng), rng)


def tolerance(level, dtype):
    """``c eps`` of what is subtracted: ``x / alpha`` and ``(sigma / alpha) eps`` make ``D``.

    A time in float32 moves the level by ``eps t d log(ratio)/dt``: for BARS a step is 0.017 in the
    logarithm and t is below 500; the linear clock's rate is below 20.
    """
    return 60 * torch.finfo(dtype).eps * (1 + level.ratio) * (1 + 1 / level.ratio)


@pytest.mark.parametrize("process", PROCESSES)
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("style", STYLES)
def test_a_wrapped_mixture_is_the_mixture(style, dtype, process):
    denoiser = STYLES[style](dtype=DTYPES[dtype])
    rng = np.random.default_rng(2)
    for ratio in RATIOS:
        level = PROCESSES[process].level_at(ratio)
        x, v = states(level), rng.standard_normal((3, 7, DIM))
        close = tolerance(level, DTYPES[dtype])
        rate = np.abs(LAW.jacobian(x, level)).max()
        np.testing.assert_allclose(denoiser(x, level), LAW(x, level), rtol=0, atol=close * 3)
        products = LAW.jvp(x, level, v)  # symmetric: its transpose too
        for name in ("jvp", "vjp"):
            found = getattr(denoiser, name)(x, level, v)
            atol = 10 * close * (1 + rate) / level.alpha
            np.testing.assert_allclose(found, products, rtol=0, atol=atol)


CLOCKS = {
    "t": (lambda r: r / (1 + r), lambda t: t / (1 - t)),
    "1000 t": (lambda r: 1000 * r / (1 + r), lambda t: t / (1000 - t)),
    "1 - t": (lambda r: 1 / (1 + r), lambda t: (1 - t) / t),
    "log sigma": (math.log, torch.exp),
}


@pytest.mark.parametrize("clock", CLOCKS)
@pytest.mark.parametrize("coordinates", OWN)
@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "score", "velocity", "velocity-to-data"])
def test_every_convention_is_the_mixture(prediction, coordinates, clock):
    time_of, ratio_of = CLOCKS[clock]
    for dtype in DTYPES.values():
        denoiser = from_torch(
            ExactNet(prediction, ratio_of, coordinates),
            SHAPE,
            prediction=prediction,
            coordinates=coordinates,
            time_of=time_of,
            dtype=dtype,
        )
        for process in ("edm", "vp-cosine", "flow"):
            for ratio in RATIOS:
                level = PROCESSES[process].level_at(ratio)
                x = states(level)
                close = 3 * tolerance(level, dtype)
                np.testing.assert_allclose(denoiser(x, level), LAW(x, level), rtol=0, atol=close)


@pytest.mark.parametrize("process", ["flow", "vp-linear"])
@pytest.mark.parametrize("coordinates", ["flow", "vp"])
@pytest.mark.parametrize("prediction", ["x0", "v", "velocity", "velocity-to-data"])
def test_from_pure_noise_an_exact_network_returns_the_mean(prediction, coordinates, process):
    """``E[x0]`` of ``x0`` itself, and of ``-v``, ``x - velocity``, ``x + velocity-to-data``."""
    mean = torch.from_numpy(LAW.mean()).reshape(SHAPE)

    def net(x, t):
        assert torch.all(t == end)
        alone = {"x0": mean + 0 * x, "v": -mean + 0 * x, "velocity": x - mean}
        return alone[prediction] if prediction in alone else mean - x

    end = 999.0 if coordinates == "vp" else 1.0
    times = {"vp": lambda r: 999.0 if r == math.inf else 0.0}.get(coordinates)
    denoiser = from_torch(
        net,
        SHAPE,
        prediction=prediction,
        coordinates=coordinates,
        time_of=times,
        dtype=torch.float64,
    )
    level = PROCESSES[process].level_at(math.inf)
    x = np.random.default_rng(0).standard_normal((5, DIM))
    expected = np.broadcast_to(LAW.mean(), x.shape)
    np.testing.assert_allclose(denoiser(x, level), expected, rtol=0, atol=1e-14)
    np.testing.assert_allclose(LAW(x, level), expected, rtol=0, atol=1e-14)


@pytest.mark.parametrize(
    ("prediction", "coordinates", "message"),
    [
        (
            "eps",
            "vp",
            "alpha must be > 0 for the prediction eps, got 0.0; v, velocity and x0 determine",
        ),
        ("score", "flow", "alpha must be > 0 for the prediction score"),
        ("x0", "edm", "alpha must be > 0 for a network in edm coordinates, got 0.0"),
    ],
)
def test_pure_noise_that_leaves_the_data_open_is_refused(prediction, coordinates, message):
    denoiser = from_torch(
        lambda x, _: x, [2], prediction=prediction, coordinates=coordinates, time_of=lambda _: 1.0
    )
    with pytest.raises(ValueError, match=message):
        denoiser(np.ones((1, 2)), NoiseLevel(0.0, 1.0))


def test_a_velocity_needs_coordinates():
    """It was fed variance-preserving states, and ``D`` was off by 0.44 at ``t = 1/2``."""
    net = ExactNet("velocity", lambda t: t / (1 - t), "flow")
    for name in ("flow", "velocity", "velocity-to-data"):
        with pytest.raises(
            ValueError, match=f"coordinates must be given for the prediction {name}"
        ):
            timed_denoiser(net, SHAPE, prediction=name, time_of=PROCESSES["flow"].time)
    given = timed_denoiser(
        net.double(), SHAPE, prediction="flow", time_of=PROCESSES["flow"].time, coordinates="flow"
    )
    level = PROCESSES["flow"].level(0.5)
    np.testing.assert_allclose(given(states(level), level), LAW(states(level), level), atol=1e-12)


def test_the_network_keeps_its_dtype_and_a_copy_is_moved():
    net = EdmNet()  # its parameter is float32
    own = edm_denoiser(net.double(), SHAPE)
    assert own.dtype == torch.float64
    half = from_torch(net, SHAPE, prediction="x0", coordinates="edm", dtype=torch.float16)
    assert half.dtype == torch.float16
    assert net.scale.dtype == torch.float64
    x = states(LEVEL)
    assert half(x, LEVEL).dtype == np.float64
    np.testing.assert_allclose(half(x, LEVEL), LAW(x, LEVEL), atol=0.02)


class Output:
    """An output object as diffusers has them."""

    def __init__(self, sample):
        self.sample = sample


@pytest.mark.parametrize("wrap", [lambda y: (y,), lambda y: [y, None], Output])
def test_tuples_and_output_objects_are_unwrapped(wrap):
    denoiser = edm_denoiser(lambda x, s: wrap(EdmNet()(x, s)), SHAPE, dtype=torch.float64)
    np.testing.assert_allclose(denoiser(states(LEVEL), LEVEL), LAW(states(LEVEL), LEVEL))


@pytest.mark.parametrize("rows", [2, 1000])
@pytest.mark.parametrize("labels", [[0, 1, 2, 3, 4, 5, 6], 3, torch.arange(7.0)])
def test_labels_follow_their_states(labels, rows):
    """Through chunks, probes and a corrected run; one label serves all."""

    def net(x, sigma, y):
        assert len(y) == len(x)
        return (1 + y.to(x.dtype))[:, None, None, None] * x / (1 + sigma[:, None, None, None])

    plain = edm_denoiser(net, SHAPE, dtype=torch.float64, rows=rows)
    denoiser, x = plain.given(labels), states(LEVEL)
    factor = np.broadcast_to(1 + np.asarray(labels, dtype=float), 7)[:, None]
    expected = factor * x / LEVEL.alpha / (1 + LEVEL.ratio)
    np.testing.assert_allclose(denoiser(x, LEVEL), expected, rtol=1e-14)
    v = np.random.default_rng(0).standard_normal((3, 7, DIM))
    for product in (denoiser.jvp, denoiser.vjp):
        found = product(x, LEVEL, v)
        np.testing.assert_allclose(found, factor * v / LEVEL.alpha / (1 + LEVEL.ratio), rtol=1e-14)
    if np.ndim(labels):
        with pytest.raises(ValueError, match=r"labels must be one, or one per state \(2\), got 7"):
            denoiser(x[:2], LEVEL)


def test_pictures_are_states_too():
    denoiser, x = STYLES["edm"](dtype=torch.float64), states(LEVEL)
    expected = LAW(x, LEVEL).reshape(7, *SHAPE)
    np.testing.assert_array_equal(
        denoiser(x.reshape(7, *SHAPE), LEVEL), denoiser(x, LEVEL).reshape(7, *SHAPE)
    )
    np.testing.assert_allclose(denoiser(x.reshape(7, *SHAPE), LEVEL), expected)
    v = np.ones((2, 7, *SHAPE))
    found = denoiser.jvp(x.reshape(7, *SHAPE), LEVEL, v)
    np.testing.assert_allclose(found, LAW.jvp(x, LEVEL, v.reshape(2, 7, DIM)).reshape(v.shape))


def test_the_graph_is_kept_where_the_state_asks_for_it():
    """One Euler step from N(0, 1), ``D = x / 2`` at noise 1: ``x_t = 0.6 x``, not 0.5 x."""

    def net(x, _sigma):
        return 0.5 * weight * x

    weight = torch.ones((), requires_grad=True)
    levels = (NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.2))
    for dtype in (torch.float32, torch.float64):
        x = torch.tensor([[2.0]], dtype=torch.float64, requires_grad=True)
        found = EULER.step(edm_denoiser(net, [1], dtype=dtype), x, *levels, ()).state
        (slope,) = torch.autograd.grad(found.sum(), x)
        assert slope.item() == pytest.approx(0.6, rel=1e-6)
    assert not edm_denoiser(net, [1])(x.detach(), levels[0]).requires_grad
    assert not edm_denoiser(net, [1], gradients=False)(x, levels[0]).requires_grad
    found = edm_denoiser(net, [1], gradients=True)(x.detach(), levels[0])
    (slope,) = torch.autograd.grad(found.sum(), weight)
    assert slope.item() == pytest.approx(1.0)


class Attention(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.attend = torch.nn.MultiheadAttention(2, 1, dropout=0.1)

    def forward(self, x, _t):
        return self.attend(x[:, None], x[:, None], x[:, None])[0][:, 0]


class Functional(torch.nn.Module):
    def forward(self, x, _t):
        return torch.nn.functional.dropout(x, 0.5, self.training)


@pytest.mark.parametrize(
    ("net", "name"),
    [
        (Attention(), "MultiheadAttention"),
        (torch.nn.Sequential(Functional(), torch.nn.BatchNorm1d(2)), "BatchNorm1d"),
        (Functional(), "Functional"),
    ],
)
def test_a_network_in_training_mode_is_refused(net, name):
    """Also one that was told to train after it was wrapped."""
    line = f"net must be in evaluation mode.*: its {name} is training"
    if name != "Functional":  # whose dropout nothing tells
        with pytest.raises(ValueError, match=line):
            edm_denoiser(net, [2])
    wrapped, x = edm_denoiser(net.eval(), [2]), np.ones((3, 2))
    edm_denoiser(torch.nn.Linear(2, 2), [2])
    net.train()
    for asked in (lambda: wrapped(x, LEVEL), lambda: wrapped.jvp(x, LEVEL, x)):
        with pytest.raises(ValueError, match=line):
            asked()


@pytest.mark.parametrize("style", STYLES)
def test_the_trace_of_a_step_is_exact(style):
    denoiser = STYLES[style](dtype=torch.float64)
    for process in ("edm", "vp-linear", "flow"):
        s, t = (PROCESSES[process].level_at(ratio) for ratio in (1.5, 0.4))
        x = states(s)
        for solver in (EULER, SOLVERS["heun"]):
            traces = []
            for each in (denoiser, LAW):
                step = Step.take(each, solver, x, s, t)
                traces.append(Exact()(step, np.random.default_rng(0)))
            np.testing.assert_allclose(*traces, rtol=1e-9)


def test_jvp_and_vjp_are_transposes_where_the_jacobian_is_not_symmetric():
    turn = torch.tensor([[0.0, 1.0], [-0.5, 0.2]], dtype=torch.float64)
    denoiser = edm_denoiser(lambda x, _sigma: (x @ turn.T).tanh(), [2], dtype=torch.float64)
    rng, level = np.random.default_rng(0), NoiseLevel(0.5, 0.5)
    x, v, w = rng.standard_normal((3, 5, 2))
    forward = (w * denoiser.jvp(x, level, v)).sum()
    assert forward == pytest.approx((v * denoiser.vjp(x, level, w)).sum(), rel=1e-12)
    assert abs(forward - (v * denoiser.jvp(x, level, w)).sum()) > 0.1


LEVEL = NoiseLevel(0.8, 0.6)


@pytest.mark.parametrize("kind", ["numpy", "torch"])
@pytest.mark.parametrize("outside", DTYPES)
def test_what_goes_in_comes_out(kind, outside):
    """Library and dtype of the state, whatever the network's own."""
    denoiser = STYLES["edm"](dtype=torch.float32)
    x, v = states(LEVEL).astype(outside), np.ones((2, 7, DIM), dtype=outside)
    expected = LAW(states(LEVEL), LEVEL)
    if kind == "torch":
        x, v = torch.from_numpy(x), torch.from_numpy(v)
    for out in (denoiser(x, LEVEL), denoiser.jvp(x, LEVEL, v), denoiser.vjp(x, LEVEL, v)):
        assert type(out) is type(x)
        assert out.dtype == x.dtype
        assert not getattr(out, "requires_grad", False)
    np.testing.assert_allclose(np.asarray(denoiser(x, LEVEL)), expected, atol=1e-4)


@pytest.mark.parametrize("rows", [1, 2, 3, 5, 1000])
def test_chunks_do_not_change_the_answer_and_bound_what_the_network_sees(rows):
    seen = []

    def net(x, sigma):
        seen.append(len(x))
        return EdmNet()(x, sigma)

    denoiser = edm_denoiser(net, SHAPE, dtype=torch.float64, rows=rows)
    x, v = states(LEVEL), np.random.default_rng(0).standard_normal((4, 7, DIM))
    np.testing.assert_allclose(denoiser(x, LEVEL), LAW(x, LEVEL), rtol=1e-12)
    assert max(seen) <= rows
    assert sum(seen) == 7
    np.testing.assert_allclose(denoiser.jvp(x, LEVEL, v), LAW.jvp(x, LEVEL, v), rtol=1e-9)
    np.testing.assert_allclose(denoiser.vjp(x, LEVEL, v), LAW.jvp(x, LEVEL, v), rtol=1e-9)
    assert max(seen) <= rows


@pytest.mark.parametrize("x_shape", [(DIM,), (1, DIM), (7, DIM), (2, 3, DIM), (0, DIM)])
@pytest.mark.parametrize("probes", [(), (1,), (3,), (2, 3)])
def test_shapes(x_shape, probes):
    denoiser = STYLES["edm"](dtype=torch.float64)
    rng = np.random.default_rng(0)
    x, v = rng.standard_normal(x_shape), rng.standard_normal((*probes, *x_shape))
    assert denoiser(x, LEVEL).shape == x.shape
    for name in ("jvp", "vjp"):
        out = getattr(denoiser, name)(x, LEVEL, v)
        assert out.shape == v.shape
        if x.size:
            flat = v.reshape(-1, *x_shape)
            expected = LAW.jvp(x, LEVEL, flat).reshape(v.shape)
            np.testing.assert_allclose(out, expected, rtol=1e-9, atol=1e-12)


def test_arrays_that_torch_would_not_take():
    denoiser = STYLES["edm"](dtype=torch.float64)
    x = states(LEVEL)
    back, fixed = x[::-1], np.broadcast_to(x[:1], x.shape)
    np.testing.assert_allclose(denoiser(back, LEVEL), LAW(back, LEVEL), rtol=1e-12)
    np.testing.assert_allclose(denoiser(fixed, LEVEL), LAW(fixed, LEVEL), rtol=1e-12)
    v = np.broadcast_to(np.eye(DIM)[0], (1, 1, DIM))
    np.testing.assert_allclose(denoiser.jvp(x, LEVEL, v), LAW.jvp(x, LEVEL, v), rtol=1e-9)


def test_a_state_is_not_written_to():
    denoiser = edm_denoiser(lambda x, _sigma: x.mul_(0.5), [2], dtype=torch.float64)
    x = np.ones((3, 2))
    denoiser(x, NoiseLevel(1.0, 1.0))
    assert (x == 1).all()


@pytest.mark.parametrize("style", STYLES)
def test_without_noise_the_state_is_the_data(style):
    denoiser = STYLES[style](dtype=torch.float64)
    x = np.ones((2, DIM))
    assert (denoiser(x, NoiseLevel(1.0, 0.0)) == x).all()
    assert (denoiser(x, NoiseLevel(0.5, 0.0)) == 2 * x).all()
    assert (denoiser.jvp(x, NoiseLevel(0.5, 0.0), x[None]) == 2).all()


def test_it_offers_products_and_no_exact_divergence():
    denoiser = STYLES["edm"](dtype=torch.float32)
    assert isinstance(denoiser, HasJvp)
    assert isinstance(denoiser, HasVjp)
    assert not isinstance(denoiser, HasDivergence)


@pytest.mark.parametrize("mode", ["jvp", "vjp"])
def test_probes_estimate_the_divergence(mode):
    s, t = PROCESSES["edm"].level_at(1.0), PROCESSES["edm"].level_at(0.5)
    denoiser, x = STYLES["edm"](dtype=torch.float64), states(s)
    step = Step.take(denoiser, EULER, x, s, t)
    rng = np.random.default_rng(3)
    draws = np.stack([Hutchinson(mode=mode)(step, rng) for _ in range(400)])
    error = draws.std(axis=0, ddof=1) / 20
    assert (np.abs(draws.mean(axis=0) - Exact()(step, rng)) < 5 * error).all()


def test_a_table_may_start_without_noise_and_end_without_signal():
    time_of = discrete_times([1.0, 0.9, 0.5, 0.1, 0.0])
    assert [time_of(math.sqrt(1 / a - 1)) for a in (0.9, 0.5, 0.1)] == pytest.approx([1, 2, 3])
    assert (time_of(0.0), time_of(math.inf)) == (0, 4)
    assert 0 < time_of(0.1) < time_of(0.2) < 1
    assert 3 < time_of(5.0) < time_of(50.0) < 4


def test_a_table_in_float32_has_the_levels_of_its_grids():
    """Its first and last levels, 3e-4 off, were said to be outside of it."""
    bars = (1 - torch.linspace(1e-4, 0.02, 1000)).cumprod(0)
    assert bars.dtype == torch.float32
    time_of = discrete_times(bars)
    for name, ends in (("trailing", (999, 249)), ("linspace", (999, 0))):
        grid = make_grid("vp-linear", name, 4)[:-1]
        found = [time_of(level.ratio) for level in (grid[0], grid[-1])]
        assert found == pytest.approx(ends, abs=0.02)
    with pytest.raises(ValueError, match=r"sigma / alpha must be in 0\.01 to 157\.4, got 158"):
        time_of(158.0)


def test_the_time_is_the_customary_one():
    time_of = discrete_times(BARS)
    for index in (0, 1, 250, 499):
        ratio = math.sqrt((1 - BARS[index]) / BARS[index])
        assert time_of(ratio) == pytest.approx(index, abs=1e-9)
    between = math.sqrt(math.prod(math.sqrt((1 - BARS[i]) / BARS[i]) for i in (7, 8)))
    assert time_of(between) == pytest.approx(7.5, abs=1e-9)
    torch_bars = torch.from_numpy(BARS)
    assert discrete_times(torch_bars)(1.0) == time_of(1.0)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda d: d(np.ones((2, 3)), LEVEL), "x must have 4 coordinates, got 3"),
        (
            lambda d: d(np.ones((5, 2, 2, 1)), LEVEL),
            r"x must hold pictures \(1, 2, 2\), got \(5, 2, 2, 1\)",
        ),
        (lambda d: d([[1.0] * 4], LEVEL), "x must be an array of numbers, got list"),
        (lambda d: d.given("cat"), "labels must be numbers, got cat"),
        (lambda d: d.jvp(np.ones((2, 3)), LEVEL, np.ones((1, 2, 3))), "x must have 4 coordinates"),
        (
            lambda d: d(np.ones((2, 4)), NoiseLevel(np.ones((2, 1, 1)), np.ones((2, 1, 1)))),
            r"level must hold numbers, got arrays of shapes \(2, 1, 1\) and \(2, 1, 1\)",
        ),
        (lambda _: NetworkDenoiser(lambda x, _level: x, 4, rows=0), "rows must be >= 1, got 0"),
        (lambda _: edm_denoiser(EdmNet(), 4), r"shape must be a picture's sizes >= 1, .*got 4"),
        (lambda _: edm_denoiser(EdmNet(), (1, -2)), r"shape must be .*got \(1, -2\)"),
        (lambda _: edm_denoiser(EdmNet(), SHAPE, dtype="float16"), "dtype must be .*got 'float16'"),
        (lambda _: edm_denoiser(EdmNet(), SHAPE, dtype=torch.int64), "dtype must be a floating"),
        (lambda _: edm_denoiser(EdmNet(), SHAPE, time_of=1.0), "time_of must be a function of"),
        (
            lambda _: edm_denoiser(EdmNet(), SHAPE, time_of=lambda _r: None)(
                np.ones((2, 4)), LEVEL
            ),
            "time_of must return a number, at sigma / alpha .* got None",
        ),
        (
            lambda _: timed_denoiser(EdmNet(), SHAPE, prediction="noise", time_of=float),
            "prediction must be one of x0, eps, v, score, velocity, .*got noise",
        ),
        (
            lambda _: discrete_times([0.9, 0.5, 0.7]),
            r"alphas_cumprod must fall within \[0, 1\], got alphas_cumprod\[2\] = 0\.7",
        ),
        (
            lambda _: discrete_times([1.5, 0.5]),
            r"alphas_cumprod must fall within \[0, 1\], got alphas_cumprod\[0\] = 1\.5",
        ),
        (lambda _: discrete_times([[0.5]]), r"must be a list of at least 2, got shape \(1, 1\)"),
        (
            lambda _: discrete_times([0.9, 0.5])(2.0),
            r"sigma / alpha must be in 0\.3333 to 1, got 2",
        ),
    ],
)
def test_bad_input_names_the_field_the_value_and_the_requirement(call, message):
    with pytest.raises(ValueError, match=message):
        call(STYLES["edm"](dtype=torch.float64))


# --- shapes and dtypes of what goes in and comes out --------------------------------------------


def _wrapped(net: Any, shape: tuple[int, ...]) -> list[Any]:
    options: dict[str, Any] = {"prediction": "eps", "time_of": lambda r: r}
    return [edm_denoiser(net, shape), timed_denoiser(net, shape, **options)]


@pytest.mark.parametrize(
    "net",
    [
        lambda x, _: x.permute(0, 2, 3, 1),  # channels last
        lambda x, _: x.reshape(len(x), -1),
        lambda x, _: x.mean(dim=(1, 2, 3), keepdim=True),
    ],
    ids=["channels-last", "flat", "one-a-picture"],
)
def test_an_output_of_another_shape_is_refused(net: Any) -> None:
    """Channels last was reshaped into nonsense of the right shape, a mean was broadcast."""
    for denoiser in _wrapped(net, (2, 3, 4)):
        with pytest.raises(ValueError, match=r"^net must return .*, \(5, 2, 3, 4\), got \(5, "):
            denoiser(np.ones((5, 24)), NoiseLevel(1.0, 1.0))


NO_REAL_TENSOR = {
    "tuple": (lambda x, _: ("x", x), "^net must return a tensor, got str$"),
    "dtype": (
        lambda x, _: x.double(),
        "^net must return the dtype of its input, torch.float32, got torch.float64$",
    ),
    "none": (lambda _x, _: None, "^net must return a tensor, got NoneType$"),
    "complex": (lambda x, _: x + 0j, "^net must return real numbers, got torch.complex64$"),
}


@pytest.mark.parametrize(("net", "message"), NO_REAL_TENSOR.values(), ids=NO_REAL_TENSOR)
@pytest.mark.parametrize("method", ["__call__", "jvp", "vjp"])
def test_an_output_that_is_no_real_tensor_is_refused(net: Any, message: str, method: str) -> None:
    """None had "no attribute shape", and a complex output lost its imaginary part unsaid."""
    x = np.ones((5, 2))
    for denoiser in _wrapped(net, (2,)):
        probes = () if method == "__call__" else (x,)
        with pytest.raises(ValueError, match=message) as caught:
            getattr(denoiser, method)(x, NoiseLevel(1.0, 1.0), *probes)
        assert "\n" not in str(caught.value)


def test_integer_states_are_refused_as_laws_refuse_them() -> None:
    """They truncated D."""
    for denoiser in _wrapped(lambda x, _: 0.5 * x, (2,)):
        for x in (np.ones((3, 2), dtype=int), torch.ones((3, 2), dtype=torch.int64)):
            with pytest.raises(ValueError, match=r"^x must have a real floating dtype, got"):
                denoiser(x, NoiseLevel(1.0, 1.0))
        with pytest.raises(ValueError, match=r"^v must have a real floating dtype, got int64"):
            denoiser.jvp(np.ones((3, 2)), NoiseLevel(1.0, 1.0), np.ones((3, 2), dtype=int))


class Rounding(torch.nn.Module):
    """An exact network that computes in float64 and answers in its parameter's dtype."""

    def __init__(self, *convention):
        super().__init__()
        self.inner = [ExactNet(*convention).double()]  # a list, so that no copy is in half
        self.own, self.seen = torch.nn.Parameter(torch.ones(())), []

    def exact(self, x, t):
        with torch.no_grad():
            return self.inner[0](x.double(), t.double())

    def forward(self, x, t):
        assert x.dtype == self.own.dtype
        self.seen.append((x, t))
        return self.exact(x, t).to(x.dtype)


HALF = {"float16": torch.float16, "bfloat16": torch.bfloat16}


@pytest.mark.parametrize("half", HALF)
@pytest.mark.parametrize("coordinates", OWN)
@pytest.mark.parametrize("prediction", ["x0", "eps", "v", "score", "velocity"])
@pytest.mark.parametrize("outside", [np.float32, np.float64])
def test_only_the_network_computes_in_half_precision(prediction, coordinates, half, outside):
    """Its inputs are rounded once; ``D = a x + b N`` is formed in the states' dtype.

    So ``D`` is off by at most ``b`` times what is rounded in the output, ``u |N|`` with half an ulp
    ``u``, and what the rounded inputs change of ``N``.
    """
    dtype, (time_of, ratio_of) = HALF[half], CLOCKS["t"]
    net = Rounding(prediction, ratio_of, coordinates).to(dtype)
    denoiser = from_torch(
        net, SHAPE, prediction=prediction, coordinates=coordinates, time_of=time_of
    )
    for process in ("edm", "vp-linear", "flow"):
        for ratio in RATIOS:
            level, own = (p.level_at(ratio) for p in (PROCESSES[process], COORDINATES[coordinates]))
            x = states(level).astype(outside)
            found = denoiser(x, level)
            seen, times = net.seen.pop()
            pictures = torch.from_numpy(x * outside(own.alpha / level.alpha)).reshape(-1, *SHAPE)
            assert torch.equal(seen, pictures.to(dtype))
            assert torch.equal(times, torch.full((len(x),), time_of(ratio), dtype=dtype))
            output = net.exact(seen, times)
            a, b = (float(each) for each in PREDICTIONS[prediction](own))
            terms = a * pictures.double(), b * output.to(dtype).double()
            rounding = 4 * np.finfo(outside).eps * sum(float(term.abs().max()) for term in terms)
            formed = sum(terms).reshape(found.shape).numpy()
            np.testing.assert_allclose(found, formed, rtol=0, atol=rounding)
            right = net.exact(pictures, torch.full((len(x),), time_of(ratio)).double())
            off = (output - right).abs().max() + torch.finfo(dtype).eps / 2 * output.abs().max()
            atol = abs(b) * float(off) + 4 * rounding
            np.testing.assert_allclose(found, LAW(x.astype(float), level), rtol=0, atol=atol)


def test_derivatives_around_a_network_in_half_precision():
    """``D' v = a v + b N' v``: the first part has the states' digits."""
    half = from_torch(
        lambda x, _: 0.5 * x, [2], prediction="v", coordinates="vp", dtype=torch.bfloat16
    )
    level, v = NoiseLevel(0.8, 0.6), np.random.default_rng(0).standard_normal((3, 2))

    def rounded(v):
        return torch.from_numpy(v).to(torch.bfloat16).double().numpy()

    np.testing.assert_allclose(half.jvp(v, level, v), 0.8 * v - 0.3 * rounded(v), rtol=1e-12)
    np.testing.assert_allclose(half.vjp(v, level, v), 0.8 * v - 0.5 * rounded(0.6 * v), rtol=1e-12)
    x = torch.from_numpy(v).requires_grad_()
    (slope,) = torch.autograd.grad(half(x, level).sum(), x)
    np.testing.assert_allclose(slope, 0.8 - 0.5 * rounded(np.full((3, 2), 0.6)), rtol=1e-12)


def test_times_that_half_precision_does_not_tell_apart():
    """999 is 1000 in bfloat16; a network may take its times in float32."""
    times: Any = {"time_of": lambda _r: 999.0, "prediction": "eps", "coordinates": "vp"}

    def net(x, t):
        return (t / 999).to(x.dtype)[:, None] * x

    x = np.ones((1, 2))
    line = (
        "time_of must return at most 256, where whole numbers of torch.bfloat16 end, got 999: pass "
        "time_dtype=torch.float32 if the network takes times in it"
    )
    with pytest.raises(ValueError, match=f"^{line}$"):
        from_torch(net, [2], dtype=torch.bfloat16, **times)(x, LEVEL)
    wide = from_torch(net, [2], dtype=torch.bfloat16, time_dtype=torch.float32, **times)
    np.testing.assert_allclose(wide(x, LEVEL), (x - 0.6) / 0.8, rtol=1e-12)
    assert from_torch(net, [2], dtype=torch.float16, **times)(x, LEVEL) == pytest.approx(0.5)
    with pytest.raises(ValueError, match=r"time_dtype must be a floating one of torch, .* got 32"):
        from_torch(net, [2], time_dtype=32, **times)


def test_bfloat16_networks_take_numpy_states():
    x = np.random.default_rng(0).standard_normal((3, DIM))
    wrapped = edm_denoiser(EdmNet(), SHAPE, dtype=torch.bfloat16)
    found, tensors = wrapped(x, LEVEL), wrapped(torch.from_numpy(x), LEVEL)
    assert found.dtype == np.float64
    np.testing.assert_array_equal(found, tensors.detach().numpy())
    assert wrapped.jvp(x, LEVEL, x).dtype == np.float64
