"""Conduct: the same answer twice, from the middle of a grid, and in single precision."""

import itertools
from contextlib import nullcontext

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.testing import noise
from steinlab.testing.bench import EPS, Bench
from steinlab.testing.rows import Found, declined, judged
from steinlab.testing.subject import Run, SubjectError


def deterministic(bench: Bench) -> Found:
    """Run, run on other levels and states, run again: every bit must be as before.

    A stochastic subject is judged under a fixed source of noise. A scheduler runs as one object,
    its timesteps set anew, too.
    """
    if bench.stochastic and bench.draws == "own":
        return declined("draws from a source of its own")
    levels = bench.grid("uneven", 8)
    other = bench.grid("even", 5, wide=True)

    def run(grid: Grid) -> np.ndarray:
        start = grid[0].alpha * np.linspace(-2.0, 2.0, 9)[:, None]
        if not bench.stochastic:
            return bench.subject.run(bench.line, start, grid).end
        with noise.answered(noise.Seeded(7)):
            return bench.subject.run(bench.line, start, grid).end

    first = run(levels)
    draws = "it draws random numbers (law=True judges it by law), or keeps its history between runs"
    found = _same(first, run(levels), "two runs differ", draws)
    if found["verdict"] == "fails":
        return found
    run(other)
    found = _same(first, run(levels), "after another run the same run differs")
    if found["verdict"] == "ok" and bench.subject.kind == "scheduler" and not bench.stochastic:
        return _one_object(bench)
    return found


def _same(
    a: np.ndarray, b: np.ndarray, what: str, cause: str = "history kept between runs"
) -> Found:
    equal = np.array_equal(a, b, equal_nan=True)
    gap = 0.0 if equal else float(np.max(np.abs(a - b)))
    return judged(equal, "to the bit" if equal else f"{what} by {gap:.1e}", gap, 0.0, cause=cause)


def _one_object(bench: Bench) -> Found:
    subject = bench.subject
    own = subject.own_grid(10)
    assert own is not None
    x = np.hypot(own[0].alpha, own[0].sigma) * np.linspace(-2.0, 2.0, 9)[:, None]
    scheduler = subject.prepared(own)  # type: ignore[attr-defined]

    def run() -> Run:
        return subject.run_with(scheduler, bench.line, x, own, dtype="float32")  # type: ignore[attr-defined,no-any-return]

    first = run().end
    scheduler.set_timesteps(10)
    return _same(first, run().end, "one object used again differs")


def batch(bench: Bench) -> Found:
    """Run nine states together and three of them alone: a state does not depend on its neighbours.

    Bound: 64 units of the largest state and step, since sums may be taken in another order.
    """
    levels = bench.grid("uneven", 6)
    x = bench.line_states(levels[0])
    whole = bench.subject.run(bench.line, x, levels).end
    alone = np.concatenate(
        [bench.subject.run(bench.line, x[k : k + 1], levels).end for k in (0, 4, 8)]
    )
    gap = float(np.max(np.abs(whole[[0, 4, 8]] - alone)) / np.max(np.abs(whole)))
    bound = 64 * 6 * bench.eps
    fails = not gap <= bound
    return judged(
        not fails,
        f"{gap:.0e} from one at a time",
        gap,
        bound,
        bench.eps,
        cause="a mean, a norm or a step length is taken over the batch",
    )


def _remembers(bench: Bench) -> bool:
    """Whether a step uses outputs of steps before it, or its coefficients cannot be read."""
    reading = bench.reading
    firsts = reading.first_calls() if reading is not None and reading.linear else None
    if reading is None or firsts is None:
        return True
    for here, after in itertools.pairwise([*firsts, len(reading.rows) - 1]):
        row, end = reading.rows[here], reading.rows[after]
        past = slice(0, here + 1)
        rest = end[past] - end[0] / row[0] * row[past] if row[0] else end[past]
        if np.max(np.abs(rest)) > 1e-6 * np.max(np.abs(end)):
            return True
    return False


