"""The old name of ``steinlab notebooks``."""

from steinlab.cli import door

door("notebooks")
