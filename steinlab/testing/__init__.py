"""Conformance: property tests of anyone's solver, scheduler or sampling loop, exact laws the judge.

Every name is loaded when it is first asked for.

Examples
--------
>>> from steinlab.testing import check_sampler
>>> def euler(model, x, sigmas):
...     for s, t in zip(sigmas[:-1], sigmas[1:]):
...         x = x + (x - model(x, s)) / s * (t - s)
...     return x
>>> rows = check_sampler(euler, order=1)
>>> [row.text for row in rows if row.check in ("end-at-zero", "method")]
['returns D', 'euler']
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steinlab.testing.adapters import from_loop, from_solver, from_step, from_velocity
    from steinlab.testing.check import check_sampler, check_scheduler, check_solver, rows_of
    from steinlab.testing.components import check_correction, check_denoiser
    from steinlab.testing.grid_lint import lint_grid
    from steinlab.testing.laws import check_law
    from steinlab.testing.methods import identify
    from steinlab.testing.parametrize import parametrize_with_checks
    from steinlab.testing.rows import ConformanceError, Row
    from steinlab.testing.schedulers import from_diffusers
    from steinlab.testing.step_trace import trace

_FACE = {
    name: module
    for module, names in {
        "check": "check_solver check_sampler check_scheduler rows_of",
        "components": "check_correction check_denoiser",
        "adapters": "from_step from_loop from_velocity from_solver",
        "schedulers": "from_diffusers",
        "laws": "check_law",
        "methods": "identify",
        "grid_lint": "lint_grid",
        "step_trace": "trace",
        "parametrize": "parametrize_with_checks",
        "rows": "ConformanceError Row",
    }.items()
    for name in names.split()
}
"""The module of each name."""

__all__ = [
    "ConformanceError",
    "Row",
    "check_correction",
    "check_denoiser",
    "check_law",
    "check_sampler",
    "check_scheduler",
    "check_solver",
    "from_diffusers",
    "from_loop",
    "from_solver",
    "from_step",
    "from_velocity",
    "identify",
    "lint_grid",
    "parametrize_with_checks",
    "rows_of",
    "trace",
]

if not TYPE_CHECKING:  # a type checker sees the names above, and no others

    def __getattr__(name: str) -> object:
        if name not in _FACE:
            raise AttributeError(f"module 'steinlab.testing' has no attribute {name!r}")
        return getattr(import_module(f"steinlab.testing.{_FACE[name]}"), name)

    def __dir__() -> list[str]:
        return sorted({*globals(), *_FACE})
