"""What the numbers of a ledger's row mean, in words a reader can check."""

import functools
import html
import json
import math
import shlex
from collections.abc import Iterable, Mapping
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

from markupsafe import Markup

from steinlab.verification.claim import COUNTS_AS
from steinlab.verification.quantities import error_places, rounded

MEANING = {
    "proved": "a symbolic derivation, checked step by step, under the stated axioms",
    "certified": "interval enclosures decide it on the listed cases",
    "holds": "every case within its stated tolerance",
    "conditional": "holds under stated conditions; a control shows that it fails without one",
    "refuted": "a stored counterexample replays",
    "not-reproduced": "tried on our own models only; says nothing against figures measured on "
    "others",
    "not-run": "with the reason",
}
"""Every verdict, in the order of strength that the page groups by."""

WHOSE = {
    "paper": "the paper's claims",
    "review": "questions of its review",
    "peer": "peers' claims",
    "laboratory": "aims and tools of this laboratory",
    "user": "claims of your own",
    "": "claims whose owner the ledger does not name",
}
"""Every owner of a claim, in the order that the page groups by."""

SHORT = {
    "paper": "paper",
    "review": "review",
    "peer": "peer",
    "laboratory": "ours",
    "user": "yours",
    "": "-",
}
"""An owner in a column."""

HEADLINES = "headlines.json"
"""What `steinlab pages LEDGER.json` keeps of a quick ledger beside this module."""

LISTED = 6
"""Claims that a command lists; more are not worth reading."""

Row = Mapping[str, Any]


@functools.cache
def headlines() -> Mapping[str, str]:
    """Return the headlines that ship, by claim: those of the ledger that the pages follow."""
    text = files("steinlab.report").joinpath(HEADLINES).read_text(encoding="utf-8")
    found: dict[str, str] = json.loads(text)
    return found


def meaning(verdict: str, owner: str) -> str:
    """Return what a verdict says of whose claim: a refuted one of ours is an aim missed.

    Examples
    --------
    >>> meaning("refuted", "laboratory")
    'an aim of our own, missed; a stored counterexample replays'
    """
    ours = verdict == "refuted" and owner == "laboratory"
    return ("an aim of our own, missed; " if ours else "") + MEANING[verdict]


def grouped(rows: Iterable[Row]) -> dict[str, dict[str, list[Row]]]:
    """Return rows by owner, then by verdict, in the order of the pages, empty groups left out.

    Rows of an older ledger name no owner and come last.
    """
    found = list(rows)
    out: dict[str, dict[str, list[Row]]] = {}
    for owner in WHOSE:
        mine = [row for row in found if owner_of(row) == owner]
        by = {v: [row for row in mine if row["verdict"] == v] for v in MEANING}
        if mine:
            out[owner] = {verdict: group for verdict, group in by.items() if group}
    return out


def owner_of(row: Row) -> str:
    """Return whose claim a row is, empty where the ledger does not say."""
    owner = str(row.get("owner", ""))
    return owner if owner in WHOSE else ""


def rerun(ledger: Mapping[str, Any], *claims: str) -> str:
    """Return the command that judges a ledger again, or some of its claims.

    Many claims are not listed: the command then judges all that are known.

    Examples
    --------
    >>> ledger = {"profile": "full", "seed": 3, "claims": [{"id": "cosine-law"}]}
    >>> rerun(ledger)
    'steinlab verify --claims cosine-law --profile full --seed 3'
    """
    rows = [row for row in ledger["claims"] if not claims or row["id"] in claims]
    names = claims or tuple(row["id"] for row in rows)
    files = dict.fromkeys(row["file"]["path"] for row in rows if row.get("file"))
    some = ["--claims", ",".join(names)] if files or len(names) <= LISTED else []
    how = ["--profile", str(ledger.get("profile", "quick")), "--seed", str(ledger.get("seed", 0))]
    line = shlex.join(["steinlab", "verify", *files, *some, *how])
    return " ".join(line.split())


def rejected(rows: Iterable[Row]) -> str:
    """Return how many of the controls of rows are rejected.

    Examples
    --------
    >>> rejected([{"controls": [{"rejected": True}, {"rejected": False}]}])
    '1 of 2'
    """
    controls = [bool(control["rejected"]) for row in rows for control in row["controls"]]
    return f"{sum(controls)} of {len(controls)}"


def counts(rows: Iterable[Row]) -> list[str]:
    """Return a line per owner: how many of whose claims came to which verdict.

    Examples
    --------
    >>> counts([{"owner": "paper", "verdict": "holds"}, {"owner": "paper", "verdict": "refuted"}])
    ["the paper's claims: 1 holds, 1 refuted"]
    """
    out = []
    for owner, verdicts in grouped(rows).items():
        said = ", ".join(counted(len(same), verdict) for verdict, same in verdicts.items())
        if owner == "laboratory" and (missed := verdicts.get("refuted")):
            said += " (an aim missed)" if len(missed) == 1 else " (aims missed)"
        out.append(f"{WHOSE[owner]}: {said}")
    return out


