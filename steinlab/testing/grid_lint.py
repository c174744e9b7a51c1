"""The grid linter: what is wrong with a list of noise levels before any step is taken."""

import itertools
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.errors import InputError, quote
from steinlab.testing.rows import percent

LONG_END = 0.3
"""Sigma of the last level with noise above which its step to zero loses detail: a first-order step
from there leaves a Gaussian of deviation 0.5 short of 14 % of its spread."""

MISMATCH = 5e-3
"""Gap between the level that a network is told and the solver's, see :func:`apart`: an integer time
of a thousand is off by half of ``d log sigma / dt``, 0.2 to 0.5 %, an entry of its own table by
none."""

SHIFTS = (1.5, 2.0, 2.5, 3.0, 5.0, 7.0, 12.0, 13.0)
"""Flow shifts that models ship."""


@dataclass(frozen=True)
class Finding:
    """One thing wrong with a grid, the probable cause, and the mend.

    ``severity`` is ``fault`` or, where the grid may be meant so, ``note``.
    """

    kind: str
    severity: str
    text: str
    cause: str = ""
    mend: str = ""

    def as_json(self) -> dict[str, str]:
        """Return it as JSON."""
        return asdict(self)


def lint_grid(grid: Any, *, steps: int = 20, sigma_max: float | None = None) -> list[Finding]:
    """Return what is wrong with a grid: levels, sigmas, or a scheduler's own for ``steps`` steps.

    Parameters
    ----------
    grid : sequence of float or NoiseLevel, scheduler, factory of one, or subject
    steps : int
        Of a scheduler's grid.
    sigma_max : float, optional
        The noisiest level that the model was trained at.

    Examples
    --------
    >>> [finding.kind for finding in lint_grid([10.0, 1.0, 1.0, 0.1, 0.0])]
    ['repeated']
    >>> lint_grid([10.0, 1.0, 0.1, 0.0])
    []
    """
    told: list[tuple[int, float, float]] = []
    if not isinstance(grid, Sequence | np.ndarray) and not hasattr(grid, "tolist"):
        from steinlab.testing.adapters import as_subject

        subject = as_subject(grid)
        own = subject.own_grid(steps)
        if own is None:
            raise InputError(f"grid must be levels or make its own, got {type(grid).__name__}")
        told = subject.seen(steps) if hasattr(subject, "seen") else []
        grid = own
    sigmas, ratios = _numbers(grid)
    return [
        *_order(sigmas, ratios),
        *_zeros(sigmas),
        *_singles(sigmas),
        *_ends(sigmas, ratios, sigma_max),
        *_shift(sigmas),
        *mismatches(told),
    ]


def _numbers(grid: Any) -> tuple[list[float], list[float]]:
    values = list(grid.tolist() if hasattr(grid, "tolist") else grid)
    if len(values) < 2:
        raise InputError(f"grid must hold at least 2 levels, got {len(values)}")
    try:
        pairs = [
            (float(v.sigma), float(v.ratio)) if isinstance(v, NoiseLevel) else (float(v),) * 2
            for v in values
        ]
    except (TypeError, ValueError):
        raise InputError(f"grid must hold numbers, got {quote(values)}") from None
    for i, (sigma, _) in enumerate(pairs):
        if not (math.isfinite(sigma) and sigma >= 0):
            raise InputError(f"level {i + 1} of the grid must be finite and >= 0, got {sigma}")
    return [a for a, _ in pairs], [b for _, b in pairs]


def _fault(kind: str, text: str, cause: str, mend: str) -> Finding:
    return Finding(kind, "fault", text, cause, mend)


def _order(sigmas: list[float], ratios: list[float]) -> list[Finding]:
    out = []
    rising = [i for i, (a, b) in enumerate(itertools.pairwise(ratios)) if b > a]
    if rising and len(rising) == len(ratios) - 1:
        text = "levels rise from data to noise"
        return [_fault("rising", text, "the grid is reversed", "reverse it")]
    if rising:
        i = rising[0]
        text = f"level {i + 2}, {sigmas[i + 1]:.6g}, is noisier than {sigmas[i]:.6g} before it"
        out.append(_fault("rising", text, "two grids joined, or a restart", "sort it"))
    repeats = [i for i, (a, b) in enumerate(itertools.pairwise(ratios)) if a == b and a > 0]
    if repeats:
        i = repeats[0]
        last = i + 2 == len(ratios) or (i + 3 == len(ratios) and ratios[-1] == 0)
        more = f", {len(repeats)} repeats in all" if len(repeats) > 1 else ""
        text = f"levels {i + 1} and {i + 2} are both {sigmas[i]:.6g}{more}: a wasted evaluation"
        appended = "the last level is appended to a grid that holds it"
        cause = appended if last else "times rounded to integers meet"
        out.append(_fault("repeated", text, cause, "drop the second"))
    return out


