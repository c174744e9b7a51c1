"""Loops in k-diffusion's form: right ones, and for every check the mutant that it must reject."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from analytic import NoiseLevel
from steinlab.testing import from_loop, from_step, from_velocity

Loop = Callable[..., Any]


def dpmpp_2m(
    *,
    weight: float = 1.0,
    ratio: Callable[[Any, Any, Any, Any], Any] | None = None,
    scale: Callable[[Any, Any, Any], Any] | None = None,
    sum_: Callable[[Any, Any, Any], Any] | None = None,
    last: Callable[[Any, Any, Any], Any] | None = None,
) -> Loop:
    """The two-step multistep loop, with places to break it.

    ``ratio(before, s, t, after)``, ``scale`` and ``sum_ (before, s, t)`` replace the step ratio and
    the two coefficients; ``last(x, d, old)`` the last step.
    """

    def sample_dpmpp_2m(  # noqa: PLR0917 - k-diffusion's signature
        model: Any,
        x: Any,
        sigmas: Any,
        extra_args: Any = None,
        callback: Any = None,
        disable: Any = None,
    ) -> Any:
        s_in, old = x.new_ones([x.shape[0]]), None
        for i in range(len(sigmas) - 1):
            s, t = sigmas[i], sigmas[i + 1]
            before = sigmas[i - 1] if i else s
            d = model(x, s * s_in, **(extra_args or {}))
            kappa = scale(before, s, t) if scale and i else t / s
            beta = sum_(before, s, t) if sum_ and i else 1 - t / s
            if last is not None and i == len(sigmas) - 2:
                x = last(x, d, old if old is not None else d)
            elif old is None or t == 0:
                x = t / s * x + (1 - t / s) * d
            else:
                after = sigmas[i + 2] if i + 2 < len(sigmas) else t
                r = ratio(before, s, t, after) if ratio else (before / s).log() / (s / t).log()
                q = weight / (2 * r)
                x = kappa * x + beta * ((1 + q) * d - q * old)
            old = d
        return x

    return sample_dpmpp_2m


def euler(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        x = t / s * x + (1 - t / s) * model(x, s)
    return x


def heun(
    *, weight: float = 0.5, twice: bool = False, zero: bool = False, dropped: bool = False
) -> Loop:
    """EDM's second-order loop; broken by its weight, a call asked twice, a call at zero noise."""

    def sample_heun(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in itertools.pairwise(sigmas):
            if twice:
                model(x, s)
            d = (x - model(x, s)) / s
            y = x + (t - s) * d
            if t == 0 and not zero:
                x = y
                continue
            d_2 = (y - model(y, t)) / t
            x = x + (t - s) * (d if dropped else (1 - weight) * d + weight * d_2)
        return x

    return sample_heun


def midpoint(*, at_next: bool = False) -> Loop:
    """The midpoint in log sigma; broken by asking at the next level in place of the middle."""

    def sample_dpmpp_2s(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in itertools.pairwise(sigmas):
            d = model(x, s)
            if t == 0:
                x = d
                continue
            m = (s * t) ** 0.5
            y = m / s * x + (1 - m / s) * d
            x = t / s * x + (1 - t / s) * model(y, t if at_next else m)
        return x

    return sample_dpmpp_2s


def clipped(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        x = t / s * x + (1 - t / s) * model(x, s).clamp(-1, 1)
    return x


def dpmpp_3m(factor: float) -> Loop:
    """The three-step loop with ``factor`` before its third term; 2 is right."""

    def sample_dpmpp_3m(model: Any, x: Any, sigmas: Any) -> Any:
        past: list[tuple[Any, Any]] = []
        for s, t in itertools.pairwise(sigmas):
            d = model(x, s)
            if t == 0:
                return d
            h = (s / t).log()
            x = t / s * x + (1 - t / s) * d
            phi_2 = torch.expm1(-h) / h + 1
            if len(past) == 1:
                x = x + phi_2 * (d - past[0][1]) / (past[0][0] / h)
            elif past:
                (h_1, m_1), (h_2, m_2) = past
                r_0, r_1 = h_1 / h, h_2 / h
                d_10, d_11 = (d - m_1) / r_0, (m_1 - m_2) / r_1
                d_1 = d_10 + (d_10 - d_11) * r_0 / (r_0 + r_1)
                d_2 = (d_10 - d_11) / (r_0 + r_1)
                x = x + phi_2 * d_1 - factor * (phi_2 / h - 0.5) * d_2
            past = [(h, d), *past][:2]
        return x

    return sample_dpmpp_3m


def remembering() -> Loop:
    """A two-step loop whose past outlives the run."""
    kept: list[Any] = []

    def sample(model: Any, x: Any, sigmas: Any) -> Any:
        for s, t in itertools.pairwise(sigmas):
            d = model(x, s)
            old = kept[-1] if kept and kept[-1].shape == d.shape else d
            x = t / s * x + (1 - t / s) * (1.5 * d - 0.5 * old if t > 0 else d)
            kept[:] = [d]
        return x

    return sample


def without_history(model: Any, x: Any, sigmas: Any) -> Any:
    """Multistep weights of four from the first step on, the past taken for zero."""
    past = [torch.zeros_like(x)] * 3
    for s, t in itertools.pairwise(sigmas):
        d = (x - model(x, s)) / s
        a, b, c = past
        x = x + (t - s) * (55 * d - 59 * a + 37 * b - 9 * c) / 24
        past = [d, a, b]
    return x


def in_single(model: Any, x: Any, sigmas: Any) -> Any:
    return euler(model, x, sigmas).float()


def cancelling(model: Any, x: Any, sigmas: Any) -> Any:
    """A right two-step method whose second coefficient is a difference of large numbers."""
    old, before = None, None
    for s, t in itertools.pairwise(sigmas):
        d = model(x, s)
        if old is None or t == 0:
            x = t / s * x + (1 - t / s) * d
        else:
            a, b, c = 1e3 - before.log(), 1e3 - s.log(), 1e3 - t.log()
            second = (c * c - b * b) / 2 - b * (c - b)  # (c - b)^2 / 2
            x = t / s * x + (1 - t / s) * d + t / s * second * (d - old) / (b - a)
        old, before = d, s
    return x


def logarithm(model: Any, x: Any, sigmas: Any) -> Any:
    for s, t in itertools.pairwise(sigmas):
        h = s.log() - t.log()
        x = t / s * x + (torch.expm1(h) * 0 + 1 - torch.exp(-h)) * model(x, s)
    return x


def ancestral(*, noise: float = 1.0) -> Loop:
    def sample_euler_ancestral(
        model: Any, x: Any, sigmas: Any, extra_args: Any = None, noise_sampler: Any = None
    ) -> Any:
        for s, t in itertools.pairwise(sigmas):
            d = model(x, s)
            up = (t**2 * (s**2 - t**2) / s**2) ** 0.5
            down = (t**2 - up**2) ** 0.5
            x = x + (x - d) / s * (down - s)
            if t > 0:
                z = noise_sampler(s, t) if noise_sampler else torch.randn_like(x)
                x = x + noise * up * z
        return x

    return sample_euler_ancestral


def coupled(model: Any, x: Any, sigmas: Any) -> Any:
    x = euler(model, x, sigmas)
    return x - 1e-3 * x.mean()


def noisy_end(model: Any, x: Any, sigmas: Any) -> Any:
    x = euler(model, x, sigmas)
    return x + 0.1 * torch.randn_like(x)


MUTANTS: dict[str, tuple[Any, dict[str, Any]]] = {
    "order-even": (dpmpp_2m(weight=0.95), {}),
    "order-uneven": (dpmpp_2m(weight=0.95), {}),
    "order-rough": (dpmpp_2m(ratio=lambda _b, s, _t, _a: s / s * 1.0000001), {}),
    "order-graded": (dpmpp_3m(1.0), {"order": 3}),
    "gaussian": (dpmpp_2m(weight=1.005), {}),
    "one-point": (dpmpp_2m(sum_=lambda _b, s, t: 0.99 * (1 - t / s)), {}),
    "scale": (clipped, {}),
    "end-at-zero": (logarithm, {}),
    "evaluations": (heun(), {"evaluations": 1}),
    "wasted": (heun(twice=True), {}),
    "levels": (midpoint(at_next=True), {}),
    "method": (dpmpp_2m(last=lambda _x, d, old: 1.5 * d - 0.5 * old), {}),
    "deterministic": (remembering(), {}),
    "batch": (coupled, {}),
    "midway": (without_history, {}),
    "dtype": (in_single, {}),
    "float32": (cancelling, {}),
    "law": (ancestral(noise=0.8), {"law": True}),
    "law-distance": (ancestral(noise=0.8), {"law": True}),
}
"""The mutant of every check that concerns a loop, and what is declared of it."""

RIGHT: dict[str, tuple[Any, dict[str, Any]]] = {
    "euler": (euler, {"order": 1, "evaluations": 1, "returns_denoised": True}),
    "heun": (heun(), {"order": 2, "evaluations": 2}),
    "dpmpp-2m": (dpmpp_2m(), {"order": 2, "evaluations": 1}),
    "dpmpp-2s": (midpoint(), {"order": 2}),
    "dpmpp-3m": (dpmpp_3m(2.0), {"order": 3}),
    "ancestral": (ancestral(), {"law": True}),
}


def step_levels(denoise: Any, x: Any, s: NoiseLevel, t: NoiseLevel) -> Any:
    kappa = t.sigma / s.sigma
    return kappa * x + (t.alpha - kappa * s.alpha) * denoise(x, s)


def step_sigmas(x: Any, sigma: Any, sigma_next: Any, denoise: Any) -> Any:
    return x + (x - denoise(x, sigma)) / sigma * (sigma_next - sigma)


def numpy_loop(model: Any, x: Any, sigmas: Any) -> Any:
    assert isinstance(x, np.ndarray)
    for s, t in itertools.pairwise(sigmas):
        x = np.add(t / s * x, (1 - t / s) * model(x, float(s)))
    return x


def pictures(model: Any, x: Any, sigmas: Any) -> Any:
    n, c, h, w = x.shape
    assert (h, w) == (1, 1)
    return euler(model, x, sigmas).reshape(n, c, h, w)


def flow_midpoint(v: Any, x: Any, t_grid: Any) -> Any:
    for t, u in itertools.pairwise(t_grid):
        half = x + 0.5 * (u - t) * v(x, t)
        x = x + (u - t) * v(half, 0.5 * (t + u))
    return x


ADAPTED = {
    "step on levels": (lambda: from_step(step_levels), 1),
    "step on sigmas": (lambda: from_step(step_sigmas), 1),
    "NumPy loop": (lambda: from_loop(numpy_loop), 1),
    "pictures": (lambda: from_loop(pictures), 1),
    "velocity": (lambda: from_velocity(flow_midpoint), 2),
    "velocity backwards": (lambda: from_velocity(flow_midpoint, noise_at=1.0), 2),
}


OWN = np.random.default_rng()
"""Made before any check, so that nobody can answer it."""


def of_its_own_source(model: Any, x: Any, sigmas: Any) -> Any:
    """A right ancestral loop whose numbers nobody can answer."""
    for s, t in itertools.pairwise(sigmas):
        up = (t**2 * (s**2 - t**2) / s**2) ** 0.5
        down = (t**2 - up**2) ** 0.5
        x = x + (x - model(x, s)) / s * (down - s)
        x = x + up * torch.from_numpy(OWN.standard_normal(tuple(x.shape)))
    return x


def adaptive(model: Any, x: Any, sigmas: Any) -> Any:
    """Heun's step in log sigma, of a length that an error of ``1e-4`` allows."""
    s, end, h = float(sigmas[0]), max(float(sigmas[-1]), 1e-3), 0.1
    while s > end * (1 + 1e-12):
        t = max(s * np.exp(-h), end)
        d = (x - model(x, torch.tensor(s, dtype=x.dtype))) / s
        y = x + (t - s) * d
        z = x + (t - s) * 0.5 * (d + (y - model(y, torch.tensor(t, dtype=x.dtype))) / t)
        error = float((z - y).abs().max()) + 1e-12
        if error < 1e-4:
            x, s = z, t
        h = h * min(max(0.9 * (1e-4 / error) ** 0.5, 0.3), 3.0)
    return x if sigmas[-1] > 0 else model(x, torch.tensor(s, dtype=x.dtype))


def stochastic_midpoint(*, independent: bool = False) -> Loop:
    """The midpoint in log sigma with noise; broken by a stage whose noise is not the step's."""

    def split(s: Any, t: Any) -> tuple[Any, Any]:
        up = (t**2 * (s**2 - t**2) / s**2) ** 0.5
        return (t**2 - up**2) ** 0.5, up

    def sample_sde(model: Any, x: Any, sigmas: Any, noise_sampler: Any = None) -> Any:
        for s, t in itertools.pairwise(sigmas):
            d = model(x, s)
            if t == 0:
                return d
            m = (s * t) ** 0.5
            down, up = split(s, m)
            z = torch.randn_like(x) if independent else noise_sampler(s, m)
            y = down / s * x + (1 - down / s) * d + up * z
            down, up = split(s, t)
            x = down / s * x + (1 - down / s) * model(y, m) + up * noise_sampler(s, t)
        return x

    return sample_sde
