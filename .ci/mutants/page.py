"""Write docs/mutants.md, or with `--check` say whether it is what the record gives.

The record is docs/mutants.json, a list of samples; `page.py OUT/record.json ...` takes samples in,
each in the place of one of the same seed. Why a survivor matters little stands in reasons.toml, by
module, operator and place.
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

Said = dict[tuple[str, str], tuple[str, str]]


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


def reasons() -> Said:
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


def _rates(sample: dict[str, Any], said: Said) -> Iterator[str]:
    rows = []
    kinds = [(s["room"], said[s["module"], s["operator"]][0]) for s in sample["survivors"]]
    for name, room in sample["rooms"].items():
        counts = [room[key] for key in ("population", "run", "killed at first", "killed")]
        rows.append((name, *counts, kinds.count((name, "equivalent"))))
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    yield from _table(
        ("room", "mutants", "run", "killed at first", "rate", "95 % interval", "killed now", "rate",
         "without the equivalent"),
        *(
            (name, f"{population:,}", run, first, percent(first, run), interval(first, run), killed,
             percent(killed, run), percent(killed, run - equal))
            for name, population, run, first, killed, equal in rows
        ),
    )  # fmt: skip


def _sample(sample: dict[str, Any], said: Said) -> Iterator[str]:
    run = sum(room["run"] for room in sample["rooms"].values())
    late = sum(room["late"] for room in sample["rooms"].values())
    yield f"### Seed {sample['seed']}"
    yield ""
    yield (
        f"{sample['drawn']} drawn, {run} run, at most {sample['cap']} s each; {late} of the killed "
        f"were killed by a limit of time. Made with {sample['tool']}, run under Python "
        f"{sample['python']}."
    )
    yield ""
    yield from _rates(sample, said)
    yield ""
    yield from _table(
        ("where", "before", "after", "tests", "kind", "why"),
        *(
            (f"`{s['module']}:{s['line']}`", f"`{_short(s['before'])}`", f"`{_short(s['after'])}`",
             f"{s['met']} of {s['tests']}", *said[s["module"], s["operator"]])
            for s in sample["survivors"]
        ),
    )  # fmt: skip
    yield ""


def _short(text: str) -> str:
    return " ".join(text.split())


def page() -> str:
    """Fill the template of the page."""
    samples, said = json.loads(RECORD.read_text(encoding="utf-8")), reasons()
    text = (HERE / "page.md").read_text(encoding="utf-8")
    shown = "\n".join(line for sample in samples for line in _sample(sample, said))
    return text.format(samples=shown.rstrip("\n"))


def adopt(files: list[str]) -> None:
    """Take samples into the record."""
    new = [json.loads(Path(file).read_text(encoding="utf-8")) for file in files]
    old = json.loads(RECORD.read_text(encoding="utf-8")) if RECORD.exists() else []
    seeds = {sample["seed"] for sample in new}
    every = sorted(
        [*new, *(s for s in old if s["seed"] not in seeds)], key=lambda sample: sample["seed"]
    )
    RECORD.write_text(json.dumps(every, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    if sys.argv[1:] == ["--check"]:
        sys.exit(page() != PAGE.read_text(encoding="utf-8"))
    if sys.argv[1:]:
        adopt(sys.argv[1:])
    PAGE.write_text(page(), encoding="utf-8")
