"""What is kept between runs comes back to the last bit, or is computed again."""

from __future__ import annotations

import errno
import gzip
import importlib
import json
import math
import os
import struct
import sys
import tracemalloc
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from fractions import Fraction
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.cli.check_grid import _numbers
from steinlab.errors import InputError, quote, warn
from steinlab.estimates import Estimate
from steinlab.experiments.bench import Reference
from steinlab.experiments.results import Row, packed, restored
from steinlab.experiments.tournament.record import read_record
from steinlab.solvers.step import Diagnostics
from steinlab.storage import (
    Store,
    check_folder,
    check_target,
    encode,
    is_stream,
    read_sealed,
    sources_key,
    write_bytes,
    write_text,
)
from steinlab.storage.files import DEEPEST, read_json
from steinlab.storage.lines import read_lines
from steinlab.storage.sources import _folder, _source
from steinlab.verification.comparison import Comparison
from steinlab.verification.files import _claims as claims_of
from steinlab.verification.outcome import Attack, ControlOutcome, Crash, Outcome, Report
from steinlab.verification.shards import JUDGES, sources_of


def report() -> Report:
    rng = np.random.default_rng(0)
    x = rng.standard_normal(7)
    x[:3] = math.nan, -math.inf, -0.0
    side = Comparison(x, x + 1, abs(x), upper=True, scale=None, grade=0.1)
    controls = {
        "worse": ControlOutcome(True, np.float64(0.3), False),
        "broken": Crash("it", "fell"),
    }
    data = [(x, {"of": x}), np.asfortranarray(rng.standard_normal((3, 4))), Fraction(2**70, 3)]
    case = {"weights": [0.1, 1e-300, math.inf], "n": 2**80, "dim": np.int64(2)}
    outcome = Outcome(side, None, controls, case, ("digits",), 3, data, Attack("c", 5, 0.5), None)
    return Report(outcome, None, 0.25)


def row() -> Row:
    one = Estimate(0.1, math.nan)
    found = {"energy_distance": one, "sliced_w2": None, "flow_error": Estimate(1 / 3, 1e-17)}
    steps = (Diagnostics(0.5, one, "note"), Diagnostics(math.inf))
    reference = Reference("exact", 0.0)
    return Row(None, 4, 3, 2, None, found, {"energy_distance": one}, steps, reference)  # type: ignore[arg-type]


KINDS: dict[str, Any] = {
    "shard": report(),
    "row": packed(row()),
    "cell": {"versions": {"numpy": "2"}, "played": {"cell": {"seed": 0}, "results": [0.1, None]}},
    "long-run": np.random.default_rng(1).standard_normal((5, 2)),
}


def same(a: Any, b: Any) -> bool:
    """Whether two values have the same types, bits and layout."""
    (tree, arrays), (other, others) = encode(a), encode(b)
    return json.dumps(tree) == json.dumps(other) and all(
        one.tobytes("A") == two.tobytes("A")
        for name in arrays.keys() | others.keys()
        for one, two in zip(arrays[name], others[name], strict=True)
    )


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path)


@pytest.mark.parametrize("kind", KINDS)
def test_values_return_to_the_last_bit(kind: str, store: Store) -> None:
    store.put(kind, "key", KINDS[kind])
    found = store.get(kind, "key")
    assert type(found) is type(KINDS[kind])
    assert same(found, KINDS[kind])
    assert store.get(kind, "another key") is None
    assert store.reused == 1


def test_what_is_shared_and_how_it_lies_in_memory_return_too(store: Store) -> None:
    store.put("a", "key", KINDS["shard"])
    outcome = store.get("a", "key").outcome
    (x, named), lying, _ = outcome.data
    assert x is named["of"] is outcome.comparison.measured
    assert lying.flags.f_contiguous
    assert math.copysign(1, x[2]) == -1
    assert type(outcome.controls["worse"].measured) is np.float64
    assert type(outcome.worst["dim"]) is np.int64


