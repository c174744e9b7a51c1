"""The old name of ``steinlab networks-record``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("networks-record")
