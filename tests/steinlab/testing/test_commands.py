"""``steinlab check``, ``check-grid`` and ``trace``: answers, exit codes, one line for bad input."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import distributions
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from tests import inner

GOOD = """
def sample(model, x, sigmas):
    for s, t in zip(sigmas[:-1], sigmas[1:]):
        x = t / s * x + (1 - t / s) * model(x, s)
    return x


def denoise(x, level):
    return x / (1 + level.sigma**2)


value = 3
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "good.py").write_text(GOOD)
    return tmp_path


def test_a_right_loop_exits_0_with_its_rows(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.py:sample", "--order", "1", "--json", "rows.json"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("sample · a loop f(model, x, sigmas) · declared order 1\n")
    assert "conforms: " in out
    found = json.loads((here / "rows.json").read_text())
    assert found["kind"] == "loop"
    assert {"check", "verdict", "measured", "bound", "error", "cause", "case"} <= set(
        found["rows"][0]
    )


def test_a_failure_exits_1_and_its_case_replays(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["check", "good.py:sample", "--order", "2", "--html", "page.html"]) == 1
    out = capsys.readouterr().out
    assert "2 is declared" in out
    command = out.strip().splitlines()[-1].removeprefix("Replay: steinlab ")
    assert main(command.split()) == 0
    assert "reproduced to the last digit" in capsys.readouterr().out
    assert "FAILS" in (here / "page.html").read_text()
    file = Path(command.split()[-1])
    obj = json.loads(file.read_text())
    obj["row"]["measured"] += 1e-9
    file.write_text(json.dumps(obj))
    assert main(command.split()) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"declared": {"order": "abc"}},
            "declared.order must be a whole number or null, got abc, in case.json",
        ),
        ({"declared": {"order": 1.5}}, "declared.order must be a whole number"),
        ({"declared": {"law": "no"}}, "declared.law must be true or false, got no"),
        ({"case": {"seed": -1}}, "case.seed must be >= 0, got -1, in case.json"),
        ({"case": {"seed": None}}, "case.seed must be a whole number"),
        ({"case": {"check": ["x"]}}, "case.check must be text, got [x], in case.json"),
        ({"case": {"check": "law"}}, "case.check must be one that TARGET has, got law"),
    ],
)
def test_a_case_that_was_changed_is_one_line(
    change: Any, message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    case: Any = {"declared": {"order": 1, "law": False}, "row": {}}
    case["case"] = {"check": "scale", "seed": 0}
    case = {key: {**held, **change.get(key, {})} for key, held in case.items()}
    (here / "case.json").write_text(json.dumps(case))
    assert main(["check", "good.py:sample", "--case", "case.json"]) == 2
    assert message in capsys.readouterr().err


def test_a_trace_shows_a_name_as_it_is(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "named.py").write_text(f"{GOOD}\nsample.__name__ = '[/b]'\n")
    spec: Any = {"data": {"weights": [1], "means": [[0.0]], "stds": [1]}, "process": "edm"}
    spec |= {"grid": "karras", "steps": 2, "target": "named.py:sample"}
    (here / "spec.json").write_text(json.dumps(spec))
    assert main(["trace", "spec.json"]) == 0
    assert capsys.readouterr().out.startswith("[/b]: final error")
    assert main(["trace", "spec.json", "--figure", "x.nope"]) == 2
    assert "the ending of --figure must be one of .png, .pdf" in capsys.readouterr().err


def test_a_name_stays_in_the_folder_of_cases(here: Path) -> None:
    named = f"{BAD['off']}\nf.__name__ = '../../[/b]'\n"
    (here / "named.py").write_text(named)
    assert main(["check", "named.py:f", "--out", "in/out"]) == 1
    assert {file.parent for file in here.rglob("*.json")} == {here / "in/out/_b_"}


def test_expected_failures_exit_0(here: Path) -> None:
    options = ["--xfail", "order=it is of order one", "--xfail", "gaussian=the same"]
    assert main(["check", "good.py:sample", "--order", "2", *options]) == 0


def test_a_denoiser_and_a_module(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check", "good.py:denoise"]) == 0
    assert "a denoiser" in capsys.readouterr().out
    assert main(["check", "good:sample", "--as", "loop", "--order", "1"]) == 0


BAD = {
    "raises": "def f(model, x, sigmas):\n    raise RuntimeError('no')",
    "nothing": "def f(model, x, sigmas):\n    return None",
    "pair": "def f(model, x, sigmas):\n    return x, x",
    "shape": "def f(model, x, sigmas):\n    model(x, sigmas[0])\n    return x[:1]",
    "nan": "def f(model, x, sigmas):\n    return model(x, sigmas[0]) * float('nan')",
    "never": "def f(model, x, sigmas):\n    return x",
    "mutates": "def f(model, x, sigmas):\n    x += model(x, sigmas[0])\n    return x",
    "sigmas": "def f(model, x, sigmas):\n    sigmas[-1] = 7.0\n    return model(x, sigmas[0])",
    "arguments": "def f(a, b, c, d, e):\n    return a",
    "keywords": "def f(model, x, sigmas, *, needed):\n    return x",
    "levels": "def f(model, x, sigmas):\n    return model(x, sigmas[:2])",
    "unsaid": "class E(Exception):\n    def __str__(self):\n        raise ValueError\n"
    "def f(model, x, sigmas):\n    raise E",
    "coloured": "def f(model, x, sigmas):\n    raise ValueError('a\\x1b[31mb')",
    "held": "class A:\n    @property\n    def f(self):\n        raise RuntimeError('no')\na = A()",
    "off": "def f(model, x, sigmas):\n    return 0.5 * model(x, sigmas[0])",
}


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["check", "good.py"], "TARGET must be module:object or file.py:object, got good.py"),
        (["check", "none.py:f"], "TARGET must name a file that exists, got none.py"),
        (
            ["check", "good.py:sampel"],
            "did you mean sample? good.py must hold sampel, it does not",
        ),
        (
            ["check", "no_such_module:f"],
            "module no_such_module must import, got ModuleNotFoundError",
        ),
        (["check", "good.py:value"], "target must be callable or a solver, got int"),
        (["check", "good.py:sample", "--order", "x"], "--order must be"),
        (["check", "good.py:sample", "--as", "lop"], "--as must be one of"),
        (
            ["check", "good.py:sample", "--xfail", "order"],
            "--xfail must be CHECK=REASON, got order",
        ),
        (["check", "good.py:sample", "--xfail", "ordre-even=x"], "did you mean order-even?"),
        (["check", "broken.py:f"], "broken.py must run, got SyntaxError"),
        (["check", "raises.py:f"], "f, on 6 steps, must run, got RuntimeError: no"),
        (
            ["check", "nothing.py:f"],
            "f, on 6 steps, must return the states, an array, got NoneType",
        ),
        (["check", "pair.py:f"], "must return the states, an array, got tuple"),
        (["check", "shape.py:f"], "must return states of shape (9, 1), got (1, 1)"),
        (["check", "nan.py:f"], "f must keep finite states on 6 steps"),
        (["check", "never.py:f"], "f must call its denoiser, it did not in 6 steps"),
        (["check", "mutates.py:f"], "must leave its input states as they are, they were changed"),
        (["check", "sigmas.py:f"], "f must leave its sigmas as they are, they were changed"),
        (["check", "arguments.py:f"], "say which with --as"),
        (["check", "keywords.py:f"], "must run, got TypeError"),
        (["check", "levels.py:f"], "must be called with a scalar level or one per state, 9, got 2"),
        (["check-grid", "1.0"], "grid must hold at least 2 levels, got 1"),
        (["check-grid", "-1", "-2"], "level 1 of the grid must be finite and >= 0, got -1.0"),
        (["check-grid", "-1", "--jsn"], "level 2 must be a number, got --jsn"),
        (["check-grid", "1.0", "x"], "level 2 must be a number, got x"),
        (["check-grid", "none.txt"], "FILE must be readable, got none.txt"),
        (["check-grid", "deep.json"], "level 1 must be a number, got [["),
        (["trace", "none.json"], "none.json"),
        (["check", "unsaid.py:f"], "f, on 6 steps, must run, got E: E"),
        (["check", "coloured.py:f"], "must run, got ValueError: a?[31mb"),
        (["check", "held.py:a.f"], "held.py:a.f must be had, got RuntimeError: no, line 4"),
        (
            ["check", "off.py:f", "--out", "good.py"],
            "--out must be a folder that can be made, got ",
        ),
    ],
)
def test_bad_input_is_one_line_and_exits_2(
    args: list[str], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name, text in BAD.items():
        (here / f"{name}.py").write_text(text + "\n")
    (here / "broken.py").write_text("def f(:\n")
    (here / "deep.json").write_text("[" * 100_000)
    assert main(args) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("steinlab: ")
    assert err.count("\n") == 1
    assert message in err


def test_check_grid(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["check-grid", "10", "1", "0.1", "0"]) == 0
    assert "no fault" in capsys.readouterr().out
    (here / "grid.txt").write_text("10, 1, 1, 0.1, 0\n")
    assert main(["check-grid", "grid.txt", "--json", "found.json"]) == 1
    assert json.loads((here / "found.json").read_text())["findings"][0]["kind"] == "repeated"


SPEC: dict[str, Any] = {
    "data": {"weights": ["1/2", "1/2"], "means": [-1, 1], "stds": [0.3, 0.3]},
    "process": "edm",
    "grid": "karras",
    "steps": 6,
    "samples": 20,
}


def test_trace(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (here / "spec.json").write_text(json.dumps({**SPEC, "target": "good.py:sample"}))
    assert main(["trace", "spec.json", "--json", "trace.json", "--figure", "trace.png"]) == 0
    found = json.loads((here / "trace.json").read_text())
    assert len(found["steps"]) == 6
    assert sum(step["share"] for step in found["steps"]) == pytest.approx(1.0, abs=1e-6)
    assert (here / "trace.png").stat().st_size > 1000
    (here / "both.json").write_text(
        json.dumps({**SPEC, "solver": "heun", "target": "good.py:sample"})
    )
    assert main(["trace", "both.json"]) == 2
    assert "SPEC must hold a solver or a target" in capsys.readouterr().err


TESTS = """
from steinlab.testing import check_sampler
from good import sample


def test_mine():
    check_sampler(sample, order=1, only=["scale", "gaussian"])
"""


@pytest.mark.parametrize("off", [False, True])
def test_the_plugin_adds_a_section_and_may_be_left_out(here: Path, off: bool) -> None:
    (here / "test_mine.py").write_text(TESTS)
    points = (point for found in distributions() for point in found.entry_points)
    installed = any((point.group, point.name) == ("pytest11", "steinlab") for point in points)
    by_hand = [] if installed else ["-p", "steinlab.testing.plugin"]
    code, out = inner.run(here, *(["-p", "no:steinlab"] if off else by_hand), "test_mine.py")
    assert code == 0, out
    assert ("steinlab conformance" in out) is not off
    assert ("sample: conforms: " in out) is not off


def test_the_plugin_imports_nothing() -> None:
    heavy = "{'numpy', 'torch', 'scipy'}"
    check = f"import steinlab.testing.plugin, sys; assert not {heavy} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)
