"""The models that this package registers under ``steinlab.models``."""

from __future__ import annotations

import functools
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_models.network import fashion
from steinlab.diffusion.models import Model
from steinlab.diffusion.pictures import Display

if TYPE_CHECKING:  # torch is imported when a network is built, not when it is listed
    import torch

    from gpu_models.network.unet import EDMDenoiser
    from steinlab.diffusion.networks import NetworkDenoiser

FOLDER = Path(__file__).resolve().parent / "weights"
"""Holds the packaged weights, each with a JSON of its provenance."""

FASHION_WEIGHTS = FOLDER / "fashion-edm.safetensors"
SIGMA_RANGE = (0.002, 80.0)
"""Noise levels that EDM's grids pass; training draws 1.5e-5 below and 1.6e-6 above."""
DISPLAY = Display("black at -1, white at 1", lambda x: (x + 1) / 2)


def load_network(path: Path = FASHION_WEIGHTS, device: str | torch.device = "cpu") -> EDMDenoiser:
    """Return the U-Net of a weights file, in float32, its parameters fixed."""
    from gpu_models.network.unet import ARCHITECTURE, VERSION, UNetConfig, build
    from gpu_models.network.weights import fill, load_weights

    tensors, config = load_weights(path, ARCHITECTURE, VERSION)
    net = build(UNetConfig.of_json(config))
    fill(net, tensors, path)
    return net.to(device).eval().requires_grad_(requires_grad=False)


def network_denoiser(path: Path = FASHION_WEIGHTS, **options: Any) -> NetworkDenoiser:
    """Return the U-Net of a weights file as a denoiser.

    ``options`` are ``device`` and ``rows`` of :class:`steinlab.diffusion.networks.NetworkDenoiser`.
    """
    from steinlab.diffusion.networks import edm_denoiser

    net = load_network(path, options.get("device", "cpu"))
    return edm_denoiser(net, net.config.picture, **options)


def fashion_edm() -> Model:
    """Return the U-Net trained on Fashion-MNIST: :mod:`gpu_models.network.train`.

    Where the data are installed, its data law is known too.
    """
    there = FASHION_WEIGHTS.is_file()
    record = FASHION_WEIGHTS.with_suffix(".json")
    facts = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    size = f"{facts['parameters']} parameters" if facts else "a U-Net"
    seen = f"; {facts['images']} pictures seen in training on {facts['device']}" if facts else ""
    return Model(
        name="fashion-edm",
        dim=fashion.DIM,
        size=size,
        provenance=f"EDM-preconditioned U-Net, Fashion-MNIST training set (MIT licence){seen}",
        schedule="edm",
        build=network_denoiser,
        data_law=training_law if fashion.installed() else None,
        shape=fashion.SHAPE,
        display=DISPLAY,
        sigma_range=SIGMA_RANGE,
        missing=""
        if there
        else f"{FASHION_WEIGHTS.name} is not among gpu_models/weights; "
        "train it by steinlab train-fashion and put it there",
    )


@functools.cache
def training_law() -> Any:
    """Return the law of the training pictures, each a point, whose exact denoiser is known."""
    from analytic import EmpiricalMixture

    return EmpiricalMixture(fashion.load_states("train"))
