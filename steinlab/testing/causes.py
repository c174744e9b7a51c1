r"""Probable causes, read off the coefficients: what a step has in place of what it should have.

A row after a step is ``kappa X + sum_j w_j D_j``; so are the rows of the nearest known method.
Where they differ, the difference is looked up: another pair of levels in ``kappa`` or in the sum of
the weights, the weights of older outputs off by a constant, a power of the step ratio, or a ratio
formed otherwise.
"""

import itertools

import numpy as np

from steinlab.diffusion.processes import Process
from steinlab.solvers import get_solver
from steinlab.testing.methods import Identity, _Steps
from steinlab.testing.reading import Reading

EXACT = 1e-6
"""Relative agreement that two columns of coefficients are the same formula."""

LIKELY = ("dpmpp-2m", "dpmpp-2m-heun", "deis-rho-2", "deis-log-2", "ipndm-2")
"""Methods of two outputs whose formula a loop may have meant, after the nearest."""

TWISTS = (
    "the step ratio r is upside down",
    "the step ratio is squared",
    "the step ratio takes the",
)
"""Beginnings of causes that no method means, even where the order survives them: the errors of a
ratio upside down sum to nearly nothing on any grid."""

PLACES = {-1: "sigma[i-1]", 0: "sigma[i]", 1: "sigma[i+1]", 2: "sigma[i+2]"}


def explain(reading: Reading | None, identity: Identity | None, process: Process) -> str:
    """Return the probable cause of a method's distance to the nearest known one, empty if none."""
    if reading is None or identity is None or identity.known:
        return ""
    firsts = reading.first_calls()
    if firsts is None:
        return ""
    if identity.mostly:
        return _in_steps(identity, _compared(reading, firsts, identity.name, process))
    for name in (identity.name, *LIKELY):
        ours = _compared(reading, firsts, name, process)
        text = _scale(reading, ours) or _sum(reading, ours) or _older(reading, ours, name)
        if text:
            return text
    return _stage(reading, firsts, identity)


Split = tuple[float, np.ndarray]
Compared = list[tuple[int, Split, Split | None]]


def _compared(reading: Reading, firsts: list[int], name: str, process: Process) -> Compared:
    """Return the subject's and a method's split of every step."""
    steps, out = _Steps(reading, firsts), []
    solver = get_solver(name, process)
    for i in range(len(firsts)):
        row = reading.rows[firsts[i]]
        found = steps.predicted(i, solver, solver)
        calls = (firsts[i + 1] if i + 1 < len(firsts) else len(reading.asked)) - firsts[i]
        theirs = _split(row, found, firsts[i], calls) if found is not None else None
        out.append((i, _split(row, steps.target(i), firsts[i], calls), theirs))
    return out


def _split(row: np.ndarray, after: np.ndarray, first: int, calls: int) -> Split:
    """Return ``kappa`` and the outputs' weights: the step's own calls, then older, newest first."""
    kappa = float(after[0] / row[0]) if row[0] else float("nan")
    weights = (after - kappa * row)[1:]
    return kappa, np.concatenate([weights[first : first + calls], weights[:first][::-1]])


def _in_steps(identity: Identity, ours: Compared) -> str:
    last, strangers = len(identity.steps), identity.strangers
    where = "the last step" if strangers == (last,) else f"step {', '.join(map(str, strangers))}"
    _, mine, theirs = ours[strangers[-1] - 1]
    text = f"{where} is not {identity.name}'s, whose other steps agree to rounding"
    if theirs is not None and len(mine[1]) > 1:
        a, b = mine[1], theirs[1]
        shown = [k for k in range(len(b)) if abs(a[k] - b[k]) > EXACT * np.max(np.abs(b))][:3]
        parts = [f"{a[k]:.4g} where {b[k]:.4g} is due" for k in shown]
        names = ["the weight of D" if not k else f"of the output {k} before" for k in shown]
        text += (
            ": " + ", ".join(f"{n} {p}" for n, p in zip(names, parts, strict=True)) if parts else ""
        )
        if abs(mine[0] - theirs[0]) > EXACT:
            text += f", x scaled by {mine[0]:.4g} where {theirs[0]:.4g} is due"
    return text


def _inner(ours: Compared) -> list[tuple[int, Split, Split]]:
    """Steps with levels on either side, where the method has its past."""
    return [(i, a, b) for i, a, b in ours[3:-2] if b is not None]


def _scale(reading: Reading, ours: Compared) -> str:
    inner = _inner(ours)
    if not inner:
        return ""
    if all(abs(a[0] - b[0]) <= EXACT * abs(b[0]) for _, a, b in inner):
        return ""
    if all(level.alpha == 1 for level in reading.levels):
        sigmas = [level.sigma for level in reading.levels]
        for place in (1, -1):
            if all(
                abs((1 - a[0]) * sigmas[i + place] / (sigmas[i] - sigmas[i + 1]) - 1) <= EXACT
                and abs(a[0] + a[1].sum() - 1) <= EXACT
                for i, a, _ in inner
            ):
                return f"the slope is (x - D) / {PLACES[place]} where (x - D) / sigma[i] is due"
    pair = _pair(reading, [(i, a[0]) for i, a, _ in inner])
    if pair and pair != (1, 0):
        return (
            f"x is scaled by {PLACES[pair[0]]} / {PLACES[pair[1]]} where sigma[i+1] / sigma[i] "
            "is due: one level in place of another"
        )
    ratios = [a[0] / b[0] for _, a, b in inner]
    if np.ptp(ratios) <= EXACT * abs(np.mean(ratios)):
        return f"x is scaled by {np.mean(ratios):.6g} times what is due, at every step"
    return ""


