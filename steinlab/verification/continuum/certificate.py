r"""Certificates: the tree of a search in a file, and the check that needs no search.

A certificate names the statement, the box and the tree. The tree is text, each box before its
parts: a digit says that the box is cut along that parameter, ``+``, ``-`` and ``?`` that it is
proved, refuted or open. The boxes follow from it exactly, in fractions: whatever the text is, its
leaves cover the box once. The checker derives them anew, and has the statement's second evaluator
(``steinlab.claims.continua.second*``) prove each decided leaf with balls, cutting the leaf where
a ball is too wide. What it then trusts is that evaluator, python-flint, and this file.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Callable, Mapping
from concurrent.futures import Executor
from fractions import Fraction
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from analytic.certified.intervals import Intervals
from steinlab.errors import InputError, one_of, quote
from steinlab.storage import in_file, read_json, sealed, write_json
from steinlab.storage.schemas import conforming
from steinlab.verification.continuum.search import OPEN, PROVED, REFUTED, Node, Search
from steinlab.verification.continuum.statement import (
    Box,
    SecondOn,
    Statement,
    box_of,
    halves,
    load_statement,
    open_axes,
    told,
)
from steinlab.verification.files import require_unchanged
from steinlab.verification.registry import provenance
from steinlab.workers import SerialExecutor, completed

VERSION = 1
BITS, MOST_PIECES = 64, 4096
"""Precision of the second evaluator, and into how many pieces it may cut one leaf."""


class CertificateError(Exception):
    """A certificate that is refused, and why."""


class Certificate(NamedTuple):
    """What a file says: the statement, its box, the tree, and how many boxes were examined."""

    statement: Statement
    box: Box
    root: Node
    boxes: int


def write(file: Path, search: Search) -> None:
    """Write a search's tree, with a checksum of all that stands there."""
    names = [one.name for one in search.statement.parameters]
    text, bounds = [], []
    left = [search.root]
    while left:
        node = left.pop()
        text.append(node.mark if node.axis is None else str(node.axis))
        if node.axis is not None:
            left += reversed(node.parts)
        elif node.mark != OPEN:
            bounds.append(node.bounds)
    packed = np.array(bounds, dtype="<f8").tobytes()
    value = {
        "version": VERSION,
        "statement": search.statement.id,
        "box": {
            name: [str(low), str(high)] for name, (low, high) in zip(names, search.box, strict=True)
        },
        "boxes": search.spent,
        "tree": "".join(text),
        "bounds": base64.b64encode(packed).decode(),
        **provenance(search.statement.id),
    }
    write_json(file, sealed(value))


def read(file: Path, name: str = "FILE") -> Certificate:
    """Return a certificate.

    Raises
    ------
    InputError
        If the file is none, or of a statement that is not here.
    CertificateError
        If a digit of it was changed, or its tree is none.
    """
    with in_file(file):
        found = conforming(read_json(file, name, float), "certificate")
    given = found.pop("sum")
    if sealed(found)["sum"] != given:
        raise CertificateError("its checksum differs: a digit was changed")
    statement = _loaded(found)
    names = [one.name for one in statement.parameters]
    if list(found["box"]) != names:
        raise CertificateError(f"its box must name {', '.join(names)}")
    try:
        bounds = np.frombuffer(base64.b64decode(found["bounds"], validate=True), "<f8")
        pairs = bounds.reshape(-1, 2).tolist()
    except ValueError:
        raise CertificateError("its bounds are not numbers") from None
    try:
        box = box_of(statement, found["box"].values())
    except InputError as error:
        raise CertificateError(f"its box is none of the statement: {error}") from None
    return Certificate(statement, box, _tree(statement, box, found["tree"], pairs), found["boxes"])


