"""``steinlab pages`` and what makes parts of pages: renew or check what is made of records."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from steinlab.errors import InputError, one_of
from steinlab.storage import STDOUT, make_folder, write_text
from steinlab.storage.schemas import read_stored

DOCS = Path("docs")


def pages(
    ledger: Annotated[
        Path | None,
        typer.Argument(
            metavar="[LEDGER.json]",
            help="What `steinlab verify --json` wrote: the findings and the README follow it; by "
            "default those stay.",
        ),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Write nothing; exit 1 if a page would change.")
    ] = False,
    only: Annotated[
        str | None, typer.Option(metavar="NAME,NAME", help="Pages to make; by default all.")
    ] = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Write the pages here; by default docs; - is stdout."),
    ] = None,
    root: Annotated[
        Path, typer.Option(metavar="DIR", help="Where README.md and docs lie.")
    ] = Path(),
) -> int:
    """Renew the pages that are made of records; exit 1 where a verdict is not the expected one."""
    from steinlab.report.page import read_ledger
    from steinlab.report.pages import made
    from steinlab.report.pages.verdicts import following

    if not (root / DOCS).is_dir():
        raise InputError(f"--root must hold the folder docs, got {root}")
    judged = None if ledger is None else read_ledger(ledger)
    found = made(root / DOCS, judged)
    if only:
        found = {name: found[one_of("--only", name, found)] for name in only.split(",")}
    if out == STDOUT:
        print(*found.values(), sep="\n", end="")
        return 0
    folder = root / DOCS if out is None else make_folder(out)
    files = {folder / name: text for name, text in found.items()}
    problems: list[str] = []
    if judged is not None and not only and out is None:
        others, problems = following(root, judged)
        files |= {root / name: text for name, text in others.items()}
    changed = [f for f in files if not f.is_file() or f.read_text(encoding="utf-8") != files[f]]
    for file in changed:
        if not check:
            write_text(file, files[file])
        print(f"{file} {'is not what the records make' if check else 'written anew'}")
    print(*problems, sep="\n", end="\n" if problems else "", file=sys.stderr)
    return int(bool(problems) or (check and bool(changed)))


def comparison_table(
    files: Annotated[
        list[Path],
        typer.Argument(metavar="FILE...", help="What `steinlab compare --json FILE` wrote."),
    ],
) -> None:
    """Print the rows of all files as Markdown tables, one per distance."""
    from steinlab.report.pages.comparison import render

    rows: list[Any] = []
    for file in files:
        rows += read_stored(file, "rows", "FILE")
    try:
        print(render(rows))
    except (KeyError, TypeError):
        raise InputError(
            "FILE must hold rows with both distances and their errors, got others"
        ) from None


def notebooks(
    folder: Annotated[Path, typer.Argument(metavar="[DIR]", help="Where they lie.")] = Path(
        "notebooks"
    ),
) -> None:
    """Run every notebook and write its outputs back, without dates (needs nbclient)."""
    nbformat: Any
    try:
        import nbformat
        from nbclient import NotebookClient
    except ImportError as error:
        raise InputError(f"notebooks needs the extra steinlab[dev], got {error}") from None

    for file in sorted(folder.glob("*.ipynb")):
        notebook = nbformat.read(file, as_version=4)
        NotebookClient(
            notebook,
            timeout=120,
            record_timing=False,
            coalesce_streams=True,
            resources={"metadata": {"path": str(folder)}},
        ).execute()
        notebook.metadata["language_info"] = {"name": "python"}
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, file)
        print(file.name)
