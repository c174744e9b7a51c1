"""A file of claims without a package: verify, falsify, replay, report, and what each refuses."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.errors import InputError
from steinlab.verification.files import digest, require_unchanged
from steinlab.verification.ledger import run
from steinlab.verification.shards import Shards

HEAD = "from steinlab import E, claim, laws, levels\n"

JENSEN = """
@claim("E|D|^2 <= E|x_star|^2", controls={"centred": lambda law: law.variance()}, cases=40)
def jensen(law=laws.mixtures(dim=1), s=levels("edm")):
    return E(lambda x: law(x, s) ** 2, law, s) <= law.second_moment()
"""

FALSE = """
@claim("E|D|^2 <= M / 2", controls={"a tenth": lambda law: 0.1 * law.variance()}, cases=20)
def too_sharp(law=laws.mixtures(dim=1), s=levels("edm")):
    return E(lambda x: law(x, s) ** 2, law, s) <= 0.5 * law.second_moment()
"""

BROKEN = """
@claim("E|D|^2 <= 2 M", controls={"a tenth": lambda law: 0.1 * law.variance()}, cases=3)
def broken(law=laws.mixtures(dim=1), s=levels("edm")):
    %s
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(HEAD + JENSEN + FALSE)
    return tmp_path


def ledger(file: str = "l.json") -> dict[str, Any]:
    found: dict[str, Any] = json.loads(Path(file).read_text())
    return found


def said(capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str]:
    """Return the exit code and what stood on stderr."""
    capsys.readouterr()
    code = main(list(args))
    return code, capsys.readouterr().err.strip()


def without_seconds(found: dict[str, Any]) -> list[dict[str, Any]]:
    return [{k: v for k, v in row.items() if k != "seconds"} for row in found["claims"]]


def test_verify_judges_every_claim_of_a_file(here: Path) -> None:
    assert main(["verify", "my.py", "--workers", "1", "--json", "l.json", "--out", "cases"]) == 0
    holds, refuted = ledger()["claims"]
    assert (holds["id"], holds["verdict"]) == ("jensen", "holds")
    assert (refuted["id"], refuted["verdict"]) == ("too-sharp", "refuted")
    assert holds["file"]["path"] == "my.py"
    assert len(refuted["worst"]["case"]["law"]["weights"]) == 1
    for name in ("jensen", "too-sharp"):
        assert main(["replay", f"cases/{name}.case.json"]) == 0
    stored = json.loads(Path("cases/too-sharp.case.json").read_text())
    assert (stored["claim"], stored["file"]["path"]) == ("too-sharp", "my.py")
    assert main(["report", "--ledger", "l.json", "--without-figures", "--out", "page"]) == 0
    page = (here / "page" / "report.html").read_text()
    assert "E|D|^2 &lt;= M / 2" in page
    assert stored["file"]["sha256"] in page  # what `save` writes can be replayed


def test_a_report_judges_a_file_by_itself(here: Path) -> None:
    assert main(["report", "my.py", "--out", "page"]) == 0
    assert "jensen" in (here / "page" / "report.html").read_text()


def test_workers_and_shards_change_no_digit(here: Path) -> None:
    one = run(["my.py"])
    two = run(["my.py::jensen", "my.py::too_sharp"], workers=2)
    assert without_seconds(two) == without_seconds(one)
    run(["my.py"], shards=Shards(here / "shards"))
    again = Shards(here / "shards")
    assert without_seconds(run(["my.py"], shards=again)) == without_seconds(one)
    assert again.reused == sum(len(row["evidence"]) for row in one["claims"])
    assert not (here / "shards" / "my.py::jensen").exists()
    (here / "my.py").write_text(HEAD + JENSEN + FALSE + "# another comment\n")
    changed = Shards(here / "shards")
    run(["my.py"], shards=changed)
    assert changed.reused == 0


def test_another_process_finds_a_file_by_its_address(here: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steinlab.cli", "verify", "--workers", "2", "--json", "-",
         "--claims", "my.py::jensen,my.py::too_sharp"],
        cwd=here, capture_output=True, text=True, timeout=120, check=True,
    )  # fmt: skip
    assert [row["verdict"] for row in json.loads(done.stdout)["claims"]] == ["holds", "refuted"]


