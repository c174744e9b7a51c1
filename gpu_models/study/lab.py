"""What the parts of a study share: the network, the data, exact denoisers, start states."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import torch

from gpu_models.exact.denoiser import ScaledEmpirical
from gpu_models.network.compiled import CompiledDenoiser, compiled_denoiser
from gpu_models.study.design import Size
from steinlab.diffusion.networks import NetworkDenoiser, edm_denoiser
from steinlab.diffusion.processes import EDM
from steinlab.estimates import richardson
from steinlab.solvers import IPNDM
from steinlab.solvers.loop import solve
from steinlab.solvers.reference_flow import ORDER

PRIME = 1_000_003
"""Separates the random numbers of different seeds."""


@dataclass(frozen=True)
class Lab:
    """The network in two precisions, the data, and caches of what is computed once.

    ``fast`` samples (half precision inside where there is a GPU), ``exact`` differentiates
    (float32). States are float64 in both.
    """

    size: Size
    device: torch.device
    fast: NetworkDenoiser
    exact: NetworkDenoiser
    train: torch.Tensor  # (n, d) float32 in [-1, 1]
    test: torch.Tensor
    cache: dict[Any, Any] = field(default_factory=dict)

    @property
    def uncompiled(self) -> NetworkDenoiser:
        """``fast`` as it would be without a compiler."""
        fast = self.fast
        return fast.uncompiled if isinstance(fast, CompiledDenoiser) else fast

    @property
    def dim(self) -> int:
        """Coordinates of a state."""
        return int(self.train.shape[1])

    def generator(self, *content: int) -> torch.Generator:
        """Return random numbers that depend on the content alone."""
        made = torch.Generator(self.device)
        seed = 0
        for part in content:
            seed = seed * PRIME + part + 1
        made.manual_seed(seed % 2**63)
        return made

    def noise(self, rows: int, *content: int) -> torch.Tensor:
        """Return standard normal states ``(rows, d)`` in float64."""
        shape = (rows, self.dim)
        return torch.randn(
            shape, generator=self.generator(*content), device=self.device, dtype=torch.float64
        )

    def start(self, seed: int, rows: int | None = None) -> torch.Tensor:
        """Return the start states of a seed, ``80 eps`` in float64."""
        return EDM.ratio_max * self.noise(rows or self.size.samples, 17, seed)

    def ends(self, seed: int) -> tuple[torch.Tensor, float]:
        """Return where the network's own flow takes the start states, and the r.m.s. error.

        ``ipndm-4`` over a Karras grid in ``N`` and in ``2 N`` steps; the finer run is returned,
        its error by Richardson, ``|x_2N - x_N| / 3``: that of the run to its own end, not of the
        first-order step to zero noise that every run takes from the same level.
        """
        if ("ends", seed) not in self.cache:
            from steinlab.diffusion.grids import make_grid

            solver = next(s for s in IPNDM if s.width == 4)
            x, steps = self.start(seed), self.size.long_steps
            coarse, fine = (
                solve(self.fast, x, make_grid(EDM, "karras", n + 1), solver).state
                for n in (steps, 2 * steps)
            )
            error = richardson(float((fine - coarse).square().sum(1).mean().sqrt()), ORDER)
            self.cache["ends", seed] = fine, error
        found: tuple[torch.Tensor, float] = self.cache["ends", seed]
        return found

    def law(self, bandwidth: float) -> ScaledEmpirical:
        """Return the training set's exact denoiser, a Gaussian of this deviation per picture."""
        if ("law", bandwidth) not in self.cache:
            precision = "tf32" if self.device.type == "cuda" else "float32"
            self.cache["law", bandwidth] = ScaledEmpirical(
                self.train.double().cpu().numpy(),
                bandwidth,
                precision=precision,
                device=str(self.device),
            )
        found: ScaledEmpirical = self.cache["law", bandwidth]
        return found


def denoisers(
    net: Callable[[torch.Tensor, torch.Tensor], torch.Tensor],
    shape: tuple[int, ...],
    device: torch.device,
    sizes: tuple[int, ...],
    *,
    compiled: bool,
) -> tuple[NetworkDenoiser, NetworkDenoiser]:
    """Return the network for sampling and for derivatives.

    The first computes in float16 products on a GPU, its values compiled where asked for, padded to
    the ``sizes``, of which the largest is the rows at once.
    """

    def half(inner: Any) -> Any:
        def call(x: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
            with torch.autocast("cuda", torch.float16):
                out: torch.Tensor = inner(x.contiguous(memory_format=torch.channels_last), sigma)
                return out.float()

        return call

    options: dict[str, Any] = {"device": str(device)}
    exact = edm_denoiser(net, shape, rows=max(sizes), **options)
    if device.type != "cuda":
        return exact, exact
    if not compiled:
        return edm_denoiser(half(net), shape, rows=max(sizes), **options), exact
    program = half(torch.compile(net, dynamic=False))
    return compiled_denoiser(half(net), program, shape, sizes, **options), exact
