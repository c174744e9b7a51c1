"""What the statements about one step share."""

from steinlab.solvers.base import Solver


def step_of(process: str, solver: Solver) -> tuple[str, str]:
    """Return a step's part of an id, and its name in a sentence."""
    kind = process.split("-", maxsplit=1)[0]
    article = "an" if kind == "edm" else "a"
    return f"{kind}-{solver.name}", f"{article} {kind.upper()} {solver.name.capitalize()} step"
