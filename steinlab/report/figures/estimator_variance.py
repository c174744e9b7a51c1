"""The error of the estimated coefficient against the number of states and of probes."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from steinlab.claims.coefficient.ratio_estimator import Batch, measure_ratio, ratio_variance
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import GREY, look, worded

CASES = (("edm", 4.0), ("vp-linear", 4.0))
BATCHES = (16, 32, 64, 128, 256, 512, 1024, 2048)
PROBES = (1, 2, 5, 10, 20, 50)
SHOWN = (1, 5, 0)
"""Probes of the panels against the batch; 0 stands for the exact divergence."""

BATCH = 256
STEP = 1.0
SUFFIXES = ("", "_error", "_theory")


def compute(
    seed: int, *, batches: tuple[int, ...] = BATCHES, probes: tuple[int, ...] = PROBES
) -> FigureData:
    """Return root mean square errors of ``gamma_hat``, measured with errors and by the expansion.

    Against the batch ``(case, probes, batch)`` and, at one batch, against the probes
    ``(case, probes)``, with the limit of infinitely many.
    """
    draws = np.random.default_rng(seed).integers(2**32, size=len(CASES))

    def one(case: int, states: int, count: int) -> list[float]:
        process, ratio = CASES[case]
        batch = Batch(process, ratio, STEP, states, count, int(draws[case]))
        found = measure_ratio(batch)
        root = np.sqrt(found.variance.value)
        return [root, 0.5 * found.variance.error / root, float(np.sqrt(sum(ratio_variance(batch))))]

    cases = range(len(CASES))
    by_batch = np.array([[[one(c, b, p) for b in batches] for p in SHOWN] for c in cases])
    by_probes = np.array([[one(c, BATCH, p) for p in (*probes, 0)] for c in cases])
    arrays = {f"batch{part}": by_batch[..., i] for i, part in enumerate(SUFFIXES)}
    arrays |= {f"probes{part}": by_probes[..., i] for i, part in enumerate(SUFFIXES)}
    config = {
        "cases": [list(case) for case in CASES],
        "batches": list(batches),
        "shown": list(SHOWN),
        "probes": list(probes),
        "batch": BATCH,
    }
    return FigureData(arrays, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per process against the batch, and one against the probes."""
    batches, arrays = np.array(data.config["batches"]), data.arrays
    for c, (ax, (name, ratio)) in enumerate(zip(axes[:2], data.config["cases"], strict=True)):
        for i, probes in enumerate(data.config["shown"]):
            label = f"{probes} probe{'s' * (probes > 1)}" if probes else "exact divergence"
            _pair(ax, batches, [arrays[f"batch{k}"][c, i] for k in SUFFIXES], i, label)
        top = 1.8 * arrays["batch_theory"][c].max()
        line = top * np.sqrt(batches[0] / batches)
        ax.plot(batches, line, color=GREY, linestyle="--", label=r"$B^{-1/2}$")
        ax.set(
            xscale="log", yscale="log", title=f"{worded(name)}, from $\\sigma/\\alpha = {ratio:g}$"
        )
        ax.set_xlabel("batch $B$")
        ax.legend(loc="best")
    probes = np.array(data.config["probes"])
    for c, (name, _) in enumerate(data.config["cases"]):
        values = [arrays[f"probes{k}"][c, :-1] for k in SUFFIXES]
        _pair(axes[2], probes, values, c, worded(name))
        limit = arrays["probes_theory"][c, -1]
        axes[2].axhline(
            limit, color=look(c)["color"], linestyle=":", label=f"{worded(name)}, exact"
        )
    axes[2].set(xscale="log", yscale="log", title=f"$B = {data.config['batch']}$")
    axes[2].yaxis.set_minor_formatter(NullFormatter())
    axes[2].set_xlabel("probes per state")
    axes[2].legend(loc="best")
    axes[0].set_ylabel(r"root mean square error of $\hat\gamma$")


def _pair(ax: Axes, x: np.ndarray, values: Sequence[np.ndarray], index: int, label: str) -> None:
    """Draw a measurement with its two standard errors on the theory's line."""
    measured, error, theory = values
    style = look(index)
    ax.plot(x, theory, color=style["color"])
    ax.plot(x, measured, linestyle="none", label=label, **style)
    low, high = measured - 2 * error, measured + 2 * error
    ax.fill_between(x, low, high, color=style["color"], alpha=0.25, linewidth=0)


FIGURE = Figure(
    "estimator-variance",
    "The error of the estimated coefficient against batch and probes, with its expansion",
    compute,
    plot,
    columns=3,
    aspect=0.85,
    claims=("hutchinson-estimator",),
)
