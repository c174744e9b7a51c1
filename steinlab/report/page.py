"""The report: one self-contained HTML page of a ledger, its findings and its figures."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from steinlab.report.words import (
    MEANING,
    SHORT,
    WHOSE,
    Row,
    attacked,
    case_name,
    contradicted,
    counts,
    escape,
    grouped,
    labels,
    mathml,
    meaning,
    measured,
    nearest,
    not_looked_at,
    number,
    owner_of,
    pretty,
    rejected,
    table,
)
from steinlab.storage import read_json
from steinlab.storage.schemas import conforming
from steinlab.verification.ledger import stored_case

COLUMNS = (
    ("claim", "text"),
    ("verdict", "text"),
    ("cases", "number"),
    ("undecided", "number"),
    ("nearest to limit", "number"),
    ("detects", "number"),
    ("controls", "number"),
    ("whose", "text"),
)


@dataclass(frozen=True)
class Picture:
    """A rendered figure: its name, what it shows, the claims it illustrates, the PNG."""

    name: str
    title: str
    claims: tuple[str, ...]
    png: bytes

    @classmethod
    def read(cls, folder: Path, name: str) -> Picture:
        """Read what ``steinlab figures`` wrote."""
        record = read_json(folder / f"{name}.json", name)
        png = (folder / f"{name}.png").read_bytes()
        return cls(name, record["title"], tuple(record["claims"]), png)

    def html(self) -> str:
        """Return the picture, embedded."""
        data = base64.b64encode(self.png).decode("ascii")
        return (
            f'<figure><img alt="{escape(self.title)}" loading="lazy" '
            f'src="data:image/png;base64,{data}"><figcaption>{escape(self.title)} '
            f"(<code>steinlab figures {escape(self.name)}</code>)</figcaption></figure>"
        )


def read_ledger(path: Path) -> dict[str, Any]:
    """Read a ledger; raise ``InputError`` unless it conforms to the schema that ships."""
    ledger: dict[str, Any] = conforming(read_json(path, "--ledger", float), "ledger", "--ledger")
    return ledger


def page(ledger: Mapping[str, Any], pictures: Sequence[Picture] = ()) -> str:
    """Return the report as HTML: no script, style, font or picture from anywhere else.

    Parameters
    ----------
    ledger : mapping
        Of version 1, as ``steinlab verify --json`` writes it.
    pictures : sequence of Picture
    """
    rows = list(ledger["claims"])
    assets = files("steinlab.report")
    template = Template((assets / "page.html").read_text(encoding="utf-8"))
    cases = {row["id"]: stored_case(row) for row in rows if row.get("worst")}
    loose = [p for p in pictures if not set(p.claims) & {row["id"] for row in rows}]
    return template.substitute(
        style=(assets / "page.css").read_text(encoding="utf-8"),
        script=(assets / "page.js").read_text(encoding="utf-8"),
        summary=_summary(ledger),
        chips=_chips(rows),
        findings=_findings(rows) + _left_out(rows),
        head=_head(),
        body="".join(_claim(row, pictures) for row in rows),
        gallery="".join(p.html() for p in loose),
        provenance=_provenance(ledger),
        cases=json.dumps(cases).replace("<", "\\u003c"),  # it cannot end its script element
    )


def _summary(ledger: Mapping[str, Any]) -> str:
    rows = ledger["claims"]
    cases = sum(row.get("cases", 0) for row in rows)
    return (
        f"{len(rows)} claims, {cases:,} cases, {rejected(rows)} controls rejected; "
        f"profile {escape(ledger.get('profile', '-'))}, seed {escape(ledger.get('seed', '-'))}"
    )


def _chips(rows: Sequence[Row]) -> str:
    out = []
    for verdict, words in MEANING.items():
        count = sum(row["verdict"] == verdict for row in rows)
        if count:
            out.append(
                f'<button class="chip {verdict}" data-verdict="{verdict}" aria-pressed="true" '
                f'title="{escape(words)}">{verdict} <b>{count}</b></button>'
            )
    return "".join(out)


def _findings(rows: Sequence[Row]) -> str:
    out = []
    for (owner, verdicts), line in zip(grouped(rows).items(), counts(rows), strict=True):
        said = line.removeprefix(f"{WHOSE[owner]}: ")
        out.append(f"<h3>{escape(WHOSE[owner].capitalize())} <small>{escape(said)}</small></h3>")
        for verdict, group in verdicts.items():
            items = "".join(
                f'<li><a href="#{escape(r["id"])}">{escape(r["title"])}</a>: '
                f"{escape(_sentence(r.get('headline') or r['finding']))}</li>"
                for r in group
            )
            out.append(
                f'<section class="group"><h4><span class="badge {verdict}">{verdict}</span> '
                f"<small>{escape(meaning(verdict, owner))}</small></h4><ul>{items}</ul></section>"
            )
    return "".join(out)


def _left_out(rows: Sequence[Row]) -> str:
    """What could not be looked at here, once for all claims."""
    items = "".join(
        f"<li>{escape(reason)} <small>({escape(where)})</small></li>"
        for reason, where in not_looked_at(rows)
    )
    return (
        f'<section id="left-out"><h3>Not looked at</h3><ul>{items}</ul></section>' if items else ""
    )


def _sentence(text: str) -> str:
    return text if text.endswith(".") else text + "."


def _head() -> str:
    return "".join(
        f'<th scope="col" aria-sort="none" data-kind="{kind}"><button>{escape(name)}</button></th>'
        for name, kind in COLUMNS
    )


def _claim(row: Row, pictures: Sequence[Picture]) -> str:
    words, share = nearest(row)
    detects = row.get("detects")
    cells = (
        (f"<b>{escape(row['title'])}</b><br><code>{escape(row['id'])}</code>", row["title"]),
        (f'<span class="badge {row["verdict"]}">{row["verdict"]}</span>', row["verdict"]),
        (number(row.get("cases")), row.get("cases") or 0),
        (number(row.get("undecided")), row.get("undecided") or 0),
        (escape(words), share if math.isfinite(share) else 1e308),
        (number(detects), -1 if detects is None else detects),
        (rejected([row]), len(row["controls"])),
        (escape(SHORT[owner_of(row)]), owner_of(row)),
    )
    tds = "".join(
        f'<td data-label="{escape(name)}" data-value="{escape(value)}">{shown}</td>'
        for (name, _), (shown, value) in zip(COLUMNS, cells, strict=True)
    )
    search = escape(
        f"{row['id']} {row['title']} {row['statement']} {row.get('headline', '')} "
        f"{row['finding']} {SHORT[owner_of(row)]}".lower()
    )
    return (
        f'<tbody class="claim" id="{escape(row["id"])}" data-verdict="{row["verdict"]}" '
        f'data-search="{search}"><tr class="row" tabindex="0" role="button" '
        f'aria-expanded="false">{tds}</tr><tr class="detail" hidden><td colspan="{len(COLUMNS)}">'
        f"{_detail(row, pictures)}</td></tr></tbody>"
    )


def _detail(row: Row, pictures: Sequence[Picture]) -> str:
    typeset = "".join(f'<div class="scroll">{mathml(f)}</div>' for f in row.get("latex", ()))
    conditions = "".join(f"<li>{escape(c)}</li>" for c in row.get("conditions", ()))
    numbers = [(n["name"], measured(n), n["better"]) for n in row.get("numbers", ())]
    parts = [
        f"<p><b>Statement</b> ({escape(row.get('source', '-'))}): {escape(row['statement'])}</p>",
        typeset,
        f"<p><b>Verdict</b> ({escape(SHORT[owner_of(row)])}): {row['verdict']}, "
        f"{escape(meaning(row['verdict'], owner_of(row)))}.</p>",
        f"<p><b>Answer.</b> {escape(row['headline'])}</p>" if row.get("headline") else "",
        table(("found", "value", "better"), numbers) if numbers else "",
        f"<p><b>Details.</b> {escape(_sentence(row['finding']))}</p>",
        *(f"<p><b>{n}.</b> {escape(_sentence(t))}</p>" for n, t in _remarks(row).items() if t),
        f"<p><b>Conditions</b></p><ul>{conditions}</ul>" if conditions else "",
        "".join(p.html() for p in pictures if row["id"] in p.claims),
        f"<p><b>Evidence</b></p>{_evidence(row)}",
        f"<p><b>Controls</b> (each must be rejected)</p>{_controls(row)}",
    ]
    if row.get("table"):
        made = row["table"]
        parts.append(f"<p><b>{escape(made['title'])}</b></p>{table(made['columns'], made['rows'])}")
    parts.append(_worst(row))
    return "".join(parts)


def _remarks(row: Row) -> dict[str, str]:
    """What else the row says about how it was judged, by name; empty where it says nothing."""
    left = "; ".join(f"{where}: {reason}" for reason, where in not_looked_at([row]))
    return {
        "Tried": str(row.get("tried") or ""),
        "Contradicted": contradicted(row),
        "Attacked": attacked(row),
        "Not looked at": left,
    }


def _evidence(row: Row) -> str:
    keys = ("method", "check", "cases", "undecided", "violations", "worst_over_tolerance")
    columns = ("method", "check", "cases", "undecided", "violations", "worst / tolerance")
    return table(columns, [[entry.get(key, "") for key in keys] for entry in row["evidence"]])


def _controls(row: Row) -> str:
    return table(
        ("control", "rejected", "measured"),
        [[c["name"], "yes" if c["rejected"] else "NO", c.get("measured")] for c in row["controls"]],
    )


def _worst(row: Row) -> str:
    case = stored_case(row)
    if case is None:
        return ""
    name = f"{row['id']}.json"
    named = {label: case[key] for key, label in labels(row.get("kind", "")).items()}
    numbers = ", ".join(f"{n} {number(named[n])}" for n in ("measured", "bound", "tolerance"))
    return (
        f"<p><b>{escape(case_name(case).capitalize())}</b>: {numbers}. Replay it to the last "
        f'digit: <a class="save" data-claim="{escape(row["id"])}" href="#{escape(row["id"])}">save '
        f"{escape(name)}</a>, then <code>steinlab replay {escape(name)}</code>.</p>"
        f"<details><summary>the case</summary><pre>{pretty(case)}</pre></details>"
    )


def _provenance(ledger: Mapping[str, Any]) -> str:
    facts = {
        "profile": ledger.get("profile"),
        "seed": ledger.get("seed"),
        "wall time": f"{ledger.get('wall_seconds', '-')} s",
        **ledger.get("environment", {}),
    }
    items = "".join(f"<dt>{escape(k)}</dt><dd>{escape(v)}</dd>" for k, v in facts.items())
    return f"<dl>{items}</dl>"