@pytest.mark.parametrize("bits", [0x7FF8000000000000, 0xFFF8000000000000, 0x7FF0000000000000, 1])
def test_floats_keep_their_bits(bits: int, store: Store) -> None:
    number = struct.unpack("<d", struct.pack("<Q", bits))[0]
    store.put("a", "key", [number, np.float64(number), np.float32(number)])
    found = store.get("a", "key")
    assert [type(one) for one in found] == [float, np.float64, np.float32]
    assert struct.pack("<d", found[0]) == struct.pack("<d", number)
    assert found[1].tobytes() == np.float64(number).tobytes()
    assert found[2].tobytes() == np.float32(number).tobytes()


def test_a_row_is_made_again_from_its_numbers(store: Store) -> None:
    store.put("a", "key", packed(row()))
    assert repr(restored(store.get("a", "key"), None, None)) == repr(row())


def test_what_is_no_plain_data_is_not_kept(
    store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    for value in (lambda: 0, object(), np.array([object()]), {1, 2}, store):
        store.put("a", "key", value)
        assert store.get("a", "key") is None
    assert "finished work is not kept" in capsys.readouterr().err


@pytest.mark.parametrize("kind", KINDS)
def test_flipped_bits_are_noticed(
    kind: str, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put(kind, "key", KINDS[kind])
    file = store.file(kind)
    whole, rng = file.read_bytes(), np.random.default_rng(2)
    for place in rng.integers(8 * len(whole), size=200):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        warn.cache_clear()
        assert store.get(kind, "key") is None
        (line,) = capsys.readouterr().err.splitlines()
        assert str(file) in line
    store.put(kind, "key", KINDS[kind])
    assert file.read_bytes() == whole


FOREIGN = (b"", b"{}", b"PK\x03\x04", b"\x80\x05N.", b"0" * 64, b"\0" * 1000)


@pytest.mark.parametrize("part", [*FOREIGN, 1, 63, 64, 65, 200, -64, -1])
def test_truncated_and_foreign_files_are_noticed(
    part: int | bytes, store: Store, capsys: pytest.CaptureFixture[str]
) -> None:
    store.put("a", "key", KINDS["shard"])
    file = store.file("a")
    file.write_bytes(file.read_bytes()[:part] if isinstance(part, int) else part)
    assert store.get("a", "key") is None
    assert list(store.entries()) == []
    assert capsys.readouterr().err.splitlines() == [
        f"steinlab: warning: {file} is computed again: it is damaged or not written by steinlab"
    ]


@pytest.mark.parametrize(
    "where",
    ["os:system", "subprocess:Popen", "builtins:tuple", "this:s", "steinlab.storage:Store", "x:y"],
)
def test_a_file_names_plain_records_only(
    where: str, store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Though its checksum is right: nothing is called and nothing foreign imported."""
    tree = {"fields": {"a": 1}, "type": where}
    monkeypatch.setattr("steinlab.storage.entries.encode", lambda _: (["key", tree], {}))
    store.put("a", "key", None)
    assert store.get("a", "key") is None
    assert "of another version" in capsys.readouterr().err
    assert "this" not in sys.modules


def _write(job: tuple[str, int]) -> int:
    store, wrong = Store(Path(job[0])), 0
    for _ in range(40):
        store.put("a", "key", np.full(2000, job[1]))
        found = store.get("a", "key")
        wrong += found is None or bool((found != found[0]).any())
    return wrong


def test_two_processes_may_share_a_folder(tmp_path: Path) -> None:
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        assert list(pool.map(_write, [(str(tmp_path), 1), (str(tmp_path), 2)])) == [0, 0]
    assert [file.name for file in tmp_path.iterdir()] == ["a.npz"]


class _KilledError(BaseException):
    pass


def test_a_process_killed_before_the_rename_leaves_the_old_file(
    store: Store, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed outright, it also leaves its temporary file, which is no entry."""
    store.put("a", "key", 1)

    def killed(*_: object) -> None:
        raise _KilledError

    with monkeypatch.context() as patch:
        patch.setattr(Path, "replace", killed)
        patch.setattr(Path, "unlink", lambda *_, **__: None)
        with pytest.raises(_KilledError):
            store.put("a", "key", 2)
    assert len(list(store.folder.iterdir())) == 2
    assert list(store.entries()) == [("key", 1)]
    store.put("a", "key", 2)
    assert store.get("a", "key") == 2


def test_a_full_disk_is_one_line(
    store: Store, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    for name in "ab":
        store.put(name, "key", 1)
    assert capsys.readouterr().err == (
        f"steinlab: warning: finished work is not kept in {store.folder}: No space left on device\n"
    )
    assert not list(store.folder.iterdir())
    with pytest.raises(InputError, match=r"got .*x\.json: no space left on device"):
        write_text(store.folder / "x.json", "{}")


def test_devices_and_links_stay_what_they_are(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    reader = os.open(tmp_path / "pipe", os.O_RDONLY | os.O_NONBLOCK)
    write_bytes(tmp_path / "pipe", b"content")
    assert os.read(reader, 10) == b"content"
    os.close(reader)
    assert (tmp_path / "pipe").is_fifo()
    (tmp_path / "link").symlink_to("file")
    write_bytes(tmp_path / "link", b"content")
    assert (tmp_path / "link").is_symlink()
    assert (tmp_path / "file").read_bytes() == b"content"


def test_an_open_file_is_written_on(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w") as out:
        out.write("first, ")
        out.flush()
        (tmp_path / "link").symlink_to(f"/dev/fd/{out.fileno()}")
        for name in (f"/dev/fd/{out.fileno()}", f"/proc/self/fd/{out.fileno()}", tmp_path / "link"):
            assert is_stream(Path(name))
            check_target(str(name))
            write_bytes(Path(name), b"more ")
    assert (tmp_path / "file").read_text() == "first, more more more "
    assert not is_stream(tmp_path / "file")
    assert not is_stream(tmp_path / "none")
    assert is_stream(Path("/dev/null"))


@pytest.mark.parametrize("out", ["file/x", "file"])
def test_a_folder_that_cannot_be_made(out: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(InputError, match="--out must be a folder that can be made, got "):
        check_folder(str(tmp_path / out))
    check_folder(str(tmp_path / "a" / "b"))
    assert not (tmp_path / "a").exists()


def test_a_folder_that_cannot_be_made_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file must be one that can be written, got "):
        write_bytes(tmp_path / "file" / "x", b"")


# --- keys ---------------------------------------------------------------------------------------

FILES = {
    "__init__.py": "",
    "claim.py": '"""A claim."""\nfrom lab_of_keys import solver\n\ndef check():\n    """Run."""\n'
    "    from lab_of_keys.inner import law\n    return law\n",
    "solver.py": "from typing import TYPE_CHECKING\n"
    "if TYPE_CHECKING:\n    import lab_of_keys.figure\nORDER = 2\n",
    "inner/__init__.py": "",
    "inner/law.py": "from .. import deep\nMEAN = 0\n",
    "deep.py": "X = 1\n",
    "figure.py": "from lab_of_keys import claim\nWIDTH = 3\n",
}


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "lab_of_keys"
    (folder / "inner").mkdir(parents=True)
    for name, text in FILES.items():
        (folder / name).write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    return folder


def key() -> str:
    for cached in (sources_key, _source, _folder):
        cached.cache_clear()
    return sources_key("lab_of_keys.claim")


@pytest.mark.parametrize(
    ("name", "old", "new", "counts"),
    [
        ("figure.py", "3", "4", False),
        ("solver.py", "2", "3", True),
        ("inner/law.py", "0", "1", True),  # imported inside a function
        ("deep.py", "1", "2", True),  # by what that imports
        ("inner/__init__.py", "", "Y = 1\n", True),  # a package on the way
        ("claim.py", "A claim", "One claim", False),
        ("claim.py", "Run", "Run it", False),
        ("solver.py", "ORDER", "# how fast\nORDER", False),
        ("solver.py", "import lab_of_keys.figure", "import lab_of_keys.deep", False),
    ],
)
def test_a_key_is_of_what_a_number_depends_on(
    name: str, old: str, new: str, counts: bool, lab: Path
) -> None:
    before, file = key(), lab / name
    file.write_text(new if not old else file.read_text().replace(old, new))
    assert (key() != before) is counts
    assert "lab_of_keys.claim" not in sys.modules


def reached(*roots: str) -> set[str]:
    left, found = list(roots), set[str]()
    while left:
        name = left.pop()
        if name not in found and name.startswith(("steinlab", "analytic", "toy_", "gpu_")):
            found.add(name)
            left += _source(name).imports
    return found


def test_a_claims_key_knows_solvers_and_no_figures() -> None:
    found = reached("steinlab.claims.solvers.solver_order", *JUDGES)
    assert {"steinlab.solvers.adams", "steinlab.solvers.loop", "steinlab.errors"} <= found
    assert "steinlab.verification.falsify.search" in found
    assert not any(name.startswith(("steinlab.report", "steinlab.cli")) for name in found)
    assert sources_of("solver-order") != sources_of("vp-singularity")


DERIVATIONS = "steinlab.claims.derivations.derivations"


def test_plugins_and_lazy_names_are_followed() -> None:
    assert "toy_models.trained.models" in reached("steinlab.diffusion.models")
    assert "steinlab.claims.derivations.proofs" in _source(DERIVATIONS).imports
    assert "steinlab.solvers.loop" in reached("steinlab:lazy")
    assert "steinlab.solvers.loop" not in reached("steinlab")


def test_a_file_of_claims_is_keyed_by_what_it_imports(tmp_path: Path) -> None:
    file = tmp_path / "my.py"
    file.write_text("import steinlab as sl\n")
    assert "steinlab:lazy" in _source(str(file)).imports
    first = sources_key(str(file))
    file.write_text("from steinlab.solvers import heun\n")
    sources_key.cache_clear()
    _source.cache_clear()
    assert sources_key(str(file)) != first


def test_no_file_is_deeper_than_its_readers_go(tmp_path: Path) -> None:
    """On every interpreter: some parse lists in one another by the thousand."""
    for depth, taken in ((DEEPEST - 1, True), (DEEPEST, False), (300, False)):
        for left, right in (("[", "]"), ('{"a":', "}")):
            (tmp_path / "x.json").write_text(left * depth + "1" + right * depth)
            if taken:
                read_json(tmp_path / "x.json")
                continue
            with pytest.raises(InputError, match="is nested too deeply"):
                read_json(tmp_path / "x.json")


def unpacking_to(size: int, file: Path) -> Path:
    """A file of few bytes that unpacks to many."""
    with gzip.open(file, "wb") as out:
        out.write(bytes(size))
    return file


def test_no_reader_follows_a_file_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A device that never ends, or a file that unpacks to too much, is refused at the limit."""
    monkeypatch.setattr("steinlab.storage.files.LARGEST_FILE", 10_000)
    endless = Path("/dev/zero")
    readers: list[Callable[[], Any]] = [
        lambda: read_json(endless),
        lambda: read_sealed(endless),
        lambda: read_lines(endless),
        lambda: claims_of(str(endless)),
        lambda: _numbers([str(endless)]),
        lambda: read_record(endless),
        lambda: read_record(unpacking_to(10_001, tmp_path / "x.gz")),
    ]
    tracemalloc.start()
    for reader in readers:
        with pytest.raises(
            (InputError, OSError), match=r"(?i)it holds more than|not a gzip"
        ) as found:
            reader()
        assert len(str(found.value).splitlines()) == 1
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2_000_000
    whole = tmp_path / "whole.json"
    whole.write_text(json.dumps("x" * 9_998), encoding="utf-8")
    assert read_json(whole) == "x" * 9_998


def test_a_message_shows_the_top_of_what_is_deep() -> None:
    deep: Any = 1
    for _ in range(3000):
        deep = [deep]
    assert quote(deep).startswith("[[[")
    assert quote({"a": deep}).startswith("{a: [[")
    assert quote([[1], {"b": [2]}]) == "[[1], {b: [2]}]"
