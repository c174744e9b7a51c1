"""A ledger for the public: a reproduction logbook, and metadata that machines read.

The logbook follows Trackio's layout (``.trackio/logbook``: an index, a page of cells per claim), so
``trackio logbook`` previews and publishes it; every page is Markdown that reads by itself. The
metadata are Croissant Tasks (Benjelloun et al., 2026, arXiv 2605.29786) in JSON-LD: each claim is a
problem, this laboratory's judgement its solution, the verdict with its numbers the evaluation.
Sources: https://github.com/gradio-app/trackio and https://github.com/mlcommons/croissant.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from steinlab.report.terminal import answer, order
from steinlab.report.words import Row, counts, meaning, measured, number, owner_of, rejected, rerun
from steinlab.verification.ledger import stored_case

PAPER = "https://arxiv.org/abs/2606.07835"
"""What the paper's claims and its review's questions are about."""

CODE = {"name": "steinlab", "license": "https://spdx.org/licenses/MIT"}

PAGES = ".trackio/logbook/pages"


def logbook(ledger: Mapping[str, Any]) -> dict[str, str]:
    """Return the files of a logbook by their names: an index, a page and a case per claim.

    Parameters
    ----------
    ledger : mapping
        What ``steinlab verify --json`` wrote.
    """
    rows = sorted(ledger["claims"], key=order)
    names = _names(rows)
    about = ledger.get("environment", {})
    lines = [
        "# Claims on diffusion-ODE solvers, judged by steinlab",
        "",
        f"Paper: {PAPER}. Code: steinlab {about.get('steinlab', '')}{_commit(about)}.",
        *(f"{line}." for line in counts(rows)),
        "",
        "## Pages",
        "",
        "| Page | Status | Found |",
        "| --- | --- | --- |",
        *(
            f"| [{_inline(row['title'])}](#/{name}) | {row['verdict']} | {_inline(answer(row))} |"
            for name, row in zip(names, rows, strict=True)
        ),
    ]
    paper = {"url": PAPER, "arxiv_id": PAPER.rpartition("/")[2]}
    out = {
        ".trackio/metadata.json": _json({"emoji": "⚖️", "paper": paper}),
        f"{PAGES}/index.md": "\n".join(lines) + "\n",
    }
    for name, row in zip(names, rows, strict=True):
        out[f"{PAGES}/{name}/page.md"] = _page(ledger, row)
        if case := stored_case(row):
            out[f"{PAGES}/{name}/case.json"] = _json(case)
    return out


def _names(rows: Sequence[Row]) -> list[str]:
    """Return a folder's name for each row: its id, tamed, since a ledger may be a stranger's.

    Examples
    --------
    >>> _names([{"id": "cosine-law"}, {"id": "../cosine law"}, {"id": ".."}])
    ['cosine-law', 'cosine-law-2', 'claim']
    """
    out: list[str] = []
    for row in rows:
        name = re.sub(r"[^A-Za-z0-9_-]+", "-", row["id"]).strip("-")[:100] or "claim"
        others = (f"{name}-{n}" for n in itertools.count(2))
        out.append(next(one for one in itertools.chain([name], others) if one not in out))
    return out


def _page(ledger: Mapping[str, Any], row: Row) -> str:
    """Return a claim's page: what it says, what came out, the code, the compute."""
    cells = (
        ("markdown", "Claim", _claim(row)),
        ("markdown", "Result", _result(row)),
        ("code", f"Run: {_command(ledger, row)}", _code(ledger, row)),
        ("markdown", "Compute", _compute(ledger, row)),
    )
    told = [f"# {_inline(row['title'])}", *(_cell(row["id"], *one) for one in cells)]
    return "\n\n---\n".join(told) + "\n"


def _cell(claim: str, kind: str, title: str, body: str) -> str:
    """Return a cell; its id depends on its content alone."""
    digest = hashlib.sha256(f"{claim} {title} {body}".encode()).hexdigest()[:12]
    about = json.dumps({"type": kind, "id": f"cell_{digest}", "title": title}, ensure_ascii=False)
    safe = about.replace("<", r"\u003c").replace(">", r"\u003e")
    return f"<!-- trackio-cell\n{safe}\n-->\n{body}"


def _claim(row: Row) -> str:
    source = f"Source: {_inline(row['source'])}." if row.get("source") else ""
    formulas = [f"$${_formula(one)}$$" for one in row.get("latex", ())]
    conditions = [f"- {_inline(one)}" for one in row.get("conditions", ())]
    listed = ["Conditions:\n\n" + "\n".join(conditions)] if conditions else []
    return "\n\n".join(
        part for part in [_inline(row["statement"]), *formulas, *listed, source] if part
    )


def _result(row: Row) -> str:
    verdict, owner = row["verdict"], owner_of(row)
    parts = [
        f"**{verdict}**: {meaning(verdict, owner)}.",
        _inline(answer(row)),
        _inline(row["finding"]),
    ]
    if numbers := row.get("numbers"):
        table = ["| found | value |", "| --- | --- |"]
        table += [f"| {_inline(one['name'])} | {_inline(measured(one))} |" for one in numbers]
        parts.append("\n".join(table))
    table = ["| evidence | check | cases | worst / tolerance |", "| --- | --- | --- | --- |"]
    table += [
        f"| {_inline(one['method'])} | {_inline(one.get('check', ''))} | {one.get('cases', '')} "
        f"| {number(one.get('worst_over_tolerance', ''))} |"
        for one in row["evidence"]
    ]
    parts += ["\n".join(table), f"Controls rejected: {rejected([row])}."]
    return "\n\n".join(part for part in parts if part)


