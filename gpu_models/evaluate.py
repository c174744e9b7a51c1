"""The old name of ``steinlab evaluate``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("evaluate")
