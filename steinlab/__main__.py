"""``python -m steinlab`` is ``steinlab``."""

import sys

from steinlab.cli import main

if __name__ == "__main__":
    sys.exit(main())