def test_claims_choose_among_a_file_and_what_is_registered(here: Path) -> None:
    args = ["verify", "my.py", "--workers", "1", "--json", "l.json", "--claims"]
    assert main([*args, "jensen"]) == 0
    assert [row["id"] for row in ledger()["claims"]] == ["jensen"]
    assert main([*args, "third-order-as-published,jensen"]) == 0
    assert [row["id"] for row in ledger()["claims"]] == ["third-order-as-published", "jensen"]
    Path("expect.json").write_text('{"jensen": "refuted"}')
    assert main([*args, "jensen", "--expect", "expect.json"]) == 1


def test_falsify_searches_a_claim_of_a_file(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    args = ["falsify", "my.py::too_sharp", "--budget", "32", "--out", "found", "--json", "f.json"]
    assert main(args) == 0
    found = ledger("f.json")
    assert (found["claim"], found["violated"]) == ("too-sharp", True)
    assert len(found["case"]["case"]["law"]["weights"]) == 1
    assert main(["replay", "found/too-sharp.attack.json"]) == 0
    (here / "one.py").write_text(HEAD + JENSEN)
    assert main(["falsify", "one.py", "--budget", "16"]) == 0
    assert said(capsys, "falsify", "my.py") == (
        2,
        "steinlab: CLAIM must be one claim, such as my.py::jensen, my.py::too-sharp, got my.py",
    )
    code, line = said(capsys, "falsify", "my.py::jensn")
    assert (code, line.count("\n")) == (2, 0)
    assert "did you mean jensen? claim of my.py must be one of jensen, too-sharp" in line


def test_replay_wants_the_file_as_it_was(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "my.py", "--workers", "1", "--claims", "jensen", "--out", "c"]) == 0
    case = "c/jensen.case.json"
    (here / "my.py").write_text(HEAD + JENSEN)
    code, line = said(capsys, "replay", case)
    assert code == 2
    assert line.startswith("steinlab: my.py must be as it was when the case was stored, sha256 ")
    (here / "my.py").unlink()
    assert said(capsys, "replay", case) == (
        2,
        f"steinlab: FILE must be a Python file with claims, got my.py, which is missing, in {case}",
    )
    stored = json.loads(Path(case).read_text())
    Path(case).write_text(json.dumps({**stored, "file": "my.py"}))
    code, line = said(capsys, "replay", case)
    assert code == 2
    assert line == "steinlab: file must be an object, got my.py, in c/jensen.case.json"


REFUSED = {
    "import numpy\n": "bad.py must hold a claim, a function under @claim, got none",
    "def f(:\n    pass\n": "bad.py must be valid Python: line 1: invalid syntax",
    "x = 1\ny = 1 / 0\n": "bad.py, line 2: ZeroDivisionError: division by zero",
    "raise SystemExit(3)\n": "bad.py, line 1: SystemExit: 3",
    HEAD + "laws.mixtures(2)\n": "bad.py, line 2: laws: dim must be 1, where quadrature states",
    HEAD + JENSEN.replace("cases=40", "conditions=None"): (
        "bad.py, line 3: conditions of jensen must be a list of texts, got null"
    ),
    HEAD + JENSEN.replace("cases=40", "conditions='x > 0'"): (
        "bad.py, line 3: conditions of jensen must be a list of texts, got x > 0"
    ),
    HEAD + JENSEN.replace('"centred": lambda law: law.variance()', ""): (
        "bad.py, line 3: controls of jensen must hold at least one falsified right side"
    ),
}


