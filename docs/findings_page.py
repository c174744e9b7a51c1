"""The old name of ``steinlab pages``."""

from pathlib import Path

from steinlab.cli import door

ROOT = str(Path(__file__).resolve().parents[1])

if __name__ == "__main__":
    door("pages", "--only", "findings.md", "--out", "-", "--root", ROOT)
