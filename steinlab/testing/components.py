"""Checks of parts: a denoiser ``(x, level) -> x0``, a correction ``(step, rng) -> state, ...``."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from analytic import GaussianMixture, NoiseLevel
from steinlab.diffusion.processes import Process, get_process
from steinlab.solvers import get_solver
from steinlab.solvers.step import Step
from steinlab.testing.bench import PLANE
from steinlab.testing.check import remember
from steinlab.testing.rows import WRONG, ConformanceError, Row, expected, summary, table
from steinlab.testing.subject import Levels, SubjectError, called, shaped

Found = tuple[bool, str] | None


def judged(
    name: str, noun: str, checks: Mapping[str, Callable[[], Found]], xfail: Mapping[str, str]
) -> list[Row]:
    """Run checks and return their rows; raise :class:`ConformanceError` where one fails."""
    rows = []
    for check, measure in checks.items():
        try:
            found = measure()
        except SubjectError as error:
            found = (False, str(error))
        verdict = "declined" if found is None else ("ok" if found[0] else "fails")
        title, text = check.replace("-", " "), found[1] if found else "not offered"
        rows.append(Row(check, title, verdict, text, case={"check": check}))
    rows = expected(rows, xfail)
    remember(name, rows)
    if any(row.verdict in WRONG for row in rows):
        raise ConformanceError(f"{name} · {noun}\n\n{table(rows)}\n\n{summary(rows)}", rows)
    return rows


ROUGH = 0.04
"""Least noise, over the data's deviation, at which derivatives are held against differences."""


def _off(found: np.ndarray, exact: np.ndarray, least: float = 0.0) -> float:
    """Return the largest gap relative to the largest exact value, and ``least``."""
    return float(np.max(np.abs(found - exact)) / (np.max(np.abs(exact)) + least))


def check_denoiser(
    denoiser: Any,
    *,
    dim: int = 2,
    process: Process | str = "edm",
    law: GaussianMixture | None = None,
    tolerance: float = 1e-9,
    xfail: Mapping[str, str] | None = None,
) -> list[Row]:
    """Check a denoiser on states ``(N, dim)`` over the levels of a process.

    Shape and dtype kept, finite at every level, the input left alone, the same answer twice, each
    state denoised by itself, one level per state answered as one by one, where it is answered;
    ``jvp``, of one tangent and of several, and ``divergence``, where it offers them, against
    central differences (relative ``1e-5``: steps of ``1e-5`` leave ``1e-10`` of truncation and
    ``1e-11`` of rounding, magnified by ``1 / sigma`` of 0.04 at least). With a ``law``, its
    posterior mean within ``tolerance``.

    Raises
    ------
    ConformanceError

    Examples
    --------
    >>> rows = check_denoiser(GaussianMixture([0.5, 0.5], [[-1.0, 0.0], [1.0, 0.0]], 0.2))
    >>> {row.verdict for row in rows}
    {'ok'}
    """
    chosen = get_process(process)
    ratios = np.geomspace(max(chosen.ratio_min, 1e-2), chosen.ratio_max, 5)
    levels = [chosen.level_at(float(r)) for r in ratios]
    name = str(getattr(denoiser, "__name__", type(denoiser).__name__))
    checks = denoiser_checks(denoiser, name, levels, dim, law=law, tolerance=tolerance)
    return judged(name, "a denoiser", checks, xfail or {})


