"""Forward-mode pairs: arithmetic against difference quotients, and NumPy scalars on the left."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.coefficient.forward_mode import Dual, on_duals
from tests.steinlab.solvers.cases import PLANE

LEVEL = NoiseLevel(0.6, 0.8)
X = np.random.default_rng(0).standard_normal((4, 2))
V = np.random.default_rng(1).standard_normal((3, 4, 2))
OTHER = np.random.default_rng(2).standard_normal((4, 2))

EXPRESSIONS: dict[str, Callable[[Any], Any]] = {
    "sum": lambda x: x + x,
    "array on the right": lambda x: x + OTHER,
    "array on the left": lambda x: OTHER + x,
    "difference": lambda x: 3 * x - x,
    "minus an array": lambda x: x - OTHER,
    "array minus": lambda x: OTHER - x,
    "negation": lambda x: -x,
    "scalar left": lambda x: 2.5 * x,
    "scalar right": lambda x: x * 2.5,
    "numpy scalar left": lambda x: np.float64(2.5) * x,
    "numpy scalar plus": lambda x: np.float64(2.5) + x,
    "numpy scalar minus": lambda x: np.float64(2.5) - x,
    "level array": lambda x: np.full((4, 1), 0.5) * x,
    "division": lambda x: x / 4.0,
    "step": lambda x: 0.3 * x + 1.7 * on_duals(PLANE)(x, LEVEL) - OTHER,
    "twice": lambda x: on_duals(PLANE)(0.5 * x + on_duals(PLANE)(x, LEVEL), LEVEL),
}


@pytest.mark.parametrize("name", EXPRESSIONS)
def test_tangents_are_difference_quotients(name: str) -> None:
    f = EXPRESSIONS[name]
    out = f(Dual(X, V))
    assert isinstance(out, Dual)
    np.testing.assert_allclose(out.value, f(X), rtol=1e-14, atol=1e-15)
    assert out.tangent.shape == V.shape
    h = 1e-6
    for v, tangent in zip(V, out.tangent, strict=True):
        np.testing.assert_allclose(tangent, (f(X + h * v) - f(X - h * v)) / (2 * h), atol=1e-8)


def test_torch_agrees() -> None:
    f = EXPRESSIONS["twice"]
    ours, theirs = f(Dual(X, V)), f(Dual(torch.as_tensor(X), torch.as_tensor(V)))
    np.testing.assert_allclose(theirs.tangent, ours.tangent, rtol=1e-12)


def test_plain_states_pass_through() -> None:
    np.testing.assert_array_equal(on_duals(PLANE)(X, LEVEL), PLANE(X, LEVEL))
