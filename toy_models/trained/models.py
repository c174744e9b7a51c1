"""The trained toys under ``steinlab.models``. Nothing here imports torch before it is needed."""

from __future__ import annotations

from pathlib import Path

from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.models import Model
from toy_models.trained.places import find
from toy_models.trained.presets import PRESETS, Preset


def toy_model(preset: Preset) -> Model:
    """Return a preset's model, its weights found in the package or in the cache.

    Examples
    --------
    >>> toy_model(PRESETS["grid25-mlp"]).size
    '104,706 parameters'
    """
    from toy_models.trained.data import DATA

    file = find(preset)
    seed = f" --seed {preset.seed}" if preset.seed else ""
    command = f"python -m toy_models.train {preset.name}{seed}"
    return Model(
        name=preset.name,
        dim=preset.dim,
        size=f"{preset.parameters:,} parameters",
        provenance=f"{DATA[preset.data].source}; {command}",
        schedule="edm",
        build=lambda: toy_denoiser(preset, file),
        data_law=DATA[preset.data].law,
        shape=preset.shape if len(preset.shape) == 3 else (),
        missing="" if file else f"no weights of hash {preset.digest}, run {command}",
    )


def toy_denoiser(preset: Preset, file: Path | None) -> Denoiser:
    """Return the network of a weight file as a denoiser of any process.

    Raises
    ------
    InputError
        If the file does not hold the preset's weights (:func:`toy_models.trained.weights.read`).
    """
    from steinlab.diffusion.networks import edm_denoiser
    from toy_models.trained.network import ToyNet
    from toy_models.trained.weights import read

    assert file is not None
    net = ToyNet(preset)
    net.load_state_dict(read(file, preset, net.state_dict()))
    return edm_denoiser(net.eval().requires_grad_(False), preset.shape)


def moons() -> Model:
    """Return ``moons-mlp``."""
    return toy_model(PRESETS["moons-mlp"])


def checkerboard() -> Model:
    """Return ``checkerboard-mlp``."""
    return toy_model(PRESETS["checkerboard-mlp"])


def spirals() -> Model:
    """Return ``spirals-mlp``."""
    return toy_model(PRESETS["spirals-mlp"])


def ring() -> Model:
    """Return ``ring-mlp``."""
    return toy_model(PRESETS["ring-mlp"])


def grid25() -> Model:
    """Return ``grid25-mlp``."""
    return toy_model(PRESETS["grid25-mlp"])


def digits() -> Model:
    """Return ``digits-mlp``."""
    return toy_model(PRESETS["digits-mlp"])
