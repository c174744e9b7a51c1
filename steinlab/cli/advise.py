"""``steinlab advise``: solver, grid, correction and expected error at a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box

from steinlab.cli.output import JsonOption, SpecArgument, new_table, show, write_json
from steinlab.storage import check_target, in_file, read_json

if TYPE_CHECKING:
    from steinlab.experiments.advise import Choice

CHOSEN = (
    "chosen by: the same on the states that chose, where the least of many looks better than it "
    "is; the rows beside have no fresh states. "
)


def advise(spec_file: SpecArgument, target: JsonOption = None) -> None:
    """Name solver, grid and correction for a law, model, spectrum or loss curve at a budget."""
    from steinlab.experiments.advise import advise as advice_of
    from steinlab.experiments.bench import BATCH

    check_target(target)
    with in_file(spec_file):
        found = advice_of(read_json(spec_file), spec_file.parent)
    exact = found.best.low == found.best.high
    errors = ("flow error",) if exact else ("chosen by", "flow error")
    columns = ("", "solver", "grid", "correction", "evaluations", *errors)
    title = f"advice: {found.why}"
    caption = (
        "flow error: root mean square distance to the flow's end points"
        f"{'' if exact else ', on fresh states, with its 95 % interval'}; the one told is "
        f"{found.best.error / found.spread:.2g} of the data's spread ({found.spread:.3g}). "
        f"{'' if exact else CHOSEN}"
        f"This advice cost {found.price:,} evaluations, {found.price / BATCH:.2g} per state of a "
        f"batch of {BATCH:,}"
    )
    left = columns[:4]
    table = new_table(title, columns, left=left, caption=caption, box=box.SIMPLE_HEAD)
    for word, one in (("use", found.best), *(("beside", other) for other in found.others)):
        fix = (
            "none"
            if isinstance(one.correction, str)
            else f"pilot states={one.correction['states']}"
        )
        told = _errors(one, exact=exact, judged=one is found.best)
        cells = (word, one.solver, one.grid, fix, str(one.evaluations), *told)
        table.add_row(*cells, style="bold" if word == "use" else "dim")
    show(table, target=target)
    write_json(target, found.to_json())


def _errors(one: Choice, *, exact: bool, judged: bool) -> list[str]:
    """Return the cells of a choice: only the winner is judged on fresh states."""
    if exact:
        return [f"{one.error:.3g}"]
    fresh = f"{one.error:.3g} ({one.low:.3g} to {one.high:.3g})" if judged else ""
    return [f"{one.chosen_by:.3g}", fresh]
