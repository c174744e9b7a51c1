r"""An MLP-mixer that returns the score of pictures at a time, in torch.

The architecture of galaxygrad's networks (Sampson et al., 2024), an MLP-mixer after Tolstikhin et
al. (2021), written anew: the time is a constant channel beside the picture; patches are embedded;
each block mixes the patches of every channel, then the channels of every patch, both with a
residual; a normalisation and the transposed embedding lead back to a picture.
"""

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from toy_models.galaxies.weight_files import BLOCKS, CHANNELS, HIDDEN, PATCH

NORM_EPS = 1e-5
"""Added to a variance under its root, as equinox's ``LayerNorm`` does."""


class _Mix(nn.Module):
    """``linear, relu, linear`` along the last axis."""

    def __init__(self, size: int):
        super().__init__()
        self.expand = nn.Linear(size, HIDDEN)
        self.contract = nn.Linear(HIDDEN, size)

    def forward(self, y: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.contract(torch.relu(self.expand(y)))
        return out


class _Block(nn.Module):
    """Mix patches, then channels; each normalisation spans both axes of a picture."""

    def __init__(self, patches: int):
        super().__init__()
        self.over_patches = _Mix(patches)
        self.over_channels = _Mix(CHANNELS)
        self.norm_patches = nn.LayerNorm((CHANNELS, patches), NORM_EPS)
        self.norm_channels = nn.LayerNorm((patches, CHANNELS), NORM_EPS)

    def forward(self, y: torch.Tensor) -> torch.Tensor:  # (N, channels, patches)
        y = y + self.over_patches(self.norm_patches(y))
        z = y.transpose(1, 2)
        z = z + self.over_channels(self.norm_channels(z))
        out: torch.Tensor = z.transpose(1, 2)
        return out


class ScoreMixer(nn.Module):
    r"""``(pictures (N, 1, side, side), times (N,)) -> scores`` of the pictures' shape.

    Parameters
    ----------
    side : int
        Pixels of a picture's side, a multiple of 4.

    Raises
    ------
    ValueError
        If patches do not tile the picture.

    Examples
    --------
    >>> ScoreMixer(8)(torch.zeros(7, 1, 8, 8), torch.ones(7)).shape
    torch.Size([7, 1, 8, 8])
    """

    def __init__(self, side: int):
        super().__init__()
        if side < PATCH or side % PATCH:
            raise ValueError(f"side must be a multiple of {PATCH}, got {side}")
        patches = (side // PATCH) ** 2
        self.embed = nn.Conv2d(2, CHANNELS, PATCH, stride=PATCH)
        self.restore = nn.ConvTranspose2d(CHANNELS, 1, PATCH, stride=PATCH)
        self.blocks = nn.ModuleList(_Block(patches) for _ in range(BLOCKS))
        self.norm = nn.LayerNorm((CHANNELS, patches), NORM_EPS)
        self.t1 = 10.0

    def forward(self, x: torch.Tensor, t: torch.Tensor) -> torch.Tensor:
        """Return the score at times ``t``, which the network sees as ``t / t1``."""
        clock = (t / self.t1).reshape(-1, 1, 1, 1).expand_as(x)
        y = self.embed(torch.cat([x, clock], dim=1))
        z = y.flatten(2)
        for block in self.blocks:
            z = block(z)
        out: torch.Tensor = self.restore(self.norm(z).reshape(y.shape))
        return out


def set_leaves(net: ScoreMixer, leaves: Sequence[np.ndarray]) -> None:
    """Set a network's parameters and ``t1`` from a file's arrays, in the order of ``mixer_shapes``.

    Equinox's transposed convolution correlates the dilated input with its kernel, stored as
    ``(out, in, h, w)``; torch's spreads its kernel over the output, stored as ``(in, out, h, w)``:
    the kernel is transposed and turned by 180 degrees.
    """
    embed, bias, kernel, *rest, t1 = leaves
    turned = np.flip(kernel, (2, 3)).swapaxes(0, 1)
    with torch.no_grad():
        for parameter, leaf in zip(net.parameters(), (embed, bias, turned, *rest), strict=True):
            parameter.copy_(torch.from_numpy(leaf.reshape(parameter.shape).copy()))
    net.t1 = float(t1)
