"""Weight files: what is wrong with one is told in one line. No package is needed."""

import hashlib
import io
import zipfile

import numpy as np
import pytest

from steinlab.errors import InputError
from toy_models.galaxies.weight_files import count_parameters, mixer_shapes, problem, read_leaves

SHAPES = [(2, 3), (3,), ()]
LEAVES = [np.arange(6.0).reshape(2, 3), np.ones(3), np.array(10.0)]


def packed(leaves):
    stream = io.BytesIO()
    for leaf in leaves:
        np.save(stream, leaf)
    return stream.getvalue()


def zipped():
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("x.npy", packed(LEAVES[:1]))
    return stream.getvalue()


def objects():
    stream = io.BytesIO()
    np.save(stream, np.array([{"x": 1}], dtype=object), allow_pickle=True)
    return stream.getvalue()


@pytest.fixture
def file(tmp_path):
    return tmp_path / "weights.eqx"


def test_a_whole_file_is_read(file):
    file.write_bytes(packed(LEAVES))
    found = read_leaves(file, SHAPES)
    assert all((a == b).all() for a, b in zip(found, LEAVES, strict=True))
    assert problem(file, SHAPES, hashlib.sha256(packed(LEAVES)).hexdigest()) == ""


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "must hold 3 arrays, found 0"),
        (b"not weights", "must hold 3 arrays, found array 1 cut short or corrupt"),
        (packed(LEAVES)[:-1], "must hold 3 arrays, found array 3 cut short or corrupt"),
        (packed(LEAVES[:2]), "must hold 3 arrays, found 2"),
        (packed(LEAVES)[:140], "must hold 3 arrays, found array 1 cut short or corrupt"),
        (packed(LEAVES) + b"tail", "must hold 3 arrays, found 4 bytes more after the last"),
        (packed([*LEAVES, *LEAVES[:1]]), "must hold 3 arrays, found 176 bytes more"),
        (
            packed([LEAVES[0].T, *LEAVES[1:]]),
            "array 1 must hold real numbers of shape (2, 3), found float64 of shape (3, 2)",
        ),
        (
            packed([LEAVES[0].astype(int), *LEAVES[1:]]),
            "array 1 must hold real numbers of shape (2, 3), found int64",
        ),
        (zipped(), "must hold 3 arrays, found array 1 cut short or corrupt"),
        (objects(), "must hold 3 arrays, found array 1 cut short or corrupt"),
        (packed([2 * leaf for leaf in LEAVES]), "must have SHA-256 "),
    ],
    ids=range(12),  # contents hold the time, and tests must have the same names in every process
)
def test_what_is_wrong_is_one_line(file, content, message):
    file.write_bytes(content)
    found = problem(file, SHAPES, hashlib.sha256(packed(LEAVES)).hexdigest())
    assert found.startswith(str(file))
    assert message in found
    assert "\n" not in found
    if "SHA" not in message:
        with pytest.raises(InputError) as refusal:
            read_leaves(file, SHAPES)
        assert str(refusal.value) == found


def test_a_file_that_is_not_there(file):
    assert problem(file, SHAPES, "") == (
        f"{file} must be a readable file of weights: no such file or directory"
    )


@pytest.mark.parametrize(("side", "count"), [(32, 605_761), (120, 4_996_433)])
def test_parameters_are_counted(side, count):
    assert count_parameters(mixer_shapes(side)) == count
