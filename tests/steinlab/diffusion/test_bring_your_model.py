"""docs/bring-your-model.md: its examples wrap the exact denoiser of a mixture in five lines."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from steinlab.diffusion.models import Model  # noqa: E402
from steinlab.diffusion.processes import PROCESSES  # noqa: E402
from tests.steinlab.diffusion.test_networks import (  # noqa: E402
    BARS,
    DIM,
    LAW,
    EdmNet,
    TimedNet,
    interpolated,
    linear_ratio,
    states,
)

PAGE = (Path(__file__).parents[3] / "docs" / "bring-your-model.md").read_text(encoding="utf-8")
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE, flags=re.DOTALL)
WRAPPERS, USE, GUIDED, NAMED, DIALLED = (BLOCKS[:3], *BLOCKS[3:])


def space() -> dict[str, Any]:
    return {
        "my_edm_network": EdmNet().float(),
        "my_eps_network": TimedNet("eps", interpolated).float(),
        "my_alphas_cumprod": BARS,
        "my_score_network": TimedNet("score", linear_ratio).float(),
    }


def run(code: str, names: dict[str, Any]) -> dict[str, Any]:
    exec(compile(code, "bring-your-model.md", "exec"), names)
    return names


@pytest.mark.parametrize("code", WRAPPERS, ids=["edm", "eps", "score"])
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
    (text,) = re.findall(r"EDM style: `(lambda x, sigma: .*)`", PAGE)

    def net(x: Any, sigma: Any) -> Any:
        return (EdmNet()(x, sigma) - x) / sigma[:, None, None, None] ** 2

    x = torch.from_numpy(LAW.sample(5, np.random.default_rng(0))).reshape(-1, 1, 2, 2)
    sigma = torch.full((5,), 0.3, dtype=torch.float64)
    wrapped = eval(text, {"net": net})
    torch.testing.assert_close(wrapped(x, sigma), EdmNet()(x, sigma))


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
