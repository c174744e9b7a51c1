"""Statements from claims in the short form: boxes for the laws, levels, steps and numbers.

A law ``laws.mixtures()`` becomes two modes of one width, with the sides *separation*, *weight* (of
the upper mode), *width* and *center*; ``laws.gaussians()`` has *width* and *center*. A level is its
``sigma/alpha``, under the argument's name. A step has that and *left*, the part of it that is left.
A number is itself. Names that two arguments share carry the argument's name in front. Where
arguments have several kinds (processes, solvers) the whole side *kind* counts them.

``f`` is what the property's relation says is > 0: the right side less the left for ``<=``. For an
equality it is *tolerance* less the distance of the sides.
"""

from __future__ import annotations

import inspect
import linecache
import traceback
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from steinlab.errors import CRASHES, InputError
from steinlab.verification import arguments
from steinlab.verification.arguments import SolverStep
from steinlab.verification.claim import Claim
from steinlab.verification.continuum import balls, forms, trace
from steinlab.verification.continuum.statement import Control, Enclosed, Parameter, Statement
from steinlab.verification.continuum.trace import Law, Level, Node
from steinlab.verification.expectation import Relation, ball
from steinlab.verification.laws import LIGHTEST, Mixtures
from steinlab.verification.short import CHECK, Property

MOST_OPEN, MOST = 3, 10
"""Sides that are open by default, *kind* aside, and sides at most."""

HELD_FIRST = ("width", "weight")
"""Sides of a law that are held where too many would be open."""

ENCLOSABLE = (
    "+ - * / **, np.exp, log, sqrt, tanh, abs, maximum; E; a law's denoiser, divergence, score, "
    "posterior_variance, mean, variance, second_moment; alpha and sigma; steps of Euler and Heun"
)

Sides = Mapping[str, Any]
"""Values of an argument's sides by their own names."""


@dataclass(frozen=True)
class Argument:
    """An argument of a property: its sides, and how they are read."""

    name: str
    kinds: Sequence[Any]
    sides: tuple[Parameter, ...]
    symbol: Callable[[Any, Sides], Any]
    """Kind and nodes to what the property is handed as symbols."""
    written: Callable[[Any, Sides], Any]
    """Kind and numbers to a case of the strategy."""


def _side(
    name: str, text: str, default: tuple[float, float], most: tuple[float, float]
) -> Parameter:
    ends = (max(default[0], most[0]), min(default[1], most[1]))
    low, high = ends if ends[0] < ends[1] else most
    return Parameter.of(name, text, (repr(low), repr(high)), (repr(most[0]), repr(most[1])))


def _law(name: str, law: Mixtures) -> Argument:
    """Return two modes of one width, or one mode; the widest side first."""
    least, most = law.components
    if least > 2:
        raise InputError(
            f"argument {name} must range over laws of one or two components to have a box, "
            f"got components={law.components}"
        )
    far = law.farthest
    width = _side("width", "standard deviation of a mode", (0.25, 1.0), law.stds)
    if most == 1:
        center = _side("center", "mean of the data", (-1.0, 1.0), (-far, far))

        def one(_: Any, at: Sides) -> Law:
            return Law([(1.0, at["center"])], at["width"])

        def alone(_: Any, at: Sides) -> Any:
            return {"weights": [1.0], "means": [at["center"]], "stds": [at["width"]]}

        return Argument(name, (None,), (width, center), one, alone)
    lightest = round(LIGHTEST / (1 + LIGHTEST), 4)
    shown = (
        _side("separation", "distance of the modes", (0.0, 4.0), (0.0, far)),
        _side(
            "weight", "of the upper mode", (0.2, 0.8), (round(lightest, 4), 1 - round(lightest, 4))
        ),
        width,
        Parameter.of("center", "middle of the modes", "0", (repr(-far / 2), repr(far / 2))),
    )

    def ends(at: Sides) -> tuple[Any, Any]:
        return at["center"] + 0.5 * at["separation"], at["center"] - 0.5 * at["separation"]

    def symbol(_: Any, at: Sides) -> Law:
        upper, lower = ends(at)
        return Law([(at["weight"], upper), (1 - at["weight"], lower)], at["width"])

    def written(_: Any, at: Sides) -> Any:
        weights = [at["weight"], 1 - at["weight"]]
        return {"weights": weights, "means": list(ends(at)), "stds": [at["width"]] * 2}

    return Argument(name, (None,), shown, symbol, written)


def _level(process: Any, ratio: Node) -> Level:
    return Level(*process.levels(ratio))


def _levels(name: str, given: arguments.Levels) -> Argument:
    side = _side(name, "sigma/alpha of the level", (0.25, 4.0), (given.low, given.high))
    named = {process.name: process for process in given.processes}
    return Argument(
        name,
        given.kinds,
        (side,),
        lambda kind, at: _level(named[kind], at[name]),
        lambda kind, at: given.write(kind, (at[name],)),
    )


