r"""What a property computes, as an expression: its function is called once, on symbols.

A claim in the short form is a function of laws, levels, steps and numbers. Here it is handed
symbols for them. Each operation on a symbol makes a :class:`Node`, so that the relation that comes
back is a pair of expressions, which evaluators enclose over a box. The pieces that can be enclosed
are those that a node knows: arithmetic, powers, ``exp``, ``log``, ``sqrt``, ``tanh``, absolute
values, maxima; the levels; a law's moments, denoiser, divergence and score; ``E`` of them. Anything
else raises :class:`NotEnclosable`, which names it.

The law is one Gaussian, or two modes of one width ``d`` at ``m_1`` and ``m_2`` with weights ``w``
and ``1 - w``. With ``v = alpha^2 d^2 + sigma^2``, the centre ``c = (m_1 + m_2)/2`` and
``h = (m_1 - m_2)/2``,

    D = (alpha d^2 x + sigma^2 (c + h t)) / v,   t = tanh(alpha h (x - alpha c)/v + b),
    D' = (alpha d^2 + alpha sigma^2 h^2 (1 - t^2)/v) / v,   b = log(w/(1 - w))/2,

and the posterior variance is ``sigma^2 D'/alpha``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from steinlab.verification.expectation import Relation

MOST_POWER = 12
"""Largest power that is multiplied out."""


class NotEnclosable(Exception):
    """A piece of a property that has no enclosure; the message names it."""


class NoPart(NotEnclosable, AttributeError):
    """A part of a symbol that has no enclosure; ``getattr`` with a default passes over it."""


@dataclass(frozen=True, eq=False)
class Node:
    """An operation on other nodes.

    Attributes
    ----------
    op : str
    args : tuple of Node
    value : object
        The number of a ``const``, the name of a ``parameter``, the modes of a ``mean``.
    positive, nonnegative : bool
        Whether it is known to be > 0, and to be >= 0.
    state : Node, optional
        The state that it depends on, which an expectation around it integrates over.
    """

    op: str
    args: tuple[Node, ...] = ()
    value: Any = None
    positive: bool = False
    state: Node | None = None
    nonnegative: bool = False

    __hash__ = object.__hash__

    def __add__(self, other: Any) -> Node:
        one = node(other)
        if _is(self, 0) or _is(one, 0):
            return one if _is(self, 0) else self
        return _made("add", self, one, positive=self.positive and one.positive)

    def __mul__(self, other: Any) -> Node:
        one = node(other)
        if _is(self, 1) or _is(one, 1):
            return one if _is(self, 1) else self
        if _is(self, 0) or _is(one, 0):
            return node(0.0)
        if self is one:
            return _made("square", self, positive=self.positive)
        return _made("mul", self, one, positive=self.positive and one.positive)

    def __radd__(self, other: Any) -> Node:
        return self.__add__(other)

    def __rmul__(self, other: Any) -> Node:
        return self.__mul__(other)

    def __neg__(self) -> Node:
        return node(-self.value) if self.op == "const" else _made("neg", self)

    def __pos__(self) -> Node:
        return self

    def __sub__(self, other: Any) -> Node:
        return self + -node(other)

    def __rsub__(self, other: Any) -> Node:
        return node(other) + -self

    def __truediv__(self, other: Any) -> Node:
        return self * reciprocal(node(other))

    def __rtruediv__(self, other: Any) -> Node:
        return node(other) * reciprocal(self)

    def __pow__(self, power: Any) -> Node:
        if isinstance(power, Node) or not float(2 * power).is_integer() or abs(power) > MOST_POWER:
            raise NotEnclosable(
                f"the power {power if not isinstance(power, Node) else 'of a side'}"
            )
        if power < 0:
            return reciprocal(self**-power)
        whole, half = divmod(float(power), 1.0)
        out = sqrt(self) if half else node(1.0)
        pairs, odd = divmod(int(whole), 2)
        for _ in range(pairs):
            out = out * (self * self)
        return out * self if odd else out

    def __rpow__(self, base: Any) -> Node:
        raise NotEnclosable("a power whose exponent is a symbol")

    def __mod__(self, other: Any) -> Node:
        raise NotEnclosable("a remainder or a quotient rounded down")

    __rmod__ = __floordiv__ = __rfloordiv__ = __mod__

    def __matmul__(self, other: Any) -> Node:
        raise NotEnclosable("a matrix product")

    __rmatmul__ = __matmul__

    def __abs__(self) -> Node:
        return self if self.positive else _made("abs", self)

    def __le__(self, other: Any) -> Relation:
        return Relation(cast("Any", self), "<=", cast("Any", node(other)))

    def __ge__(self, other: Any) -> Relation:
        return Relation(cast("Any", self), ">=", cast("Any", node(other)))

    def __eq__(self, other: Any) -> Relation:  # type: ignore[override]
        return Relation(cast("Any", self), "==", cast("Any", node(other)))

    def __gt__(self, other: Any) -> bool:
        if self.positive and not isinstance(other, Node) and other == 0:
            return True
        raise NotEnclosable("a comparison")

    def __lt__(self, other: Any) -> bool:
        raise NotEnclosable("a comparison")

    def __bool__(self) -> bool:
        raise NotEnclosable("a condition")

    def __float__(self) -> float:
        raise NotEnclosable("a conversion to a plain number")

    __int__ = __index__ = __float__

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        raise NotEnclosable("a conversion to an array")

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise NoPart(f".{name}")

    def __getitem__(self, key: Any) -> Node:
        """Pick the one coordinate, or add an axis."""
        keys = key if isinstance(key, tuple) else (key,)
        if all(one in (..., None) or one == slice(None) or one == 0 for one in keys[-1:]) and all(
            one is ... or one is None or one == slice(None) for one in keys[:-1]
        ):
            return self
        raise NotEnclosable("an index")

    def item(self) -> Node:
        """Return the number itself."""
        return self

    def sum(self, axis: Any = None, **_: Any) -> Node:
        """Add the coordinates: there is one."""
        if axis != -1:
            raise NotEnclosable("a sum over states; over coordinates it is sum(axis=-1)")
        return self

    def __array_ufunc__(self, ufunc: np.ufunc, method: str, *inputs: Any, **options: Any) -> Any:
        rule = UFUNCS.get(ufunc.__name__)
        if rule is None or method != "__call__" or options:
            own = getattr(np, ufunc.__name__, None) is ufunc
            raise NotEnclosable(f"{'np.' if own else ''}{ufunc.__name__}")
        return rule(*inputs)

    def __array_function__(self, function: Any, _: Any, args: Any, options: Any) -> Any:
        name = function.__name__
        if name in ("ones_like", "zeros_like"):
            return node(float(name == "ones_like"))
        if name == "clip" and not options:
            x, low, high = args
            return least(largest(x, low), high)
        if name in ("sum", "norm"):
            axis = options.get("axis", args[-1] if len(args) > 1 else None)
            if axis != -1:
                raise NotEnclosable(f"np.{name} over states; over coordinates it has axis=-1")
            return abs(args[0]) if name == "norm" else args[0]
        raise NotEnclosable(f"np.{name}")


def _is(one: Node, value: float) -> bool:
    return one.op == "const" and one.value == value


NONNEGATIVE = ("square", "abs", "exp", "sqrt", "root")
"""Operations whose value, where there is one, is never < 0."""

HOLDING = ("add", "mul", "reciprocal", "tanh")
"""Operations that are never < 0 where no argument is."""


def _made(op: str, *args: Node, positive: bool = False, value: Any = None) -> Node:
    states = {id(one.state): one.state for one in args if one.state is not None}
    if len(states) > 1:
        raise NotEnclosable("an expectation within another's")
    held = op in HOLDING and all(one.nonnegative for one in args)
    state = next(iter(states.values()), None)
    return Node(op, args, value, positive, state, positive or op in NONNEGATIVE or held)


def node(value: Any) -> Node:
    """Return a node; of a number its exact value as a double."""
    if isinstance(value, Node):
        return value
    try:
        number = math.nan if isinstance(value, bool | str) else float(np.asarray(value).item())
    except (TypeError, ValueError):
        raise NotEnclosable(f"a value of {type(value).__name__}") from None
    if not math.isfinite(number):
        raise NotEnclosable(f"the number {number}")
    return Node("const", (), number, number > 0, nonnegative=number >= 0)


def _unary(op: str, *, keeps: bool = False, positive: bool = False) -> Callable[[Any], Node]:
    def apply(x: Any) -> Node:
        x = node(x)
        return _made(op, x, positive=positive or (keeps and x.positive))

    return apply


reciprocal = _unary("reciprocal", keeps=True)
tanh = _unary("tanh", keeps=True)
exp, log = _unary("exp", positive=True), _unary("log")


def sqrt(x: Any) -> Node:
    """Square root: a ``root`` where nothing is known of the sign, which may have no value."""
    x = node(x)
    return _made("sqrt" if x.nonnegative else "root", x, positive=x.positive)


def largest(a: Any, b: Any) -> Node:
    """``max(a, b)``."""
    one, other = node(a), node(b)
    return 0.5 * (one + other + abs(one - other))


def least(a: Any, b: Any) -> Node:
    """``min(a, b)``."""
    one, other = node(a), node(b)
    return 0.5 * (one + other - abs(one - other))


UFUNCS: Mapping[str, Callable[..., Node]] = {
    "add": lambda a, b: node(a) + b,
    "subtract": lambda a, b: node(a) - b,
    "multiply": lambda a, b: node(a) * b,
    "divide": lambda a, b: node(a) / b,
    "power": lambda a, b: node(a) ** b,
    "negative": lambda a: -a,
    "square": lambda a: a * a,
    "absolute": abs,
    "reciprocal": reciprocal,
    "exp": exp,
    "expm1": lambda a: exp(a) - 1,
    "log": log,
    "log1p": lambda a: log(1 + a),
    "sqrt": sqrt,
    "tanh": tanh,
    "hypot": lambda a, b: sqrt(node(a) * a + node(b) * b),
    "maximum": largest,
    "minimum": least,
}
"""NumPy's functions that have an enclosure."""


