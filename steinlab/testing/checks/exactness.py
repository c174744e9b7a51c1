"""Exact answers: one-point data, scaled data, the end at zero noise."""

from __future__ import annotations

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.testing.bench import Bench

Found = dict[str, object]

FAR = 1000.0
"""Size of the second datum, so that what clips or thresholds shows."""


def rounding(bench: Bench, steps: int) -> float:
    """Return the rounding of a run, relative to the largest state: 32 units per step and term.

    The terms are the sum of absolute coefficients of the run, read off it; levels of a float32
    table are off by half a unit, which ``1 - kappa`` of short steps magnifies by their number.
    """
    size = bench.reading.size if bench.reading is not None and bench.reading.linear else 10.0
    return 32 * bench.eps * steps * max(size, 1.0)


def one_point(bench: Bench) -> Found:
    """A constant denoiser: the signal and the noise must be carried to the new level unchanged.

    ``x = alpha x* + sigma eps`` at every level, two data of size 1 and 1,000, with two signs of
    noise, on grids that end above and at zero noise, in every coordinate system that the subject
    has. Bound: :func:`rounding`, times the largest state.
    """
    worst, where = -1.0, ""
    data = np.array([1.0, FAR])[:, None] * np.array([[1.0, 1.0]])
    eps = np.array([[1.0, -1.0], [1.0, -1.0]])
    bound, cause = rounding(bench, 12), ""
    for process in bench.subject.processes:
        other = Bench(bench.subject, bench.declared, bench.seed, process)
        grids = [("above zero", other.grid("uneven", 12, wide=True), other.above)]
        if bench.ends_at_zero:
            grids.append(("at zero", other.grid("uneven", 12, wide=True, zero=True), bench.subject))
        for name, levels, subject in grids:
            s, t = levels[0], levels[-1]
            x = s.alpha * data + s.sigma * eps
            end = subject.run(lambda x, _l: data + 0.0 * x, x, levels).end
            scale = np.abs(data) + s.sigma
            gap = np.max(np.abs(end - t.alpha * data - t.sigma * eps) / scale, axis=1)
            one = float(np.max(gap)) if np.all(np.isfinite(gap)) else float("inf")
            if one > worst:
                worst, where = one, f"{process.name}, on a grid that ends {name}"
                cause = _unfinished(levels, end[0], data[0, 0])
                if gap[0] <= bound < gap[1]:
                    cause = (
                        "states or outputs are clipped: data of size 1 pass, of size 1,000 do not"
                    )
    return {
        "verdict": "ok" if worst <= bound else "fails",
        "text": f"{worst:.0e}" + ("" if worst <= bound else f" off ({where})"),
        "measured": worst,
        "bound": bound,
        "error": bench.eps,
        "cause": cause if worst > bound else "",
    }


def _unfinished(levels: Grid, end: np.ndarray, datum: float) -> str:
    """Say so where a run with a constant denoiser ends at an earlier level of its grid.

    ``end`` holds two states of one datum, whose noises have opposite signs.
    """
    alpha, sigma = float(end.mean()) / datum, float(end[0] - end[1]) / 2
    for back, level in enumerate(levels[-2:0:-1], 2):
        if max(abs(level.alpha - alpha), abs(level.sigma - sigma)) <= 1e-6 * max(1.0, level.sigma):
            return f"the run ends at sigmas[-{back}]: it takes no step from there to sigmas[-1]"
    return ""


def scale(bench: Bench) -> Found:
    """``f(c x, c sigma) = c f(x, sigma)`` where ``alpha = 1`` and the data are scaled too.

    Bound: :func:`rounding`.
    """
    assert bench.process is not None
    levels = bench.grid("uneven", 10)
    if any(level.alpha != 1.0 for level in levels):
        return {"verdict": "declined", "text": "the noise level is not free where alpha varies"}
    x, worst, at = bench.line_states(levels[0]), 0.0, 1.0
    plain = bench.subject.run(bench.line, x, levels).end
    for c in (2.0**-6, 2.0**6):
        scaled = tuple(NoiseLevel(1.0, c * level.sigma) for level in levels)

        def denoiser(y: np.ndarray, level: NoiseLevel, c: float = c) -> np.ndarray:
            return c * np.asarray(bench.line(y / c, NoiseLevel(1.0, level.sigma / c)))

        end = bench.subject.run(denoiser, c * x, scaled).end
        gap = float(np.max(np.abs(end / c - plain)) / np.max(np.abs(plain)))
        if not gap <= worst:
            worst, at = gap, c
    bound = 16 * rounding(bench, 10)
    wrong = not worst <= bound
    return {
        "verdict": "fails" if wrong else "ok",
        "text": f"{worst:.0e}" + (f" at scale {at:g}" if wrong else ""),
        "measured": worst,
        "bound": bound,
        "error": bench.eps,
        "cause": "something has a size of its own: a clip, a threshold, a time or a fixed sigma"
        if wrong
        else "",
    }


def end_at_zero(bench: Bench) -> Found:
    """Run to zero noise: finite, and ``D`` of the last call where that is declared."""
    if not bench.ends_at_zero:
        return {"verdict": "declined", "text": "declared, or made, to end above zero noise"}
    levels = bench.grid("uneven", 10, wide=True, zero=True)
    x = bench.gaussian_states(levels[0])
    run = bench.subject.run(bench.gaussian, x, levels)
    asked_zero = [k + 1 for k, call in enumerate(run.calls) if np.all(call.level.sigma == 0)]
    if not np.all(np.isfinite(run.end)):
        cause = "a logarithm or a quotient of sigma = 0 in the last step"
        return {"verdict": "fails", "text": "not finite", "cause": cause}
    if asked_zero:
        text = f"call {asked_zero[0]} asks the denoiser at zero noise"
        return {
            "verdict": "fails",
            "text": text,
            "cause": "an evaluation at sigma_next in the last step",
        }
    if bench.stochastic:
        return {"verdict": "ok", "text": "finite"}
    last = run.calls[-1].output
    gap = float(np.max(np.abs(run.end - last)) / np.max(np.abs(last)))
    returns = gap <= 64 * max(bench.eps, 2.0**-53)
    text = "returns D" if returns else f"finite, {gap:.0e} from D of the last call"
    wrong = bench.declared.returns_denoised is True and not returns
    return {
        "verdict": "fails" if wrong else "ok",
        "text": text,
        "measured": gap,
        "bound": 64 * bench.eps,
    }
