"""Pictures that are drawn from a file, and files that are none."""

from __future__ import annotations

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.errors import InputError
from toy_models.pages import networks_pictures
from toy_models.pages.networks_pictures import EVALUATIONS, LONG, METHODS, SOLVERS, draw


def member(declared: tuple[int, ...], held: int, dtype: str = "|u1") -> bytes:
    """Return an array file that declares a shape, and holds so many bytes."""
    out = io.BytesIO()
    head = {"descr": dtype, "fortran_order": False, "shape": declared}
    np.lib.format.write_array_header_1_0(out, head)
    return out.getvalue() + bytes(held)


def archive(file: Path, **members: bytes) -> Path:
    with zipfile.ZipFile(file, "w") as out:
        for name, content in members.items():
            out.writestr(f"{name}.npy", content)
    return file


def test_pictures_are_drawn(tmp_path: Path) -> None:
    names = [LONG, *(f"{s}/{n}/{m}" for s in SOLVERS for n in EVALUATIONS for m in METHODS)]
    sheets: dict[str, Any] = {name: np.full((4, 6), 128, dtype=np.uint8) for name in names}
    words = json.dumps({"model": "none", "grid": "karras"})
    np.savez(tmp_path / "in.npz", config=np.array(words), **sheets)
    draw(tmp_path / "in.npz", tmp_path / "out.png")
    assert (tmp_path / "out.png").read_bytes().startswith(b"\x89PNG")


def test_the_command_computes_and_draws(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A small network at one number of evaluations stands for the galaxies'."""
    for name, less in {"SOLVERS": ("euler",), "EVALUATIONS": (3,), "FITTING": 8}.items():
        monkeypatch.setattr(networks_pictures, name, less)
    file, picture = str(tmp_path / "small.npz"), tmp_path / "small.png"
    given = ["--model", "digits-mlp", "--grid", "karras", "--device", "cpu", "--states", "16"]
    assert main(["networks-pictures", "compute", file, *given]) == 0
    assert main(["networks-pictures", "draw", file, str(picture)]) == 0
    assert picture.read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("members", "told"),
    [
        ({"config": member((3_000_000_000, 2), 12)}, "readable .npz file"),
        ({"config": member((3,), 12)}, "readable .npz file"),
        ({"config": member((1,), 8, "|O")}, "readable .npz file"),
        ({"config": b"text"}, "readable .npz file"),
        ({"config": member((2,), 2)}, "without long"),
        ({LONG: member((2,), 2)}, "without config"),
        ({LONG: member((1,), 0, "<f8") + np.array([np.nan]).tobytes()}, "finite numbers"),
    ],
)
def test_other_archives_are_refused(members: dict[str, bytes], told: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=rf"^SOURCE must .*{told}"):
        draw(archive(tmp_path / "in.npz", **members), tmp_path / "out.png")


def test_a_file_that_is_none_is_refused(tmp_path: Path) -> None:
    (tmp_path / "in.npz").write_bytes(b"no archive")
    for name, told in (("in.npz", "not one"), ("absent.npz", "no such file")):
        with pytest.raises(InputError, match=rf"readable .npz file, got .*{told}"):
            draw(tmp_path / name, tmp_path / "out.png")
