"""The old name of ``steinlab networks-pictures``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("networks-pictures")
