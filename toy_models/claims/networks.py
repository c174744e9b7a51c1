"""What the claims on networks share: which models are there, and the galaxies' own samples."""

from dataclasses import dataclass, field
from functools import cache
from typing import Any

import numpy as np

from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.models import Model, load_model, registered
from steinlab.solvers import SOLVERS
from steinlab.solvers.loop import solve
from steinlab.verification.claim import Result

GALAXY = "galaxies-hsc-32"

OWN, OWN_STEPS, OWN_SOLVER = 32, 8, "ipndm-3"
"""Samples of the galaxy network's own that stand for data, and the run that makes them. A short run
suffices: Stein's identity holds under the forward law of any set of pictures."""


@dataclass(frozen=True)
class Pool:
    """The law of a finite set of states: draws with replacement."""

    states: np.ndarray = field(repr=False)

    def sample(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` of them, ``(n, d)``."""
        drawn: np.ndarray = self.states[rng.integers(len(self.states), size=n)]
        return drawn


@cache
def network(name: str) -> Model:
    """Return a registered model, loaded once."""
    return load_model(name)


def galaxies_missing() -> str:
    """Return why the galaxy network is not there, empty if it is."""
    entry = registered().get(GALAXY)
    return "not registered" if entry is None else str(entry.load()().missing)


def without_galaxies(profile: str) -> dict[str, str]:  # noqa: ARG001
    """Return the galaxy network and why a check leaves it out, nothing where it is there."""
    missing = galaxies_missing()
    return {GALAXY: missing} if missing else {}


def with_galaxies(*names: str) -> tuple[str, ...]:
    """Return the names, and the galaxy network's where its package is installed."""
    return names if galaxies_missing() else (*names, GALAXY)


def split(result: Result) -> tuple[list[tuple[Any, Any]], list[tuple[Any, Any]]]:
    """Return cases with what was measured: on the toys, and on the galaxies, if they are here."""
    pairs = list(zip(result.batches, result.data, strict=True))
    toys, galaxies = ([p for p in pairs if (p[0].model == GALAXY) is own] for own in (False, True))  # type: ignore[attr-defined]
    return toys, galaxies


@cache
def own_samples() -> Pool:
    """Return pictures that the galaxy network generates."""
    model = network(GALAXY)
    grid = make_grid(model.process(), "karras", OWN_STEPS)
    start = model.start(grid[0], OWN, np.random.default_rng(0))
    return Pool(np.asarray(solve(model.denoiser, start, grid, SOLVERS[OWN_SOLVER]).state))
