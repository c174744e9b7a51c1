from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from analytic import EmpiricalMixture, NoiseLevel, rows
from analytic.rows import PIECE, Rows, coded
from analytic.screening import LEAST

COUNT, DIM = LEAST[0] + PIECE // 2, LEAST[1]
EPS = float(np.finfo(np.float64).eps)


def pictures(levels: int = 256) -> np.ndarray:
    """Rows of few directions on so many places of a grid."""
    rng = np.random.default_rng(0)
    smooth = rng.standard_normal((COUNT, 12)) @ rng.standard_normal((12, DIM)) / 12
    return np.asarray(np.rint((levels - 1) * (np.tanh(smooth) + 1) / 2) * (2 / (levels - 1)) - 1)


DATA = pictures()


def mapped(data: np.ndarray, folder: Path) -> Any:
    np.save(folder / "rows.npy", data)
    return np.load(folder / "rows.npy", mmap_mode="r")


@pytest.mark.parametrize("storage", ["map", "single", "half", "bytes", "codes"])
def test_rows_kept_otherwise_give_the_same(storage: str, tmp_path: Path) -> None:
    kept: Any = {
        "map": lambda: mapped(DATA, tmp_path),
        "single": lambda: mapped(DATA.astype(np.float32), tmp_path),
        "half": lambda: DATA.astype(np.float16),
        "bytes": lambda: np.rint(127.5 * (DATA + 1)).astype(np.uint8),
        "codes": lambda: DATA,
    }[storage]()
    law = EmpiricalMixture(kept, 0.01, storage="codes" if storage == "codes" else "given")
    assert isinstance(law.data, Rows)
    own = DATA if storage == "codes" else np.array(kept, dtype=np.float64)
    whole = EmpiricalMixture(own, 0.01)
    assert law.data.nbytes == own.nbytes // {"map": 1, "single": 2, "half": 4}.get(storage, 8)
    size = float(np.abs(own).max())
    np.testing.assert_allclose(law.data[:], own, rtol=0, atol=4 * EPS * size)
    np.testing.assert_allclose(law.mean(), whole.mean(), rtol=0, atol=8 * EPS * size)
    np.testing.assert_allclose(law.second_moment(), whole.second_moment(), rtol=1e-12)
    np.testing.assert_allclose(law.variance(), whole.variance(), rtol=1e-12)
    draws = (one.sample(5, np.random.default_rng(1)) for one in (law, whole))
    np.testing.assert_allclose(*draws, rtol=0, atol=8 * EPS * size)
    for noise in (20.0, 0.5, 0.05, 1e-5):  # every row, few, a handful, far below the rows' size
        level = NoiseLevel(0.9, noise * size)
        x = level.noised(own[:9], np.random.default_rng(2))
        radius = np.linalg.norm(own - whole.mean(), axis=1).max()
        logit = 64 * EPS * (np.linalg.norm(x, axis=1).max() + radius) * radius / level.sigma**2
        for make in (np.asarray, torch.as_tensor):
            ours, theirs = (one.moments(make(x), level) for one in (law, whole))
            for a, b in zip(ours, theirs, strict=True):
                assert type(a) is type(b)
                tolerance = {"rtol": min(logit, 0.1) + 1e-12, "atol": 1e-13 * size}
                np.testing.assert_allclose(a, b, **tolerance)
            ours, theirs = (one.jvp(make(x), level, make(own[9:18])) for one in (law, whole))
            scale = float(np.abs(np.asarray(theirs)).max())
            np.testing.assert_allclose(ours, theirs, rtol=0, atol=(min(logit, 0.1) + 1e-12) * scale)


def test_a_map_is_kept_and_not_copied(tmp_path: Path) -> None:
    map_ = mapped(DATA.astype(np.float32), tmp_path)
    law = EmpiricalMixture(map_)
    assert np.shares_memory(law.data.kept, map_)  # type: ignore[attr-defined]
    law(DATA[:3].astype(np.float32), NoiseLevel(1.0, 0.5))
    assert not any(isinstance(part.rows, np.ndarray) for part in law.cache.values())
    assert EmpiricalMixture(law.data).data is law.data
    assert isinstance(EmpiricalMixture(map_, storage="work").data, np.ndarray)
    assert isinstance(EmpiricalMixture(DATA).data, np.ndarray)


GROWTH = """
import sys
import numpy as np
from analytic import EmpiricalMixture, NoiseLevel

def own():
    text = open("/proc/self/smaps_rollup").read().split("Anonymous:")[1]
    return 1024 * int(text.split()[0])

rows, x = np.load(sys.argv[1], mmap_mode="r"), np.zeros((8, 1024), dtype=np.float32)
EmpiricalMixture(np.zeros((9, 1024)))(x, NoiseLevel(1.0, 1.0))
before = own()
law = EmpiricalMixture(rows, chunk_bytes=2**20, storage=sys.argv[2])
law.moments(x, NoiseLevel(1.0, 30.0)), law.moments(x, NoiseLevel(1.0, 0.1))
print("ready", flush=True)
sys.stdin.readline()
print(own() - before)
"""


