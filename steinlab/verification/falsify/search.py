r"""Differential evolution on islands, one per space; its whole state is a few arrays.

A round takes one island and moves its population: ``a + F (b - c)`` towards random rows or the
island's best, crossed over with the parent, which it replaces if it is no worse. The population is
one stack, measured at once. Half of the rounds go to random islands, half to the leading ones of
a random check. Other processes may measure every island's first population, and the rows of later
ones that cannot be stacked: what is found is the same.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from steinlab.errors import InputError, quote
from steinlab.estimates import finite_or_none
from steinlab.verification.claim import Check, Claim
from steinlab.verification.comparison import Comparison
from steinlab.verification.falsify.spaces import Rows, RowSpace, Space
from steinlab.verification.registry import load_claim
from steinlab.workers import completed, required

STATE_VERSION = 1
"""Version of the stored state's format."""

POPULATION = 16
"""Rows of an island."""

LEAD = 0.35
"""Chance that a round aimed at the leading islands takes the next one in rank."""


class Scores(NamedTuple):
    """How near rows come to their limit, ``(P,)``, violations apart."""

    violated: np.ndarray
    score: np.ndarray

    def better(self, other: Scores) -> np.ndarray:
        """Which rows are no worse than others; a violation outranks any score."""
        same = self.violated == other.violated
        return np.asarray((self.violated & ~other.violated) | (same & (self.score >= other.score)))

    def best(self) -> int:
        """Return the leading row."""
        return int(np.lexsort((self.score, self.violated))[-1])


def score_of(c: Comparison) -> np.ndarray:
    """Return ``measured / bound``, or ``excess / tolerance`` of an identity; 1 is the limit.

    Undecided cases score ``-inf``: rounding that swamps a case says nothing about the claim.
    """
    with np.errstate(all="ignore"):
        by_bound = np.where(
            c.predicted > 0, c.measured / c.predicted, np.where(c.violated, 1e300, 0)
        )
        score = by_bound if c.upper else c.excess / np.maximum(c.tolerance, 1e-300)
    usable = c.decided & np.isfinite(score)
    return np.asarray(np.where(usable, score, -np.inf))


def evaluate(
    check: Check, formula: Any, space: Space, values: np.ndarray, seeds: np.ndarray
) -> Scores:
    """Measure a population at once; a row with several cases has the score of its worst."""
    cases: Any = space.build(values, seeds)
    if isinstance(cases, Rows):
        rows = [_measured(check, formula, row, 1) for row in cases]
        return Scores(*(np.concatenate(part) for part in zip(*rows, strict=True)))
    return _measured(check, formula, cases, len(values))


def _measured(check: Check, formula: Any, cases: Any, rows: int) -> Scores:
    """Return the worst case's scores of every row of a batch."""
    with np.errstate(all="ignore"):
        comparison = check.compare(check.measure(cases), formula)
    score, violated = (a.reshape(rows, -1) for a in (score_of(comparison), comparison.violated))
    worst = np.lexsort((score, violated), axis=-1)[:, -1]
    return Scores(violated[range(rows), worst], score[range(rows), worst])


@dataclass(eq=False)
class Island:
    """A population in the unit cube of one space."""

    space: Space
    points: np.ndarray
    seeds: np.ndarray
    scores: Scores | None = None

    def values(self, points: np.ndarray) -> np.ndarray:
        """Return the parameters at points of the unit cube."""
        columns = [p.at(points[:, i]) for i, p in enumerate(self.space.parameters)]
        return np.stack(columns, axis=1)

    def leading(self) -> Found | None:
        """Return the leading row, None before any is measured."""
        if self.scores is None:
            return None
        i = self.scores.best()
        violated, score = bool(self.scores.violated[i]), float(self.scores.score[i])
        values = self.values(self.points[i : i + 1])[0]
        return Found(self.space, values, int(self.seeds[i]), violated, score)


class _Part(NamedTuple):
    """Rows of a population, from ``start`` on, that another process measures."""

    address: str
    space: int
    start: int
    values: np.ndarray
    seeds: np.ndarray


@functools.lru_cache(maxsize=1)
def _loaded(address: str) -> tuple[Claim, list[Space]]:
    from steinlab.verification.falsify.attack import spaces_of

    claim = load_claim(address)
    return claim, spaces_of(claim)


