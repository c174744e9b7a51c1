r"""Orders: against the exact flow on smooth laws, and down to a thousand steps on Gaussians.

What is expected. A declared order ``p``, unless the subject's own start caps it: a first step of
``c`` evaluations has at best the local error ``h^(c+1)``, which leaves ``c + 1`` to the whole, so
``min(p, c + 1)`` is asked of runs that start by themselves and ``p`` of runs on a graded grid,
whose first steps are ``h^3``. Where nothing is declared: two, if a step combines two outputs or
more, else one.

Tolerances. 0.2 below the expected order, 0.35 on graded grids (the ramp of the steps adds terms of
the order of ``h log h``). Errors are read where they stand 100 times above the reference's own and
the rounding, so that these move a slope by 0.03 at most.
"""

from __future__ import annotations

import numpy as np

from steinlab.testing.bench import ORDER_TOLERANCE, Bench, Order
from steinlab.testing.methods import identity_of

GRADED_TOLERANCE = 0.35
FIXED = ("ipndm-2", "ipndm-3", "ipndm-4")
"""Methods whose weights are those of even steps, whatever the levels."""

ROUGH_TOLERANCE = 0.35
"""Below the expected order on such steps, read from 16 to 256 steps only."""

STEPS = (32, 64, 128)
DEEP = (16, 64, 256, 1024)

Found = dict[str, object]


def outputs(bench: Bench) -> int:
    """Return how many outputs a step in full swing combines, 2 standing for more; 1 unread."""
    reading = bench.reading
    firsts = reading.first_calls() if reading is not None and reading.linear else None
    if reading is None or firsts is None:
        return 2 if bench.calls_per_step > 1.5 else 1
    i = len(firsts) // 2
    row, after = reading.rows[firsts[i]], reading.rows[firsts[i + 1]]
    weights = (after - after[0] / row[0] * row)[1:]
    return min(int(np.sum(np.abs(weights) > 1e-6 * np.max(np.abs(weights)))), 2)


def wanted(bench: Bench) -> int:
    """Return the order asked of a run that starts by itself."""
    declared = bench.declared.order
    if declared is None:
        return outputs(bench)
    return min(declared, int(np.ceil(bench.calls_per_step - 0.1)) + 1)


def _judged(
    bench: Bench, order: Order | None, expected: int, tolerance: float, errors: dict[int, float]
) -> Found:
    sizes = ", ".join(f"{error:.1e}" for error in errors.values())
    shown = f"errors {sizes} at {', '.join(map(str, errors))} steps"
    if any(not np.isfinite(e) for e in errors.values()):
        return {
            "verdict": "fails",
            "text": f"not finite: {shown}",
        }
    if order is None:
        return {
            "verdict": "declined",
            "text": f"errors too near to rounding to show an order: {shown}",
        }
    said = (
        "declared"
        if bench.declared.order is not None
        else f"expected of {'any step' if expected == 1 else 'a step of two outputs or more'}"
    )
    fails = order.value < expected - tolerance
    text = f"{order.value:.2f} ± {order.error:.2f}; {shown}" + (
        f"; {expected} is {said}" if fails else ""
    )
    return {
        "verdict": "fails" if fails else "ok",
        "text": text,
        "measured": order.value,
        "bound": expected - tolerance,
        "error": order.error,
    }


def _on(bench: Bench, name: str) -> Found:
    errors, floors = {}, {}
    for n in STEPS:
        levels = bench.grid(name, n)
        line, plane = bench.line_error(bench.above, levels), bench.plane_error(bench.above, levels)
        errors[n] = float(np.hypot(line, plane))
        floors[n] = bench.floor(n) + 1e-11
    return _judged(bench, bench.order(errors, floors), wanted(bench), ORDER_TOLERANCE, errors)


def even(bench: Bench) -> Found:
    """Read the order on steps even in ``log(sigma / alpha)``, for laws of two modes."""
    return _on(bench, "even")


def uneven(bench: Bench) -> Found:
    """Read the order on steps that grow smoothly along the run."""
    return _on(bench, "uneven")


def rough(bench: Bench) -> Found:
    """Read the order on steps of lengths 1, 3, 2, 1, 3, 2, ..., on Gaussian data.

    A method that takes its weights from the levels keeps its order; fixed weights, or a step ratio
    of other levels, fall to one. Methods of fixed weights by design (iPNDM) are declined by name.
    """
    found = identity_of(bench, bench.reading)
    if found is not None and found.name in FIXED and (found.known or found.mostly):
        text = f"{found.name} has fixed weights by design: of order one here"
        return {"verdict": "declined", "text": text}
    errors = {}
    for n in (16, 64, 256):
        each = bench.gaussian_error(bench.above, bench.alternating(n))
        errors[n] = float(np.sqrt(np.mean(each**2)))
    floors = {n: bench.floor(n) for n in errors}
    return _judged(bench, bench.order(errors, floors), wanted(bench), ROUGH_TOLERANCE, errors)


def gaussian(bench: Bench) -> Found:
    """Read the order from 16 to 1,024 steps on Gaussians of six eigenvalues, in closed form.

    A coefficient that is off by ``e`` adds ``e h`` to an error ``h^2``: at a thousand steps, half a
    percent shows as an order of 1.1.
    """
    errors = {}
    for n in DEEP:
        each = bench.gaussian_error(bench.above, bench.grid("uneven", n, wide=True))
        with np.errstate(over="ignore"):
            errors[n] = float(np.sqrt(np.mean(each**2)))
    floors = {n: bench.floor(n) for n in DEEP}
    found = _judged(bench, bench.order(errors, floors), wanted(bench), ORDER_TOLERANCE, errors)
    return found


def graded(bench: Bench) -> Found:
    """Read the order on graded grids, where a low-order start does not count."""
    errors, steps = {}, {}
    for parts in (16, 32, 64, 128):
        levels = bench.graded(np.log(bench.top / bench.bottom) / parts)
        each = bench.gaussian_error(bench.above, levels)
        errors[parts] = float(np.sqrt(np.mean(each**2)))
        steps[parts] = len(levels) - 1
    floors = {n: bench.floor(steps[n]) for n in steps}
    declared = bench.declared.order
    found = _judged(
        bench, bench.order(errors, floors), declared or outputs(bench), GRADED_TOLERANCE, errors
    )
    return found
