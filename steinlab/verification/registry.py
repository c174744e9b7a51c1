"""Claims by name: the ids of installed packages' entry points, and addresses in files."""

from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from typing import Any

from steinlab import plugins
from steinlab.errors import InputError, choices, one_of
from steinlab.verification import files
from steinlab.verification.claim import Claim

LIST = "steinlab verify --list"
"""What lists the claims."""


def entries() -> dict[str, EntryPoint]:
    """Return the entry points of all registered claims by id; nothing is loaded."""
    return {entry.name: entry for entry in plugins.entries("steinlab.claims")}


def claim_ids() -> list[str]:
    """Return the ids of all registered claims, in alphabetical order."""
    return sorted(entries())


def home_of(name: str) -> str:
    """Return the package or module that a claim's own frames lie in, empty for a claim of none."""
    if path := files.split(name)[0]:
        return files.home(path)
    entry = entries().get(id_of(name))
    module = entry.module if entry else ""
    return module.rpartition(".")[0] or module


def part_of(name: str) -> str:
    """Return the part of the paper that a registered claim belongs to, by the package it lies in.

    Examples
    --------
    >>> part_of("optimal-coefficient"), part_of("error-budget"), part_of("my.py::jensen")
    ('coefficient', 'toy_models', '')
    """
    package = "" if files.split(name)[0] else home_of(name)
    outer, _, part = package.rpartition(".")
    return outer if part == "claims" else part


def load_claim(name: str) -> Claim:
    """Return a claim by id or address; raise ``InputError`` naming the nearest for an unknown one.

    Parameters
    ----------
    name : str
        The id of a registered claim, or ``my.py::jensen``, a claim of a file; ``solver-order@mine``
        is the first on the subject ``mine`` alone (:func:`narrowed`).
    """
    if files.split(name)[0]:
        return files.load(name)
    name, _, subjects = name.partition(NARROWED)
    known = entries()
    claim: Claim = known[one_of("claim", name, sorted(known), LIST)].load()
    if not subjects:
        return claim
    if claim.on is None:
        raise InputError(f"--only must be left out for the claim {name}, which has no subjects")
    return claim.on(subjects.split(","))


NARROWED = "@"
"""Between a claim's id and the subjects that it is judged on."""


def narrowed(names: Sequence[str], only: str | None) -> list[str]:
    """Return claims on the subjects of ``only`` alone, ids with commas between.

    Raises
    ------
    InputError
        If a claim has no subjects, or not those.
    """
    if only is None:
        return list(names)
    if files_named := [name for name in names if files.split(name)[0]]:
        raise InputError(f"--only must be left out for claims of a file, got {files_named[0]}")
    out = [f"{name}{NARROWED}{only}" for name in names]
    for name in out:
        load_claim(name)
    return out


def id_of(name: str) -> str:
    """Return the claim's id of an id or an address."""
    path, own = files.split(name)
    return own if path else own.partition(NARROWED)[0]


def addresses(file: str) -> list[str]:
    """Return the names of all claims of a file."""
    if not files.is_file(file):
        raise InputError(
            f"FILE must end in .py, got {file}; a registered claim is named by --claims"
        )
    return files.addresses(file)


def chosen(
    file_names: Sequence[str], claims: str | None, registered: Sequence[str]
) -> tuple[list[str], list[str]]:
    """Return the names of the claims to judge, and all that could be named.

    Parameters
    ----------
    file_names : sequence of str
        Files, all of whose claims are judged unless ``claims`` chooses.
    claims : str, optional
        Ids or addresses with commas between; by default all of the files, or, without files, all
        that are registered.
    registered : sequence of str
        The ids that packages bring.

    Raises
    ------
    InputError
        For an unknown name, and for two claims of one id.
    """
    own = [name for file in dict.fromkeys(file_names) for name in addresses(file)]
    by_id = {id_of(name): name for name in own}
    known = [*by_id, *(name for name in registered if name not in by_id)]

    def named(text: str) -> str:
        if files.split(text)[0]:
            return f"{files.split(text)[0]}{files.SEPARATOR}{load_claim(text).id}"
        return by_id.get(text) or one_of("--claims", text, known, LIST)

    if claims is not None:
        wanted = list(dict.fromkeys(named(text) for text in claims.split(",")))
    else:
        wanted = own or list(registered)
    seen: dict[str, str] = {}
    for name in wanted:
        if seen.setdefault(id_of(name), name) != name:
            raise InputError(f"claims must have different ids, got {seen[id_of(name)]} and {name}")
    return wanted, sorted({*known, *map(id_of, wanted)})


def expanded(names: Sequence[str]) -> list[str]:
    """Return names, each once, with each file replaced by its claims' addresses."""
    parts = [files.addresses(name) if files.is_file(name) else [name] for name in names]
    return list(dict.fromkeys(name for part in parts for name in part))


def only(name: str) -> str:
    """Return a claim's name, which may be a file's if it holds a single claim."""
    found = expanded([name])
    if len(found) > 1:
        raise InputError(f"CLAIM must be one claim, such as {choices(found)}, got {name}")
    return found[0]


def provenance(name: str) -> dict[str, Any]:
    """Return what a row or a case keeps of where its claim stands: empty for a registered one."""
    path = files.split(name)[0]
    return {"file": {"path": path, "sha256": files.digest(path)}} if path else {}


def name_in(case: Mapping[str, Any]) -> str:
    """Return the name of a stored case's claim; raise ``InputError`` where its file has changed."""
    if "file" not in case:
        return str(case["claim"])
    files.require_unchanged(case["file"])
    return f"{case['file']['path']}{files.SEPARATOR}{case['claim']}"
