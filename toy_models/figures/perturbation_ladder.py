"""The perturbation bound against the dialled score error: every point below one line."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import numpy as np

from toy_models.ladder import KINDS, SIZES, climb

Data = Mapping[str, np.ndarray]

STYLES: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "Fourier": ("#0072B2", "o"),
        "bias": ("#E69F00", "s"),
        "ripple": ("#009E73", "^"),
        "over-smoothed": ("#CC79A7", "v"),
        "under-smoothed": ("#56B4E9", "D"),
    }
)
"""Colour (Okabe and Ito's palette) and marker of each kind of error."""

FLOOR = 1e-12
"""Deviations drawn; what lies below is 0 by symmetry, and only its rounding is left."""


def compute(
    sizes: tuple[float, ...] = SIZES, kinds: tuple[str, ...] = tuple(KINDS)
) -> dict[str, np.ndarray]:
    """Return the ladder's points as arrays ``(P,)``.

    ``error`` is ``sigma sqrt F``, ``deviation`` is ``|gamma_tilde - gamma_q| sigma / C`` with
    ``deviation_error``; ``violated`` and ``undecided`` count both forms of the bound.
    """
    points = climb(sizes, kinds)
    compared = points.compared()
    return {
        **{name: getattr(points, name) for name in ("kind", "solver", "law", "process", "size")},
        "error": points.error,
        "deviation": points.deviation,
        "deviation_error": points.deviation_error,
        "tightness": points.tightness,
        "violated": compared.violated.reshape(-1, 2).any(axis=1),
        "undecided": ~compared.decided.reshape(-1, 2).all(axis=1),
    }


def plot(ax: Any, data: Data) -> None:
    """Draw measured deviations with their errors, and the bound as a line, on logarithmic axes."""
    ends = np.array([data["error"].min(), data["error"].max()])
    ax.plot(ends, ends, color="black", lw=1, label="bound", zorder=3)
    for kind, (colour, marker) in STYLES.items():
        own = (data["kind"] == kind) & (data["deviation"] > FLOOR)
        if not own.any():
            continue
        middle = np.median(data["tightness"][data["kind"] == kind])
        ax.errorbar(
            data["error"][own],
            data["deviation"][own],
            yerr=np.minimum(data["deviation_error"][own], 0.9 * data["deviation"][own]),
            fmt=marker,
            color=colour,
            ms=2.5,
            lw=0.5,
            mew=0,
            alpha=0.6,
            label=f"{kind} (median {middle:.0%} of it)",
        )
    ax.set(xscale="log", yscale="log")
    ax.set_xlabel(r"score error $\sigma\sqrt{F}$ (units of $1/\sigma$)")
    ax.set_ylabel(r"$|\tilde\gamma - \gamma_q|\,\sigma/C$ (same units)")
    ax.legend(fontsize="x-small", frameon=False)
