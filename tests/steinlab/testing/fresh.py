"""Samplers with one realistic fault each, and right ones of the same kinds, adaptive ones too."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

Loop = Callable[..., Any]


def split(s: Any, t: Any) -> tuple[Any, Any]:
    """The level to step down to, and the noise to add."""
    up = (t**2 * (s**2 - t**2) / s**2) ** 0.5
    return (t**2 - up**2) ** 0.5, up


def two_step(*, stop: int = 10**6, at: int | None = None, short: bool = False) -> Loop:
    """DPM-Solver++(2M): of first order from step ``stop`` on, off in step ``at``, off if short."""

    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        old = None
        for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
            d = model(x, s)
            ahead = d
            if old is not None and t > 0 and i < stop:
                q = (s / t).log() / (2 * (sigmas[i - 1] / s).log())
                ahead = d + (1.3 if i == at else 1.0) * q * (d - old)
            x = t / s * x + (1 - t / s) * (d if short and len(sigmas) <= 2 else ahead)
            old = d
        return d if short and len(sigmas) == 2 else x

    return sample


def needs_three(model: Any, x: Any, sigmas: Any) -> Any:
    first = sigmas[2] / sigmas[3]
    for s, t in itertools.pairwise(sigmas):
        x = t / s * x + (1 - t / s) * model(x, s) + 0.0 * first
    return x


def half_precision(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        x = t / s * x + (1 - t / s) * model(x, s).half().to(x.dtype)
    return x


def heun_at_first(model: Any, x: Any, sigmas: Any) -> Any:
    """Heun's steps in the first half of the run, Euler's in the second."""
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        d = (x - model(x, s)) / s
        y = x + (t - s) * d
        second = t > 0 and i < len(sigmas) // 2
        x = x + (t - s) * (d + (y - model(y, t)) / t) / 2 if second else y
    return x


def third_of_the_step(model: Any, x: Any, sigmas: Any) -> Any:
    """A stage at a third of the step, weighed as if it stood in the middle."""
    for s, t in itertools.pairwise(sigmas):
        d = model(x, s)
        if t == 0:
            return d
        m = s * (t / s) ** (1 / 3)
        x = t / s * x + (1 - t / s) * model(m / s * x + (1 - m / s) * d, m)
    return x


def drawn(x: Any) -> Any:
    return torch.randn_like(x)


def ancestral(*, last: float = 0.0, each: Callable[[Any], Any] = drawn, before: Any = None) -> Loop:
    """Ancestral Euler: ``last`` noise at zero, numbers by ``each``, ``before`` called per step."""

    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in itertools.pairwise(sigmas):
            if before:
                before()
            down, up = split(s, t)
            x = x + (x - model(x, s)) / s * (down - s)
            x = x + (up if t > 0 else last) * each(x)
        return x

    return sample


def of_a_generator(model: Any, x: Any, sigmas: Any) -> Any:
    """A right ancestral loop with a seed of its own: the same numbers in every run."""
    generator = torch.Generator().manual_seed(3)

    def each(x: Any) -> Any:
        return torch.randn(x.shape, generator=generator, dtype=x.dtype)

    return ancestral(each=each)(model, x, sigmas)


def seeded_anew(x: Any) -> Any:
    generator = torch.Generator().manual_seed(3)
    return torch.randn(x.shape, generator=generator, dtype=x.dtype)


def churned(*, at_old_level: bool = False) -> Loop:
    """EDM's loop with noise before each step; broken by the level that it is asked at."""

    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in itertools.pairwise(sigmas):
            hat = s * (1 + min(1 / len(sigmas), 0.4))
            x = x + (hat**2 - s**2) ** 0.5 * torch.randn_like(x)
            x = x + (t - hat) * (x - model(x, s if at_old_level else hat)) / hat
        return x

    return sample


