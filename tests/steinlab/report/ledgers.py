"""A small ledger of claims on fewer cases, its hostile twin, and one picture."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from steinlab.verification.ledger import run
from tests.steinlab.claims.small import shrink

with pytest.MonkeyPatch.context() as _patch:
    shrink(_patch, 60)  # every process that collects tests judges them
    LEDGER: dict[str, Any] = run(
        ["lipschitz-bound", "third-order-as-published", "solver-equivalences"]
    )

PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)

BREAKOUT = (
    "\"'></script></style></title><script>window.broken = 1</script>"
    "<img src=x onerror='window.broken = 2'><a href='javascript:window.broken = 3'>{{ 7 * 7 }}"
)
"""Text that would run, were it markup."""

FIXED = {"version", "verdict", "kind", "owner", "method"}
"""What a reader compares with a list."""


def hostile(tree: Any) -> Any:
    """Return a tree with every text replaced by hostile text, different ones by different ones."""
    if isinstance(tree, dict):
        return {key: part if key in FIXED else hostile(part) for key, part in tree.items()}
    if isinstance(tree, list):
        return [hostile(part) for part in tree]
    return f"{tree} {BREAKOUT}" if isinstance(tree, str) else tree


HOSTILE: dict[str, Any] = {
    **hostile(LEDGER),
    "claims": [
        {
            **hostile(row),
            "latex": [rf"\text{{{BREAKOUT}}}", r"\href{javascript:window.broken = 4}{x}"],
        }
        for row in LEDGER["claims"]
    ],
}
