"""The old name of ``steinlab comparison-table``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("comparison-table")
