"""The old name of ``steinlab train``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("train")
