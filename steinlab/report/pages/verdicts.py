"""What follows from a ledger beside the pages: README's counts, expected verdicts, headlines.

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
from steinlab.report.terminal import answer
from steinlab.report.words import HEADLINES, counts
from steinlab.storage import read_json
from steinlab.verification.registry import load_claim
from steinlab.verification.shards import package_of

EXPECTED = {
    "quick": Path("tests") / "expected_verdicts.json",
    "full": Path("tests") / "expected_verdicts_full.json",
}
BLOCK = re.compile(r"(<!-- (verdicts|findings) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)

FEATURED = ("reference-free-coefficient", "integration-error", "clipped-gain")
"""Claims whose answers the README gives."""


def adopted(ledger: Mapping[str, Any], expected: Mapping[str, str]) -> dict[str, str]:
    """Return the expected verdicts with those of the claims on the stored study as found."""
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    mine = {name: found[name] for name in found if package_of(name) == "gpu_models"}
    return dict(sorted({**expected, **mine}.items()))


def featured(ledger: Mapping[str, Any]) -> str:
    """Return the README's findings: the headlines of some claims, with the command behind each."""
    rows = {row["id"]: row for row in ledger["claims"]}
    lines = [f"| {answer(rows[name])} | `steinlab show {name}` |\n" for name in FEATURED]
    return "| what we found | the evidence |\n|---|---|\n" + "".join(lines)


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
    made = {"verdicts": verdict_counts(expected["quick"], expected["full"])}
    made |= {"findings": featured(ledger)}
    names = [found[2] for found in BLOCK.finditer(readme)]
    if sorted(names) != sorted(made):
        raise InputError(f"README.md must hold one block each of {', '.join(made)}, got {names}")
    text = BLOCK.sub(lambda found: found[1] + made[found[2]] + found[3], readme)
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    problems = [
        f"{name}: verdict {found.get(name, 'missing')}, expected {verdict}"
        for name, verdict in after.items()
        if found.get(name) != verdict
    ]
    target = str(EXPECTED[ledger["profile"]])
    out = {"README.md": text, target: json.dumps(after, indent=2) + "\n"}
    if ledger["profile"] == "quick":
        said = {row["id"]: row["headline"] for row in ledger["claims"] if row.get("headline")}
        out[f"steinlab/report/{HEADLINES}"] = json.dumps(said, indent=1) + "\n"
    return out, problems
