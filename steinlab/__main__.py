"""``python -m steinlab`` is ``steinlab``."""

import sys

from steinlab.cli import main

sys.exit(main())
