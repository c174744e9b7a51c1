"""The old name of ``steinlab pages``."""

import sys

from steinlab.cli import door

door("pages", "--only", "study.md,study-runs.md", *(["--out"] if len(sys.argv) > 1 else []))
