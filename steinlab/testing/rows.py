"""Rows of a report: what a check measured, what it was held to, and how to see it again."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

from steinlab.estimates import plus_minus
from steinlab.storage.sheets import Sheet

VERDICTS = ("ok", "fails", "declined", "not-run", "expected-failure", "passes-unexpectedly")
"""``declined`` says nothing, with the reason; the last two answer what an ``xfail`` named."""

WRONG = ("fails", "passes-unexpectedly")
"""Verdicts of a subject that does not conform."""

TELLING = ("levels", "own-levels", "wasted", "dtype")
"""Checks whose cause is seen at a call, not inferred from numbers: a summary gives it first."""


@dataclass(frozen=True)
class Row:
    """One check of one subject.

    Attributes
    ----------
    check, title : str
        Its id, and what the report calls it.
    verdict : str
        One of :data:`VERDICTS`.
    text : str
        What was seen, or why it was declined.
    measured, bound, error : float or None
        The number judged, its bound, and the error of the measurement.
    cause : str
        The probable cause of a failure.
    case : mapping
        What ``steinlab check TARGET --case FILE`` runs again.
    """

    check: str
    title: str
    verdict: str
    text: str = ""
    measured: float | None = None
    bound: float | None = None
    error: float | None = None
    cause: str = ""
    case: Mapping[str, Any] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Return it as JSON, numbers that are not finite as text."""
        out = asdict(self)
        for key in ("measured", "bound", "error"):
            value = out[key]
            if value is not None and not math.isfinite(value):
                out[key] = str(value)
        return out


Found = dict[str, Any]
"""What a check saw: the fields of its row but for its name and its case."""


def judged(
    ok: bool,
    text: str,
    measured: float | None = None,
    bound: float | None = None,
    error: float | None = None,
    *,
    cause: str = "",
) -> Found:
    """Return a verdict and its numbers; only a failure has a cause."""
    told = {"verdict": "ok", "cause": ""} if ok else {"verdict": "fails", "cause": cause}
    return {**told, "text": text, "measured": measured, "bound": bound, "error": error}


def declined(text: str) -> Found:
    """Say why nothing is said."""
    return {"verdict": "declined", "text": text}


class ConformanceError(AssertionError):
    """A subject that does not conform; ``rows`` holds the whole report."""

    def __init__(self, text: str, rows: Sequence[Row]):
        super().__init__(text)
        self.rows = tuple(rows)


def expected(rows: Sequence[Row], xfail: Mapping[str, str]) -> list[Row]:
    """Answer what ``xfail`` names: a check's id, or what several begin with (``order``).

    A failure becomes ``expected-failure``. Strict: where none of the checks named fails, the first
    of them ``passes-unexpectedly``.
    """
    out = list(rows)
    for name, reason in xfail.items():
        at = [i for i, row in enumerate(out) if named(row.check, name)]
        failing = [i for i in at if out[i].verdict == "fails"]
        for i in failing:
            text = f"{out[i].text}; expected: {reason}"
            out[i] = replace(out[i], verdict="expected-failure", text=text)
        judged = [i for i in at if out[i].verdict == "ok"]
        if not failing and judged:
            i = judged[0]
            text = f"{out[i].text}; was expected to fail: {reason}"
            out[i] = replace(out[i], verdict="passes-unexpectedly", text=text)
    return out


def named(check: str, name: str) -> bool:
    """Whether a name means a check: its id, or the beginning of it up to a dash."""
    return check == name or check.startswith(name + "-")


def percent(share: float) -> str:
    """Return a share in percent, two digits of it.

    Examples
    --------
    >>> percent(1.5), percent(0.0094)
    ('150 %', '0.94 %')
    """
    return f"{float(f'{100 * share:.2g}'):g} %"


LABELS = {
    "ok": "ok",
    "fails": "FAILS",
    "declined": "declined",
    "not-run": "not run",
    "expected-failure": "fails, as expected",
    "passes-unexpectedly": "PASSES, though expected to fail",
}


def _telling(wrong: Sequence[Row]) -> list[Row]:
    """Return the failures whose cause is worth reading, the most telling first.

    Where two runs differ, whatever else was measured is as random as they are.
    """
    random = [row for row in wrong if row.check == "deterministic"]
    return random or sorted(wrong, key=lambda row: row.check not in TELLING)


def table(rows: Sequence[Row]) -> str:
    """Return the report's lines, one per check; a cause is given where it first comes up.

    Examples
    --------
    >>> print(table([Row("float32", "float32", "ok", "14 units")]))
      float32    ok          14 units
    """
    wide = max((len(row.title) for row in rows), default=0) + 2
    lines: list[str] = []
    said: set[str] = set()
    telling = {row.check for row in _telling([row for row in rows if row.verdict in WRONG])}
    for row in rows:
        lines.append(f"  {row.title:<{wide}}  {LABELS[row.verdict]:<10}  {row.text}".rstrip())
        if row.cause and row.check in telling and row.cause not in said:
            said.add(row.cause)
            lines.append(f"  {'':<{wide}}  {'':<10}  probable cause: {row.cause}")
    return "\n".join(lines)


def sheet(head: str, rows: Sequence[Row]) -> Sheet:
    """Return the report as a table: check, verdict, what was measured, its bound, what was seen."""
    columns = ("check", "verdict", "measured", "bound", "seen")

    def number(value: float | None, error: float | None = None) -> str:
        return "" if value is None else plus_minus(value, error or 0.0)

    return Sheet(
        caption=head,
        columns=columns,
        rows=tuple(
            (
                row.title,
                LABELS[row.verdict],
                number(row.measured, row.error),
                number(row.bound),
                row.text,
            )
            for row in rows
        ),
        text=frozenset({"check", "verdict", "seen"}),
    )


def summary(rows: Sequence[Row]) -> str:
    """Return the line that closes a report."""
    judged = [row for row in rows if row.verdict not in ("declined", "not-run")]
    wrong = [row for row in rows if row.verdict in WRONG]
    if not wrong:
        return f"conforms: {len(judged)} checks, {len(rows) - len(judged)} declined"
    causes = list(dict.fromkeys(row.cause for row in _telling(wrong) if row.cause))
    if len(causes) > 2:
        causes = [*causes[:2], f"{len(causes) - 2} more above"]
    text = f"FAILS: {len(wrong)} of {len(judged)} ({', '.join(row.check for row in wrong)})."
    return text + (f" Probable cause: {'; '.join(causes)}." if causes else "")
