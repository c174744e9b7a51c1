"""The galaxy networks: against JAX's outputs, against mathematics, and without the package."""

import functools
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch

from analytic import NoiseLevel
from steinlab.cli import main
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import describe, load_model, registered
from steinlab.diffusion.networks import NetworkDenoiser
from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError
from steinlab.solvers import DPMPP_2M
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within
from toy_models.galaxies import models
from toy_models.galaxies.models import (
    HSC_32,
    NETWORKS,
    RATIO_MAX,
    GalaxyNetwork,
    package_folder,
    time_of,
)

REFERENCE = json.loads(Path(__file__).with_name("galaxy_reference.json").read_text())

REASON = "" if package_folder()[0] else f"{package_folder()[1]}: make galaxies"
INSTALLED = pytest.mark.skipif(bool(REASON), reason=REASON)
EACH = pytest.mark.parametrize("network", NETWORKS, ids=lambda network: network.name)


def state(side: int) -> np.ndarray:
    """The generator's state."""
    k = np.arange(side * side, dtype=np.float64)
    return (3 * np.sin(0.37 * k + 0.002 * k * np.sqrt(k))).reshape(1, side, side)


def outputs(network: GalaxyNetwork, dtype: torch.dtype) -> np.ndarray:
    net = network.network().to(dtype)
    times = torch.tensor(REFERENCE["times"], dtype=dtype)
    pictures = torch.from_numpy(state(network.side)).to(dtype).repeat(len(times), 1, 1, 1)
    return net(pictures, times).double().numpy().reshape(len(times), -1)


@INSTALLED
@EACH
def test_outputs_are_those_of_jax(network: GalaxyNetwork) -> None:
    """In float64, then in float32, relative to the largest output.

    An output sums some 1,000 terms in each of 19 layers: 1e-12 and 1e-4 are 5,000 and 1,000
    roundings. A turned kernel or a tanh for the relu is off by order one.
    """
    row = REFERENCE["networks"][network.file]
    for dtype, tolerance in ((torch.float64, 1e-12), (torch.float32, 1e-4)):
        found = outputs(network, dtype)
        scale = np.abs(found).max()
        assert np.abs(found[:, row["places"]] - row["values"]).max() <= tolerance * scale
        np.testing.assert_allclose(np.linalg.norm(found, axis=1), row["norms"], rtol=tolerance)


def test_every_network_of_the_reference_is_registered() -> None:
    assert {network.file for network in NETWORKS} == set(REFERENCE["networks"])
    assert {network.name for network in NETWORKS} == {
        name for name in registered() if name.startswith("galaxies-")
    }


def test_times_are_those_of_the_process() -> None:
    for t in (1e-4, 0.3, 10.0):
        alpha, sigma = math.exp(-t / 2), math.sqrt(-math.expm1(-t))
        assert time_of(sigma / alpha) == pytest.approx(t, rel=1e-12)
    assert time_of(RATIO_MAX * (1 + 1e-12)) == 10.0
    for ratio in (148.5, math.nan):
        with pytest.raises(InputError, match=r"must be in 0 to 148.4, got (148.5|nan)"):
            time_of(ratio)


@INSTALLED
@pytest.mark.parametrize("schedule", PROCESSES)
def test_grids_keep_to_the_levels_of_a_network(schedule: str) -> None:
    model = load_model("galaxies-hsc-32")
    grid = make_grid(model.process(schedule), "karras", 4)
    assert grid[-2].ratio == pytest.approx(0.05, rel=1e-9)
    assert grid[0].ratio == pytest.approx(min(PROCESSES[schedule].ratio_max, RATIO_MAX), rel=1e-9)
    assert np.isfinite(
        model.denoiser(model.start(grid[0], 2, np.random.default_rng(0)), grid[0])
    ).all()


