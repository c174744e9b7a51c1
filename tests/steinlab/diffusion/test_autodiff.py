"""Products with a torch denoiser's Jacobian against the mixture's own."""

from __future__ import annotations

import subprocess
import sys

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
    def bent(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        return torch.tanh(x @ CROOKED.T) * level.alpha

    found = Pulled(bent).jvp(X, LEVEL, v)
    torch.testing.assert_close(found, Differentiable(bent).jvp(X, LEVEL, v), rtol=1e-12, atol=0)
    assert not torch.allclose(found, Pulled(bent).vjp(X, LEVEL, v))


def test_a_constant_has_no_slope() -> None:
    np.testing.assert_array_equal(vjp_of(torch.ones_like, X, V), torch.zeros_like(V))


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