def _pair(reading: Reading, values: list[tuple[int, float]]) -> tuple[int, int] | None:
    """Find places ``(a, b)`` with ``value = sigma[i+a] / sigma[i+b]`` at every step."""
    sigmas = [level.sigma for level in reading.levels]
    pairs = sorted(itertools.product(PLACES, PLACES), key=lambda p: abs(p[0] - 1) + abs(p[1]))
    for a, b in pairs:
        if all(
            0 <= i + a < len(sigmas)
            and 0 <= i + b < len(sigmas)
            and abs(value - sigmas[i + a] / sigmas[i + b]) <= EXACT * abs(value)
            for i, value in values
        ):
            return a, b
    return None


def _sum(reading: Reading, ours: Compared) -> str:
    inner = _inner(ours)
    sums = [(i, float(a[1].sum()), float(b[1].sum())) for i, a, b in inner]
    if all(abs(a - b) <= EXACT * abs(b) for _, a, b in sums):
        return ""
    ratios = [a / b for _, a, b in sums]
    if np.ptp(ratios) <= EXACT * abs(np.mean(ratios)):
        return f"the weights sum to {np.mean(ratios):.6g} times what is due, at every step"
    alphas = [float(level.alpha) for level in reading.levels]
    if all(abs(a - alphas[i + 1]) <= EXACT * abs(a) for i, a, _ in sums):
        return (
            "the outputs are weighed by alpha_next where alpha_next - alpha sigma_next / sigma is "
            "due: the signal in x is counted twice"
        )
    if all(alpha == 1 for alpha in alphas):
        pair = _pair(reading, [(i, 1 - a) for i, a, _ in sums])
        if pair and pair != (1, 0):
            return (
                f"the outputs are weighed by 1 - {PLACES[pair[0]]} / {PLACES[pair[1]]} where "
                "1 - sigma[i+1] / sigma[i] is due: one level in place of another"
            )
        lams = [level.lam for level in reading.levels]
        for text, formula in (
            ("expm1(h), with the sign of h wrong,", np.expm1),
            ("h itself", lambda h: h),
            ("half of 1 - e^-2h", lambda h: -0.5 * np.expm1(-2 * h)),
        ):
            if all(abs(a - formula(lams[i + 1] - lams[i])) <= EXACT * abs(a) for i, a, _ in sums):
                return f"the outputs are weighed by {text} where 1 - e^-h is due"
    return ""


def _older(reading: Reading, ours: Compared, name: str) -> str:
    """Compare the shares of older outputs."""
    lams = np.array([level.lam for level in reading.levels])
    sigmas = np.array([level.ratio for level in reading.levels])
    rows = []
    for i, a, b in _inner(ours):
        if len(b[1]) < 2 or not (a[1][1] and b[1][1]):
            return ""
        if (
            np.max(np.abs(b[1][2:]), initial=0.0) > EXACT
            or np.max(np.abs(a[1][2:]), initial=0.0) > EXACT
        ):
            return ""
        share, due = a[1][1] / a[1].sum(), b[1][1] / b[1].sum()
        h, before, after = lams[i + 1] - lams[i], lams[i] - lams[i - 1], lams[i + 2] - lams[i + 1]
        in_sigma = (sigmas[i - 1] - sigmas[i]) / (sigmas[i] - sigmas[i + 1])
        r = before / h
        rows.append((share / due, r, in_sigma, after / h))
    if not rows:
        return ""
    off, r, in_sigma, next_ratio = np.array(rows).T
    which = f"the weight of the output before is {{}} that of {name}"
    if np.ptp(off) <= EXACT * np.abs(off).mean():
        c = off.mean()
        return (
            which.format(f"{c:.6g} times")
            + f" at every step: the step ratio r is off by the constant factor {1 / c:.6g}"
            + (", or the correction has the wrong sign" if c < 0 else "")
        )
    for text, factor in (
        ("the step ratio r is upside down", r**2),
        ("the step ratio is missing: fixed weights as on even steps", r),
        ("the step ratio is squared", 1 / r),
        ("the step ratio is formed in sigma, not in log sigma", r / in_sigma),
        ("the step ratio takes the next step's length for the one before", r / next_ratio),
    ):
        rest = off / factor
        if np.ptp(rest) <= EXACT * np.abs(rest).mean():
            times = "" if abs(rest.mean() - 1) < EXACT else f", times {rest.mean():.6g}"
            return text + times
    return ""


def _stage(reading: Reading, firsts: list[int], identity: Identity) -> str:
    """Say where the first evaluation inside a step is, when nothing else differs."""
    i = len(firsts) // 2
    s, t = reading.levels[i], reading.levels[i + 1]
    k = firsts[i] + 1
    if k >= (firsts[i + 1] if i + 1 < len(firsts) else len(reading.asked)):
        return ""
    at = np.log(s.ratio / reading.asked[k].ratio) / np.log(s.ratio / t.ratio)
    return (
        f"the weights of evaluation 2, at {at:.3g} of the step in log sigma, are no known method's "
        f"(the nearest is {identity.name})"
    )
