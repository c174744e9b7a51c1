"""Faults at every write: what is stored is the old or the new, whole, and work goes on from it.

A process is ended, or its disk fills, at each call that changes the disk, one after another.
"""

from __future__ import annotations

import errno
import io
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.errors import InputError, warn
from steinlab.storage import Store, check_target, files, write_bytes
from steinlab.storage.lines import append_line, read_lines

OLD, NEW = b"old" * 5000, b"new" * 70000


def _store(folder: Path, content: bytes) -> None:
    Store(folder).put("entry", "key", np.frombuffer(content, np.uint8))


def _stored(folder: Path) -> bytes | None:
    found = Store(folder).get("entry", "key")
    return None if found is None else found.tobytes()


def _file(folder: Path, content: bytes) -> None:
    write_bytes(folder / "file", content)


def _content(folder: Path) -> bytes:
    return (folder / "file").read_bytes()


def _line(folder: Path, content: bytes) -> None:
    append_line(folder / "lines", {"content": content.decode()})


def _last(folder: Path) -> bytes:
    last: str = read_lines(folder / "lines")[-1]["content"]
    return last.encode()


WRITERS: dict[str, tuple[Callable[[Path, bytes], None], Callable[[Path], bytes | None]]] = {
    "entry": (_store, _stored),
    "file": (_file, _content),
    "line": (_line, _last),
}


class Disk:
    """Counts the calls that change the disk, and has the one of a number fail."""

    def __init__(self, at: int, fail: Callable[[], Any]) -> None:
        self.at, self.fail, self.calls = at, fail, 0

    def meet(self) -> None:
        self.calls += 1
        if self.calls == self.at:
            self.fail()

    def watch(self, patch: pytest.MonkeyPatch) -> None:
        for name in ("fsync", "replace", "chmod", "unlink", "open"):
            patch.setattr(os, name, self.before(getattr(os, name)))
        whole, opened = os.fdopen, Path.open
        patch.setattr(os, "fdopen", lambda *a, **k: self.slow(whole(*a, **{**k, "buffering": 0})))
        patch.setattr(Path, "open", lambda path, *a, **k: self.slow(opened(path, *a, **k)))

    def before(self, call: Callable[..., Any]) -> Callable[..., Any]:
        def met(*args: Any, **options: Any) -> Any:
            self.meet()
            return call(*args, **options)

        return met

    def slow(self, file: Any) -> Any:
        """Return a file that writes half of what it is given, then the rest."""
        return _Halves(self, file) if isinstance(file, io.FileIO) and file.writable() else file


class _Halves(io.RawIOBase):
    def __init__(self, disk: Disk, file: io.FileIO) -> None:
        self.disk, self.file = disk, file

    def write(self, content: Any) -> int:
        half = len(content) // 2
        self.disk.meet()
        self.file.write(content[:half])
        self.disk.meet()
        return half + (self.file.write(content[half:]) or 0)

    def read(self, size: int = -1) -> bytes | None:
        return self.file.read(size)

    def seek(self, at: int, whence: int = 0) -> int:
        return self.file.seek(at, whence)

    def fileno(self) -> int:
        return self.file.fileno()

    def close(self) -> None:
        self.file.close()
        super().close()


def ended(kind: str, folder: Path, at: int) -> bool:
    """Write in a process that ends at a call; return whether it ended there."""
    child = os.fork()
    if not child:
        patch = pytest.MonkeyPatch()
        Disk(at, lambda: os._exit(9)).watch(patch)
        WRITERS[kind][0](folder, NEW)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9


@pytest.mark.parametrize("kind", WRITERS)
def test_a_process_that_ends_at_any_call_leaves_the_old_or_the_new(
    kind: str, tmp_path: Path
) -> None:
    write, read = WRITERS[kind]
    seen = set()
    for at in range(1, 60):
        folder = tmp_path / str(at)
        folder.mkdir()
        write(folder, OLD)
        over = not ended(kind, folder, at)
        found = read(folder)
        assert found in (OLD, NEW)
        seen.add(found)
        write(folder, NEW + b"!")
        assert read(folder) == NEW + b"!"
        if over:
            break
    assert over
    assert at > 3
    assert seen == {OLD, NEW}