def _steps(name: str, given: arguments.Steps) -> Argument:
    left = given.parameters(given.kinds[0])[1]
    shown = (
        _side(name, "sigma/alpha where the step begins", (0.25, 4.0), (given.low, given.high)),
        _side(
            "left", "sigma/alpha after the step over before it", (0.2, 0.8), (left.low, left.high)
        ),
    )
    processes = {process.name: process for process in given.processes}
    solvers = {solver.name: solver for solver in given.solvers}

    def symbol(kind: Any, at: Sides) -> SolverStep:
        process, solver = processes[kind[0]], solvers[kind[1]]
        ends: list[Any] = [_level(process, at[name] * part) for part in (1.0, at["left"])]
        return SolverStep(solver, *ends)

    return Argument(
        name,
        given.kinds,
        shown,
        symbol,
        lambda kind, at: given.write(kind, (at[name], at["left"])),
    )


def _numbers(name: str, given: arguments.Numbers) -> Argument:
    side = _side(name, "a number", (given.low, given.high), (given.low, given.high))
    return Argument(name, (None,), (side,), lambda _, at: at[name], lambda _, at: at[name])


READERS: Mapping[type, Callable[[str, Any], Argument]] = {
    Mixtures: _law,
    arguments.Levels: _levels,
    arguments.Steps: _steps,
    arguments.Numbers: _numbers,
}


def _argument(name: str, strategy: Any) -> Argument:
    reader = READERS.get(type(strategy))
    if reader is None:
        raise InputError(
            f"argument {name} must range over laws.mixtures(), laws.gaussians(), levels(), steps() "
            f"or numbers() to have a box, got {type(strategy).__name__}"
        )
    return reader(name, strategy)


class Boxed:
    """A property over a box: its sides, and its expressions by kind."""

    def __init__(self, claim: Claim, of: Property) -> None:
        self.claim, self.of = claim, of
        self.arguments = [_argument(name, given) for name, given in of.arguments]
        self.kinds = list(product(*(one.kinds for one in self.arguments)))
        every = [side.name for one in self.arguments for side in one.sides]
        self.named = [
            {
                side.name: side.name
                if every.count(side.name) == 1 or side.name == one.name
                else f"{one.name}-{side.name}"
                for side in one.sides
            }
            for one in self.arguments
        ]
        self.parameters = self._parameters()
        self.names = [one.name for one in self.parameters]

    def _parameters(self) -> tuple[Parameter, ...]:
        out: list[Parameter] = []
        if len(self.kinds) > 1:
            last = str(len(self.kinds) - 1)
            text = ", ".join(f"{i} {_words(kind)}" for i, kind in enumerate(self.kinds))
            out.append(Parameter.of("kind", text, ("0", last), ("0", last), whole=True))
        for one, named in zip(self.arguments, self.named, strict=True):
            out += [_renamed(side, named[side.name]) for side in one.sides]
        free = [i for i, one in enumerate(out) if one.low < one.high and not one.whole]
        for i in sorted(free, key=lambda i: _patience(out[i].name))[MOST_OPEN:]:
            out[i] = _held(out[i])
        if self.of.sign == "==":
            text = "how far apart the sides may be"
            out.append(Parameter.of("tolerance", text, "1/100", ("1e-9", "1")))
        if len(out) > MOST:
            raise InputError(
                f"{self.claim.id} must have at most {MOST} numbers to have a box, got {len(out)}"
            )
        return tuple(out)

    def given(self, kind: Any, values: Sides, written: bool) -> dict[str, Any]:
        """Return the property's arguments: symbols, or cases of the strategies."""
        out = {}
        for one, named, own in zip(self.arguments, self.named, kind, strict=True):
            at = {side: values[name] for side, name in named.items()}
            out[one.name] = (one.written if written else one.symbol)(own, at)
        return out

    def margin(self, left: Any, right: Any, values: Sides) -> Any:
        """Return ``f``."""
        if self.of.sign == "==":
            return values["tolerance"] - abs(left - right)
        return right - left if self.of.sign == "<=" else left - right

    def expressions(self, control: Callable[..., Any] | None) -> list[Node]:
        """Return ``f`` by kind as expressions, with a control's right side where there is one."""
        values = {
            one.name: Node("parameter", (), one.name, one.least > 0, nonnegative=one.least >= 0)
            for one in self.parameters
        }
        return [self._expression(kind, values, control) for kind in self.kinds]

    def _expression(self, kind: Any, values: Sides, control: Callable[..., Any] | None) -> Node:
        given = self.given(kind, values, written=False)
        function = control or self.of.function
        try:
            found = self.of.function(**given)
            if not isinstance(found, Relation):
                raise trace.NotEnclosable("what it returns is no relation, such as E(...) <= bound")
            left, right = self.of.as_stated(found)
            if control is not None:
                right = _called(control, given)
            return trace.node(self.margin(trace.node(left), trace.node(right), values))
        except CRASHES as error:
            raise InputError(
                f"{_where(error, self.of.function, function)} has no enclosure: "
                f"{_why(error)}; these have: {ENCLOSABLE}"
            ) from error

    def measure(
        self, point: Mapping[str, float], control: Callable[..., Any] | None = None
    ) -> float:
        """Return ``f`` by the laboratory's own laws, solvers and quadrature."""
        kind = self.kinds[int(point.get("kind", 0))]
        given = self.of.read(self.given(kind, point, written=True))
        found = self.of.function(**given)
        if not isinstance(found, Relation):
            raise InputError(
                f"{self.claim.id} must compare an expectation or a moment of a law, such as "
                f"E(...) <= bound, got {type(found).__name__}"
            )
        left, right = self.of.as_stated(found)
        if control is not None:
            right = ball(_called(control, given), "control")
        return float(self.margin(left.value, right.value, point))


