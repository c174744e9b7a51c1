"""``steinlab advise``: solver, grid, correction and expected error at a budget."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich import box

from steinlab.cli.output import JsonOption, SpecArgument, new_table, show, write_json
from steinlab.storage import check_target, read_json

if TYPE_CHECKING:
    from steinlab.experiments.advise import Choice


def advise(spec_file: SpecArgument, target: JsonOption = None) -> None:
    """Name solver, grid and correction for a law, model, spectrum or loss curve at a budget."""
    from steinlab.experiments.advise import advise as advice_of
    from steinlab.experiments.bench import BATCH

    check_target(target)
    found = advice_of(read_json(spec_file), spec_file.parent)
    columns = ("", "solver", "grid", "correction", "evaluations", "flow error")
    title = f"advice: {found.why}"
    caption = (
        f"flow error: root mean square distance to the flow's end points, 95 % interval; "
        f"{found.best.error / found.spread:.2g} of the data's spread ({found.spread:.3g}); "
        "those beside are what was chosen by. "
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
        cells = (word, one.solver, one.grid, fix, str(one.evaluations), _error(one))
        table.add_row(*cells, style="bold" if word == "use" else "dim")
    show(table, target=target)
    write_json(target, found.to_json())


def _error(one: Choice) -> str:
    known = one.low == one.high
    return f"{one.error:.3g}" if known else f"{one.error:.3g} ({one.low:.3g} to {one.high:.3g})"
