"""``steinlab replay``: run one stored case again."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.text import Text

from steinlab.cli.output import JsonOption, SpecArgument, new_table, show, styled, write_json
from steinlab.errors import InputError
from steinlab.storage import check_target, in_file, read_json


def replay(case: SpecArgument, target: JsonOption = None) -> int:
    """Run a stored case again and compare with what was stored; exit 1 if any digit differs."""
    from steinlab.report.words import case_name, case_text, labels
    from steinlab.verification.ledger import read_case
    from steinlab.verification.ledger import replay as run_again

    check_target(target)
    if (point := _point(case)) is not None:
        return _measure_again(point, target)
    stored = read_case(case)
    with in_file(case):
        now = run_again(stored)
    title = Text(f"{stored['claim']}, {stored['check']}: {case_name(stored)}")
    table = new_table(title, ("", "stored", "now"), left=("",))
    same = True
    for key, label in labels(now["kind"]).items():
        equal = float(stored[key]) == now[key]
        same = same and equal
        mark = "" if equal else "  [red]differs[/]"
        table.add_row(label, repr(float(stored[key])), repr(now[key]) + mark)
    relation = "violates the claim" if now["violated"] else "agrees with the claim"
    closing = f"the case {relation}; {'' if same else 'NOT '}reproduced to the last digit"
    show(table, styled(case_text(stored["case"])), closing, target=target)
    write_json(target, {**now, "reproduced": same})
    return 0 if same else 1


def _point(file: Path) -> Mapping[str, Any] | None:
    """Return the point that ``steinlab certify --json`` found refuted; None of a claim's case."""
    found = read_json(file, "CASE", float)
    if not isinstance(found, dict) or "statement" not in found:
        return None
    case = found.get("case")
    if not (
        isinstance(case, dict)
        and isinstance(case.get("statement"), str)
        and isinstance(case.get("point"), dict)
        and all(isinstance(value, int | float) for value in case["point"].values())
        and isinstance(case.get("value"), int | float)
    ):
        raise InputError(f"CASE must hold a refuted point and its value, got {file}")
    return case


def _measure_again(case: Mapping[str, Any], target: str | None) -> int:
    """Measure a statement at a point by the laboratory's own solvers, as it was stored."""
    from steinlab.verification.continuum.certificate import replayed

    value = replayed(case)
    same = value == case["value"]
    at = ", ".join(f"{name} {side:g}" for name, side in case["point"].items())
    show(
        Text(
            f"{case['statement']} at {at}: stored {case['value']!r}, now {value!r}\n"
            f"the point {'refutes' if value < 0 else 'agrees with'} the statement; "
            f"{'' if same else 'NOT '}reproduced to the last digit"
        ),
        target=target,
    )
    write_json(target, {**case, "now": value, "violated": value < 0, "reproduced": same})
    return 0 if same else 1
