"""A small ledger: three claims of the laboratory that are judged in a second, and one picture."""

from __future__ import annotations

import base64
from typing import Any

from steinlab.verification.ledger import run

LEDGER: dict[str, Any] = run(["lipschitz-bound", "third-order-as-published", "solver-equivalences"])

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
