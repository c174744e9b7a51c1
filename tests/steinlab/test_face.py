"""The public face: lazy, typed, and enough for the page's first example."""

from __future__ import annotations

import ast
import pkgutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import steinlab
import steinlab as sl
from steinlab.corrections import CORRECTIONS
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import EDM
from steinlab.errors import InputError
from steinlab.solvers import get_solver


def test_every_name_is_there_and_typed() -> None:
    assert set(steinlab.__all__) == set(steinlab._FACE)
    for name in steinlab.__all__:
        assert getattr(steinlab, name) is not None
        assert name in dir(steinlab)
    tree = ast.parse(Path(steinlab.__file__).read_text(encoding="utf-8"))
    block = next(node for node in tree.body if isinstance(node, ast.If))
    typed = {a.asname or a.name for node in block.body for a in getattr(node, "names", ())}
    assert typed == set(steinlab._FACE)
    # a module of the name would take its place when it is imported
    assert not {module.name for module in pkgutil.iter_modules(steinlab.__path__)} & typed
    with pytest.raises(AttributeError, match="module 'steinlab' has no attribute 'nothing'"):
        _ = steinlab.nothing  # type: ignore[attr-defined]


@pytest.mark.parametrize(
    "code",
    [
        "import steinlab",
        "from steinlab import claim, laws, levels, steps, numbers, E, verify",
        "import steinlab as sl; sl.make_grid('edm', 'karras', 4); sl.get_solver('heun')",
        "import steinlab as sl; sl.solve, sl.stein, sl.tweedie, sl.get_correction, sl.load_model",
    ],
)
def test_no_torch_until_it_is_needed(code: str) -> None:
    check = f"{code}\nimport sys; assert 'torch' not in sys.modules, 'torch'"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


@pytest.mark.parametrize("module", ["steinlab", "steinlab.cli"])
def test_the_bare_import_loads_no_numpy(module: str) -> None:
    check = f"import sys, {module}; assert 'numpy' not in sys.modules, 'numpy'"
    subprocess.run([sys.executable, "-c", check], check=True, timeout=60)


def test_the_first_example_runs() -> None:
    rng = np.random.default_rng(0)
    law = sl.GaussianMixture([0.3, 0.7], [[-1.0, 0.0], [1.5, 0.5]], [0.16, 0.49])
    grid = sl.make_grid("edm", "karras", steps=8)
    x = grid[0].noised(law.sample(1000, rng), rng)
    end = sl.solve(law, x, grid, "dpmpp-2m", correction=sl.stein(gamma_max=1.0))
    assert len(grid) == 9
    assert grid[-1].sigma == 0
    assert end.evaluations == 8
    assert isinstance(end, sl.Solution)
    assert np.isfinite(end.state).all()


def test_ids_and_objects_give_the_same() -> None:
    assert make_grid("edm", "karras", 4) == make_grid(EDM, "karras", 4)
    assert sl.get_process(EDM) is sl.get_process("edm")
    law = sl.GaussianMixture([0.5, 0.5], [-1.0, 1.0], 0.04)
    x, grid = np.linspace(-80, 80, 32)[:, None], make_grid("edm", "karras", 4)
    by_id = sl.solve(law, x, grid, "heun", correction="tweedie").state
    by_object = sl.solve(law, x, grid, get_solver("heun"), correction=sl.tweedie()).state
    np.testing.assert_array_equal(by_id, by_object)
    assert sl.get_correction("none").name == CORRECTIONS["none"]().name


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: sl.make_grid("edn", "karras", 4), r"did you mean edm\? process must"),
        (lambda: sl.get_correction("stain"), r"did you mean stein\? correction must"),
        (lambda: sl.get_solver("hueun"), r"did you mean heun\? solver must"),
    ],
)
def test_a_wrong_id_names_the_nearest(call: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        call()  # type: ignore[operator]


def test_verify_takes_ids() -> None:
    (row,) = sl.verify(["third-order-as-published"])["claims"]
    assert row["id"] == "third-order-as-published"
