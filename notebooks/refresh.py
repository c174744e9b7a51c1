"""Run every notebook and write its outputs back, without dates: python notebooks/refresh.py."""

from __future__ import annotations

from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent


def refresh(file: Path) -> None:
    """Execute a notebook where it stands and store what it prints and draws."""
    notebook = nbformat.read(file, as_version=4)
    NotebookClient(
        notebook,
        timeout=120,
        record_timing=False,
        coalesce_streams=True,
        resources={"metadata": {"path": str(HERE)}},
    ).execute()
    notebook.metadata["language_info"] = {"name": "python"}
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
    nbformat.write(notebook, file)


if __name__ == "__main__":
    for path in sorted(HERE.glob("*.ipynb")):
        refresh(path)
        print(path.name)
