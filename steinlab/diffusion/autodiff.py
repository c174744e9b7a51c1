"""Derivatives of torch denoisers."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from analytic import NoiseLevel


@dataclass(frozen=True)
class Differentiable:
    """A torch denoiser with Jacobian-vector and vector-Jacobian products, ``vmap``ped over probes.

    Parameters
    ----------
    function : callable
        ``(x, level) -> D(x)`` on torch tensors; states must not interact.
    """

    function: Callable[[torch.Tensor, NoiseLevel], torch.Tensor]

    def __call__(self, x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        """Return ``D(x)``."""
        out: torch.Tensor = self.function(x, level)
        return out

    def jvp(self, x: torch.Tensor, level: NoiseLevel, tangent: torch.Tensor) -> torch.Tensor:
        """Return ``D'(x) v`` for tangents ``(P, *x.shape)``."""

        def along(v: torch.Tensor) -> torch.Tensor:
            out: torch.Tensor = torch.func.jvp(lambda z: self.function(z, level), (x,), (v,))[1]
            return out

        return _over_probes(along, tangent, x)

    def vjp(self, x: torch.Tensor, level: NoiseLevel, cotangent: torch.Tensor) -> torch.Tensor:
        """Return ``D'(x)' v`` for cotangents ``(P, *x.shape)``."""
        out: torch.Tensor = vjp_of(lambda z: self.function(z, level), x, cotangent)
        return out


def vjp_of(function: Callable[[Any], Any], x: torch.Tensor, cotangent: torch.Tensor) -> Any:
    """Return ``f'(x)' v`` for cotangents ``(P, *x.shape)``, one forward pass for all probes."""
    pull = torch.func.vjp(function, x)[1]
    return _over_probes(lambda v: pull(v)[0], cotangent, x)


def _over_probes(
    along: Callable[[torch.Tensor], torch.Tensor], v: torch.Tensor, x: torch.Tensor
) -> torch.Tensor:
    if v.ndim == x.ndim:
        return along(v)
    out: torch.Tensor = torch.func.vmap(along)(v)
    return out
