"""The ledger on a terminal: one line per claim, grouped by verdict, and the card of one claim."""

import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from steinlab.report.words import (
    MEANING,
    SHORT,
    Row,
    attacked,
    case_name,
    case_text,
    counted,
    labels,
    measured,
    not_looked_at,
    number,
    owner_of,
    rejected,
)
from steinlab.storage.sheets import Sheet

PARTS = (
    "coefficient",
    "coordinates",
    "contraction",
    "error_bounds",
    "solvers",
    "performance",
    "toy_models",
    "gpu_models",
)
"""Parts of the paper, in its order; then what was tried on networks. Others follow."""

ID_WIDTH, STACKED = 26, 90
"""Columns for a claim's id, and the width below which the id has a line of its own."""

LABEL = 12
"""Columns for what a line of a card is about."""


def order(row: Row) -> tuple[int, str]:
    """Return where a row stands among others of its verdict: by the part of the paper."""
    part = str(row.get("part", ""))
    return (PARTS.index(part) if part in PARTS else len(PARTS), part)


def answer(row: Row) -> str:
    """Return what was found, in a sentence: the headline, where it is one of this verdict.

    Examples
    --------
    >>> row = {"title": "Jensen", "verdict": "refuted", "expected": "holds", "finding": "no flint"}
    >>> answer(row), answer({**row, "verdict": "holds"}), answer({**row, "verdict": "not-run"})
    ('came out refuted, expected holds: Jensen', 'Jensen', 'no flint')
    """
    verdict, expected = row["verdict"], row.get("expected") or row["verdict"]
    if verdict == "not-run":
        return str(row["finding"])
    if verdict != expected:
        return f"came out {verdict}, expected {expected}: {row['title']}"
    return str(row.get("headline") or row["title"])


def trouble(row: Row) -> str:
    """Return why a row cannot be trusted, or is not what was expected; empty where it is fine."""
    passed = [control["name"] for control in row["controls"] if not control["rejected"]]
    if "crash" in row:
        return str(row["finding"])
    if passed:
        return f"control not rejected: {', '.join(passed)}"
    return answer(row) if row["verdict"] not in {row.get("expected"), "not-run"} else ""


def overview(ledger: Mapping[str, Any], width: int) -> Iterator[str]:
    """Yield the lines of a ledger: what failed, every claim by verdict, and the counts.

    Parameters
    ----------
    ledger : mapping
    width : int
        Columns, >= 60: a claim then takes two lines, from 100 on with its id on the first.
    """
    rows = sorted(ledger["claims"], key=order)
    version = ledger.get("environment", {}).get("steinlab", "")
    heading = ("steinlab", version, "·", ledger["profile"], "profile · seed", str(ledger["seed"]))
    yield " ".join(part for part in heading if part)
    failed = [row for row in rows if row.get("expected") is not None and trouble(row)]
    groups = [("FAILED", "not what is stated, or not to be trusted", failed)]
    for verdict, meaning in MEANING.items():
        same = [row for row in rows if row["verdict"] == verdict and row not in failed]
        groups.append((verdict.replace("-", " ").upper(), meaning, same))
    for name, meaning, same in groups:
        if same:
            yield ""
            yield from _wrapped(f"{name:<16}{meaning}", width, " " * 16)
        for row in same:
            yield from _line(row, trouble(row) if row in failed else answer(row), width)
    yield ""
    yield from _counts(ledger, rows, width)


def sheet(ledger: Mapping[str, Any]) -> Sheet:
    """Return a ledger as a table of claims, in the order of its lines."""
    rows = sorted(ledger["claims"], key=order)
    columns = ("claim", "whose", "verdict", "what was found", "cases", "controls rejected")
    noun = "claim" if len(rows) == 1 else "claims"
    head = (f"{len(rows)} {noun}", f"{ledger['profile']} profile", f"seed {ledger['seed']}")
    cells = (
        (row["id"], SHORT[owner_of(row)], row["verdict"], answer(row), f"{row['cases']:,}")
        for row in rows
    )
    return Sheet(
        caption=", ".join(head),
        columns=columns,
        rows=tuple((*cell, rejected([row])) for cell, row in zip(cells, rows, strict=True)),
        text=frozenset(columns[:4]),
    )


def listing(claims: Iterable[Row], width: int) -> Iterator[str]:
    """Yield claims with their titles, by the part of the paper."""
    part = None
    for row in sorted(claims, key=order):
        if row["part"] != part:
            part = row["part"]
            yield str(part).replace("_", " ").upper()
        yield from _line(row, row["title"], width)


def _line(row: Row, text: str, width: int) -> Iterator[str]:
    """One claim: its id, what was found, and whose claim it is where not the paper's."""
    owner = owner_of(row)
    return entry(row["id"], text if owner in {"paper", ""} else f"{text} ({SHORT[owner]})", width)