def counted(number: int, verdict: str) -> str:
    """Return a number of verdicts: ``1 holds``, ``2 hold``."""
    return f"{number} {'hold' if verdict == 'holds' and number > 1 else verdict}"


def not_looked_at(rows: Iterable[Row]) -> list[tuple[str, str]]:
    """Return what could not be looked at, and where: ``(reason, claims with their checks)``."""
    out: dict[str, dict[str, list[str]]] = {}
    for row in rows:
        for left in row.get("not_looked_at", ()):
            reason = f"{left['what']}: {left['reason']}" if left["what"] else left["reason"]
            out.setdefault(reason, {}).setdefault(row["id"], []).append(left["check"])
    return [
        (reason, ", ".join(f"{claim} ({', '.join(checks)})" for claim, checks in claims.items()))
        for reason, claims in out.items()
    ]


def contradicted(row: Row) -> str:
    """Return how often which checks are violated, in a clause; empty where the finding says so.

    Examples
    --------
    >>> contradicted({"evidence": [{"check": "own", "cases": 132, "violations": 2}]})
    'violated in 2 of 132 cases of own'
    """
    broken = [e for e in row.get("evidence", ()) if e.get("violations")]
    drawn = [e for e in broken if e.get("method") != "adversarial"]
    if broken and not drawn:  # it keeps its worst case, and does not count the others
        return "the falsifier found a violation"
    counted = {e["check"]: f"{e['violations']:,} of {e['cases']:,} cases" for e in drawn}
    said = str(row.get("finding", ""))
    parts = [f"{count} of {check}" for check, count in counted.items() if count not in said]
    return f"violated in {', '.join(parts)}" if parts else ""


def attacked(row: Row) -> str:
    """Return what the falsifier tried on a claim, in a clause; empty where it tried nothing.

    Examples
    --------
    >>> attacked({"evidence": [{"method": "adversarial", "attacks": 16, "best": 0.5,
    ...                         "searched": "steps", "violations": 0, "tightness": 0.5}]})
    'the falsifier tried 16 cases; its best, of steps, comes to 0.5 of the bound'
    """
    for entry in row.get("evidence", ()):
        if entry["method"] == "adversarial":
            best = f"its best, of {entry['searched']}, {_came(entry, row.get('kind', ''))}"
            cases = "case" if entry["attacks"] == 1 else "cases"
            return f"the falsifier tried {entry['attacks']:,} {cases}; {best}"
    return ""


def _came(entry: Mapping[str, Any], kind: str) -> str:
    limit = "tolerance" if entry["tightness"] is None else "bound"
    share = f"{entry['best']:.3g}"
    if kind == "lower" and limit == "bound":
        violates = "violates the claim: " if entry["violations"] else ""
        return f"{violates}the bound comes to {share} of the measured"
    if entry["violations"]:
        return f"violates the claim, at {share} times the {limit}"
    return f"comes to {share} of the {limit}"


def mathml(latex: str) -> Markup:
    """Return a formula as a block of MathML, with its LaTeX as the text alternative.

    Where it is no formula that can be set, its text.

    Examples
    --------
    >>> mathml("x^2").startswith("<math"), mathml("<x_")
    (True, Markup('<code>&lt;x_</code>'))
    """
    from latex2mathml.converter import convert_to_element

    try:
        made = convert_to_element(latex, display="block")
    except Exception:  # of a dozen kinds without a common parent; endless nesting
        return Markup("<code>{}</code>").format(latex)
    for part in made.iter():
        part.text = html.unescape(part.text or "")  # a symbol comes as its reference
        for key in ("href", "class", "style"):  # a formula leads nowhere and looks like one
            part.attrib.pop(key, None)
    for part in list(made.iter("msup")) + list(made.iter("msubsup")):
        _prime(part)
    made.set("aria-label", latex)
    return Markup(ElementTree.tostring(made, encoding="unicode", short_empty_elements=False))


PRIMES = {"\N{PRIME}": "'", "\N{DOUBLE PRIME}": "''", "\N{TRIPLE PRIME}": "'''"}


def _prime(script: ElementTree.Element) -> None:
    """Set a superscript's primes beside its base: browsers raise one that is high already."""
    base, raised = script[0], script[-1]
    prime = raised[0] if raised.tag == "mrow" and len(raised) else raised
    if prime.text not in PRIMES:
        return
    together = ElementTree.Element("mrow")
    together.append(base)
    ElementTree.SubElement(together, "mo").text = PRIMES[prime.text]
    script[0] = together
    if prime is raised:
        script.remove(raised)
        script.tag = {"msup": "mrow", "msubsup": "msub"}[script.tag]
    else:
        raised.remove(prime)


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


