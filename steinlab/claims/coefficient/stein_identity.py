r"""Stein's identity under the forward coupling, for solver residuals and for arbitrary fields."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, NamedTuple

import numpy as np

from analytic.quadrature import integrate, mixture_breaks
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.instruments.linear_forms import (
    Identity,
    Measured,
    compare_sampled,
    no_square,
    pool_sampled,
    reference,
    wrong_sign,
)
from steinlab.claims.instruments.random_steps import StepCases, draw_steps, drawing
from steinlab.claims.instruments.step_checks import STATES, couple, quadrature_check, sampled_check
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.coefficient.step_terms import GAUSS_HERMITE_3, Problem, Terms
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number


def left(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``<v, x - alpha x_star>``, written with ``<v, x>`` and ``<v, x - x_star>``."""
    return {"u_x": 1 - alpha, "u_ref": alpha}


def right(alpha: Any, sigma: Any) -> Mapping[str, Any]:  # noqa: ARG001
    """``sigma^2 div v``."""
    return {"div": sigma**2}


Field = Callable[[np.ndarray], tuple[np.ndarray, np.ndarray]]
"""``z -> v(z), v'(z)`` of the standardised state ``z = (x - mean) / deviation``."""

FIELDS: tuple[Field, ...] = (
    lambda z: (z, np.ones_like(z)),
    lambda z: (z**3, 3 * z**2),
    lambda z: (np.sin(2 * z + 0.5), 2 * np.cos(2 * z + 0.5)),
    lambda z: (np.tanh(3 * z - 1), 3 / np.cosh(3 * z - 1) ** 2),
    lambda z: (np.exp(-(z**2)) * z**2, np.exp(-(z**2)) * (2 * z - 2 * z**3)),
)
"""Smooth fields with polynomial, oscillating, step-like and local behaviour."""

STEP: tuple[Field, ...] = (lambda z: (np.sign(z), np.zeros_like(z)),)
"""A discontinuous field: its derivative vanishes almost everywhere, yet the identity fails."""