def midway(bench: Bench) -> Found:
    """Start in the middle of a grid, as picture-to-picture does, within thrice Euler's error.

    A run that takes a past for granted that is not there errs by more than the first-order method
    from the same state. Gaussian data, starts at a third and at four fifths of fifteen steps, and
    with two steps and one left: a run that short must run at all.
    """
    grid = bench.grid("uneven", 15, wide=True)
    worst = 0.0
    for begin in (5, 12, 13, 14):
        levels = grid[begin:]
        x = bench.gaussian_states(levels[0])
        exact = bench.gaussian_end(x, levels[0], levels[-1])
        euler = np.max(np.abs(np.asarray(solve(bench.gaussian, x, levels, EULER).state) - exact))
        try:
            end = bench.above.run(bench.gaussian, x, levels).end
        except SubjectError as error:
            if bench.subject.kind == "scheduler":
                return declined(str(error))
            return judged(
                False, str(error), cause=f"it takes a run to have more than {15 - begin} steps"
            )
        share = float(np.max(np.abs(end - exact)) / (euler + 100 * bench.eps))
        worst = max(worst, share if np.isfinite(share) else np.inf)
    fails = not worst <= MIDWAY
    return judged(
        not fails,
        f"{worst:.2g} of Euler's error" + (f"; at most {MIDWAY:g}" if fails else ""),
        worst,
        MIDWAY,
        cause="a history is assumed that is not there" if fails and _remembers(bench) else "",
    )


MIDWAY = 3.0
"""Largest error of a short run, in errors of Euler's method on the same levels."""


def _single(levels: Grid) -> Grid:
    """Return levels rounded to float32."""
    return tuple(
        NoiseLevel(float(np.float32(one.alpha)), float(np.float32(one.sigma))) for one in levels
    )


def dtype(bench: Bench) -> Found:
    """Return states in the dtype that was given, and keep float64 inside.

    Inside: float64 levels rounded to float32 show on one-point data, whose error is then about a
    unit of float32 and not of float64.
    """
    levels = bench.grid("uneven", 6)
    found = {}
    for name in ("float64", "float32"):
        rounded = levels if name == "float64" else _single(levels)
        x = bench.line_states(rounded[0])
        with noise.answered(noise.Seeded(1)) if bench.stochastic else nullcontext():
            found[name] = bench.subject.run(bench.line, x, rounded, dtype=name).dtype
    wrong = [f"{given} gives {got}" for given, got in found.items() if given != got]
    if wrong:
        return judged(False, "; ".join(wrong), cause="states are cast to another dtype")
    if not bench.stochastic and bench.eps > 1e-12:
        text = "float64 in and out, but rounded to float32 inside"
        return judged(
            False,
            text,
            EPS["float32"],
            EPS["float64"],
            cause="coefficients or levels are formed in float32",
        )
    return judged(True, "float64 and float32")


UNITS = 16.0
"""Units of float32 per step that are allowed: each step rounds its state, its coefficients and the
logarithms of its levels, about four roundings of at most ``|log sigma|`` units each."""


def float32(bench: Bench) -> Found:
    """Lose no more than some units of ``2^-24`` per step against the same run in float64.

    The levels and the start are rounded to float32 first, and given to both. Bound: ``16 n`` units
    of the largest state times the coefficients' size, for ``n`` of 20 and 100 steps.
    """
    worst, bound_at, at, units = -1.0, 1.0, 0, 0.0
    size = bench.reading.size if bench.reading is not None and bench.reading.linear else 10.0
    for n in (20, 100):
        levels = _single(bench.grid("uneven", n, wide=True))
        x = bench.gaussian_states(levels[0]).astype(np.float32).astype(np.float64)
        full = bench.above.run(bench.gaussian, x, levels).end
        single = bench.above.run(bench.gaussian, x, levels, dtype="float32").end
        loss = float(np.max(np.abs(single - full)) / max(np.max(np.abs(full)), 1.0))
        bound = UNITS * n * EPS["float32"] * max(size / bench.wide[0], 1.0)
        if not np.isfinite(loss) or loss / bound > worst:
            worst = loss / bound if np.isfinite(loss) else float("inf")
            units, at, bound_at = loss / EPS["float32"], n, bound
    fails = not worst <= 1
    return judged(
        not fails,
        f"{units:.0f} units at {at} steps",
        units * EPS["float32"],
        bound_at,
        EPS["float32"],
        cause="coefficients by cancellation in float32",
    )
