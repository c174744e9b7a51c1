"""The trained toys under ``steinlab.models``. Nothing here imports torch before it is needed."""

from dataclasses import replace
from functools import partial

from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.models import Model
from toy_models.trained.presets import PRESETS, Preset, find


def toy_model(preset: Preset) -> Model:
    """Return a preset's model, its weights found in the package or in the cache.

    Examples
    --------
    >>> toy_model(PRESETS["grid25-mlp"]).size
    '104,706 parameters'
    """
    from toy_models.trained.data import DATA

    file = find(preset)

    def build() -> Denoiser:
        from steinlab.diffusion.autodiff import Pulled
        from steinlab.diffusion.networks import edm_denoiser
        from toy_models.trained.network import ToyNet
        from toy_models.trained.weights import read

        assert file is not None
        net = ToyNet(preset)
        net.load_state_dict(read(file, preset, net.state_dict()))
        made = edm_denoiser(net.eval().requires_grad_(False), preset.shape)
        return replace(made, products=Pulled)

    seed = f" --seed {preset.seed}" if preset.seed else ""
    command = f"steinlab train {preset.name}{seed}"
    return Model(
        name=preset.name,
        dim=preset.dim,
        size=f"{preset.parameters:,} parameters",
        provenance=f"{DATA[preset.data].source}; {command}",
        schedule="edm",
        build=build,
        data_law=DATA[preset.data].law,
        shape=preset.shape if len(preset.shape) == 3 else (),
        missing="" if file else f"no weights of hash {preset.digest}, run {command}",
    )


moons, checkerboard, spirals, ring, grid25, digits = (
    partial(toy_model, preset) for preset in PRESETS.values()
)
