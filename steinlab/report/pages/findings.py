"""The page of findings from the ledger that ``steinlab verify --json FILE`` wrote.

Every sentence on a claim is the ledger's own; the numbers of the third objection are cells of
docs/comparison.md, with the command that stands above each table there, and what other packages add
by an entry point of the group ``steinlab.findings``, a function of solvers and numbers of
evaluations that returns paragraphs.
"""

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from steinlab import plugins
from steinlab.report.pages import aims, table
from steinlab.report.pages.scaling import RECORD, section
from steinlab.report.words import (
    WHOSE,
    attacked,
    contradicted,
    counts,
    grouped,
    meaning,
    measured,
    not_looked_at,
    owner_of,
    rejected,
)

OBJECTIONS = {
    "regularity-conditions": "Objection 1: which regularity does the derivation need, and does it "
    "hold where steps are large?",
    "perturbation-bound-in-trap": "Objection 2: is the perturbation bound valid, and informative, "
    "where contraction fails?",
}
COMPARED = "Objection 3: how does it compare with Euler, Heun and DDIM?"
SOLVERS = ("euler", "heun", "dpmpp-2m")
BUDGETS = ("5", "8", "10")

Row = Mapping[str, Any]


def plain(text: str) -> str:
    """Return text that Markdown leaves as it is, ended by a full stop."""
    marks = r"[\\*`\[\]~]|<(?=[a-zA-Z/!?])|(?<![0-9A-Za-z])_|_(?![0-9A-Za-z])"
    escaped = re.sub(f"({marks})", r"\\\1", " ".join(text.split()))
    return escaped if escaped.endswith(".") else escaped + "."


def entry(row: Row, profile: str) -> str:
    """Return what was claimed, the verdict, what was found and the command behind it.

    Numbers stand between the answer and its details; a row of an older ledger has neither.
    """
    command = f"steinlab verify --claims {row['id']}"
    if profile != "quick":
        command += f" --profile {profile}"
    answer = row.get("headline")
    numbers = "; ".join(
        f"{plain(n['name'])[:-1]} **{plain(measured(n))[:-1]}**" for n in row.get("numbers", ())
    )
    rest = {"Tried": row.get("tried"), "Contradicted": contradicted(row), "Attacked": attacked(row)}
    return (
        f"**{plain(row['title'])[:-1]}** (`{row['id']}`): {row['verdict']}.\n\n"
        f"- {'Claimed by us' if owner_of(row) == 'laboratory' else 'Claimed'} "
        f"({plain(row['source'])[:-1]}): {plain(row['statement'])}\n"
        + (f"- Answer: {plain(answer)}\n" if answer else "")
        + (f"- Numbers: {numbers}.\n" if numbers else "")
        + f"- {'Details' if answer else 'Found'}: {plain(row['finding'])}\n"
        + "".join(f"- {name}: {plain(text)}\n" for name, text in rest.items() if text)
        + f"- `{command}`"
    )


def sections(page: str) -> Iterator[tuple[str, str, dict[str, dict[str, str]]]]:
    """Yield title, command and ``solver -> column -> cell`` of each table of energy distances."""
    for part in re.split(r"^## ", page, flags=re.MULTILINE)[1:]:
        commands = re.findall(r"^steinlab compare (\S+)", part, re.MULTILINE)
        block = re.search(r"Energy distance:\n\n((?:^\|.*\n)+)", part, re.MULTILINE)
        if block is None:
            continue
        head, _, *lines = [
            [cell.strip().replace("**", "") for cell in line.split("|")[1:-1]]
            for line in block.group(1).splitlines()
        ]
        cells = {
            name: dict(zip(head, line, strict=True))
            for line in lines
            for name in re.findall(r"`(.+?)`", line[0])
            if name in SOLVERS
        }
        yield part.splitlines()[0], ", ".join(commands), cells


def compared(docs: Path) -> str:
    """Return energy distances, plain and corrected, of the third objection's solvers."""
    columns = [f"{n}{kind}" for n in BUDGETS for kind in ("", " stein")]
    out = [
        f"### {COMPARED}",
        "Euler and DDIM are one method (`solver-equivalences`). Energy distance to the law, on "
        "exact denoisers of the EDM process, without correction and with `stein` clipped to "
        "[0.1, 1]; a column is a number of evaluations, `[7]` says how many were spent, an empty "
        "cell was not computed. [comparison.md](comparison.md) has every solver, the flow error "
        "and how to read the numbers; [networks.md](networks.md) has trained networks, "
        "[fashion-edm.md](fashion-edm.md) the Frechet distance, precision and recall of a U-Net, "
        "and [study.md](study.md) the solvers and the correction on it.",
    ]
    for title, specs, cells in sections((docs / "comparison.md").read_text("utf-8")):
        rows = [[f"`{n}`", *(cells[n].get(column, "") for column in columns)] for n in SOLVERS]
        commands = ", ".join(f"`steinlab compare {spec}`" for spec in specs.split(", "))
        out += [f"{title} ({commands}):", table(["solver", *columns], rows, rule="---")]
    for entry in sorted(plugins.entries("steinlab.findings"), key=lambda entry: entry.name):
        out += entry.load()(SOLVERS, BUDGETS)
    return "\n\n".join(out)


