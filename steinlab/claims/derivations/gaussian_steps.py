r"""Derivations for a step on Gaussian data in EDM coordinates, one principal axis at a time.

On an axis of variance ``l`` a step from ``t`` to ``t' = t - h`` has the exact gain
``g = sqrt((l + t'^2)/(l + t^2))``, and Euler's is ``1 - (1 - k) w`` with ``k = t'/t`` and
``w = t^2/(l + t^2)``.
"""

from typing import Any

import sympy as sp

from steinlab.claims.derivations.algebra import Algebra, positives, reals
from steinlab.claims.derivations.proofs import AT_MOST, Premise, Proof, Step

c, h, t, g = positives("c h t g")
t_next, variance = sp.symbols("t' l", nonnegative=True)
k, w, gamma, euler, lam = reals("k w gamma E lambda")

CLOSED = (1 + k) / (1 + g)
"""``gamma_law`` without a difference of nearly equal numbers."""


def _axis() -> tuple[tuple[Any, Any], ...]:
    """Definitions of an axis's letters."""
    return (
        (gamma, (1 - g) / (1 - euler)),
        (euler, 1 - (1 - k) * w),
        (w, t**2 / (variance + t**2)),
        (k, t_next / t),
        (t, t_next + h),
    )


GAIN = Premise("exact gain", "flow", g**2, (variance + t_next**2) / (variance + t**2))


def law_scalar() -> Proof:
    """``gamma_law = (1 - g)/(1 - E) = (1 + k)/(1 + g)`` in ``[(1 + k)/2, 1]``."""
    algebra, shrinks = Algebra(definitions=_axis()), 1 / (1 - k)
    return Proof(
        algebra,
        (
            Step("Euler's gain", k + (1 - k) * variance / (variance + t**2), euler),
            Step("law kept", 1 - gamma * (1 - euler), g),
            Step("closed form", gamma, CLOSED, ((-1 / ((1 - k) * w * (1 + g)), "exact gain"),)),
            Step(
                "gain at least k",
                k,
                g,
                ((-1, "exact gain"), ((1 - w) * (1 - k**2),)),
                AT_MOST,
                squared=True,
            ),
            Step(
                "gain at most 1",
                g,
                sp.Integer(1),
                ((1, "exact gain"), (w * (1 - k**2),)),
                AT_MOST,
                squared=True,
            ),
            Step("at most 1", CLOSED, sp.Integer(1), ((1 / (1 + g), "gain at least k"),), AT_MOST),
            Step(
                "at least (1 + k)/2",
                (1 + k) / 2,
                CLOSED,
                (((1 + k) / (2 * (1 + g)), "gain at most 1"),),
                AT_MOST,
            ),
            Step("above a half", sp.Rational(1, 2), (1 + k) / 2, ((k / 2,),), AT_MOST),
            Step(
                "one over lambda of epsilon scaling",
                1 - (1 - euler) / lam,
                g,
                given={lam: algebra.special((1 - euler) / (1 - g), {})},
                by=("shrinking",),
            ),
            Step(
                "the optimum to the other side", sp.Integer(1), shrinks, ((k * shrinks,),), AT_MOST
            ),
        ),
        (GAIN,),
        positive=(1 - g,),
    )


def exact_flow_coefficient() -> Proof:
    """``sum P (1-g) w >= sum P (1-g)^2`` over the axes: the exact flow's coefficient is >= 1."""
    axes = [sp.symbols(f"l{i} g{i}", nonnegative=True) for i in (1, 2)]
    premises, steps, tops, lows = [], [], [], []
    for i, (l_i, g_i) in enumerate(axes, 1):
        power = l_i + t**2
        top, low = power * (1 - g_i) * t**2 / power, power * (1 - g_i) ** 2
        premises.append(Premise(f"gain {i}", "flow", g_i**2, (l_i + t_next**2) / power))
        steps += [
            Step(
                f"gain {i} at least 1 - w",
                l_i / power,
                g_i,
                ((-1, f"gain {i}"), ((l_i * t**2 + t_next**2 * power) / power**2,)),
                AT_MOST,
                squared=True,
            ),
            Step(
                f"gain {i} at most 1",
                g_i,
                sp.Integer(1),
                ((1, f"gain {i}"), ((t**2 - t_next**2) / power,)),
                AT_MOST,
                squared=True,
            ),
            Step(
                f"axis {i}",
                low,
                top,
                ((power, f"gain {i} at least 1 - w", f"gain {i} at most 1"),),
                AT_MOST,
            ),
        ]
        tops.append(top)
        lows.append(low)
    whole = sum(lows)
    steps.append(
        Step(
            "sum over the axes",
            whole,
            sum(tops),
            ((1, "axis 1"), (1, "axis 2")),
            AT_MOST,
            by=("axes", "moving"),
        )
    )
    return Proof(Algebra(definitions=((t, t_next + h),)), tuple(steps), tuple(premises))


def cosine_law() -> Proof:
    """Euler's gain over the exact one is ``cos(a - a')``; equal angles have the largest product."""
    C, S, C_next, step_cosine, first, second = positives("C S C' cos(a-a') X1 X2")
    S_next, one, two = sp.symbols("S' K1 K2", nonnegative=True)
    C_mean, S_mean, C_half, S_half = reals("C_m S_m C_e S_e")
    product = C * C_next + S * S_next
    gain = (c**2 + t * t_next) / (c**2 + t**2)
    circle = C**2 + S**2
    shape = C**2 / (C_next**2 * circle)
    premises = (
        Premise("circle", "trigonometry", circle, sp.Integer(1)),
        Premise("circle'", "trigonometry", C_next**2 + S_next**2, sp.Integer(1)),
        Premise(
            "circle of half the difference", "trigonometry", C_half**2 + S_half**2, sp.Integer(1)
        ),
        Premise("addition theorem", "trigonometry", step_cosine, product),
    )
    return Proof(
        Algebra(definitions=((t, c * S / C), (t_next, c * S_next / C_next))),
        (
            Step("Euler's gain", 1 - (t - t_next) / t * (1 - c**2 / (c**2 + t**2)), gain),
            Step(
                "exact gain, squared",
                (c**2 + t_next**2) / (c**2 + t**2),
                (C / C_next) ** 2,
                ((shape, "circle'"), (-shape, "circle")),
                by=("flow",),
            ),
            Step(
                "Euler's gain in angles",
                gain,
                C / C_next * product,
                ((-C * product / (C_next * circle), "circle"),),
            ),
            Step(
                "one step",
                gain * C_next / C,
                step_cosine,
                ((C_next / C, "Euler's gain in angles"), (-1, "addition theorem")),
            ),
            Step(
                "a run",
                (first * one) * (second * two),
                (first * second) * (one * two),
                by=("induction",),
            ),
            Step(
                "never more than the exact gain",
                product**2,
                sp.Integer(1),
                (((C * S_next - S * C_next) ** 2,), (1, "circle"), (circle, "circle'")),
                AT_MOST,
            ),
            Step(
                "two equal angles are better than two others",
                (C_mean * C_half - S_mean * S_half) * (C_mean * C_half + S_mean * S_half),
                C_mean**2,
                (
                    (C_mean**2, "circle of half the difference"),
                    (S_half**2 * (C_mean**2 + S_mean**2),),
                ),
                AT_MOST,
                by=("compactness",),
            ),
        ),
        premises,
    )
