"""The old name of ``steinlab comparison-table``."""

from steinlab.cli import door

door("comparison-table")
