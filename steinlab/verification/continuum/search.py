"""Branch and bound over a statement's box: largest boxes first, each decided or cut in two.

A box is *proved* where the enclosure of ``f`` lies above 0, *refuted* where it lies below; one
that is infinite encloses nothing.
Any other is cut along the side with the largest effect. The result does not depend on the number of
processes, and a search that was stopped goes on from its tree.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from steinlab.verification.continuum.statement import (
    Box,
    Enclosed,
    Statement,
    halves,
    load_statement,
    open_axes,
    outward,
)
from steinlab.workers import SerialExecutor, completed

BATCH = 4096
"""Boxes per round."""

PIECE = 512
"""Boxes that a process is handed at a time."""

PROVED, REFUTED, OPEN = "+-?"


@dataclass
class Node:
    """A box of the tree: open, decided with its bounds, or cut along ``axis`` into two."""

    box: Box
    low: tuple[float, ...]
    high: tuple[float, ...]
    """Doubles around the box."""
    size: float = 1.0
    """Share of the volume of the whole; held sides do not count."""
    path: str = ""
    """Which part was taken at each cut from the whole."""
    mark: str = OPEN
    bounds: tuple[float, float] = (-math.inf, math.inf)
    axis: int | None = None
    parts: tuple[Node, ...] = ()

    @classmethod
    def root(cls, box: Box) -> Node:
        """Return the whole box."""
        low, high = zip(*map(outward, box), strict=True)
        return cls(box, low, high)

    def cut(self, statement: Statement, axis: int) -> None:
        """Cut the box in two."""
        self.axis = axis
        first, last = halves(statement, self.box, axis)
        if statement.parameters[axis].whole:
            (a, b), (_, c) = first[axis], last[axis]
            part = float((b - a + 1) / (c - a + 1))
        else:
            part = 0.5
        (_, under), (over, _) = first[axis], last[axis]
        made = []
        for box, size, step, low, high in (
            (first, part, "0", self.low[axis], outward((under, under))[1]),
            (last, 1 - part, "1", outward((over, over))[0], self.high[axis]),
        ):
            lows, highs = list(self.low), list(self.high)
            lows[axis], highs[axis] = low, high
            made.append(Node(box, tuple(lows), tuple(highs), self.size * size, self.path + step))
        self.parts = tuple(made)

    def leaves(self) -> Iterator[Node]:
        """Yield the leaves, each box's lower part first."""
        left = [self]
        while left:
            node = left.pop()
            if node.axis is None:
                yield node
            left += reversed(node.parts)


class Found(NamedTuple):
    """Where a search stands."""

    spent: int
    proved: float
    refuted: float

    @property
    def decided(self) -> float:
        """Share of the volume that is decided."""
        return self.proved + self.refuted


class _Job(NamedTuple):
    """Boxes that a process evaluates, from number ``start`` of a round on."""

    start: int
    statement: str
    control: int | None
    low: np.ndarray
    high: np.ndarray


def _evaluate(job: _Job) -> Enclosed:
    return _on(load_statement(job.statement), job)


def _on(statement: Statement, job: _Job) -> Enclosed:
    """Evaluate a statement or one of its controls; what decides nothing is no warning."""
    call = (statement if job.control is None else statement.controls[job.control]).evaluate
    with np.errstate(all="ignore"):
        return call(job.low, job.high)


