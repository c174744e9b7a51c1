"""Branch and bound over a statement's box: largest boxes first, each decided or cut in two.

A box is *proved* where the enclosure of ``f`` lies above 0, *refuted* where it lies below. Any other
box is cut along the side with the largest effect. The result does not depend on the number of
processes, and a search that was stopped goes on from its tree.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np

from steinlab.verification.continuum.statement import (
    Box,
    Enclosed,
    Statement,
    ends,
    halves,
    load_statement,
    open_axes,
    share,
)
from steinlab.workers import SerialExecutor, completed

BATCH = 1024
"""Boxes per round."""

PIECE = 128
"""Boxes that a process is handed at a time."""

PROVED, REFUTED, OPEN = "+-?"


@dataclass
class Node:
    """A box of the tree: open, decided with its bounds, or cut along ``axis`` into two."""

    box: Box
    mark: str = OPEN
    bounds: tuple[float, float] = (-np.inf, np.inf)
    axis: int | None = None
    parts: list[Node] = field(default_factory=list)


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
    statement: str
    control: int | None
    low: np.ndarray
    high: np.ndarray


def _evaluate(job: _Job) -> Enclosed:
    statement = load_statement(job.statement)
    return evaluated(statement, job.control, job.low, job.high)


def evaluated(
    statement: Statement, control: int | None, low: np.ndarray, high: np.ndarray
) -> Enclosed:
    """Evaluate a statement, or one of its controls, without warnings of what decides nothing."""
    call = statement.evaluate if control is None else statement.controls[control].evaluate
    with np.errstate(all="ignore"):
        return call(low, high)


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
        self.root = Node(box)
        self.spent = 0
        self.volumes = {PROVED: 0.0, REFUTED: 0.0}

    @property
    def found(self) -> Found:
        """Where the search stands."""
        return Found(self.spent, self.volumes[PROVED], self.volumes[REFUTED])

    def leaves(self) -> Iterator[Node]:
        """Yield the leaves, each box's lower part first."""
        left = [self.root]
        while left:
            node = left.pop()
            if node.axis is None:
                yield node
            else:
                left += reversed(node.parts)

    def restored(self, root: Node, spent: int) -> None:
        """Go on from a tree."""
        self.root, self.spent = root, spent
        self.volumes = {PROVED: 0.0, REFUTED: 0.0}
        for node in self.leaves():
            if node.mark != OPEN:
                self.volumes[node.mark] += share(self.statement, node.box, self.box)

    def run(self, budget: int, executor: Executor | None = None) -> Iterator[Found]:
        """Examine boxes until ``budget`` of them are spent, earlier runs included."""
        executor = executor or SerialExecutor()
        queue: list[tuple[float, Box, Node]] = []

        def push(node: Node) -> None:
            size = share(self.statement, node.box, self.box)
            heapq.heappush(queue, (-size, node.box, node))

        for node in self.leaves():
            if node.mark == OPEN:
                push(node)
        while queue and self.spent < budget:
            count = min(BATCH, budget - self.spent, len(queue))
            batch = [heapq.heappop(queue)[2] for _ in range(count)]
            for node, lower, upper, effects in self._examine(batch, executor):
                self.spent += 1
                mark = PROVED if lower > 0 else REFUTED if upper < 0 else OPEN
                if mark != OPEN:
                    node.mark, node.bounds = mark, (lower, upper)
                    self.volumes[mark] += share(self.statement, node.box, self.box)
                    continue
                axes = open_axes(self.statement, node.box)
                if axes:
                    node.axis = max(axes, key=lambda i: effects[i])
                    halved = halves(self.statement, node.box, node.axis)
                    node.parts = [Node(box) for box in halved]
                    for part in node.parts:
                        push(part)
            yield self.found
            if self.control is not None and self.volumes[REFUTED] > 0:
                return

    def _examine(
        self, batch: list[Node], executor: Executor
    ) -> Iterator[tuple[Node, float, float, list[float]]]:
        low, high = ends([node.box for node in batch])
        starts = range(0, len(batch), PIECE)
        jobs = {
            i: _Job(self.statement.id, self.control, low[i : i + PIECE], high[i : i + PIECE])
            for i in starts
        }
        if isinstance(executor, SerialExecutor):
            found = {i: evaluated(self.statement, self.control, *jobs[i][2:]) for i in starts}
        else:
            found = {}
            by_job = {id(job): i for i, job in jobs.items()}
            for job, result in completed(executor, _evaluate, list(jobs.values())):
                if isinstance(result, Exception):
                    raise result
                found[by_job[id(job)]] = result
        for i in starts:
            for k, node in enumerate(batch[i : i + PIECE]):
                lower, upper, effects = found[i]
                sizes = np.nan_to_num(effects[k], nan=np.inf, posinf=np.inf)
                sides = high[i + k] - low[i + k]  # a tie, of two that are unbounded, say
                ranked = np.lexsort((sides, sizes)).argsort()
                yield node, float(lower[k]), float(upper[k]), ranked.tolist()


def worst_point(search: Search) -> tuple[dict[str, float], float] | None:
    """Return the middle of the refuted leaf with the least upper bound, and that bound."""
    refuted = [node for node in search.leaves() if node.mark == REFUTED]
    if not refuted:
        return None
    worst = min(refuted, key=lambda node: node.bounds[1])
    return middle(search.statement, worst.box), worst.bounds[1]


def middle(statement: Statement, box: Box) -> dict[str, float]:
    """Return the middle of a box; of a whole side, its lower end."""
    return {
        one.name: float(low if one.whole else (low + high) / 2)
        for one, (low, high) in zip(statement.parameters, box, strict=True)
    }
