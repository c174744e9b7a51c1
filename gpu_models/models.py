"""The models that this package registers under ``steinlab.models``."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gpu_models.network import fashion
from steinlab.diffusion.models import Model
from steinlab.diffusion.options import canonical
from steinlab.diffusion.pictures import Display
from steinlab.errors import InputError, quote

if TYPE_CHECKING:  # torch is imported when a network is built, not when it is listed
    import torch

    from gpu_models.network.unet import EDMDenoiser
    from steinlab.diffusion.denoisers import Denoiser
    from steinlab.diffusion.networks import NetworkDenoiser

FOLDER = Path(__file__).resolve().parent / "weights"
"""Holds the packaged weights, each with a JSON of its provenance."""

FASHION_WEIGHTS = FOLDER / "fashion-edm.safetensors"
FLOW_WEIGHTS = FOLDER / "fashion-flow.safetensors"
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


def flow_denoiser(
    label: Any = None, guidance: float = 1.0, path: Path = FLOW_WEIGHTS, **options: Any
) -> Denoiser:
    """Return the velocity network of a weights file as a denoiser: of all classes, or of one.

    Parameters
    ----------
    label : int or array, optional
        0, a t-shirt, to 9, an ankle boot; one for all states, or one per state.
    guidance : float
        ``w`` of :func:`steinlab.diffusion.guidance.guided`: with 1 the class alone.
    path : Path
    options
        ``device`` and ``rows`` of :class:`steinlab.diffusion.networks.NetworkDenoiser`.
    """
    from steinlab.diffusion.guidance import guided
    from steinlab.diffusion.networks import from_torch

    net = load_network(path, options.get("device", "cpu"))
    own: dict[str, Any] = {"prediction": "velocity", "coordinates": "flow"}
    own |= {"labels": fashion.CLASSES, **options}
    every: NetworkDenoiser = from_torch(net, net.config.picture, **own)
    if label is None:
        return every
    one = every.given(label)
    return one if guidance == 1 else guided(one, every, guidance)


def fashion_edm() -> Model:
    """Return the U-Net trained on Fashion-MNIST: :mod:`gpu_models.network.train`.

    Where the data are installed, its data law is known too.
    """
    return _fashion(
        FASHION_WEIGHTS,
        "EDM-preconditioned U-Net",
        name="fashion-edm",
        schedule="edm",
        build=network_denoiser,
        data_law=training_law,
        sigma_range=SIGMA_RANGE,
    )


def fashion_flow(*, label: Any = None, guidance: Any = 1.0) -> Model:
    """Return the rectified flow trained on Fashion-MNIST, of all classes, or of one with guidance.

    Parameters
    ----------
    label : int, optional
        The class, 0 to 9, as a number or a word that holds it.
    guidance : float
        See :func:`flow_denoiser`; another than 1 needs a label.

    Raises
    ------
    InputError
        Naming the option, its value and the requirement.
    """
    from steinlab.experiments.specs.fields import number

    options: dict[str, float] = {}
    chosen, w = None, float(number(guidance, "guidance"))
    if label is not None:
        value = number(label, "label")
        if value not in range(fashion.CLASSES):
            raise InputError(
                f"label must be a whole number from 0 to {fashion.CLASSES - 1}, got {quote(label)}"
            )
        options["label"] = chosen = int(value)
    elif w != 1:
        raise InputError(f"guidance must come with a label, got {quote(guidance)} alone")
    if w != 1:
        options["guidance"] = w
    return _fashion(
        FLOW_WEIGHTS,
        "class-conditional rectified flow, a U-Net",
        name=canonical("fashion-flow", options),
        schedule="flow",
        build=functools.partial(flow_denoiser, chosen, w),
        data_law=training_law if chosen is None else functools.partial(training_law, chosen),
    )


def _fashion(weights: Path, words: str, *, data_law: Callable[[], Any], **facts: Any) -> Model:
    """Return a model of these pictures; its record stands beside the weights."""
    file = weights.with_suffix(".json")
    record = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {}
    seen = f"; {record['images']} pictures seen in training on {record['device']}" if record else ""
    return Model(
        dim=fashion.DIM,
        size=f"{record['parameters']} parameters" if record else "a U-Net",
        provenance=f"{words}, Fashion-MNIST training set (MIT licence){seen}",
        data_law=data_law if fashion.installed() else None,
        shape=fashion.SHAPE,
        display=DISPLAY,
        missing=""
        if weights.is_file()
        else f"{weights.name} is not among gpu_models/weights; "
        "train it by steinlab train-fashion and put it there",
        **facts,
    )


@functools.cache
def training_law(label: int | None = None) -> Any:
    """Return the law of the training pictures, or a class's, whose exact denoiser is known."""
    from analytic import EmpiricalMixture

    images = fashion.load_images("train")
    if label is not None:
        images = images[fashion.load_labels("train") == label]
    return EmpiricalMixture(fashion.to_states(images))
