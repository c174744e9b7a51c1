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

import itertools
from collections.abc import Callable, Sequence

import numpy as np

from steinlab.diffusion.grids import Grid
from steinlab.testing.bench import CLEAR, ORDER_TOLERANCE, Bench, Order
from steinlab.testing.methods import identity_of
from steinlab.testing.rows import Found, declined, judged

GRADED_TOLERANCE = 0.35
FIXED = ("ipndm-2", "ipndm-3", "ipndm-4", "unit-speed-2", "unit-speed-3")
"""Methods whose weights are those of even steps, whatever the levels."""

ROUGH_TOLERANCE = 0.35
"""Below the expected order on such steps, read from 16 to 256 steps only."""

STEPS = (32, 64, 128)
DOUBT = 0.5
"""Error of an order above which runs are refined further, and above which it may be undecided."""

DEEP = (16, 64, 256, 1024)


def outputs(bench: Bench) -> int:
    """Return how many outputs a step takes, 2 standing for more.

    Its own calls count, and those before whose outputs it combines; of the steps but the first and
    the last two, the one that takes most.
    """
    reading = bench.reading
    firsts = reading.first_calls() if reading is not None and reading.linear else None
    if reading is None or firsts is None:
        return 2 if bench.calls_per_step > 1.5 else 1
    most = 1
    for here, after in itertools.pairwise(firsts[1:-1]):
        row, end = reading.rows[here], reading.rows[after]
        weights = np.abs(end - end[0] / row[0] * row)[1:]
        combined = int(np.sum(weights > 1e-6 * np.max(weights)))
        most = max(most, after - here, combined)
    return min(most, 2)


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
        return judged(False, f"not finite: {shown}")
    if order is None:
        return declined(f"errors too near to rounding to show an order: {shown}")
    said = (
        "declared"
        if bench.declared.order is not None
        else f"expected of {'any step' if expected == 1 else 'a step of two outputs or more'}"
    )
    short = expected - tolerance - order.value
    fails = short > 0
    if order.error > DOUBT and abs(short) < order.error:
        return declined(f"undecided: {order.value:.2f} ± {order.error:.2f}; {shown}")
    text = f"{order.value:.2f} ± {order.error:.2f}; {shown}" + (
        f"; {expected} is {said}" if fails else ""
    )
    return judged(not fails, text, order.value, expected - tolerance, order.error)


def _size(bench: Bench, levels: Grid) -> float:
    """Return the root mean square error on Gaussian data, infinite where it overflows."""
    with np.errstate(over="ignore", invalid="ignore"):
        return float(np.sqrt(np.mean(bench.gaussian_error(bench.above, levels) ** 2)))


def _on(bench: Bench, name: str) -> Found:
    def error(n: int) -> float:
        levels = bench.grid(name, n)
        line, plane = bench.line_error(bench.above, levels), bench.plane_error(bench.above, levels)
        return float(np.hypot(line, plane))

    def floor(n: int) -> float:
        return bench.floor(n) + 1e-11

    least = wanted(bench) - ORDER_TOLERANCE
    order, errors = _read(bench, error, floor, STEPS, (256, 512), least=least)
    return _judged(bench, order, wanted(bench), ORDER_TOLERANCE, errors)


def _read(
    bench: Bench,
    error: Callable[[int], float],
    floor: Callable[[int], float],
    steps: Sequence[int],
    more: Sequence[int],
    *,
    least: float,
) -> tuple[Order | None, dict[int, float]]:
    """Read an order; where it is in doubt, from twice the first steps to those of finer runs.

    One that is short of ``least`` by less than its own error is read from the finest runs alone:
    where errors of two orders nearly cancel, the slope reaches its limit late.
    """
    errors = {n: error(n) for n in steps}
    order = bench.order(errors, {n: floor(n) for n in errors})
    if order is not None and order.error <= DOUBT and 0 < least - order.value < order.error:
        errors |= {n: error(n) for n in more}
        return bench.order(errors, {n: floor(n) for n in errors}), errors
    if order is not None and order.error > DOUBT:
        errors |= {n: error(n) for n in more}
        good = [n for n, e in errors.items() if np.isfinite(e) and e > CLEAR * floor(n)]
        a, far = good[0], good[2:]
        slopes = [float(np.log(errors[a] / errors[n]) / np.log(n / a)) for n in far]
        order = Order(slopes[-1], float(np.ptp(slopes)) if len(far) > 1 else order.error, errors)
    return order, errors


def even(bench: Bench) -> Found:
    """Read the order on steps even in ``log(sigma / alpha)``, for laws of two modes."""
    return _on(bench, "even")


def uneven(bench: Bench) -> Found:
    """Read the order on steps that grow smoothly along the run."""
    return _on(bench, "uneven")


def rough(bench: Bench) -> Found:
    """Read the order on steps of lengths 1, 3, 2, 1, 3, 2, ..., on Gaussian data.

    A method that takes its weights from the levels keeps its order; fixed weights, or a step ratio
    of other levels, fall to one. Methods of fixed weights by design are declined by name:
    :data:`FIXED`.
    """
    found = identity_of(bench, bench.reading)
    name = found.name if found is not None and (found.known or found.mostly) else ""
    name = bench.subject.name if bench.couples_batch else name
    if name in FIXED:
        return declined(f"{name} has fixed weights by design: of order one here")
    errors = {}
    for n in (16, 64, 256):
        errors[n] = _size(bench, bench.alternating(n))
    floors = {n: bench.floor(n) for n in errors}
    return _judged(bench, bench.order(errors, floors), wanted(bench), ROUGH_TOLERANCE, errors)


def gaussian(bench: Bench) -> Found:
    """Read the order from 16 to 1,024 steps on Gaussians of six eigenvalues, in closed form.

    A coefficient that is off by ``e`` adds ``e h`` to an error ``h^2``: at a thousand steps, half a
    percent shows as an order of 1.1.
    """
    errors = {}
    for n in DEEP:
        errors[n] = _size(bench, bench.grid("uneven", n, wide=True))
    floors = {n: bench.floor(n) for n in DEEP}
    found = _judged(bench, bench.order(errors, floors), wanted(bench), ORDER_TOLERANCE, errors)
    return found


def graded(bench: Bench) -> Found:
    """Read the order on graded grids, where a low-order start does not count."""

    def grid(parts: int) -> Grid:
        return bench.graded(np.log(bench.top / bench.bottom) / parts)

    def error(parts: int) -> float:
        return _size(bench, grid(parts))

    def floor(parts: int) -> float:
        return bench.floor(len(grid(parts)) - 1)

    expected = bench.declared.order or outputs(bench)
    steps, more = (16, 32, 64, 128), (256, 512, 1024)
    order, errors = _read(bench, error, floor, steps, more, least=expected - GRADED_TOLERANCE)
    return _judged(bench, order, expected, GRADED_TOLERANCE, errors)
