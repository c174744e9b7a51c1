"""Results in a folder: one file per entry, so that an interrupted run resumes.

An entry holds a value and the key of what its numbers depend on. Its file is a zip archive that
:func:`numpy.load` opens: ``entry.json`` says what the value is, the arrays lie beside it. The
archive's comment is a checksum of all bytes before it. An entry of another key is computed again;
so is a file that is damaged or none of ours, with one warning. Nothing in a file is run.

Values are numbers, text, None, lists, tuples, mappings, arrays, and dataclasses and named tuples of
them. Floats and arrays return to the last bit, NaN and infinities included.
"""

from __future__ import annotations

import functools
import hashlib
import io
import json
import math
import os
import sys
import zipfile
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from fractions import Fraction
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from steinlab.errors import InputError, warn
from steinlab.storage.files import CHECKSUM, read_sealed, write_sealed
from steinlab.storage.sources import PACKAGES

if TYPE_CHECKING:  # the command line's help needs files, and no arrays
    import numpy as np

CACHE_VARIABLE = "STEINLAB_CACHE"
"""Environment variable that moves the cache folder."""

SUFFIX = ".npz"

PLAIN = (str, bool, type(None))
"""What JSON holds as it is; numbers too, but for NaN and for integers too long for a reader."""

DTYPES = "biufcSU"
"""Kinds of arrays: booleans, numbers and text, in this machine's byte order."""


class NotStorableError(ValueError):
    """A value that an entry cannot hold, or not to the last bit."""


class Store:
    """Entries in a folder by name; ``reused`` counts those that were read.

    Several processes may share the folder: files appear whole. A folder that cannot be written
    keeps nothing, and says so once.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> store = Store(Path(tempfile.mkdtemp()))
    >>> store.put("run", "its key", (np.arange(2), {"error": float("inf")}))
    >>> store.get("run", "its key"), store.get("run", "another key")
    ((array([0, 1]), {'error': inf}), None)
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reused = 0

    def get(self, name: str, key: str) -> Any:
        """Return an entry's value, None where there is none of this key."""
        found = self.read(name)
        if found is None or found[0] != key:
            return None
        self.reused += 1
        return found[1]

    def read(self, name: str) -> tuple[str, Any] | None:
        """Return an entry's key and value whatever the key is, None where there is none."""
        file = self.file(name)
        try:
            content = read_sealed(file)
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            warn(f"{file} is computed again: {getattr(error, 'strerror', None) or error}")
            return None
        try:
            key, value = _unpacked(content)
        except Exception:  # whatever an unknown tree leads to
            warn(f"{file} is computed again: it is of another version of steinlab")
            return None
        return key, value

    def entries(self) -> Iterator[tuple[str, Any]]:
        """Yield the keys and values of all entries, in the order of their names."""
        for file in sorted(self.folder.glob(f"*{SUFFIX}")):
            found = self.read(file.name.removesuffix(SUFFIX))
            if found is not None:
                yield found

    def put(self, name: str, key: str, value: Any) -> None:
        """Keep a value, whole or not at all."""
        try:
            write_sealed(self.file(name), _packed([key, value]))
        except (NotStorableError, InputError) as error:
            reason = getattr(error.__cause__, "strerror", error)
            warn(f"finished work is not kept in {self.folder}: {reason}")

    def file(self, name: str) -> Path:
        """Return where an entry lies."""
        return self.folder / f"{name}{SUFFIX}"


def cache(kind: str) -> Store:
    """Return the store of a kind of result in the user's cache folder."""
    return Store(cache_folder() / kind)


def cache_folder() -> Path:
    """Return ``STEINLAB_CACHE``, or ``steinlab`` in ``XDG_CACHE_HOME`` or ``~/.cache``."""
    given = os.environ.get(CACHE_VARIABLE)
    if given:
        return Path(given)
    base = os.environ.get("XDG_CACHE_HOME")
    return (Path(base) if base else Path.home() / ".cache") / "steinlab"


def key_of(*content: object) -> str:
    """Return a key of what an entry's numbers depend on; arrays count with every bit.

    Examples
    --------
    >>> import numpy as np
    >>> key_of("a", np.zeros(2)) == key_of("a", np.zeros(2)), key_of("a") == key_of("b")
    (True, False)
    """
    import numpy as np

    digest = hashlib.blake2b(digest_size=20)
    for part in content:
        if isinstance(part, np.ndarray):
            digest.update(f"{part.dtype.str}{part.shape}".encode())
            digest.update(np.ascontiguousarray(part).tobytes())
        else:
            digest.update(repr(part).encode())
        digest.update(b"\0")
    return digest.hexdigest()


def _packed(value: Any) -> bytes:
    import numpy as np

    tree, arrays = encode(value)
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        archive.writestr(_member("entry.json"), json.dumps(tree))
        for name, parts in arrays.items():
            with archive.open(_member(f"{name}.npy"), "w", force_zip64=True) as member:
                flat = np.concatenate([part.ravel(_order(part)) for part in parts])
                np.lib.format.write_array(member, flat, allow_pickle=False)
        archive.comment = bytes(CHECKSUM)  # where the checksum stands
    return out.getvalue()[:-CHECKSUM]


def _member(name: str) -> zipfile.ZipInfo:
    return zipfile.ZipInfo(name)  # without the time of day: the same value is the same file


