"""Time the exact denoiser against its two matrix products: ``steinlab bench-exact``.

For each precision: the two products alone on the whole data (the faster of two layouts), the call
with its exact divergence by every method and chunk, the plain torch version, and automatic
differentiation with one probe; and how far the numbers are from float64, over the stated bound.
"""

import os
import shlex
import statistics
import time
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analytic import EmpiricalMixture, NoiseLevel
from gpu_models.exact.denoiser import FUSED_BYTES, QUERIES, ScaledEmpirical
from gpu_models.exact.rounding import bounds
from gpu_models.exact.streaming import METHODS, PRECISIONS, Atoms, product_mode
from gpu_models.network.fashion import load_images
from steinlab.cli.parser import Parser
from steinlab.errors import InputError
from steinlab.storage import write_json

SIZES = {"full": (60_000, 784, 4096), "million": (1_000_000, 3072, 1024), "tiny": (600, 24, 64)}
"""Rows, coordinates and queries."""

PARTS = ("checks", "calls", "levels", "rows")
"""Of the benchmark: numbers, times of a call, of a run level by level, and by the rows."""

WIDE, NARROW = NoiseLevel(1.0, 10.0), NoiseLevel(1.0, 0.1)
"""Levels where every row counts and where few do."""

CHUNKS = (2**25, 2**26, 2**27, 2**28)
LEVELS = (NoiseLevel(1.0, 20.0), NoiseLevel(1.0, 4.0), NoiseLevel(0.6, 1.5))
TIMED = LEVELS[1]
"""The level of the timed runs, where the posterior spreads over many rows."""

RATE = TIMED.alpha / TIMED.sigma**2
WARM_UP, REPEATS, QUEUED = 3, 15, 10
"""Runs before the clock starts, runs timed one by one, runs in a row as a solver makes them."""

CHECKED = 64
"""Queries compared with float64; float64 itself with ``analytic`` on ``CHECKED // 16``."""


DRAWN = 1000
"""Rows that a thread draws at once."""


def pictures(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Return ``n`` rows of correlated numbers in [-1, 1] on 256 levels, as pictures have."""
    count = min(48, d)
    factors = 0.6 * np.random.default_rng(seed).standard_normal((count, d)) / np.sqrt(count)
    out = np.empty((n, d))

    def fill(start: int) -> None:
        part = out[start : start + DRAWN]
        drawn = np.random.default_rng([seed, start]).standard_normal((len(part), count))
        np.matmul(drawn, factors, out=part)
        part += 0.7
        np.clip(part, 0, 2, out=part)
        part *= 127.5
        np.rint(part, out=part)
        part /= 127.5
        part -= 1

    with ThreadPoolExecutor() as pool:
        list(pool.map(fill, range(0, n, DRAWN)))
    return out


def fashion_rows(n: int) -> np.ndarray:
    """Return Fashion-MNIST's training pictures in [-1, 1], ``(n, 784)``."""
    images = load_images("train")[:n]
    return np.asarray(images, dtype=np.float64).reshape(len(images), -1) / 127.5 - 1


def karras(count: int = 10) -> list[float]:
    """Return the levels of a run, from 80 to 0.002 with ``rho = 7``."""
    ends = 80.0 ** (1 / 7), 0.002 ** (1 / 7)
    return [(ends[0] + i / (count - 1) * (ends[1] - ends[0])) ** 7 for i in range(count)]


def queries(data: np.ndarray, level: NoiseLevel, count: int, seed: int = 1) -> np.ndarray:
    """Draw states of the forward process at a level."""
    rng = np.random.default_rng(seed)
    picked = data[rng.integers(len(data), size=count)]
    return np.asarray(level.noised(picked, rng))


def elapsed(run: Callable[[], Any], count: int = 1) -> float:
    """Return the mean time of runs one behind another, in ms, launches included."""
    if not torch.cuda.is_available():
        began = time.perf_counter()
        for _ in range(count):
            run()
        return 1e3 * (time.perf_counter() - began) / count
    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    for _ in range(count):
        run()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) / count


