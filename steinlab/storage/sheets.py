"""Tables as files for authors: CSV with errors in columns of their own, LaTeX with booktabs."""

from __future__ import annotations

import csv
import io
import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from steinlab.errors import InputError
from steinlab.storage.files import STDOUT, check_target, write_text

NUMBER = r"[+-]?\d[\d,]*(?:\.\d+)?(?:e[+-]?\d+)?"
_PLUS_MINUS = re.compile(rf"({NUMBER}) \+- ({NUMBER})")
_INTERVAL = re.compile(rf"({NUMBER}) \(({NUMBER}) to ({NUMBER})\)")
_TERM = re.compile(rf"(?<![\w.])({NUMBER})(?:( \+- )({NUMBER}))?(?![\w.])")
_SPECIAL = str.maketrans(
    {
        **{one: f"\\{one}" for one in "&%$#_{}"},
        "\\": r"\textbackslash{}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
        "<": r"\textless{}",
        ">": r"\textgreater{}",
        "|": r"\textbar{}",
    }
)


@dataclass(frozen=True)
class Sheet:
    """A table: its caption, its columns, its cells as text, and which of them stand out.

    Attributes
    ----------
    caption : str
    columns : tuple of str
    rows : tuple of tuple of str
        As many cells as columns. A number with its error is ``0.12 +- 0.01``, one with its interval
        ``0.12 (0.10 to 0.15)``.
    text : frozenset of str
        The columns that hold words: set from the left, and their numbers are part of a name.
    best : frozenset of (int, int)
        Row and column of the cells in bold.
    """

    caption: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    text: frozenset[str] = frozenset()
    best: frozenset[tuple[int, int]] = frozenset()


def as_csv(sheet: Sheet) -> str:
    """Return a table as CSV: an error and the ends of an interval have columns of their own.

    A cell that a table leaves empty because the one above says the same is filled, in the first
    column.

    Examples
    --------
    >>> sheet = Sheet("", ("n", "error"), (("3", "0.12 +- 0.01"), ("", "1,200 (900 to 1,500)")))
    >>> print(as_csv(sheet), end="")
    n,error,error: error,error: low,error: high
    3,0.12,0.01,,
    3,1200,,900,1500
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    spread = [_parts(sheet, i) for i in range(len(sheet.columns))]
    writer.writerow(
        name
        for column, parts in zip(sheet.columns, spread, strict=True)
        for name in (column, *(f"{column}: {part}" for part in parts))
    )
    above = ""
    for row in sheet.rows:
        above = row[0] or above
        cells = zip(sheet.columns, (above, *row[1:]), spread, strict=True)
        writer.writerow(
            value
            for column, cell, parts in cells
            for value in _values(cell, parts, words=column in sheet.text)
        )
    return out.getvalue()


def _parts(sheet: Sheet, column: int) -> tuple[str, ...]:
    """Return what a column needs besides its value."""
    cells = [] if sheet.columns[column] in sheet.text else [row[column] for row in sheet.rows]
    errors = ("error",) * any(map(_PLUS_MINUS.fullmatch, cells))
    return errors + ("low", "high") * any(map(_INTERVAL.fullmatch, cells))


def _values(cell: str, parts: Sequence[str], *, words: bool) -> list[str]:
    if words:
        return [cell]
    found = {"": cell}
    if match := _PLUS_MINUS.fullmatch(cell):
        found = dict(zip(("", "error"), match.groups(), strict=True))
    elif match := _INTERVAL.fullmatch(cell):
        found = dict(zip(("", "low", "high"), match.groups(), strict=True))
    plain = (found.get(part, "") for part in ("", *parts))
    return [one.replace(",", "") if re.fullmatch(NUMBER, one) else one for one in plain]


def as_tex(sheet: Sheet) -> str:
    r"""Return a table as LaTeX that needs the package booktabs.

    One that is wider than a column of two spans both (``table*``, which is ``table`` in a paper of
    one column), and its letters are the largest of four sizes that fit the page. A heading breaks
    where it is wider than what stands below it.

    Examples
    --------
    >>> rows = (("a_b", "0.12 +- 0.01"), ("c", "1.5e-07"))
    >>> sheet = Sheet("Errors", ("solver", "error"), rows, frozenset({"solver"}))
    >>> print(as_tex(sheet), end="")  # doctest: +NORMALIZE_WHITESPACE
    \begin{table}
      \centering
      \caption{Errors}
      \begin{tabular}{lr}
        \toprule
        solver & error \\
        \midrule
        a\_b & $0.12 \pm 0.01$ \\
        c & $1.5 \times 10^{-7}$ \\
        \bottomrule
      \end{tabular}
    \end{table}
    """
    marks = list(_marks(sheet))
    heads = [_broken(*one) for one in zip(sheet.columns, _below(sheet), strict=True)]
    place, size = _place(sheet, marks, heads)
    lines = [
        rf"\begin{{{place}}}",
        r"  \centering",
        rf"  \caption{{{_words(sheet.caption)}}}",
        *([f"  {size}"] if size else []),
        rf"  \begin{{tabular}}{{{''.join(marks)}}}",
        r"    \toprule",
        f"    {_line(map(_stack, marks, heads))}",
        r"    \midrule",
    ]
    grouped = any(not row[0] for row in sheet.rows)
    for i, row in enumerate(sheet.rows):
        cells = (
            _cell(cell, words=column in sheet.text, best=(i, j) in sheet.best)
            for j, (column, cell) in enumerate(zip(sheet.columns, row, strict=True))
        )
        if i and row[0] and grouped:
            lines.append(r"    \addlinespace")
        lines.append(f"    {_line(cells)}")
    return "\n".join([*lines, r"    \bottomrule", r"  \end{tabular}", rf"\end{{{place}}}", ""])


LONG = 45
"""Characters from which a column of words breaks its lines."""

NARROW = 8
"""Characters that a line of a heading may have, however narrow its column."""

WORDS = 0.4
"""Share of the page that columns of sentences take together."""

COLUMN, PAGE = 234.0, 487.0
"""Points of one column and of a page of two, as in ICML's style."""

