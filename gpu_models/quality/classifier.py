"""Train a small classifier of Fashion-MNIST: ``steinlab train-classifier --out DIR``.

Its features and its confidence measure samples. The packaged weights were trained on a GPU; the
JSON beside them holds the test accuracy.
"""

import math
import time
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from gpu_models.models import FOLDER
from gpu_models.network import fashion
from gpu_models.network.arguments import fashion_parser
from gpu_models.network.objective import resident, resident_labels, to_pictures
from gpu_models.network.parallel import pick_device
from gpu_models.network.unet import parameters_of
from gpu_models.network.weights import command_line, fill, load_weights, save_weights
from steinlab.storage import write_json

NAME = "fashion-classifier"
ARCHITECTURE, VERSION = "steinlab-fashion-classifier", 1
WIDTHS = (32, 64, 128)
FEATURES = 128
"""Of a picture, before the last layer."""
LARGEST_SHIFT = 2
"""Pixels by which training pictures are moved at random."""
BATCH, RATE, DECAY, SMOOTHING, DROPOUT = 500, 3e-3, 1e-2, 0.05, 0.3


class Classifier(nn.Module):
    """Three pairs of convolutions, their mean over the picture, and two linear layers."""

    def __init__(self, widths: Sequence[int] = WIDTHS) -> None:
        super().__init__()
        layers: list[nn.Module] = []
        inputs = fashion.SHAPE[0]
        for width in widths:
            for source in (inputs, width):
                layers += [
                    nn.Conv2d(source, width, 3, padding=1, bias=False),
                    nn.BatchNorm2d(width),
                    nn.ReLU(),
                ]
            layers += [nn.MaxPool2d(2)]
            inputs = width
        self.body = nn.Sequential(*layers[:-1])
        self.neck = nn.Linear(inputs, FEATURES)
        self.head = nn.Linear(FEATURES, fashion.CLASSES)

    def features(self, x: torch.Tensor) -> torch.Tensor:
        """Return ``(N, 128)`` for pictures ``(N, 1, 28, 28)`` in [-1, 1]."""
        out: torch.Tensor = F.relu(self.neck(self.body(x).mean((2, 3))))
        return out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return the logits, ``(N, 10)``."""
        hidden = F.dropout(self.features(x), DROPOUT, self.training)
        out: torch.Tensor = self.head(hidden)
        return out


def load_classifier(path: Path | None = None, device: str | torch.device = "cpu") -> Classifier:
    """Return the classifier of a weights file, by default the one of the package."""
    path = path or FOLDER / f"{NAME}.safetensors"
    tensors, config = load_weights(path, ARCHITECTURE, VERSION)
    net = Classifier(config["widths"])
    fill(net, tensors, path)
    return net.to(device).eval().requires_grad_(requires_grad=False)


def train(
    images: torch.Tensor,
    labels: torch.Tensor,
    *,
    epochs: int,
    seed: int,
    widths: Sequence[int] = WIDTHS,
    batch: int = BATCH,
) -> Classifier:
    """Train on bytes ``(n, 1, 28, 28)`` and classes ``(n,)`` on their device."""
    device = images.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        net = Classifier(widths).to(device).train()
        optimizer = torch.optim.AdamW(net.parameters(), RATE, weight_decay=DECAY)
        total, step = epochs * (len(images) // batch), 0
        for _ in range(epochs):
            for rows in torch.split(torch.randperm(len(images), device=device), batch):
                if len(rows) < batch:
                    continue
                for each in optimizer.param_groups:
                    each["lr"] = RATE * min(1.0, 10 * step / total) * (1 - step / total)
                loss = F.cross_entropy(
                    net(shifted(to_pictures(images[rows]))), labels[rows], label_smoothing=SMOOTHING
                )
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
                step += 1
    return net.eval()


def shifted(x: torch.Tensor) -> torch.Tensor:
    """Return the pictures, all moved by one random offset of up to 2 pixels, black moving in."""
    reach = LARGEST_SHIFT
    padded = F.pad(x, (reach,) * 4, value=-1.0)
    i, j = torch.randint(2 * reach + 1, (2,)).tolist()
    return padded[..., i : i + x.shape[-2], j : j + x.shape[-1]]


@torch.no_grad()
def accuracy(net: Classifier, images: torch.Tensor, labels: torch.Tensor) -> tuple[float, float]:
    """Return the share of right answers and its standard error."""
    parts = zip(torch.split(images, BATCH), torch.split(labels, BATCH), strict=True)
    right = torch.cat([net(to_pictures(x)).argmax(1) == y for x, y in parts]).double().mean()
    share = float(right)
    return share, math.sqrt(share * (1 - share) / len(images))


def main(args: Sequence[str]) -> int:
    """Train, write and test the classifier; return the exit code."""
    parser = fashion_parser("train-classifier", "Train the classifier of Fashion-MNIST.")
    parser.add_folder(required=True)
    parser.add_argument("--epochs", type=int, default=15)
    parser.add_argument("--seed", type=int, default=0)
    wanted = parser.parse_args(args)
    device = pick_device(wanted.device)
    began = time.monotonic()
    images = resident("train", wanted.data, device)
    labels = resident_labels("train", wanted.data, device)
    net = train(images, labels, epochs=wanted.epochs, seed=wanted.seed)
    path = wanted.out / f"{NAME}.safetensors"
    save_weights(path, net.state_dict(), ARCHITECTURE, VERSION, {"widths": list(WIDTHS)})
    kept = load_classifier(path, device)
    test = (resident("test", wanted.data, device), resident_labels("test", wanted.data, device))
    share, error = accuracy(kept, *test)
    record = {
        "name": NAME,
        "architecture": {"name": ARCHITECTURE, "version": VERSION, "widths": list(WIDTHS)},
        "parameters": parameters_of(net),
        "data": {"name": "Fashion-MNIST, training set", "licence": "MIT"},
        "sha256": fashion.checksums(wanted.data),
        "augmentation": f"shifts of up to {LARGEST_SHIFT} pixels",
        "epochs": wanted.epochs,
        "seed": wanted.seed,
        "seconds": round(time.monotonic() - began, 1),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
        "command": command_line(),
        "test_accuracy": share,
        "standard_error": error,
    }
    write_json(wanted.out / f"{NAME}.json", record, indent=1, sort_keys=True)
    print(f"test accuracy {share:.4f} +- {error:.4f}")
    return 0