def _zeros(sigmas: list[float]) -> list[Finding]:
    zeros = [i for i, s in enumerate(sigmas) if s == 0]
    if len(zeros) > 1:
        text = f"zero noise stands {len(zeros)} times"
        cause = "zero is appended to a grid that ends with it"
        return [_fault("doubled-zero", text, cause, "drop all but one")]
    if zeros:
        return []  # one that is not the last is said by the order
    if sigmas[-1] < 1e-4 * sigmas[0] and sigmas[-1] < 1e-6:
        text, cause = f"the last level is {sigmas[-1]:.3g}, not zero", "a guard against log 0"
        return [Finding("missed-zero", "note", text, cause, "end at 0")]
    text = f"the grid ends at {sigmas[-1]:.4g}, above zero noise"
    mend = "append 0 if the sampler does not"
    return [Finding("missed-zero", "note", text, "zero is not appended", mend)]


def _singles(sigmas: list[float]) -> list[Finding]:
    with np.errstate(over="ignore"):  # infinite, and so one number, where float32 ends
        single = np.asarray(sigmas, dtype=np.float32)
    pairs = enumerate(itertools.pairwise(sigmas))
    at = [i for i, (a, b) in pairs if a != b and single[i] == single[i + 1]]
    if not at:
        return []
    text = f"levels {at[0] + 1} and {at[0] + 2} differ in float64 and are one number in float32"
    cause = "steps below float32's resolution"
    return [_fault("float32-collision", text, cause, "use fewer steps")]


def _ends(sigmas: list[float], ratios: list[float], sigma_max: float | None) -> list[Finding]:
    out = []
    if sigma_max is not None and sigmas[0] < 0.999 * sigma_max:
        text = f"the first level is {sigmas[0]:.5g}, the model's noisiest {sigma_max:.5g}"
        cause = "leading spacing, or a grid made for another model"
        out.append(_fault("low-start", text, cause, "start at the model's noisiest level"))
    if len(sigmas) > 2 and sigmas[-1] == 0 and ratios[-2] > LONG_END:
        text = f"the last step goes from {sigmas[-2]:.4g} to zero at once"
        cause = "a level dropped at the end, or a shift meant for a longer grid"
        out.append(Finding("long-last-step", "note", text, cause, "add levels below it"))
    return out


def _shift(sigmas: list[float]) -> list[Finding]:
    """Fit an even grid of a flow shifted by ``s``, ``s u / (1 + (s - 1) u)``, ``s`` a square.

    An honest shift of a square, such as 4, cannot be told: only squares of shipped shifts count.
    """
    values = np.array([s for s in sigmas if s > 0])
    if len(values) < 5 or values[0] > 1.0 + 1e-9 or np.any(np.diff(values) >= 0):
        return []

    def unevenness(s: float) -> float:
        gaps = np.diff(values / (s - (s - 1) * values))
        return float(np.ptp(gaps) / np.abs(gaps).mean())

    found = [s for s in SHIFTS if unevenness(s * s) < 1e-2 < unevenness(s)]
    return [
        _fault(
            "shift-twice",
            f"an even grid shifted by {s * s:.4g} = {s:g} x {s:g}",
            "the shift is applied twice",
            "shift once, in the grid or in the scheduler",
        )
        for s in found[:1]
    ]


def apart(told: float, assumed: float) -> float:
    """Return how far two ratios ``sigma / alpha`` are apart, relative to the angle of the second.

    The angle ``arctan(sigma / alpha)`` goes from 0 to 90 degrees. A quotient of ratios would call
    999 and 2,997 far apart, where the signal is a thousandth of the state and less.
    """
    return abs(math.atan(told) - math.atan(assumed)) / math.atan(assumed)


def mismatches(told: Sequence[tuple[int, float, float]]) -> list[Finding]:
    """Compare the level that a network is told with the solver's, per call."""
    off = [(apart(a, b), i, a, b) for i, a, b in told if b > 0]
    if not off:
        return []
    worst, i, a, b = max(off)
    if worst <= MISMATCH:
        return []
    text = f"call {i + 1} tells the network {a:.4g}, the solver assumes {b:.4g}"
    cause, mend = "sigma is turned into an integer time", "interpolate the time, or take its sigma"
    return [_fault("level-mismatch", f"{text}: {percent(worst)} apart", cause, mend)]