@INSTALLED
def test_a_denoiser_refuses_other_sizes_and_later_times() -> None:
    denoiser = load_model("galaxies-hsc-32").denoiser
    with pytest.raises(ValueError, match="x must have 1024 coordinates, got 4096"):
        denoiser(np.zeros((2, 4096)), NoiseLevel(1.0, 1.0))
    with pytest.raises(InputError, match=r"must be in 0 to 148.4, got 200"):
        denoiser(np.zeros((2, 1024)), NoiseLevel(1.0, 200.0))


@INSTALLED
def test_large_pictures_are_taken_fewer_at_once() -> None:
    assert [network.denoiser().rows for network in (HSC_32, models.ROMAN_120)] == [1024, 72]
    assert HSC_32.denoiser(rows=5).rows == 5


@functools.cache
def drawn(network: GalaxyNetwork, count: int) -> tuple[NetworkDenoiser, np.ndarray]:
    """The network and samples of it, by 2M on 16 evaluations."""
    denoiser = network.denoiser(dtype=torch.float32)
    process = network().process()
    plan, grid = run_within(DPMPP_2M, process, "karras", 16)
    x = network().start(grid[0], count, np.random.default_rng(0))
    return denoiser, solve(denoiser, x, grid, plan).state


def defect(denoiser: NetworkDenoiser, x0: np.ndarray, ratio: float) -> tuple[float, float]:
    """``E<x - c, x - D> / (sigma^2 d) - 1`` on noised ``x0``, with its standard error."""
    x = x0 + ratio * np.random.default_rng(1).standard_normal(x0.shape)
    pull = x - denoiser(x, NoiseLevel(1.0, ratio))
    each = ((x - x0.mean()) * pull).sum(1) / (ratio**2 * x0.shape[1]) - 1
    return float(each.mean()), float(each.std(ddof=1) / math.sqrt(len(each)))


@INSTALLED
@pytest.mark.parametrize("ratio", [0.2, 1.0, 10.0, 140.0])
def test_the_identity_holds_where_the_network_is_good(ratio: float) -> None:
    """Within 3 %, the network's own error as measured, and four standard errors."""
    value, error = defect(*drawn(HSC_32, 24), ratio)
    assert abs(value) <= 0.03 + 4 * error
    assert error <= 0.02


@INSTALLED
def test_the_identity_fails_at_small_noise_as_the_module_says() -> None:
    denoiser, x0 = drawn(HSC_32, 24)
    at_the_end, error = defect(denoiser, x0, HSC_32.least)
    assert abs(at_the_end) <= 0.1 + 4 * error
    below, error = defect(denoiser, x0, 0.02)
    assert below <= -0.15 - 4 * error


@INSTALLED
@pytest.mark.slow
@EACH
def test_the_identity_holds_at_the_last_level_of_every_network(network: GalaxyNetwork) -> None:
    denoiser, x0 = drawn(network, 12)
    for ratio in (network.least, 4.0):
        value, error = defect(denoiser, x0, ratio)
        assert abs(value) <= 0.1 + 4 * error


@INSTALLED
def test_it_denoises() -> None:
    """The distance to the clean pictures against that of the noised ones."""
    denoiser, x0 = drawn(HSC_32, 24)
    for ratio, most in ((0.1, 0.5), (1.0, 0.25), (10.0, 0.06)):
        x = x0 + ratio * np.random.default_rng(3).standard_normal(x0.shape)
        left = denoiser(x, NoiseLevel(1.0, ratio)) - x0
        assert np.sqrt(np.mean(left**2)) <= most * ratio


