"""``steinlab coefficient``: every estimator of gamma for one step, side by side."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    JsonOption,
    ProgressOption,
    SeedOption,
    SpecArgument,
    new_table,
    number_option,
    progress_bar,
    show,
    whole,
    write_json,
)
from steinlab.errors import InputError, one_of, quote
from steinlab.estimates import significant
from steinlab.storage import check_target, in_file, read_json

if TYPE_CHECKING:
    from steinlab.coefficient.routes import Coefficients
    from steinlab.experiments.specs.coefficient import CoefficientSpec

MAX_SAMPLES = 100_000_000

HOW = {
    "reference": "E<u, x - x_star> / E|u|^2 over (x_star, eps), without D",
    "stein_hutchinson": "the same, div u by one Rademacher probe per state",
    "stein": "Theorem 4.7: (1 - 1/alpha) E<u,x> + (sigma^2/alpha) E div u, over E|u|^2",
    "tweedie": "E<u, x - D> / E|u|^2",
    "three_scalar": "from E|x_star|^2, E|x_star - D|^2 and the dimension",
    "certified": "proved enclosure of the reference route, from the exact fractions",
}
"""What each route computes."""

FARTHEST, LARGEST, SMALLEST = 10**6, 10**60, Fraction(1, 10**60)
"""Data in units of the noise from which a reference may be lost, and sizes whose fourth powers
stay in double precision."""

ALONE = "none: the step is the solver's first, without past levels"


def coefficient(  # noqa: PLR0917
    spec_file: SpecArgument,
    target: JsonOption = None,
    seed: SeedOption = 0,
    samples: Annotated[
        int | None,
        number_option(
            whole(2, MAX_SAMPLES),
            "Draw this number where no quadrature applies: 200000 of a law, 1024 of a model.",
        ),
    ] = None,
    certify: Annotated[
        bool, typer.Option("--certify", help="Add a proved enclosure (needs python-flint).")
    ] = False,
    silent: ProgressOption = False,
) -> None:
    """Show gamma for one step of a solver by every route, each with its error."""
    import numpy as np

    from steinlab.coefficient.formulas import NoResidualError
    from steinlab.coefficient.routes import COUPLING, coefficients
    from steinlab.estimates import as_json
    from steinlab.experiments.specs.coefficient import CoefficientSpec

    check_target(target)
    with in_file(spec_file):
        spec = CoefficientSpec.from_json(read_json(spec_file))
        _require_sizes(spec)
    proved = _certified(spec) if certify else None
    coupled = COUPLING if spec.history else ALONE
    # what overflows comes out as no number, of unknown error
    with progress_bar(silent) as progress, np.errstate(over="ignore", invalid="ignore"):
        try:
            found = coefficients(
                spec.law,
                spec.s,
                spec.t,
                spec.solver,
                history=spec.past,
                samples=samples,
                seed=seed,
                progress=lambda done: progress(done, "the network's long run"),
            )
        except NoResidualError:
            raise _lost(spec, spec_file) from None
    if not math.isfinite(found["reference"].error):
        raise _lost(spec, spec_file)
    states = {"states": {"from": found.states, "counts": found.counts}} if found.states else {}
    _print(spec, found, coupled, target, proved=proved, states=states)
    gamma: dict[str, Any] = {route: as_json(entry) for route, entry in found.items()}
    if proved is not None:
        gamma["certified"] = {"mid": proved[0], "radius": proved[1]}
    result: dict[str, Any] = {"gamma": gamma}
    if spec.most_history:
        result["history"] = coupled
    write_json(target, {**result, **states})


def _sizes(spec: CoefficientSpec) -> dict[str, Fraction]:
    """Return the sizes of a mixture's means and widths, by field."""
    from steinlab.experiments.specs.laws import MixtureSpec

    if not isinstance(spec.data, MixtureSpec):
        return {}
    means = {f"data.means[{i}]": max(map(abs, mean)) for i, mean in enumerate(spec.data.means)}
    return means | {f"data.stds[{i}]": std for i, std in enumerate(spec.data.stds)}


