"""Write what follows from a ledger and the stored study: ``make pages``.

python docs/refresh.py ledger.json

Writes docs/findings.md, docs/study.md, docs/study-runs.md, and the tables of verdicts in README.md.
Of the verdicts expected in the ledger's profile only those of the claims that are judged on the
stored study are adopted from the ledger, since they follow the record; another difference is
printed, adopted by nobody, and the exit code is 1. The README's tables are of the quick profile,
and say where the full one differs.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from findings_page import render
from study_page import pages

from gpu_models.study.stored import RESULTS
from steinlab.report.words import counts, grouped
from steinlab.storage import write_json, write_text
from steinlab.verification.registry import load_claim
from steinlab.verification.shards import package_of

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = {
    "quick": Path("tests") / "expected_verdicts.json",
    "full": Path("tests") / "expected_verdicts_full.json",
}
BLOCK = re.compile(r"(<!-- verdicts -->\n).*?(<!-- end of verdicts -->)", re.DOTALL)


def adopted(ledger: Mapping[str, Any], expected: Mapping[str, str]) -> dict[str, str]:
    """Return the expected verdicts with those of the claims on the stored study as found."""
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    mine = {name: found[name] for name in found if package_of(name) == "gpu_models"}
    return dict(sorted({**expected, **mine}.items()))


def verdict_tables(quick: Mapping[str, str], full: Mapping[str, str]) -> str:
    """Return the README's tables, one per owner, and where the full profile differs."""
    rows = [{"id": n, "verdict": v, "owner": load_claim(n).owner} for n, v in sorted(quick.items())]
    out = ""
    for line, verdicts in zip(counts(rows), grouped(rows).values(), strict=True):
        table = ""
        for verdict, group in verdicts.items():
            table += f"| {verdict} | " + ", ".join(f"`{row['id']}`" for row in group) + " |\n"
        out += f"{line[0].upper()}{line[1:]}:\n\n| verdict | claims |\n|---|---|\n{table}\n"
    others = [f"`{name}` {full[name]}" for name in sorted(full) if full[name] != quick.get(name)]
    said = f"to have {', '.join(others)}" if others else "to come to the same verdicts"
    note = "These are the quick profile's; the full one (`make verify PROFILE=full`) is expected"
    return out + f"{note} {said}.\n"


def read(root: Path, profile: str) -> dict[str, str]:
    """Return the verdicts expected in a profile."""
    content: dict[str, str] = json.loads((root / EXPECTED[profile]).read_text(encoding="utf-8"))
    return content


def refresh(root: Path, ledger: Mapping[str, Any]) -> list[str]:
    """Write the files below ``root``; return where the ledger differs from what was expected."""
    readme, profile = root / "README.md", ledger["profile"]
    before = read(root, profile)
    after = adopted(ledger, before)
    for name, verdict in after.items():
        if before.get(name) != verdict:
            print(f"{name}: {before.get(name)} -> {verdict}")
    write_json(root / EXPECTED[profile], after, indent=2)
    tables = verdict_tables(read(root, "quick"), read(root, "full"))
    old = readme.read_text(encoding="utf-8")
    text, count = BLOCK.subn(lambda found: found[1] + tables + found[2], old)
    if count != 1:
        raise SystemExit(f"README.md must hold one block of verdicts, got {count}")
    write_text(readme, text)
    write_text(root / "docs" / "findings.md", render(ledger))
    for name, page in pages(RESULTS).items():
        write_text(root / "docs" / name, page)
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    return [
        f"{name}: verdict {found.get(name, 'missing')}, expected {verdict}"
        for name, verdict in after.items()
        if found.get(name) != verdict
    ]


if __name__ == "__main__":
    problems = refresh(ROOT, json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    print("\n".join(problems), end="\n" if problems else "", file=sys.stderr)
    sys.exit(bool(problems))
