"""Reading the data: what is right is read, what is wrong is named."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from gpu_models.network import fashion
from steinlab.errors import InputError

IMAGES = "t10k-images-idx3-ubyte"


def copy_of(data: Path, folder: Path) -> Path:
    for name in fashion.SHAPES:
        (folder / name).symlink_to(data / name)
    return folder


def replaced(data: Path, folder: Path, content: bytes, suffix: str = "") -> Path:
    copy_of(data, folder)
    (folder / IMAGES).unlink()
    (folder / f"{IMAGES}{suffix}").write_bytes(content)
    return folder


def test_plain_and_compressed_are_the_same(data: Path, tmp_path: Path) -> None:
    packed = gzip.compress((data / IMAGES).read_bytes(), compresslevel=1)
    other = replaced(data, tmp_path, packed, ".gz")
    assert np.array_equal(fashion.load_images("test", other), fashion.load_images("test", data))
    assert fashion.checksums(other)[IMAGES] == fashion.checksums(data)[IMAGES]


def test_states_span_minus_one_to_one(data: Path) -> None:
    states = fashion.load_states("test", data)
    assert states.shape == (10000, fashion.DIM)
    assert states.min() == -1
    assert 0.9 < states.max() <= 1


def test_folder_from_the_environment(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(fashion.VARIABLE, str(data))
    assert fashion.data_folder() == data
    assert fashion.data_folder("/") == Path("/")


def test_no_folder_says_how_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="apt-get install dataset-fashion-mnist"):
        fashion.data_folder(tmp_path / "nowhere")


def test_missing_file_is_named(data: Path, tmp_path: Path) -> None:
    copy_of(data, tmp_path)
    (tmp_path / IMAGES).unlink()
    with pytest.raises(InputError, match=IMAGES):
        fashion.load_labels("test", tmp_path)


def test_wrong_size_is_named(data: Path, tmp_path: Path) -> None:
    short = (data / IMAGES).read_bytes()[:-1]
    with pytest.raises(InputError, match=r"must hold 7840016 bytes .*, found 7840015"):
        fashion.load_images("test", replaced(data, tmp_path, short))


def test_wrong_magic_number_is_named(data: Path, tmp_path: Path) -> None:
    wrong = b"\0\0\x0d\x03" + (data / IMAGES).read_bytes()[4:]
    with pytest.raises(InputError, match=r"header 00000803.*found 00000d03"):
        fashion.load_images("test", replaced(data, tmp_path, wrong))


def test_truncated_archive_is_one_line(data: Path, tmp_path: Path) -> None:
    packed = gzip.compress((data / IMAGES).read_bytes(), compresslevel=1)[:-100]
    with pytest.raises(InputError, match="must be readable"):
        fashion.load_images("test", replaced(data, tmp_path, packed, ".gz"))


@pytest.mark.skipif(not fashion.DEFAULT_FOLDER.is_dir(), reason="the data are not installed")
def test_the_real_data_have_the_deviation_that_the_presets_state() -> None:
    from gpu_models.network.trainer import SIGMA_DATA

    assert abs(fashion.load_states("train").std() - SIGMA_DATA) < 5e-4
