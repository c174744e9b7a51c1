"""The old name of ``steinlab bench-exact``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("bench-exact")