@pytest.mark.parametrize("content", REFUSED)
def test_a_file_that_cannot_be_judged_gets_one_line(
    content: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.py").write_text(content)
    code, line = said(capsys, "verify", "bad.py")
    assert (code, line.count("\n")) == (2, 0)
    assert line.startswith(f"steinlab: {REFUSED[content]}")


def test_names_that_fit_nothing_get_one_line(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    def line(*args: str) -> str:
        code, text = said(capsys, *args)
        assert (code, text.count("\n")) == (2, 0)
        return text.removeprefix("steinlab: ")

    assert line("verify", "gone.py").endswith("got gone.py, which is missing")
    assert line("verify", "stein-identity") == (
        "FILE must end in .py, got stein-identity; a registered claim is named by --claims"
    )
    assert "--claims must be one of jensen, too-sharp, " in line(
        "verify", "my.py", "--claims", "jensn"
    )
    (here / "copy.py").write_text(HEAD + JENSEN)
    assert line("verify", "my.py", "copy.py") == (
        "claims must have different ids, got my.py::jensen and copy.py::jensen"
    )
    (here / "twice.py").write_text(HEAD + JENSEN + "old = jensen\n" + JENSEN)
    assert line("verify", "twice.py") == (
        "twice.py must give its claims different ids, got jensen twice"
    )
    (here / "folder.py").mkdir()
    assert line("verify", "folder.py").endswith("got folder.py, Is a directory")


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero"),
        ("return law.variance() <= 2", "ValueError: broken must return a relation such as"),
        ("return E(lambda x: x / 0, law, s) <= 1", "ValueError: f must be finite at every state"),
        ("return E(lambda x: x, law, s) == 1", "must return its statement's relation <=, got =="),
    ],
)
def test_a_property_that_fails_is_a_crashed_check(
    body: str, complaint: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (here / "bad.py").write_text(HEAD + BROKEN % body)
    code, line = said(capsys, "verify", "bad.py", "--workers", "1", "--json", "l.json")
    assert code == 1
    assert line.splitlines()[0].startswith("steinlab: broken: a check crashed: ")
    assert complaint in line
    (row,) = ledger()["claims"]
    assert (row["id"], row["verdict"], row["file"]["path"]) == ("broken", "not-run", "bad.py")
    assert 'at {"law": {"weights"' in row["crash"]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("where", ["property", "control"])
def test_leaving_the_process_is_a_crash(
    where: str, workers: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = BROKEN % "raise SystemExit(0)"
    if where == "control":
        text = JENSEN.replace("law.variance()", "exit(0)").replace("jensen", "broken")
        text = "from sys import exit\n" + text
    (here / "bad.py").write_text(HEAD + text)
    code, line = said(capsys, "verify", "bad.py", "--workers", workers, "--json", "l.json")
    assert code == 1
    assert re.match(
        r"steinlab: broken: a check crashed: SystemExit: 0 \(bad.py, line \d+, in", line
    )
    assert [row["verdict"] for row in ledger()["claims"]] == ["not-run"]


def test_leaving_the_process_ends_no_other_command_well(here: Path) -> None:
    (here / "bad.py").write_text(HEAD + BROKEN % "raise SystemExit(0)")
    with pytest.raises(RuntimeError, match="a claim must not end the process, got SystemExit: 0"):
        main(["falsify", "bad.py", "--budget", "16"])


def test_a_control_that_crashes_is_placed_in_its_file(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = JENSEN.replace("law.variance()", "np.linalg.inv(np.zeros((2, 2)))[0, 0]")
    (here / "bad.py").write_text("import numpy as np\n" + HEAD + text)
    code, line = said(capsys, "verify", "bad.py", "--workers", "1")
    assert code == 1
    assert "LinAlgError: Singular matrix (bad.py, line 4, in <lambda>)" in line


def test_a_control_that_passes_makes_the_laboratory_untrustworthy(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text = JENSEN.replace("law.variance()", "2 * law.second_moment()")
    (here / "weak.py").write_text(HEAD + text)
    code, line = said(capsys, "verify", "weak.py", "--workers", "1")
    assert (code, line) == (1, "steinlab: jensen: control not rejected: centred")


def test_the_long_form_is_judged_from_a_file_too(here: Path) -> None:
    page = Path(__file__).parents[3] / "docs" / "verify-your-bound.md"
    blocks = page.read_text(encoding="utf-8").split("```python\n")[1:]
    (long,) = (b.split("```")[0] for b in blocks if "CLAIM = Claim(" in b)
    (here / "long.py").write_text(long)
    found = run(["long.py::linear-estimate"])
    assert [row["verdict"] for row in found["claims"]] == ["holds"]
    (here / "long.py").write_text(long.replace("linear-estimate", "linear_estimate"))
    found = run(["long.py::linear_estimate"])
    assert [row["id"] for row in found["claims"]] == ["linear_estimate"]


def test_a_file_that_changed_is_refused_whatever_its_hash(here: Path) -> None:
    text, stored = HEAD + JENSEN, {"path": "my.py", "sha256": ""}
    (here / "my.py").write_text(text)
    stored["sha256"] = digest("my.py")
    require_unchanged(stored)
    greater = set()
    for k in range(64):
        (here / "my.py").write_text(f"{text}# {k}\n")
        greater.add(digest("my.py") > stored["sha256"])
        with pytest.raises(InputError, match="must be as it was"):
            require_unchanged(stored)
    assert greater == {True, False}
