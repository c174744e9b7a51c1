r"""Compare the network with theory: its error, its coefficient, the bound, its Lipschitz constants.

States follow the forward coupling of real pictures, ``x = x_star + sigma eps``, so that ``x_star``
is known. The exact denoiser is that of the 60,000 training pictures as points (bandwidth 0) or as
Gaussians. At small noise it returns a training picture itself. A network that generalises does not;
there the difference measures generalisation, not error.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from analytic import NoiseLevel
from gpu_models.study.lab import Lab
from steinlab.coefficient.divergence import Hutchinson
from steinlab.coefficient.formulas import estimate, reference_numerator, stein_numerator
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.estimates import Estimate
from steinlab.solvers import EULER, HEUN, first_order
from steinlab.solvers.loop import steps
from steinlab.solvers.step import Step, inner

BANDWIDTHS = (0.0, 0.2)
POWER_ITERATIONS = 12

Record = dict[str, Any]


def denoiser_errors(lab: Lab) -> list[Record]:
    """Return mean squares per pixel at every noise level, on training and on test pictures."""
    return [
        {"sigma": sigma, "pictures": name, **_errors(lab, rows, sigma, i)}
        for i, sigma in enumerate(s.sigma for s in make_grid(EDM, "karras", lab.size.levels)[:-1])
        for name, rows in (("train", lab.train), ("test", lab.test))
    ]


def _pairs(lab: Lab, rows: torch.Tensor, sigma: float, *content: int) -> tuple[Any, Any]:
    """Return noised and clean states ``(N, d)``, float64, the first pictures of a fixed shuffle."""
    order = torch.randperm(len(rows), generator=lab.generator(3), device=lab.device)
    clean = rows[order[: lab.size.theory]].double()
    return clean + sigma * lab.noise(len(clean), 11, *content), clean


def _errors(lab: Lab, rows: torch.Tensor, sigma: float, index: int) -> Record:
    x, clean = _pairs(lab, rows, sigma, index)
    net = lab.exact(x, NoiseLevel(1.0, sigma))
    found: Record = {"network_to_picture": _mean_square(net - clean)}
    for bandwidth in BANDWIDTHS:
        law = lab.law(bandwidth)
        exact, div = law.denoise_and_divergence(x, NoiseLevel(1.0, sigma))
        found[f"exact_{bandwidth:g}"] = {
            "to_picture": _mean_square(exact - clean),
            "network_to_exact": _mean_square(net - exact),
            "divergence": _mean(div),
        }
    return found


def coefficients(lab: Lab) -> list[Record]:
    """Return gamma by every route for steps of a Karras grid, and the bound between two of them."""
    out = []
    grid = make_grid(EDM, "karras", lab.size.steps)
    for i, (s, t) in enumerate(itertools.pairwise(grid[:-1])):
        x, clean = _pairs(lab, lab.train, s.sigma, 100 + i)
        for solver in (EULER, HEUN):
            step = Step.take(lab.exact, solver, x, s, t)
            found = {name: vars(route(step, clean)) for name, route in ROUTES.items()}
            record: Record = {"solver": solver.name, "from": s.sigma, "to": t.sigma, "gamma": found}
            if solver is EULER:
                record |= _exact_and_bound(lab, step)
            out.append(record)
    return out


def _hutchinson(probes: int, law: str) -> Callable[[Step, Any], Estimate]:
    def route(step: Step, clean: Any) -> Estimate:  # noqa: ARG001
        div = Hutchinson(probes, law, "jvp")(step, np.random.default_rng(probes))
        return estimate(
            stein_numerator(step.x, step.candidate.residual, div, step.s), step.candidate.residual
        )

    return route


ROUTES: dict[str, Callable[[Step, Any], Estimate]] = {
    "reference": lambda step, clean: estimate(
        reference_numerator(step.x, step.candidate.residual, clean), step.candidate.residual
    ),
    "stein, 1 rademacher": _hutchinson(1, "rademacher"),
    "stein, 5 gaussian": _hutchinson(5, "gaussian"),
    "tweedie": lambda step, clean: estimate(  # noqa: ARG005
        inner(step.x - step.candidate.denoised, step.candidate.residual), step.candidate.residual
    ),
}
"""Every route to the coefficient of the network's own step."""


def _exact_and_bound(lab: Lab, step: Step) -> Record:
    r"""Return the exact denoiser's coefficient, and ``|gamma - gamma_q| <= C sqrt F`` measured.

    Under the training pictures' own forward law (``q = p``) the sampler's score is exact, so
    ``F = E|s_network - s_exact|^2 = E|D_network - D_exact|^2 / sigma^4`` and, with Theorem 4.7's
    expectation taken through ``x_star``, ``gamma - gamma_q = E<u, D_network - x_star> / E|u|^2``.
    """
    s, u = step.s, step.candidate.residual
    linear = first_order(s, step.t)
    exact = lab.law(0.0).denoise(step.x, s)
    gap = inner(step.candidate.denoised - exact, u)
    found = estimate(gap, u)
    fisher = (step.candidate.denoised - exact).square().sum(1).mean() / s.sigma**4
    bound = s.sigma**2 * math.sqrt(float(fisher)) / math.sqrt(float(u.square().sum(1).mean()))
    return {
        "exact_gamma": 1.0 / linear.one_minus_kappa,
        "deviation": vars(found),
        "bound": bound,
        "tightness": abs(found.value) / bound,
    }


def lipschitz(lab: Lab) -> list[Record]:
    """Return the largest singular values of the step's Jacobian along Euler trajectories."""
    out = []
    for count in lab.size.lipschitz_steps:
        grid = make_grid(EDM, "karras", count)
        x = lab.start(77, lab.size.lipschitz)
        for step in (taken.step for taken in steps(lab.exact, x, grid, EULER)):
            s, t = step.s, step.t
            linear = first_order(s, t)
            found = _norms(lab, step.x, s)
            largest = linear.kappa + linear.betas[0] * found
            out.append(
                {
                    "evaluations": count,
                    "from": s.sigma,
                    "to": t.sigma,
                    "denoiser": _quantiles(found),
                    "step_bound": _quantiles(largest),
                    "threshold": linear.one_minus_kappa / linear.betas[0],
                }
            )
    return out


def _norms(lab: Lab, x: torch.Tensor, s: Any) -> torch.Tensor:
    """Bound the Jacobian's largest singular value from below by power iteration, per state."""
    v = lab.noise(len(x), 23)
    size = torch.ones(len(x), dtype=x.dtype, device=x.device)
    for _ in range(POWER_ITERATIONS):
        v = v / v.norm(dim=1, keepdim=True)
        w = lab.exact.jvp(x, s, v)
        size = w.norm(dim=1)
        v = lab.exact.vjp(x, s, w)
    return size


def _quantiles(values: torch.Tensor) -> Record:
    ends = torch.quantile(
        values, torch.tensor([0.0, 0.5, 1.0], dtype=values.dtype).to(values.device)
    )
    return dict(zip(("least", "median", "largest"), ends.tolist(), strict=True))


def _mean_square(gap: torch.Tensor) -> Record:
    return _mean(gap.square().mean(1))


def _mean(values: torch.Tensor) -> Record:
    values = values.double()
    error = float(values.std()) / math.sqrt(len(values))
    return {"value": float(values.mean()), "error": error}
