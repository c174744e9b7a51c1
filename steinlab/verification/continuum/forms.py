r"""The first evaluator of a property's expression: affine forms over many boxes at once.

An expectation is a sum over the modes of ``E f(m + r z)``, ``z ~ N(0, 1)``. Within 6 deviations it
is a sum over cells (:mod:`analytic.certified.cells`). Beyond ``Z = 6``, where ``|f|`` is at most
``a (|z|/Z)^p`` (:class:`Growth`), integration by parts gives

    E[|f|; |z| > Z] <= 2 a phi(Z) / (Z (1 - (p - 1)/Z^2)).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np

from analytic.certified import affine
from analytic.certified.affine import SLIP, Form, Jet, bounds, jets, taylor
from analytic.certified.cells import REACH, normal_means, widened
from steinlab.verification.continuum.trace import Node, Rules, evaluate, fixed

FINE, COARSE = 192, 64
"""Cells of an expectation at the middle of a box, and on all of it, for the slopes."""

ROOM = 1.0 + 1e-9
"""Room for the rounding of a bound."""


@dataclass(frozen=True)
class Growth:
    """``|f(z)| <= size (|z|/Z)^degree`` and ``low <= f <= high`` where ``|z| >= Z``."""

    size: Any
    degree: float
    low: Any
    high: Any

    def __add__(self, other: Growth) -> Growth:
        return Growth(
            ROOM * (self.size + other.size),
            max(self.degree, other.degree),
            self.low + other.low - 1e-12 * (np.abs(self.low) + np.abs(other.low)),
            self.high + other.high + 1e-12 * (np.abs(self.high) + np.abs(other.high)),
        )

    def __neg__(self) -> Growth:
        return Growth(self.size, self.degree, -self.high, -self.low)

    def __mul__(self, other: Growth) -> Growth:
        ends = [a * b for a in (self.low, self.high) for b in (other.low, other.high)]
        low, high = np.minimum.reduce(ends), np.maximum.reduce(ends)
        known = np.isfinite(low) & np.isfinite(high)  # 0 times infinity is no number
        return Growth(
            ROOM * self.size * other.size,
            self.degree + other.degree,
            np.where(known, low - 1e-12 * np.abs(low), -np.inf),
            np.where(known, high + 1e-12 * np.abs(high), np.inf),
        )

    def beyond(self) -> Any:
        """Return a bound on ``E[|f|; |z| > Z]``."""
        left = 1 - max(self.degree - 1, 0) / REACH**2
        density = math.exp(-0.5 * REACH**2) / math.sqrt(2 * math.pi)
        return 2 * ROOM * density / (REACH * left) * self.size if left > 0 else np.inf


def _bounded(low: Any, high: Any) -> Growth:
    size = np.maximum(np.abs(low), np.abs(high))
    return Growth(ROOM * size, 0.0, low - 1e-12 * size, high + 1e-12 * size)


def _square(x: Growth) -> Growth:
    found = x * x
    return Growth(found.size, found.degree, np.maximum(found.low, 0), found.high)


def _reciprocal(x: Growth) -> Growth:
    near = np.maximum(x.low, -x.high)
    far = np.where(x.low > 0, x.high, -x.low)
    sign = np.where(x.low > 0, 1.0, -1.0)
    ends = sign / far, sign / np.where(near > 0, near, 0.0)
    return _bounded(np.minimum(*ends), np.maximum(*ends))


def _sqrt(x: Growth) -> Growth:
    low, high = np.sqrt(np.maximum(x.low, 0)), np.sqrt(np.maximum(x.high, 0))
    return Growth(ROOM * (1 + x.size), x.degree, low - 1e-12 * low, high + 1e-12 * high)


def _below(low: Any) -> Any:
    """Return no number where a root's argument may be < 0, else 0."""
    return np.where(low < 0, np.nan, 0.0)


def _root(x: Growth) -> Growth:
    found = _sqrt(x)
    return Growth(found.size + _below(x.low), found.degree, found.low, found.high)


def _log(x: Growth) -> Growth:
    low, high = np.log(np.maximum(x.low, 0)), np.log(np.maximum(x.high, 0))
    size = ROOM * (np.abs(low) + x.size)
    return Growth(size, x.degree, low - 1e-12 * np.abs(low), high + 1e-12 * np.abs(high))


def _abs(x: Growth) -> Growth:
    most = np.maximum(np.abs(x.low), np.abs(x.high))
    return Growth(x.size, x.degree, np.maximum(np.maximum(x.low, -x.high), 0), most)


def _exp(x: Growth) -> Growth:
    return _bounded(np.exp(x.low), np.exp(x.high))


def _tanh(x: Growth) -> Growth:
    return _bounded(np.tanh(x.low), np.tanh(x.high))


def _constant(low: Any, high: Any) -> Growth:
    return Growth(np.maximum(np.abs(low), np.abs(high)), 0.0, low, high)


GROWTH: Rules = {
    "const": lambda one: _constant(np.float64(one.value), np.float64(one.value)),
    "add": Growth.__add__,
    "mul": Growth.__mul__,
    "neg": Growth.__neg__,
    "square": _square,
    "reciprocal": _reciprocal,
    "sqrt": _sqrt,
    "root": _root,
    "exp": _exp,
    "log": _log,
    "tanh": _tanh,
    "abs": _abs,
}


def _reciprocal_form(x: Jet) -> Jet:
    sign = np.where(np.asarray(x.value.centre) < 0, -1.0, 1.0)
    return affine.reciprocal(x * sign) * sign


