"""Write what follows from a ledger and the stored study: ``make pages``.

python docs/refresh.py ledger.json

Writes docs/findings.md, docs/study.md, docs/study-runs.md, and the table of verdicts in README.md.
Of tests/expected_verdicts.json only the claims that are judged on the stored study are adopted
from the ledger, since they follow the record; another difference is printed, adopted by nobody, and
the exit code is 1.
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
from steinlab.report.words import MEANING
from steinlab.shards import package_of

ROOT = Path(__file__).resolve().parent.parent
EXPECTED = Path("tests") / "expected_verdicts.json"
ROWS = r"(?:^\| (?:%s) \| `.+` \|\n)+"


def adopted(ledger: Mapping[str, Any], expected: Mapping[str, str]) -> dict[str, str]:
    """Return the expected verdicts with those of the claims on the stored study as found."""
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    mine = {name: found[name] for name in found if package_of(name) == "gpu_models"}
    return dict(sorted({**expected, **mine}.items()))


def verdict_table(expected: Mapping[str, str]) -> str:
    """Return the rows of the README's table."""
    out = ""
    for verdict in MEANING:
        claims = ", ".join(f"`{name}`" for name, v in sorted(expected.items()) if v == verdict)
        out += f"| {verdict} | {claims} |\n" if claims else ""
    return out


def refresh(root: Path, ledger: Mapping[str, Any]) -> list[str]:
    """Write the files below ``root``; return where the ledger differs from what was expected."""
    file, readme = root / EXPECTED, root / "README.md"
    before: dict[str, str] = json.loads(file.read_text(encoding="utf-8"))
    after = adopted(ledger, before)
    for name, verdict in after.items():
        if before.get(name) != verdict:
            print(f"{name}: {before.get(name)} -> {verdict}")
    file.write_text(json.dumps(after, indent=2) + "\n", encoding="utf-8")
    rows = re.compile(ROWS % "|".join(MEANING), re.MULTILINE)
    text, count = rows.subn(verdict_table(after), readme.read_text(encoding="utf-8"))
    if count != 1:
        raise SystemExit(f"README.md must hold one table of verdicts, got {count}")
    readme.write_text(text, encoding="utf-8")
    (root / "docs" / "findings.md").write_text(render(ledger), encoding="utf-8")
    for name, page in pages(RESULTS).items():
        (root / "docs" / name).write_text(page, encoding="utf-8")
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
