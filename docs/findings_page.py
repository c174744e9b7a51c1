"""The old name of ``steinlab pages``."""

from steinlab.cli import door

door("pages", "--only", "findings.md", "--out", "-")