def pages(docs: Path, ledger: Mapping[str, Any] | None) -> dict[str, str]:
    """Return the pages by file name; none without a ledger, no times without seconds in it."""
    if not ledger:
        return {}
    found = {"findings.md": render(docs, ledger)}
    if all("seconds" in row for row in ledger["claims"]):
        many = section(docs, [row["seconds"] for row in ledger["claims"]])
        record = json.loads((docs / RECORD).read_text("utf-8"))
        found["speed.md"] = f"{speed(ledger, record)}\n{many}\n"
    return found


def speed(ledger: Mapping[str, Any], record: Mapping[str, Any]) -> str:
    """Return the page of where the time goes: aims, and a run's claims, the longest first."""
    rows = sorted(ledger["claims"], key=lambda row: row["seconds"], reverse=True)
    spent, cases = (sum(row[key] for row in rows) for key in ("seconds", "cases"))
    cores, wall = ledger["environment"]["cores"], ledger["wall_seconds"]
    command = f"steinlab verify --profile {ledger['profile']} --json ledger.json"
    parts = [
        "# Where the time goes",
        "Whoever waits for a verdict reads here how long it takes: what each command may take and "
        "takes, which claims the time of a run goes to, and whether more workers would pay. Who "
        "makes something faster begins with the longest claim. `steinlab pages ledger.json --only "
        "speed.md` writes this page.",
        aims.section(record),
        "## By claim",
        f"`{command}` on {cores} cores took {wall:.0f} s for {len(rows)} claims and {cases:,} "
        f"cases; their checks, each on one core, took {spent:.0f} s together. The longest start "
        "first, and a process that is idle takes the next.",
        table(
            ["claim", "seconds", "cases"],
            [[f"`{r['id']}`", f"{r['seconds']:.1f}", f"{r['cases']:,}"] for r in rows],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def render(docs: Path, ledger: Mapping[str, Any]) -> str:
    """Return the whole page."""
    rows, profile = list(ledger["claims"]), ledger["profile"]
    cases = sum(row["cases"] for row in rows)
    by_id = {row["id"]: row for row in rows}
    parts = [
        "# Findings",
        "What the laboratory found about each claim, in the words of its ledger: "
        f"{len(rows)} claims, {cases:,} cases, {rejected(rows)} controls rejected "
        f"(profile {profile}, seed {ledger['seed']}). Written by",
        f"```\nsteinlab verify --profile {profile} --json ledger.json\n"
        "steinlab pages ledger.json --only findings.md\n```",
        "The command after a finding recomputes it. `u = x - T` is the residual of a step from "
        "`(alpha, sigma)` to `(alpha', sigma')`, `kappa = sigma'/sigma`, `beta = alpha' - kappa "
        "alpha`. Sections and theorems are those of arXiv 2606.07835; its first version and the "
        "conference page have different abstracts, and a claim of an abstract names its own.",
        "## Verdicts by owner",
        "Whose claims came to which verdict; an aim of ours that is missed says nothing of the "
        "paper:",
        "\n".join(f"- {line}" for line in counts(rows)),
    ]
    left = not_looked_at(rows)
    if left:
        lines = "\n".join(f"- {plain(reason)[:-1]} ({plain(where)[:-1]})" for reason, where in left)
        parts += ["Not looked at in this run:", lines]
    parts.append("## The review's objections")
    for claim, question in OBJECTIONS.items():
        if claim in by_id:
            parts += [f"### {question}", entry(by_id[claim], profile)]
    parts.append(compared(docs))
    others = grouped(row for row in rows if row["id"] not in OBJECTIONS)
    for owner, verdicts in others.items():
        parts.append(f"## {WHOSE[owner].capitalize()}")
        for verdict, group in verdicts.items():
            parts.append(f"### {verdict.capitalize()}: {meaning(verdict, owner)}")
            parts += [entry(row, profile) for row in group]
    return "\n\n".join(parts) + "\n"
