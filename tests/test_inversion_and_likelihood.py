"""docs/inversion-and-likelihood.md: its examples run in order, and do what the page says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from tests.test_documents import blocks

PAGE = Path(__file__).parents[1] / "docs" / "inversion-and-likelihood.md"


def test_the_page_runs() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert len(text.split()) <= 500
    names: dict[str, Any] = {}
    for code in blocks(text, "python"):
        exec(compile(code, PAGE.name, "exec"), names)
    x, found = names["x"], names["found"]
    assert np.sqrt(np.mean((names["again"] - x) ** 2)) < 0.05
    assert abs(np.std(names["noise"]) / 80 - 1) < 0.1
    assert found.level.alpha == 1.0
    assert abs(found.level.sigma / 0.002 - 1) < 1e-9
    assert np.all(abs(found.value - names["exact"]) < 2 * found.error + 1e-9)
