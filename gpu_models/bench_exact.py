"""Time the exact denoiser against its two matrix products: ``python -m gpu_models.bench_exact``.

Prints, for each precision, the time of the two products alone, of the streaming denoiser with its
exact divergence (as a ratio), of the plain torch version and of automatic differentiation with one
probe, and how far the numbers are from float64 in units of the stated bound.
"""

from __future__ import annotations

import argparse
import json
import statistics
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from analytic import EmpiricalMixture, NoiseLevel
from gpu_models.exact import ScaledEmpirical
from gpu_models.graphs import Captured, Sweep
from gpu_models.rounding import bounds
from gpu_models.streaming import (
    PRECISIONS,
    Fold,
    Precision,
    State,
    fold_for,
    fold_plain,
    product_mode,
    sweep,
)

SIZES = {"full": (60_000, 784, 4096), "tiny": (600, 24, 64)}
"""Rows, coordinates and queries."""

COLUMNS = (1024, 2048, 4096, 8192)
STREAMS = (1, 2)
LEVELS = (NoiseLevel(1.0, 20.0), NoiseLevel(1.0, 4.0), NoiseLevel(0.6, 1.5))
TIMED = LEVELS[1]
"""Where the posterior spreads over many rows; at alpha 1 both scales of a logit are ``RATE``."""

RATE = TIMED.alpha / TIMED.sigma**2
CHECKED = 128
"""Queries compared with float64."""


def pictures(n: int, d: int, seed: int = 0) -> np.ndarray:
    """Return ``n`` rows of correlated numbers in [-1, 1] on 256 levels, as pictures have."""
    rng = np.random.default_rng(seed)
    factors = rng.standard_normal((min(48, d), d))
    rows = rng.standard_normal((n, len(factors))) @ factors / np.sqrt(len(factors))
    return np.round(127.5 * np.clip(0.6 * rows - 0.3, -1, 1)) / 127.5


def queries(data: np.ndarray, level: NoiseLevel, count: int, seed: int = 1) -> np.ndarray:
    """Draw states of the forward process at a level."""
    rng = np.random.default_rng(seed)
    picked = data[rng.integers(len(data), size=count)]
    return level.alpha * picked + level.sigma * rng.standard_normal(picked.shape)


def milliseconds(run: Callable[[], Any], repeats: int = 11) -> dict[str, float]:
    """Return the median, least and largest time of a run on the device."""
    for _ in range(3):
        run()
    times = []
    for _ in range(repeats):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        run()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return {"median": statistics.median(times), "min": min(times), "max": max(times)}


