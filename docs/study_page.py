"""The old name of ``steinlab pages``."""

import sys

from steinlab.cli import door

if __name__ == "__main__":
    door("pages", "--only", "study.md,study-runs.md", *(["--out"] if len(sys.argv) > 1 else []))
