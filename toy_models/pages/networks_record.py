"""Write the record of a comparison of a network: ``steinlab networks-record SPEC ROWS``.

``ROWS.json`` is what ``steinlab compare SPEC.json --json ROWS.json`` wrote; where there are
several, as of parts of the specification, the first one's row counts. A record keeps of each
row what is asked and spent, the three distances with their errors, the coefficients applied and
whether a calibrated table was kept, all to six digits. Records without a version say ``auto`` of
what is ``auto-v1`` by now, and are read so.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from steinlab.cli.parser import Parser
from steinlab.errors import InputError
from steinlab.storage.schemas import read_stored

DISTANCES = {
    "energy_distance": "Energy distance",
    "sliced_w2": "Sliced W2",
    "flow_error": "Flow error",
}
PLAIN = "plain"
VERSION = 2
AUTO = "auto-v1"
FIXES = ("stein", "stein in [0.1, 1]", AUTO)
DECLINED = "no gain on the held-out half"

SIGNIFICANT = 2.0
"""Joint standard errors by which a corrected cell counts as better or worse than the plain one."""

Pair = tuple[float, float]
Key = tuple[str, int, str]


def label(row: dict[str, Any]) -> str:
    """Return the correction's column."""
    name, options = row["correction"], row["options"]
    if name == "none":
        return PLAIN
    if "gamma_max" in options:
        low, high = (f"{options.get(k, d):g}" for k, d in (("gamma_min", 0.1), ("gamma_max", 0)))
        return f"{name} in [{low}, {high}]"
    return str(name)


def six(value: float | None) -> float | None:
    """Return the number to six digits."""
    return None if value is None else float(f"{value:.6g}")


def pair(found: dict[str, float] | None) -> list[float | None] | None:
    """Return value and error to six digits."""
    return None if found is None else [six(found["value"]), six(found["error"])]


