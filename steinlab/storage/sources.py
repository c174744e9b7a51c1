"""The key of the code that a number depends on: modules, and all that they import.

Imports are read off the sources, and nothing is run. Those inside functions count, those for type
checkers alone do not. Docstrings and comments say nothing about a number: the key leaves them out,
and with them this package, which computes none. Of what lies outside the packages the versions
count that numbers are computed with.
"""

from __future__ import annotations

import ast
import functools
import hashlib
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from importlib.metadata import distributions, entry_points, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

PACKAGES = ("analytic", "steinlab", "toy_models", "gpu_models")

LIBRARIES = ("numpy", "scipy", "scikit-learn", "sympy", "torch")

PLUGINS = "steinlab.models"
"""A module that names this group of entry points computes with all that they name."""

RECORD = re.compile(r"[\w.*-]*\.(?:jsonl(?:\.gz)?|json|safetensors)")
"""Text by which a module names stored results and weights of its package, or the end of a name."""

LAZY = ":lazy"
"""Behind a package's name: what it imports once one of its names is asked for."""


@functools.cache
def sources_key(*roots: str) -> str:
    """Return a hash of modules and all that they import, the records they name, and versions.

    Parameters
    ----------
    *roots : str
        Modules, or Python files outside of packages.
    """
    digest = hashlib.sha256(sys.version.encode())
    for library in LIBRARIES:
        found = version(library) if any(True for _ in distributions(name=library)) else ""
        digest.update(f"{library} {found}".encode())
    packages = {*PACKAGES, *(root.partition(".")[0] for root in roots if not _is_file(root))}
    left, reached, records = list(roots), set[str](), set[Path]()
    while left:
        name = left.pop()
        own = _is_file(name) or name.partition(":")[0].partition(".")[0] in packages
        if own and name not in reached and not name.startswith(__package__):
            reached.add(name)
            left += _source(name).imports
            records |= _source(name).records
    for name in sorted(reached):
        digest.update(f"{name} {_source(name).digest}".encode())
    for record in sorted(records):
        digest.update(record.name.encode() + hashlib.sha256(record.read_bytes()).digest())
    return digest.hexdigest()


@functools.cache
def commit() -> str:
    """Return the commit that the code lies at, with a ``+`` where it was changed since.

    Empty where it lies in no work tree of its own, or git is absent.
    """
    root = Path(__file__).parents[2]
    if not (root / ".git").exists():
        return ""

    def git(*words: str) -> str:
        said = subprocess.run(
            ["git", "-C", str(root), *words], capture_output=True, text=True, timeout=10, check=True
        )
        return said.stdout.strip()

    try:
        changed = git("status", "--porcelain", "--untracked-files=no")
        return git("rev-parse", "--short=12", "HEAD") + "+" * bool(changed)
    except (OSError, subprocess.SubprocessError):
        return ""


def _is_file(name: str) -> bool:
    return name.endswith(".py")


@functools.cache
def _folder(package: str) -> Path | None:
    """Return the folder of a package at the top, found without importing it."""
    spec = find_spec(package)
    return Path(spec.origin).parent if spec and spec.origin and spec.parent else None


def _file(module: str) -> Path | None:
    """Return a module's file."""
    package, *parts = module.split(".")
    folder = _folder(package)
    path = folder.joinpath(*parts) if folder else Path()
    return next((f for f in (path / "__init__.py", path.with_suffix(".py")) if f.is_file()), None)


class _Source(NamedTuple):
    digest: str
    imports: frozenset[str]
    records: frozenset[Path]


@functools.cache
def _source(name: str) -> _Source:
    """Read a module, a file, or what a package imports lazily."""
    module, lazy, _ = name.partition(LAZY)
    file = Path(name) if _is_file(name) else _file(module)
    if file is None:
        return _Source("", frozenset(), frozenset())
    lean = _Lean()
    tree = lean.visit(ast.parse(file.read_bytes()))
    home = module if file.name == "__init__.py" else module.rpartition(".")[0]
    if lazy:
        return _Source("", frozenset(_imports(lean.typed, home)), frozenset())
    imports = set(_imports([tree], home))
    if not _is_file(name):
        imports |= {module[: dot.start()] for dot in re.finditer(r"\.", module)}
    digest = hashlib.sha256(ast.dump(tree).encode()).hexdigest()
    return _Source(digest, frozenset(imports), frozenset(_records(tree, module)))


class _Lean(ast.NodeTransformer):
    """Takes out docstrings and what is for type checkers alone; ``typed`` keeps the latter."""

    def __init__(self) -> None:
        self.typed: list[ast.stmt] = []

    def generic_visit(self, node: ast.AST) -> ast.AST:
        """Take out the docstring."""
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            del node.body[: ast.get_docstring(node, clean=False) is not None]
        return super().generic_visit(node)

    def visit_If(self, node: ast.If) -> Any:
        """Take out the block of ``if TYPE_CHECKING``."""
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            return self.generic_visit(node)
        self.typed += node.body
        return [self.visit(part) for part in node.orelse]


def _imports(nodes: Iterable[ast.AST], home: str) -> Iterator[str]:
    """Yield the names of the modules that nodes import, wherever they do."""
    for node in (part for whole in nodes for part in ast.walk(whole)):
        if isinstance(node, ast.Import):
            for name in (alias.name for alias in node.names):
                yield from (name, *_face(name))
        elif isinstance(node, ast.ImportFrom):
            up = home.split(".")[: len(home.split(".")) + 1 - node.level] if node.level else []
            base = ".".join([*up, *([node.module] if node.module else [])])
            yield base
            for inner in (f"{base}.{alias.name}" for alias in node.names):
                yield from (inner,) if _inside(inner, home) else _face(base)
        elif isinstance(node, ast.Call) and ast.unparse(node.func).endswith("import_module"):
            yield from _named(node.args[0])
        elif isinstance(node, ast.Constant) and node.value == PLUGINS:
            yield from (entry.module for entry in entry_points(group=PLUGINS))


def _face(name: str) -> tuple[str, ...]:
    """Return what a package at the top has lazy names for."""
    return () if "." in name else (name + LAZY,)


def _inside(name: str, home: str) -> bool:
    """Whether a name is that of a module, of these packages or of the importing one's."""
    packages = (*PACKAGES, home.partition(".")[0])
    return name.partition(".")[0] in packages and _file(name) is not None


def _named(given: ast.expr) -> Iterator[str]:
    """Yield the module that an expression names; of one put together, all that it may name."""
    if isinstance(given, ast.Constant):
        yield str(given.value)
    if isinstance(given, ast.JoinedStr) and isinstance(given.values[0], ast.Constant):
        package = str(given.values[0].value).rstrip(".")
        file = _file(package)
        yield from (f"{package}.{f.stem}" for f in (file.parent.glob("*.py") if file else ()))


def _records(tree: ast.AST, module: str) -> Iterator[Path]:
    """Yield the files of a module's package that its text names."""
    folder = _folder(module.partition(".")[0]) if module else None
    if folder is None:
        return
    for node in ast.walk(tree):
        match node:
            case ast.Constant(value=str(text)) if RECORD.fullmatch(text):
                yield from folder.rglob(f"*{text}")
