"""The old name of ``steinlab gpu-table``."""

from steinlab.cli import door

door("gpu-table")