@pytest.mark.parametrize("kind", WRITERS)
@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EIO])
def test_an_error_of_the_disk_at_any_call_keeps_the_old(
    kind: str, code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail() -> None:
        raise OSError(code, os.strerror(code))

    write, read = WRITERS[kind]
    write(tmp_path, OLD)
    for at in range(1, 60):
        warn.cache_clear()
        disk = Disk(at, fail)
        with monkeypatch.context() as patch:
            disk.watch(patch)
            with suppress(InputError):
                write(tmp_path, NEW)
        if disk.calls < at:
            break
        assert read(tmp_path) in (OLD, NEW)
    assert at > 3
    assert read(tmp_path) == NEW
    assert len(list(tmp_path.iterdir())) == 1


# --- lines --------------------------------------------------------------------------------------


def test_lines_return_and_old_ones_need_no_checksum(tmp_path: Path) -> None:
    file = tmp_path / "lines"
    file.write_text('{"a": 1}\n')
    append_line(file, {"b": 0.1, "sum": "mine"})
    assert read_lines(file) == [{"a": 1}, {"b": 0.1, "sum": "mine"}]
    assert file.read_bytes().startswith(b'{"a": 1}\n{"b": 0.1, ')


def test_a_cut_line_stays_and_the_next_is_whole(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "lines"
    append_line(file, {"a": 1})
    before = file.read_bytes()
    file.write_bytes(before + before[:7])
    warn.cache_clear()
    append_line(file, {"b": 2})
    assert file.read_bytes().startswith(before + before[:7] + b"\n")
    assert read_lines(file) == [{"a": 1}, {"b": 2}]
    assert "lines, line 2 is left out: its checksum differs" in capsys.readouterr().err


def test_every_flipped_bit_of_a_line_is_noticed(tmp_path: Path, capsys: Any) -> None:
    file = tmp_path / "lines"
    for number in range(3):
        append_line(file, {"bound": 68.46, "number": number})
    whole = file.read_bytes()
    start = whole.index(b"\n") + 1
    for place in range(8 * start, 8 * whole.index(b"\n", start), 3):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        file.write_bytes(damaged)
        warn.cache_clear()
        assert [one["number"] for one in read_lines(file)] == [0, 2]
        assert "lines, line 2 is left out" in capsys.readouterr().err


WAITING = """
import sys
from pathlib import Path
from steinlab.storage.lines import append_line
print("here", flush=True)
append_line(Path(sys.argv[1]), {"who": "second"})
"""


def test_a_writer_waits_for_another_that_is_mid_line(tmp_path: Path) -> None:
    fcntl = pytest.importorskip("fcntl")
    file = tmp_path / "lines"
    with file.open("ab", buffering=0) as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        out.write(b'{"who": ')
        words = [sys.executable, "-c", WAITING, str(file)]
        second = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
        assert second.stdout
        assert second.stdout.readline() == "here\n"
        with pytest.raises(subprocess.TimeoutExpired):
            second.wait(0.3)
        out.write(b'"first"}\n')
    assert second.wait(30) == 0
    assert read_lines(file) == [{"who": "first"}, {"who": "second"}]


# --- targets ------------------------------------------------------------------------------------

REFUSED = ("", ".", "x" * 300, "/proc/x", "/proc/self/x", "no/folder/x", "x\0y", "y" * 255 + "/z")


@pytest.mark.parametrize("target", REFUSED)
def test_a_target_that_cannot_be_written_is_refused_before_the_work(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"^--json must name a file") as found:
        check_target(target)
    assert "\n" not in str(found.value)
    assert not list(tmp_path.iterdir())


def test_a_file_keeps_its_mode(tmp_path: Path) -> None:
    (tmp_path / "file").touch(0o640)
    write_bytes(tmp_path / "file", b"new")
    assert (tmp_path / "file").stat().st_mode & 0o777 == 0o640


def test_a_name_of_any_length_is_written(tmp_path: Path) -> None:
    file = tmp_path / ("x" * 255)
    check_target(str(file))
    write_bytes(file, b"content")
    assert file.read_bytes() == b"content"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
@pytest.mark.parametrize("words", [["models"], ["check-grid", "grid.json"]])
def test_a_full_stdout_is_one_line(words: list[str], tmp_path: Path) -> None:
    (tmp_path / "grid.json").write_text("[80, 10, 1, 0]")
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "steinlab", *words],
            stdout=full,
            stderr=subprocess.PIPE,
            text=True,
            cwd=tmp_path,
            check=False,
        )
    assert done.returncode == 2
    assert done.stderr == (
        "steinlab: output must be one that can be written: no space left on device\n"
    )


