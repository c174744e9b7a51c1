"""Pages that the site makes of the repository: home, a card per claim, notebooks, references.

mkdocs calls the functions whose names begin with ``on_``.
"""

import functools
import json
import re
from collections.abc import Iterator
from html import escape
from importlib.resources import files as resources
from os.path import normpath
from pathlib import Path
from typing import Any

import nbformat
import typer
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page
from typer.testing import CliRunner

import steinlab
from steinlab.cli import app
from steinlab.report.figures import figures_of, load_figure
from steinlab.report.figures.claim import of_row
from steinlab.report.figures.render import pictures
from steinlab.report.page import read_ledger
from steinlab.report.words import mathml
from steinlab.verification.registry import claim_ids, load_claim

ROOT = Path(__file__).parents[2]
DOCS, FIGURES, LEDGER = ROOT / "docs", ROOT / "out" / "figures", ROOT / "ledger.json"

CARD = re.compile(
    r"^\*\*(?P<title>.+?)\*\* \(`(?P<id>[\w-]+)`\): (?P<verdict>[\w -]+)\.\n\n(?P<body>.*?)"
    r"(?=^\*\*.+?\*\* \(`[\w-]+`\): |^#|\Z)",
    re.MULTILINE | re.DOTALL,
)
"""A claim of docs/findings.md."""

TABLE = re.compile(r"<table>.*?</table>", re.DOTALL)
CELL = re.compile(r"<td(?P<with>(?: style=\"[^\"]*\")?)>(?P<text>.*?)</td>", re.DOTALL)
ROLE = re.compile(r":(?:data|func|class|mod|meth|attr|exc):<code>~?(?:[\w.]+\.)?(\w+)</code>")
"""A docstring's reference, as Markdown leaves it."""

FORMULA = re.compile(
    r"(?P<code>`[^`]*`)|\$\$(?P<block>.+?)\$\$|(?<![\\$])\$(?P<line>[^$\n]+(?:\n[^$\n]+)?)\$",
    re.DOTALL,
)
"""A notebook's code span or formula."""

NUMBER = re.compile(r"(?P<name>.+?) \*\*(?P<value>[^*]+)\*\*(?:; |\.$)")
"""A number of a claim, named."""

LINK = re.compile(r"\[(?:docs/)?(?P<shown>[\w/-]+\.md)\]\((?P<to>[\w./-]+\.md)\)")
"""A link that shows the name of a file."""

ASSETS = ("site.css", "iframe-worker.js")
"""Files of this folder that the pages load."""

LONG = 20
"""Rows from which a table is folded."""

SHORT = 24
"""Characters up to which a name or a number stays on one line of a cell."""

WORDY = 60
"""Characters from which a cell's words ask for width, lest a narrow column grow tall."""


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages that stand elsewhere in the repository, or in its records."""
    for name, text in _pages():
        files.append(File.generated(config, name, content=text))
    cited = str(ROOT / "CITATION.cff")
    files.append(File.generated(config, "CITATION.cff", abs_src_path=cited))
    for name in ASSETS:
        files.append(File.generated(config, name, abs_src_path=str(Path(__file__).parent / name)))
    for file in sorted(FIGURES.glob("*.png")):
        files.append(File.generated(config, f"figures/{file.name}", abs_src_path=str(file)))
    for name, picture in _own().items():
        files.append(File.generated(config, f"figures/{name}.png", content=picture))
    return files


@functools.cache
def _own() -> dict[str, bytes]:
    """Return pictures of the claims of ledger.json that have no figure in out/figures."""
    if not LEDGER.exists():
        return {}
    found: dict[str, bytes] = {}
    for row in read_ledger(LEDGER)["claims"]:
        drawn = [name for name in figures_of(row["id"]) if (FIGURES / f"{name}.png").exists()]
        if row["id"] in claim_ids() and row["evidence"] and not drawn:
            own = of_row(row)
            found[own.name] = pictures(own, own.compute(0), ["png"])["png"]
    return found


def _pages() -> Iterator[tuple[str, str]]:
    yield "index.md", _moved((ROOT / "README.md").read_text("utf-8"))
    yield "reference/changes.md", _moved((ROOT / "CHANGELOG.md").read_text("utf-8"), "../")
    yield "reference/contributing.md", _moved((ROOT / "CONTRIBUTING.md").read_text("utf-8"), "../")
    yield "reference/python.md", _python()
    yield "reference/commands.md", _commands()
    yield "reference/files.md", _formats()
    for notebook in sorted((ROOT / "notebooks").glob("*.ipynb")):
        yield f"notebooks/{notebook.stem}.md", _notebook(notebook)
    for card in CARD.finditer((DOCS / "findings.md").read_text("utf-8")):
        yield f"claims/{card['id']}.md", _card(card)


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Show a claim on the findings page as its answer with a link to its card."""
    if page.file.src_uri == "findings.md":
        markdown = CARD.sub(_line, markdown)
    up = "../" * page.file.src_uri.count("/")
    markdown = LINK.sub(lambda link: _titled(link, page), markdown)
    return re.sub(r"\]\((\.\./)+CONTRIBUTING\.md", f"]({up}reference/contributing.md", markdown)


