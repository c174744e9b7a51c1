"""Exact answers: one-point data, scaled data, the end at zero noise."""

import itertools

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.testing.bench import Bench
from steinlab.testing.checks.orders import wanted
from steinlab.testing.rows import Found, declined, judged
from steinlab.testing.subject import LEAST

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

    ``x = alpha x* + sigma eps`` at every level, data of 1, 4/3 and 1,000, with two signs of noise,
    on grids of 12 steps and of 1, 2 and 3, that end above and at zero noise, in every coordinate
    system that the subject has. Bound: :func:`rounding`, times the largest state.
    """
    worst, where = -1.0, ""
    data = np.array([1.0, 4 / 3, FAR])[:, None] * np.ones(2)
    eps = np.array([1.0, -1.0]) * np.ones((3, 1))
    bound, cause = rounding(bench, 12), ""
    for process in bench.subject.processes:
        other = Bench(bench.subject, bench.declared, bench.seed, process)
        for steps, zero in itertools.product((12, 3, 2, 1), (False, True)):
            if (zero and not bench.ends_at_zero) or (
                steps < 12 and bench.subject.kind == "scheduler"
            ):
                continue
            levels = other.grid("uneven", steps, wide=True, zero=zero)
            subject = bench.subject if zero else other.above
            s, t = levels[0], levels[-1]
            x = s.alpha * data + s.sigma * eps
            run = subject.run(lambda x, _l: data + 0.0 * x, x, levels)
            end = run.end
            if bench.subject.kind == "velocity" and any(c.level.sigma <= LEAST for c in run.calls):
                continue  # no velocity carries noise to zero
            scale = np.abs(data) + s.sigma
            gap = np.max(np.abs(end - t.alpha * data - t.sigma * eps) / scale, axis=1)
            one = float(np.max(gap)) if np.all(np.isfinite(gap)) else float("inf")
            if one > worst and worst <= bound:  # the first grid that fails names the cause
                end_is = "at" if zero else "above"
                worst = one
                where = f"{process.name}, on a grid of {steps} steps that ends {end_is} zero"
                cause = _unfinished(levels, end[0], data[0, 0])
                if gap[0] <= bound < gap[1]:
                    cause = "outputs are rounded inside: data of 1 pass, of 4/3 do not"
                elif gap[0] <= bound < gap[2]:
                    cause = "states or outputs are clipped: data of 1 pass, of 1,000 do not"
    if worst > bound and (limit := in_the_limit(bench)):
        return declined(limit)
    return judged(
        worst <= bound,
        f"{worst:.0e}" + ("" if worst <= bound else f" off ({where})"),
        worst,
        bound,
        bench.eps,
        cause=cause,
    )


def in_the_limit(bench: Bench) -> str:
    """Say so where one-point data are met in the limit, as fast as the method's order tells.

    A Runge-Kutta method in ``log sigma`` carries the noise to its own order, not exactly. What it
    misses must fall with the steps as the order asked, two at least, or with the tolerance. Empty
    otherwise.
    """
    if bench.stochastic or bench.subject.kind == "scheduler":
        return ""
    if bench.takes_tolerance:
        sizes: tuple[float, ...] = (1e-2, 1e-4, 1e-6)
        subjects = [bench.subject.at_tolerance(one) for one in sizes]  # type: ignore[attr-defined]
        grids, least = [bench.grid("uneven", 4, wide=True)] * 3, 0.4
        at = "at tolerances 1e-2, 1e-4, 1e-6"
    else:
        order = wanted(bench)
        if order < 2:
            return ""
        counts = (24, 48, 96)
        sizes, subjects = tuple(1 / n for n in counts), [bench.above] * 3
        grids, least = [bench.grid("uneven", n, wide=True) for n in counts], order - 0.3
        at = "at 24, 48, 96 steps"
    gaps = []
    for subject, levels in zip(subjects, grids, strict=True):
        end = bench.carried(subject, levels)[1][-1]
        due = np.array([levels[-1].alpha, levels[-1].sigma])
        gaps.append(float(np.max(np.abs(end - due)) / np.max(np.abs(due))))
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.diff(np.log(gaps)) / np.diff(np.log(sizes))
    if not np.all(slopes >= least):
        return ""
    return f"met in the limit only: {', '.join(f'{gap:.0e}' for gap in gaps)} off {at}"


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
        return declined("the noise level is not free where alpha varies")
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
    return judged(
        not wrong,
        f"{worst:.0e}" + (f" at scale {at:g}" if wrong else ""),
        worst,
        bound,
        bench.eps,
        cause="something has a size of its own: a clip, a threshold, a time or a fixed sigma",
    )


def end_at_zero(bench: Bench) -> Found:
    """Run to zero noise: finite, and ``D`` of the last call where that is declared."""
    if not bench.ends_at_zero:
        general = "asks for the velocity at zero noise: a general ODE solver"
        made = "declared, or made, to end above zero noise"
        return declined(general if bench.asks_at_zero else made)
    levels = bench.grid("uneven", 10, wide=True, zero=True)
    x = bench.gaussian_states(levels[0])
    run = bench.subject.run(bench.gaussian, x, levels)
    asked_zero = [k + 1 for k, call in enumerate(run.calls) if np.all(call.level.sigma == 0)]
    if not np.all(np.isfinite(run.end)):
        cause = "a logarithm or a quotient of sigma = 0 in the last step"
        return judged(False, "not finite", cause=cause)
    if asked_zero:
        text = f"call {asked_zero[0]} asks the denoiser at zero noise"
        return judged(False, text, cause="an evaluation at sigma_next in the last step")
    if bench.stochastic:
        if bench.draws == "own":
            return judged(True, "finite")
        left = float(bench.carried(bench.subject, levels)[1][-1][1])
        bound = rounding(bench, 10)
        text = "finite" if left <= bound else f"noise of size {left:.2g} is left at zero noise"
        return judged(left <= bound, text, left, bound, cause="noise is added in the last step")
    last = run.calls[-1].output
    gap = float(np.max(np.abs(run.end - last)) / np.max(np.abs(last)))
    returns = gap <= 64 * max(bench.eps, 2.0**-53)
    text = "returns D" if returns else f"finite, {gap:.0e} from D of the last call"
    wrong = bench.declared.returns_denoised is True and not returns
    return judged(not wrong, text, gap, 64 * bench.eps)
