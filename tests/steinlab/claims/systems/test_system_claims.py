"""Claims on few-step systems against computations that use numpy alone."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar

from steinlab.claims.instruments.frechet import bias, equal
from steinlab.claims.instruments.part_lengths import Trajectories
from steinlab.claims.systems.frechet_bias import FEATURES, NARROW, WIDE
from steinlab.claims.systems.mean_value_direction import FOUND
from steinlab.claims.systems.oss_grid import WORST, Choice, measure
from steinlab.claims.systems.pas_directions import compare_rest, measure_rest

CANDIDATES = np.linspace(80 ** (1 / 7), 0.002 ** (1 / 7), 12) ** 7


def oss_ends(deviations: np.ndarray, steps: int) -> tuple[np.ndarray, np.ndarray]:
    """Distances of Euler's ends from its run through all candidates: the search's, the best's."""
    v, n = deviations**2, len(CANDIDATES) - 1

    def euler(x: np.ndarray, i: int, j: int) -> np.ndarray:
        s, t = CANDIDATES[i], CANDIDATES[j]
        return x * (v + s * t) / (v + s**2)

    goal = [np.sqrt(v + CANDIDATES[0] ** 2)]
    for i in range(n):
        goal.append(euler(goal[-1], i, i + 1))
    cells = {0: goal[0]}
    for left in reversed(range(steps)):
        found: dict[int, np.ndarray] = {}
        for i, x in cells.items():
            for j in range(i + 1, n - left + 1) if left else [n]:
                y = euler(x, i, j)
                old = found.get(j, y)
                nearer = [np.linalg.norm(z - goal[j], axis=-1) for z in (y, old)]
                found[j] = np.where((nearer[0] < nearer[1])[:, None], y, old)
        cells = found
    best = np.full(len(v), np.inf)
    for inner in itertools.combinations(range(1, n), steps - 1):
        x = goal[0]
        for i, j in itertools.pairwise((0, *inner, n)):
            x = euler(x, i, j)
        best = np.minimum(best, np.linalg.norm(x - goal[n], axis=-1))
    return np.linalg.norm(cells[n] - goal[n], axis=-1), best


def test_the_search_misses_the_best_grid_as_often_as_the_finding_says() -> None:
    """102 of these 24,000 Gaussians with three steps, none with two."""
    deviations = np.exp(np.random.default_rng(424242).uniform(*np.log([0.2, 6.0]), (24000, 3)))
    searched, best = oss_ends(deviations, 3)
    assert ((searched / best - 1) > 1e-9).sum() == 102
    searched, best = oss_ends(deviations[:2000], 2)
    assert not ((searched / best - 1) > 1e-9).any()


def test_the_worst_case_found_is_what_numpy_alone_finds() -> None:
    case = Choice(**WORST)
    searched, best = oss_ends(np.array([[case.first, case.second, case.third]]), case.steps)
    ends = measure(case)
    assert (ends.searched, ends.best) == pytest.approx((searched[0], best[0]), rel=1e-8)
    assert searched[0] / best[0] - 1 == pytest.approx(0.0158, abs=1e-4)


def test_a_small_part_off_the_span_is_seen() -> None:
    """A part of 9e-8; the part inside is short by its square alone, less than rounding allows."""
    rest = measure_rest(Trajectories(6, 64, "karras"), 1)
    assert rest == pytest.approx(8.8e-8, rel=0.02)
    compared = compare_rest(rest, 0.0)
    assert compared.excess > compared.tolerance > rest**2


def test_the_best_direction_misses_three_variances_by_little() -> None:
    """The page's 0.04 % of the step: over the draws, the least over the level and the length."""
    rng, missed = np.random.default_rng(8), []
    for _ in range(2000):
        least, apart, t, left = (rng.uniform(one.low, one.high) for one in FOUND)
        v = least * apart ** np.arange(3.0)
        way = np.sqrt((v + (left * t) ** 2) / (v + t**2)) - 1

        def miss(s: float, v: np.ndarray = v, t: float = t, way: np.ndarray = way) -> float:
            velocity = s / np.sqrt((v + s**2) * (v + t**2))
            rest = way - velocity * (velocity @ way) / (velocity @ velocity)
            return float(np.linalg.norm(rest) / np.linalg.norm(way))

        missed.append(minimize_scalar(miss, bounds=(left * t, t), method="bounded").fun)
    assert np.median(missed) == pytest.approx(3.8e-4, rel=0.1)
    assert 0.01 < max(missed) < 0.03


def test_the_ranking_by_frechet_distance_turns_where_the_headline_says() -> None:
    """By Marchenko and Pastur's law of the eigenvalues, which knows all orders in d/n."""
    d, nodes, weights = FEATURES, *np.polynomial.legendre.leggauss(200)
    angles, mass = np.pi * (1 + nodes) / 2, np.pi * weights / 2

    def wider_is_farther(n: float) -> float:
        y = d / n
        values = 1 + y - 2 * np.sqrt(y) * np.cos(angles)
        density = 2 * np.sin(angles) ** 2 / (np.pi * values)
        root = float((mass * density * np.sqrt(values)).sum())
        assert (mass * density).sum() == pytest.approx(1, rel=1e-12)
        wide, narrow = (d * (c**2 * (1 + 1 / n) + 1 - 2 * c * root) for c in (WIDE, NARROW))
        return wide - narrow

    turn = brentq(wider_is_farther, 2e4, 2e5)
    flip = (equal(d, WIDE) - equal(d, NARROW)) / (d * ((1 - NARROW) ** 2 - (1 - WIDE) ** 2))
    assert flip == pytest.approx(turn, rel=0.01)
    assert equal(5, 1.3) == pytest.approx(bias(1.69 * np.eye(5), np.eye(5)), rel=1e-12)
