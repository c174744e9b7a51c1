"""The README on an index of packages leads nowhere within the repository, and says the rest."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="module")
def readme() -> ModuleType:
    """Import the build's hook, which stands outside the packages."""
    pytest.importorskip("hatchling")
    spec = importlib.util.spec_from_file_location("readme_hook", ROOT / ".ci" / "readme.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_link_is_a_full_address(readme: ModuleType) -> None:
    shown = readme.for_index((ROOT / "README.md").read_text("utf-8"), ROOT)
    links = re.findall(r"\]\(([^)]*)\)", shown)
    assert links
    assert all(link.startswith("https://") for link in links)
    assert "<!--" not in shown
    assert not re.findall(r"[\w/-]+\.md", shown), "names a file that no reader of an index has"
    assert shown.index(readme.ELSEWHERE) < shown.index("\n## ")


def test_the_sections_the_code_and_the_tables_stay(readme: ModuleType) -> None:
    text = (ROOT / "README.md").read_text("utf-8")
    shown = readme.for_index(text, ROOT)
    kept = re.compile(r"^#+ [^\n]*$|^```.*?^```$", re.MULTILINE | re.DOTALL)
    assert kept.findall(shown) == kept.findall(text)
    assert shown.count("\n|") == text.count("\n|")


def test_a_picture_goes_and_a_page_is_named_by_its_title(readme: ModuleType) -> None:
    text = "one\n\n![what](docs/it.png)\n\nThe caption,\nin two lines.\n\ntwo ([how](how.md))\n"
    assert readme.alone(text, ROOT) == "one\n\ntwo (how)\n"
    page = "see [docs/why.md](docs/why.md) and [CITATION.cff](CITATION.cff)"
    title = (ROOT / "docs" / "why.md").read_text("utf-8").splitlines()[0].removeprefix("# ")
    assert readme.alone(page, ROOT) == f'see "{title}" and CITATION.cff'
    whole = "![what](https://example.org/it.png)\n\nStays.\n\n"
    assert readme.alone(whole, ROOT) == whole
