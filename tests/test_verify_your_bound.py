"""docs/verify-your-bound.md: its claims, in a file and in a package of a stranger, are judged."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from steinlab.cli import main

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "verify-your-bound.md").read_text(encoding="utf-8")
SHORT, MODULE, HERE = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)
(ENTRY,) = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """Return a folder that holds the page's package with its entry point, as installers do."""
    package, info = tmp_path / "my_package", tmp_path / "my_package-1.0.dist-info"
    package.mkdir()
    info.mkdir()
    (package / "__init__.py").write_text("")
    (package / "linear_estimate.py").write_text(MODULE)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: my-package\nVersion: 1.0\n")
    group, line = ENTRY.strip().splitlines()
    assert group == '[project.entry-points."steinlab.claims"]'
    (info / "entry_points.txt").write_text("[steinlab.claims]\n" + line.replace('"', "") + "\n")
    return tmp_path


def run(folder: Path, *args: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    return subprocess.run(
        [sys.executable, "-m", "steinlab.cli", *args],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.fixture
def here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Callable[..., str]:
    """Return what runs a command in the test's folder and in this process; its output."""
    monkeypatch.chdir(tmp_path)

    def command(*args: str) -> str:
        code = main(args)
        out, err = capsys.readouterr()
        assert code == 0, (args, err)
        return out

    return command


def test_the_short_form_is_judged_as_shown(tmp_path: Path, here: Callable[..., str]) -> None:
    (tmp_path / "my.py").write_text(SHORT)
    shown = re.findall(r"`steinlab (\w+ [^`]*(?:my\.py|cases/too)[^`]*)`", PAGE)
    judged, _, again, searched, chosen, reported = shown[:6]
    done = here(*judged.split(), "--json", "ledger.json")
    _, refuted = json.loads((tmp_path / "ledger.json").read_text())["claims"]
    (lines,) = re.findall(r"```\n(FAILED.*?)```", PAGE, re.DOTALL)
    assert lines in done
    card = here("show", "my.py::too-sharp", "--ledger", "ledger.json")
    assert f"Details     {refuted['finding']}" in card
    assert "missed" not in done
    assert refuted["verdict"] == "refuted"
    worst = refuted["worst"]
    sigma, measured, bound = re.findall(
        r"standard Gaussian at\s`sigma = (\S+)`, (\S+) where at most (\S+) is claimed", PAGE
    )[0]
    assert worst["case"] == {
        "law": {"weights": [1.0], "means": [0.0], "stds": [1.0]},
        "s": {"process": "edm", "ratio": float(sigma)},
    }
    assert (f"{worst['measured']:.6f}", worst["bound"]) == (measured, float(bound))
    for command in (again, f"{searched} --budget 16", chosen, reported):
        done = here(*command.split())
        named = "too-sharp, cases: smallest counterexample found"
        assert command != again or named in done
    assert len(json.loads((tmp_path / "ledger.json").read_text())["claims"]) == 1
    assert (tmp_path / "out" / "report" / "report.html").is_file()


LOWER = """
from steinlab import E, claim, laws, levels


@claim("E Var(x_star | x) >= v s^2 / (v + s^2)", controls={"all of v": lambda law: law.variance()})
def a_lower_bound_with_a_name_as_long_as_any(law=laws.mixtures(dim=1), s=levels("edm")):
    v = law.variance()
    linear = v * s.sigma**2 / (v + s.sigma**2)
    return E(lambda x: law.posterior_variance(x, s), law, s) >= linear
"""


def test_a_lower_bound_that_fails_names_its_sides_and_its_claim(
    tmp_path: Path, here: Callable[..., str]
) -> None:
    """The bound was shown as measured, and a pipe cut ids, owners and verdicts."""
    (tmp_path / "my.py").write_text(LOWER)
    done = here("verify", "my.py", "--out", "out")
    name = "a-lower-bound-with-a-name-as-long-as-any"
    row = next(line for line in done.splitlines() if name in line)
    assert "came out refuted" in row
    assert row.endswith("(yours)")
    case = json.loads((tmp_path / "out" / f"{name}.case.json").read_text())
    assert case["shrunk"]
    assert case["measured"] > case["bound"], "compared as bound <= measured"
    shown = here("replay", f"out/{name}.case.json")
    numbers = dict(re.findall(r"(measured|bound) +\S+ +(\S+)", shown.replace("\u2502", " ")))
    assert float(numbers["measured"]) == case["bound"]
    assert float(numbers["bound"]) == case["measured"]
    found = " ".join(here("falsify", "my.py", "--budget", "64").split())
    assert f"{name}, cases: smallest counterexample found" in found
    assert "bound / measured" in found


def test_the_command_judges_it_and_its_worst_case_replays(installed: Path) -> None:
    command = re.search(r"`steinlab (verify --claims linear-estimate)`", PAGE)
    assert command is not None
    done = run(installed, *command.group(1).split(), "--json", "ledger.json", "--out", "cases")
    assert done.returncode == 0, done.stderr
    (row,) = json.loads((installed / "ledger.json").read_text())["claims"]
    assert row["verdict"] == "holds"
    assert row["tightness"] == pytest.approx(1, abs=1e-12)
    assert all(control["rejected"] for control in row["controls"])
    assert len(row["controls"]) == 2
    again = run(installed, "replay", "cases/linear-estimate.case.json")
    assert again.returncode == 0, again.stderr
    shown = re.search(r"`--json ledger.json` stores it and `steinlab (report [^`]+)`", PAGE)
    assert shown is not None
    made = run(installed, *shown.group(1).split(), "--without-figures", "--out", "page")
    assert made.returncode == 0, made.stderr
    assert "Posterior variance and the best linear" in (installed / "page/report.html").read_text()


def test_a_false_bound_is_refuted(installed: Path) -> None:
    module = installed / "my_package" / "linear_estimate.py"
    right = "return v * sigma**2 / (v + sigma**2)"
    assert right in MODULE
    module.write_text(MODULE.replace(right, f"{right} - 1e-9"))
    done = run(installed, "verify", "--claims", "linear-estimate", "--json", "ledger.json")
    (row,) = json.loads((installed / "ledger.json").read_text())["claims"]
    assert (done.returncode, row["verdict"]) == (0, "refuted")


def test_the_lines_below_it_judge_it_without_installing(
    capsys: pytest.CaptureFixture[str],
) -> None:
    space: dict[str, object] = {"__name__": "page"}
    exec(compile(MODULE, "linear_estimate.py", "exec", dont_inherit=True), space)
    exec(compile(HERE, "page", "exec"), space)
    assert capsys.readouterr().out.startswith("holds holds in all 100 cases, 1.000000 tight")
