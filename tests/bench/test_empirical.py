"""The exact denoiser of a data set on a CPU against its two products, as ratios.

Run by ``make bench``. Ten Euler steps on Karras levels from 80 to 0.002, with the divergence at
every level; each level's call and its plain products are timed side by side, the best of a few.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from analytic import EmpiricalMixture, NoiseLevel
from gpu_models.exact.benchmark import fashion_rows, karras, pictures
from gpu_models.network.fashion import installed

STATES = 256
REPEATS = 2
LIBRARIES: dict[str, Callable[[np.ndarray], Any]] = {
    "numpy": lambda x: x.astype(np.float32),
    "torch": lambda x: torch.as_tensor(x, dtype=torch.float32),
}


def best(
    runs: list[Callable[[], Any]],
    repeats: int = REPEATS,
    clock: Callable[[], float] = time.perf_counter,
) -> list[float]:
    """Return the least time of each run, taken in turns."""
    times = []
    for _ in range(repeats):
        row = []
        for run in runs:
            start = clock()
            run()
            row.append(clock() - start)
        times.append(row)
    return [min(column) for column in zip(*times, strict=True)]


def products(x: Any, rows: Any, weights: Any) -> tuple[Any, Any]:
    """The two products alone."""
    return x @ rows.T, weights @ rows


@pytest.mark.parametrize("library", LIBRARIES)
def test_a_run_over_its_products(benchmark: Any, library: str) -> None:
    if benchmark.disabled:
        pytest.skip("a measurement of time: run `make bench`")
    data = fashion_rows(60_000) if installed() else pictures(60_000, 784)
    convert, grid = LIBRARIES[library], karras()
    law, every = EmpiricalMixture(data), EmpiricalMixture(data, left_out=0.0)
    rows = convert(data - law.mean())
    rng = np.random.default_rng(0)
    x = convert(grid[0] * rng.standard_normal((STATES, data.shape[1])))
    weights = convert(rng.random((STATES, len(data))))
    totals = np.zeros(3)
    print()
    for place, sigma in enumerate(grid):
        level = NoiseLevel(1.0, sigma)
        runs: list[Callable[[], Any]] = [
            partial(products, x, rows, weights),
            partial(law.moments, x, level),
            partial(every.moments, x, level),
        ]
        law.moments(x[:2], level)
        times = best(runs)
        totals += times
        ratios = " ".join(f"{t / times[0]:.2f}" for t in times[1:])
        print(
            f"{library:6} noise {sigma:7.3g}: products {times[0]:.2f} s, call, every row {ratios}"
        )
        after = grid[place + 1] if place + 1 < len(grid) else 0.0
        x = x + (after - sigma) / sigma * (x - every.denoise(x, level))
    ratios = totals[1:] / totals[0]
    print(f"{library:6} the run over its products: {ratios[0]:.2f}; every row {ratios[1]:.2f}")
    benchmark.extra_info |= {"ratio": ratios[0], "every_row": ratios[1]}
    benchmark.pedantic(runs[1], rounds=1)


@pytest.mark.parametrize("storage", ["codes", "map"])
def test_rows_kept_otherwise_over_rows_in_memory(
    benchmark: Any, storage: str, tmp_path: Path
) -> None:
    """A call where every row counts, in seconds of the CPU, and what is kept of the rows."""
    if benchmark.disabled:
        pytest.skip("a measurement of time: run `make bench`")
    data = fashion_rows(60_000) if installed() else np.clip(pictures(60_000, 784), -1, 1)
    kept: Any = data
    if storage == "map":
        np.save(tmp_path / "rows.npy", data.astype(np.float32))
        kept = np.load(tmp_path / "rows.npy", mmap_mode="r")
    narrow = EmpiricalMixture(kept, storage={"map": "given"}.get(storage, storage))
    whole, level = EmpiricalMixture(data), NoiseLevel(1.0, 10.0)
    ratios = []
    for count in (16, STATES):
        x = level.noised(data[:count], np.random.default_rng(0)).astype(np.float32)
        runs: list[Callable[[], Any]] = [partial(law.moments, x, level) for law in (whole, narrow)]
        narrow.moments(x[:2], level), whole.moments(x[:2], level)
        times = best(runs, REPEATS, time.process_time)
        ratios.append(times[1] / times[0])
    bits: Any = narrow.data
    print(
        f"\n{storage}: {bits.kept.dtype}, {bits.nbytes / 2**20:.0f} MiB, of which a process keeps "
        f"{0 if storage == 'map' else bits.nbytes / 2**20:.0f}; call over that with "
        f"{data.nbytes / 2**21:.0f} MiB in memory: 16 states {ratios[0]:.2f}, "
        f"{STATES} states {ratios[1]:.2f}"
    )
    benchmark.extra_info |= {"ratio": ratios[1]}
    benchmark.pedantic(runs[1], rounds=1)
