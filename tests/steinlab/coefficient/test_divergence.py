"""The divergence of a step: exact against autograd; Hutchinson's with its variance."""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch

from analytic import GaussianMixture, NoiseLevel
from steinlab.coefficient import divergence
from steinlab.coefficient.divergence import Exact, Hutchinson, default_divergence, draw_probes
from steinlab.coefficient.step_terms import GAUSS_HERMITE_3
from steinlab.diffusion.autodiff import Differentiable
from steinlab.diffusion.processes import EDM, FLOW, VP_LINEAR, Process
from steinlab.solvers import EULER, HEUN, Evaluation, get_solver
from steinlab.solvers.step import Step, batch_axes, inner
from tests.steinlab.solvers.cases import ALONE, PLANE, states, uneven_grid

S, T = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)
RNG = np.random.default_rng(0)
FIELDS = ("alpha", "sigma")


def step_of(denoiser: Any, x: Any, solver: Any = EULER, history: Any = ()) -> Step:
    return Step.take(denoiser, solver, x, S, T, history=history)


def in_swing(name: str, process: Process, kind: Any) -> Step:
    """A step with its whole past, on ``kind`` (NumPy or torch) arrays."""
    grid = uneven_grid(process, 6)
    solver = get_solver(name, process)
    x, history = kind(states(grid)), ()
    for s, t in itertools.pairwise(grid[:5]):
        candidate = solver.step(PLANE, x, s, t, history)
        latest = Evaluation(s, x, candidate.denoised, candidate.linear)
        history = (latest, *history)[: solver.depth]
        x = candidate.state
    candidate = solver.step(PLANE, x, grid[4], grid[5], history)
    return Step(PLANE, solver, x, grid[4], grid[5], history, candidate)


@pytest.mark.parametrize("process", [EDM, VP_LINEAR, FLOW], ids=lambda p: p.name)
@pytest.mark.parametrize("name", ALONE)
def test_every_solver_against_autograd(name: str, process: Process) -> None:
    step = in_swing(name, process, torch.as_tensor)
    x = step.x.clone().requires_grad_(True)
    u = step.residual(x, PLANE)
    exact = sum(torch.autograd.grad(u[:, i].sum(), x, retain_graph=True)[0][:, i] for i in range(2))
    scale = float(exact.abs().max())
    np.testing.assert_allclose(Exact()(step, RNG), exact, atol=1e-11 * scale)
    numpy_step = in_swing(name, process, np.asarray)
    np.testing.assert_allclose(Exact()(numpy_step, RNG), exact, atol=1e-10 * scale)


@dataclass(frozen=True)
class Linear:
    """``D = A x``: a Jacobian that is neither symmetric nor of the law's making."""

    matrix: np.ndarray

    def __call__(self, x: Any, _level: NoiseLevel) -> Any:
        return x @ self.matrix.T

    def jvp(self, _x: Any, _level: NoiseLevel, tangent: Any) -> Any:
        return tangent @ self.matrix.T

    def vjp(self, _x: Any, _level: NoiseLevel, cotangent: Any) -> Any:
        return cotangent @ self.matrix


CROOKED = Linear(np.array([[0.5, 2.0, -1.0], [0.3, -0.7, 0.4], [1.1, 0.0, 0.2]]))
X = np.random.default_rng(1).standard_normal((2, 3))


def jacobian(solver: Any) -> np.ndarray:
    """``du/dx`` of a step on the linear denoiser, column by column."""
    columns = [solver.step(CROOKED, row[None], S, T, ()).residual[0] for row in np.eye(3)]
    return np.stack(columns, axis=1)


