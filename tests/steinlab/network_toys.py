"""Stand-in networks: denoisers that ``compare`` and ``coefficient`` know no law of."""

from __future__ import annotations

import numpy as np
import torch

from analytic import GaussianMixture
from steinlab.diffusion.models import Model
from steinlab.diffusion.networks import edm_denoiser

MODES = GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], 0.04)


def shifted(x: torch.Tensor, sigma: torch.Tensor, law: GaussianMixture, error: float):
    """The exact denoiser of ``MODES`` or another law of equal weights, plus a field that is no
    gradient: ``error (x_2, 0)`` scaled to the noise."""
    s = sigma[:, None]
    v = float(law.spectra[0, 0]) + s**2
    means = torch.as_tensor(law.means, dtype=x.dtype)
    offset = x[:, None, :] - means
    r = torch.softmax(-(offset**2).sum(-1) / (2 * v), dim=1)
    posterior = means + float(law.spectra[0, 0]) / v[:, None] * offset
    field = torch.stack([x[:, 1], torch.zeros_like(x[:, 1])], dim=1) * s / (1 + s) ** 2
    return (r[..., None] * posterior).sum(1) + error * field


def toy_model(error: float = 0.0, dtype=torch.float32, *, data_law: bool = True) -> Model:
    return Model(
        name="toy",
        dim=2,
        size="2 modes",
        provenance="tests",
        schedule="edm",
        build=lambda: edm_denoiser(lambda x, s: shifted(x, s, MODES, error), [2], dtype=dtype),
        data_law=(lambda: MODES) if data_law else None,
        sigma_range=(0.02, 20.0),
    )


def as_spec(model: Model, **changes):
    """A comparison of a model that is not registered."""
    from dataclasses import replace

    from steinlab.experiments.specs.compare import CompareSpec

    obj = {"model": "digits", "solvers": ["euler"], "evaluations": [4], "samples": 64}
    return replace(CompareSpec.from_json({**obj, **changes}), model=model)


def forward(law, level, n, rng):
    x_star = law.sample(n, rng)
    return x_star, level.noised(x_star, rng)


__all__ = ["MODES", "as_spec", "forward", "np", "shifted", "toy_model"]