def entry(name: str, said: str, width: int, *, lead: str = "  ") -> Iterator[str]:
    """Yield a name with a sentence, below it where the width is less than :data:`STACKED`."""
    if width < STACKED:
        yield f"{lead}{name}"
        yield from _wrapped(f"  {said}", width, "  ")
    else:
        text = f"{lead}{name:<{ID_WIDTH}}  {said}"
        yield from _wrapped(text, width, " " * (len(lead) + ID_WIDTH + 2))


def _wrapped(text: str, width: int, indent: str) -> list[str]:
    whole = text.lstrip()
    lead = " " * (len(text) - len(whole))
    indents: Any = {"initial_indent": lead, "subsequent_indent": indent}
    return textwrap.wrap(whole, width, break_on_hyphens=False, **indents)


def _counts(ledger: Mapping[str, Any], rows: Sequence[Row], width: int) -> Iterator[str]:
    verdicts = []
    for verdict in MEANING:
        same = [SHORT[owner_of(row)] for row in rows if row["verdict"] == verdict]
        if same:
            tally = ", ".join(f"{same.count(n)} {n}" for n in SHORT.values() if n in same)
            verdicts.append(f"{counted(len(same), verdict.replace('-', ' '))} ({tally})")
    noun = "claim" if len(rows) == 1 else "claims"
    yield from _wrapped(f"{len(rows)} {noun} · {', '.join(verdicts)}", width, "  ")
    cases, seconds = sum(row["cases"] for row in rows), ledger["wall_seconds"]
    said = f"{cases:,} cases · {rejected(rows)} controls rejected · {seconds:.0f} s"
    yield from _wrapped(said, width, "  ")
    for reason, where in not_looked_at(rows):
        yield from _wrapped(f"not looked at: {reason}; in {where}", width, "  ")


def card(
    row: Row, *, figures: Sequence[str], replay: str, command: str, width: int
) -> Iterator[str]:
    """Yield the lines of one claim: what it says, what was found, and by which evidence.

    Parameters
    ----------
    row : mapping
    figures : sequence of str
        Names of the figures that show it.
    replay : str
        The command that runs its worst case again.
    command : str
        The command that judges it.
    width : int
    """
    verdict = str(row["verdict"]).replace("-", " ").upper()
    part = str(row.get("part", "")).replace("_", " ")
    right = " · ".join(word for word in (verdict, SHORT[owner_of(row)], part) if word)
    space = width - len(row["title"]) - len(right)
    yield row["title"] + " " * max(space, 2) + right
    yield from _entry("Claim", row["statement"], width)
    yield from _entry("Source", row.get("source", ""), width)
    for i, condition in enumerate(row.get("conditions", ())):
        yield from _entry("" if i else "If", condition, width)
    yield from _entry("Tried", row.get("tried", ""), width)
    yield from _entry("Answer", answer(row), width)
    if numbers := row.get("numbers", ()):
        yield ""
        wide = max(len(n["name"]) for n in numbers)
        for n in numbers:
            better = f"   ({n['better']} is better)" if n["better"] else ""
            yield f"  {n['name']:<{wide}}   {measured(n)}{better}"
        yield ""
    yield from _entry("Worst case", _worst(row), width)
    if worst := row.get("worst"):
        yield from _entry("", case_text(worst.get("case", {})), width)
        yield from _entry("", replay, width)
    yield from _entry("Controls", _controls(row), width)
    yield from _entry("Evidence", _evidence(row), width)
    yield from _entry("Attacked", attacked(row), width)
    for reason, where in not_looked_at([row]):
        yield from _entry("Not seen", f"{reason}; in {where}", width)
    for name in figures:
        yield from _entry("Figure", f"steinlab figures {name}", width)
    if row["verdict"] != "not-run":
        yield from _entry("Details", row["finding"], width)
    yield from _entry("Command", command, width)


def _entry(label: str, text: str, width: int) -> list[str]:
    return _wrapped(f"{label:<{LABEL}}{text}", width, " " * LABEL) if text else []


def _worst(row: Row) -> str:
    worst = row.get("worst")
    if not worst:
        return ""
    named = ", ".join(f"{w} {number(worst[k])}" for k, w in labels(row.get("kind", "")).items())
    shrunk = f"{case_name(worst)}, " if worst.get("shrunk") else ""
    return f"{shrunk}{worst['check']}: {named}"


def _controls(row: Row) -> str:
    found = row.get("detects")
    smallest = f" (smallest relative change noticed: {found:.1g})" if found is not None else ""
    return f"{rejected([row])} rejected{smallest}" if row["controls"] else ""


def _evidence(row: Row) -> str:
    parts = [f"{e['check']} ({e['method']}, {e['cases']:,})" for e in row["evidence"]]
    undecided = f", {row['undecided']:,} undecided" if row.get("undecided") else ""
    return f"{row.get('cases', 0):,} cases{undecided}: {', '.join(parts)}" if parts else ""