def milliseconds(run: Callable[[], Any]) -> dict[str, float]:
    """Return the median, least and largest time of a run on an idle device, launches included.

    ``queued`` is the mean of runs one behind another, where launches hide behind the work.
    """
    for _ in range(WARM_UP):
        run()
    times = [elapsed(run) for _ in range(REPEATS)]
    found = {"median": statistics.median(times), "min": min(times), "max": max(times)}
    return found | {"queued": elapsed(run, QUEUED)}


WAYS = ("call", "every row")
"""With rows left out, and without."""

COLUMNS = ("median", "min", "max", "queued", "ratio", "queued_ratio")
"""Of the printed table."""


class Bench:
    """The data and the table."""

    def __init__(self, size: str, device: str, precisions: Sequence[str], data: str = "drawn"):
        self.n, self.d, self.count = SIZES[size]
        self.device, self.precisions = device, precisions
        rows = pictures(self.n, self.d) if data == "drawn" else fashion_rows(self.n)
        self.n, self.d = rows.shape
        self.law = EmpiricalMixture(rows)
        self.rows: list[dict[str, Any]] = []

    def measure(self, precision: str, name: str, run: Callable[[], Any], **facts: Any) -> None:
        """Time a run into the table; a failure is printed and the rest goes on."""
        row: dict[str, Any] = {"precision": precision, "name": name, **facts}
        try:
            with product_mode(PRECISIONS[precision]):
                row |= milliseconds(run)
        except Exception as error:
            traceback.print_exc()
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            torch.cuda.empty_cache()
        self.rows.append(row)

    def scaled(self, precision: str, *, rows: int | None = None, **options: Any) -> ScaledEmpirical:
        """Return the data's denoiser in a precision, or that of its first rows."""
        data = self.law.data[:rows]
        return ScaledEmpirical(data, precision=precision, device=self.device, **options)

    def check(self) -> list[dict[str, Any]]:
        """Compare every precision with float64 on the device, and that with ``analytic``."""
        truth, found = self.scaled("float64"), []
        for precision in self.precisions:
            scaled = self.scaled(precision)
            for level in LEVELS:
                x = queries(self.law.data, level, CHECKED)
                post = truth.posterior(torch.as_tensor(x, device=self.device), level)
                spread, mass = post.spread.cpu().numpy(), post.mass[:, 0].cpu().numpy()
                expected: Any = truth.moments(x, level)
                few = slice(CHECKED if precision != "float64" else CHECKED // 16)
                if precision == "float64":
                    expected = self.law.moments(x[few], level)
                limit = bounds(
                    self.law, x[few], level, precision, spread=spread[few], mass=mass[few]
                )
                got = scaled.moments(x[few], level)
                off = np.linalg.norm(got.denoised - expected[0], axis=-1)
                wide = np.abs(got.divergence - expected[1])
                found.append(
                    {
                        "precision": precision,
                        "alpha": level.alpha,
                        "sigma": level.sigma,
                        "denoised_error": float(off.max()),
                        "denoised_over_bound": float((off / limit.denoised).max()),
                        "divergence_error": float(wide.max()),
                        "divergence_mean": float(np.mean(expected[1])),
                        "divergence_over_bound": float((wide / limit.divergence).max()),
                    }
                )
        return found

    def products(self, name: str, scaled: ScaledEmpirical, x: torch.Tensor) -> None:
        """Time the two products alone, whole, in both layouts of the second factor."""
        kind, atoms = PRECISIONS[name], atoms_of(scaled)
        u = kind.rounded((x - atoms.centre).to(kind.work) * RATE)
        logits = torch.empty((self.count, self.n), dtype=kind.factor, device=x.device)
        weights = torch.rand_like(logits, dtype=torch.float32).to(kind.factor)
        out = torch.empty((self.count, self.d), dtype=kind.factor, device=x.device)
        for layout, rows in (("rows", atoms.factors), ("columns", atoms.columns[: self.d].T)):

            def both(rows: torch.Tensor = rows) -> None:
                torch.mm(u, atoms.factors.T, out=logits)
                torch.mm(weights, rows, out=out)

            self.measure(name, "two products", both, layout=layout)

    def calls(self, name: str, x: torch.Tensor) -> None:
        """Time the whole call by method and chunk."""
        for method in METHODS:
            try:
                scaled = self.scaled(name, method=method)
            except InputError:
                continue
            chunks = {
                "plain": CHUNKS[-1:],
                "fused": (*CHUNKS, FUSED_BYTES),
                "split": CHUNKS[:1],
            }.get(method, CHUNKS)
            for chunk in chunks:
                object.__setattr__(scaled, "chunk_bytes", chunk)

                def whole(scaled: ScaledEmpirical = scaled) -> None:
                    scaled.cache.pop("last", None)
                    scaled.moments(x, TIMED)

                self.measure(name, method, whole, chunk_mib=chunk // 2**20)

    def others(self, name: str, scaled: ScaledEmpirical, x: torch.Tensor) -> None:
        """Time ``analytic`` on the device and automatic differentiation of a plain denoiser."""
        atoms, probe = atoms_of(scaled), torch.sign(torch.randn_like(x))
        plain = EmpiricalMixture(self.law.data, chunk_bytes=2**33)

        def denoise(part: torch.Tensor) -> torch.Tensor:
            logits = (
                RATE * ((part - atoms.centre) @ atoms.rows.T) - RATE * TIMED.alpha * atoms.halves
            )
            return atoms.centre + torch.softmax(logits, dim=1) @ atoms.rows

        def by_parts(function: Callable[[torch.Tensor, torch.Tensor], Any]) -> Callable[[], None]:
            def run() -> None:
                for i in range(0, len(x), 1024):
                    function(x[i : i + 1024], probe[i : i + 1024])

            return run

        def forward(part: torch.Tensor, v: torch.Tensor) -> Any:
            return (torch.func.jvp(denoise, (part,), (v,))[1] * v).sum(-1)

        def reverse(part: torch.Tensor, v: torch.Tensor) -> Any:
            pull: Any = torch.func.vjp(denoise, part)[1]
            return (pull(v)[0] * v).sum(-1)

        self.measure(name, "analytic on the device", lambda: plain.moments(x, TIMED))
        self.measure(name, "softmax alone, no divergence", by_parts(lambda part, _: denoise(part)))
        self.measure(name, "jvp, one probe", by_parts(forward))
        self.measure(name, "vjp, one probe", by_parts(reverse))

    def levels(self, name: str) -> list[dict[str, Any]]:
        """Time a whole run of Euler steps, level by level, with its divergences.

        Every level is timed three ways: the two products alone, the call that evaluates every row,
        and the call that leaves rows out. ``rows`` counts those that it evaluates.
        """
        kind = PRECISIONS[name]
        laws = {"call": self.scaled(name), "every row": self.scaled(name, left_out=0.0)}
        atoms, found = atoms_of(laws["call"]), []
        grid = karras()
        rng = np.random.default_rng(2)
        noise = rng.standard_normal((self.count, self.d))
        x = torch.as_tensor(grid[0] * noise, dtype=kind.work, device=self.device)
        logits = torch.empty((self.count, self.n), dtype=kind.factor, device=self.device)
        weights = torch.rand_like(logits, dtype=torch.float32).to(kind.factor)
        out = torch.empty((self.count, self.d), dtype=kind.factor, device=self.device)
        for place, sigma in enumerate(grid):
            level = NoiseLevel(1.0, sigma)
            u = kind.rounded((x - atoms.centre).to(kind.work) / sigma**2)

            def both(u: torch.Tensor = u) -> None:
                torch.mm(u, atoms.factors.T, out=logits)
                torch.mm(weights, atoms.columns[: self.d].T, out=out)

            def whole(law: ScaledEmpirical, x: torch.Tensor = x, level: NoiseLevel = level) -> None:
                law.cache.pop("last", None)
                law.moments(x, level)

            row: dict[str, Any] = {"precision": name, "sigma": sigma}
            with product_mode(kind):
                row["products"] = self.clock(both)
            for title, law in laws.items():
                row[title] = self.clock(partial(whole, law))
            shares = laws["call"].posterior(x[:QUERIES], level).shares()
            row["rows"] = sum(len(share.halves) for share in shares)
            found.append(row)
            after = grid[place + 1] if place + 1 < len(grid) else 0.0
            x = x + (after - sigma) / sigma * (x - laws["every row"].denoise(x, level))
        return found

    def growth(self, name: str) -> list[dict[str, Any]]:
        """Time calls on an eighth, a quarter, a half and all of the rows, part by part, as codes.

        Under ``torchrun`` the rows are spread over its processes, one device each.
        """
        counts = [self.n // 8, self.n // 4, self.n // 2, self.n]
        ways: list[tuple[int, int | None, str]] = [(count, None, "work") for count in counts]
        ways += [(self.n, self.n // 4, "work"), (self.n, None, "codes")]
        return [self._way(name, *way) for way in ways]

    def _way(self, name: str, count: int, at_once: int | None, storage: str) -> dict[str, Any]:
        spread = torch.distributed.is_available() and torch.distributed.is_initialized()
        torch.cuda.empty_cache()
        before = torch.cuda.memory_allocated()
        torch.cuda.reset_peak_memory_stats()
        options: dict[str, Any] = {"spread": spread, "device_rows": at_once, "storage": storage}
        law = self.scaled(name, rows=count, **options)
        row: dict[str, Any] = {"precision": name, "count": count, "at_once": at_once}
        row |= {"storage": storage, "rows_gib": (torch.cuda.memory_allocated() - before) / 2**30}
        for title, level in (("wide", WIDE), ("narrow", NARROW)):
            states = queries(self.law.data[:count], level, self.count)
            x = torch.as_tensor(states, dtype=PRECISIONS[name].work, device=self.device)

            def whole(x: torch.Tensor = x, level: NoiseLevel = level) -> None:
                law.cache.pop("last", None)
                law.moments(x, level)

            row[title] = self.clock(whole)
        row["memory_gib"] = torch.cuda.max_memory_allocated() / 2**30
        return row

    def clock(self, run: Callable[[], Any]) -> float:
        """Return the least time of a few runs one behind another, in ms."""
        run()
        return min(elapsed(run, QUEUED // 2) for _ in range(3))

    def run(self, parts: Sequence[str]) -> dict[str, Any]:
        """Run the parts asked for, in the order of :data:`PARTS`."""
        found: dict[str, Any] = {"checks": [], "rows": [], "levels": [], "growth": []}
        if "checks" in parts:
            found["checks"] = self.check()
        for name in self.precisions if "calls" in parts else ():
            states = torch.as_tensor(queries(self.law.data, TIMED, self.count), device=self.device)
            x, scaled = states.to(PRECISIONS[name].work), self.scaled(name)
            self.products(name, scaled, x)
            self.calls(name, x)
            if name != "bf16":
                self.others(name, scaled, x)
            self.products(name, scaled, x)
            torch.cuda.empty_cache()
        found["rows"] = with_ratios(self.rows)
        for name in self.precisions:
            found["levels"] += self.levels(name) if "levels" in parts else []
            found["growth"] += self.growth(name) if "rows" in parts else []
        return found


def atoms_of(scaled: ScaledEmpirical) -> Atoms:
    """Return the rows of a denoiser that keeps them wide."""
    assert isinstance(scaled.atoms, Atoms)
    return scaled.atoms


def with_ratios(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Add to each row its times over those of the fastest two products of its precision."""
    base: dict[tuple[str, str], float] = {}
    for row in rows:
        for key in ("median", "queued"):
            if row["name"] == "two products" and key in row:
                at = (row["precision"], key)
                base[at] = min(row[key], base.get(at, row[key]))
    names = {"median": "ratio", "queued": "queued_ratio"}
    return [
        row | {name: row[k] / base[row["precision"], k] for k, name in names.items() if k in row}
        for row in rows
    ]


def run_ratios(levels: list[dict[str, Any]]) -> dict[str, dict[str, float]]:
    """Return a whole run's time over that of its products, by precision and way."""
    found: dict[str, dict[str, float]] = {}
    for name in dict.fromkeys(row["precision"] for row in levels):
        rows = [row for row in levels if row["precision"] == name]
        products = sum(row["products"] for row in rows)
        found[name] = {way: sum(row[way] for row in rows) / products for way in WAYS}
    return found


def show(result: dict[str, Any]) -> None:
    """Print the table."""
    for row in result["levels"]:
        ratios = " ".join(f"{way} {row[way] / row['products']:.2f}" for way in WAYS)
        print(
            f"{row['precision']:8} sigma {row['sigma']:7.3g}: products {row['products']:7.2f} ms, "
            f"{ratios}, {row['rows']} rows"
        )
    for name, whole in run_ratios(result["levels"]).items():
        print(f"{name:8} a run over its products: {whole}")
    for row in result["growth"]:
        print(
            f"{row['precision']:8} {row['count']:,} rows, at once {row['at_once']}, "
            f"{row['storage']}: {row['wide']:.3g} ms where all count, {row['narrow']:.3g} ms where "
            f"few do, {row['rows_gib']:.3g} GiB of rows, {row['memory_gib']:.3g} GiB at most"
        )
    for found in result["checks"]:
        print(
            f"{found['precision']:8} alpha {found['alpha']:g} sigma {found['sigma']:g}: "
            f"D off {found['denoised_error']:.1e} ({found['denoised_over_bound']:.1e} of the bound)"
            f", div D off {found['divergence_error']:.1e} of {found['divergence_mean']:.3g} "
            f"({found['divergence_over_bound']:.1e})"
        )
    for row in result["rows"]:
        facts = {k: row[k] for k in ("chunk_mib", "layout", "error") if k in row}
        times = " ".join(f"{row.get(key, np.nan):8.3f}" for key in COLUMNS)
        print(f"{row['precision']:8} {row['name']:30} {times} {facts}")


def main(args: Sequence[str]) -> int:
    """Run the benchmark, print its table, and store it."""
    parser = Parser("bench-exact", __doc__)
    parser.add_target("--json")
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS[:-1])
    parser.add_argument("--data", choices=["drawn", "fashion"], default="drawn")
    parser.add_argument("--precisions", nargs="+", default=list(PRECISIONS), choices=PRECISIONS)
    options = parser.parse_args(args)
    if not torch.cuda.is_available():
        raise InputError("device must be a CUDA device for this benchmark, got none")
    if "WORLD_SIZE" in os.environ:
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
        torch.distributed.init_process_group("nccl")
    result = {
        "devices": int(os.environ.get("WORLD_SIZE", "1")),
        "device": torch.cuda.get_device_name(),
        "torch": torch.__version__,
        "command": shlex.join(["steinlab", "bench-exact", *(Path(arg).name for arg in args)]),
        "data": options.data,
        "size": dict(zip(("rows", "coordinates", "queries"), SIZES[options.size], strict=True)),
    } | Bench(options.size, "cuda", options.precisions, options.data).run(options.parts)
    if "WORLD_SIZE" in os.environ:
        torch.distributed.destroy_process_group()
    if os.environ.get("RANK", "0") != "0":
        return 0
    show(result)
    if options.json:
        write_json(options.json, result, indent=1)
    return 0
