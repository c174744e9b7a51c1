"""The site: what `make docs` makes of notebooks, and what its look at the pages notices."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType
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


@pytest.mark.xdist_group("browser")
def test_each_fault_of_a_page_is_noticed_and_nothing_else(tmp_path: Path) -> None:
    check: Any = of_site("check")
    if not (check.CHROMIUM and check.DRIVER):
        pytest.skip("chromium and chromedriver not installed")
    site = tmp_path / "site"
    site.mkdir()
    head = "<!doctype html><meta name=viewport content='width=device-width'><article>"
    right = {"good": GOOD, "narrow": NARROW, "wider": WIDE}
    for name, html in {**right, **{k: v[0] for k, v in BAD.items()}}.items():
        (site / f"{name}.html").write_text(head + html, "utf-8")
    driver = check.browser(str(tmp_path / "profile"))
    try:
        found = list(check.faults(driver, site))
    finally:
        driver.quit()
    for name, (_, said) in BAD.items():
        assert any(line.startswith(f"{name}.html at 390") and said in line for line in found), name
    assert not [line for line in found if line.startswith("good.html")]
    # a page is opened once, on a phone, and widened: each screen has faults of its own
    at = [line.partition(" pixels")[0] for line in found]
    assert [one for one in at if one.startswith("narrow")] == ["narrow.html at 390"]
    assert [one for one in at if one.startswith("wider")] == ["wider.html at 1280"]


def test_notebooks_show_their_formulas() -> None:
    pytest.importorskip("mkdocs")
    hooks: Any = of_site("hooks")
    text = r"A `$code$`, $u = x$ and" + "\n\n$$\\gamma = 1$$\n\nfor 3 \\$."
    made = hooks.FORMULA.sub(hooks._formula, text)
    assert made.count("<math") == 2
    assert made.count('display="inline"') == 1
    assert made.startswith("A `$code$`, <math")
    assert made.endswith("for 3 \\$.")
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        words = hooks._notebook(notebook)
        assert "$$" not in words.split("```")[0], notebook.name
