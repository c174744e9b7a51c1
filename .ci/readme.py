"""The README as an index of packages shows it: an index knows no file of this repository.

hatchling calls it when it builds. A link within the repository becomes its text, or the title of
its page where the text is the name of a file; a picture goes with its caption. What stays leads to
a heading of the page or to a full address. A line says where the rest is.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n.+?\n\n", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?!https?:|mailto:|#)(?P<to>[^)]*)\)")
FILE = re.compile(r"docs/.*|.*\.md")
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


ELSEWHERE = (
    "The source distribution has what this page speaks of: `make`, the pages in quotation marks, "
    "which `make docs` makes a site of, and the files below `docs`."
)


def alone(text: str, root: Path) -> str:
    """Return a page without what leads into the repository at a root.

    >>> alone("[how](docs/how.md), [paper](https://arxiv.org)", Path())
    'how, [paper](https://arxiv.org)'
    """

    def named(link: re.Match[str]) -> str:
        if not (FILE.fullmatch(link["text"]) and link["to"].endswith(".md")):
            return link["text"]
        title = (root / link["to"]).read_text("utf-8").partition("\n")[0].removeprefix("# ")
        return f'"{title}"'

    return COMMENT.sub("", LINK.sub(named, PICTURE.sub("", text)))


def for_index(text: str, root: Path) -> str:
    """Return the README as an index shows it: before its first section, where the rest is."""
    lead, section, rest = alone(text, root).partition("\n## ")
    return f"{lead}\n{ELSEWHERE}\n{section}{rest}"


class Readme(MetadataHookInterface):
    """The field ``readme`` of the package's metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Write the README for an index into the metadata."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        shown = for_index(text, Path(self.root))
        metadata["readme"] = {"content-type": "text/markdown", "text": shown}
