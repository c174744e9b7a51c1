"""A scheduler on the grids that it makes itself: levels, rounding, starts midway."""

from typing import Any

import numpy as np

from steinlab.diffusion.grids import Grid
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.testing.bench import EPS, Bench
from steinlab.testing.checks.conduct import MIDWAY, UNITS
from steinlab.testing.grid_lint import MISMATCH, apart, lint_grid, mismatches
from steinlab.testing.rows import Found, declined, judged, percent
from steinlab.testing.subject import SubjectError

REACHED = 3e-3
"""Relative gap between the level that a state has reached and the one asked next that counts:
float32
sums of a run of twenty steps stay below ``1e-3``."""


def network(bench: Bench) -> Found:
    """Compare the level that a network is told by the timestep with the level of the solver."""
    told: list[tuple[int, float, float]] = bench.subject.seen(20)  # type: ignore[attr-defined]
    if not told:
        return declined("levels are entries of its own table")
    worst = max((apart(a, b) for _, a, b in told if b > 0), default=0.0)
    found = mismatches(told)
    return judged(
        not found,
        found[0].text if found else f"{percent(worst)} apart at most",
        worst,
        MISMATCH,
        cause=found[0].cause if found else "",
    )


def linted(bench: Bench) -> Found:
    """Look for repeated, rising and missing levels on the grid that it ships."""
    own = bench.subject.own_grid(20)
    faults = [one for one in lint_grid(own) if one.severity == "fault"]
    if not faults:
        return judged(True, "no repeated or rising level")
    return judged(False, "; ".join(f.text for f in faults), cause=faults[0].cause)


def _start(grid: Grid) -> np.ndarray:
    size = float(np.hypot(grid[0].alpha, grid[0].sigma))
    return np.asarray(size * np.linspace(-2.0, 2.0, 9)[:, None])


def finite(bench: Bench) -> Found:
    """Run a mixture over its own grids of 5, 10, 20 and 50 steps: every state is a number."""
    wrong = []
    for steps in (5, 10, 20, 50):
        own = bench.subject.own_grid(steps)
        assert own is not None
        end = bench.subject.run(bench.line, _start(own), own, dtype="float32").end
        if not np.all(np.isfinite(end)):
            wrong.append(steps)
    if not wrong:
        return judged(True, "5, 10, 20 and 50 steps")
    last = bench.subject.own_grid(wrong[0])
    assert last is not None
    cause = "a logarithm or a quotient of its final sigma = 0" if last[-1].sigma == 0 else ""
    return judged(False, f"not finite at {', '.join(map(str, wrong))} steps", cause=cause)


def _gaps(bench: Bench, steps: int, begin: int = 0) -> tuple[list[float], list[str]]:
    subject: Any = bench.subject
    own = subject.own_grid(steps, begin=begin)
    run, carried = bench.carried(bench.subject, own)
    gaps, texts = [], []
    asked = [(f"call {k + 1}", call.level) for k, call in enumerate(run.calls)]
    for (who, level), (alpha, sigma) in zip([*asked, ("the end", own[-1])], carried, strict=True):
        gap = abs(sigma - level.sigma) / max(level.sigma, 1e-3) if level.alpha > 1e-3 else 0.0
        lost = abs(alpha - level.alpha)
        gaps.append(float(max(gap, lost)))
        pairs = ("alpha", level.alpha, alpha) if lost > gap else ("sigma", level.sigma, sigma)
        texts.append("{} is at {} {:.4g}, its state at {:.4g}".format(who, *pairs))
    return gaps, texts


def levels(bench: Bench) -> Found:
    """Compare the level that each state has reached with the level asked next, on its own grid."""
    (gaps, texts), (more, others) = _gaps(bench, 20), _gaps(bench, 30)
    gaps, texts = gaps + more, texts + others
    worst = int(np.nanargmax([g if np.isfinite(g) else np.inf for g in gaps]))
    fails = not gaps[worst] <= REACHED
    return judged(
        not fails,
        (f"{texts[worst]}: {percent(gaps[worst])} apart" if fails else f"{gaps[worst]:.0e}"),
        gaps[worst],
        REACHED,
        cause="a step goes to a level that the next call is not asked at",
    )


def drift(bench: Bench) -> Found:
    """Lose no more than 16 units of float32 per step on its own grid of 20, 100, 500 and 999 steps.

    Against the same levels injected in float64. The bound grows with the number of steps.
    """
    subject: Any = bench.subject
    seen: dict[int, float] = {}
    for steps in (20, 100, 500, 999):
        try:
            own = subject.own_grid(steps)
            assert own is not None
            x = _start(own).astype(np.float32).astype(np.float64)
            single = subject.run(bench.line, x, own, dtype="float32").end
            full = subject.run(bench.line, x, tuple(own)).end
        except SubjectError as error:
            if not seen:
                return declined(str(error))
            break
        seen[steps] = float(np.max(np.abs(single - full)))
        if not np.isfinite(seen[steps]):
            return declined("not finite: said above")
    first = seen[20]
    text = f"{', '.join(f'{e:.0e}' for e in seen.values())} at {', '.join(map(str, seen))} steps"
    if first > 1e-2 and max(seen.values()) < 3 * first:
        return declined(f"its steps are not those of its levels: {text}")
    own = subject.own_grid(20)
    amplified = 30.0 if own[0].alpha < 1e-2 else 3.0
    excess = {n: e / (UNITS * n * EPS["float32"] * amplified) for n, e in seen.items()}
    worst = max((n for n in excess if n > 20), key=lambda n: excess[n], default=20)
    fails = excess[worst] > 1
    return judged(
        not fails,
        text,
        seen[worst],
        seen[worst] / excess[worst] if excess[worst] else None,
        EPS["float32"],
        cause="coefficients by cancellation in float32, worse with more steps",
    )


def midway(bench: Bench) -> Found:
    """Start its own grid of thirty steps midway, exact on one point, within thrice Euler's error.

    Weights of outputs that are not there do not sum to what is due: one-point data show it by more
    than the ``3e-3`` of the levels reached, if Gaussian data do not.
    """
    subject: Any = bench.subject
    worst, at = 0.0, 0
    for begin in (15, 24, 27):
        own = subject.own_grid(30, begin=begin) if subject.kind == "scheduler" else None
        if own is None or len(own) < 3:
            return declined("cannot be started midway")
        levels = tuple(
            level for i, level in enumerate(own) if i == 0 or level.ratio < own[i - 1].ratio
        )
        x = bench.gaussian_states(levels[0])
        exact = bench.gaussian_end(x, levels[0], levels[-1])
        euler = np.max(np.abs(np.asarray(solve(bench.gaussian, x, levels, EULER).state) - exact))
        try:
            gaps, texts = _gaps(bench, 30, begin)
            end = subject.run(bench.gaussian, x, own, dtype="float32").end
        except SubjectError as error:
            return declined(str(error))
        k = int(np.nanargmax(gaps)) if np.any(np.isfinite(gaps)) else 0
        if gaps[k] > REACHED and not np.max(_gaps(bench, 30)[0]) > REACHED:
            return judged(
                False,
                f"begun at step {begin + 1} of 30, {texts[k]}",
                gaps[k],
                REACHED,
                cause="a history is assumed that is not there",
            )
        share = float(np.max(np.abs(end - exact)) / (euler + 1e-4))
        if not share <= worst:
            worst, at = share, 30 - begin
    fails = not worst <= MIDWAY
    return judged(
        not fails,
        f"{worst:.2g} of Euler's error" + (f" with {at} of 30 steps left" if fails else ""),
        worst,
        MIDWAY,
        cause="a history is assumed that is not there",
    )