def _tree(statement: Statement, box: Box, text: str, bounds: list[list[float]]) -> Node:
    """Read the tree: every box it leads to, or why it is none."""
    root = Node.root(box)
    left, pairs = [root], iter(bounds)
    for mark in text:
        if not left:
            raise CertificateError("its tree goes on beyond its last leaf")
        node = left.pop()
        if mark in (PROVED, REFUTED):
            pair = next(pairs, None)
            if pair is None:
                raise CertificateError("a leaf has no bounds")
            low, high = pair
            if not (math.isfinite(low) and math.isfinite(high)):
                raise CertificateError(f"a leaf has infinite bounds: {told(statement, node.box)}")
            if not (low > 0 if mark == PROVED else high < 0) or high < low:
                raise CertificateError(f"a leaf has bounds of no sign: {told(statement, node.box)}")
            node.mark, node.bounds = mark, (low, high)
        elif mark != OPEN:
            axes = open_axes(node.box)
            if mark not in map(str, axes):
                raise CertificateError(f"its tree cuts a side {quote(mark)} that a box has not")
            node.cut(statement, int(mark))
            left += reversed(node.parts)
    if left:
        raise CertificateError(f"its cover misses {len(left)} boxes: the tree ends too soon")
    if next(pairs, None) is not None:
        raise CertificateError("it has bounds of no leaf")
    return root


class Checked(NamedTuple):
    """What the check found: leaves proved anew, and those left open."""

    proved: int
    refuted: int
    open: list[Box]
    decided: float


LEAVES, MANY = 16, 1024
"""Leaves that a process is handed at a time: for balls, and for arrays."""

CUTS, MOST_OPEN, SLAB = 14, 2**19, 2048
"""How often arrays cut what is left of a leaf, how many boxes they keep, and hold at a time."""


class _Job(NamedTuple):
    """Decided leaves that a process proves anew."""

    statement: str
    leaves: list[Node]


def check(
    certificate: Certificate,
    tell: Callable[[float], None] = lambda _: None,
    executor: Executor | None = None,
) -> Checked:
    """Prove each decided leaf by the second evaluator.

    Raises
    ------
    CertificateError
        Naming the first leaf that it does not bear out, whatever the number of processes.
    """
    statement, _, root, _ = certificate
    every = list(root.leaves())
    decided = [leaf for leaf in every if leaf.mark != OPEN]
    size = LEAVES if statement.second_on is None else MANY
    jobs = [_Job(statement.id, decided[i : i + size]) for i in range(0, len(decided), size)]
    done = completed(executor or SerialExecutor(), _prove_all, jobs)
    numbers = {id(job): number for number, job in enumerate(jobs)}
    waited, first = set(range(len(jobs))), None
    for job, error in done:
        number = numbers[id(job)]
        waited.discard(number)
        if isinstance(error, Exception) and (first is None or number < first[0]):
            first = number, error
        if first is not None and all(one > first[0] for one in waited):
            raise first[1]
        tell(1 - len(waited) / len(jobs))
    return Checked(
        sum(leaf.mark == PROVED for leaf in decided),
        sum(leaf.mark == REFUTED for leaf in decided),
        [leaf.box for leaf in every if leaf.mark == OPEN],
        math.fsum(leaf.size for leaf in decided),
    )


def _prove_all(job: _Job) -> None:
    statement = load_statement(job.statement)
    for leaf in left_by_arrays(statement, job.leaves):
        _prove(statement, leaf)


def left_by_arrays(statement: Statement, leaves: list[Node]) -> list[Node]:
    """Return the leaves that intervals in doubles do not prove, for balls to judge.

    All leaves are evaluated at once, and what is left of them is cut in two, :data:`CUTS` times.
    """
    axes, second_on = open_axes(leaves[0].box), statement.second_on
    if second_on is None or not axes:
        return leaves
    low, high, bounds = (
        np.array([getattr(leaf, name) for leaf in leaves]) for name in ("low", "high", "bounds")
    )
    proved = np.array([leaf.mark == PROVED for leaf in leaves])
    whole, own, failed = (high - low)[:, axes], np.arange(len(leaves)), np.zeros(len(leaves), bool)
    for _ in range(CUTS + 1):
        slabs = [slice(i, i + SLAB) for i in range(0, len(own), SLAB)]
        found = [_on_arrays(second_on, low[i], high[i], axes, bounds[own[i]]) for i in slabs]
        above, below, beside, effects = (np.concatenate(one) for one in zip(*found, strict=True))
        failed[own[beside | np.where(proved[own], below, above)]] = True
        left = ~(above | below) & ~failed[own]
        low, high, own, effects = low[left], high[left], own[left], effects[left]
        if not 0 < len(own) <= MOST_OPEN:
            break
        shares = 1e300 * (high - low)[:, axes] / whole[own]
        widest = np.where(np.isinf(effects), shares, effects).argmax(axis=1)
        row, side = np.arange(len(own)), np.array(axes)[widest]
        middle = 0.5 * (low[row, side] + high[row, side])
        low, high, own = np.repeat(low, 2, axis=0), np.repeat(high, 2, axis=0), np.repeat(own, 2)
        high[2 * row, side] = low[2 * row + 1, side] = middle
    failed[own] = True
    return [leaf for leaf, one in zip(leaves, failed, strict=True) if one]