def _evaluate(part: _Part) -> Scores:
    claim, spaces = _loaded(part.address)
    space = spaces[part.space]
    check = next(check for check in claim.checks if check.name == space.check)
    return evaluate(check, claim.formula, space, part.values, part.seeds)


@dataclass(frozen=True)
class Found:
    """The best case so far: where it lies, and how near it comes."""

    space: Space
    values: np.ndarray
    seed: int
    violated: bool
    score: float

    @property
    def standing(self) -> tuple[bool, float]:
        """Where it stands among others: a violation leads."""
        return self.violated, self.score


class Search:
    """A search for the worst case of a claim; :meth:`run` continues from where it is.

    Parameters
    ----------
    claim : Claim
    spaces : sequence of Space
        At least one.
    seed : int
    elsewhere : pair, optional
        What measures in other processes, and the claim's address, by which each loads it and its
        ``spaces_of``.
    """

    def __init__(
        self,
        claim: Claim,
        spaces: Sequence[Space],
        seed: int,
        elsewhere: tuple[Executor, str] | None = None,
    ) -> None:
        self.claim, self.seed, self.spent = claim, seed, 0
        self._elsewhere = elsewhere
        self._checks = {check.name: check for check in claim.checks}
        self._rng = np.random.default_rng([seed, 0xFA15])
        self.islands = [
            Island(
                space,
                self._rng.random((POPULATION, len(space.parameters))),
                self._rng.integers(2**32, size=POPULATION),
            )
            for space in spaces
        ]
        self._order = self._rng.permutation(len(spaces))

    def run(self, budget: int) -> Iterator[Found | None]:
        """Spend cases up to ``budget`` in all; yield the best after every round."""
        if self._elsewhere is not None:
            yield from self._begin(budget)
        while self.spent < budget:
            island = self._pick()
            rows = min(POPULATION, budget - self.spent)
            self._move(island, rows)
            self.spent += rows
            yield self.best()

    def _begin(self, budget: int) -> Iterator[Found | None]:
        """Measure first populations all at once, as far as the budget goes."""
        new = [int(index) for index in self._order if self.islands[index].scores is None]
        left = max(0, budget - self.spent)
        rows = [min(POPULATION, left - POPULATION * k) for k in range(-(-left // POPULATION))]
        populations = {i: self.islands[i].points[:n] for i, n in zip(new, rows, strict=False)}
        for index, scores in self._measured_elsewhere(populations):
            self._first(self.islands[index], scores)
            self.spent += len(scores.score)
            yield self.best()

    def _measured_elsewhere(
        self, populations: Mapping[int, np.ndarray]
    ) -> Iterator[tuple[int, Scores]]:
        """Yield islands' scores, as they are finished."""
        assert self._elsewhere is not None
        executor, address = self._elsewhere
        parts, found = [], {index: dict[int, Scores]() for index in populations}
        for index, points in populations.items():
            island, values = self.islands[index], self.islands[index].values(points)
            size = 1 if isinstance(island.space, RowSpace) else len(points)
            for k in range(0, len(points), size):
                own = slice(k, k + size)
                parts.append(_Part(address, index, k, values[own], island.seeds[own]))
        for part, scores in completed(executor, _evaluate, parts):
            own_scores = found[part.space]
            own_scores[part.start] = required(scores)
            if sum(len(one.score) for one in own_scores.values()) == len(populations[part.space]):
                ordered = [own_scores[start] for start in sorted(own_scores)]
                yield part.space, Scores(*map(np.concatenate, zip(*ordered, strict=True)))

    def best(self, check: str | None = None) -> Found | None:
        """Return the leading case over all islands, or over those of one check."""
        found = (i.leading() for i in self.islands if check in (None, i.space.check))
        usable = (one for one in found if one is not None and np.isfinite(one.score))
        return max(usable, key=lambda one: one.standing, default=None)

    def _pick(self) -> Island:
        """Every island once; then, in turns of chance, any of them or a leading one."""
        for index in self._order:
            island: Island = self.islands[index]
            if island.scores is None:
                return island
        if self._rng.random() < 0.5:
            return self.islands[int(self._rng.integers(len(self.islands)))]
        check = self._rng.choice(sorted({island.space.check for island in self.islands}))
        same = [island for island in self.islands if island.space.check == check]
        rank = min(int(self._rng.geometric(1 - LEAD)) - 1, len(same) - 1)
        return sorted(same, key=lambda one: one.leading().standing, reverse=True)[rank]  # type: ignore[union-attr]

    def _move(self, island: Island, rows: int) -> None:
        """Measure an island's first population, or one trial for each of its first rows."""
        check = self._checks[island.space.check]

        def measured(points: np.ndarray) -> Scores:
            if self._elsewhere is not None and isinstance(island.space, RowSpace):
                index = self.islands.index(island)
                return next(scores for _, scores in self._measured_elsewhere({index: points}))
            values, seeds = island.values(points), island.seeds[: len(points)]
            return evaluate(check, self.claim.formula, island.space, values, seeds)

        if island.scores is None:
            self._first(island, measured(island.points[:rows]))
            return
        trial = self._trial(island)[:rows]
        found, old = measured(trial), Scores(*(a[:rows] for a in island.scores))
        better = found.better(old)
        island.points[:rows][better] = trial[better]
        for now, new in zip(island.scores, found, strict=True):
            now[:rows][better] = new[better]

    def _first(self, island: Island, found: Scores) -> None:
        """Give an island the scores of the first rows of its population."""
        pad = POPULATION - len(found.score)
        island.scores = Scores(
            np.pad(found.violated, (0, pad)),
            np.pad(found.score, (0, pad), constant_values=-np.inf),
        )

    def _trial(self, island: Island) -> np.ndarray:
        rng, points = self._rng, island.points
        assert island.scores is not None
        count, size = points.shape
        a, b, c = (points[rng.permutation(count)] for _ in range(3))
        lead = points[island.scores.best()]
        base = np.where(rng.random((count, 1)) < 0.5, a, points + 0.7 * (lead - points))
        trial = base + rng.uniform(0.3, 0.9, (count, 1)) * (b - c)
        trial += np.where(rng.random((count, 1)) < 0.2, 0.02 * rng.standard_normal(trial.shape), 0)
        keep = rng.random((count, size)) > rng.choice([0.3, 0.9], size=(count, 1))
        keep[np.arange(count), rng.integers(size, size=count)] = False
        trial = np.abs(np.where(keep, points, trial))  # reflected at 0 and, next, at 1
        return np.asarray(np.clip(1 - np.abs(1 - trial), 0, 1))

    def to_json(self, sources: str) -> dict[str, Any]:
        """Return the state; :meth:`restore` continues from it as if nothing had happened."""
        return {
            "version": STATE_VERSION,
            "sources": sources,
            "claim": self.claim.id,
            "seed": self.seed,
            "spent": self.spent,
            "rng": self._rng.bit_generator.state,
            "islands": [
                {
                    "points": island.points.tolist(),
                    "scores": None if island.scores is None else _listed(island.scores),
                }
                for island in self.islands
            ],
        }

    def restore(self, state: Mapping[str, Any], sources: str) -> None:
        """Continue from a stored state.

        Raises
        ------
        InputError
            If it is of another version, other sources, another claim or another seed.
        """
        mine = {"version": STATE_VERSION, "sources": sources, "claim": self.claim.id}
        for key, value in {**mine, "seed": self.seed}.items():
            if state[key] != value:
                raise InputError(
                    f"{key} must be {value} in the stored search, got {quote(state[key])}; "
                    "continue it as it was begun, or give another --out"
                )
        try:
            self.spent = int(state["spent"])
            self._rng.bit_generator.state = state["rng"]
            for island, stored in zip(self.islands, state["islands"], strict=True):
                points = np.array(stored["points"], dtype=float)
                if points.shape != island.points.shape:
                    raise ValueError(f"points of shape {points.shape}")
                island.points, scores = points, stored["scores"]
                if scores is not None:
                    known = [-np.inf if one is None else one for one in scores["score"]]
                    island.scores = Scores(np.array(scores["violated"]), np.array(known))
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"islands must be of a stored search of this claim: {error}") from None


def _listed(scores: Scores) -> dict[str, Any]:
    return {"violated": scores.violated.tolist(), "score": list(map(finite_or_none, scores.score))}
