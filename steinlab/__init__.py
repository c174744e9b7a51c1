r"""A laboratory for claims about diffusion-ODE solvers.

The public face: every name is loaded when it is first asked for, so ``import steinlab`` costs
nothing and no torch.

Examples
--------
>>> import numpy as np, steinlab as sl
>>> rng = np.random.default_rng(0)
>>> law = sl.GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.5, 0.5]], [0.16, 0.49])
>>> grid = sl.make_grid("edm", "karras", steps=8)
>>> x = grid[0].noised(law.sample(1000, rng), rng)
>>> sl.solve(law, x, grid, "dpmpp-2m", correction=sl.stein(gamma_max=1.0)).evaluations
8
>>> gammas = sl.coefficients(law, grid[2], grid[3], "euler", samples=1000)
>>> {route: round(gammas[route].value, 4) for route in ("tweedie", "three_scalar")}
{'tweedie': 1.5117, 'three_scalar': 1.5117}
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
    from steinlab.coefficient.routes import coefficients
    from steinlab.corrections import get_correction
    from steinlab.corrections.stein import stein
    from steinlab.corrections.tweedie import tweedie
    from steinlab.diffusion.grids import make_grid
    from steinlab.diffusion.guidance import guided
    from steinlab.diffusion.models import load_model
    from steinlab.diffusion.networks import from_torch
    from steinlab.diffusion.processes import get_process
    from steinlab.estimates import Estimate
    from steinlab.experiments.compare import compare
    from steinlab.experiments.likelihood import log_likelihood
    from steinlab.solvers import get_solver
    from steinlab.solvers.inversion import invert
    from steinlab.solvers.loop import Solution, solve
    from steinlab.testing import (
        check_correction,
        check_denoiser,
        check_law,
        check_sampler,
        check_solver,
    )
    from steinlab.verification import laws
    from steinlab.verification.arguments import levels, numbers, steps
    from steinlab.verification.expectation import E
    from steinlab.verification.ledger import run as verify
    from steinlab.verification.short import claim

_HOMES = {
    "analytic": ("NoiseLevel", "GaussianMixture", "EmpiricalMixture"),
    "steinlab.diffusion.processes": ("get_process",),
    "steinlab.diffusion.grids": ("make_grid",),
    "steinlab.diffusion.models": ("load_model",),
    "steinlab.diffusion.networks": ("from_torch",),
    "steinlab.diffusion.guidance": ("guided",),
    "steinlab.solvers": ("get_solver",),
    "steinlab.solvers.inversion": ("invert",),
    "steinlab.solvers.loop": ("solve", "Solution"),
    "steinlab.corrections": ("get_correction", "stein", "tweedie"),
    "steinlab.coefficient.routes": ("coefficients",),
    "steinlab.estimates": ("Estimate",),
    "steinlab.experiments.compare": ("compare",),
    "steinlab.experiments.likelihood": ("log_likelihood",),
    "steinlab.verification.short": ("claim",),
    "steinlab.verification.arguments": ("levels", "steps", "numbers"),
    "steinlab.verification.expectation": ("E",),
    "steinlab.testing": (
        "check_sampler",
        "check_solver",
        "check_correction",
        "check_denoiser",
        "check_law",
    ),
}
_FACE = {name: (module, name) for module, names in _HOMES.items() for name in names}
_FACE |= {
    "laws": ("steinlab.verification.laws", ""),
    "verify": ("steinlab.verification.ledger", "run"),
}
"""Where each name lives: a module, and what stands in it."""

__all__ = [
    "E",
    "EmpiricalMixture",
    "Estimate",
    "GaussianMixture",
    "NoiseLevel",
    "Solution",
    "check_correction",
    "check_denoiser",
    "check_law",
    "check_sampler",
    "check_solver",
    "claim",
    "coefficients",
    "compare",
    "from_torch",
    "get_correction",
    "get_process",
    "get_solver",
    "guided",
    "invert",
    "laws",
    "levels",
    "load_model",
    "log_likelihood",
    "make_grid",
    "numbers",
    "solve",
    "stein",
    "steps",
    "tweedie",
    "verify",
]

if not TYPE_CHECKING:  # a type checker sees the names above, and no others

    def __getattr__(name: str) -> object:
        if name not in _FACE:
            raise AttributeError(f"module 'steinlab' has no attribute {name!r}")
        module, inner = _FACE[name]
        found = import_module(module)
        return getattr(found, inner) if inner else found

    def __dir__() -> list[str]:
        return sorted({*globals(), *_FACE})
