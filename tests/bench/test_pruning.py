"""A mixture of many components solved for those that count, against all of them, as ratios.

Run by ``make bench``: ten Euler steps on Karras levels from 80 to 0.002, with the divergence at
every level; each level's two calls are timed side by side, in seconds of the CPU, the best of
a few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from gpu_models.exact.benchmark import karras
from steinlab.diffusion.laws import LAWS
from tests.bench.test_empirical import REPEATS, best

STATES, BATCH = 1000, 10_000
"""States with 500 components, and those of a batch of `steinlab compare`."""


def matrices(*, narrow: bool) -> GaussianMixture:
    """500 components in 32 dimensions, each with a matrix of its own."""
    rng, dim, count = np.random.default_rng(0), 32, 500
    k = np.arange(1, dim + 1)
    axes = np.linalg.qr(rng.standard_normal((count, dim, dim)))[0]
    spectra = rng.uniform(1e-3, 0.2, dim) if narrow else 1.0 / k**2
    covariances = (axes * spectra) @ np.swapaxes(axes, 1, 2)
    covariances = (covariances + np.swapaxes(covariances, 1, 2)) / 2
    means = rng.standard_normal((count, dim)) / (1.0 if narrow else k)
    return GaussianMixture(rng.dirichlet(np.ones(count)), means, covariances)


BENCHES: dict[str, Callable[[], GaussianMixture]] = {
    "500 matrices, narrow": partial(matrices, narrow=True),
    "500 matrices, spectra": partial(matrices, narrow=False),
} | {name: LAWS[name] for name in ("few-8", "ring-2", "grid25-2", "many-8", "many-64")}


@pytest.mark.parametrize("name", BENCHES)
def test_a_run_over_that_of_every_component(benchmark: Any, name: str) -> None:
    if benchmark.disabled:
        pytest.skip("a measurement of time: run `make bench`")
    law, grid = BENCHES[name](), karras()
    every = GaussianMixture(law.weights, law.means, law.covariances, left_out=0.0)
    x = grid[0] * np.random.default_rng(0).standard_normal(
        (BATCH if name in LAWS else STATES, law.dim)
    )
    totals, cells = np.zeros(2), []
    for place, sigma in enumerate(grid):
        level = NoiseLevel(1.0, sigma)
        runs: list[Callable[[], Any]] = [
            partial(every.moments, x, level),
            partial(law.moments, x, level),
        ]
        times = best(runs, REPEATS, time.process_time)
        totals += times
        near = law._near(x, level)
        kept = law.weights.size if near is None else float(near.counts.mean())
        cells.append(f"{sigma:.2g}: {times[1] / times[0]:.2f} ({kept:.3g})")
        after = grid[place + 1] if place + 1 < len(grid) else 0.0
        x = x + (after - sigma) / sigma * (x - every.denoise(x, level))
    ratio = totals[1] / totals[0]
    print(f"\n{name}, {law.weights.size} components, noise: ratio (kept) " + ", ".join(cells))
    print(f"{name}: every one {1e3 * totals[0]:.1f} ms, the run over it: {ratio:.2f}")
    benchmark.extra_info |= {"ratio": ratio}
    benchmark.pedantic(runs[1], rounds=1)