class FieldCases(StepCases):
    """Steps whose level and law the fields live on: one case per field."""

    def __len__(self) -> int:
        """Return the number of laws times the number of fields."""
        return len(self.seeds) * len(FIELDS)

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON, with the index of its field."""
        law, field = divmod(index, len(FIELDS))
        return {**super().describe(law), "field": field}


class FieldData(NamedTuple):
    """Both sides for ``C`` laws and ``F`` fields, flattened, with their sizes and errors."""

    alpha: np.ndarray
    sigma: np.ndarray
    left: np.ndarray
    div: np.ndarray
    size: np.ndarray
    error: np.ndarray


def integrate_fields(cases: StepCases, fields: Sequence[Field] = FIELDS) -> FieldData:
    """Integrate ``v (x - alpha x_star)`` and ``v'`` over ``(x_star, eps)``."""
    problem, count = cases.problem, len(fields)
    law, s = problem.law, problem.s
    alpha, sigma = s.alpha[:, 0, 0], s.sigma[:, 0, 0]
    center = alpha * law.mean()[:, 0]
    power = alpha**2 * law.second_moment() + sigma**2
    deviation = np.sqrt(np.maximum(power - center**2, sigma**2))

    def integrand(case: np.ndarray, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        off, density = _noise_part(problem.take(case), x)
        z = (x - center[case][:, None]) / deviation[case][:, None]
        values = [field(z) for field in fields]
        slope = np.stack([dv for _, dv in values], axis=-1) * density[..., None]
        slope /= deviation[case][:, None, None]
        product = np.stack([v for v, _ in values], axis=-1) * off[..., None]
        both = np.concatenate((product, slope), axis=-1)
        return both, np.abs(both) + (density * np.abs(x))[..., None]

    breaks = mixture_breaks(law, s)
    breaks = np.sort(np.concatenate((breaks, center[:, None]), axis=1), axis=1)
    out = integrate(integrand, breaks)
    wide = (slice(None), None)
    scale = np.repeat((sigma**2)[wide], count, axis=1)
    size = out.size[:, :count] + scale * out.size[:, count:]
    error = out.error[:, :count] + scale * out.error[:, count:]
    return FieldData(
        np.repeat(alpha, count),
        np.repeat(sigma, count),
        out.value[:, :count].ravel(),
        out.value[:, count:].ravel(),
        size.ravel(),
        error.ravel(),
    )


def _noise_part(problem: Problem, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return ``p(x) E[x - alpha x_star | x]`` component by component, and ``p(x)``.

    In a component ``x - alpha x_star = (sigma^2 / v) (x - alpha m) - alpha s sigma / sqrt(v) z``.
    """
    law, alpha, sigma = problem.law, problem.s.alpha[..., 0], problem.s.sigma[..., 0]
    variance = law.spectra[..., 0]
    v = alpha**2 * variance + sigma**2
    offset = x[:, None, :] - (alpha * law.means[..., 0])[..., None]
    density = (law.weights / np.sqrt(2 * np.pi * v))[..., None] * np.exp(
        -0.5 * offset**2 / v[..., None]
    )
    z, omega = GAUSS_HERMITE_3
    blur = (alpha * np.sqrt(variance / v) * sigma)[..., None, None] * z
    off = (sigma**2 / v)[..., None, None] * offset[..., None] - blur
    return (density[..., None] * omega * off).sum(axis=(1, 3)), density.sum(axis=1)


def compare_fields(data: FieldData, identity: Identity) -> Comparison:
    """Compare both sides; the formula's coefficients are read off its forms."""
    factor = identity.right(data.alpha, data.sigma)["div"]
    sign = identity.left(data.alpha, data.sigma)["u_ref"] / data.alpha
    measured, predicted = sign * data.left, factor * data.div
    tolerance = ROUNDING * EPS * data.size + data.error
    scale = np.maximum(np.abs(measured), np.abs(predicted))
    return Comparison(measured, predicted, tolerance, scale=scale)


def _draw_lines(effort: Effort) -> list[StepCases]:
    lines = draw_steps(effort.rng, effort.count(400), solvers=("euler",))
    return [FieldCases(c.problem, c.seeds, c.dims) for c in lines]


def _broken(cases: StepCases) -> FieldData:
    return integrate_fields(cases, STEP)


def _cubic(cases: StepCases, noise: Callable[..., np.ndarray]) -> Measured:
    """Sample ``v = x |x|^2 / sigma^2``, coordinates cubed, with noise of another law.

    A cubic field, because an almost linear residual cannot tell laws of equal variance apart.
    """
    s = cases.problem.s
    x_star, eps = couple(cases, STATES)
    pairs = zip(cases.seeds, eps, strict=True)
    x = s.noised(x_star, np.stack([noise(np.random.default_rng([c, 3]), e) for c, e in pairs]))
    v, div = x**3 / s.sigma**2, 3 * (x**2).sum(axis=-1) / s.sigma[..., 0] ** 2
    zero = np.zeros_like(div)
    sums = ((v * x).sum(axis=-1), div, (v * v).sum(axis=-1), (v * (x - x_star)).sum(axis=-1))
    return Measured(s.alpha[:, 0, 0], s.sigma[:, 0, 0], Terms(*sums, *(zero,) * 5))


def _wide(rng: np.random.Generator, eps: np.ndarray) -> np.ndarray:  # noqa: ARG001
    return 1.1 * eps


def _uniform(rng: np.random.Generator, eps: np.ndarray) -> np.ndarray:
    return rng.uniform(-np.sqrt(3), np.sqrt(3), eps.shape)


def _other_noise(name: str, noise: Callable[..., np.ndarray]) -> Check:
    return Check(
        name,
        "monte-carlo",
        StepCases,
        draw=drawing(64, solvers=("euler",), dims=(2, 8)),
        measure=partial(_cubic, noise=noise),
        compare=compare_sampled,
        pool=pool_sampled,
    )


def _numbers(results: Results) -> list[Number]:
    fields, pool = results["fields"].comparison, results["samples"].pooled
    jump = results["discontinuous field"].comparison
    relative = fields.excess[fields.decided] / np.abs(fields.measured[fields.decided])
    lost = np.abs(jump.measured) / np.maximum(jump.tolerance, 1e-300)
    assert pool is not None
    return [
        Number("relative gap of the sides, median", np.median(relative)),
        Number("smooth fields", len(fields.measured)),
        Number("sampled scale, 1 is exact", pool.measured[0], pool.tolerance[0]),
        Number("tolerances by which a field with a jump misses, median", np.median(lost)),
    ]


DERIVATION = DERIVATIONS["stein-identity"]

CLAIM = Claim(
    id="stein-identity",
    title="Stein's identity",
    statement="E<v(x), x - alpha x_star> = sigma^2 E div v(x) for x = alpha x_star + sigma eps",
    latex=(
        r"\mathbb{E}\langle v(x), x - \alpha x_{\star}\rangle = \sigma^2\, "
        r"\mathbb{E}[\nabla\cdot v(x)], \qquad x = \alpha x_{\star} + \sigma\varepsilon",
    ),
    expected="proved",
    source="Stein's lemma, section 4",
    kind="identity",
    owner="paper",
    conditions=(
        "eps standard normal and independent of x_star",
        "v weakly differentiable, E|v|^2 and E|div v| finite",
    ),
    formula=Identity(left, right),
    checks=(
        Check(
            "fields",
            "quadrature",
            FieldCases,
            draw=_draw_lines,
            measure=integrate_fields,
            compare=compare_fields,
        ),
        quadrature_check(1000),
        sampled_check(1500),
        symbolic_check(DERIVATION, covers=True),
    ),
    controls=(
        NegativeControl("wrong sign", Identity(left, wrong_sign)),
        NegativeControl("sigma instead of sigma^2", Identity(left, no_square)),
        NegativeControl("alpha dropped: x - x_star", Identity(reference, right)),
        NegativeControl(
            "sigma instead of sigma^2, on samples", Identity(left, no_square), ("samples",)
        ),
        *symbolic_controls(DERIVATION),
    ),
    dropped=(
        Dropped(
            "discontinuous field sign(x - mean)",
            Check(
                "discontinuous field",
                "quadrature",
                StepCases,
                draw=drawing(64, solvers=("euler",)),
                measure=_broken,
                compare=compare_fields,
            ),
        ),
        Dropped("states coupled with 1.1 sigma", _other_noise("wide noise", _wide)),
        Dropped("uniform noise of the same variance", _other_noise("uniform noise", _uniform)),
    ),
    headline="Stein's identity holds for smooth fields and solver residuals; a field with a jump "
    "breaks it.",
    numbers=_numbers,
    finding="The identity needs weak differentiability and Gaussian noise of the stated level. A "
    "field with a jump misses its whole left side, although its derivative is zero almost "
    "everywhere; wider noise and uniform noise of the same variance break it too.",
)