def _order(array: np.ndarray) -> Literal["C", "F"]:
    """Return how an array lies in memory, on which the rounding of its sums depends."""
    return "F" if array.flags.fnc else "C"


def _unpacked(content: bytes) -> Any:
    import numpy as np

    with np.load(io.BytesIO(content + bytes(CHECKSUM)), allow_pickle=False) as archive:
        arrays = {name: archive[name] for name in archive.files}
    return _decoded(json.loads(arrays.pop("entry.json")), arrays)


Arrays = Mapping[str, "list[np.ndarray]"]


def encode(value: Any) -> tuple[Any, Arrays]:
    """Return a value as JSON, and by dtype the arrays whose places it names, one after another.

    What JSON has no word for is an object of one key that says what it is.

    Raises
    ------
    NotStorableError
        If the value holds anything but what this module's docstring lists.

    Examples
    --------
    >>> import numpy as np
    >>> encode((1.5, [True, np.ones(2)]))
    ({'tuple': [1.5, [True, {'array': ['<f8', 0, 'C', 2]}]]}, {'<f8': [array([1., 1.])]})
    """
    import numpy as np

    places: dict[int, list[Any]] = {}
    arrays: dict[str, list[np.ndarray]] = defaultdict(list)
    filled: dict[str, int] = defaultdict(int)

    def walk(x: Any) -> Any:  # noqa: PLR0911, PLR0912 - one per kind
        kind = type(x)
        if kind in PLAIN or (kind is int and abs(x) < 2**63):
            return x
        if isinstance(x, float | np.floating) and math.isnan(x):  # JSON keeps no bits of it
            return {"nan": [kind is float, np.asarray(x).dtype.str, np.asarray(x).tobytes().hex()]}
        if kind is float:
            return x
        if kind is list:
            return [walk(part) for part in x]
        if kind is tuple:
            return {"tuple": [walk(part) for part in x]}
        if kind is dict:
            if all(type(key) is str for key in x):
                return {"mapping": {key: walk(part) for key, part in x.items()}}
            return {"pairs": [[walk(key), walk(part)] for key, part in x.items()]}
        if kind is int:
            return {"integer": hex(x)}
        if kind is Fraction:
            return {"fraction": [hex(x.numerator), hex(x.denominator)]}
        if kind is np.ndarray and x.dtype.kind in DTYPES and x.dtype.isnative:
            if id(x) not in places:
                name = x.dtype.str
                places[id(x)] = [name, filled[name], _order(x), *x.shape]
                arrays[name].append(x)
                filled[name] += x.size
            return {"array": places[id(x)]}
        if isinstance(x, np.generic) and type(x.item()) in (*PLAIN, int, float):
            return {"scalar": [x.dtype.str, x.item()]}
        where = f"{kind.__module__}:{kind.__qualname__}"
        try:
            known = _record(where) is kind
        except (ImportError, AttributeError, TypeError, ValueError):
            known = False
        if not known:
            raise NotStorableError(f"value must be plain data, got {where}")
        if issubclass(kind, tuple):
            return {"tuple": [walk(part) for part in x], "type": where}
        names = vars(x) if hasattr(x, "__dict__") else [field.name for field in fields(x)]
        return {"fields": {name: walk(getattr(x, name)) for name in names}, "type": where}

    return walk(value), dict(arrays)


def _decoded(tree: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Return the value of what :func:`encode` returned, its arrays joined by dtype."""
    import numpy as np

    @functools.cache
    def array(name: str, start: int, order: Literal["C", "F"], *shape: int) -> np.ndarray:
        return arrays[name][start : start + math.prod(shape)].reshape(shape, order=order).copy("K")

    def walk(x: Any) -> Any:  # noqa: PLR0911 - one per kind
        if isinstance(x, list):
            return [walk(part) for part in x]
        if not isinstance(x, dict):
            return x
        where = x.pop("type", None)
        ((word, held),) = x.items()
        if word == "tuple":
            made = tuple(walk(part) for part in held)
            return _record(where)._make(made) if where else made
        if word == "mapping":
            return {key: walk(part) for key, part in held.items()}
        if word == "pairs":
            return {walk(key): walk(part) for key, part in held}
        if word == "integer":
            return int(held, 16)
        if word == "fraction":
            return Fraction(*(int(part, 16) for part in held))
        if word == "array":
            return array(*held)
        if word == "scalar":
            return np.dtype(held[0]).type(held[1])
        if word == "nan":
            own, name, bits = held
            found = np.frombuffer(bytes.fromhex(bits), name)[0]
            return found.item() if own else found
        if word != "fields":
            raise ValueError(f"entry must hold known words, got {word}")
        kind = _record(where)
        record = kind.__new__(kind)  # as it was: neither checked nor converted again
        for name, part in held.items():
            object.__setattr__(record, name, walk(part))
        return record

    return walk(tree)


def _record(where: str) -> Any:
    """Return a dataclass or named tuple by name; import it only from packages of this project."""
    module, _, name = where.partition(":")
    home = sys.modules.get(module)
    if home is None and module.partition(".")[0] in PACKAGES:
        home = import_module(module)
    found: Any = home
    for part in name.split("."):
        found = getattr(found, part)
    record = is_dataclass(found) or (issubclass(found, tuple) and hasattr(found, "_fields"))
    if not (isinstance(found, type) and record and found.__module__ == module):
        raise ValueError(f"entry must hold dataclasses and named tuples, got {where}")
    return found
