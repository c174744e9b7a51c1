"""Measure the conditional flow: ``steinlab evaluate-flow --out DIR``.

Writes ``fashion-flow-measures.json``, samples of each class under guidance, round trips, bits per
dimension and coefficients, and a sheet of pictures a weight.
"""

import math
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from gpu_models.models import DISPLAY, FLOW_WEIGHTS, flow_denoiser
from gpu_models.network import fashion
from gpu_models.network.arguments import fashion_parser
from gpu_models.network.objective import resident_labels
from gpu_models.network.parallel import pick_device
from gpu_models.network.weights import command_line
from gpu_models.quality.classifier import load_classifier
from gpu_models.quality.features import classifier, to_bytes
from gpu_models.quality.measures import Moments, frechet_estimate
from steinlab.coefficient.divergence import Hutchinson
from steinlab.coefficient.formulas import reference_route, stein_route, tweedie_route
from steinlab.coefficient.routes import coupled_step
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.pictures import sheet
from steinlab.diffusion.processes import FLOW
from steinlab.experiments.likelihood import log_likelihood
from steinlab.solvers import get_solver
from steinlab.solvers.inversion import round_trip
from steinlab.solvers.loop import solve
from steinlab.storage import write_json, write_whole

WEIGHTS = (1.0, 2.0, 4.0)
SOLVER, STEPS, START = "dpmpp-2m", 20, "time-uniform:start=1"
"""How samples are drawn: from pure noise."""
SHOWN = 60
"""Samples on a sheet, one class a column."""
TRIPS = (("euler", (8, 16, 32)), ("heun", (8, 16, 32)), ("dpmpp-2m", (8, 16, 32)))
LIKELIHOOD: dict[str, Any] = {
    "process": "flow",
    "solver": "dpmpp-3s",
    "grid": "logsnr",
    "probes": 4,
}
SEVERAL = ((1.5, 1.0), (0.5, 0.3))
"""``sigma / alpha`` of Euler's steps whose coefficient is measured."""
CLASS = 9
"""Of the coefficients: ankle boots."""


def main(args: Sequence[str]) -> int:
    """Measure and write; return the exit code."""
    parser = fashion_parser("evaluate-flow", "Measure the conditional flow of Fashion-MNIST.")
    parser.add_argument("--weights", type=Path, default=FLOW_WEIGHTS)
    parser.add_folder(required=True)
    parser.add_argument("--samples", type=int, default=400, help="a weight, equally many a class")
    parser.add_argument("--reference", type=int, default=6000, help="real training pictures")
    parser.add_argument("--pictures", type=int, default=8, help="test pictures of single measures")
    parser.add_argument("--steps", type=int, default=24, help="of the likelihood's runs")
    parser.add_argument("--states", type=int, default=256, help="of the coefficients")
    wanted = parser.parse_args(args)
    device = pick_device(wanted.device)
    denoiser = partial(flow_denoiser, path=wanted.weights, device=str(device))
    states = fashion.load_states("test", wanted.data)[: wanted.pictures]
    labels = torch.as_tensor(fashion.load_labels("test", wanted.data)[: wanted.pictures].copy())
    began = time.monotonic()
    record: dict[str, Any] = {
        "command": command_line(),
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else "cpu",
        "torch": torch.__version__,
    }
    parts: dict[str, Callable[[], Any]] = {
        "samples": lambda: _samples(denoiser, wanted, device),
        "round_trips": lambda: _trips(denoiser, states, labels.long()),
        "bits": lambda: _bits(denoiser, states, labels.long(), wanted.steps),
        "coefficients": lambda: _coefficients(denoiser, wanted),
    }
    for name, part in parts.items():
        record[name] = part()
        record["seconds"] = round(time.monotonic() - began, 1)
        write_json(wanted.out / "fashion-flow-measures.json", record, indent=1, sort_keys=True)
        print(f"{name}: {record[name]}", flush=True)
    return 0