def on_page_content(html: str, **_: Any) -> str:
    """Fold long tables, mark short cells; show a docstring's reference by its last name."""

    def folded(match: re.Match[str]) -> str:
        rows = match[0].count("<tr>") - 1
        if rows < LONG:
            return match[0]
        return f"<details><summary>a table of {rows} rows</summary>{match[0]}</details>"

    html = CELL.sub(_marked, TABLE.sub(folded, html))
    return ROLE.sub(r"<code>\1</code>", html)


def _marked(cell: re.Match[str]) -> str:
    """Return a cell, marked where it is a name or a number, which stay whole, or many of them."""
    words = re.sub("<.*?>", "", cell["text"]).strip()
    counted = re.match(r"[-(\[]?\d", words) or "±" in words
    if len(words) <= SHORT and (counted or " " not in words):
        return f'<td class="whole"{cell["with"]}>{cell["text"]}</td>'
    kind = "numbers" if counted else "words" if len(words) > WORDY else ""
    return f'<td class="{kind}"{cell["with"]}>{cell["text"]}</td>' if kind else cell[0]


def _titled(link: re.Match[str], page: Page) -> str:
    """Return a link by the title of its page in place of the name of its file."""
    file = Path(normpath((DOCS / page.file.src_uri).parent / link["to"]))
    if not file.exists():
        return link[0]
    title = file.read_text("utf-8").partition("\n")[0].removeprefix("# ")
    return f"[{title}]({link['to']})"


def _moved(text: str, up: str = "") -> str:
    """Return a text of the root whose links lead to the site's pages."""
    text = re.sub(r"\]\(docs/", f"]({up}", text)
    text = re.sub(r"\]\((notebooks/[\w-]+)\.ipynb", rf"]({up}\1.md", text)
    return text.replace("](CONTRIBUTING.md", f"]({up}reference/contributing.md")


def _answer(card: re.Match[str]) -> str:
    found = re.search(r"^- Answer: (.*)$", card["body"], re.MULTILINE)
    return found[1] if found else ""


def _line(card: re.Match[str]) -> str:
    return f"- [{card['title']}](claims/{card['id']}.md), {card['verdict']}: {_answer(card)}\n"