def adaptive(fault: str = "") -> Loop:
    """Heun's step with Euler's as its error estimate."""

    def sample(model: Any, x: Any, sigma_start: Any, sigma_end: Any, *, tol: float = 1e-3) -> Any:
        s, h = sigma_start, 0.3
        if fault == "not passed on":
            tol = 1e-3
        while s > sigma_end * (1 + 1e-9):
            t = torch.maximum(s * math.exp(-h), sigma_end)
            d = (x - model(x, s)) / s
            y = x + (t - s) * d
            z = x + (t - s) * 0.5 * (d + (y - model(y, t)) / t)
            scale = tol + tol * torch.maximum(x.abs(), z.abs())
            error = float(((z - y) / scale).square().mean().sqrt())
            if fault == "estimate ignores it":
                error = 1e2 * float((z - y).abs().mean()) * (1 + 1e-3 * tol)
            if fault == "estimate too small":
                error *= 1e-4
            if error <= 1:
                x, s = z, t
            elif fault == "rejected step kept":
                x = z
            h *= min(max(0.9 / max(error, 1e-9) ** 0.5, 0.2), 3.0)
        return x

    return sample


def by_scipy(v: Any, x: Any, t_grid: Any, rtol: float = 1e-6, atol: float = 1e-6) -> Any:
    from scipy.integrate import solve_ivp

    def slope(t: float, y: np.ndarray) -> np.ndarray:
        return np.asarray(v(torch.from_numpy(y.reshape(x.shape)).to(x), t).double()).ravel()

    start = np.asarray(x.double()).ravel()
    found = solve_ivp(slope, (float(t_grid[0]), float(t_grid[-1])), start, rtol=rtol, atol=atol)
    return torch.from_numpy(found.y[:, -1].reshape(x.shape)).to(x)


def by_torchdiffeq(v: Any, x: Any, t_grid: Any, rtol: float = 1e-5, atol: float = 1e-5) -> Any:
    from torchdiffeq import odeint

    return odeint(lambda t, y: v(y, t), x, t_grid, rtol=rtol, atol=atol)


def talking(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        print("step")
        x = t / s * x + (1 - t / s) * model(x, s)
    return x


RIGHT: dict[str, Any] = {
    "a generator of its own": of_a_generator,
    "churn": churned(),
    "adaptive": adaptive(),
    "scipy": by_scipy,
    "torchdiffeq": by_torchdiffeq,
}

WRONG: dict[str, tuple[Any, str, str]] = {
    "first order from step 3": (two_step(stop=3), "order-even", "of several methods: euler"),
    "off in step 8": (two_step(at=7), "method", r"step 8 is not dpmpp-2m's"),
    "off on one step": (two_step(short=True), "one-point", ""),
    "crashes on two steps": (needs_three, "midway", "more than 2 steps"),
    "half precision": (half_precision, "one-point", "rounded inside"),
    "Heun's first half": (heun_at_first, "order-even", "of several methods: "),
    "a stage misplaced": (third_of_the_step, "order-even", r"evaluation 2, at 0\.333 of the step"),
    "noise in the last step": (ancestral(last=0.1), "end-at-zero", "noise is added in the last"),
    "one seed for all steps": (ancestral(each=seeded_anew), "law", "noise too large"),
    "seeded in the loop": (
        ancestral(before=lambda: torch.manual_seed(0)),
        "law",
        "noise too large",
    ),
    "one draw for the batch": (
        ancestral(each=lambda x: torch.randn(1, *x.shape[1:], dtype=x.dtype)),
        "law-distance",
        "",
    ),
    "asked at the level before churn": (churned(at_old_level=True), "levels", ""),
    "tolerance not passed on": (adaptive("not passed on"), "tolerance", "not passed on"),
    "estimate ignores the tolerance": (adaptive("estimate ignores it"), "tolerance", "estimate"),
    "estimate too small": (adaptive("estimate too small"), "tolerance", "estimate is too small"),
    "rejected step kept": (adaptive("rejected step kept"), "rejected", "rejected step is kept"),
}
"""A sampler, the check that must fail, and a part of the cause it gives."""