def denoiser_checks(
    denoiser: Any,
    name: str,
    levels: Levels,
    dim: int,
    *,
    spread: float = 0.8,
    law: GaussianMixture | None = None,
    tolerance: float = 1e-9,
) -> dict[str, Callable[[], Found]]:
    """Return the checks of :func:`check_denoiser` by id, on data of deviation ``spread``."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((6, dim))
    rough = [level for level in levels if level.ratio > ROUGH * spread]

    def states(level: NoiseLevel) -> np.ndarray:
        return np.asarray(level.alpha * spread * noise[::-1] + level.sigma * noise)

    def ask(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        return shaped(
            f"{name} at sigma {np.ravel(level.sigma)[0]:.4g}", x.shape, denoiser, x, level
        )

    ask(states(levels[0]), levels[0])

    def finite() -> Found:
        for level in levels:
            if not np.all(np.isfinite(ask(states(level), level))):
                return False, f"not finite at sigma {level.sigma:.4g}"
        return True, f"sigma {levels[0].sigma:.3g} to {levels[-1].sigma:.3g}"

    def kept() -> Found:
        x = states(levels[2])
        before = x.copy()
        ask(x, levels[2])
        same = bool(np.array_equal(x, before))
        return same, "left alone" if same else "its input is changed"

    def dtypes() -> Found:
        names = ["float64", "float32"]
        got = [str(ask(states(levels[2]).astype(name), levels[2]).dtype) for name in names]
        return got == names, f"float64 gives {got[0]}, float32 gives {got[1]}"

    def twice() -> Found:
        a, b = (ask(states(levels[2]), levels[2]) for _ in range(2))
        return bool(np.array_equal(a, b)), f"two answers differ by {np.max(np.abs(a - b)):.1e}"

    def alone() -> Found:
        worst = 0.0
        for level in levels:
            x = states(level)
            single = np.concatenate([ask(x[i : i + 1], level) for i in range(len(x))])
            both = ask(x, level)
            worst = float(np.maximum(worst, _off(single, both)))
        return worst < 1e-6, f"{worst:.0e} from one at a time"

    def divergence() -> Found:
        if not hasattr(denoiser, "divergence"):
            return None
        worst = 0.0
        for level in rough:
            x, step, total = states(level), 1e-5 * level.sigma, 0.0
            for k in range(dim):
                e = np.eye(dim)[k] * step
                total = total + (ask(x + e, level) - ask(x - e, level))[:, k] / (2 * step)
            exact = shaped(f"divergence of {name}", x.shape[:1], denoiser.divergence, x, level)
            worst = float(np.maximum(worst, _off(np.asarray(total), exact, 1e-3)))
        return worst < 1e-5, f"{worst:.0e} from central differences"

    def posterior() -> Found:
        if law is None:
            return None
        pairs = [(ask(states(level), level), law(states(level), level)) for level in levels]
        worst = float(np.max([np.abs(a - b) for a, b in pairs]))
        return worst <= tolerance, f"{worst:.1e} from the posterior mean, {tolerance:.0e} allowed"

    checks: dict[str, Callable[[], Found]] = {
        "finite": finite,
        "input-kept": kept,
        "dtype": dtypes,
        "deterministic": twice,
        "each-state-alone": alone,
        "level-per-state": lambda: _levelled(denoiser, name, levels, noise, states),
        "jvp": lambda: _products(denoiser, name, rough, noise, states),
        "divergence": divergence,
    }
    if law is not None:
        checks["posterior-mean"] = posterior
    return checks


States = Callable[[NoiseLevel], np.ndarray]
"""Level -> states there, one a row of the noise."""


def _levelled(
    denoiser: Any, name: str, levels: Sequence[NoiseLevel], noise: np.ndarray, states: States
) -> Found:
    """Compare a level per state, where it is answered, with one level at a time."""
    count = len(noise)
    own = [levels[i % len(levels)] for i in range(count)]
    x = np.concatenate([states(level)[i : i + 1] for i, level in enumerate(own)])
    single = np.concatenate(
        [np.asarray(denoiser(x[i : i + 1], level)) for i, level in enumerate(own)]
    )
    alphas, sigmas = (
        np.array([[getattr(level, kind)] for level in own]) for kind in ("alpha", "sigma")
    )
    try:
        both = called(name, denoiser, x, NoiseLevel(alphas, sigmas))
    except SubjectError:
        return None
    if tuple(np.shape(both)) != x.shape:
        return False, f"one level per state must give {x.shape}, got {tuple(np.shape(both))}"
    worst = _off(single, np.asarray(both))
    return worst < 1e-6, f"{worst:.0e} from one level at a time"


def _products(
    denoiser: Any, name: str, levels: Sequence[NoiseLevel], noise: np.ndarray, states: States
) -> Found:
    """Compare products of the Jacobian with two tangents, and with one, with differences."""
    if not hasattr(denoiser, "jvp"):
        return None
    worst = 0.0
    for level in levels:
        x, v = states(level), np.stack([noise, noise[::-1]])
        step = 1e-5 * level.sigma
        exact = shaped(f"jvp of {name}", v.shape, denoiser.jvp, x, level, v)
        alone = shaped(f"jvp of {name}", x.shape, denoiser.jvp, x, level, v[0])
        ends = (
            np.stack([np.asarray(denoiser(x + sign * step * u, level)) for u in v])
            for sign in (1, -1)
        )
        numeric = (next(ends) - next(ends)) / (2 * step)
        gaps = _off(numeric, exact, 1e-3), _off(alone, exact[0], 1e-3)
        worst = float(np.max([worst, *gaps]))
    return worst < 1e-5, f"{worst:.0e} from central differences"


def check_correction(
    correction: Any, *, solver: str = "dpmpp-2s", xfail: Mapping[str, str] | None = None
) -> list[Row]:
    """Check a correction, or a factory of one, on steps of a mixture in the plane.

    The state's shape, finite at long, short and last steps; the step left alone; the same answer
    from the same generator; rows in another order corrected alike, unless it says ``couples_batch``
    or draws; where it told a coefficient ``gamma`` and no other move, the state is ``x - gamma u``
    to rounding.

    Raises
    ------
    ConformanceError

    Examples
    --------
    >>> {row.verdict for row in check_correction("stein")} <= {"ok", "declined"}
    True
    """
    from steinlab.corrections import get_correction

    one = get_correction(correction) if isinstance(correction, str) else correction
    if isinstance(one, type) or not hasattr(one, "name"):
        one = called("the factory of the correction", one)
    name = str(getattr(one, "name", "correction"))
    edm = get_process("edm")
    pairs = [(5.0, 2.0), (1.0, 0.5), (0.5, 0.49), (0.1, 0.0)]

    def step_of(k: int) -> Step:
        return _step(solver, edm.level_at(pairs[k][0]), edm.level_at(pairs[k][1]))

    def ask(step: Step, seed: int = 0) -> tuple[np.ndarray, Any]:
        what = f"{name} on a step from sigma {step.s.sigma:.3g}"
        made = called(what, one, step, np.random.default_rng(seed))
        if not (isinstance(made, tuple) and len(made) == 2):
            raise SubjectError(
                f"{name} must return (state, diagnostics), got {type(made).__name__}"
            )
        state = np.asarray(made[0])
        if state.shape != step.x.shape:
            raise SubjectError(
                f"{name} must return states of shape {step.x.shape}, got {state.shape}"
            )
        return state, made[1]

    ask(step_of(0))

    def finite() -> Found:
        bad = [s for k, s in enumerate(pairs) if not np.all(np.isfinite(ask(step_of(k))[0]))]
        if bad:
            return False, f"not finite from sigma {bad[0][0]:g} to {bad[0][1]:g}"
        return True, "long, short and last steps"

    def kept() -> Found:
        step = step_of(1)
        arrays = (step.x, step.candidate.state, step.candidate.residual, step.candidate.denoised)
        before = [a.copy() for a in arrays]
        ask(step)
        same = all(np.array_equal(a, b) for a, b in zip(arrays, before, strict=True))
        return same, "left alone" if same else "the step's arrays are changed"

    def twice() -> Found:
        a, b = ask(step_of(1))[0], ask(step_of(1))[0]
        return bool(np.array_equal(a, b)), f"two answers differ by {np.max(np.abs(a - b)):.1e}"

    def told() -> Found:
        worst, seen = 0.0, False
        for step in map(step_of, range(len(pairs))):
            state, done = ask(step)
            gamma = getattr(done, "gamma", None)
            if gamma is None or getattr(done, "move", None):
                continue
            seen = True
            u = step.candidate.residual
            gap = np.max(np.abs(step.x - gamma * u - state))
            worst = max(worst, float(gap / (1.0 + np.max(np.abs(state)))))
        return (worst < 1e-12, f"{worst:.0e} from x - gamma u") if seen else None

    checks = {
        "finite": finite,
        "input-kept": kept,
        "deterministic": twice,
        "told-coefficient": told,
    }
    return judged(name, "a correction", checks, xfail or {})


def _step(solver: str, s: NoiseLevel, t: NoiseLevel) -> Step:
    rng = np.random.default_rng(1)
    x = s.noised(PLANE.sample(64, rng), rng)
    one = get_solver(solver, get_process("edm"))
    return Step(PLANE, one, x, s, t, (), one.step(PLANE, x, s, t, ()))
