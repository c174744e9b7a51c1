"""A network denoiser whose values are compiled; its derivatives are those of the network as it is.

``torch.compile`` makes one program for each number of rows, at some ten seconds each, and cannot be
differentiated by ``torch.func``. So rows are padded up to the nearest of a few sizes, and Jacobian
products go by the plain function.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from analytic import NoiseLevel
from analytic.arrays import Array
from steinlab.diffusion.networks import Function, NetworkDenoiser, edm_denoiser

Net = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


@dataclass(frozen=True)
class CompiledDenoiser(NetworkDenoiser):
    """A network denoiser with a faster function for its values.

    Parameters
    ----------
    values : callable, optional
        ``(x, level) -> D(x)`` as ``function``, to rounding; ``function`` itself by default.
    """

    values: Function | None = None

    def __call__(self, x: Array, level: NoiseLevel) -> Array:
        """Return ``D(x)`` like ``x``, without recording gradients."""
        function = self.values or self.function
        with torch.no_grad():
            return self._by_rows(lambda z: function(z, level), x)

    @property
    def uncompiled(self) -> NetworkDenoiser:
        """The same network, its values by the plain function."""
        return NetworkDenoiser(self.function, self.dim, self.dtype, self.device, self.rows)


def padded(net: Net, sizes: Sequence[int]) -> Net:
    """Return a network that asks ``net`` for one of few numbers of rows only.

    Parameters
    ----------
    net : callable
        ``(pictures (N, ...), sigma (N,)) -> pictures``, each picture on its own.
    sizes : sequence of int
        Rows are padded, by copies of the last, up to the least of these that holds them.

    Raises
    ------
    ValueError
        If there are more rows than the largest size, or none.

    Examples
    --------
    >>> seen = []
    >>> def net(x, sigma):
    ...     seen.append(len(x))
    ...     return 2 * x
    >>> padded(net, [4, 8])(torch.ones(3, 1), torch.ones(3)).shape, seen
    (torch.Size([3, 1]), [4])
    """
    ordered = sorted(sizes)

    def whole(pictures: torch.Tensor, sigma: torch.Tensor) -> torch.Tensor:
        count = len(pictures)
        fitting = [size for size in ordered if size >= count > 0]
        if not fitting:
            raise ValueError(f"rows must be in 1 to {ordered[-1]}, got {count}")
        more = fitting[0] - count
        if more:
            pictures, sigma = (
                torch.cat([z, z[-1:].expand(more, *z.shape[1:])]) for z in (pictures, sigma)
            )
        return net(pictures, sigma)[:count]

    return whole


def compiled_denoiser(
    net: Net, fast: Net, shape: Sequence[int], sizes: Sequence[int], **options: Any
) -> CompiledDenoiser:
    """Return the denoiser of ``net`` in EDM style with values by ``fast``, a compiled ``net``.

    ``options`` are those of :class:`steinlab.diffusion.networks.NetworkDenoiser`; the largest of
    ``sizes`` is the number of rows at once.
    """
    plain = edm_denoiser(net, shape, rows=max(sizes), **options)
    values = edm_denoiser(padded(fast, sizes), shape, **options).function
    return CompiledDenoiser(
        plain.function,
        plain.dim,
        plain.dtype,
        plain.device,
        plain.rows,
        plain.remake,
        values=values,
    )
