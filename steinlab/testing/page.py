"""A report as one self-contained page."""

from collections.abc import Sequence

from steinlab.storage.html import render
from steinlab.testing.rows import LABELS, WRONG, Row, summary

STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 72rem; margin: 2rem auto; padding: 0 1rem; }
table { border-collapse: collapse; width: 100%; }
th, td { text-align: left; vertical-align: top; padding: .35rem .8rem .35rem 0; }
td { border-top: 1px solid #ccc; }
.wrong { color: #a3001b; font-weight: 600; }
.cause { color: #555; }
"""

TEMPLATE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{{ policy }}">
<title>{{ head }}</title><style>{{ style }}</style></head>
<body><h1>{{ head }}</h1>
<p>{{ summary }}</p>
<table><thead><tr><th>Check</th><th>Verdict</th><th>Seen</th></tr></thead><tbody>
{% for row in rows %}
<tr><td>{{ row.title }}</td>
<td class="{{ "wrong" if row.verdict in wrong }}">{{ labels[row.verdict] }}</td>
<td>{{ row.text }}
{% if row.cause %}
<br><span class="cause">Probable cause: {{ row.cause }}</span>
{% endif %}
</td></tr>
{% endfor %}
</tbody></table></body></html>
"""


def page(head: str, rows: Sequence[Row]) -> str:
    """Return the report of a subject as HTML."""
    told = {"head": head, "summary": summary(rows), "rows": rows, "wrong": WRONG, "labels": LABELS}
    return render(TEMPLATE, STYLE, **told)
