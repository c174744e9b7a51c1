"""How wide is what is enclosed, and how large the errors that are stated.

A bound may hold and not be the one derived, and a check against a stated error holds the better the
larger the error is. So the bounds themselves stay: to a fiftieth of themselves against
``widths.json``. ``python -m tests.test_widths`` writes that file anew.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture, NoiseLevel
from analytic.iterates import plane, transport
from analytic.iterates.distances import energy, fisher_divergence, kl_divergence, wasserstein
from steinlab.coefficient.rounding import step_sizes
from steinlab.coefficient.routes import coefficients
from steinlab.estimates import as_json
from steinlab.solvers import get_solver
from steinlab.solvers.iterate_laws import line_iterate, space_iterate
from steinlab.solvers.step import Step

FILE = Path(__file__).parent / "widths.json"
RELATIVE = 0.02
"""Of a width; what is enclosed differs by less."""

ROUNDING, ROUNDED = 1e-12, 0.5
"""Below this size an error holds what was rounded, which differs between libraries, by up to so
much of it."""

LINE = GaussianMixture([0.3, 0.7], [-1.0, 1.5], [0.16, 0.49])
PLANE = GaussianMixture([0.4, 0.6], [[-1.0, 0.2], [1.0, -0.3]], [0.2, 0.4])
VP, LATER = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)
HISTORY = NoiseLevel(0.5, 0.75**0.5)


def routes(solver: str) -> Any:
    """The routes on the line, each with its error."""
    past = [HISTORY] if get_solver(solver).depth else []
    found = coefficients(LINE, VP, LATER, get_solver(solver), history=past)
    return {name: as_json(entry) for name, entry in found.items()}


def sizes() -> Any:
    """Rounding of a step's parts, in units, at states between and beyond the modes."""
    x = np.array([[-3.0], [-0.2], [0.4], [5.0]])
    step = Step.take(LINE, get_solver("heun"), x, VP, LATER)
    return [np.asarray(part).ravel().tolist() for part in step_sizes(step)]


def certified() -> Any:
    """Polynomials that the tails rest on, and enclosures at a precision whose radii are theirs."""
    from analytic.certified.balls import precision
    from analytic.certified.coefficient import coefficient
    from analytic.certified.laws import ExactMixture, Line
    from analytic.certified.lipschitz import lipschitz
    from analytic.certified.perturbation import perturbation_bound
    from analytic.certified.radius import Radial
    from analytic.certified.steps import BallStep, ExactStep

    two = ExactMixture.of(["3/10", "7/10"], [-1, "3/2"], ["4/25", "49/100"])
    space = ExactMixture.of(["1/5", "4/5"], [[-3, 0, 0], [2, 0, 0]], ["1/9", "1"])
    modes = ExactMixture.of([1, 1], [-3, 3], ["1/4", "1/4"])
    triangle = ExactMixture.of([1, 1, 1], [[0, 1], [2, 3], [-2, 2]], ["1/5"] * 3)
    levels = ("4/5", "3/5"), ("12/13", "5/13")
    found: dict[str, Any] = {}
    for solver in ("euler", "heun"):
        step = ExactStep.of(solver, *levels)
        with precision(53):
            flat = BallStep(step, Line.through(two)).growth()
            wide = Radial(BallStep(step, Line.through(space)), 53).growth()
            for name, bounds in (("line", flat), ("radius", wide)):
                at = [[float(bound(t)) for t in (0, 1, 3)] for bound in bounds]
                found[f"growth, {name}, {solver}"] = at
        rough = coefficient(two, step, bits=24)
        ends = {k: [float(v.mid), float(v.radius)] for k, v in rough.items()}
        found[f"coefficient, {solver}"] = ends
        for name, law in (("modes", modes), ("triangle", triangle)):
            one = lipschitz(law, step, tolerance=0.2, boxes=400)
            value = [float(one.value.lower), float(one.value.upper), float(one.far), one.boxes]
            found[f"lipschitz, {name}, {solver}"] = value
    bound = perturbation_bound(two, modes, ExactStep.of("euler", *levels))
    found["perturbation"] = [[float(e.lower), float(e.upper)] for e in vars(bound).values()]
    return found


def affine() -> Any:
    """Radii of forms over a box, and of their slopes."""
    from analytic.certified import affine as forms

    low, high = np.array([[0.5, 1.5], [1.0, 2.0]]), np.array([[0.7, 1.8], [1.5, 2.6]])
    x, y = forms.sides(low, high)
    made = {
        "product": x * y, "sum": x + 3 * y, "difference": x - y, "quotient": x / y,
        "square": forms.square(x), "reciprocal": forms.reciprocal(y), "sqrt": forms.sqrt(x),
        "exp": forms.exp(x), "log": forms.log(y), "tanh": forms.tanh(x - y),
        "normal": forms.normal_cdf(x - y), "beside tanh": forms.tanh_rest(x * y),
    }  # fmt: skip
    parts = {k: (np.asarray(v.centre), np.asarray(v.radius)) for k, v in made.items()}
    return {k: [centre.tolist(), radius.tolist()] for k, (centre, radius) in parts.items()}


def iterates() -> Any:
    """The distances of one step's iterate from its law, each with its error or its two bounds."""
    solver, grid = get_solver("euler"), [VP, LATER]
    far, flat = space_iterate(PLANE, grid, solver), line_iterate(LINE, grid, solver)
    enclosed = transport.wasserstein(far, LATER)
    return {
        "energy": as_pair(plane.energy(far, PLANE, LATER)),
        "transport": [float(enclosed.lower), float(enclosed.upper)],
        **{
            f"{one.__name__} on the line": as_pair(one(flat, LINE, LATER))
            for one in (fisher_divergence, kl_divergence, wasserstein, energy)
        },
    }


def as_pair(found: Any) -> list[float]:
    return [float(found.value), float(found.error)]


WIDTHS: dict[str, Callable[[], Any]] = {
    **{f"routes, {solver}": lambda s=solver: routes(s) for solver in ("euler", "heun", "dpmpp-2m")},  # type: ignore[misc]
    "sizes": sizes,
    "certified": certified,
    "affine": affine,
    "iterates": iterates,
}


def moved(old: Any, new: Any, where: str = "") -> Iterator[str]:
    """Yield what differs by more than a fiftieth of itself."""
    if isinstance(old, dict) and isinstance(new, dict) and old.keys() == new.keys():
        for key in old:
            yield from moved(old[key], new[key], f"{where}.{key}")
    elif isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        for k, pair in enumerate(zip(old, new, strict=True)):
            yield from moved(*pair, f"{where}[{k}]")
    elif isinstance(old, float) and isinstance(new, float):
        if not math.isclose(old, new, rel_tol=ROUNDED if abs(old) < ROUNDING else RELATIVE):
            yield f"{where}: {old!r}, now {new!r}"
    elif old != new:
        yield f"{where}: {old}, now {new}"


@pytest.mark.parametrize("name", WIDTHS)
def test_the_widths_stay(name: str) -> None:
    if name == "certified":
        pytest.importorskip("flint", reason="python-flint, an extra, is not installed")
    stored = json.loads(FILE.read_text(encoding="utf-8"))[name]
    assert list(moved(stored, json.loads(json.dumps(WIDTHS[name]())))) == []


if __name__ == "__main__":
    made = {name: make() for name, make in WIDTHS.items()}
    FILE.write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")