def _code(ledger: Mapping[str, Any], row: Row) -> str:
    lines = [_command(ledger, row)]
    if row.get("worst"):
        lines.append("steinlab replay case.json")
    return "\n".join(["````bash", *lines, "````"])


def _command(ledger: Mapping[str, Any], row: Row) -> str:
    return _quiet(rerun(ledger, row["id"]).replace("`", "'"))


def _compute(ledger: Mapping[str, Any], row: Row) -> str:
    about = {"seconds of one core": row.get("seconds"), **ledger.get("environment", {})}
    return "\n".join(
        f"- {_inline(name)}: {_inline(value)}" for name, value in about.items() if value is not None
    )


def _commit(about: Mapping[str, Any]) -> str:
    return f", commit {about['commit']}" if about.get("commit") else ""


def _inline(text: object) -> str:
    """Return text for a line or a cell of a table: no markup of its own, no break."""
    plain = _quiet(str(text))
    return "".join(f"\\{one}" if one in "|`*_[]<>\\" else one for one in plain)


def _formula(latex: str) -> str:
    """Return a formula that is neither markup nor a link where formulas are not set."""
    tame = str.maketrans({"<": r"\lt ", ">": r"\gt ", "$": ""})
    return " ".join(latex.translate(tame).replace("](", "] (").split())


def _quiet(text: str) -> str:
    """Return text as one line that can neither end nor begin a comment."""
    return " ".join(text.split()).replace("-->", "-- >").replace("<!--", "< !--")


def croissant(ledger: Mapping[str, Any]) -> dict[str, Any]:
    """Return the ledger as Croissant Tasks in JSON-LD: a problem, its solution, its evaluation.

    Parameters
    ----------
    ledger : mapping
        What ``steinlab verify --json`` wrote.
    """
    return {
        "@context": {
            "croissant": "http://mlcommons.org/croissant/",
            "schema": "https://schema.org/",
        },
        "@graph": [
            node
            for name, row in zip(_names(ledger["claims"]), ledger["claims"], strict=True)
            for node in _nodes(ledger, row, f"urn:steinlab:{name}")
        ],
    }


def _nodes(ledger: Mapping[str, Any], row: Row, name: str) -> Iterator[dict[str, Any]]:
    about = ledger.get("environment", {})
    problem, solution = f"{name}:problem", f"{name}:solution"
    cited = {"schema:citation": row["source"]} if row.get("source") else {}
    yield {
        "@id": problem,
        "@type": "croissant:TaskProblem",
        "schema:name": row["title"],
        "schema:description": row["statement"],
        **cited,
        "croissant:input": {
            "@type": "schema:Dataset",
            "@id": f"{name}:laws",
            "schema:name": "data laws, noise levels, solvers and steps",
            "schema:description": "; ".join(row.get("conditions", ())) or "no condition",
        },
        "croissant:implementation": {
            "@type": "croissant:ImplementationSpec",
            "@id": f"{name}:implementation",
            "schema:description": "any program that decides the statement, with controls that it "
            "must reject",
        },
        "croissant:output": {
            "@type": "croissant:OutputSpec",
            "@id": f"{name}:output",
            "schema:description": "a verdict with its evidence, and the worst case",
        },
    }
    revision = about.get("commit")
    yield {
        "@id": solution,
        "@type": "croissant:TaskSolution",
        "schema:name": f"{row['title']}, judged by steinlab",
        "schema:isBasedOn": {"@id": problem},
        "croissant:implementation": {
            "@type": "schema:SoftwareSourceCode",
            "@id": f"{name}:code",
            "schema:name": CODE["name"],
            "schema:license": CODE["license"],
            **({"schema:version": about["steinlab"]} if about.get("steinlab") else {}),
            **({"schema:identifier": revision} if revision else {}),
            "schema:text": _command(ledger, row),
        },
        "croissant:execution": {
            "@type": "croissant:ExecutionInfo",
            "@id": f"{name}:execution",
            "schema:description": ", ".join(f"{key} {value}" for key, value in about.items()),
        },
        "croissant:output": {
            "@type": "schema:Dataset",
            "@id": f"{name}:row",
            "schema:name": f"row {row['id']} of ledger.json",
            "schema:description": row["finding"],
        },
        "croissant:evaluation": {
            "@type": "croissant:EvaluationTask",
            "@id": f"{name}:evaluation",
            "croissant:evaluatedSolution": {"@id": solution},
            "croissant:evaluationResults": [
                {
                    "@type": "croissant:EvaluationResult",
                    "@id": f"{name}:result:{i}",
                    "croissant:metric": metric,
                    "croissant:value": value,
                }
                for i, (metric, value) in enumerate(_results(row))
            ],
        },
    }


def _results(row: Row) -> Iterator[tuple[str, Any]]:
    yield "verdict", row["verdict"]
    yield "what was found", answer(row)
    yield "cases", row.get("cases", 0)
    yield "controls rejected", rejected([row])
    if row.get("worst"):
        yield "worst case, measured", number(row["worst"]["measured"])
        yield "worst case, bound", number(row["worst"]["bound"])
    for one in row.get("numbers", ()):
        yield one["name"], _quantity(one)


def _quantity(one: Mapping[str, Any]) -> dict[str, Any]:
    """Return a number with its unit, and as it is shown, with its error."""
    unit = one["unit"]
    return {
        "@type": "schema:QuantitativeValue",
        "schema:value": 100 * one["value"] if unit == "%" else one["value"],
        **({"schema:unitText": unit} if unit else {}),
        "schema:description": measured(one),
    }


def _json(content: Mapping[str, Any] | Sequence[Any]) -> str:
    return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"
