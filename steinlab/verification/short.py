r"""A claim in one function: ``@claim(statement, controls=...)`` over a property.

The function's arguments say by their defaults what they range over; it returns a relation between
two sides, as the statement has it. Drawing, writing down, replay, the tolerance, the search and
shrinking follow, and what comes out is a :class:`steinlab.verification.claim.Claim` like any other.
"""

from __future__ import annotations

import inspect
import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.errors import CRASHES, InputError, quote
from steinlab.verification.arguments import Strategy, Values
from steinlab.verification.cases import JsonCases
from steinlab.verification.claim import FULL_FACTOR, Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.expectation import Ball, Relation, ball
from steinlab.verification.falsify.spaces import Parameter, Space

CHECK = "cases"
"""Name of the one check of a claim in the short form."""

CASES = 200
"""Cases in the quick profile, unless others are asked for: about a second per expectation."""

PAIRS, REACH, BACK = 3, math.sqrt(EPS), 0.618
"""Pairs of cases about a violated one: its numbers moved by up to this part, and this much back. A
smooth gap between the sides is interpolated to ``REACH**2 = eps`` from them; what exceeds that is
rounding of the plain numbers that the property computes with. Were both moves of one length, steps
of a rounded number would often cancel."""

KINDS = {"<=": "upper", ">=": "lower", "==": "identity"}
SIGN = re.compile("<=|>=|==|=|\u2264|\u2265")
_SPELLED = {"=": "==", "\u2264": "<=", "\u2265": ">="}

Control = Callable[..., Any]


class Sides(NamedTuple):
    """What a property said of each case: left and right side, each with its error, ``(C, 4)``."""

    rows: tuple[Mapping[str, Any], ...]
    values: np.ndarray


@dataclass(frozen=True)
class Property:
    """A function of laws, levels, steps and numbers that relates two sides."""

    name: str
    function: Callable[..., Any]
    sign: str
    arguments: tuple[tuple[str, Strategy], ...]
    cases: int

    def draw(self, effort: Effort) -> list[JsonCases]:
        """Draw cases: kinds in turn, so that each has its share, numbers at random."""
        spaces, count = self.spaces(), effort.count(self.cases)
        rows = []
        for i in range(count):
            space = spaces[i % len(spaces)]
            units = effort.rng.random((1, len(space.parameters)))
            columns = [p.at(units[:, j]) for j, p in enumerate(space.parameters)]
            (row,) = space.build(np.stack(columns, axis=1), units[:, 0]).rows
            rows.append(row)
        return [JsonCases(tuple(rows))]

    def read(self, case: Mapping[str, Any]) -> dict[str, Any]:
        """Return the arguments of a case."""
        return {name: strategy.read(case[name]) for name, strategy in self.arguments}

    def restore(self, case: Mapping[str, Any]) -> JsonCases:
        """Read one case back."""
        self.read(case)
        return JsonCases((json.loads(json.dumps(dict(case))),))

    def measure(self, cases: JsonCases) -> Sides:
        """Ask the property about every case, and about neighbours of one that violates it.

        An expectation states its error; what a property computes of plain numbers, ``1 - kappa``
        say, cannot. A violation must therefore exceed what rounding is seen to do to it.
        """
        values = np.array([_at(row, partial(self._sides, row)) for row in cases.rows])
        data = Sides(cases.rows, values.reshape(-1, 4))
        for i in np.flatnonzero(self.compare(data, None).violated):
            data.values[i, 3] += ROUNDING * self._rounding(cases.rows[i], data.values[i])
        return data

    def _rounding(self, row: Mapping[str, Any], sides: np.ndarray) -> float:
        """Return how far the gap between the sides lies off the line through its neighbours."""
        space, values = self.locate(row)
        moves = REACH * np.random.default_rng(0).uniform(-1, 1, (PAIRS, len(values)))
        near = space.build(values * (1 + np.concatenate((moves, -BACK * moves))), moves).rows
        gaps = np.array([left - right for left, _, right, _ in map(self._sides, near)])
        line = (BACK * gaps[:PAIRS] + gaps[PAIRS:]) / (1 + BACK)
        return float(np.abs(line - (sides[0] - sides[2])).max())

    def _sides(self, row: Mapping[str, Any]) -> tuple[float, ...]:
        relation = self.function(**self.read(row))
        if not isinstance(relation, Relation):
            raise ValueError(
                f"{self.name} must return a relation such as E(...) <= bound, whose sides know "
                f"their errors, got {quote(repr(relation))}"
            )
        left, right = self.as_stated(relation)
        for side, number in (("left", left), ("right", right)):
            ball(number, f"{side} side of {self.name}")
        return left.value, left.error, right.value, right.error

    def as_stated(self, relation: Relation) -> tuple[Ball, Ball]:
        """Return left and right: Python turns ``1 <= E(...)`` into ``E(...) >= 1``."""
        if relation.sign == self.sign:
            return relation.left, relation.right
        if "==" in (relation.sign, self.sign):
            raise ValueError(
                f"{self.name} must return its statement's relation {self.sign}, got {relation.sign}"
            )
        return relation.right, relation.left

    def compare(self, data: Sides, control: Control | None) -> Comparison:
        """Compare the sides, the right one being a control's where there is one."""
        left, left_error, right, right_error = data.values.T
        if control is not None:
            balls = [_at(row, partial(self._controlled, control, row)) for row in data.rows]
            right, right_error = np.array(balls).reshape(-1, 2).T
        error = left_error + right_error
        if self.sign == ">=":
            return Comparison(right, left, error, upper=True)
        return Comparison(left, right, error, upper=self.sign == "<=")

    def _controlled(self, control: Control, row: Mapping[str, Any]) -> tuple[float, float]:
        arguments = self.read(row)
        wanted = {name: arguments[name] for name in inspect.signature(control).parameters}
        right = ball(control(**wanted), f"control of {self.name}")
        return right.value, right.error

    def spaces(self) -> list[PropertySpace]:
        """Return a space for every combination of the arguments' kinds."""
        kinds = product(*(strategy.kinds for _, strategy in self.arguments))
        return [PropertySpace(self, each) for each in kinds]

    def locate(self, case: Mapping[str, Any]) -> tuple[PropertySpace, np.ndarray]:
        """Return the space that a case lies in, and where."""
        places = [strategy.place(case[name]) for name, strategy in self.arguments]
        values = [value for _, part in places for value in part]
        return PropertySpace(self, tuple(kind for kind, _ in places)), np.array(values)


