"""``steinlab check-grid``: what is wrong with a list of noise levels."""

import json
from pathlib import Path
from typing import Annotated

import typer

from steinlab.cli.output import JsonOption, show, write_json
from steinlab.errors import InputError, quote
from steinlab.storage import check_target, in_file, read_bytes


def check_grid(
    levels: Annotated[
        list[str],
        typer.Argument(metavar="FILE|NUMBER...", help="Sigmas, or a file of them (JSON or text)."),
    ],
    target: JsonOption = None,
) -> int:
    """Look for repeated, rising, missing and misplaced noise levels; exit 1 at a fault."""
    from steinlab.testing.grid_lint import lint_grid

    check_target(target)
    sigmas = _numbers(levels)
    found = lint_grid(sigmas)
    lines = [f"{len(sigmas)} levels from {sigmas[0]:g} to {sigmas[-1]:g}"]
    for one in found:
        lines.append(f"  {one.severity:<6} {one.kind:<17} {one.text}")
        if one.cause:
            lines.append(f"  {'':<24} probable cause: {one.cause}; mend: {one.mend}")
    faults = sum(one.severity == "fault" for one in found)
    lines.append(f"{faults} fault{'s' * (faults != 1)}" if faults else "no fault")
    show("\n".join(lines), target=target)
    write_json(
        target, {"version": 1, "levels": sigmas, "findings": [one.as_json() for one in found]}
    )
    return int(faults > 0)


def _numbers(given: list[str]) -> list[float]:
    if len(given) == 1 and not _is_number(given[0]):
        file = Path(given[0])
        try:
            text = read_bytes(file).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or "not a text file"
            raise InputError(f"FILE must be readable, got {file}: {reason.lower()}") from None
        try:
            values = json.loads(text)
        except (ValueError, RecursionError):
            values = text.replace(",", " ").split()
        with in_file(file):
            if not isinstance(values, list):
                raise InputError(f"FILE must hold a list of numbers, got {quote(values)}")
            return _levels([value if isinstance(value, str) else quote(value) for value in values])
    return _levels(given)


def _levels(given: list[str]) -> list[float]:
    for i, value in enumerate(given):
        if not _is_number(value):
            raise InputError(f"level {i + 1} must be a number, got {quote(value)}")
    if len(given) < 2:
        raise InputError(f"grid must hold at least 2 levels, got {len(given)}")
    return [float(value) for value in given]


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True