@INSTALLED
def test_samples_look_like_galaxies() -> None:
    """One bright source amid a dark sky, and every picture its own."""
    _, x0 = drawn(HSC_32, 24)
    flux = np.expm1(0.1 * x0).reshape(-1, 32, 32)
    sky = np.concatenate([flux[:, :4], flux[:, -4:]], axis=1)
    assert abs(np.median(sky)) < 0.005
    assert flux.min() > -0.1
    peaks = flux.max(axis=(1, 2))
    assert peaks.min() > 0.2
    assert peaks.max() < 1.5
    assert np.all(flux[:, 12:20, 12:20].max(axis=(1, 2)) > 0.9 * peaks)
    apart = np.linalg.norm(x0[:, None] - x0, axis=2) + 1e9 * np.eye(len(x0))
    assert apart.min() > 1.0


def test_without_the_package_all_else_works(monkeypatch, capsys) -> None:
    monkeypatch.setattr(models, "find_spec", lambda _name: None)
    records = {record["name"]: record for record in describe()}
    assert records["digits"]["state"] == "available"
    hsc = records["galaxies-hsc-32"]
    assert hsc["state"] == (
        "galaxygrad 0.2.1 is not installed: pip install --no-deps galaxygrad==0.2.1, "
        "or make galaxies"
    )
    assert (hsc["dim"], hsc["size"]) == (1024, "605,761 parameters, 32 x 32 pixels")
    args = ["sample", "--model", "galaxies-hsc-32", "--solver", "euler", "--evaluations", "2"]
    assert main(args) == 2
    message = capsys.readouterr().err
    assert message.startswith("steinlab: --model galaxies-hsc-32 is not available: galaxygrad 0.2")
    assert message.count("\n") == 1


def test_another_version_is_refused(monkeypatch, tmp_path) -> None:
    package = tmp_path / "galaxygrad" / "__init__.py"
    package.parent.mkdir()
    package.write_text("raise SystemExit('this is not to be imported')")
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setattr(models, "version", lambda _name: "0.1.9")
    with pytest.raises(InputError) as refusal:
        load_model("galaxies-hsc-32")
    assert str(refusal.value) == (
        "model galaxies-hsc-32 is not available: galaxygrad must have version 0.2.1, found 0.1.9 "
        f"in {package}: {models.INSTALL}"
    )


@INSTALLED
@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda content: content[:-1], "must hold 55 arrays, found array 55 cut short or corrupt"),
        (lambda content: content[:9000], "must hold 55 arrays, found array 3 cut short or corrupt"),
        (lambda content: content[:8320], "must hold 55 arrays, found 1"),
        (
            lambda content: content[:999] + b"?!" + content[1001:],
            "must have SHA-256 cb926562fcdf",
        ),
        (lambda _: b"<html>not found</html>", "must hold 55 arrays, found array 1 cut short"),
    ],
)
def test_a_damaged_file_is_refused(monkeypatch, tmp_path, capsys, damage, message) -> None:
    folder, _ = package_folder()
    content = (folder / HSC_32.file).read_bytes()
    (tmp_path / HSC_32.file).write_bytes(damage(content))
    monkeypatch.setattr(models, "package_folder", lambda: (tmp_path, ""))
    picture = tmp_path / "x.png"
    args = ["sample", "--model", HSC_32.name, "--solver", "euler", "--evaluations", "2"]
    assert main([*args, "--out", str(picture)]) == 2
    out, err = capsys.readouterr()
    assert (out, err.count("\n"), picture.exists()) == ("", 1, False)
    assert f"{tmp_path / HSC_32.file} {message}" in err
    assert "pip install --no-deps --force-reinstall galaxygrad==0.2.1" in err


@INSTALLED
def test_the_weights_of_another_network_are_refused(monkeypatch, tmp_path) -> None:
    """The file of 64 x 64 under the name of 32 x 32."""
    folder, _ = package_folder()
    (tmp_path / HSC_32.file).write_bytes((folder / models.HSC_64.file).read_bytes())
    missing = HSC_32.missing(tmp_path)
    assert (
        "array 5 must hold real numbers of shape (512, 64), found float32 of shape (512, 256)"
        in missing
    )
    with pytest.raises(InputError, match="array 5 must hold"):
        HSC_32.network(tmp_path)