def _patience(name: str) -> int:
    last = name.rpartition("-")[2]
    return len(HELD_FIRST) - HELD_FIRST.index(last) if last in HELD_FIRST else 0


def _words(kind: Sequence[Any]) -> str:
    flat = [part for one in kind for part in (one if isinstance(one, tuple) else (one,))]
    return " ".join(part for part in flat if part)


def _renamed(side: Parameter, name: str) -> Parameter:
    return Parameter(name, side.low, side.high, side.text, side.least, side.most, side.whole)


def _held(side: Parameter) -> Parameter:
    middle = Fraction(repr(float(side.low + side.high) / 2))
    return Parameter(side.name, middle, middle, side.text, side.least, side.most)


def _called(control: Callable[..., Any], given: Mapping[str, Any]) -> Any:
    return control(**{name: given[name] for name in inspect.signature(control).parameters})


def _where(error: BaseException, *functions: Callable[..., Any]) -> str:
    """Return the piece of the claim's own text that an error arose at."""
    own = {f.__code__.co_filename for f in functions if hasattr(f, "__code__")}
    frames = [f for f in traceback.extract_tb(error.__traceback__) if f.filename in own]
    if not frames:
        return functions[0].__name__
    last = frames[-1]
    line = linecache.getline(last.filename, last.lineno or 0).encode()
    piece = line
    if last.lineno == last.end_lineno and last.colno is not None:
        piece = line[last.colno : last.end_colno]
    return f"{last.filename}, line {last.lineno}: {piece.decode().strip()}"


def _why(error: BaseException) -> str:
    return (
        str(error) if isinstance(error, trace.NotEnclosable) else f"{type(error).__name__}: {error}"
    )


def evaluate(
    names: Sequence[str], expressions: Sequence[Node], low: np.ndarray, high: np.ndarray
) -> Enclosed:
    """Enclose ``f`` on boxes; those of several kinds are cut there."""
    if len(expressions) == 1:
        return _on(names, expressions[0], low, high)
    at = list(names).index("kind")
    lower, upper = np.full(len(low), -np.inf), np.full(len(low), np.inf)
    sizes = np.zeros(low.shape)
    single = low[:, at] == high[:, at]
    sizes[~single, at] = np.inf
    for kind in np.unique(low[single, at]).astype(int).tolist():
        rows = single & (low[:, at] == kind)
        found = _on(names, expressions[kind], low[rows], high[rows])
        lower[rows], upper[rows], sizes[rows] = found
    return Enclosed(lower, upper, sizes)


def _on(names: Sequence[str], one: Node, low: np.ndarray, high: np.ndarray) -> Enclosed:
    found = forms.Enclosure(one, names, low, high)
    return Enclosed(found.lower, found.upper, found.effects)


def second(names: Sequence[str], expressions: Sequence[Node], *given: Any) -> Any:
    """Enclose ``f`` by balls."""
    values = dict(zip(names, given, strict=True))
    which = values.pop("kind", None)
    if which is not None and which.rad() != 0:
        return balls.nothing()
    return balls.enclose(expressions[0 if which is None else int(float(which.mid()))], values)


def boxed(claim: Claim) -> Boxed | None:
    """Return a claim in the short form over a box; None for one in the long form."""
    of = getattr(claim.checks[0].draw, "__self__", None) if claim.checks else None
    return Boxed(claim, of) if isinstance(of, Property) else None


def statement_of(name: str, claim: Claim) -> Statement:
    """Return the statement of a claim in the short form.

    Raises
    ------
    InputError
        For one in the long form, an argument without a box, and a piece that has no enclosure.
    """
    found = boxed(claim)
    if found is None:
        raise InputError(
            f"CLAIM must be in the short form, @claim over a function, to have a box, got {name}"
        )
    names, expressions = found.names, found.expressions(None)
    controls = tuple(
        Control(
            one.name,
            partial(evaluate, names, found.expressions(one.formula)),
            partial(found.measure, control=one.formula),
        )
        for one in claim.controls
        if CHECK in (one.checks or (CHECK,))
    )
    return Statement(
        id=name,
        title=claim.title,
        says=f"{claim.statement}",
        fails="the statement is false",
        latex=claim.statement,
        parameters=found.parameters,
        evaluate=partial(evaluate, names, expressions),
        second=partial(second, names, expressions),
        measure=found.measure,
        controls=controls,
        claim=claim.id,
    )
