"""The old name of ``steinlab galaxy-budget``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("galaxy-budget")
