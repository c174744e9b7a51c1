"""The old name of ``steinlab pages``."""

import sys
from pathlib import Path

from steinlab.cli import door

ROOT = str(Path(__file__).resolve().parents[1])
TARGET = ["--out"] if len(sys.argv) > 1 else []

if __name__ == "__main__":
    door("pages", "--only", "study.md,study-runs.md", "--root", ROOT, *TARGET)