def _on_arrays(
    second_on: SecondOn, low: np.ndarray, high: np.ndarray, axes: list[int], bounds: np.ndarray
) -> tuple[np.ndarray, ...]:
    """Return where ``f`` is above 0, below 0, beside its bounds, and the effects of the sides."""
    with np.errstate(all="ignore"):
        margin, power, effects = second_on(low, high, axes)
        lower, upper = (margin - power * Intervals(end, end) for end in bounds.T)
    return margin.low > 0, margin.high < 0, (lower.high < 0) | (upper.low > 0), effects


def _prove(statement: Statement, leaf: Node) -> None:
    """Prove the sign of ``f`` on a leaf, and that its bounds are not beside the value."""
    pieces, examined, proved = [leaf.box], 0, leaf.mark == PROVED
    while pieces:
        piece = pieces.pop()
        examined += 1
        margin, power = second(statement, piece)
        known = margin.is_finite()
        beside = known and _beside(margin, power, leaf.bounds)
        if beside or (known and (margin < 0 if proved else margin > 0)):
            what = "has bounds beside the value" if beside else "is false"
            raise CertificateError(f"a leaf {what}: {told(statement, leaf.box)}")
        if known and (margin > 0 if proved else margin < 0):
            continue
        axes = open_axes(piece)
        if not axes or examined >= MOST_PIECES:
            raise CertificateError(f"a leaf is not borne out: {told(statement, leaf.box)}")
        pieces += halves(statement, piece, _widest(statement, leaf.box, piece, axes))


def _beside(margin: Any, power: Any, bounds: tuple[float, float]) -> bool:
    """Return whether ``margin / power`` lies above the upper bound or below the lower."""
    low, high = (margin - power * bound for bound in bounds)
    return bool(high > 0 or low < 0)


def _widest(statement: Statement, leaf: Box, piece: Box, axes: list[int]) -> int:
    """Return the side along which ``f`` is widest, all others at their middles.

    Of sides along which it may be anything, the one that was cut least.
    """

    def width(axis: int) -> tuple[float, Fraction]:
        narrow = tuple(
            side if i == axis else ((side[0] + side[1]) / 2,) * 2 for i, side in enumerate(piece)
        )
        found, _ = second(statement, narrow)
        share = (piece[axis][1] - piece[axis][0]) / (leaf[axis][1] - leaf[axis][0])
        return float(found.rad()) if found.is_finite() else math.inf, share

    return axes[0] if len(axes) == 1 else max(axes, key=width)


def second(statement: Statement, box: Box) -> tuple[Any, Any]:
    """Evaluate ``f`` on a box by the second evaluator: a margin over a power > 0.

    Balls may be infinite, or no number.
    """
    from analytic.certified.balls import ball, precision

    with precision(BITS):
        found = statement.second(*(ball(low).union(ball(high)) for low, high in box))
    return found if isinstance(found, tuple) else (found, 1)


def case_of(statement: Statement, point: Mapping[str, float]) -> dict[str, Any]:
    """Return a point as a case that ``steinlab replay`` measures again."""
    return {
        "version": VERSION,
        "statement": statement.id,
        "point": dict(point),
        "value": statement.measure(point),
        **provenance(statement.id),
    }


def _loaded(kept: Mapping[str, Any]) -> Statement:
    """Return the statement that a file names; raise ``InputError`` where its claim has changed."""
    if "file" in kept:
        require_unchanged(kept["file"])
    return load_statement(kept["statement"])


def replayed(case: Mapping[str, Any]) -> float:
    """Measure a case again by the laboratory's own solvers and laws."""
    statement = _loaded(case)
    names = [one.name for one in statement.parameters]
    for name in names:
        if name not in case["point"]:
            raise InputError(f"point must hold {name}, got {quote(case['point'])}")
    for name in case["point"]:
        one_of("point", name, names)
    return statement.measure(case["point"])