class Bench:
    """The data, the table and what one measurement does when it fails."""

    def __init__(self, size: str, device: str, precisions: list[str]):
        self.n, self.d, self.count = SIZES[size]
        self.device, self.precisions = device, precisions
        self.data = pictures(self.n, self.d)
        self.law = EmpiricalMixture(self.data)
        self.rows: list[dict[str, Any]] = []
        self.reference: dict[str, torch.Tensor] = {}
        self.laws: dict[str, ScaledEmpirical] = {}

    def measure(self, precision: str, name: str, run: Callable[[], Any], **facts: Any) -> None:
        """Time a run into the table; a failure is printed and the rest goes on."""
        row: dict[str, Any] = {"precision": precision, "name": name, **facts}
        try:
            row |= milliseconds(run)
        except Exception as error:
            traceback.print_exc()
            row["error"] = f"{type(error).__name__}: {str(error).splitlines()[0]}"
            torch.cuda.empty_cache()
        self.rows.append(row)
        print({k: round(v, 4) if isinstance(v, float) else v for k, v in row.items()}, flush=True)

    def scaled(self, precision: str, **options: Any) -> ScaledEmpirical:
        """Return the data's denoiser in a precision."""
        if precision not in self.laws:
            self.laws[precision] = ScaledEmpirical(
                self.data, precision=precision, device=self.device, **options
            )
        return self.laws[precision]

    def check(self) -> list[dict[str, Any]]:
        """Compare every precision with float64, and float64 with ``analytic``."""
        found = []
        truth = self.scaled("float64")
        for level in LEVELS:
            x = queries(self.data, level, CHECKED)
            post = truth._posterior(torch.as_tensor(x, device=self.device), level)
            parts = {"spread": post.spread.cpu().numpy(), "mass": post.mass[:, 0].cpu().numpy()}
            exact = truth.moments(x, level)
            for precision in self.precisions:
                law, few = self.scaled(precision), CHECKED
                expected: Any = exact
                if precision == "float64":
                    few = 4
                    expected = self.law.moments(x[:few], level)
                got = law.moments(x[:few], level)
                limit = bounds(
                    self.law, x[:few], level, precision, **{k: v[:few] for k, v in parts.items()}
                )
                off = np.linalg.norm(got.denoised - expected[0], axis=-1)
                wide = np.abs(got.variance - expected[2])
                found.append(
                    {
                        "precision": precision,
                        "alpha": level.alpha,
                        "sigma": level.sigma,
                        "denoised_error": float(off.max()),
                        "denoised_norm": float(np.linalg.norm(expected[0], axis=-1).mean()),
                        "denoised_over_bound": float((off / limit.denoised).max()),
                        "variance_error": float(wide.max()),
                        "variance_mean": float(np.mean(expected[2])),
                        "variance_over_bound": float((wide / limit.variance).max()),
                        "logit_bound": float(limit.logit.max()),
                    }
                )
                print({k: v if isinstance(v, str) else f"{v:.3g}" for k, v in found[-1].items()})
        return found

    def products(self, precision: Precision, law: ScaledEmpirical, u: torch.Tensor) -> None:
        """Time the two products alone, whole, in both layouts of the second factor."""
        atoms = law.atoms
        shape = (self.count, self.n)
        logits = torch.empty(shape, dtype=precision.factor, device=u.device)
        weights = torch.rand(shape, device=u.device).to(precision.factor)
        out = torch.empty((self.count, self.d), dtype=precision.factor, device=u.device)

        def first() -> None:
            torch.mm(u, atoms.factors.T, out=logits)

        def second(rows: torch.Tensor) -> Callable[[], Any]:
            return lambda: torch.mm(weights, rows, out=out)

        def both(rows: torch.Tensor) -> Callable[[], Any]:
            return lambda: (first(), torch.mm(weights, rows, out=out))

        with product_mode(precision):
            self.measure(precision.name, "first product", first)
            for layout, rows in (("rows", atoms.factors), ("columns", atoms.columns.T)):
                self.measure(precision.name, "second product", second(rows), layout=layout)
                self.measure(precision.name, "two products", both(rows), layout=layout)
        torch.cuda.empty_cache()

    def streaming(self, precision: Precision, law: ScaledEmpirical, u: torch.Tensor) -> None:
        """Time the sweep by chunk, streams and launch, with and without its softmax."""
        fold = fold_for(u.device)

        def nothing(*_: Any, **__: Any) -> None:
            return

        def folding(columns: int, how: Fold) -> Sweep:
            return lambda q, bias: sweep(q, bias, law.atoms, precision, columns, how)

        for columns in COLUMNS:
            self.variants(precision, "chunked products", folding(columns, nothing), u, columns)
            self.variants(precision, "sweep", folding(columns, fold), u, columns)
        if precision.name in ("tf32", "bf16"):
            self.fused(precision, law, u)
        bias = torch.full((), RATE, dtype=precision.work, device=u.device)
        with product_mode(precision):
            plain = folding(2048, fold_plain)
            self.measure(precision.name, "sweep (plain)", lambda: plain(u, bias), columns=2048)
            if precision.name == "tf32":
                compiled = folding(4096, torch.compile(fold_plain, dynamic=True))
                self.measure("tf32", "sweep (compiled)", lambda: compiled(u, bias), columns=4096)

    def fused(self, precision: Precision, law: ScaledEmpirical, u: torch.Tensor) -> None:
        """Time and check the sweep whose first product ends in the softmax."""
        try:
            from gpu_models import fused
        except ImportError:
            traceback.print_exc()
            return
        tilings = [
            fused.Tiling(),
            fused.Tiling(warps=4),
            fused.Tiling(cols=256),
        ]
        for tiling in tilings:
            for columns in COLUMNS[1:]:

                def run(
                    q: torch.Tensor, bias: torch.Tensor, c: int = columns, t: Any = tiling
                ) -> State:
                    return fused.sweep(q, bias, law.atoms, precision, c, t)

                self.variants(precision, "fused", run, u, columns, tiling=tuple(tiling))

    def variants(
        self,
        precision: Precision,
        name: str,
        run: Sweep,
        u: torch.Tensor,
        columns: int,
        **facts: Any,
    ) -> None:
        """Time a sweep launched kernel by kernel, and as graphs of one stream or more."""
        bias = torch.full((), RATE, dtype=precision.work, device=u.device)
        facts |= {"columns": columns}
        try:
            with product_mode(precision):
                if "products" not in name:
                    facts["off"] = self.differs(precision, run, u, bias)
                self.measure(precision.name, name, lambda: run(u, bias), **facts)
            for streams in STREAMS:
                graph = Captured(u, precision, run, streams)
                more = facts | {"streams": streams}
                self.measure(precision.name, f"{name} (graph)", lambda g=graph: g(u, bias), **more)
        except Exception as error:
            traceback.print_exc()
            print(f"no {name} {facts}: {str(error).splitlines()[:1]}", flush=True)
            torch.cuda.empty_cache()

    def differs(
        self, precision: Precision, run: Sweep, u: torch.Tensor, bias: torch.Tensor
    ) -> float:
        """Return the largest relative difference of posterior means from the plain fold's."""
        key = precision.name
        if key not in self.reference:
            law = self.scaled(key)
            self.reference[key] = means(sweep(u, bias, law.atoms, precision, 4096, fold_plain))
        expected, got = self.reference[key], means(run(u, bias))
        worst = (got - expected).norm(dim=1) / expected.norm(dim=1)
        return float(worst.max())

    def others(self, precision: Precision, law: ScaledEmpirical) -> None:
        """Time the whole call, the plain torch version and automatic differentiation."""
        x = torch.as_tensor(queries(self.data, TIMED, self.count), device=self.device)
        for dtype in {precision.work, torch.float64}:
            z = x.to(dtype)

            def whole(z: torch.Tensor = z) -> Any:
                law.cache.pop("last", None)
                return law.moments(z, TIMED)

            self.measure(precision.name, "whole call", whole, state=str(dtype))
        if precision.name == "bf16":
            return
        z = x.to(precision.work)
        probe = torch.sign(torch.randn_like(z))
        rows, halves, rate = law.atoms.rows, law.atoms.halves, RATE
        plain = EmpiricalMixture(self.data, chunk_bytes=2**33)

        def denoise(part: torch.Tensor) -> torch.Tensor:
            logits = rate * ((part - law.atoms.centre) @ rows.T) - rate * TIMED.alpha * halves
            return law.atoms.centre + torch.softmax(logits, dim=1) @ rows

        def forward() -> None:
            for part, v in zip(z.split(1024), probe.split(1024), strict=True):
                _, product = torch.func.jvp(denoise, (part,), (v,))
                (product * v).sum(-1)

        def reverse() -> None:
            for part, v in zip(z.split(1024), probe.split(1024), strict=True):
                _, pull = torch.func.vjp(denoise, part)
                (pull(v)[0] * v).sum(-1)

        def denoiser() -> None:
            for part in z.split(1024):
                denoise(part)

        with product_mode(precision):
            self.measure(
                precision.name, "plain: analytic on the device", lambda: plain.moments(z, TIMED)
            )
            self.measure(precision.name, "plain: softmax, no divergence", denoiser)
            self.measure(precision.name, "autodiff: jvp, one probe", forward)
            self.measure(precision.name, "autodiff: vjp, one probe", reverse)

    def run(self, keep: Callable[[dict[str, Any]], None]) -> dict[str, Any]:
        """Check, then time everything."""
        checks = self.check()
        for name in self.precisions:
            precision, law = PRECISIONS[name], self.scaled(name)
            x = torch.as_tensor(queries(self.data, TIMED, self.count), device=self.device)
            u = precision.rounded((x - law.atoms.centre).to(precision.work) * RATE)
            self.products(precision, law, u)
            self.streaming(precision, law, u)
            self.others(precision, law)
            torch.cuda.empty_cache()
            keep({"checks": checks, "rows": self.rows})
        return {"checks": checks, "rows": self.rows, "summary": summary(self.rows)}