def test_no_text_of_a_file_reaches_the_terminal_hidden(tmp_path: Path, capsys: Any) -> None:
    for text in ("\\u001b[31m", "\\u202e", "\u202e", "\\ud800", "\x7f"):
        (tmp_path / "spec.json").write_text(f'{{"{text}": 1}}', encoding="utf-8")
        assert main(["compare", str(tmp_path / "spec.json")]) == 2
        error = capsys.readouterr().err
        assert "text must hold visible characters" in error
        assert error.removesuffix("\n").isprintable()


OWN_WRITE = re.compile(
    r"\.(write_text|write_bytes)\(|\bopen\([^)]*[\"'][rb+]*[wax][b+]*[\"']|json\.dump\("
)


def test_only_the_storage_writes_files() -> None:
    root = Path(files.__file__).parents[2]
    packages = ("steinlab", "analytic", "toy_models", "gpu_models")
    sources = [file for name in packages for file in (root / name).rglob("*.py")]
    assert len(sources) > 300
    storage = Path(files.__file__).parent
    assert [
        str(file)
        for file in sources
        if file.parent != storage and OWN_WRITE.search(file.read_text("utf-8"))
    ] == []


# --- a disk that is full -------------------------------------------------------------------------

FULL = """
import sys
from contextlib import suppress
from pathlib import Path
from steinlab.cli import main
from steinlab.errors import InputError
from tests.faults.test_writes import OLD, WRITERS
for kind, (write, read) in WRITERS.items():
    folder = Path(sys.argv[1]) / kind
    folder.mkdir()
    write(folder, OLD)
    before = sorted(folder.iterdir())
    with suppress(InputError):
        write(folder, b"".join(bytes([33 + (i * i + i // 7) % 90]) for i in range(200_000)))
    assert read(folder) == OLD, kind
    assert sorted(folder.iterdir()) == before, kind
    write(folder, OLD[::-1])
    assert read(folder) == OLD[::-1], kind
rest = Path(sys.argv[1]) / "rest"
with suppress(OSError), rest.open("wb", buffering=0) as out:
    while True:
        out.write(bytes(4096))
Path("grid.json").write_text("[80, 10, 1, 0]")
sys.exit(main(["check-grid", "grid.json", "--json", str(Path(sys.argv[1]) / "found.json")]))
"""
PRIVATE = ["unshare", "--map-root-user", "--mount"]


@pytest.mark.skipif(
    not shutil.which("unshare") or subprocess.run([*PRIVATE, "true"], check=False).returncode != 0,
    reason="mounts a file system of its own",
)
def test_a_disk_that_is_full_keeps_the_old_and_is_one_line(tmp_path: Path) -> None:
    """On a real one, of 128 KiB, that no other process sees."""
    (tmp_path / "disk").mkdir()
    mounted = 'mount -t tmpfs -o size=128k tmpfs disk && exec "$@"'
    done = subprocess.run(
        [*PRIVATE, "sh", "-c", mounted, "sh", sys.executable, "-c", FULL, "disk"],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True,
        text=True,
        check=False,
    )
    *warnings, line = done.stderr.splitlines()
    assert done.returncode == 2, done.stderr
    assert line.startswith("steinlab: ")
    assert line.endswith(": no space left on device")
    assert all("finished work is not kept in disk/entry: " in one for one in warnings)
