"""VP's drift and geometric terms, their cancellation, and what it costs, with EDM beside it."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from steinlab.claims.coordinates.singular_paths import RATES, quantities
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, GREY, band, look

PATH = "fixed"
ALPHAS = np.geomspace(1e-5, 0.4, 19)
REPEATS = 4
TERMS = ("drift", "geometric", "gamma")
LABELS = {
    "drift": "drift term",
    "geometric": "geometric term",
    "gamma": r"their sum, $\gamma^*$",
    "condition": "condition number in VP",
    "sampling": "Theorem 4.7 in VP",
    "tweedie": "Tweedie in VP",
    "edm": "Theorem 4.7 in EDM",
}
DEVIATIONS = ("sampling", "tweedie", "edm")


def compute(seed: int, *, repeats: int = REPEATS) -> FigureData:
    """Return the terms ``(A,)`` by quadrature, and deviations with errors from repeated samples."""
    seeds = np.random.default_rng(seed).integers(2**32, size=repeats)
    found = [[quantities(PATH, float(a), int(s)) for s in seeds] for a in ALPHAS]
    arrays: dict[str, np.ndarray] = {"alpha": ALPHAS}
    first = [row[0] for row in found]
    for name in ("gamma", "drift", "condition", "rounding"):
        arrays[name] = np.array([one[name] for one in first])
    arrays["geometric"] = arrays["gamma"] - arrays["drift"]
    for name in DEVIATIONS:
        values = np.array([[one[name] for one in row] for row in found])
        arrays[name] = values.mean(axis=1)
        arrays[f"{name}_error"] = values.std(axis=1, ddof=1) / np.sqrt(repeats)
    rates = {name: RATES[PATH][name] for name in ("condition", *DEVIATIONS)}
    return FigureData(arrays, {"path": PATH, "repeats": repeats, "rates": rates})


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw the terms, the condition number of their sum, and the deviations per state."""
    arrays = data.arrays
    alpha = arrays["alpha"]
    for i, name in enumerate(TERMS):
        axes[0].plot(alpha, np.abs(arrays[name]), label=LABELS[name], **look(i))
    axes[1].plot(alpha, arrays["condition"], label=LABELS["condition"], **look(0))
    axes[1].plot(alpha, arrays["rounding"], label="rounding of the sum", **look(3))
    for i, name in enumerate(DEVIATIONS):
        band(axes[2], alpha, arrays[name], arrays[f"{name}_error"], label=LABELS[name], **look(i))
    axes[1].axhline(1.0, color=BLACK, label="condition number in EDM")
    _slope(axes[1], alpha, 3.0 * arrays["condition"][0])
    _slope(axes[2], alpha, 3.0 * arrays["sampling"][0])
    titles = ("terms", "cancellation", "sampling error")
    for ax, title in zip(axes, titles, strict=True):
        ax.set(xscale="log", yscale="log", title=title)
        ax.set_xlabel(r"$\alpha$ at the step's start")
        ax.legend(loc="best")
    axes[1].legend(loc="center right", bbox_to_anchor=(1.0, 0.52))
    axes[0].set_ylabel("absolute value")
    axes[1].set_ylabel("relative to the sum")
    axes[2].set_ylabel(r"deviation per state of $\hat\gamma$")


def _slope(ax: Axes, alpha: np.ndarray, height: float) -> None:
    """Draw a reference slope of order -1 from the left."""
    x = alpha[: len(alpha) // 3]
    ax.plot(x, height * x[0] / x, color=GREY, linestyle="--", label=r"$\alpha^{-1}$")


FIGURE = Figure(
    "vp-terms",
    "Drift and geometric terms as alpha vanishes in VP: cancellation and sampling error, with EDM",
    compute,
    plot,
    columns=3,
    aspect=0.85,
    claims=("vp-singularity", "edm-drift-vanishes", "edm-variance"),
)
