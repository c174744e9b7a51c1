"""The site: what `make docs` makes of notebooks, and what its look at the pages notices."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent


def of_site(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, ROOT / ".ci" / "site" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


GOOD = (
    "<a href='#b'>b</a><h1 id=b>B</h1><code>$x$</code>"
    "<div style='overflow: auto'><p style='width: 999px'>a wide table</div>"
)

BAD = {
    "wide": ("<p style='width: 500px'>x</p>", "wider than the screen"),
    "picture": ("<img alt='a curve' src='no.png'>", "no picture for a curve"),
    "tex": (r"<p>where $\gamma$ is</p>", "shows TeX"),
    "anchor": ("<a href='#gone'>x</a>", "leads to #gone"),
    "script": ("<script>nothing.there()</script>", "ReferenceError"),
}

NARROW = "<style>p {min-width: 999px} @media (min-width: 1000px) {p {min-width: 1px}}</style><p>x"
WIDE = "<style>@media (min-width: 1000px) {p {min-width: 1999px}}</style><p>x"


ANSWER = "this.insertAdjacentHTML('afterend', '<i class=md-search-result__item></i>')"


@pytest.mark.xdist_group("browser")
def test_each_fault_of_a_page_is_noticed_and_nothing_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    check: Any = of_site("check")
    if not (check.CHROMIUM and check.DRIVER):
        pytest.skip("chromium and chromedriver not installed")
    site = tmp_path / "site"
    site.mkdir()
    head = "<!doctype html><meta name=viewport content='width=device-width'><article>"
    right = {"good": GOOD, "narrow": NARROW, "wider": WIDE}
    for name, html in {**right, **{k: v[0] for k, v in BAD.items()}}.items():
        (site / f"{name}.html").write_text(head + html, "utf-8")
    monkeypatch.setattr(check, "PATIENCE", 0.5)
    searches = {}
    driver = check.browser(str(tmp_path / "profile"))
    try:
        found = list(check.faults(driver, site))
        for name, script in (("mute", ""), ("answers", f'onkeyup="{ANSWER}"')):
            home = tmp_path / name
            home.mkdir()
            (home / "index.html").write_text(f"{head}<input name=query {script}>", "utf-8")
            searches[name] = list(check.unanswered(driver, home))
    finally:
        driver.quit()
    for name, (_, said) in BAD.items():
        assert any(line.startswith(f"{name}.html at 390") and said in line for line in found), name
    assert not [line for line in found if line.startswith("good.html")]
    # a page is opened once, on a phone, and widened: each screen has faults of its own
    at = [line.partition(" pixels")[0] for line in found]
    assert [one for one in at if one.startswith("narrow")] == ["narrow.html at 390"]
    assert [one for one in at if one.startswith("wider")] == ["wider.html at 1280"]
    assert searches == {"mute": ["index.html: the search answers nothing"], "answers": []}


def test_a_card_shows_its_numbers_as_a_table() -> None:
    pytest.importorskip("mkdocs")
    hooks: Any = of_site("hooks")
    page = (ROOT / "docs" / "findings.md").read_text("utf-8")
    lines = 0
    for card in hooks.CARD.finditer(page):
        rows = hooks._numbers(card).splitlines()[2:]
        line = re.search(r"^- Numbers: (.*)$", card["body"], re.MULTILINE)
        if line:
            lines += 1
            assert len(rows) == line[1].count("**") // 2 > 0, card["id"]
            assert all(len(re.findall(r"(?<!\\)\|", row)) == 3 for row in rows), card["id"]
    assert lines > 70


@pytest.mark.parametrize(
    ("cell", "kind"),
    [
        ("0.1599 ± 0.0065", "whole"),
        ("<code>dpmpp-2m</code>", "whole"),
        ("8.99 [8.78, 9.23], 8.83: <strong>3.61, 3.48</strong>", "numbers"),
        ("<code>dpmpp-3m-exact</code>: 1.1922 ± 0.0067", "numbers"),
        ("what the map shows", ""),
        ("a sentence of more than sixty letters, which a narrow column would make tall", "words"),
    ],
)
def test_names_and_numbers_stay_whole_in_a_table(cell: str, kind: str) -> None:
    pytest.importorskip("mkdocs")
    hooks: Any = of_site("hooks")
    given = f'<table><tr><td style="text-align: right;">{cell}</td></tr></table>'
    marked = given.replace("<td", f'<td class="{kind}"') if kind else given
    assert hooks.on_page_content(given) == marked


def test_notebooks_show_their_formulas() -> None:
    pytest.importorskip("mkdocs")
    hooks: Any = of_site("hooks")
    text = r"A `$code$`, $u = x$ and" + "\n\n$$\\gamma = 1$$\n\nfor 3 \\$."
    made = hooks.FORMULA.sub(hooks._formula, text)
    assert made.count("<math") == 2
    assert made.count('display="inline"') == 1
    assert made.startswith("A `$code$`, <span><math")
    # at the beginning of a line too it stays in its paragraph
    import markdown

    page = markdown.markdown(
        f"where\n{hooks.FORMULA.sub(hooks._formula, '$x$')}, so", extensions=["md_in_html"]
    )
    assert page.count("<p>") == 1
    assert page.endswith(", so</p>")

    assert made.endswith("for 3 \\$.")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        words = hooks._notebook(notebook)
        assert "$$" not in words.split("```")[0], notebook.name


def test_a_link_by_the_name_of_a_file_shows_its_title() -> None:
    pytest.importorskip("mkdocs")
    hooks: Any = of_site("hooks")
    for source, link in (("gpu.md", "solvers.md"), ("reference/changes.md", "../solvers.md")):
        page: Any = SimpleNamespace(file=SimpleNamespace(src_uri=source))
        shown = hooks.on_page_markdown(f"([docs/solvers.md]({link}))", page)
        assert shown == f"([Solvers]({link}))"
