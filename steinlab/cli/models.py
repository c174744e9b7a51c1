"""``steinlab models``: what is registered, with size and provenance."""

from __future__ import annotations

from steinlab.cli.output import JsonOption, show, write_json
from steinlab.storage import check_target


def models(target: JsonOption = None) -> None:
    """Show the registered models: dimension, size, provenance, and whether they are available."""
    from rich.table import Table
    from rich.text import Text

    from steinlab.diffusion.models import describe

    check_target(target)
    records = describe()
    table = Table(title="Models", title_justify="left")
    for column in ("name", "dimension", "size", "schedule", "provenance", "state"):
        table.add_column(column, justify="right" if column == "dimension" else "left")
    for record in records:
        keys = ("name", "dim", "size", "schedule", "provenance", "state")
        cells = ["" if record[key] is None else str(record[key]) for key in keys]
        colour = "green" if record["state"] == "available" else "yellow"
        table.add_row(*map(Text, cells[:-1]), Text(cells[-1], colour))
    show(table, target=target)
    write_json(target, records)
