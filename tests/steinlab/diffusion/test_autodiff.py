"""Products with a torch denoiser's Jacobian against the mixture's own."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.diffusion.autodiff import Differentiable, Pulled, vjp_of
from tests.steinlab.solvers.cases import PLANE

LEVEL = NoiseLevel(0.6, 0.8)
X = torch.as_tensor(np.random.default_rng(0).standard_normal((5, 2)))
V = torch.as_tensor(np.random.default_rng(1).standard_normal((3, 5, 2)))
NET = Differentiable(PLANE)
PRODUCTS = [(cls, name) for cls in (Differentiable, Pulled) for name in ("jvp", "vjp")]
CROOKED = torch.tensor([[0.5, 2.0], [-1.0, 0.3]], dtype=torch.float64)


def test_it_is_the_function() -> None:
    torch.testing.assert_close(NET(X, LEVEL), PLANE(X, LEVEL), rtol=0, atol=0)


@pytest.mark.parametrize("v", [V, V[0]], ids=["probes", "one"])
def test_products_with_an_exact_jacobian(v: torch.Tensor) -> None:
    exact = PLANE.jvp(X, LEVEL, v)
    assert exact.shape == v.shape
    np.testing.assert_allclose(NET.jvp(X, LEVEL, v), exact, atol=1e-12)
    np.testing.assert_allclose(NET.vjp(X, LEVEL, v), exact, atol=1e-12)  # it is symmetric


def test_the_two_products_are_transposes() -> None:
    net = Differentiable(lambda x, level: torch.tanh(x @ CROOKED.T) * level.alpha)
    w = V.flip(0)
    left = (w * net.jvp(X, LEVEL, V)).sum(-1)
    right = (V * net.vjp(X, LEVEL, w)).sum(-1)
    np.testing.assert_allclose(left, right, rtol=1e-12)
    assert not torch.allclose(net.jvp(X, LEVEL, V), net.vjp(X, LEVEL, V))
    np.testing.assert_allclose(vjp_of(lambda x: x @ CROOKED.T, X, V), V @ CROOKED, rtol=1e-14)


@pytest.mark.parametrize("v", [V, V[0]], ids=["probes", "one"])
def test_two_reverse_passes_push_forward(v: torch.Tensor) -> None:
    found = Pulled(bent).jvp(X, LEVEL, v)
    torch.testing.assert_close(found, Differentiable(bent).jvp(X, LEVEL, v), rtol=1e-12, atol=0)
    assert not torch.allclose(found, Pulled(bent).vjp(X, LEVEL, v))


def test_a_constant_has_no_slope() -> None:
    np.testing.assert_array_equal(vjp_of(torch.ones_like, X, V), torch.zeros_like(V))


def bent(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    return torch.tanh(x @ CROOKED.T) * level.alpha


def without_graph(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    with torch.no_grad():
        return bent(x, level)


def in_own_numbers(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
    return torch.ones_like(x) * torch.tensor(2.0, dtype=x.dtype, requires_grad=True)


@pytest.mark.parametrize("v", [V, V[0]], ids=["probes", "one"])
@pytest.mark.parametrize("made", ["inside", "outside"])
def test_inference_mode_takes_no_derivative_away(made: str, v: torch.Tensor) -> None:
    """Autograd records nothing there, and says so only by a result that depends on no state."""
    expected = Differentiable(bent).jvp(X, LEVEL, v), Differentiable(bent).vjp(X, LEVEL, v)
    with torch.inference_mode():
        x = X.clone() if made == "inside" else X
        inside = [getattr(cls(bent), name)(x, LEVEL, v) for cls, name in PRODUCTS]
    outside = [getattr(cls(bent), name)(x, LEVEL, v) for cls, name in PRODUCTS]
    for found in (inside, outside):
        for (_, name), out in zip(PRODUCTS, found, strict=True):
            torch.testing.assert_close(out, expected[name == "vjp"], rtol=1e-12, atol=0)


@pytest.mark.parametrize(("cls", "name"), PRODUCTS)
def test_products_at_a_state_in_a_graph_stay_in_it(cls: Any, name: str) -> None:
    x = X.clone().requires_grad_()
    out = getattr(cls(bent), name)(x, LEVEL, V)
    (slope,) = torch.autograd.grad(out.sum(), x)
    h = 1e-5 * torch.ones_like(X)
    ahead, behind = (getattr(cls(bent), name)(X + side * h, LEVEL, V).sum() for side in (1, -1))
    assert slope.sum().item() == pytest.approx((ahead - behind).item() / 2e-5, rel=1e-7)
    with torch.no_grad():
        assert not getattr(cls(bent), name)(x, LEVEL, V).requires_grad


@pytest.mark.parametrize("function", [without_graph, in_own_numbers, lambda x, _: x.detach() + 1])
def test_forward_mode_serves_where_autograd_has_no_path(function: Any) -> None:
    expected = Differentiable(function).jvp(X, LEVEL, V)
    torch.testing.assert_close(Pulled(function).jvp(X, LEVEL, V), expected, rtol=0, atol=0)
    assert bool(expected.any()) is (function is without_graph)


@pytest.mark.parametrize(("cls", "name"), PRODUCTS)
def test_no_probes_and_no_states_have_products(cls: Any, name: str) -> None:
    assert getattr(cls(bent), name)(X, LEVEL, V[:0]).shape == (0, 5, 2)
    assert getattr(cls(bent), name)(X[:0], LEVEL, V[:, :0]).shape == (3, 0, 2)
    assert getattr(cls(bent), name)(X[:1], LEVEL, V[:, :1]).shape == (3, 1, 2)


def test_products_leave_the_compiler_of_torch_unread() -> None:
    code = """if True:
    import sys, torch
    from steinlab.diffusion.autodiff import Pulled, vjp_of
    x, v = torch.ones(2, 3), torch.ones(4, 2, 3)
    vjp_of(torch.tanh, x, v)
    vjp_of(torch.tanh, x, v[0])
    Pulled(lambda x, level: torch.tanh(x)).jvp(x, None, v)
    sys.exit("torch._dynamo" in sys.modules)
    """
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_one_forward_pass_serves_all_probes() -> None:
    calls = []

    def counted(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        calls.append(x.shape)
        return PLANE(x, level)

    Differentiable(counted).vjp(X, LEVEL, V)
    assert len(calls) == 1
