"""The old name of ``steinlab networks-pictures``."""

from steinlab.cli import door

door("networks-pictures")