@dataclass(frozen=True)
class PropertySpace:
    """The cases of a property whose arguments have the given kinds: a falsifier's space."""

    of: Property
    kinds: tuple[Any, ...]

    check = CHECK

    @property
    def drawn(self) -> int:
        """Cases that the check draws in the full profile."""
        return self.of.cases * FULL_FACTOR

    @property
    def name(self) -> str:
        """The arguments with their kinds."""
        shown = (f"{name} {_words(kind)}" for name, _, kind in self._named if kind is not None)
        return ", ".join(shown) or "numbers"

    @property
    def _named(self) -> list[tuple[str, Strategy, Any]]:
        """Each argument with its kind."""
        return [(*pair, kind) for pair, kind in zip(self.of.arguments, self.kinds, strict=True)]

    @property
    def parameters(self) -> Sequence[Parameter]:
        """The numbers of all arguments, in order."""
        return [
            Parameter(f"{name} {p.name}", p.low, p.high, p.log)
            for name, strategy, kind in self._named
            for p in strategy.parameters(kind)
        ]

    def _parts(self, values: np.ndarray) -> list[Values]:
        """Cut the numbers of a case into those of its arguments."""
        rest, out = values.tolist(), []
        for _, strategy, kind in self._named:
            count = len(strategy.parameters(kind))
            out.append(tuple(rest[:count]))
            rest = rest[count:]
        return out

    def build(self, values: np.ndarray, seeds: np.ndarray) -> JsonCases:  # noqa: ARG002
        """Return the cases of values ``(P, n)``."""
        rows = []
        for parts in map(self._parts, values):
            named = zip(self._named, parts, strict=True)
            rows.append({name: one.write(kind, part) for (name, one, kind), part in named})
        return JsonCases(tuple(rows))

    def simpler(self, values: np.ndarray) -> Sequence[tuple[Space, np.ndarray]]:
        """Make one argument simpler."""
        parts, out = self._parts(values), []
        for i, (_, strategy, kind) in enumerate(self._named):
            for smaller, part in strategy.simpler(kind, parts[i]):
                kinds = (*self.kinds[:i], smaller, *self.kinds[i + 1 :])
                moved = [*parts[:i], part, *parts[i + 1 :]]
                out.append((PropertySpace(self.of, kinds), np.array(sum(moved, start=()))))
        return out


