"""What follows from a ledger beside the pages: the README's counts and the expected verdicts.

Of the verdicts expected in the ledger's profile only those of the claims that are judged on the
stored study are adopted from the ledger, since they follow the record; another difference is
reported and adopted by nobody. The README's counts are of the quick profile, and say where the full
one differs.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steinlab.errors import InputError
from steinlab.report.words import counts
from steinlab.storage import read_json
from steinlab.verification.registry import load_claim
from steinlab.verification.shards import package_of

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


def verdict_counts(quick: Mapping[str, str], full: Mapping[str, str]) -> str:
    """Return the README's counts, one line per owner, and where the full profile differs."""
    rows = [{"id": n, "verdict": v, "owner": load_claim(n).owner} for n, v in sorted(quick.items())]
    out = "".join(f"- {line[0].upper()}{line[1:]}\n" for line in counts(rows))
    others = [f"`{name}` is {full[name]}" for name in sorted(full) if full[name] != quick.get(name)]
    said = f"where {', '.join(others)}" if others else "with the same verdicts"
    return f"{out}\n`make verify PROFILE=full` takes eight times the cases, {said}.\n"


def following(root: Path, ledger: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the files below ``root`` that follow the ledger, and where it is not as expected.

    Raises
    ------
    InputError
        If the expected verdicts cannot be read, or README.md has no single block of verdicts.
    """
    expected = {profile: read_json(root / file, "root") for profile, file in EXPECTED.items()}
    after = adopted(ledger, expected[ledger["profile"]])
    expected[ledger["profile"]] = after
    readme = (root / "README.md").read_text(encoding="utf-8")
    tally = verdict_counts(expected["quick"], expected["full"])
    text, count = BLOCK.subn(lambda found: found[1] + tally + found[2], readme)
    if count != 1:
        raise InputError(f"README.md must hold one block of verdicts, got {count}")
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    problems = [
        f"{name}: verdict {found.get(name, 'missing')}, expected {verdict}"
        for name, verdict in after.items()
        if found.get(name) != verdict
    ]
    target = str(EXPECTED[ledger["profile"]])
    return {"README.md": text, target: json.dumps(after, indent=2) + "\n"}, problems
