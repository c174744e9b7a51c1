"""What follows from a ledger beside the pages: the README's counts and findings, headlines.

The counts are of the verdicts that the claims expect. A ledger with another verdict is reported,
and changes no expectation: that is a field of the claim.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from steinlab.errors import InputError
from steinlab.report.terminal import answer
from steinlab.report.words import HEADLINES, counts
from steinlab.verification.registry import claim_ids, load_claim

BLOCK = re.compile(r"(<!-- (verdicts|findings) -->\n).*?(<!-- end of \2 -->)", re.DOTALL)

FEATURED = ("reference-free-coefficient", "integration-error", "clipped-gain")
"""Claims whose answers the README gives."""


def featured(ledger: Mapping[str, Any]) -> str:
    """Return the README's findings: the headlines of some claims, with the command behind each."""
    rows = {row["id"]: row for row in ledger["claims"]}
    lines = [f"| {answer(rows[name])} | `steinlab show {name}` |\n" for name in FEATURED]
    return "| what we found | the evidence |\n|---|---|\n" + "".join(lines)


def verdict_counts() -> str:
    """Return the README's counts, one line per owner."""
    claims = map(load_claim, claim_ids())
    rows = [{"id": c.id, "verdict": c.expected, "owner": c.owner} for c in claims]
    out = "".join(f"- {line[0].upper()}{line[1:]}\n" for line in counts(rows))
    same = "`make verify PROFILE=full` takes eight times the cases."
    return f"{out}\n{same}\n"


def following(root: Path, ledger: Mapping[str, Any]) -> tuple[dict[str, str], list[str]]:
    """Return the files below ``root`` that follow the ledger, and where it is not as expected.

    Raises
    ------
    InputError
        If README.md has no single block each of verdicts and of findings.
    """
    readme = (root / "README.md").read_text(encoding="utf-8")
    made = {"verdicts": verdict_counts(), "findings": featured(ledger)}
    names = [found[2] for found in BLOCK.finditer(readme)]
    if sorted(names) != sorted(made):
        raise InputError(f"README.md must hold one block each of {', '.join(made)}, got {names}")
    text = BLOCK.sub(lambda found: found[1] + made[found[2]] + found[3], readme)
    found = {row["id"]: row["verdict"] for row in ledger["claims"]}
    problems = [
        f"{name}: verdict {found.get(name, 'missing')}, expected {expected}"
        for name in claim_ids()
        if found.get(name) != (expected := load_claim(name).expected)
    ]
    out = {"README.md": text}
    if ledger["profile"] == "quick":
        said = {row["id"]: row["headline"] for row in ledger["claims"] if row.get("headline")}
        out[f"steinlab/report/{HEADLINES}"] = json.dumps(said, indent=1) + "\n"
    return out, problems
