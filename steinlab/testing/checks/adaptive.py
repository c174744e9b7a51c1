"""Subjects that take a tolerance: the error it buys, the evaluations it costs, rejected steps."""

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.testing.bench import CLEAR, Bench
from steinlab.testing.checks.exactness import in_the_limit
from steinlab.testing.rows import Found, declined, judged
from steinlab.testing.subject import LEAST, SubjectError

TOLERANCES = (1e-2, 1e-3, 1e-4, 1e-5, 1e-6)

FALLS = 0.4
"""Least power of the tolerance by which the error falls. Where each step errs by the tolerance at
most, ``n`` steps err by ``n`` of it, and ``n`` grows as its root at worst: a power of 0.5."""

MULTIPLE = 10.0
"""Largest error, in tolerances per evaluation and unit of the state: each step may err by one,
and the flow, or interpolation between steps, magnifies that."""

SHARP = GaussianMixture(np.array([0.4, 0.6]), np.array([[-1.0], [1.2]]), 0.15**2)
"""Two narrow modes: steps must shorten where the flow turns to one of them."""

NOISES = np.array([-1.2, -0.6, 0.7, 1.5])[:, None]


def tolerance(bench: Bench) -> Found:
    """Ask that the error falls with the tolerance, and never stands far above it.

    Tolerances of 1e-2 to 1e-6, on two narrow modes. The error must fall as the power 0.4 of the
    tolerance at least, and stay below ``10 (1 + |x|)`` tolerances per evaluation.
    """
    levels = bench.grid("uneven", 4, wide=True)
    x = levels[0].sigma * NOISES
    flow = exact_flow(SHARP, x, levels[0], levels[-1])
    size, floor = 1.0 + float(np.max(np.abs(flow.state))), CLEAR * float(np.max(flow.error))
    errors, counts = [], []
    for one in TOLERANCES:
        run = bench.subject.at_tolerance(one).run(SHARP, x, levels)  # type: ignore[attr-defined]
        errors.append(float(np.max(np.abs(run.end - flow.state))))
        counts.append(len(run.calls))
    text = (
        f"error {', '.join(f'{e:.0e}' for e in errors)} with {', '.join(map(str, counts))} "
        f"evaluations at tolerances {TOLERANCES[0]:.0e} to {TOLERANCES[-1]:.0e}"
    )
    if not np.all(np.isfinite(errors)):
        return judged(False, f"not finite: {text}")
    power = float(
        np.log(errors[0] / max(errors[-1], floor)) / np.log(TOLERANCES[0] / TOLERANCES[-1])
    )
    excess = max(e / (n * one * size) for e, n, one in zip(errors, counts, TOLERANCES, strict=True))
    cause = "the error estimate is not held to the tolerance, or a rejected step is kept"
    if len(set(counts)) == 1 and np.ptp(errors) <= 1e-9 * errors[0]:
        cause = "the tolerance changes nothing: it is not passed on"
    elif power >= FALLS:
        cause = "the error estimate is too small: another norm, unit or power of the error"
        text += f"; {excess:.2g} tolerances per evaluation"
    return judged(power >= FALLS and excess <= MULTIPLE, text, power, FALLS, cause=cause)


WIDTH = 1000
TAG = 1e-7
"""Size of the coordinates that follow data, noise and outputs through a run, below any tolerance
used here."""


def rejected(bench: Bench) -> Found:
    """Follow a run at tolerance 1e-4: levels of its states, and evaluations that leave nothing.

    Beside the state stand small coordinates that obey the same steps: data, noise, and one per
    output. Data and noise tell the level that a state is at, rejected steps included. An output
    that reaches the end by no state belongs to a rejected step, or to an error estimate alone.
    """
    levels = bench.grid("uneven", 4, wide=True)
    subject = bench.subject.at_tolerance(1e-4)  # type: ignore[attr-defined]
    start = np.zeros((1, 3 + WIDTH))
    start[0, :3] = levels[0].sigma * NOISES[2, 0], TAG * levels[0].alpha, TAG * levels[0].sigma
    count = 0

    def denoiser(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        nonlocal count
        out = np.zeros_like(x)
        out[:, :1], out[:, 1], out[:, 3 + count % WIDTH] = SHARP(x[:, :1], level), TAG, TAG
        count += 1
        return out

    try:
        run = subject.run(denoiser, start, levels)
    except SubjectError as error:
        return declined(str(error))
    rows = np.concatenate([*(call.state for call in run.calls), run.end])[:, 1:] / TAG
    if len(run.calls) > WIDTH or not np.all(np.isfinite(rows)):
        return declined(f"its steps cannot be followed, of {len(run.calls)} evaluations")
    for k, call in enumerate(run.calls):
        if call.level.sigma <= LEAST:
            continue  # no state is there
        gap = float(np.max(np.abs(rows[k, :2] - (call.level.alpha, call.level.sigma))))
        if gap > 1e-5 * (call.level.alpha + call.level.sigma):
            sigma = float(rows[k, 1])
            text = f"call {k + 1} asks at sigma {call.level.sigma:.4g}, its state is at {sigma:.4g}"
            again = any(c.level.sigma <= call.level.sigma for c in run.calls[:k])
            if in_the_limit(bench):
                return declined("its states are exact in the limit only")
            cause = "the state of a rejected step is kept" if again and k > 1 else ""
            return judged(False, text, gap, 1e-5, cause=cause)
    weights = np.abs(rows[:, 2:]) > 1e-9
    alive = weights[-1, : len(run.calls)].copy()
    for k in range(len(run.calls) - 1, -1, -1):
        if alive[k]:
            alive |= weights[k, : len(run.calls)]
    lost = int(np.sum(~alive))
    return judged(True, f"{lost} of {len(run.calls)} evaluations leave nothing", float(lost))
