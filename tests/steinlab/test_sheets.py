"""Tables for authors: CSV reads back, LaTeX escapes, commands write what they print."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from steinlab.cli import main
from steinlab.storage.sheets import Sheet, as_csv, as_tex

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=["Cc", "Cs"]), max_size=12)


@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_csv_reads_back(rows: list[tuple[str, str]]) -> None:
    sheet = Sheet("", ("one", "two"), tuple(rows), frozenset({"one", "two"}))
    found = list(csv.reader(io.StringIO(as_csv(sheet))))
    assert found[0] == ["one", "two"]
    assert [row[1] for row in found[1:]] == [two for _, two in rows]


@given(WORDS)
def test_tex_leaves_no_special_letter_bare(word: str) -> None:
    line = as_tex(Sheet("", ("a", "b"), ((word, "x"),), frozenset({"a", "b"}))).splitlines()[7]
    cell = line.removeprefix("    ").removesuffix(r" & x \\")
    for macro in ("textbackslash{}", "textasciitilde{}", "textasciicircum{}", "textless{}"):
        cell = cell.replace(f"\\{macro}", "")
    for macro in ("textgreater{}", "textbar{}", *"&%$#_{}"):
        cell = cell.replace(f"\\{macro}", "")
    cell = cell.replace(r"$\pm$", "")
    assert not set(cell) & set("\\&%$#_{}~^<>|")


def test_a_column_of_sentences_breaks_its_lines() -> None:
    row = ("a", "word " * 10, "12")
    sheet = Sheet("", ("id", "found", "cases"), (row,), frozenset({"id", "found"}))
    assert r"\begin{tabular}{lp{0.4\textwidth}r}" in as_tex(sheet)
    both = ("id " * 20, "word " * 10, "12")
    assert r"{p{0.2\textwidth}p{0.2\textwidth}r}" in as_tex(
        Sheet("", sheet.columns, (both,), sheet.text)
    )


def test_a_table_takes_a_column_a_page_or_smaller_letters() -> None:
    def made(columns: int) -> str:
        names = tuple(f"a heading of many words {i}" for i in range(columns))
        return as_tex(Sheet("", names, (("0.12 +- 0.01",) * columns,)))

    # twelve letters of 5 points and gaps of 12 per column: 144 of 234 points, 288, then 432 and
    # 576 of 487; the last is 62 per column at 9 points, 496, and fits at 8 points: 54 each
    for columns, place, size in (
        *((2, "table", None), (4, "table*", None), (6, "table*", None)),
        *((7, "table*", "small"), (8, "table*", "footnotesize"), (10, "table*", "scriptsize")),
    ):
        text = made(columns)
        assert text.startswith(f"\\begin{{{place}}}\n")
        assert text.endswith(f"\\end{{{place}}}\n")
        assert re.findall(r"^  \\(\w+)\\setlength", text, re.MULTILINE) == [size] * (
            size is not None
        )
    assert r"\shortstack[r]{a heading of \\ many words 0}" in made(2)


def test_numbers_are_set_with_their_errors() -> None:
    rows = (("8", "0.12 +- 0.01", "1.3 (1.1 to 1.5)", "by law"), ("", "1,200", "2e-05", "a1"))
    sheet = Sheet("Runs", ("asked", "error", "ratio", "said"), rows, best=frozenset({(0, 1)}))
    assert list(csv.DictReader(io.StringIO(as_csv(sheet)))) == [
        {
            **{"asked": "8", "error": "0.12", "error: error": "0.01"},
            **{"ratio": "1.3", "ratio: low": "1.1", "ratio: high": "1.5", "said": "by law"},
        },
        {
            **{"asked": "8", "error": "1200", "error: error": ""},
            **{"ratio": "2e-05", "ratio: low": "", "ratio: high": "", "said": "a1"},
        },
    ]
    lines = as_tex(sheet).splitlines()
    assert r"    $8$ & $\mathbf{0.12 \pm 0.01}$ & $1.3$ ($1.1$ to $1.5$) & by law \\" in lines
    assert r"     & $1{,}200$ & $2 \times 10^{-5}$ & a1 \\" in lines


SPEC = {
    **{"data": {"weights": ["1/2", "1/2"], "means": [[-1], [1]], "stds": [0.3, 0.3]}},
    **{"schedule": "edm", "grid": "karras", "solvers": ["euler", "heun"], "evaluations": [4]},
    **{"corrections": ["none"], "samples": 50, "seed": 0},
}
DENOISER = """
def normal(x, level):
    return level.alpha / (level.alpha**2 + level.sigma**2) * x
"""


@pytest.mark.parametrize("command", ["compare", "verify", "check"])
def test_commands_write_their_table(command: str, tmp_path: Path) -> None:
    spec, code = tmp_path / "spec.json", tmp_path / "mine.py"
    spec.write_text(json.dumps(SPEC))
    code.write_text(DENOISER)
    line, name = {
        "compare": ([str(spec)], "heun"),
        "verify": (["--claims", "third-order-as-published", "--workers", "1"], "refuted"),
        "check": ([f"{code}:normal", "--as", "denoiser", "--out", str(tmp_path)], "ok"),
    }[command]
    files = [tmp_path / "a.csv", tmp_path / "a.tex"]
    given = [command, *line, "--csv", str(files[0]), "--tex", str(files[1])]
    assert main(given) == 0
    rows = list(csv.reader(io.StringIO(files[0].read_text())))
    assert len({len(row) for row in rows}) == 1
    assert any(name in row for row in rows)
    assert r"\toprule" in files[1].read_text()


@pytest.mark.parametrize("option", ["--csv", "--tex"])
def test_a_table_needs_a_file(option: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--claims", "cosine-law", option, "-"]) == 2
    assert capsys.readouterr().err == f"steinlab: {option} must name a file, got -\n"
