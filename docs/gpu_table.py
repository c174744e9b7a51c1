"""The old name of ``steinlab gpu-table``."""

from steinlab.cli import door

if __name__ == "__main__":
    door("gpu-table")