def absolute(x: Jet) -> Jet:
    """``|x|``: ``x`` or ``-x`` where its sign is known, else between 0 and the largest."""
    one = x.value
    c, r = np.asarray(one.centre), np.asarray(one.radius)
    known, sign = np.abs(c) >= r, np.where(c < 0, -1.0, 1.0)
    half = 0.5 * (np.abs(c) + r) * (1 + SLIP)
    parts = [np.where(known, sign * part, 0.0) for part in one.parts]
    value = Form(np.where(known, sign * c, half), parts, np.where(known, one.rest, half))
    steep = Form(np.where(known, sign, 0.0), [0.0] * len(parts), np.where(known, 0.0, 1.0))
    return affine.chained(x, value, steep)


FORMS: Rules = {
    "add": Jet.__add__,
    "mul": Jet.__mul__,
    "neg": Jet.__neg__,
    "square": affine.square,
    "reciprocal": _reciprocal_form,
    "sqrt": affine.sqrt,
    "root": lambda x: affine.sqrt(x + _below(bounds(x.value)[0])),
    "exp": affine.exp,
    "log": affine.log,
    "tanh": affine.tanh,
    "abs": absolute,
}


class Enclosure:
    """An expression on boxes ``(B, P)``: its bounds and, per side, its slope times the length.

    What lies beyond the cells is a number that a point of the box fixes. So the slopes are those of
    the sum over cells, and the value at the middle has room for what lies beyond for any point.
    """

    def __init__(self, root: Node, names: Sequence[str], low: np.ndarray, high: np.ndarray) -> None:
        self.names, self.count = names, len(names)
        self.tails: dict[tuple[int, int], Any] = {}
        whole = self._at(root, jets(low, high), COARSE)
        points = [
            Form(at, [0.0] * self.count, 2 * SLIP * np.abs(at)) for at in (0.5 * (low + high)).T
        ]
        middle = self._at(root, [Jet(one, {}) for one in points], FINE)
        pairs = [bounds(one) for one in (taylor(whole, middle.value, low, high), whole.value)]
        shape = (len(low),)
        self.lower, self.upper = (
            np.broadcast_to(which.reduce([pair[i] for pair in pairs]), shape)
            for i, which in enumerate((np.fmax, np.fmin))
        )
        self.effects = np.zeros(low.shape)
        for i, slope in whole.slopes.items():
            self.effects[:, i] = (np.abs(slope.centre) + slope.radius) * (high - low)[:, i]
        self.effects[~np.isfinite(self.effects).all(axis=1)] = np.inf

    def _at(self, root: Node, given: Sequence[Jet], cells: int) -> Jet:
        values = dict(zip(self.names, given, strict=True))
        known: dict[int, Any] = {}
        shape = np.zeros(np.shape(given[0].value.centre))
        rules: dict[str, Any] = {
            **FORMS,
            "const": partial(_const, self.count, shape),
            "parameter": lambda one: values[one.value],
            "mean": lambda one: self._mean(one, rules, known, cells),
        }
        return evaluate(root, rules, known)  # type: ignore[no-any-return]

    def _mean(self, one: Node, rules: Any, known: dict[int, Any], cells: int) -> Jet:
        body, root, *modes = one.args
        parts = fixed(body)
        outer = [evaluate(part, rules, known) for part in (root, *parts)]
        total: Any = 0.0
        for i in range(0, len(modes), 2):
            w, m = (evaluate(part, rules, known) for part in modes[i : i + 2])
            value, slopes = self._cells(body, one.value, parts, [m, *outer], cells)
            tail = self.tails.setdefault((id(one), i), _tail(body, m, outer, parts, one.value))
            total = total + w * Jet(widened(value, tail), slopes)
        return total  # type: ignore[no-any-return]

    def _cells(
        self, body: Node, state: Node, parts: Sequence[Node], given: Sequence[Jet], cells: int
    ) -> tuple[Form, dict[int, Form]]:
        """Return a mode's sum over cells, and its slopes."""
        inside: dict[str, Any] = {**FORMS, "const": partial(_const, self.count + 1, 0.0)}
        flat, rebuilt = _flat(given)
        order: list[int] = []

        def integrand(z: Form, *row: Form) -> list[Form]:
            m, r, *held = rebuilt(row)
            own = {id(part): jet for part, jet in zip(parts, held, strict=True)}
            own[id(state)] = m + r * Jet(z, {})
            found = evaluate(body, inside, own)
            order[:] = found.slopes
            return [found.value, *found.slopes.values()]

        value, *slopes = normal_means(integrand, *flat, count=cells)
        return value, dict(zip(order, slopes, strict=True))


def _const(room: int, shape: Any, one: Node) -> Jet:
    return Jet(Form(one.value + shape, [0.0] * room), {})


def _flat(given: Sequence[Jet]) -> tuple[list[Form], Callable[[Sequence[Form]], list[Jet]]]:
    """Return all forms of jets in a row, and what makes jets of such a row."""
    flat = [form for one in given for form in (one.value, *one.slopes.values())]

    def rebuilt(row: Sequence[Form]) -> list[Jet]:
        left = iter(row)
        return [Jet(next(left), {i: next(left) for i in one.slopes}) for one in given]

    return flat, rebuilt


def _tail(body: Node, middle: Jet, outer: Sequence[Jet], parts: Sequence[Node], x: Node) -> Any:
    """Bound what lies beyond the cells about a mode."""
    m, r = (np.max(np.abs(bounds(one.value)), axis=0) for one in (middle, outer[0]))
    known = {
        id(part): _constant(*bounds(jet.value)) for part, jet in zip(parts, outer[1:], strict=True)
    }
    known[id(x)] = Growth(ROOM * (m + r * REACH), 1.0, np.float64(-np.inf), np.float64(np.inf))
    return evaluate(body, GROWTH, known).beyond()
