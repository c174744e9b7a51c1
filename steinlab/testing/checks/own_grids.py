"""A scheduler on the grids that it makes itself: levels, rounding, starts midway."""

from __future__ import annotations

from typing import Any

import numpy as np

from steinlab.diffusion.grids import Grid
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.testing.bench import EPS, Bench
from steinlab.testing.checks.conduct import MIDWAY, UNITS
from steinlab.testing.grid_lint import MISMATCH, lint_grid, mismatches
from steinlab.testing.subject import SubjectError

Found = dict[str, object]

REACHED = 3e-3
"""Relative gap between the level that a state has reached and the one asked next that counts:
float32
sums of a run of twenty steps stay below ``1e-3``."""


def network(bench: Bench) -> Found:
    """Compare the level that a network is told by the timestep with the level of the solver."""
    told: list[tuple[int, float, float]] = bench.subject.seen(20)  # type: ignore[attr-defined]
    if not told:
        return {"verdict": "declined", "text": "levels are entries of its own table"}
    worst = max((abs(a / b - 1) for _, a, b in told if 0 < b < 1e6), default=0.0)
    found = mismatches(told)
    return {
        "verdict": "fails" if found else "ok",
        "text": found[0].text if found else f"{100 * worst:.2g} % apart at most",
        "measured": worst,
        "bound": MISMATCH,
        "cause": found[0].cause if found else "",
    }


def linted(bench: Bench) -> Found:
    """Look for repeated, rising and missing levels on the grid that it ships."""
    own = bench.subject.own_grid(20)
    faults = [one for one in lint_grid(own) if one.severity == "fault"]
    if not faults:
        return {"verdict": "ok", "text": "no repeated or rising level"}
    return {"verdict": "fails", "text": "; ".join(f.text for f in faults), "cause": faults[0].cause}


def _start(grid: Grid) -> np.ndarray:
    return np.hypot(grid[0].alpha, grid[0].sigma) * np.linspace(-2.0, 2.0, 9)[:, None]


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
        return {"verdict": "ok", "text": "5, 10, 20 and 50 steps"}
    last = bench.subject.own_grid(wrong[0])
    assert last is not None
    cause = "a logarithm or a quotient of its final sigma = 0" if last[-1].sigma == 0 else ""
    return {
        "verdict": "fails",
        "text": f"not finite at {', '.join(map(str, wrong))} steps",
        "cause": cause,
    }


def _gaps(bench: Bench, steps: int, begin: int = 0) -> tuple[list[float], list[str]]:
    subject: Any = bench.subject
    own = subject.own_grid(steps, begin=begin)
    run, carried = bench.carried(bench.subject, own)
    gaps, texts = [], []
    asked = [(f"call {k + 1}", call.level) for k, call in enumerate(run.calls)]
    for (who, level), (alpha, sigma) in zip([*asked, ("the end", own[-1])], carried, strict=True):
        gap = abs(sigma - level.sigma) / max(level.sigma, 1e-3) if level.alpha > 1e-3 else 0.0
        gap = max(gap, abs(alpha - level.alpha))
        gaps.append(float(gap))
        texts.append(f"{who} is at sigma {level.sigma:.4g}, its state at {sigma:.4g}")
    return gaps, texts


def levels(bench: Bench) -> Found:
    """Compare the level that each state has reached with the level asked next, on its own grid."""
    if bench.stochastic:
        return {"verdict": "declined", "text": "draws noise: judged by law"}
    gaps, texts = (a + b for a, b in zip(_gaps(bench, 20), _gaps(bench, 30), strict=True))
    worst = int(np.nanargmax([g if np.isfinite(g) else np.inf for g in gaps]))
    fails = not gaps[worst] <= REACHED
    return {
        "verdict": "fails" if fails else "ok",
        "text": f"{texts[worst]}: {100 * gaps[worst]:.2g} % apart"
        if fails
        else f"{gaps[worst]:.0e}",
        "measured": gaps[worst],
        "bound": REACHED,
        "cause": "a step goes to a level that the next call is not asked at" if fails else "",
    }


def drift(bench: Bench) -> Found:
    """Lose no more than 16 units of float32 per step on its own grid of 20, 100, 500 and 999 steps.

    Against the same levels injected in float64. The bound grows with the number of steps.
    """
    if bench.stochastic:
        return {"verdict": "declined", "text": "draws noise: judged by law"}
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
                return {"verdict": "declined", "text": str(error)}
            break
        seen[steps] = float(np.max(np.abs(single - full)))
        if not np.isfinite(seen[steps]):
            return {"verdict": "declined", "text": "not finite: said above"}
    first = seen[20]
    text = f"{', '.join(f'{e:.0e}' for e in seen.values())} at {', '.join(map(str, seen))} steps"
    if first > 1e-2 and max(seen.values()) < 3 * first:
        return {"verdict": "declined", "text": f"its steps are not those of its levels: {text}"}
    own = subject.own_grid(20)
    amplified = 30.0 if own[0].alpha < 1e-2 else 3.0
    excess = {n: e / (UNITS * n * EPS["float32"] * amplified) for n, e in seen.items()}
    worst = max((n for n in excess if n > 20), key=lambda n: excess[n], default=20)
    fails = excess[worst] > 1
    return {
        "verdict": "fails" if fails else "ok",
        "text": text,
        "measured": seen[worst],
        "bound": seen[worst] / excess[worst] if excess[worst] else None,
        "error": EPS["float32"],
        "cause": "coefficients by cancellation in float32, worse with more steps" if fails else "",
    }


def midway(bench: Bench) -> Found:
    """Start its own grid of thirty steps midway, exact on one point, within thrice Euler's error.

    Weights of outputs that are not there do not sum to what is due: one-point data show it by more
    than the ``3e-3`` of the levels reached, if Gaussian data do not.
    """
    if bench.stochastic:
        return {"verdict": "declined", "text": "draws noise: judged by law"}
    subject: Any = bench.subject
    worst, at = 0.0, 0
    for begin in (15, 24, 27):
        own = subject.own_grid(30, begin=begin) if subject.kind == "scheduler" else None
        if own is None or len(own) < 3:
            return {"verdict": "declined", "text": "cannot be started midway"}
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
            return {"verdict": "declined", "text": str(error)}
        k = int(np.nanargmax(gaps)) if np.any(np.isfinite(gaps)) else 0
        if gaps[k] > REACHED and not np.max(_gaps(bench, 30)[0]) > REACHED:
            return {
                "verdict": "fails",
                "text": f"begun at step {begin + 1} of 30, {texts[k]}",
                "measured": gaps[k],
                "bound": REACHED,
                "cause": "a history is assumed that is not there",
            }
        share = float(np.max(np.abs(end - exact)) / (euler + 1e-4))
        if not share <= worst:
            worst, at = share, 30 - begin
    fails = not worst <= MIDWAY
    return {
        "verdict": "fails" if fails else "ok",
        "text": f"{worst:.2g} of Euler's error" + (f" with {at} of 30 steps left" if fails else ""),
        "measured": worst,
        "bound": MIDWAY,
        "cause": "a history is assumed that is not there" if fails else "",
    }
