"""Solvers and corrections of other packages: the worked example, installed as a distribution."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from steinlab import plugins
from steinlab.corrections import CORRECTIONS, get_correction
from steinlab.diffusion.laws import FRESH_LAWS, LAWS, OTHER_LAWS, load_law
from steinlab.errors import InputError
from steinlab.solvers import SOLVER_IDS, get_solver

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "add-a-solver.md").read_text()


def block(kind: str) -> str:
    """The page's one block of a language, the code that begins with a docstring."""
    found = re.findall(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)
    assert len(found) == 1
    return str(found[0])


def distribution(folder: Path, name: str, entries: str) -> None:
    """What an installer leaves of a package's metadata."""
    info = folder / f"{name}-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(entries)


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "extrapolated.py").write_text(block("python"))
    entries = re.sub(r'\[project.entry-points."(.*?)"\]', r"[\1]", block("toml"))
    entries = entries[entries.index("[steinlab") :].replace('"', "")
    distribution(tmp_path, "extrapolated", entries)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "extrapolated", raising=False)
    return tmp_path


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own, which finds the package by its path alone."""
    command = [sys.executable, "-m", *arguments]
    paths = os.pathsep.join([str(folder), str(ROOT)])
    environment = os.environ | {"PYTHONPATH": paths, "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        command, env=environment, cwd=folder, capture_output=True, text=True, check=False
    )


def test_ids_of_another_package(installed: Path) -> None:
    solver = get_solver("extrapolated")
    assert (solver.name, solver.order) == ("extrapolated", 2)
    assert get_correction("damped").name == "damped"
    with pytest.raises(InputError, match=r"^did you mean extrapolated\? solver must be one of"):
        get_solver("extrapolate")
    with pytest.raises(
        InputError, match=r"^did you mean damped\? correction must be one of .*, got dampd"
    ):
        get_correction("dampd")


def test_it_takes_part_in_a_comparison(installed: Path) -> None:
    (installed / "spec.json").write_text(block("json"))
    done = run(installed, "steinlab.cli", "compare", "spec.json", "--json", "-")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    solvers, corrections = ("extrapolated", "dpmpp-2m"), ("none", "damped")
    assert {(row["solver"], row["correction"]) for row in rows} == {
        (solver, correction) for solver in solvers for correction in corrections
    }
    assert all(row["flow_error"] is not None for row in rows)


def test_its_order_is_judged(installed: Path, steinlab: Any) -> None:
    command = ("verify", "--claims", "solver-order", "--json", "-", "--workers", "1")
    done = steinlab(*command, "--only", "extrapolated", here=True)
    assert done.returncode == 0, done.stderr
    (row,) = json.loads(done.stdout)["claims"]
    assert (row["id"], row["verdict"]) == ("solver-order", "holds")
    assert row["finding"].startswith("all 1 solvers have their declared order")
    assert [cells[0] for cells in row["table"]["rows"]] == ["extrapolated"]
    assert all(control["rejected"] for control in row["controls"])
    for only, words in (
        ("extrapolatd", "--only must be one of euler"),
        ("deis-log-9", "--only: order must be 1, 2, 3 or 4 for deis-log, got 9"),
    ):
        done = steinlab(*command, "--only", only, here=True)
        assert done.returncode == 2
        assert words in done.stderr
        assert done.stderr.count("\n") == 1
    done = steinlab("verify", "--claims", "stein-identity", "--only", "heun", here=True)
    assert done.returncode == 2
    assert "--only must be left out for the claim stein-identity" in done.stderr


@pytest.mark.slow
def test_it_plays_in_the_tournament(installed: Path) -> None:
    options = ("--solvers", "extrapolated", "--corrections", "damped", "--minutes", "0.2")
    done = run(installed, "steinlab.cli", "tournament", "--workers", "1", *options)
    assert done.returncode == 0, done.stderr
    assert "| extrapolated |" in done.stdout
    assert "| damped |" in done.stdout


def test_two_packages_with_one_id_are_both_named(installed: Path) -> None:
    entries = "[steinlab.solvers]\nextrapolated = other:SOLVER\n"
    distribution(installed / "second", "other-package", entries)
    sys.path.insert(0, str(installed / "second"))
    try:
        with pytest.raises(InputError, match="one package, got extrapolated and other-package"):
            get_solver("extrapolated")
    finally:
        sys.path.remove(str(installed / "second"))


def test_what_is_installed_while_a_process_runs_is_seen(installed: Path) -> None:
    assert "extrapolated" in plugins.entries("steinlab.solvers").names
    distribution(installed, "late", "[steinlab.solvers]\nlate = late:SOLVER\n")
    assert {"extrapolated", "late"} <= plugins.entries("steinlab.solvers").names


LAW_NAMES = (*LAWS, *FRESH_LAWS, *OTHER_LAWS)
FINDERS = {"solvers": get_solver, "corrections": get_correction, "laws": load_law}


@pytest.mark.parametrize(
    ("group", "own"),
    [("solvers", SOLVER_IDS), ("corrections", tuple(CORRECTIONS)), ("laws", LAW_NAMES)],
)
def test_an_id_of_ours_cannot_be_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, own: tuple[str, ...]
) -> None:
    taken = next(iter(own))
    distribution(tmp_path, "impostor", f"[steinlab.{group}]\n{taken} = impostor:IT\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError, match=f"{taken} must be another id in the package impostor"):
        plugins.registered(f"steinlab.{group}", own)
    assert get_solver("euler") is get_solver("ddim")
    with pytest.raises(InputError, match="must be another id in the package impostor"):
        FINDERS[group]("mine")


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "module must import, got AttributeError"),
        ("import nowhere", "must import, got ModuleNotFoundError: No module named 'nowhere'"),
        ("SOLVER = 3", "must be a solver with name, got int"),
        ("from steinlab.solvers import HEUN as SOLVER", "must have that name, got heun"),
        ("SOLVER = lambda process: process", "must be a solver with order, got Process"),
    ],
)
def test_what_is_no_solver_is_refused_in_a_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: str, words: str
) -> None:
    from steinlab.diffusion.processes import EDM

    name = f"broken_{abs(hash(content))}"
    (tmp_path / f"{name}.py").write_text(content)
    distribution(tmp_path, name, f"[steinlab.solvers]\nmine = {name}:SOLVER\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    with pytest.raises(InputError) as error:
        get_solver("mine", EDM)
    assert words.removeprefix("module ") in str(error.value)
    assert "\n" not in str(error.value)


LAW_MODULE = """
import numpy as np


