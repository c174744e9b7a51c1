r"""The divergence of a step's residual, ``div u = sum_i du_i/dx_i``, per state.

Exact where the denoiser is exact; by Hutchinson's estimator ``E[v' J v]`` otherwise. Where the
step is linear in the denoiser, only ``div D`` is estimated:

    div u = (1 - kappa) d - betas[0] div D.

A step with several evaluations of the denoiser is differentiated as a whole, in forward mode
(:mod:`steinlab.coefficient.forward_mode`) or, with torch, in reverse mode.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Protocol

import numpy as np
from array_api_compat import array_namespace

from analytic.arrays import Array, like
from steinlab.coefficient.forward_mode import Dual, on_duals
from steinlab.diffusion.denoisers import Denoiser, HasDivergence, HasJvp, HasVjp
from steinlab.errors import one_of
from steinlab.solvers import LinearStep
from steinlab.solvers.step import Step, batch_axes

BLOCK = 2**22
"""Elements per block of tangents in the exact trace of a nonlinear step."""


class Divergence(Protocol):
    """A way to obtain ``div u`` per state; ``rng`` draws the probes of an estimate."""

    def __call__(self, step: Step, rng: np.random.Generator) -> Array:
        """Return ``div u``, shape of the batch."""


@dataclass(frozen=True)
class Exact:
    """The exact divergence, for denoisers with an exact ``div D`` (linear steps) or ``D' v``.

    Raises
    ------
    ValueError
        If the denoiser offers neither.
    """

    def __call__(self, step: Step, rng: np.random.Generator) -> Array:  # noqa: ARG002
        """Return ``div u``, shape of the batch."""
        linear = step.candidate.linear
        if linear is not None and isinstance(step.denoiser, HasDivergence):
            return _assemble(linear, step.dim, step.denoiser.divergence(step.x, step.s))
        if not isinstance(step.denoiser, HasJvp):
            raise ValueError(
                f"divergence must be estimated for {type(step.denoiser).__name__}: it offers "
                "neither an exact divergence nor a Jacobian-vector product"
            )
        return _exact_trace(step)


@dataclass(frozen=True)
class Hutchinson:
    """Hutchinson's estimator: the mean over ``probes`` vectors per state.

    Guarantee: unbiased for any law of probes with ``E[v v'] = I``. With ``J_s`` the symmetric part
    of the Jacobian at a state, one Rademacher probe has the variance
    ``2 (|J_s|_F^2 - sum_i J_ii^2)``, a Gaussian one ``2 |J_s|_F^2``.

    Parameters
    ----------
    probes : int
        At least 1.
    law : {"rademacher", "gaussian"}
    mode : {"jvp", "vjp"}
        Jacobian-vector or vector-Jacobian products; the estimate is the same number.
    """

    probes: int = 1
    law: str = "rademacher"
    mode: str = "jvp"

    def __post_init__(self) -> None:
        if self.probes < 1:
            raise ValueError(f"probes must be >= 1, got {self.probes}")
        if self.law not in PROBES:
            raise ValueError(f"law must be one of {', '.join(PROBES)}, got {self.law}")
        if self.mode not in ("jvp", "vjp"):
            raise ValueError(f"mode must be jvp or vjp, got {self.mode}")

    def __call__(self, step: Step, rng: np.random.Generator) -> Array:
        """Return the estimate of ``div u`` per state."""
        v = draw_probes(step.x, self.probes, self.law, rng)
        return self.along(step, v)

    def along(self, step: Step, v: Array) -> Array:
        """Return ``mean_p v_p' J v_p`` for the given probes, shape ``(P, *x.shape)``."""
        linear = step.candidate.linear
        if linear is None:
            return _mean_probes(_inner_probes(self._step_product(step, v), v, step.x))
        product = self._denoiser_product(step, v)
        return _assemble(linear, step.dim, _mean_probes(_inner_probes(product, v, step.x)))

    def _denoiser_product(self, step: Step, v: Array) -> Array:
        denoiser: Any = step.denoiser
        capability = HasVjp if self.mode == "vjp" else HasJvp
        if not isinstance(denoiser, capability):
            raise ValueError(
                f"mode must be one that {type(denoiser).__name__} offers, got {self.mode}"
            )
        return getattr(denoiser, self.mode)(step.x, step.s, v)

    def _step_product(self, step: Step, v: Array) -> Array:
        if self.mode == "vjp":
            from steinlab.diffusion.autodiff import vjp_of

            return vjp_of(lambda x: step.residual(x, step.denoiser), step.x, v)
        if not isinstance(step.denoiser, HasJvp):
            raise ValueError(f"mode must be vjp for {type(step.denoiser).__name__}, got jvp")
        return step.residual(Dual(step.x, v), on_duals(step.denoiser)).tangent


PROBES: Mapping[str, Callable[[np.random.Generator, tuple[int, ...]], np.ndarray]] = (
    MappingProxyType(
        {
            "rademacher": lambda rng, shape: 2.0 * rng.integers(0, 2, shape) - 1.0,
            "gaussian": lambda rng, shape: rng.standard_normal(shape),
        }
    )
)
"""Laws of probe vectors, all with ``E[v v'] = I``."""


def draw_probes(x: Array, count: int, law: str, rng: np.random.Generator) -> Array:
    """Draw probes ``(count, *x.shape)`` like ``x``."""
    return like(PROBES[law](rng, (count, *x.shape)), x)


NAMED: Mapping[str, Callable[[], Divergence]] = MappingProxyType(
    {"exact": Exact, "hutchinson": Hutchinson}
)
"""Divergences by their name in a SPEC.json."""


def named_divergence(given: Divergence | str | None) -> Divergence | None:
    """Return the divergence of that name, or a divergence as it is.

    Raises
    ------
    InputError
        If there is none of that name.
    """
    return NAMED[one_of("divergence", given, NAMED)]() if isinstance(given, str) else given


def default_divergence(denoiser: Denoiser, *, linear: bool = False) -> Divergence:
    """Return the exact divergence of an exact denoiser, else Hutchinson's with one probe.

    See :func:`one_probe` for the mode.
    """
    return Exact() if isinstance(denoiser, HasDivergence) else one_probe(denoiser, linear=linear)


def one_probe(denoiser: Denoiser, *, linear: bool = False) -> Hutchinson:
    """Return Hutchinson's estimator with one probe, in the mode that costs less.

    A denoiser that offers both products is probed in reverse mode if the step is ``linear`` in it,
    which takes a network half the time of forward mode, else in forward mode.
    """
    forward = isinstance(denoiser, HasJvp) and not (linear and isinstance(denoiser, HasVjp))
    return Hutchinson(mode="jvp" if forward else "vjp")


def _assemble(linear: LinearStep, dim: int, div_denoiser: Array) -> Array:
    return _flat(linear.one_minus_kappa) * dim - _flat(linear.betas[0]) * div_denoiser


def _flat(value: Any) -> Any:
    """Drop the coordinate axis of a level array ``(..., 1, 1)`` that meets ``(..., N)``."""
    return value[..., 0] if getattr(value, "ndim", 0) else value


def _inner_probes(product: Array, v: Array, x: Array) -> Array:
    xp = array_namespace(product)
    return xp.sum(product * v, axis=tuple(range(batch_axes(x) - x.ndim, 0)))


def _mean_probes(values: Array) -> Array:
    return array_namespace(values).mean(values, axis=0)


def _exact_trace(step: Step) -> Array:
    """Return the trace from tangents along the unit vectors, a block at a time."""
    x, dim = step.x, step.dim
    block = max(1, BLOCK // max(1, math.prod(x.shape)))
    denoise = on_duals(step.denoiser)  # type: ignore[arg-type]
    total: Any = 0.0
    for start in range(0, dim, block):
        rows = np.eye(dim)[start : start + block]
        shape = (len(rows), *(1,) * batch_axes(x), *x.shape[batch_axes(x) :])
        unit = like(np.broadcast_to(rows.reshape(shape), (len(rows), *x.shape)).copy(), x)
        tangent = step.residual(Dual(x, unit), denoise).tangent
        total = total + array_namespace(x).sum(_inner_probes(tangent, unit, x), axis=0)
    return total