def one_probe(step: Step, law: str, mode: str = "jvp") -> tuple[np.ndarray, np.ndarray]:
    """Estimates and probabilities over a grid of probes that integrates degree 4 exactly."""
    nodes, weights = np.array([-1.0, 1.0]), np.array([0.5, 0.5])
    if law == "gaussian":
        nodes, weights = GAUSS_HERMITE_3
    grid = np.array(list(itertools.product(nodes, repeat=3)))
    chance = np.array([np.prod(w) for w in itertools.product(weights, repeat=3)])
    estimator = Hutchinson(law=law, mode=mode)
    values = [estimator.along(step, np.broadcast_to(v, (1, *step.x.shape)))[0] for v in grid]
    return np.array(values), chance


@pytest.mark.parametrize("solver", [EULER, HEUN], ids=lambda s: s.name)
@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_hutchinson_is_unbiased_with_the_stated_variance(law: str, solver: Any) -> None:
    """Expectations over the probes are sums: nothing is sampled."""
    step, jac = step_of(CROOKED, X, solver), jacobian(solver)
    values, chance = one_probe(step, law)
    assert chance @ values == pytest.approx(np.trace(jac), rel=1e-12)
    assert Exact()(step, RNG)[0] == pytest.approx(np.trace(jac), rel=1e-12)
    symmetric = 0.5 * (jac + jac.T)
    variance = 2 * (symmetric**2).sum()
    if law == "rademacher":
        variance -= 2 * (np.diag(jac) ** 2).sum()
    elif solver is EULER:  # a linear step never probes its identity part
        linear = step.candidate.linear
        assert linear is not None
        beta = linear.betas[0]
        variance = 2 * ((0.5 * beta * (CROOKED.matrix + CROOKED.matrix.T)) ** 2).sum()
    assert chance @ (values - np.trace(jac)) ** 2 == pytest.approx(variance, rel=1e-12)


@pytest.mark.parametrize("law", ["rademacher", "gaussian"])
def test_drawn_probes_have_their_law(law: str) -> None:
    v = draw_probes(np.zeros((50_000, 3)), 2, law, np.random.default_rng(0))
    assert v.shape == (2, 50_000, 3)
    flat, n = v.reshape(-1, 3), v.size // 3
    np.testing.assert_allclose(flat.mean(axis=0), 0, atol=5 / math.sqrt(n))
    np.testing.assert_allclose(flat.T @ flat / n, np.eye(3), atol=10 / math.sqrt(n))
    fourth = 1.0 if law == "rademacher" else 3.0
    assert (flat**4).mean() == pytest.approx(fourth, abs=5 * math.sqrt(96 / (3 * n)))
    assert draw_probes(torch.zeros(2, 3), 4, law, RNG).dtype == torch.float32


def test_probes_are_averaged() -> None:
    step = step_of(CROOKED, X)
    many = Hutchinson(probes=4000, law="gaussian")(step, np.random.default_rng(0))
    np.testing.assert_allclose(many, Exact()(step, RNG), atol=0.1)
    v = draw_probes(X, 3, "gaussian", np.random.default_rng(5))
    singly = [Hutchinson().along(step, v[p : p + 1]) for p in range(3)]
    np.testing.assert_allclose(Hutchinson(3).along(step, v), np.mean(singly, axis=0), rtol=1e-13)


@pytest.mark.parametrize("solver", [EULER, HEUN], ids=lambda s: s.name)
def test_both_modes_are_the_same_number(solver: Any) -> None:
    net = Differentiable(lambda x, _: torch.sin(x @ torch.as_tensor(CROOKED.matrix).T))
    step = step_of(net, torch.as_tensor(X), solver)
    estimates = [
        Hutchinson(probes=3, law="gaussian", mode=mode)(step, np.random.default_rng(7))
        for mode in ("jvp", "vjp")
    ]
    np.testing.assert_allclose(estimates[0], estimates[1], rtol=1e-12)
    eye = torch.eye(3, dtype=torch.float64)[:, None, :].expand(3, 2, 3)
    trace = 3 * Hutchinson(mode="vjp").along(step, eye)
    if solver is EULER:  # the split form counts the identity part once a probe
        linear = step.candidate.linear
        assert linear is not None
        trace = trace - 2 * 3 * linear.one_minus_kappa
    np.testing.assert_allclose(trace, Exact()(step, RNG), rtol=1e-12)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    step = step_of(CROOKED, X, HEUN)
    whole = Exact()(step, RNG)
    monkeypatch.setattr(divergence, "BLOCK", 1)
    np.testing.assert_allclose(Exact()(step, RNG), whole, rtol=1e-14)


