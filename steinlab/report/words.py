"""What the numbers of a ledger's row mean, in words a reader can check."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

MEANING = {
    "proved": "a symbolic derivation, checked step by step, under the stated axioms",
    "certified": "interval enclosures decide it on the listed cases",
    "holds": "every case within its stated tolerance; no attack of the falsifier succeeded",
    "conditional": "holds under stated conditions; a control shows that it fails without one",
    "refuted": "a stored counterexample replays",
    "not-run": "with the reason",
}
"""Every verdict, in the order of strength that the page groups by."""

Row = Mapping[str, Any]


def escape(value: Any) -> str:
    """Return text for HTML."""
    return html.escape(str(value), quote=True)


def number(value: Any) -> str:
    """Return a number to four significant digits, or a dash.

    Examples
    --------
    >>> number(0.123456), number(None), number(1e-9), number(12000)
    ('0.1235', '-', '1e-09', '12,000')
    """
    if value is None or isinstance(value, bool) or not isinstance(value, int | float):
        return "-" if value is None else str(value)
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if math.isfinite(value) else str(value)


def nearest(row: Row) -> tuple[str, float]:
    """Return how near the worst case comes to its limit, in words, and as a number to sort by."""
    if row.get("tightness") is not None:
        return f"bound, {row['tightness']:.4f} tight", float(row["tightness"])
    worst = row.get("worst")
    if not worst:
        return "-", -1.0
    gap = abs(worst["measured"] - worst["bound"])
    if not gap:
        return "0 of tolerance", 0.0
    share = gap / worst["tolerance"] if worst["tolerance"] else math.inf
    return f"{share:.2g} of tolerance", share


def table(columns: Sequence[Any], rows: Sequence[Sequence[Any]]) -> str:
    """Return an HTML table of texts; HTML in a cell is escaped."""
    head = "".join(f"<th>{escape(c)}</th>" for c in columns)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(number(c))}</td>" for c in row) + "</tr>" for row in rows
    )
    return (
        f'<div class="scroll"><table class="inner"><thead><tr>{head}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
    )


def pretty(value: Any) -> str:
    """Return JSON, indented and escaped."""
    return escape(json.dumps(value, indent=1))