class Dice:
    dim = 1
    values = np.array([-1.0, 1.0])

    def __call__(self, x, level):
        return np.tanh(level.alpha * x / level.sigma**2)

    def sample(self, n, rng):
        return rng.choice(self.values, (n, 1))


DICE = Dice()
NONE = 3
"""


@pytest.fixture
def dice(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dice_law.py").write_text(LAW_MODULE)
    entries = "[steinlab.laws]\ndice = dice_law:Dice\nthe-dice = dice_law:DICE\n"
    distribution(tmp_path, "dice", entries + "none = dice_law:NONE\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "dice_law", raising=False)
    return tmp_path


def test_a_law_of_another_package(dice: Path) -> None:
    assert load_law("dice").dim == load_law("the-dice").dim == 1
    with pytest.raises(InputError, match="law none of the package dice must be a law with dim"):
        load_law("none")
    with pytest.raises(InputError, match=r"^did you mean dice\? law must be one of"):
        load_law("dicee")
    distribution(dice / "second", "other-dice", "[steinlab.laws]\ndice = other:LAW\n")
    sys.path.insert(0, str(dice / "second"))
    try:
        with pytest.raises(InputError, match="one package, got dice and other-dice"):
            load_law("dice")
    finally:
        sys.path.remove(str(dice / "second"))


def test_a_law_of_another_package_is_compared_and_asked_for_its_coefficient(
    dice: Path, steinlab: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(dice)
    spec = {"data": {"law": "dice"}, "solvers": ["euler"], "evaluations": [4], "samples": 200}
    (dice / "spec.json").write_text(json.dumps(spec))
    done = steinlab("compare", "spec.json", "--json", "-", here=True)
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)
    assert all(row["energy_distance"] is not None for row in rows)
    assert rows[0]["flow_error"] is not None
    step = {"data": {"law": "dice"}, "from": [1, 1], "to": [1, "1/2"], "solver": "euler"}
    (dice / "step.json").write_text(json.dumps(step))
    asked = ("coefficient", "step.json")
    done = steinlab(*asked, "--json", "-", "--samples", "500", here=True)
    assert done.returncode == 0, done.stderr
    assert set(json.loads(done.stdout)["gamma"]) == {"reference", "tweedie"}
    done = steinlab(*asked, "--certify", here=True)
    assert done.returncode == 2
    assert done.stderr == "steinlab: --certify: SPEC must hold a mixture, got the law dice\n"
