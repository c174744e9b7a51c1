"""The network: preconditioning, derivatives, and the same weights from the same seed."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from gpu_models.network.trainer import PRESETS
from gpu_models.network.unet import UNetConfig, build, parameters_of
from steinlab.diffusion.networks import edm_denoiser
from steinlab.errors import InputError

SMALL = UNetConfig(channels=(8, 12), blocks=1, embedding=8, sigma_data=0.7)
EPS32 = float(np.finfo(np.float32).eps)
HALF_PRECISION_LIMIT = 16 * 2**20


def disturbed(config: UNetConfig = SMALL) -> torch.nn.Module:
    """A network away from its start, where branches are zero and derivatives trivial."""
    net = build(config).double()
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in net.parameters():
            p.add_(0.1 * torch.randn(p.shape, generator=generator, dtype=p.dtype))
    return net


def test_untrained_network_is_the_best_linear_denoiser_of_its_sigma_data() -> None:
    net = build(SMALL)
    x = torch.randn(3, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    sigma = torch.tensor([0.1, 1.0, 10.0])
    gain = 0.7**2 / (sigma**2 + 0.7**2)
    torch.testing.assert_close(net(x, sigma), x * gain[:, None, None, None])


def test_preconditioning_keeps_targets_at_unit_variance() -> None:
    # the network's target (x_star - c_skip x) / c_out and its input c_in x for data of deviation s
    s, sigma = 0.7, torch.logspace(-3, 2, 11, dtype=torch.float64)
    total = sigma**2 + s**2
    c_skip, c_out, c_in = s**2 / total, sigma * s / total.sqrt(), 1 / total.sqrt()
    variance = ((1 - c_skip) ** 2 * s**2 + c_skip**2 * sigma**2) / c_out**2
    torch.testing.assert_close(variance, torch.ones_like(sigma))
    torch.testing.assert_close(c_in**2 * total, torch.ones_like(sigma))
    net = disturbed()
    x = torch.randn(len(sigma), 1, 28, 28, dtype=torch.float64)
    column = [c[:, None, None, None] for c in (c_skip, c_out, c_in)]
    expected = column[0] * x + column[1] * net.net(column[2] * x, sigma.log() / 4)
    torch.testing.assert_close(net(x, sigma), expected)


FLOW = dataclasses.replace(SMALL, objective="flow", classes=3, patch=2)


def test_velocity_has_input_and_target_of_unit_variance() -> None:
    s, t = 0.7, torch.linspace(0, 1, 11, dtype=torch.float64)
    q = (1 - t) ** 2 * s**2 + t**2
    c_skip, c_out = (t - (1 - t) * s**2) / q, s / q.sqrt()
    # of the target eps - x0 less c_skip ((1 - t) x0 + t eps), for independent x0 and eps
    variance = ((1 - c_skip * t) ** 2 + (1 + c_skip * (1 - t)) ** 2 * s**2) / c_out**2
    torch.testing.assert_close(variance, torch.ones_like(t))
    net = disturbed(FLOW)
    x, labels = torch.randn(len(t), 1, 28, 28, dtype=torch.float64), torch.arange(len(t)) % 4
    column = [c[:, None, None, None] for c in (c_skip, c_out, 1 / q.sqrt())]
    expected = column[0] * x + column[1] * net.net(column[2] * x, t, labels)
    torch.testing.assert_close(net(x, t, labels), expected)
    assert not torch.allclose(net(x, t, labels), net(x, t, torch.full_like(labels, 3)))


def test_patches_are_channels_of_coarser_pictures() -> None:
    net = disturbed(FLOW)
    assert net.net.first.in_channels == net.net.last.out_channels == 4
    x, t = torch.zeros(1, 1, 28, 28, dtype=torch.float64), torch.ones(1, dtype=torch.float64)
    with torch.no_grad():
        net.net.last.weight.zero_()
        net.net.last.bias.copy_(torch.arange(4.0))
    out = net.net(x, t, torch.zeros(1, dtype=torch.long))[0, 0]
    expected = torch.tensor([[0.0, 1.0], [2.0, 3.0]], dtype=torch.float64).repeat(14, 14)
    torch.testing.assert_close(out, expected)


def test_products_agree_with_differences_and_each_other() -> None:
    denoiser = edm_denoiser(disturbed(), SMALL.picture, dtype=torch.float64)
    rng = np.random.default_rng(0)
    x, v, w = rng.normal(size=(3, 2, 784))
    level = NoiseLevel(1.0, 0.8)
    forward, backward = denoiser.jvp(x, level, v), denoiser.vjp(x, level, w)
    step = 1e-5
    difference = (denoiser(x + step * v, level) - denoiser(x - step * v, level)) / (2 * step)
    # central differences err by step^2 of the third derivative and eps / step of rounding
    np.testing.assert_allclose(forward, difference, atol=1e-7 * np.abs(forward).max())
    sides = np.sum(w * forward, axis=1), np.sum(v * backward, axis=1)
    np.testing.assert_allclose(*sides, rtol=1e-10)
    assert np.abs(forward - v * 0.49 / (0.64 + 0.49)).max() > 1e-2


def test_many_probes_are_each_their_own() -> None:
    denoiser = edm_denoiser(disturbed(), SMALL.picture, dtype=torch.float64)
    rng = np.random.default_rng(1)
    x, v = rng.normal(size=(2, 784)), rng.normal(size=(3, 2, 784))
    level = NoiseLevel(1.0, 0.5)
    for product in (denoiser.jvp, denoiser.vjp):
        together = product(x, level, v)
        alone = np.stack([product(x, level, one) for one in v])
        np.testing.assert_allclose(together, alone, atol=1e-12)


def test_pictures_do_not_see_each_other() -> None:
    net = disturbed()
    x = torch.randn(4, 1, 28, 28, dtype=torch.float64)
    sigma = torch.tensor([0.1, 0.5, 2.0, 30.0], dtype=torch.float64)
    alone = torch.cat([net(x[i : i + 1], sigma[i : i + 1]) for i in range(4)])
    torch.testing.assert_close(net(x, sigma), alone)


def test_seed_alone_decides_the_weights() -> None:
    torch.manual_seed(5)
    before = torch.get_rng_state()
    first = build(SMALL, seed=3).state_dict()
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(6)
    second, other = build(SMALL, seed=3).state_dict(), build(SMALL, seed=4).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


def test_full_preset_fits_in_half_precision() -> None:
    with torch.device("meta"):
        net = build(PRESETS["full"].settings.config)
    assert 2 * parameters_of(net) < HALF_PRECISION_LIMIT
    with torch.device("meta"):
        flow = build(PRESETS["flow"].settings.config)
    assert 2 * parameters_of(flow) < 8e6


def test_configuration_survives_json() -> None:
    import json
    from dataclasses import asdict

    assert UNetConfig.of_json(json.loads(json.dumps(asdict(SMALL)))) == SMALL


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"channels": (8, 10)}, "channels must be multiples of 4"),
        ({"channels": (8,) * 4}, "picture must have sides divisible by 8"),
        ({"sigma_data": 0.0}, "sigma_data must be > 0"),
        ({"objective": "flaw"}, "did you mean flow\\? objective must be one of edm, flow"),
        ({"classes": -1}, "classes must be >= 0, got -1"),
        ({"patch": 0}, "patch must be >= 1, got 0"),
        ({"channels": (8, 8), "patch": 4}, "picture must have sides divisible by 8"),
    ],
)
def test_bad_configuration_is_named(change: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        dataclasses.replace(SMALL, **change)  # type: ignore[arg-type]
