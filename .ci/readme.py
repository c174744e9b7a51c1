"""The README as an index of packages shows it: an index knows no file of this repository.

hatchling calls it when it builds. A link within the repository becomes its text; a picture goes
with its caption. What stays leads to a heading of the page or to a full address.
"""

import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

PICTURE = re.compile(r"^!\[[^\]]*\]\((?!https?:)[^)]*\)\n\n.+?\n\n", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\[(?P<text>[^\]]+)\]\((?!https?:|mailto:|#)[^)]*\)")
COMMENT = re.compile(r"^<!--.*?-->\n", re.MULTILINE | re.DOTALL)


def alone(text: str) -> str:
    """Return a page without what leads into the repository.

    >>> alone("[how](docs/how.md), [paper](https://arxiv.org)")
    'how, [paper](https://arxiv.org)'
    """
    return COMMENT.sub("", LINK.sub(r"\g<text>", PICTURE.sub("", text)))


class Readme(MetadataHookInterface):
    """The field ``readme`` of the package's metadata."""

    def update(self, metadata: dict[str, Any]) -> None:
        """Write the README for an index into the metadata."""
        text = (Path(self.root) / "README.md").read_text("utf-8")
        metadata["readme"] = {"content-type": "text/markdown", "text": alone(text)}