@pytest.mark.parametrize(
    ("shape", "limit", "blocks"),
    [
        ((2, 3), 13, [2, 1]),
        ((2, 3), 5, [1, 1, 1]),
        ((2, 3), 11, [1, 1, 1]),
        ((2, 3), 18, [3]),
        ((0, 3), 2, [2, 1]),
        ((2**19, 4), None, [2, 2]),
        ((2**10, 3), None, [3]),
    ],
)
def test_a_block_holds_as_many_tangents_as_are_allowed(
    shape: tuple[int, int], limit: int | None, blocks: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Four million numbers, unless told otherwise."""
    if limit is not None:
        monkeypatch.setattr(divergence, "BLOCK", limit)
    met = []

    def residual(_: Step, x: Any, __: Any) -> Any:
        met.append(len(x.tangent))
        return x

    monkeypatch.setattr(Step, "residual", residual)
    x = np.broadcast_to(np.zeros(1), shape)
    trace = divergence._exact_trace(Step(CROOKED, EULER, x, S, T, (), None))  # type: ignore[arg-type]
    assert met == blocks
    np.testing.assert_array_equal(trace, np.full(shape[0], shape[1]))


def test_a_stack_of_levels_is_its_members() -> None:
    pairs = [(S, T), (NoiseLevel(0.5, 0.9), NoiseLevel(0.7, 0.2))]
    s, t = (
        NoiseLevel(
            *(np.array([getattr(level, k) for level in ends])[:, None, None] for k in FIELDS)
        )
        for ends in zip(*pairs, strict=True)
    )
    law = GaussianMixture(*(np.stack([v, v]) for v in (PLANE.weights, PLANE.means, PLANE.spectra)))
    x = np.random.default_rng(0).standard_normal((2, 5, 2))
    for solver in (EULER, HEUN):
        whole = Exact()(Step.take(law, solver, x, s, t), RNG)
        for i, (a, b) in enumerate(pairs):
            one = Step.take(PLANE, solver, x[i], a, b)
            np.testing.assert_allclose(whole[i], Exact()(one, RNG), rtol=1e-13)


def test_reverse_mode_needs_no_products_of_the_denoisers_own() -> None:
    def bare(x: Any, _: NoiseLevel) -> Any:
        return torch.sin(x @ torch.as_tensor(CROOKED.matrix).T)

    v = torch.ones((1, 2, 3), dtype=torch.float64)
    known = step_of(Differentiable(bare), torch.as_tensor(X), HEUN)
    found = Hutchinson(mode="vjp").along(step_of(bare, torch.as_tensor(X), HEUN), v)
    np.testing.assert_allclose(found, Hutchinson(mode="jvp").along(known, v), rtol=1e-12)


@pytest.mark.parametrize("shape", [(6, 3), (4, 6, 3), (6, 1, 3, 1)], ids=str)
def test_the_head_of_a_step_is_the_step_of_its_first_states(shape: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)

    def half(x: Any, _: NoiseLevel) -> Any:
        return 0.5 * x

    past = rng.standard_normal(shape)
    history = (Evaluation(NoiseLevel(0.5, 0.9), past, half(past, S)),)
    solver, x = get_solver("dpmpp-2m", VP_LINEAR), rng.standard_normal(shape)
    step = step_of(half, x, solver, history)
    assert step.states == 6
    assert step.head(6) is step
    assert step.head(7) is step
    few = (slice(None),) * (1 if len(shape) == 3 else 0) + (slice(4),)
    short = (Evaluation(NoiseLevel(0.5, 0.9), past[few], half(past[few], S)),)
    own, got = step_of(half, x[few], solver, short), step.head(4)
    assert got.states == 4
    np.testing.assert_array_equal(got.x, own.x)
    for name in ("state", "denoised"):
        np.testing.assert_array_equal(getattr(got.history[0], name), getattr(short[0], name))
        np.testing.assert_array_equal(getattr(got.candidate, name), getattr(own.candidate, name))
    np.testing.assert_array_equal(got.candidate.residual, own.candidate.residual)
    np.testing.assert_array_equal(got.residual(got.x, half), own.candidate.residual)


@dataclass(frozen=True)
class Images:
    """A law on images ``(N, 1, 1, 2)``."""

    def __call__(self, x: Any, level: NoiseLevel) -> Any:
        return PLANE(x.reshape(-1, 2), level).reshape(x.shape)

    def jvp(self, x: Any, level: NoiseLevel, tangent: Any) -> Any:
        flat = tangent.reshape(-1, len(x), 2)
        return PLANE.jvp(x.reshape(-1, 2), level, flat).reshape(tangent.shape)


@pytest.mark.parametrize("solver", [EULER, HEUN], ids=lambda s: s.name)
def test_images(solver: Any) -> None:
    flat = np.random.default_rng(2).standard_normal((5, 2))
    image = flat.reshape(5, 1, 1, 2)
    step = step_of(Images(), image, solver)
    assert step.dim == 2
    np.testing.assert_allclose(
        Exact()(step, RNG), Exact()(step_of(PLANE, flat, solver), RNG), rtol=1e-12
    )
    probed = Hutchinson(4)(step, np.random.default_rng(3))
    same = Hutchinson(4)(step_of(PLANE, flat, solver), np.random.default_rng(3))
    np.testing.assert_allclose(probed, same, rtol=1e-12)


def test_shapes() -> None:
    assert [batch_axes(np.zeros((2,) * n)) for n in (1, 2, 3, 4, 5)] == [0, 1, 2, 1, 1]
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, 4, 3, 5, 5))
    np.testing.assert_allclose(inner(a, b), [(p * q).sum() for p, q in zip(a, b, strict=True)])
    np.testing.assert_allclose(inner(X, X), (X**2).sum(axis=1))
    stack = rng.standard_normal((3, 4, 2))
    np.testing.assert_allclose(inner(stack, stack), (stack**2).sum(axis=2))


def test_what_a_denoiser_offers_decides() -> None:
    def bare(x: Any, level: NoiseLevel) -> Any:
        return 0.5 * x

    assert default_divergence(PLANE) == Exact()
    assert default_divergence(CROOKED) == Hutchinson(1, "rademacher", "jvp")
    assert default_divergence(bare) == Hutchinson(mode="vjp")
    both = Differentiable(CROOKED)  # reverse mode is half the time, but needs a step of one product
    assert default_divergence(both, linear=True) == Hutchinson(mode="vjp")
    assert default_divergence(both) == Hutchinson(mode="jvp")
    assert divergence.one_probe(PLANE, linear=True) == Hutchinson(
        mode="jvp"
    )  # exact, were it asked for that
    with pytest.raises(ValueError, match="divergence must be estimated for function"):
        Exact()(step_of(bare, X), RNG)
    with pytest.raises(ValueError, match="mode must be one that function offers, got jvp"):
        Hutchinson()(step_of(bare, X), RNG)
    with pytest.raises(ValueError, match="mode must be one that GaussianMixture offers, got vjp"):
        Hutchinson(mode="vjp")(step_of(PLANE, X[:, :2]), RNG)
    with pytest.raises(ValueError, match="mode must be vjp for function, got jvp"):
        Hutchinson()(step_of(bare, X, HEUN), RNG)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"probes": 0}, "probes must be >= 1, got 0"),
        ({"law": "cauchy"}, "law must be one of rademacher, gaussian, got cauchy"),
        ({"mode": "fd"}, "mode must be jvp or vjp, got fd"),
    ],
)
def test_bad_options_are_named(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Hutchinson(**options)
