"""The old name of ``steinlab study``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("study")