def _card(card: re.Match[str]) -> str:
    """Return a claim's page: the answer first, its formula and figures, then the details."""
    claim = load_claim(card["id"])
    drawn = figures_of(card["id"])
    shown = [name for name in drawn if (FIGURES / f"{name}.png").exists()]
    shown += [own] if (own := f"claim-{card['id']}") in _own() else []
    body = re.sub(r"^- Answer: .*\n", "", card["body"], flags=re.MULTILINE)
    if numbers := _numbers(card):
        body = re.sub(r"^- Numbers: .*\n", "", body, flags=re.MULTILINE)
    body = re.sub(r"\]\((?!https?:|#)", "](../", body)
    more = ", ".join(f"`steinlab figures {name}`" for name in drawn if name not in shown)
    parts = [
        f"# {card['title']}",
        f"**{card['verdict'].capitalize()}.** {_answer(card)}",
        *(f'<p class="formula">{mathml(formula)}</p>' for formula in claim.latex),
        *(f"![{load_figure(name).title}](../figures/{name}.png){_width(name)}" for name in shown),
        numbers,
        body,
        f"{'More figures' if shown else 'Figures'}: {more}." if more else "",
        "[Every claim](../findings.md)",
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _numbers(card: re.Match[str]) -> str:
    """Return a claim's numbers as a table, of its line on the findings page."""
    line = re.search(r"^- Numbers: (.*)$", card["body"], re.MULTILINE)
    found = NUMBER.findall(line[1].replace("|", r"\|")) if line else []
    rows = [f"| {name} | {value} |" for name, value in found]
    return "\n".join(["| number | value |", "| --- | --- |", *rows]) if rows else ""


def _width(figure: str) -> str:
    """Return what keeps a figure that is made for a column from filling a page."""
    return "" if load_figure(figure).wide else '{ width="480" }'


def _notebook(file: Path) -> str:
    """Return an executed notebook as a page: words, code, what it printed, its pictures."""
    parts = []
    for cell in nbformat.read(file, as_version=4).cells:
        if cell.cell_type == "markdown":
            text = FORMULA.sub(_formula, re.sub(r"\]\(\.\./docs/", "](../", cell.source))
            parts.append(re.sub(r"\]\(\.\./README\.md", "](../index.md", text))
        elif cell.cell_type == "code":
            parts.append(f"```python\n{cell.source}\n```")
            parts += [_output(output) for output in cell.outputs]
    return "\n\n".join(part for part in parts if part) + "\n"


def _formula(found: re.Match[str]) -> str:
    """Return a notebook's formula, in a line or on its own, as MathML; code stays as it is.

    Markdown takes ``<math>`` at the beginning of a line for a paragraph of its own, hence the span.
    """
    if found["code"]:
        return found["code"]
    if found["block"]:
        return f'<p class="formula">{mathml(found["block"].strip())}</p>'
    line = str(mathml(found["line"])).replace('display="block"', 'display="inline"', 1)
    return f"<span>{line}</span>"


def _output(output: Any) -> str:
    data = output.get("data", {})
    if "image/png" in data:
        digits = data["image/png"].replace("\n", "")
        return f'<img alt="what the code above draws" src="data:image/png;base64,{digits}">'
    text = output.get("text") or data.get("text/plain", "")
    return f"```text\n{text.rstrip()}\n```" if text else ""


def _python() -> str:
    found = [getattr(steinlab, name) for name in steinlab.__all__ if name[0] != "_"]
    names = [
        f"{one.__module__}.{one.__qualname__}" for one in found if hasattr(one, "__qualname__")
    ]
    lead = "# Python\n\n`import steinlab as sl`: these names load what they need when asked for.\n"
    return "\n\n".join([lead, *(f"::: {name}" for name in names)]) + "\n"


def _commands() -> str:
    parts = ["# Command line\n\nWhat each command's `--help` prints."]
    commands: Any = typer.main.get_command(app)
    for name in sorted(commands.commands):
        said = CliRunner().invoke(app, [name, "--help"], env={"COLUMNS": "88", "TERM": "dumb"})
        if said.exit_code == 0 and said.stdout:
            parts.append(f"## {name}\n\n```text\n{said.stdout.strip()}\n```")
    return "\n\n".join(parts) + "\n"


def _formats() -> str:
    parts = [
        "# Files\n\nThe JSON schemas that ship with the package, which the reader of each file "
        "holds it to. One line names the field, the value and what it must be."
    ]
    for file in sorted(resources("steinlab.storage.schemas").iterdir(), key=lambda one: one.name):
        if file.name.endswith(".json"):
            schema = json.loads(file.read_text("utf-8"))
            shown = json.dumps(schema, indent=1)
            parts.append(
                f"## {file.name}\n\n{escape(schema.get('title', ''))}\n\n"
                f'??? note "the schema"\n\n    ```json\n{_indented(shown)}\n    ```'
            )
    return "\n\n".join(parts) + "\n"


def _indented(text: str) -> str:
    return "\n".join(f"    {line}" for line in text.splitlines())
