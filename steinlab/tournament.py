"""The old name of ``steinlab tournament``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("tournament")
