"""Calls of the denoiser: how many, at which levels, whether each matters, and whose they are."""

import itertools

import numpy as np

from steinlab.diffusion.grids import Grid
from steinlab.testing.bench import Bench
from steinlab.testing.causes import TWISTS, explain
from steinlab.testing.checks.exactness import in_the_limit, rounding
from steinlab.testing.methods import identity_of, local_order
from steinlab.testing.reading import Reading, read, same
from steinlab.testing.rows import Found, declined, judged
from steinlab.testing.subject import LEAST, SubjectError


def evaluations(bench: Bench) -> Found:
    """Count calls per step against the number declared; the last step may spend fewer."""
    steps = 12
    levels = bench.grid("uneven", steps)
    run, _ = bench.carried(bench.subject, levels)
    count, declared = len(run.calls), bench.declared.evaluations
    text = f"{count} in {steps} steps, {count / steps:.3g} per step"
    if declared is None:
        return judged(True, text, count / steps)
    fits = declared * (steps - 1) <= count <= declared * steps
    return judged(
        fits,
        text + ("" if fits else f"; {declared} per step is declared"),
        count / steps,
        float(declared),
    )


def wasted(bench: Bench) -> Found:
    """Perturb one output at a time: one that changes nothing later was asked for nothing.

    The run's coefficients show all perturbations at once. A call at the level and state of an
    earlier one is wasted too. Bound: a weight of ``1e-9`` of the largest, or 64 units.
    """
    reading = bench.reading
    if reading is None or not reading.linear:
        return declined("its states are not linear in the denoiser's outputs")
    rows, wrong, again = reading.rows, [], []
    size = max(1e-9, 64 * bench.eps) * np.max(np.abs(rows))
    for k in range(len(reading.asked)):
        if np.max(np.abs(rows[k + 1 :, k + 1])) <= size:
            wrong.append(k + 1)
        for j in range(k):
            close = same(reading.asked[j], reading.asked[k], 1e-9)
            if close and np.max(np.abs(rows[j] - rows[k])) <= size:
                again.append(k + 1)
    if again or wrong:
        text = (
            f"call {again[0]} repeats an earlier one"
            if again
            else f"the output of call {wrong[0]} changes nothing"
        )
        count = len({*again, *wrong})
        return judged(
            False,
            f"{text}; {count} of {len(reading.asked)} calls",
            float(count),
            0.0,
            cause=(
                "the same level and state are asked twice"
                if again
                else "an output is computed and dropped"
            ),
        )
    return judged(True, "none", 0.0, 0.0)


def levels(bench: Bench) -> Found:
    """Ask every call at the level that its state is at, a grid level or one inside the step.

    On one-point data a state *carries* its level, ``(alpha, sigma)``. Bound: :func:`rounding`. A
    sampler that draws noise and does not end with what is due there is declined: its steps are
    exact in the limit only. So is one whose states stray from any level of a formula, as fast as
    its order allows.
    """
    if bench.stochastic:
        grid = bench.grid("uneven", 12, wide=True)
        end = bench.carried(bench.above, grid)[1][-1] if bench.draws == "answered" else np.inf
        due = np.array([grid[-1].alpha, grid[-1].sigma])
        if not np.all(np.abs(end - due) <= rounding(bench, 12)):
            return declined("its noise is exact in the limit only")
    for process in bench.subject.processes:
        other = Bench(bench.subject, bench.declared, bench.seed, process)
        found = asked_on(other, other.grid("uneven", 12, wide=True))
        if found["verdict"] == "fails":
            return found
    return found


def asked_on(bench: Bench, grid: Grid) -> Found:
    """Judge the levels asked over a grid."""
    run, carried = bench.carried(bench.above, grid)
    bound = rounding(bench, 12)
    levels = [call.level for call in run.calls]
    at_grid = all(any(same(level, one) for one in grid) for level in levels)
    ratios = [level.ratio for level in levels]
    outside = [
        k for k, r in enumerate(ratios) if not grid[-1].ratio * 0.999 <= r <= grid[0].ratio * 1.001
    ]
    for k, level in enumerate(levels):
        alpha, sigma = carried[k]
        if bench.subject.kind == "velocity" and level.sigma <= LEAST:
            continue  # no state is there
        gap = max(abs(level.sigma - sigma), abs(level.alpha - alpha)) / max(level.sigma, 1e-300)
        if gap <= bound:
            continue
        in_order = (
            at_grid and [same(a, b) for a, b in zip(levels, grid, strict=False)].count(False) == 0
        )
        if in_order and k > 0:
            break  # levels are right, states are not: for the other checks to say
        between = all(
            " between " in _place(sigma, s.sigma, t.sigma) for s, t in itertools.pairwise(grid)
        )
        if between and in_the_limit(bench):
            return declined("its states are exact in the limit only")
        return judged(
            False,
            f"call {k + 1} asks at sigma {level.sigma:.4g}, its state is at {sigma:.4g}",
            gap,
            bound,
            cause=_misplaced(grid, level.sigma, sigma, k),
        )
    # noise may be added before a step; an adaptive solver may step past its end and come back
    free = bench.stochastic or bench.takes_tolerance
    if outside and not free:
        k = outside[0]
        return judged(False, f"call {k + 1} asks at sigma {levels[k].sigma:.4g}, outside the grid")
    return judged(True, "grid levels" if at_grid else "grid levels and inside the step")