class Search:
    """A search over a box.

    Parameters
    ----------
    statement : Statement
    box : Box
    control : int, optional
        Search this control instead; the first refuted box ends it.
    """

    def __init__(self, statement: Statement, box: Box, control: int | None = None) -> None:
        self.statement, self.box, self.control = statement, box, control
        self.root = Node.root(box)
        self.spent = 0
        self.volumes = {PROVED: 0.0, REFUTED: 0.0}

    @property
    def found(self) -> Found:
        """Where the search stands."""
        return Found(self.spent, self.volumes[PROVED], self.volumes[REFUTED])

    def restore(self, root: Node, spent: int) -> None:
        """Go on from a tree."""
        self.root, self.spent = root, spent
        self.volumes = {PROVED: 0.0, REFUTED: 0.0}
        for node in root.leaves():
            if node.mark != OPEN:
                self.volumes[node.mark] += node.size

    def run(self, budget: int, executor: Executor | None = None) -> Iterator[Found]:
        """Examine boxes until ``budget`` of them are spent, earlier runs included."""
        executor = executor or SerialExecutor()
        queue = [(-node.size, node.path, node) for node in self.root.leaves() if node.mark == OPEN]
        heapq.heapify(queue)
        while queue and self.spent < budget:
            count = min(BATCH, budget - self.spent, len(queue))
            batch = [heapq.heappop(queue)[2] for _ in range(count)]
            for node, bounds, sides in self._examine(batch, executor):
                self.spent += 1
                finite = all(map(math.isfinite, bounds))
                mark = PROVED if bounds[0] > 0 else REFUTED if bounds[1] < 0 else OPEN
                mark = mark if finite else OPEN
                if mark != OPEN:
                    node.mark, node.bounds = mark, bounds
                    self.volumes[mark] += node.size
                elif axes := open_axes(node.box):
                    node.cut(self.statement, max(axes, key=sides.__getitem__))
                    for part in node.parts:
                        heapq.heappush(queue, (-part.size, part.path, part))
            yield self.found
            if self.control is not None and self.volumes[REFUTED] > 0:
                return

    def _examine(
        self, batch: list[Node], executor: Executor
    ) -> Iterator[tuple[Node, tuple[float, float], list[float]]]:
        """Yield boxes with their bounds and the effects of their sides."""
        low, high = (np.array([getattr(node, end) for node in batch]) for end in ("low", "high"))
        with np.errstate(invalid="ignore"):  # held sides
            shares = (high - low) / np.subtract(self.root.high, self.root.low)
        jobs = [
            _Job(i, self.statement.id, self.control, low[i : i + PIECE], high[i : i + PIECE])
            for i in range(0, len(batch), PIECE)
        ]
        found = {}
        if isinstance(executor, SerialExecutor):
            found = {job.start: _on(self.statement, job) for job in jobs}
        else:
            for job, result in completed(executor, _evaluate, jobs):
                if isinstance(result, Exception):
                    raise result
                found[job.start] = result
        for start in sorted(found):
            lower, upper, effects = found[start]
            sizes = np.nan_to_num(effects, nan=np.inf, posinf=np.inf)
            ranked = np.where(np.isinf(sizes), 1e300 * shares[start : start + PIECE], sizes)
            rows = zip(lower.tolist(), upper.tolist(), ranked.tolist(), strict=True)
            for k, (a, b, sides) in enumerate(rows):
                yield batch[start + k], (a, b), sides


TRIED, KEPT, ROUNDS, SHRINK = 4096, 64, 24, 0.8
"""Open boxes whose middles are tried where no box is refuted, how many of those points the
falsifier moves, how often, and by how much shorter each time."""


def worst_point(search: Search) -> tuple[dict[str, float], float] | None:
    """Return a point that refutes, and an upper bound there; None if there is none.

    It is the middle of the refuted leaf with the least bound. Where none is refuted, the falsifier
    starts in the boxes that resist: at the middles of the largest open ones. It moves those with
    the least ``f`` at random within their box's size, and keeps what lowers it.
    """
    leaves = list(search.root.leaves())
    refuted = [node for node in leaves if node.mark == REFUTED]
    if refuted:
        worst = min(refuted, key=lambda node: node.bounds[1])
        return middle(search.statement, worst.box), worst.bounds[1]
    resisting = [node for node in leaves if node.mark == OPEN]
    if not resisting:
        return None
    resisting = heapq.nlargest(TRIED, resisting, key=lambda node: node.size)
    at = np.array([list(middle(search.statement, node.box).values()) for node in resisting])
    sizes = np.array([np.subtract(node.high, node.low) for node in resisting])
    sizes[:, [one.whole for one in search.statement.parameters]] = 0.0
    upper = _at_points(search, at)
    if not upper.min() < 0:
        at, upper = _moved(search, at, sizes, upper)
    best = int(upper.argmin())
    if not upper[best] < 0:
        return None
    names = (one.name for one in search.statement.parameters)
    return dict(zip(names, at[best].tolist(), strict=True)), float(upper[best])


def _at_points(search: Search, at: np.ndarray) -> np.ndarray:
    """Return upper bounds of ``f`` at points ``(B, P)``, infinite where nothing is known."""
    upper = _on(search.statement, _Job(0, search.statement.id, search.control, at, at)).upper
    return np.asarray(np.nan_to_num(upper, nan=np.inf))


def _moved(
    search: Search, at: np.ndarray, sizes: np.ndarray, upper: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Move the points with the least ``f`` about within the whole box, and keep what lowers it."""
    best = upper.argsort(kind="stable")[:KEPT]
    at, sizes, upper = at[best], sizes[best], upper[best]
    low, high = np.array([[float(end) for end in side] for side in search.box]).T
    rng = np.random.default_rng(0)
    for _ in range(ROUNDS):
        tried = np.clip(at + sizes * rng.uniform(-1, 1, at.shape), low, high)
        found = _at_points(search, tried)
        lower = found < upper
        at[lower], upper[lower] = tried[lower], found[lower]
        sizes *= SHRINK
    return at, upper


def middle(statement: Statement, box: Box) -> dict[str, float]:
    """Return the middle of a box; of a whole side, its lower end."""
    return {
        one.name: float(low if one.whole else (low + high) / 2)
        for one, (low, high) in zip(statement.parameters, box, strict=True)
    }