class Level:
    """A symbol for a noise level."""

    def __init__(self, alpha: Any, sigma: Any) -> None:
        self.alpha, self.sigma = node(alpha), node(sigma)

    @property
    def ratio(self) -> Node:
        """``sigma / alpha``."""
        return self.sigma / self.alpha

    @property
    def lam(self) -> Node:
        """``log(alpha / sigma)``."""
        return log(self.alpha / self.sigma)

    def __getattr__(self, name: str) -> Any:
        raise NoPart(f"a level's .{name}")


class Law:
    """A symbol for one Gaussian, or for two modes of one width."""

    dim = 1

    def __init__(self, modes: Sequence[tuple[Any, Any]], width: Any) -> None:
        self.modes = [(node(weight), node(mean)) for weight, mean in modes]
        wide = node(width)
        self.width2 = wide * wide

    def mean(self) -> Node:
        """``E x_star``."""
        return sum((w * m for w, m in self.modes), start=node(0.0))

    def second_moment(self) -> Node:
        """``E x_star^2``."""
        return sum((w * (m * m) for w, m in self.modes), start=self.width2)

    def variance(self) -> Node:
        """``Var x_star``, without cancellation."""
        if len(self.modes) == 1:
            return self.width2
        (w, m), (rest, n) = self.modes
        return self.width2 + w * rest * ((m - n) * (m - n))

    def _noise(self, level: Any) -> tuple[Node, Node, Node]:
        """Return ``alpha``, ``sigma^2`` and ``v``."""
        alpha, sigma = node(level.alpha), node(level.sigma)
        return alpha, sigma * sigma, alpha * alpha * self.width2 + sigma * sigma

    def _turn(self, x: Node, level: Any) -> tuple[Node, Node, Node]:
        """Return ``c``, ``h`` and ``t``; ``h = 0`` of one mode."""
        if len(self.modes) == 1:
            return self.modes[0][1], node(0.0), node(0.0)
        alpha, _, v = self._noise(level)
        (w, m), (rest, n) = self.modes
        c, h = 0.5 * (m + n), 0.5 * (m - n)
        return c, h, tanh(alpha * h / v * (x - alpha * c) + 0.5 * (log(w) - log(rest)))

    def denoise(self, x: Any, level: Any) -> Node:
        """``D``."""
        at, (alpha, noise2, v) = node(x), self._noise(level)
        c, h, t = self._turn(at, level)
        return alpha * self.width2 / v * at + noise2 / v * (c + h * t)

    __call__ = denoise

    def divergence(self, x: Any, level: Any) -> Node:
        """``D'``."""
        alpha, noise2, v = self._noise(level)
        _, h, t = self._turn(node(x), level)
        return alpha * self.width2 / v + alpha * noise2 * (h * h) / (v * v) * (1 - t * t)

    def posterior_variance(self, x: Any, level: Any) -> Node:
        """``V = sigma^2 D'/alpha``."""
        _, noise2, v = self._noise(level)
        _, h, t = self._turn(node(x), level)
        share = noise2 / v
        return share * self.width2 + share * share * (h * h) * (1 - t * t)

    def moments(self, x: Any, level: Any) -> tuple[Node, Node, Node]:
        """``D``, ``D'`` and ``V``."""
        own = (self.denoise, self.divergence, self.posterior_variance)
        found = [of(x, level) for of in own]
        return found[0], found[1], found[2]

    def score(self, x: Any, level: Any) -> Node:
        """``(alpha D - x)/sigma^2``, in which ``x/sigma^2`` has cancelled."""
        alpha, _, v = self._noise(level)
        c, h, t = self._turn(node(x), level)
        return (alpha * (c + h * t) - node(x)) / v

    def jvp(self, x: Any, level: Any, tangent: Any) -> Node:
        """``D' tangent``."""
        return self.divergence(x, level) * node(tangent)

    def expectation(self, f: Callable[[Any], Any], level: Any) -> Node:
        """``E f(x)`` under the noised law: what ``E`` calls."""
        x = Node("state")
        object.__setattr__(x, "state", x)
        body = node(f(x))
        if body.state is None:
            return body
        if body.state is not x:
            raise NotEnclosable("an expectation within another's")
        alpha, _, v = self._noise(level)
        outer = [sqrt(v), *(part for w, m in self.modes for part in (w, alpha * m))]
        if any(one.state is not None for one in outer):
            raise NotEnclosable("a level that depends on a state")
        return Node("mean", (body, *outer), x, body.positive, nonnegative=body.nonnegative)

    def __getattr__(self, name: str) -> Any:
        raise NoPart(f"a law's .{name}")


def fixed(body: Node) -> list[Node]:
    """Return the largest parts of an expectation's body that do not depend on its state."""
    out: dict[int, Node] = {}
    left, seen = [body], set()
    while left:
        one = left.pop()
        if id(one) in seen:
            continue
        seen.add(id(one))
        if one.state is not None:
            left += one.args
        elif one.op != "const":
            out[id(one)] = one
    return list(out.values())


Rules = Mapping[str, Callable[..., Any]]
"""How an evaluator does each operation; ``const``, ``parameter`` and ``mean`` take the node."""

LEAVES = ("const", "parameter", "mean")


def evaluate(one: Node, rules: Rules, known: dict[int, Any]) -> Any:
    """Evaluate a node and all that it is made of, each once; ``known`` maps ids to values."""
    if id(one) not in known:
        if one.op in LEAVES:
            known[id(one)] = rules[one.op](one)
        else:
            known[id(one)] = rules[one.op](*(evaluate(a, rules, known) for a in one.args))
    return known[id(one)]