def packed(spec: dict[str, Any], rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Return the record."""
    return {
        "version": VERSION,
        "spec": spec,
        "floor": {k: pair(v) for k, v in rows[0]["noise_floor"].items()},
        "reference": {
            **rows[0]["flow_reference"],
            "error": six(rows[0]["flow_reference"]["error"]),
        },
        "rows": [
            {
                "solver": row["solver"],
                "asked": row["evaluations"]["asked"],
                "spent": row["evaluations"]["spent"],
                "fix": label(row),
                **{name: pair(row[name]) for name in DISTANCES},
                "gamma": [six(step["applied"]) for step in row["coefficients"]],
                "kept": not any(DECLINED in step["note"] for step in row["coefficients"]),
                "stopped": row["stopped"],
            }
            for row in rows
        ],
    }


@dataclass(frozen=True)
class Record:
    """A record with its rows by solver, evaluations and correction."""

    name: str
    content: dict[str, Any]

    @classmethod
    def read(cls, file: Path) -> Record:
        """Read a record; it is named for its file."""
        content = read_stored(file, "network", "FILE")
        if "version" not in content:
            for one in (*content["rows"], *content["spec"]["corrections"]):
                for key in ("fix", "name"):
                    if isinstance(one, dict) and one.get(key) == "auto":
                        one[key] = AUTO
        return cls(file.stem, content)

    @property
    def rows(self) -> dict[Key, dict[str, Any]]:
        """Rows by what they are."""
        return {(r["solver"], r["asked"], r["fix"]): r for r in self.content["rows"]}

    @property
    def cells(self) -> list[tuple[str, int]]:
        """Solvers and numbers of evaluations that a plain run was made of."""
        return [(s, n) for s, n, fix in self.rows if fix == PLAIN]

    @property
    def budgets(self) -> list[int]:
        """Numbers of evaluations at which every solver has run plain."""
        asked = [n for _, n in self.cells]
        return sorted(
            n for n in set(asked) if asked.count(n) == len(self.content["spec"]["solvers"])
        )

    @property
    def calibration(self) -> int:
        """Calibration states of ``auto-v1``."""
        found = [c for c in self.content["spec"]["corrections"] if isinstance(c, dict)]
        return next(int(c["states"]) for c in found if c["name"] == AUTO)

    def unrun(self) -> dict[int, tuple[int, int]]:
        """Return rows not there and rows asked for, by numbers of evaluations that lack some."""
        spec, out = self.content["spec"], {}
        asked = len(spec["solvers"]) * len(spec["corrections"])
        for n in spec["evaluations"]:
            there = sum(key[1] == n for key in self.rows)
            if there < asked:
                out[int(n)] = asked - there, asked
        return out

    @property
    def most(self) -> int:
        """The largest number of evaluations that has run whole."""
        return max(set(self.budgets) - set(self.unrun()))

    def made(self, fix: str) -> list[tuple[str, int]]:
        """Return the cells that a correction has run in."""
        return [cell for cell in self.cells if (*cell, fix) in self.rows]

    def value(self, solver: str, asked: int, fix: str, distance: str) -> Pair:
        """Return a distance and its error; infinite where the run stopped or was not made."""
        found = self.rows.get((solver, asked, fix), {}).get(distance)
        return (math.inf, 0.0) if found is None or None in found else (found[0], found[1])

    def outcome(self, solver: str, asked: int, fix: str, distance: str) -> str:
        """Return ``gain``, ``loss`` or ``even`` against the plain run, beyond the joint error.

        Of the distances or of their logarithms: where coefficients explode, a distance's error is
        as large as the distance, which may be a thousand times the plain one all the same. A plain
        distance below its error counts as its error there. Both runs start from the same states, so
        their errors are mostly shared and the joint error is on the large side: cells called even
        may still differ.
        """
        (plain, a), (fixed, b) = (self.value(solver, asked, f, distance) for f in (PLAIN, fix))
        apart = not math.isfinite(plain - fixed)
        apart = apart or abs(fixed - plain) > SIGNIFICANT * math.hypot(a, b)
        if not apart and fixed > 0:
            least = max(plain, a)
            relative = math.hypot(a / least, b / fixed)
            apart = abs(math.log(fixed / least)) > SIGNIFICANT * relative
        if not apart:
            return "even"
        return "gain" if fixed < plain else "loss"

    def ratio(self, fix: str, distance: str, asked: int) -> float:
        """Return the geometric mean over the solvers of the distance over the plain one's."""
        logs = []
        for solver, n in self.made(fix):
            if n == asked:
                plain, fixed = (self.value(solver, n, f, distance)[0] for f in (PLAIN, fix))
                logs.append(math.log(fixed / plain) if math.isfinite(fixed) else math.inf)
        return math.exp(sum(logs) / len(logs)) if logs else math.nan


def main(args: Sequence[str]) -> int:
    """Write the record to stdout, one row per line."""
    parser = Parser("networks-record", "Write the record of a comparison of a network to stdout.")
    parser.add_argument("spec", type=Path, metavar="SPEC.json")
    parser.add_argument("rows", type=Path, nargs="+", metavar="ROWS.json")
    given = parser.parse_args(args)
    spec, *parts = (
        read_stored(file, name, "FILE")
        for file, name in ((given.spec, "compare"), *((file, "rows") for file in given.rows))
    )
    found: dict[Key, dict[str, Any]] = {}
    for row in itertools.chain(*parts):
        found.setdefault((row["solver"], row["evaluations"]["asked"], label(row)), row)
    rows = list(found.values())
    try:
        record = packed(spec, rows)
    except KeyError as error:
        raise InputError(f"ROWS must hold rows with {error.args[0]}, got others") from None
    lines = ",\n  ".join(json.dumps(row) for row in record.pop("rows"))
    head = json.dumps(record, indent=1)[:-2]
    print(f'{head},\n "rows": [\n  {lines}\n ]\n}}')
    return 0
