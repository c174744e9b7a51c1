"""A report as one self-contained page."""

from collections.abc import Sequence
from html import escape

from steinlab.testing.rows import LABELS, WRONG, Row, summary

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; }
td { border-top: 1px solid #ccc; }
.wrong { color: #a3001b; font-weight: 600; }
.cause { color: #555; }
"""


def page(head: str, rows: Sequence[Row]) -> str:
    """Return the report of a subject as HTML."""
    body = "\n".join(
        f"<tr><td>{escape(row.title)}</td>"
        f'<td class="{"wrong" if row.verdict in WRONG else ""}">{LABELS[row.verdict]}</td>'
        f"<td>{escape(row.text)}"
        + (
            f'<br><span class="cause">Probable cause: {escape(row.cause)}</span>'
            if row.cause
            else ""
        )
        + "</td></tr>"
        for row in rows
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<title>{escape(head)}</title>"
        f"<style>{STYLE}</style></head>\n<body><h1>{escape(head)}</h1>\n<p>{escape(summary(rows))}</p>\n"
        f"<table><thead><tr><th>Check</th><th>Verdict</th><th>Seen</th></tr></thead><tbody>\n{body}\n"
        "</tbody></table></body></html>\n"
    )