def _require_sizes(spec: CoefficientSpec) -> None:
    """Raise ``InputError`` for a size whose fourth power leaves double precision."""
    sigma = spec.start[1]
    for field, size in {**_sizes(spec), "from: sigma": sigma}.items():
        if size > LARGEST:
            raise InputError(f"{field} must be at most 1e60 for a coefficient, got {quote(size)}")
    if sigma < SMALLEST:
        raise InputError(
            f"from: sigma must be at least 1e-60 for a coefficient, got {quote(sigma)}"
        )


def _lost(spec: CoefficientSpec, spec_file: Path) -> InputError:
    """Return why double precision leaves nothing of the residual."""
    (alpha, sigma), sizes = spec.start, _sizes(spec)
    field = max(sizes, key=sizes.__getitem__, default="")
    if field and sizes[field] * alpha > FARTHEST * sigma:
        reason = (
            f"{field} must be at most 1e6 sigma/alpha of from, got {quote(sizes[field])} for "
            f"{quote(sigma / alpha)}"
        )
    else:
        place = "step" if spec.process else "to"
        levels = " and ".join(f"({one.alpha:g}, {one.sigma:g})" for one in (spec.s, spec.t))
        reason = f"{place} must be a step that is longer, got {levels}"
    return InputError(f"{reason}: rounding leaves nothing of E|u|^2, in {spec_file}")


def _certified(spec: CoefficientSpec) -> tuple[str, str]:
    """Midpoint and radius in decimal, from the SPEC's exact fractions.

    Raises
    ------
    InputError
        Without python-flint, and for what cannot be certified: history that shares the noise of
        ``x``, other solvers, means off one line.
    """
    from analytic.certified.balls import missing
    from analytic.certified.laws import ExactMixture
    from analytic.certified.steps import SOLVERS, ExactStep
    from steinlab.coefficient.certified import certified_gamma
    from steinlab.experiments.specs.laws import MixtureSpec

    if reason := missing():
        raise InputError(f"--certify: {reason}")
    solver, data = spec.solver.name, spec.data
    try:
        one_of("solver", solver, SOLVERS)
    except InputError as error:
        raise InputError(f"--certify: {error}") from None
    if spec.history:
        raise InputError(
            "--certify: history must be empty: it shares the noise of x, which is not certified, "
            f"got {len(spec.history)} levels"
        )
    if not isinstance(data, MixtureSpec):
        found = "data, got a model" if data is None else f"a mixture, got the law {data.name}"
        raise InputError(f"--certify: SPEC must hold {found}")
    try:
        law = ExactMixture.of(data.weights, data.means, [std**2 for std in data.stds])
        step = ExactStep.of(solver, spec.start, spec.end)
        return certified_gamma(law, step).decimal()
    except (ValueError, ArithmeticError) as error:
        raise InputError(f"--certify: {error}") from None


def _print(
    spec: CoefficientSpec,
    found: Coefficients,
    coupled: str,
    target: str | None,
    *,
    proved: tuple[str, str] | None,
    states: dict[str, Any],
) -> None:
    title = (
        f"gamma of one step of {spec.solver_id} from ({spec.s.alpha:g}, {spec.s.sigma:g}) "
        f"to ({spec.t.alpha:g}, {spec.t.sigma:g})"
    )
    table = new_table(title, ("route", "gamma", "error", "how"), left=("route", "how"))
    for column in table.columns[:3]:
        column.no_wrap = True
    table.columns[0].style = "bold"
    for route, entry in found.items():
        value = significant(entry.value, entry.error)
        known = f"{entry.error:.1e}" if math.isfinite(entry.error) else "unknown"
        table.add_row(route, value, known, HOW.get(route, ""))
    if proved is not None:
        table.add_row("certified", *proved, HOW["certified"])
    notes = [Text(f"history: {coupled}")] if spec.most_history else []
    if states:
        counts = ", ".join(f"{name} {n}" for name, n in states["states"]["counts"].items())
        notes.append(Text(f"states: {states['states']['from']}; {counts}"))
    show(table, *notes, target=target)