def means(state: State) -> torch.Tensor:
    """Return the posterior means of all rows but the top one, times their mass."""
    return state.rest / (1 + state.mass[:, None])


def summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the best of each kind as a ratio to the fastest two products of its precision."""
    out = []
    for precision in dict.fromkeys(row["precision"] for row in rows):
        timed = [r for r in rows if r["precision"] == precision and "median" in r]
        base = min((r["median"] for r in timed if r["name"] == "two products"), default=np.nan)
        for name in dict.fromkeys(row["name"] for row in timed):
            best = min((r for r in timed if r["name"] == name), key=lambda r: r["median"])
            out.append({**best, "ratio": best["median"] / base})
    return out


def environment(device: str) -> dict[str, Any]:
    """Return what the numbers were taken on."""
    return {
        "device": torch.cuda.get_device_name(device) if device != "cpu" else "cpu",
        "torch": torch.__version__,
        "command": "python -m gpu_models.bench_exact " + " ".join(sys.argv[1:]),
    }


def main() -> int:
    """Run the benchmark and print its table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--size", choices=list(SIZES), default="full")
    parser.add_argument(
        "--precisions", nargs="+", default=list(PRECISIONS), choices=list(PRECISIONS)
    )
    options = parser.parse_args()
    if not torch.cuda.is_available():
        print("device must be a CUDA device for this benchmark, got none", file=sys.stderr)
        return 2

    def keep(found: dict[str, Any]) -> None:
        if options.json:
            options.json.write_text(json.dumps(environment("cuda") | found, indent=1))

    result = Bench(options.size, "cuda", options.precisions).run(keep)
    for row in result["summary"]:
        facts = {
            k: row[k]
            for k in ("columns", "streams", "layout", "state", "tiling", "off")
            if k in row
        }
        print(
            f"{row['precision']:8} {row['name']:32} {row['median']:8.3f} ms "
            f"[{row['min']:.3f}, {row['max']:.3f}] {row['ratio']:6.3f} {facts}"
        )
    keep(result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
