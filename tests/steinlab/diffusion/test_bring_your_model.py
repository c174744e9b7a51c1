"""docs/bring-your-model.md: its examples wrap the exact denoiser of a mixture in five lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from steinlab import from_torch  # noqa: E402
from steinlab.diffusion.models import Model  # noqa: E402
from steinlab.diffusion.processes import PROCESSES  # noqa: E402
from tests.steinlab.diffusion.test_networks import (  # noqa: E402
    BARS,
    DIM,
    LAW,
    EdmNet,
    ExactNet,
    interpolated,
    linear_ratio,
    states,
)

PAGE = (Path(__file__).parents[3] / "docs" / "bring-your-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
WRAPPERS, DIFFUSERS, (USE, GUIDED, NAMED, DIALLED) = BLOCKS[:4], BLOCKS[4:6], BLOCKS[6:]


def space() -> dict[str, Any]:
    return {
        "my_edm_network": EdmNet().float(),
        "my_eps_network": ExactNet("eps", interpolated).float(),
        "my_alphas_cumprod": BARS,
        "my_flow_network": ExactNet("velocity", lambda t: t / (1 - t), "flow").float(),
        "my_score_network": ExactNet("score", linear_ratio).float(),
    }


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(code, "bring-your-model.md", "exec"), names)
    return names


@pytest.mark.parametrize("code", WRAPPERS, ids=["edm", "eps", "flow", "score"])
def test_five_lines_wrap_a_network(code: str) -> None:
    assert len([line for line in code.splitlines() if line.strip()]) <= 5
    denoiser = run(code, space())["denoiser"]
    for name in ("edm", "vp-linear", "flow"):
        level = PROCESSES[name].level_at(0.8)
        x = states(level)
        np.testing.assert_allclose(denoiser(x, level), LAW(x, level), atol=3e-4)
        v = np.eye(DIM)[:, None] * np.ones_like(x)
        np.testing.assert_allclose(denoiser.jvp(x, level, v), LAW.jvp(x, level, v), atol=3e-3)


def test_a_network_of_a_variance_exploding_score_is_edm_style() -> None:
    assert (
        'network of a variance-exploding process too, `net(x, sigma)`: write `prediction="score"`'
        in PAGE
    )
    net = ExactNet("score", lambda sigma: sigma, "edm").double()
    level, x = PROCESSES["ve"].level_at(0.3), states(PROCESSES["ve"].level_at(0.3))
    wrapped = from_torch(net, (1, 2, 2), prediction="score", coordinates="edm")
    np.testing.assert_allclose(wrapped(x, level), LAW(x, level), atol=1e-9)


def test_the_recipes_for_diffusers() -> None:
    """Small random networks of those classes; what they say is what they say called by hand."""
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    blocks = {"block_out_channels": (32,), "norm_num_groups": 8, "layers_per_block": 1}
    unet = diffusers.UNet2DModel(
        sample_size=8, in_channels=1, out_channels=1, down_block_types=("DownBlock2D",),
        up_block_types=("UpBlock2D",), **blocks,
    )  # fmt: skip
    dit = diffusers.DiTTransformer2DModel(
        num_attention_heads=2, attention_head_dim=8, in_channels=4, out_channels=4, num_layers=1,
        sample_size=8, num_embeds_ada_norm=10, norm_num_groups=8,
    )  # fmt: skip
    names = {"my_scheduler": diffusers.DDPMScheduler(), "my_unet": unet, "my_dit": dit}
    names["from_torch"] = from_torch
    for code in DIFFUSERS:
        run(code, names)
    level = PROCESSES["vp-linear"].level_at(1.3)
    pictures = torch.randn(4, 1, 8, 8)
    with torch.no_grad():
        time = names["times"](1.3)
        eps = unet(pictures, torch.full((4,), time)).sample
    expected = (pictures - level.sigma * eps) / level.alpha
    torch.testing.assert_close(names["unet"](pictures, level), expected, rtol=1e-4, atol=1e-5)
    at = PROCESSES["flow"].level(0.6)
    latents = torch.randn(4, 4, 8, 8)
    for given, labels in ((names["cats"], [3] * 4), (names["mixed"], [0, 3, 3, 7])):
        with torch.no_grad():
            velocity = dit(latents, torch.full((4,), 600.0), torch.tensor(labels)).sample
        found = given(latents, at)
        torch.testing.assert_close(found, latents - 0.6 * velocity, rtol=1e-4, atol=1e-5)


def test_it_samples_and_is_named() -> None:
    names = run(USE, run(WRAPPERS[0], space()))
    for state in (names["plain"], names["corrected"]):
        assert state.shape == (64, DIM)
        assert state.dtype == np.float64
        assert np.isfinite(state).all()
    assert abs(names["plain"].mean(axis=0) - LAW.mean()).max() < 0.5
    model = run(NAMED, names)["my_model"]()
    assert isinstance(model, Model)
    assert model.denoiser is names["denoiser"]


def test_it_is_guided() -> None:
    names = run(GUIDED, run(WRAPPERS[0], space()))
    level = PROCESSES["edm"].level_at(0.8)
    x = states(level)
    found = names["kept"](x, level)
    assert np.abs(found).max() <= 1 + 1e-12
    # one network in both places: guidance does nothing, and only large states are scaled
    alone = names["denoiser"](x, level)
    np.testing.assert_allclose(names["strong"](x, level), alone, atol=1e-6)
    assert names["strong"].guided


def test_a_dialled_error_is_a_tenth_of_the_score() -> None:
    model = run(DIALLED, {})["model"]
    for name in ("edm", "vp-linear"):
        level = PROCESSES[name].level_at(0.8)
        assert model.fisher(level).value == pytest.approx(0.1 / level.sigma, rel=1e-12)