@pytest.mark.skipif(not Path("/proc/self/smaps_rollup").exists(), reason="Linux counts pages")
def test_two_processes_read_one_copy(tmp_path: Path) -> None:
    data = np.random.default_rng(3).standard_normal((16_384, 1024)).astype(np.float32)
    mapped(data, tmp_path)
    grown = {}
    for storage, count in (("given", 2), ("work", 1)):
        command = [sys.executable, "-c", GROWTH, str(tmp_path / "rows.npy"), storage]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        all_ = [subprocess.Popen(command, **pipes) for _ in range(count)]  # type: ignore[call-overload]
        for one in all_:  # every one has evaluated before any counts
            assert one.stdout.readline() == "ready\n"
        grown[storage] = [int(one.communicate("\n")[0]) for one in all_]
    # the table of heads is each process's own: 66 numbers a row, besides what was freed
    assert max(grown["given"]) < data.nbytes / 2
    assert min(grown["work"]) > data.nbytes


@given(
    st.integers(2, 60_000), st.floats(-1e3, 1e3), st.floats(1e-6, 1e6), st.integers(0, 2**32 - 1)
)
def test_rows_on_a_grid_come_back(levels: int, low: float, step: float, seed: int) -> None:
    rng = np.random.default_rng(seed)
    places = rng.integers(levels, size=(40, 7))
    places[:20] = (np.arange(140).reshape(20, 7)) % levels  # neighbours show the step
    data = low + step * places
    found = coded(data)
    assert found.kept.dtype == (np.int8 if np.ptp(places) < 256 else np.int16)
    assert np.abs(found[:] - data).max() <= rows.NEAR * EPS * np.abs(data).max()


@pytest.mark.parametrize(
    ("levels", "dtype"), [(2, "int8"), (256, "int8"), (257, "int16"), (2**16, "int16")]
)
@pytest.mark.parametrize("step", [0.01, -0.01])
def test_codes_reach_both_ends_of_their_dtype(levels: int, dtype: str, step: float) -> None:
    data = np.c_[3 + step * np.arange(levels), np.full(levels, 3 + step)]  # a constant column
    found = coded(data)
    assert found.kept.dtype == dtype
    assert np.ptp(found.kept.astype(int)) == levels - 1
    assert np.abs(found[:] - data).max() <= rows.NEAR * EPS * np.abs(data).max()


def test_one_place_too_many_is_refused() -> None:
    with pytest.raises(ValueError, match=r"got codes and a step of 1\.0$"):
        coded(np.arange(2.0**16 + 1)[:, None])
    found = coded(np.arange(2.0**16)[:, None])
    np.testing.assert_array_equal(found[:][:, 0], np.arange(2.0**16))


@pytest.mark.parametrize("storage", ["given", "codes"])
@pytest.mark.parametrize("form", [">f8", ">i2", "reversed", "columns", "read-only", "float16"])
def test_the_layout_of_the_data_does_not_matter(storage: str, form: str) -> None:
    data = np.arange(120.0).reshape(40, 3)
    given: Any = data.copy()
    if form == "reversed":
        given = data[::-1, ::-1].copy()[::-1, ::-1]
    elif form == "columns":
        given = np.asfortranarray(data)
    elif form == "read-only":
        given.setflags(write=False)
    else:
        given = data.astype(form)
    x, level = data[:5] + 0.3, NoiseLevel(0.9, 2.0)
    found, whole = EmpiricalMixture(given, storage=storage), EmpiricalMixture(data)
    np.testing.assert_array_equal(found.data[:], data)
    np.testing.assert_allclose(found(x, level), whole(x, level), rtol=1e-13)
    again = pickle.loads(pickle.dumps(found))
    np.testing.assert_array_equal(again(x, level), found(x, level))


@pytest.mark.parametrize("name", ["low", "step"])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_a_grid_that_is_no_number_is_named(name: str, value: float) -> None:
    with pytest.raises(ValueError, match=f"^{name} must be finite, got {value}$"):
        EmpiricalMixture(Rows(np.zeros((2, 2), dtype=np.int8), **{name: value}), storage="codes")


def test_numbers_further_apart_than_any_number_are_refused() -> None:
    message = r"got codes and numbers from -1\.7e\+308 to 1\.7e\+308$"
    with pytest.raises(ValueError, match=message):
        coded(np.array([[-1.7e308, 1.7e308]]))


def test_one_number_has_codes() -> None:
    np.testing.assert_array_equal(coded(np.full((3, 2), 0.7))[:], np.full((3, 2), 0.7))


def test_rows_on_no_grid_are_refused_in_one_line() -> None:
    off = DATA.copy()
    off[-1, -1] += 1e-9
    message = "^storage must be work or given for rows on no grid of 65536 places, got codes and "
    with pytest.raises(ValueError, match=message + str(off[-1, -1])):
        EmpiricalMixture(off, storage="codes")
    with pytest.raises(ValueError, match=message + "a step of"):
        EmpiricalMixture(np.random.default_rng(0).random((300, 3)), storage="codes")


@pytest.mark.parametrize("storage", ["work", "given", "codes"])
@pytest.mark.parametrize(
    ("data", "message"),
    [
        ([[0.0], [np.nan]], "data must be finite, got nan"),
        ([0.0, 1.0], r"data must have shape \(n, d\) with n, d > 0, got \(2,\)"),
        (np.zeros((0, 3)), r"data must have shape \(n, d\) with n, d > 0, got \(0, 3\)"),
    ],
)
def test_bad_data_are_named(storage: str, data: Any, message: str) -> None:
    with pytest.raises(ValueError, match=f"^{message}"):
        EmpiricalMixture(data, storage=storage)


def test_a_bad_storage_is_named() -> None:
    with pytest.raises(ValueError, match=r"^storage must be one of work, given, codes, got half$"):
        EmpiricalMixture(DATA, storage="half")
    with pytest.raises(ValueError, match=r"^data must have a real dtype to be kept as given, got"):
        EmpiricalMixture(DATA.astype(complex), storage="given")
