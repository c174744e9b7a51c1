"""Records of ``steinlab compare`` on networks: what the page on networks is made of.

python docs/networks_record.py SPEC.json ROWS.json > docs/results/networks/NAME.json

``ROWS.json`` is what ``steinlab compare SPEC.json --json ROWS.json`` wrote. A record keeps of each
row what is asked and spent, the three distances with their errors, the coefficients applied and
whether a calibrated table was kept, all to six digits.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

DISTANCES = {
    "energy_distance": "Energy distance",
    "sliced_w2": "Sliced W2",
    "flow_error": "Flow error",
}
PLAIN = "plain"
FIXES = ("stein", "stein in [0.1, 1]", "auto")
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
        return cls(file.stem, json.loads(file.read_text(encoding="utf-8")))

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
        """Numbers of evaluations."""
        return sorted({n for _, n in self.cells})

    def value(self, solver: str, asked: int, fix: str, distance: str) -> Pair:
        """Return a distance and its error; infinite where the run stopped or was not made."""
        found = self.rows.get((solver, asked, fix), {}).get(distance)
        return (math.inf, 0.0) if found is None or None in found else (found[0], found[1])

    def outcome(self, solver: str, asked: int, fix: str, distance: str) -> str:
        """Return ``gain``, ``loss`` or ``even`` against the plain run, beyond the joint error.

        Both runs start from the same states, so their errors are mostly shared and the joint error
        is on the large side: cells called even may still differ.
        """
        (plain, a), (fixed, b) = (self.value(solver, asked, f, distance) for f in (PLAIN, fix))
        if not math.isfinite(plain - fixed) or abs(fixed - plain) > SIGNIFICANT * math.hypot(a, b):
            return "gain" if fixed < plain else "loss"
        return "even"

    def ratio(self, fix: str, distance: str, asked: int) -> float:
        """Return the geometric mean over the solvers of the distance over the plain one's."""
        logs = []
        for solver, n in self.cells:
            if n == asked:
                plain, fixed = (self.value(solver, n, f, distance)[0] for f in (PLAIN, fix))
                logs.append(math.log(fixed / plain) if math.isfinite(fixed) else math.inf)
        return math.exp(sum(logs) / len(logs)) if logs else math.nan


def main() -> None:
    """Write the record to stdout, a row a line."""
    spec, rows = (json.loads(Path(name).read_text(encoding="utf-8")) for name in sys.argv[1:3])
    record = packed(spec, rows)
    lines = ",\n  ".join(json.dumps(row) for row in record.pop("rows"))
    head = json.dumps(record, indent=1)[:-2]
    print(f'{head},\n "rows": [\n  {lines}\n ]\n}}')


if __name__ == "__main__":
    main()
