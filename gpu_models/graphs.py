"""A sweep over the data as one CUDA graph: about a hundred short kernels without launch gaps.

The queries may be split over streams, so that the softmax of one part fills the tensor cores' idle
time while the other part multiplies.
"""

from __future__ import annotations

from collections.abc import Callable

import torch

from gpu_models.streaming import Precision, State, product_mode

WARM_UP = 2
"""Runs before the capture: they compile kernels and create the libraries' handles."""

Sweep = Callable[[torch.Tensor, torch.Tensor], State]
"""``(scaled queries, bias) -> statistics`` of all rows."""


def split_sweep(u: torch.Tensor, bias: torch.Tensor, sweep: Sweep, streams: int) -> list[State]:
    """Run a sweep on ``streams`` parts of the queries side by side."""
    main = torch.cuda.current_stream()
    sides = [torch.cuda.Stream() for _ in range(streams - 1)]
    states = []
    for side, part in zip((main, *sides), u.chunk(streams), strict=False):
        if side is not main:
            side.wait_stream(main)
        with torch.cuda.stream(side):
            states.append(sweep(part, bias))
    for side in sides:
        main.wait_stream(side)
    return states


class Captured:
    """A sweep of a fixed shape, replayed on new queries; its states are overwritten each time.

    Parameters
    ----------
    u : tensor (N, d)
        Queries of the shape and dtype to serve, on the device.
    precision : Precision
    sweep : Sweep
    streams : int
    """

    def __init__(self, u: torch.Tensor, precision: Precision, sweep: Sweep, streams: int = 1):
        self.u = u.clone()
        self.bias = torch.ones((), dtype=precision.work, device=u.device)
        self.graph = torch.cuda.CUDAGraph()
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with product_mode(precision):
            with torch.cuda.stream(side):
                for _ in range(WARM_UP):
                    split_sweep(self.u, self.bias, sweep, streams)
            torch.cuda.current_stream().wait_stream(side)
            with torch.cuda.graph(self.graph):
                self.states = split_sweep(self.u, self.bias, sweep, streams)

    def __call__(self, u: torch.Tensor, bias: torch.Tensor) -> list[State]:
        """Replay; read the states before the next call."""
        self.u.copy_(u)
        self.bias.copy_(bias)
        self.graph.replay()
        return self.states