def _misplaced(grid: Grid, asked: float, carried: float, call: int) -> str:
    """Say which level a call asks at, and which its state has reached."""
    sigmas = [level.sigma for level in grid]
    on = next((i for i, s in enumerate(sigmas) if abs(s - asked) <= 1e-6 * s), None)
    at = next((i for i, s in enumerate(sigmas) if abs(s - carried) <= 1e-6 * s), None)
    if on is not None and at is not None:
        if on == at + 1:
            return "the model is asked at sigma_next (sigmas[i+1]) where sigma (sigmas[i]) is due"
        if on == at - 1:
            return (
                "the model is asked at sigma (sigmas[i]) for a state that has moved on to "
                "sigma_next (sigmas[i+1])"
            )
        return f"the model is asked at sigmas[i{on - at:+d}] where sigma (sigmas[i]) is due"
    for i, (s, t) in enumerate(itertools.pairwise(sigmas)):
        if t < carried < s and on in (i, i + 1):
            which = "next" if on == i + 1 else "first"
            return (
                f"evaluation {call + 1} at sigma {asked:.4g}, expected in {s:.4g} to {t:.4g} at "
                f"step {i + 1}: the {which} level in place of the middle"
            )
        if t < asked < s and (t < carried < s or at in (i, i + 1)):
            return (
                f"evaluation {call + 1} asks at {_place(asked, s, t)}, its state is at "
                f"{_place(carried, s, t)}"
            )
    return (
        f"evaluation {call + 1} asks at sigma {asked:.4g}, but on constant data its state is at "
        f"sigma {carried:.4g}: mend the level or the state"
    )


def _place(sigma: float, s: float, t: float) -> str:
    """Name a level inside a step from ``s`` to ``t``."""
    named = {
        "(sigma + sigma_next) / 2": (s + t) / 2,
        "sqrt(sigma sigma_next)": float(np.sqrt(s * t)),
        "sigma_next": t,
        "sigma": s,
    }
    for name, value in named.items():
        if abs(value - sigma) <= 1e-6 * s:
            return name
    return f"sigma {sigma:.4g} between {s:.4g} and {t:.4g}"


def method(bench: Bench) -> Found:
    """Name the method; a stray step in a known method must be one of second order.

    The defect of the stray step, where the denoiser is linear in ``log sigma``, is read on twelve
    and twenty-four steps: 2 for a step of first order, 3 for one of second. A known method whose
    stray step is of first order, and not a known one, has a wrong coefficient there. So has one
    whose every step is a known one's with its step ratio upside down, squared, or of other levels.
    """
    texts = []
    for zero in (False, True):
        if zero and not bench.ends_at_zero:
            continue
        try:
            found = _method(bench, zero)
        except SubjectError:
            continue
        if found["verdict"] == "fails":
            return found
        texts.append(found)
    return texts[0]


def _method(bench: Bench, zero: bool) -> Found:

    subject = bench.subject if zero else bench.above

    def reading_of(steps: int) -> Reading | None:
        return read(subject, bench.grid("uneven", steps, wide=True, zero=zero))

    reading = reading_of(12) if zero else bench.reading
    found = identity_of(bench, reading)
    if found is None or reading is None:
        return declined("its coefficients cannot be read")
    text = str(found)
    if found.known:
        return judged(True, text, found.distance, found.tolerance)
    if found.mostly and len(found.strangers) <= len(found.steps) // 4:
        fine, low = reading_of(24), []
        finer = identity_of(bench, fine)
        for step in found.strangers:
            # on a grid twice as fine the same stray step stands as far from the start, or the end
            places = [step, step - len(found.steps) - 1]
            if finer is not None and fine is not None:
                strays = [k for k in places if k % (len(finer.steps) + 1) in finer.strangers]
                if any(local_order(reading, fine, place) < 2.5 for place in strays):
                    low.append(step)
                    continue
            if zero and step == len(found.steps):
                low.append(step)
        if low:
            assert bench.process is not None
            where = " on a grid that ends at zero" if zero else ""
            return judged(
                False,
                text + where,
                max(found.gaps[step - 1] for step in low),
                found.tolerance,
                cause=explain(reading, found, bench.process),
            )
        return judged(True, text + "; of second order there")
    assert bench.process is not None
    cause = explain(reading, found, bench.process)
    twisted = cause.startswith(TWISTS)
    return {
        "verdict": "fails" if twisted else "declined",
        "text": text,
        "measured": found.distance,
        "bound": found.tolerance,
        "cause": cause if twisted else "",
    }
