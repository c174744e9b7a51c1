"""``python -m steinlab.cli``."""

import sys

from steinlab.cli import main

sys.exit(main())
