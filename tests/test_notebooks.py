"""The notebooks are committed as run, with their plots, and call only what is public.

``make notebooks`` runs them; this looks at what is committed.
"""

from __future__ import annotations

import ast
import json
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parent.parent
NOTEBOOKS = sorted((ROOT / "notebooks").glob("*.ipynb"))
HOUSE = ("analytic", "steinlab", "toy_models", "gpu_models")


def code(file: Path) -> list[dict[str, Any]]:
    cells = json.loads(file.read_text(encoding="utf-8"))["cells"]
    return [cell for cell in cells if cell["cell_type"] == "code"]


def test_there_are_five() -> None:
    assert [file.stem[:2] for file in NOTEBOOKS] == [f"{n}-" for n in range(1, 6)]


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_is_committed_as_run_in_order_with_plots(file: Path) -> None:
    cells = code(file)
    assert [cell["execution_count"] for cell in cells] == list(range(1, len(cells) + 1))
    outputs = [output for cell in cells for output in cell["outputs"]]
    assert all(o["output_type"] != "error" and o.get("name") != "stderr" for o in outputs)
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 2
    assert file.stat().st_size < 2**19
    assert not any("execution" in cell["metadata"] for cell in cells)  # dates


@pytest.mark.parametrize("file", NOTEBOOKS, ids=lambda file: file.stem)
def test_it_uses_public_names_of_the_house(file: Path) -> None:
    tree = ast.parse("\n".join("".join(cell["source"]) for cell in code(file)))
    modules = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            modules.add(node.module.split(".")[0])
            names = [*node.module.split("."), *(alias.name for alias in node.names)]
            assert not any(name.startswith("_") for name in names), names
        if isinstance(node, ast.Attribute):
            assert not node.attr.startswith("_") or node.attr.endswith("__"), node.attr
    assert modules & set(HOUSE)