def _samples(denoiser: Any, wanted: Any, device: torch.device) -> dict[str, Any]:
    """Draw samples of each class at each weight; measure them, and as many test pictures."""
    from PIL import Image

    features, net = classifier(device), load_classifier(device=device)
    train = fashion.load_states("train", wanted.data)[: wanted.reference]
    moments = Moments.of(features(torch.as_tensor(train)))

    def measured(states: np.ndarray, labels: torch.Tensor) -> dict[str, Any]:
        found = frechet_estimate(features(torch.as_tensor(states)), moments)
        bytes_of = torch.split(to_bytes(states), 250)
        answers = torch.cat([net(x.to(device).float() / 127.5 - 1).argmax(1) for x in bytes_of])
        share = float((answers == labels).double().mean())
        error = math.sqrt(share * (1 - share) / len(labels))
        return {"FD-classifier": found._asdict(), "accuracy": {"value": share, "error": error}}

    count = wanted.samples
    rng = np.random.default_rng(0)
    order = rng.permutation(count)  # so that each of the jackknife's groups holds every class
    labels = torch.as_tensor(order % fashion.CLASSES, device=device)
    noise = rng.standard_normal((count, fashion.DIM))
    grid = make_grid(FLOW, START, STEPS)
    runs = []
    for w in WEIGHTS:
        states = solve(denoiser(labels, w), noise, grid, SOLVER).state
        runs.append({"guidance": w, **measured(states, labels)})
        shown = states[np.argsort(order)[:SHOWN]]
        image = Image.fromarray(sheet(shown, fashion.SHAPE, DISPLAY, columns=10))
        write_whole(wanted.out / f"fashion-flow-{w:g}.png", partial(image.save, format="PNG"))
    real = fashion.load_states("test", wanted.data)[:count]
    known = resident_labels("test", wanted.data, device)[:count]
    how = {"solver": SOLVER, "steps": STEPS, "grid": START, "samples": count, "runs": runs}
    return {**how, "reference": len(train), "test_pictures": measured(real, known)}


def _trips(denoiser: Any, states: np.ndarray, labels: torch.Tensor) -> list[dict[str, Any]]:
    """Run noised test pictures up and down the flow's own range, under their labels."""
    level = FLOW.level(FLOW.t_min)
    x = level.noised(states, np.random.default_rng(0))
    found = []
    for w in (1.0, 4.0):
        one = denoiser(labels, w)
        for name, counts in TRIPS:
            for steps in counts:
                grid = make_grid(FLOW, "logsnr", steps, final_zero=False)
                trip = round_trip(one, x, grid, get_solver(name, FLOW))
                found.append({"guidance": w, "solver": name, "steps": steps, **vars(trip)})
    return found


def _bits(denoiser: Any, states: np.ndarray, labels: torch.Tensor, steps: int) -> dict[str, Any]:
    """Return bits per pixel of test pictures, dequantised, with their labels and without."""
    rng, level = np.random.default_rng(0), FLOW.level(FLOW.t_min)
    filled = states + rng.uniform(-1, 1, states.shape) / 255
    x = level.noised(filled, rng)
    found: dict[str, Any] = {**LIKELIHOOD, "steps": steps, "pictures": len(x)}
    for name, label in (("label", labels), ("none", None)):
        seen = log_likelihood(denoiser(label), x, steps=steps, **LIKELIHOOD)
        each = seen.bits_per_dim(2 * level.alpha / 255)
        found[name] = {
            "each": each.value.tolist(),
            "error_of_each": each.error.tolist(),
            "value": float(each.value.mean()),
            "error": float(each.value.std(ddof=1)) / math.sqrt(len(x)),
        }
    return found


def _coefficients(denoiser: Any, wanted: Any) -> list[dict[str, Any]]:
    """Return the coefficients of Euler's steps on noised training pictures of one class."""
    chosen = fashion.load_labels("train", wanted.data) == CLASS
    boots = fashion.to_states(fashion.load_images("train", wanted.data)[chosen])
    found, states = [], wanted.states
    for w in WEIGHTS:
        for ratios in SEVERAL:
            rng = np.random.default_rng(0)
            x_star = boots[rng.integers(len(boots), size=states)]
            s, t = (FLOW.level_at(ratio) for ratio in ratios)
            euler = get_solver("euler", FLOW)
            step = coupled_step(denoiser(CLASS, w), euler, (s, t, ()), x_star, rng)
            routes = {
                "reference": reference_route(step, x_star),
                "stein_hutchinson": stein_route(step, Hutchinson()(step, rng)),
                "tweedie": tweedie_route(step),
            }
            gammas = {name: vars(gamma) for name, gamma in routes.items()}
            found.append({"guidance": w, "ratios": list(ratios), "states": states, **gammas})
    return found
