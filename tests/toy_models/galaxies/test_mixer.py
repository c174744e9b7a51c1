"""The mixer against the same mathematics in NumPy, written from the formulas."""

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.diffusion.networks import timed_denoiser
from toy_models.galaxies.mixer import NORM_EPS, ScoreMixer, set_leaves
from toy_models.galaxies.weight_files import BLOCKS, CHANNELS, PATCH, mixer_shapes

SIDE = 8


@pytest.fixture(scope="module")
def leaves():
    rng = np.random.default_rng(0)
    shapes = mixer_shapes(SIDE)
    return [*(rng.standard_normal(shape) / 8 for shape in shapes[:-1]), np.array(7.0)]


@pytest.fixture(scope="module")
def net(leaves):
    made = ScoreMixer(SIDE).double()
    set_leaves(made, leaves)
    return made.requires_grad_(False)


def normalised(y, weight, bias):
    return (y - y.mean()) / np.sqrt(y.var() + NORM_EPS) * weight + bias


def mixed(y, expand, bias, contract, offset):
    return np.maximum(y @ expand.T + bias, 0) @ contract.T + offset


def by_hand(leaves, x, t):
    """One picture ``(SIDE, SIDE)``; a patch is a block of pixels, its row in the embedding."""
    embed, embed_bias, restore, restore_bias, *rest, t1 = leaves
    n = SIDE // PATCH
    channels = np.stack([x, np.full_like(x, t / t1)])
    patches = channels.reshape(2, n, PATCH, n, PATCH)
    y = np.einsum("ocij,cpiqj->opq", embed, patches) + embed_bias
    y = y.reshape(CHANNELS, n * n)
    for _ in range(BLOCKS):
        over_patches, over_channels, norms, rest = rest[:4], rest[4:8], rest[8:12], rest[12:]
        y = y + mixed(normalised(y, *norms[:2]), *over_patches)
        y = y + mixed(normalised(y.T, *norms[2:]), *over_channels).T
    y = normalised(y, *rest).reshape(CHANNELS, n, n)
    # the transposed convolution of equinox: correlate the dilated input with the kernel
    dilated = np.zeros((CHANNELS, SIDE + 2 * PATCH - 2, SIDE + 2 * PATCH - 2))
    dilated[:, PATCH - 1 : PATCH - 1 + SIDE : PATCH, PATCH - 1 : PATCH - 1 + SIDE : PATCH] = y
    windows = np.lib.stride_tricks.sliding_window_view(dilated, (PATCH, PATCH), axis=(1, 2))
    out = np.einsum("cij,cxyij->xy", restore[0], windows[:, :SIDE, :SIDE])
    return out + restore_bias[0]


def test_the_network_is_the_formula(leaves, net):
    rng = np.random.default_rng(1)
    x, t = rng.standard_normal((3, SIDE, SIDE)), np.array([0.1, 2.0, 6.0])
    expected = np.stack([by_hand(leaves, *each) for each in zip(x, t, strict=True)])
    found = net(torch.from_numpy(x)[:, None], torch.from_numpy(t))[:, 0].numpy()
    assert np.abs(found - expected).max() <= 1e-12 * np.abs(expected).max()


def test_a_kernel_that_is_not_turned_is_another_network(leaves, net):
    wrong = ScoreMixer(SIDE).double().requires_grad_(False)
    set_leaves(wrong, [*leaves[:2], np.flip(leaves[2], (2, 3)), *leaves[3:]])
    x, t = torch.ones(1, 1, SIDE, SIDE, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    assert float((net(x, t) - wrong(x, t)).abs().max()) > 0.01


def test_its_derivatives_are_those_of_differences(net):
    shape = (1, SIDE, SIDE)
    denoiser = timed_denoiser(
        net, shape, prediction="score", time_of=lambda r: r, dtype=torch.float64
    )
    level, h = NoiseLevel(1.0, 0.5), 1e-6
    rng = np.random.default_rng(2)
    x, v, w = rng.standard_normal((3, 2, SIDE**2))
    difference = (denoiser(x + h * v, level) - denoiser(x - h * v, level)) / (2 * h)
    tangent, cotangent = denoiser.jvp(x, level, v), denoiser.vjp(x, level, w)
    assert np.abs(tangent - difference).max() <= 1e-7 * np.abs(difference).max()
    np.testing.assert_allclose((tangent * w).sum(1), (cotangent * v).sum(1), rtol=1e-12)


@pytest.mark.parametrize("side", [0, 30])
def test_patches_must_tile_the_picture(side):
    with pytest.raises(ValueError, match=f"side must be a multiple of 4, got {side}"):
        ScoreMixer(side)