SIZES = (
    ("", 1.0, 6.0),
    (r"\small\setlength{\tabcolsep}{4pt}", 0.9, 4.0),
    (r"\footnotesize\setlength{\tabcolsep}{3pt}", 0.8, 3.0),
    (r"\scriptsize\setlength{\tabcolsep}{2pt}", 0.7, 2.0),
)
"""What sets a size of letters, its share of the text's, and the points on each side of a column."""

LETTER = 5.0
"""Points of a digit of text of ten points (Computer Modern); most letters are narrower."""


def _below(sheet: Sheet) -> list[int]:
    """Return the characters of each column's longest cell."""
    return [max(map(len, cells), default=0) for cells in zip(*sheet.rows, strict=True)] or [
        len(name) for name in sheet.columns
    ]


def _broken(name: str, room: int) -> list[str]:
    """Return a heading in lines as long as a cell below it, as its longest word, or as NARROW."""
    longest = max(map(len, name.split()), default=1)
    return textwrap.wrap(name, max(room, longest, NARROW), break_on_hyphens=False) or [""]


def _stack(mark: str, lines: Sequence[str]) -> str:
    """Return a heading, its lines above each other."""
    words = r" \\ ".join(map(_words, lines))
    return rf"\shortstack[{'r' if mark == 'r' else 'l'}]{{{words}}}" if len(lines) > 1 else words


def _place(sheet: Sheet, marks: Sequence[str], heads: Sequence[list[str]]) -> tuple[str, str]:
    """Return the environment of a table, and what sets the size of its letters."""
    letters = [
        max(below, *map(len, head)) for below, head in zip(_below(sheet), heads, strict=True)
    ]
    paragraphs = [mark[0] == "p" for mark in marks]
    fixed = WORDS * PAGE if any(paragraphs) else 0.0
    free = sum(n for n, one in zip(letters, paragraphs, strict=True) if not one)
    wide = [fixed + LETTER * share * free + 2 * gap * len(marks) for _, share, gap in SIZES]
    if wide[0] <= COLUMN:
        return "table", ""
    fits = (size for (size, *_), width in zip(SIZES, wide, strict=True) if width <= PAGE)
    return "table*", next(fits, SIZES[-1][0])


def _marks(sheet: Sheet) -> Iterator[str]:
    """Yield each column's mark: numbers to the right, words to the left, sentences in lines."""
    longest = [max(map(len, cells)) for cells in zip(sheet.columns, *sheet.rows, strict=True)]
    told = [name in sheet.text for name in sheet.columns]
    broken = [words and size > LONG for words, size in zip(told, longest, strict=True)]
    for words, breaks in zip(told, broken, strict=True):
        if breaks:
            yield rf"p{{{WORDS / sum(broken):.2g}\textwidth}}"
        else:
            yield "l" if words else "r"


def _line(cells: Iterable[str]) -> str:
    return " & ".join(cells) + r" \\"


def _words(text: str) -> str:
    text = text.translate(_SPECIAL).replace("+-", r"$\pm$")
    return text.replace(r"\textless{}=", r"$\leq$").replace(r"\textgreater{}=", r"$\geq$")


def _cell(cell: str, *, words: bool, best: bool) -> str:
    """Return a cell: words escaped, each number of the others set as mathematics."""
    if words:
        return rf"\textbf{{{_words(cell)}}}" if best else _words(cell)
    out, end = [], 0
    for match in _TERM.finditer(cell):
        out += [_words(cell[end : match.start()]), _number(match, best=best)]
        end = match.end()
    return "".join([*out, _words(cell[end:])])


def _number(match: re.Match[str], *, best: bool) -> str:
    value, sign, error = match.groups()
    said = _power(value) + (rf" \pm {_power(error)}" if sign else "")
    return rf"$\mathbf{{{said}}}$" if best else f"${said}$"


def _power(text: str) -> str:
    mantissa, e, exponent = text.replace(",", "{,}").partition("e")
    return mantissa + (rf" \times 10^{{{int(exponent)}}}" if e else "")


def check_sheets(csv_file: str | None, tex_file: str | None) -> None:
    """Raise ``InputError`` before the work for what could not be written after it."""
    for option, file in (("--csv", csv_file), ("--tex", tex_file)):
        if file == STDOUT:
            raise InputError(f"{option} must name a file, got {file}")
        check_target(file, option)


def write_sheet(sheet: Sheet, csv_file: str | None, tex_file: str | None) -> None:
    """Write a table to the files that are named."""
    if csv_file is not None:
        write_text(Path(csv_file), as_csv(sheet))
    if tex_file is not None:
        write_text(Path(tex_file), as_tex(sheet))