def claim(
    statement: str,
    *,
    controls: Mapping[str, Control],
    conditions: Sequence[str] = (),
    source: str = "",
    owner: str = "user",
    cases: int = CASES,
    headline: str = "",
    expected: str = "holds",
) -> Callable[[Callable[..., Any]], Claim]:
    r"""Make a claim of a property: a function that relates two sides, and what it ranges over.

    Parameters
    ----------
    statement : str
        With the relation ``<=``, ``>=`` or ``=`` that the function returns.
    controls : mapping
        By name, callables that return a falsified right side; each takes, by name, whichever of
        the function's arguments it needs. The claim must fall with every one of them.
    conditions : sequence of str
    source : str
        Where the statement stands; by default the file.
    owner : {"user", "paper", "review", "peer", "laboratory"}
        Whose statement it is; by default yours.
    cases : int
        Cases drawn in the quick profile, >= 1; eight times as many in the full one.
    headline : str
        What is found where the verdict is ``expected``, in one sentence; by default the first line
        of the docstring, or the statement.
    expected : str
        The verdict that the headline states.

    Returns
    -------
    decorator
        It turns the function into a :class:`~steinlab.verification.claim.Claim`. Its id is the
        function's name with hyphens, its title the first line of the docstring.

    Raises
    ------
    InputError
        For a statement without its relation, an argument that does not say what it ranges over, a
        missing control or one with other arguments.

    Examples
    --------
    >>> from steinlab import E, claim, laws, levels
    >>> from steinlab.verification.judge import judge
    >>> @claim(
    ...     "E|D|^2 <= E|x_star|^2",
    ...     controls={"centred": lambda law: law.variance()},
    ...     cases=40,
    ... )
    ... def jensen(law=laws.mixtures(dim=1), s=levels("edm")):
    ...     return E(lambda x: law(x, s) ** 2, law, s) <= law.second_moment()
    >>> row = judge(jensen)
    >>> row["id"], row["verdict"], all(control["rejected"] for control in row["controls"])
    ('jensen', 'holds', True)
    """

    def decorate(function: Callable[..., Any]) -> Claim:
        name = function.__name__
        if not name.isidentifier():
            raise InputError(f"a claim must be a named function, got {name}")
        found = SIGN.search(statement)
        if found is None:
            raise InputError(
                f"statement of {name} must contain its relation <=, >= or =, got {quote(statement)}"
            )
        if isinstance(cases, bool) or not isinstance(cases, int) or cases < 1:
            raise InputError(f"cases of {name} must be a whole number >= 1, got {quote(cases)}")
        arguments = _arguments(name, function)
        _require_controls(name, controls, [argument for argument, _ in arguments])
        if not isinstance(conditions, Sequence) or isinstance(conditions, str):
            got = quote(conditions)  # a text would be one of letters
            raise InputError(f"conditions of {name} must be a list of texts, got {got}")
        sign = _SPELLED.get(found.group(), found.group())
        of = Property(name, function, sign, arguments, cases)
        said = (inspect.getdoc(function) or statement).splitlines()[0]
        return Claim(
            id=name.replace("_", "-"),
            title=said.rstrip("."),
            statement=statement,
            source=source or re.split(r"[\\/]", function.__code__.co_filename)[-1],
            kind=KINDS[sign],
            owner=owner,
            conditions=tuple(conditions),
            formula=None,
            checks=(
                Check(
                    CHECK,
                    "quadrature",
                    of.restore,
                    draw=of.draw,
                    measure=of.measure,
                    compare=of.compare,
                    locate=of.locate,
                ),
            ),
            controls=tuple(NegativeControl(label, control) for label, control in controls.items()),
            finding=_finding,
            search=lambda _: of.spaces(),
            headline=(headline or said).replace("{", "{{").replace("}", "}}"),
            expected=expected,
        )

    return decorate


def _arguments(name: str, function: Callable[..., Any]) -> tuple[tuple[str, Strategy], ...]:
    out = []
    for argument in inspect.signature(function).parameters.values():
        given = argument.default
        if given is argument.empty or not isinstance(given, Strategy):
            got = "none" if given is argument.empty else quote(repr(given))
            raise InputError(
                f"argument {argument.name} of {name} must say what it ranges over by its default, "
                f"such as laws.mixtures(), got {got}"
            )
        out.append((argument.name, given))
    if not out:
        raise InputError(f"{name} must have an argument, such as law=laws.mixtures(), got none")
    return tuple(out)


def _require_controls(name: str, controls: Mapping[str, Control], arguments: list[str]) -> None:
    if not isinstance(controls, Mapping) or not controls:
        raise InputError(
            f"controls of {name} must hold at least one falsified right side, such as "
            f'{{"half of it": lambda law: 0.5 * law.second_moment()}}, got {quote(repr(controls))}'
        )
    for label, control in controls.items():
        if not callable(control):
            raise InputError(
                f"control {label} of {name} must be a function of {', '.join(arguments)}, "
                f"got {quote(repr(control))}"
            )
        for wanted in inspect.signature(control).parameters:
            if wanted not in arguments:
                raise InputError(
                    f"control {label} of {name} must take arguments of {name}, "
                    f"{', '.join(arguments)}, got {wanted}"
                )


def _at(row: Mapping[str, Any], call: Callable[[], Any]) -> Any:
    """Call; an error notes the case that it arose at, for the traceback."""
    try:
        return call()
    except CRASHES as error:
        error.add_note(f"at {json.dumps(row)}")
        raise


def _words(kind: Any) -> str:
    return " ".join(map(str, kind)) if isinstance(kind, tuple) else str(kind)


def _finding(results: Results) -> str:
    c = results[CHECK].comparison
    count, violated, undecided = len(c.measured), int(c.violated.sum()), int((~c.decided).sum())
    rest = f"; {undecided} undecided" if undecided else ""
    if violated:
        return f"fails in {violated:,} of {count:,} cases{rest}"
    tight = c.tightness()
    close = f", {tight:.6f} tight" if tight is not None else ", to rounding"
    return f"holds in {count - undecided} of {count} cases{close}{rest}"