def measured(found: Mapping[str, Any]) -> str:
    """Return a number of a row with its error and unit, rounded as headlines show it.

    Examples
    --------
    >>> measured({"value": 1.9534, "error": 0.021, "unit": ""})
    '1.953 ± 0.021'
    >>> measured({"value": 0.143, "error": None, "unit": "%"})
    '14 %'
    """
    value, error, unit = found["value"], found["error"], found["unit"]
    shown = rounded(value, error, unit)
    if not error:
        return shown
    own = 100 * error if unit == "%" else error
    places = error_places(own)
    half = f"{own:.1g}" if places is None else f"{own:,.{places}f}"
    after = f" {unit}" if unit else ""
    return f"{shown.removesuffix(after)} ± {half}{after}"


def labels(kind: str) -> dict[str, str]:
    """Return the names of a stored case's numbers by their keys.

    A lower bound is compared as ``bound <= measured``: what it stores as measured is the bound.

    Examples
    --------
    >>> labels("lower")["measured"], labels("upper")["measured"]
    ('bound', 'measured')
    """
    names = ("bound", "measured") if kind == "lower" else ("measured", "bound")
    return dict(zip(("measured", "bound", "tolerance"), (*names, "tolerance"), strict=True))


def case_name(case: Mapping[str, Any]) -> str:
    """Return which case is stored: the worst, or of a violation that could be shrunk the smallest.

    Examples
    --------
    >>> case_name({"shrunk": True}), case_name({})
    ('smallest counterexample found', 'worst case')
    """
    return "smallest counterexample found" if case.get("shrunk") else "worst case"


def case_text(case: Any, limit: int = 200) -> str:
    """Return what a case consists of, without quotes, to four digits and cut at a length.

    Examples
    --------
    >>> case_text({"law": {"means": [0.0, 1.5]}, "sigma": 0.001})
    'law (means 0, 1.5), sigma 0.001'
    """

    def said(value: Any) -> str:
        if isinstance(value, Mapping):
            inner = ((k, said(v)) for k, v in value.items())
            nested = (
                f"{k} ({t})" if isinstance(value[k], Mapping) else f"{k} {t}" for k, t in inner
            )
            return ", ".join(nested)
        if isinstance(value, list | tuple):
            return ", ".join(f"({said(v)})" if isinstance(v, list) else said(v) for v in value)
        return f"{value:.4g}" if isinstance(value, float) else str(value)

    text = said(case)
    return text if len(text) <= limit else text[: limit - 2].rstrip(" ,") + " …"


def nearest(row: Row) -> tuple[str, float]:
    """Return how near the worst case comes to its limit, in words, and as a number to sort by.

    The limit is 1: of a bound, the largest ``measured / bound``; of an identity, the largest error
    in units of its tolerance; of a lower bound, the largest ``bound / measured``. Where a check is
    violated, by how much, and where it counts what is not finite as a number, that it does.

    Examples
    --------
    >>> entry = {"method": "property", "violations": 0, "tightness": None}
    >>> nearest({"evidence": [{**entry, "worst_over_tolerance": 0.42}]})
    ('0.42 of tolerance', 0.42)
    >>> bound = {**entry, "violations": 3, "tightness": 3.3815, "worst_over_tolerance": 90.0}
    >>> nearest({"evidence": [bound]})
    ('violated: 3.38 times the bound', 3.3815)
    """
    numeric = [e for e in row["evidence"] if e["method"] != "symbolic"]
    broken = [e for e in row["evidence"] if e.get("violations")]
    shares = [(*_share(e), e.get("notes", {}).get(COUNTS_AS, math.inf)) for e in broken or numeric]
    if not shares:
        return "-", -1.0
    share, limit, cap = max(shares)
    lower = row.get("kind") == "lower" and limit == "bound"
    if broken:
        times = (
            f"bound {share:.3g} times the measured" if lower else f"{share:.3g} times the {limit}"
        )
        if share >= cap * (1 - 1e-9):
            times = f"{cap:g} times the {limit}, as which what is not finite, or beyond, counts"
        return f"violated: {times}", share
    if lower:
        return f"bound {share:.4f} of measured", share
    return f"{share:.4f} of bound" if limit == "bound" else f"{share:.2g} of tolerance", share


def _share(entry: Mapping[str, Any]) -> tuple[float, str]:
    """How much of its limit a check's worst case takes, and which limit that is."""
    tight = entry.get("tightness")
    if tight is not None and (tight > 1 or not entry.get("violations")):
        return float(tight), "bound"  # else what is violated is a bound that is not positive
    pooled = entry.get("pooled") or {}
    parts = zip(*(pooled.get(k, ()) for k in ("measured", "predicted", "tolerance")), strict=True)
    joint = [abs(m - p) / t if t else math.inf for m, p, t in parts]
    return max([float(entry.get("worst_over_tolerance", 0.0)), *joint]), "tolerance"
