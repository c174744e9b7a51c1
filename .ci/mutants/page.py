"""Write docs/mutants.md, or with `--check` say whether it is what the record gives.

The record is docs/mutants.json, which `run.py` writes; why a survivor matters little stands in
`reasons.toml`, by module, operator and place.
"""

import json
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from scipy.stats import beta

HERE = Path(__file__).resolve().parent
PAGE = HERE.parent.parent / "docs" / "mutants.md"
RECORD = PAGE.with_suffix(".json")
REASONS = HERE / "reasons.toml"


def percent(part: int, whole: int) -> str:
    """Give a share rounded down, so that none is shown above what it is."""
    return f"{1000 * part // whole / 10:.1f} %" if whole else "-"


def interval(part: int, whole: int) -> str:
    """Clopper and Pearson's 95 % interval, rounded outwards."""
    if not whole:
        return "-"
    low = float(beta.ppf(0.025, part, whole - part + 1)) if part else 0.0
    high = float(beta.ppf(0.975, part + 1, whole - part)) if part < whole else 1.0
    return f"{int(1000 * low) / 10:.1f} to {-int(-1000 * high // 1) / 10:.1f} %"


def reasons() -> dict[tuple[str, str], tuple[str, str]]:
    """Read the kind and the reason of each survivor, by its module and operator."""
    read = tomllib.loads(REASONS.read_text(encoding="utf-8"))
    return {
        (module, operator): (said["kind"], said["why"])
        for module, operators in read.items()
        for operator, said in operators.items()
    }


def _table(*rows: tuple[object, ...]) -> Iterator[str]:
    for number, row in enumerate(rows):
        yield "| " + " | ".join(str(cell).replace("|", "\\|") for cell in row) + " |"
        if not number:
            yield "|" + "---|" * len(row)


def _rates(record: dict[str, Any], said: dict[tuple[str, str], tuple[str, str]]) -> Iterator[str]:
    rows, apart = [], []
    for room in record["rooms"]:
        kinds = [said[s["module"], s["operator"]][0] for s in room["survivors"]]
        names = ("population", "run", "killed at first", "killed")
        row = (room["name"], *(room[name] for name in names), kinds.count("equivalent"))
        (apart if room["apart"] else rows).append(row)
    rows.append(("all these", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    yield from _table(
        ("room", "mutants", "run", "killed at first", "rate", "95 % interval",
         "without the equivalent", "killed since", "rate, without the equivalent"),
        *(
            (name, population, run, first, percent(first, run), interval(first, run),
             percent(first, run - equal), killed, percent(killed, run - equal))
            for name, population, run, first, killed, equal in (*rows, *apart)
        ),
    )  # fmt: skip


def page() -> str:
    """Fill the template of the page."""
    record, said = json.loads(RECORD.read_text(encoding="utf-8")), reasons()
    lived = [s for room in record["rooms"] for s in room["survivors"]]
    survivors = _table(
        ("module", "mutant", "before", "after", "kind", "why"),
        *(
            (f"`{s['module']}`", s["operator"], f"`{s['before']}`", f"`{s['after']}`",
             *said[s["module"], s["operator"]])
            for s in lived
        ),
    )  # fmt: skip
    return (
        (HERE / "page.md")
        .read_text(encoding="utf-8")
        .format(
            **{name: record[name] for name in ("tool", "python", "seed")},
            rates="\n".join(_rates(record, said)),
            survivors="\n".join(survivors),
            late=sum(room["timeouts"] for room in record["rooms"]),
            rooms="\n".join(
                f"- {room['name']}: {len(room['modules'])} modules, `{room['modules'][0]}` to "
                f"`{room['modules'][-1]}`."
                for room in record["rooms"]
            ),
        )
    )


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(page() != PAGE.read_text(encoding="utf-8"))
    PAGE.write_text(page(), encoding="utf-8")
