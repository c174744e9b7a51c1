r"""Stochastic subjects, by their law: exact moments on Gaussians, the energy distance on a mixture.

On Gaussian data the denoiser is affine, so the end is affine in the start and in every draw. With
the mean, the start's deviation and each draw as coordinates of one run
(:func:`steinlab.testing.noise.probed`), mean and covariance of the end come out exactly, correlated
draws of a Brownian path included: an exact moment recursion, no Monte Carlo.
"""

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.metrics import energy_distance
from steinlab.testing import noise
from steinlab.testing.bench import MEAN, Bench
from steinlab.testing.checks.orders import outputs
from steinlab.testing.rows import Found, declined, judged, percent

STEPS = (24, 48, 96, 192)
SHORT = 0.3
"""How far below the expected weak order the slope may be: a right ancestral Euler, of order one, is
20 % short in variance at 48 Karras steps."""

CONVERGED = 1e-7
"""Relative error of the moments below which they count as exact, whatever the slope."""


def moment_errors(bench: Bench, steps: int) -> tuple[float, float]:
    """Return the largest errors of mean and variance over eigenvalues, relative to the law's."""
    levels = bench.grid("uneven", steps, wide=True)
    s, t = levels[0], levels[-1]
    values = bench.eigenvalues[:, None]
    start = np.stack(
        [np.full(len(values), s.alpha * MEAN), np.sqrt(s.alpha**2 * values[:, 0] + s.sigma**2)],
        axis=1,
    )

    def denoiser(x: np.ndarray, level: NoiseLevel) -> np.ndarray:
        a = level.alpha * values / (level.alpha**2 * values + level.sigma**2)
        out = a * x
        out[:, 0] += MEAN - a[:, 0] * level.alpha * MEAN
        return np.asarray(out)

    end = noise.probed(bench.above, denoiser, start, levels).end
    variance = np.sum(end[:, 1:] ** 2, axis=1)
    true = t.alpha**2 * bench.eigenvalues + t.sigma**2
    mean = np.max(np.abs(end[:, 0] - t.alpha * MEAN) / np.sqrt(true))
    return float(mean), float(np.max(np.abs(variance / true - 1)))


def moments(bench: Bench) -> Found:
    """Ask that mean and covariance converge under refinement.

    Weak order: the slope of the larger of both errors from 96 to 192 steps, at least the declared
    one less 0.3. Where none is declared, two of a step that takes two outputs or more, else one.
    Its error is how far the slope moves when the steps are halved.
    """
    if bench.draws == "own":
        return declined(
            "its draws cannot be answered: torch.randn, randn_like, a noise_sampler can"
        )
    pairs = {n: moment_errors(bench, n) for n in STEPS}
    errors = [max(pairs[n]) for n in STEPS]
    mean, variance = pairs[STEPS[-1]]
    with np.errstate(divide="ignore", invalid="ignore"):
        slopes = np.log2(np.array(errors[:-1]) / np.array(errors[1:]))
    expected = bench.declared.order or outputs(bench)
    least = expected - SHORT
    small = errors[-1] < max(CONVERGED, 1e3 * bench.eps)
    fine = small or bool(slopes[-1] >= least)
    sizes = ", ".join(percent(pairs[n][1]) for n in STEPS)
    text = (
        f"weak order {slopes[-1]:.2f}; off in variance by {sizes} at {', '.join(map(str, STEPS))} "
        f"steps, in mean by {percent(mean)}"
    ) + ("" if fine else f"; {expected} is due")
    cause = ""
    if not fine:
        cause = _cause(bench, variance, slopes[-1])
    return judged(
        fine,
        text,
        float(slopes[-1]) if np.isfinite(slopes[-1]) else None,
        least,
        float(abs(slopes[-1] - slopes[-2])) if np.all(np.isfinite(slopes[-2:])) else None,
        cause=cause,
    )


def _cause(bench: Bench, variance: float, slope: float) -> str:
    """On one-point data the noise that is carried is all there is: its size names the fault."""
    levels = bench.grid("uneven", 96, wide=True)
    _, carried = bench.carried(bench.above, levels)
    share = carried[-1][1] / levels[-1].sigma
    if abs(carried[-1][0] - levels[-1].alpha) > 1e-2:
        return "the signal is not carried: weights that do not sum to what is due"
    if abs(share - 1) > 2e-2:
        size = "small" if share < 1 else "large"
        return f"the noise at the end is {share:.2g} of what is due: noise too {size}"
    if slope > 2 - SHORT:
        return "the variance of the noise inside the step is right to second order only"
    if slope < 0.3:
        return f"the variance tends to another limit, {percent(variance)} off"
    return "a draw inside the step is independent of the step's, or is used twice"


def distance(bench: Bench) -> Found:
    """Sample a two-mode mixture with 64 and 256 steps and compare with the law by energy distance.

    8,000 states, seeded. Two equal starts that end equal share their draws. The unbiased distance
    at 256 steps must be below four of its standard errors, or below a quarter of that at 64 steps:
    of weak order one, the sampler's own error falls to a quarter, and the distance, which is a
    square of it, to a sixteenth.
    """
    found = {}
    for steps in (64, 256):
        levels = bench.grid("uneven", steps, wide=True)
        rng = np.random.default_rng([bench.seed, steps])
        x = levels[0].noised(bench.line.sample(8000, rng), rng)
        with noise.answered(noise.Seeded(steps)):
            end = bench.above.run(bench.line, x, levels).end
        if not np.all(np.isfinite(end)):
            return judged(False, f"not finite at {steps} steps")
        true = levels[-1].noised(bench.line.sample(8000, rng), rng)
        found[steps] = energy_distance(end, true)
    coarse, fine = found[64], found[256]
    ok = fine.value <= 4 * fine.error or fine.value <= 0.25 * coarse.value
    shared = "one draw is shared by all states of a batch: independent ones are due"
    return judged(
        ok,
        f"{fine.value:.1e} ± {fine.error:.0e} at 256 steps, {coarse.value:.1e} at 64",
        fine.value,
        max(4 * fine.error, 0.25 * coarse.value),
        fine.error,
        cause=shared if not ok and _shares(bench, levels) else "",
    )


def _shares(bench: Bench, levels: Grid) -> bool:
    """Whether two equal starts of a batch end equal."""
    with noise.answered(noise.Seeded(1)):
        end = bench.above.run(bench.line, levels[0].sigma * np.ones((2, 1)), levels).end
    return bool(np.array_equal(end[0], end[1]))
