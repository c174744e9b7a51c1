"""The old name of ``steinlab notebooks``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("notebooks")
