"""The old name of ``steinlab pages``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("pages")
