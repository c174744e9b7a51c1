"""``steinlab models``: what is registered, with size and provenance."""

from rich.text import Text

from steinlab.cli.output import JsonOption, new_table, show, write_json
from steinlab.storage import check_target

COLUMNS = {"name": "name", "dimension": "dim", "size": "size", "process": "schedule"}
COLUMNS |= {"provenance": "provenance", "state": "state"}


def models(target: JsonOption = None) -> None:
    """Show the registered models: dimension, size, provenance, and whether they are available."""
    from steinlab.diffusion.models import describe

    check_target(target)
    records = describe()
    table = new_table("Models", list(COLUMNS), left={*COLUMNS} - {"dimension"})
    for record in records:
        cells = ["" if record[key] is None else str(record[key]) for key in COLUMNS.values()]
        colour = "green" if record["state"] == "available" else "yellow"
        table.add_row(*map(Text, cells[:-1]), Text(cells[-1], colour))
    show(table, target=target)
    write_json(target, records)
