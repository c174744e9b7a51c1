"""Compiled denoisers: values by the fast function at few sizes, derivatives by the plain one."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from gpu_models.network.compiled import compiled_denoiser, padded

LEVEL = NoiseLevel(1.0, 2.0)


def shrink(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
    return torch.tanh(x) / (1 + sigma[:, None] ** 2)


class Program:
    """Stands for a compiled network: the same function, and it remembers what it was asked."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def __call__(self, x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        self.asked.append(len(x))
        return shrink(x, sigma)


@pytest.mark.parametrize(
    ("rows", "asked"), [(1, [4]), (4, [4]), (5, [10]), (10, [10]), (13, [10, 4]), (25, [10] * 3)]
)
def test_values_are_those_of_the_plain_network_at_the_sizes_alone(
    rows: int, asked: list[int]
) -> None:
    program = Program()
    options = {"dtype": torch.float64}
    denoiser = compiled_denoiser(shrink, program, [3], (10, 4), **options)
    x = np.random.default_rng(rows).standard_normal((rows, 3))
    assert np.array_equal(denoiser(x, LEVEL), denoiser.uncompiled(x, LEVEL))
    assert program.asked == asked


def test_derivatives_never_ask_the_program() -> None:
    program = Program()
    denoiser = compiled_denoiser(shrink, program, [3], (8,), dtype=torch.float64)
    x, v = np.random.default_rng(0).standard_normal((2, 5, 3))
    exact = v / np.cosh(x) ** 2 / (1 + LEVEL.sigma**2)
    assert denoiser.jvp(x, LEVEL, v) == pytest.approx(exact, rel=1e-14, abs=0)
    assert denoiser.vjp(x, LEVEL, v) == pytest.approx(exact, rel=1e-14, abs=0)
    assert program.asked == []


@pytest.mark.parametrize("rows", [0, 9])
def test_no_size_for_the_rows(rows: int) -> None:
    with pytest.raises(ValueError, match=f"rows must be in 1 to 8, got {rows}"):
        padded(shrink, [8, 2])(torch.ones(rows, 3), torch.ones(rows))


def test_a_real_compiler_changes_nothing_but_rounding() -> None:
    fast = torch.compile(shrink, dynamic=False, backend="eager")
    denoiser = compiled_denoiser(shrink, fast, [3], (4, 8))
    x = np.random.default_rng(1).standard_normal((11, 3))
    assert np.array_equal(denoiser(x, LEVEL), denoiser.uncompiled(x, LEVEL))
