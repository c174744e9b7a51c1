"""The terminal's manners: short options, lists, progress, narrow tables, completion, markup."""

from __future__ import annotations

import json
import os
import re
import runpy
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.table import Table

from steinlab.cli import app, main, output
from steinlab.cli.output import progress_bar, show
from steinlab.report.words import headlines
from steinlab.verification.ledger import claim_ids

ROOT = Path(__file__).resolve().parents[3]
SPEC = {
    "data": {"weights": [1], "means": [[0, 1]], "stds": [1]},
    "solvers": ["heun", "dpmpp-3m-exact"],
    "evaluations": [4, 6],
    "samples": 60,
}


def run(*args: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "steinlab", *args],
        env={**os.environ, **environment},
        capture_output=True, text=True, timeout=120, check=False,
    )  # fmt: skip


@pytest.mark.parametrize("args", [["-h"], ["--help"], ["verify", "-h"], ["study", "-h"]])
def test_help_has_a_short_name(args: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(args) == 0
    assert "sage: steinlab" in capsys.readouterr().out


def test_the_help_loads_no_command_and_no_other_package() -> None:
    code = (
        "import sys; from steinlab.cli import main; main(['-h'])\n"
        "heavy = {'torch', 'scipy', 'gpu_models.study.command', 'toy_models.trained.train'}\n"
        "sys.exit(bool(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "Train the U-Net on Fashion-MNIST." in done.stdout


def test_the_version_and_the_module() -> None:
    for args in (["-V"], ["--version"]):
        assert run(*args).stdout.startswith("steinlab ")


def test_an_old_name_answers_in_a_process_of_its_own() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "steinlab.tournament", "--help"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0
    assert done.stderr == ("steinlab: python -m steinlab.tournament is now steinlab tournament\n")
    assert "sage: steinlab tournament" in done.stdout


@pytest.mark.parametrize(
    ("module", "command"),
    [
        ("toy_models.train", "train"),
        ("toy_models.galaxy_budget", "galaxy-budget"),
        ("gpu_models.train", "train-fashion"),
        ("gpu_models.evaluate", "evaluate"),
        ("gpu_models.classifier", "train-classifier"),
        ("gpu_models.bench_exact", "bench-exact"),
        ("gpu_models.study", "study"),
    ],
)
def test_an_old_name_answers_and_points(
    module: str, command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As ``python -m`` runs it."""
    monkeypatch.setattr(sys, "argv", [module, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    assert ended.value.code == 0
    out, err = capsys.readouterr()
    assert err == f"steinlab: python -m {module} is now steinlab {command}\n"
    assert f"sage: steinlab {command}" in out


def test_an_old_name_that_is_imported_runs_nothing() -> None:
    """As pytest does, which collects ``notebooks/refresh.py`` in search of doctests."""
    scripts = [
        path
        for folder in ("docs", "notebooks", "gpu_models", "toy_models", "steinlab")
        for path in (ROOT / folder).rglob("*.py")
        if "import door" in path.read_text()
    ]
    assert len(scripts) == 17
    for script in scripts:
        runpy.run_path(str(script), run_name="collected")


def test_claims_are_listed_one_per_line_with_their_headlines(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("COLUMNS", raising=False)
    names = ["contractivity-trap", "clipped-gain", "asymptotic-equivalence"]
    given = ["verify", "--list", "--claims", ",".join(names)]
    assert main(given) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == names
    assert re.search("still reaches [0-9.]+ with [0-9,]+ steps", lines[0]), (
        "of the ledger that ships"
    )
    assert len(lines[1]) > 140, "no line is folded where nobody knows a width"
    monkeypatch.setenv("COLUMNS", "60")
    assert main(given) == 0
    folded = capsys.readouterr().out.splitlines()
    assert max(map(len, folded)) <= 60
    assert [line for line in folded if line[0] != " "] == names
    assert " ".join(" ".join(folded).split()) == " ".join(" ".join(lines).split())


def test_a_headline_that_ships_is_of_a_claim_and_short() -> None:
    assert set(headlines()) <= set(claim_ids())
    assert max(map(len, headlines().values())) <= 120
    assert "{" not in "".join(headlines().values())


def test_quiet_says_nothing_and_verbose_more(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", "--claims", "cost-table", "--workers", "1", "-q"]) == 0
    assert capsys.readouterr() == ("", "")
    for given in (["-q", "-v"], ["-q", "-v", "--list"]):
        assert main(["verify", *given]) == 2
        assert "--quiet must be given without --verbose" in capsys.readouterr().err


def test_piped_progress_is_a_line_every_ten_seconds(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    for silent in (False, True):
        with progress_bar(silent) as tell:
            for i in range(100):
                now[0] += 1.0
                tell(i / 100, f"[step] {i}")
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 10
    assert err[0] == "steinlab: 9% done, [step] 9; about 2 min left"
    assert err[-1] == "steinlab: 99% done, [step] 99; about 10 s left"


def test_what_was_kept_before_says_nothing_of_what_is_left(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    now = [100.0]
    monkeypatch.setattr(output.time, "monotonic", lambda: now[0])
    with progress_bar() as tell:
        for done, wait in ((0.5, 0.2), (0.9, 0.2), (0.9, 10.0), (0.95, 10.0)):
            now[0] += wait
            tell(done, "a row")
    assert capsys.readouterr().err.splitlines() == [
        "steinlab: 90% done, a row",
        "steinlab: 95% done, a row; about 30 s left",
    ]


@pytest.fixture
def spec(tmp_path: Path) -> str:
    (tmp_path / "s.json").write_text(json.dumps(SPEC))
    return str(tmp_path / "s.json")


def test_tables_survive_60_columns(
    spec: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """All that stands in the wide table stands in the narrow one, nothing cut."""
    found = []
    for columns in ("140", "60"):
        monkeypatch.setenv("COLUMNS", columns)
        assert main(["compare", spec]) == 0
        found.append(capsys.readouterr().out)
    wide, narrow = found
    assert max(map(len, narrow.splitlines())) <= 60
    assert "…" not in narrow
    words = set(wide.split("gamma and other")[0].split()) - {"│"}
    missing = {word for word in words if word not in narrow and word.strip("─━")}
    assert missing == set()


def test_a_table_that_fits_stays_a_table(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    table = Table("name", "a long text")
    table.add_row("x", "many words " * 8)
    for columns, framed in (("60", True), ("12", False)):
        monkeypatch.setenv("COLUMNS", columns)
        show(table)
        assert ("┃" in capsys.readouterr().out) == framed


def test_brackets_are_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    given = ["--model", "digits", "--solver", "euler", "--evaluations", "2", "--samples", "2"]
    assert main(["sample", *given, "--out", "[red]x[bold].npy"]) == 0
    assert "[red]x[bold].npy" in capsys.readouterr().out
    folder = "out[bold]"
    assert main(["verify", "--claims", "cost-table", "--out", folder, "-q"]) == 0
    assert main(["verify", "--claims", "cost-table", "--out", folder]) == 0
    assert folder in capsys.readouterr().out
    (tmp_path / "ledger.json").write_bytes((tmp_path / folder / "ledger.json").read_bytes())
    assert main(["report", "--without-figures", "--out", "r[dim]"]) == 0
    assert "r[dim]/report.html" in capsys.readouterr().out


def test_the_process_has_its_name_and_its_old_one(
    spec: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for option in ("--process", "--schedule"):
        given = ["--model", "digits", "--solver", "euler", "--evaluations", "2", "--samples", "2"]
        assert main(["sample", *given, option, "vp-linear"]) == 0
        shown.append(capsys.readouterr().out.splitlines()[0])
    assert shown[0] == shown[1]
    assert "vp-linear" in shown[0]
    found = []
    for key in ("process", "schedule"):
        Path(spec).write_text(json.dumps({**SPEC, key: "vp-linear"}))
        assert main(["compare", spec, "--json", str(tmp_path / "rows.json")]) == 0
        found.append(json.loads((tmp_path / "rows.json").read_text()))
    assert found[0] == found[1]
    capsys.readouterr()
    Path(spec).write_text(json.dumps({**SPEC, "process": "edm", "schedule": "edm"}))
    assert main(["compare", spec]) == 2
    assert "process and schedule are two names of one field" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("args", "line"),
    [
        (["verify", "--claims", "solver-ordr"], "did you mean solver-order? --claims must be"),
        (["falsify", "solver-ordr"], "did you mean solver-order? claim must be one of"),
        (["figures", "dcay"], "did you mean decay? figure must be one of"),
        (["verifi"], "did you mean verify? command must be one of"),
        (["tournament", "--profile", "ful"], "did you mean full? --profile must be one of"),
        (["tournament", "--minutes", "x"], "--minutes must be a number"),
        (["verify", "--seed", "1.5"], "--seed must be a whole number from 0 to"),
        (["verify", "--workers", "0"], "--workers must be a whole number from 1 to 256, got 0"),
    ],
)
def test_the_nearest_id_comes_before_the_list(
    args: list[str], line: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    assert capsys.readouterr().err.startswith(f"steinlab: {line}")


GIVEN = ["--model", "digits", "--evaluations", "2"]


@pytest.mark.parametrize(
    ("args", "nearest", "listed"),
    [
        (["verify", "--claims", "solver-ordr"], "solver-order", "steinlab verify --list"),
        (["show", "solver-ordr"], "solver-order", "steinlab verify --list"),
        (["falsify", "solver-ordr"], "solver-order", "steinlab verify --list"),
        (["figures", "decya"], "decay", "steinlab figures --list"),
        (["tournamet"], "tournament", "steinlab --help"),
        (["sample", *GIVEN, "--solver", "hueun"], "heun", "docs/solvers.md"),
        (["sample", *GIVEN[2:], "--solver", "euler", "--model", "digts"], "digits", "models"),
        (
            ["sample", *GIVEN, "--solver", "euler", "--correction", "stien"],
            "stein",
            "docs/corrections.md",
        ),
        (["sample", *GIVEN, "--solver", "euler", "--grid", "karas"], "karras", "docs/grids.md"),
    ],
)
def test_a_wrong_choice_is_answered_in_a_short_line(
    args: list[str], nearest: str, listed: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It names the nearest, the field, the value and what lists the others."""
    assert main(args) == 2
    line = capsys.readouterr().err
    assert line.startswith(f"steinlab: did you mean {nearest}? ")
    assert listed in line
    assert line.count(",") < 8
    wrong = next(word for word in reversed(args) if word not in {*GIVEN, "euler"})
    assert line.endswith(f", got {wrong}\n")


@pytest.mark.parametrize(
    "args",
    [
        ["verify", "--claims", "x" * 1000],
        ["falsify", "solver-order" * 90],
        ["falsify", "artifact-reduction"],
        ["models", "--json", f"/{'y' * 200}/{'z' * 200}/w"],
        ["verify", f"/{'y' * 200}/{'z' * 200}.py"],
    ],
)
def test_no_message_is_longer_than_400_characters(
    args: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(args) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1
    assert len(err) <= 400


def test_a_folder_that_cannot_be_made_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "own.py").write_text("def sample(model, x, sigmas):\n    return x\n")

    def work(*_args: object, **_options: object) -> None:
        raise AssertionError("it has begun")

    for module in ("testing.check.rows_of", "verification.ledger.run", "verification.ledger.rows"):
        monkeypatch.setattr(f"steinlab.{module}", work)
    for args in (["check", "own.py:sample"], ["verify"], ["report", "own.py"]):
        assert main([*args, "--out", "own.py/out"]) == 2
        assert "--out must be a folder that can be made, got own.py/out" in capsys.readouterr().err
    with pytest.raises(AssertionError, match="begun"):
        main(["check", "own.py:sample", "--out", "new/out"])
    assert not (tmp_path / "new").exists(), "nothing is made for a check that fails nowhere"


def test_another_name_of_stdout_is_written_to_not_replaced(tmp_path: Path) -> None:
    file = tmp_path / "out.json"
    with file.open("w") as out:
        out.write("[0]\n")
        out.flush()
        done = subprocess.run(
            [sys.executable, "-m", "steinlab", "models", "--json", "/dev/stdout"],
            stdout=out, stderr=subprocess.PIPE, text=True, check=True, timeout=120,
        )  # fmt: skip
        assert os.fstat(out.fileno()).st_ino == file.stat().st_ino
    first, _, rest = file.read_text().partition("\n")
    assert first == "[0]"
    assert len(json.loads(rest)) > 5
    assert "Models" in done.stderr, "the table does not stand in the JSON"


def test_a_pipe_is_told_the_rows_once(spec: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    assert main(["compare", spec, "--json", str(tmp_path / "pipe"), "--no-progress"]) == 0
    assert len(json.loads(os.read(reader, 2**16))) == 8
    os.close(reader)


def asked(words: str) -> dict[str, str]:
    """What a shell sets when it wants a line completed."""
    return {
        "_STEINLAB_COMPLETE": "complete_bash",
        "COMP_WORDS": f"steinlab {words}",
        "COMP_CWORD": str(len(words.split(" "))),
    }


def test_a_shell_completes_commands_and_ids(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def completed(words: str) -> list[str]:
        for name, value in asked(words).items():
            monkeypatch.setenv(name, value)
        with pytest.raises(SystemExit):
            main([])
        return capsys.readouterr().out.split()

    assert completed("tourn") == ["tournament"]
    assert completed("verify --claims solver-or") == ["solver-order"]
    assert set(completed("falsify ")) >= set(claim_ids())
    assert "dpmpp-2m" in completed("sample --solver dpm")
    assert completed("sample --correction twee") == ["tweedie"]
    assert "galaxies-hsc-32" in completed("sample --model gal")
    process = run(**asked("verify --claims vp-singularity,solver-or"))
    assert process.stdout.split() == ["vp-singularity,solver-order"]


def test_the_shells_script_is_shown() -> None:
    done = run("--show-completion", "bash", _TYPER_COMPLETE_TEST_DISABLE_SHELL_DETECTION="1")
    assert done.returncode == 0
    assert "_STEINLAB_COMPLETE" in done.stdout


def test_evaluations_are_named_once_where_they_occur() -> None:
    root: Any = typer.main.get_command(app)
    for name in ("sample", "compare", "calibrate"):
        command = root.commands[name]
        texts = [command.help or "", *(getattr(p, "help", None) or "" for p in command.params)]
        assert sum("number of function evaluations (NFE)" in text for text in texts) == 1, name


def test_a_closed_pipe_is_no_traceback() -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "steinlab", "models", "--json", "-"],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()
    assert b"Traceback" not in process.stderr.read()
    process.wait(60)


ELSEWHERE = {
    "verify": ["--claims", "vp-singularity", "--no-progress"],
    "compare": ["spec.json", "--no-progress"],
    "tournament": [],
    "certify": ["contraction-edm-euler", "--budget", "9", "--box", "step=1:2"],
    "falsify": ["vp-singularity", "--budget", "1"],
    "check": ["steinlab.solvers:EULER"],
    "figures": ["decay"],
}
"""A short line per command that other processes may run."""


def test_workers_and_scheduler_are_options_of_the_same_commands() -> None:
    root: Any = typer.main.get_command(app)
    options = {name: {p.name for p in one.params} for name, one in root.commands.items()}
    for option, more in (("workers", {"check-certificate"}), ("scheduler", set())):
        assert {name for name, own in options.items() if option in own} == ELSEWHERE.keys() | more


@pytest.mark.parametrize("name", ELSEWHERE)
def test_where_it_runs_is_refused_in_one_line(
    name: str, spec: str, capsys: pytest.CaptureFixture[str]
) -> None:
    line = [name, *(spec if word == "spec.json" else word for word in ELSEWHERE[name])]
    number, address = "--workers must be a whole number from 1 to 256, got 0", "tcp://host:8786"
    both = "--workers must be left out with --scheduler, got both"
    unknown = f"--scheduler must be an address such as {address}, got"
    for given, expected in (
        (["--workers", "0"], number),
        (["--workers", "2", "--scheduler", address], both),
        (["--scheduler", address, "--workers", "auto"], both),
        (["--scheduler", "nohost"], f"{unknown} nohost"),
    ):
        assert main([*line, *given]) == 2
        assert capsys.readouterr().err == f"steinlab: {expected}\n"
