"""The old name of ``steinlab networks-record``."""

from steinlab.cli import door

door("networks-record")
