"""Hostile twins of a good file: one to three changes of its tree, or of its bytes."""

from __future__ import annotations

import copy
import json
from random import Random
from typing import Any

HOSTILE: tuple[Any, ...] = (
    *(None, True, False, 0, 1, -1, 2, 3, 0.0, -0.0, 0.5, 1e-320, 1e-30, 1e30, 1e308, -1e308),
    *(float("nan"), float("inf"), 2**63, -(2**63), 10**40, 10**400),
    *("", " ", "x", "0", "1/0", "1e999", "12/13", "nan", "NaN", "-1", "\x00", "\x1b[31m", "\u202e"),
    *("[bold]", "<script>", "../..", "/dev/zero", "\ud800", "é" * 300, "x" * 5000, "euler@nan"),
    *([], {}, [[]], [None], [{}], {"id": 5}, {"": ""}, ["x"], [1, 2, 3], [0, 0], [1e300, 1]),
)
"""Values that stand where another is expected."""

DEEP = "as deep as no reader goes"
"""Stands for 3,000 lists in one another, which no tree here holds."""

Path = tuple[Any, ...]


def places(tree: Any, path: Path = ()) -> list[Path]:
    """Return the path of every value in a tree, the tree's own first."""
    inner = tree.items() if isinstance(tree, dict) else ()
    inner = enumerate(tree) if isinstance(tree, list) else inner
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def changed(tree: Any, rng: Random) -> Any:
    """Return a tree with one value replaced, removed, doubled, renamed or nested."""
    tree = copy.deepcopy(tree)
    path = rng.choice(places(tree))
    if not path:
        return rng.choice(HOSTILE) if rng.random() < 0.1 else tree
    parent = tree
    for key in path[:-1]:
        parent = parent[key]
    key, value = path[-1], parent[path[-1]]
    kind = rng.choice(("replace",) * 6 + ("remove", "double", "rename", "wrap", "deepen", "scale"))
    if kind == "replace":
        parent[key] = rng.choice(HOSTILE)
    elif kind == "remove":
        del parent[key]
    elif kind == "double" and isinstance(parent, list):
        parent.insert(key, copy.deepcopy(value))
    elif kind == "rename" and isinstance(parent, dict):
        parent[rng.choice((f"{key}s", "", "id", key.upper()))] = parent.pop(key)
    elif kind == "deepen":
        parent[key] = DEEP
    elif kind == "scale" and isinstance(value, int | float) and abs(value) < 1e300:
        parent[key] = value * rng.choice((-1, 1e-200, 1e60, 1e200, 10**30))
    else:
        parent[key] = [value] if rng.random() < 0.5 else {"value": value}
    return tree


def garbled(content: bytes, rng: Random) -> bytes:
    """Return bytes with one cut, flipped, put in, or doubled."""
    at = rng.randrange(len(content) + 1)
    kind = rng.choice(("cut", "flip", "insert", "drop", "double", "encode"))
    if kind == "cut":
        return content[:at]
    if kind == "flip" and at < len(content):
        return content[:at] + bytes([content[at] ^ (1 << rng.randrange(8))]) + content[at + 1 :]
    if kind == "insert":
        some = (b"\x00", b"\xff\xfe", b"{", b"]", b"1e999", b"9" * 5000, b"\n", b"[" * 3000)
        return content[:at] + rng.choice(some) + content[at:]
    if kind == "drop":
        return content[:at] + content[at + rng.randrange(1, 9) :]
    if kind == "double":
        return content + content
    return content.decode("utf-8", "replace").encode("utf-16")


def hostile(tree: Any, rng: Random) -> bytes:
    """Return the bytes of a hostile twin of a JSON document."""
    for _ in range(rng.choice((1, 1, 2, 3))):
        tree = changed(tree, rng)
    text = json.dumps(tree).replace(json.dumps(DEEP), "[" * 3000 + "]" * 3000)
    content = text.encode()
    return garbled(content, rng) if rng.random() < 0.2 else content
