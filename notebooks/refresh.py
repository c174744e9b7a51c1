"""The old name of ``steinlab notebooks``."""

from pathlib import Path

from steinlab.cli import door

if __name__ == "__main__":
    door("notebooks", str(Path(__file__).parent))
