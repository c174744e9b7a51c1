"""What the claims on networks share: which models are there, and a sentence on the galaxies."""

from __future__ import annotations

from functools import cache

from steinlab.models import Model, load_model, registered

GALAXY = "galaxies-hsc-32"


@cache
def network(name: str) -> Model:
    """Return a registered model, loaded once."""
    return load_model(name)


def galaxies_missing() -> str:
    """Return why the galaxy network is not there, empty if it is."""
    entry = registered().get(GALAXY)
    return "not registered" if entry is None else str(entry.load()().missing)
