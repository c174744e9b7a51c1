"""Which tests run which lines, how long each takes, and so which tests a mutant meets.

Each file of tests runs in a process of its own, long ones in several: what a function keeps of
earlier calls then hides no line from the file's first test that needs it. What stands in a fixture,
or is kept, is on record for that test alone, so a mutant meets the file's other tests after those.
"""

import ast
import json
import time
from collections.abc import Iterable, Iterator
from difflib import SequenceMatcher
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Any, NamedTuple

OPTIONS = (*("-q", "-m", "not slow", "--disable-plugin-autoload", "-p", "steinlab.testing.plugin"),)
BLOCK = 120
"""Lines of a file of tests per process."""
MESSAGE = 300
"""Characters that are kept of why a test failed or skipped."""


class Block(NamedTuple):
    """The ``part``-th of ``of`` parts of the tests of a file."""

    file: str
    part: int
    of: int


def blocks(tree: Path) -> list[Block]:
    """Return what the tests and doctests of a tree are recorded in, the longest files first."""
    found = [*tree.glob("tests/**/test_*.py")]
    for package in ("analytic", "steinlab", "toy_models"):
        found += [p for p in tree.glob(f"{package}/**/*.py") if ">>> " in p.read_text("utf-8")]
    lengths = {p.relative_to(tree).as_posix(): p.read_text("utf-8").count("\n") for p in found}
    longest = sorted(lengths, key=lambda name: (not name.startswith("tests/"), -lengths[name]))
    parts = {n: 1 + lengths[n] // BLOCK if n.startswith("tests/") else 1 for n in longest}
    return [Block(name, k, parts[name]) for name in longest for k in range(parts[name])]


def record(block: Block, include: list[str]) -> dict[str, Any]:
    """Run a block of tests; return their seconds, and the lines of each module that each ran.

    A line set is an integer, in hexadecimal digits, whose bit ``n`` stands for line ``n``.
    """
    import coverage
    import pytest

    tests: dict[str, list[Any]] = {}
    unfit: dict[str, str] = {}
    cov = coverage.Coverage(data_file=None, config_file=False, include=include, messages=False)

    class Recorder:
        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            items[:] = items[block.part :: block.of]  # neighbours take as long

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(self, item: pytest.Item) -> Iterator[None]:
            cov.switch_context(item.nodeid)
            start = time.process_time()
            tests[item.nodeid] = [0.0, True]
            result = yield
            tests[item.nodeid][0] = round(time.process_time() - start, 3)
            return result

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.outcome != "passed" and report.nodeid in tests:
                tests[report.nodeid][1] = False
                unfit[report.nodeid] = f"{report.outcome}: {report.longreprtext[-MESSAGE:]}"

    cov.start()
    code = pytest.main([*OPTIONS, block.file], plugins=[Recorder()])
    cov.stop()
    data, numbers = cov.get_data(), {name: k for k, name in enumerate(tests)}
    ran: dict[str, dict[int, str]] = {}
    for path in data.measured_files():
        own: dict[int, int] = {}
        for line, contexts in data.contexts_by_lineno(path).items():
            for context in contexts:
                if context in numbers:
                    own[numbers[context]] = own.get(numbers[context], 0) | 1 << line
        if own:
            ran[Path(path).relative_to(Path.cwd()).as_posix()] = {
                k: f"{v:x}" for k, v in own.items()
            }
    return {"file": block.file, "code": int(code), "tests": tests, "unfit": unfit, "ran": ran}


def taken_over(record: Path, before: Path, after: Path) -> Iterator[dict[str, Any]]:
    """Yield what stays of a record of another tree: files of tests that are as they were.

    The lines that they ran move with the modules' text. A line that is new, or that another takes
    the place of, belongs to the tests that ran what stood there: one too many costs time, and one
    too few can only let a mutant live.
    """
    for line in record.read_text(encoding="utf-8").splitlines():
        found = json.loads(line)
        file = found.get("file", "")
        if file and (after / file).exists() and _same(before / file, after / file):
            kept = {m: own for m, own in found["ran"].items() if (after / m).exists()}
            found["ran"] = {
                m: {
                    k: f"{_moved(int(bits, 16), before / m, after / m):x}"
                    for k, bits in own.items()
                }
                for m, own in kept.items()
            }
            yield found


@cache
def _same(before: Path, after: Path) -> bool:
    return before.read_bytes() == after.read_bytes()


def _moved(bits: int, before: Path, after: Path) -> int:
    if _same(before, after):
        return bits
    places = _places(before, after).items()
    return reduce(or_, (new for old, new in places if bits >> old & 1), 0)


@cache
def _places(before: Path, after: Path) -> dict[int, int]:
    """Return where each line of a module stands in another version of it, as bits."""
    old, new = (path.read_text(encoding="utf-8").splitlines() for path in (before, after))
    places: dict[int, int] = {}
    for tag, a, b, c, d in SequenceMatcher(None, old, new, autojunk=False).get_opcodes():
        if tag == "equal":
            places |= {a + k + 1: 1 << c + k + 1 for k in range(b - a)}
        else:
            # the lines in whose place they stand, else the one before
            own = range(a + 1, b + 1) if b > a else (a,)
            places |= {k: places.get(k, 0) | _bits(c + 1, d) for k in own}
    return places


class Test(NamedTuple):
    """A test that passes: its file, its seconds, and the lines of a module that it ran."""

    name: str
    file: str
    seconds: float
    lines: int


def file_of(name: str) -> str:
    """Return the file of a test."""
    return name.partition("::")[0]


class Lines:
    """The record of all files of tests."""

    def __init__(self, path: Path) -> None:
        self.seconds: dict[str, float] = {}
        self.of_file: dict[str, list[str]] = {}
        self.unfit: list[str] = []
        """Tests that fail, or skip, without a mutant."""
        self.runs: dict[str, list[Test]] = {}
        for line in path.read_text(encoding="utf-8").splitlines():
            self._read(json.loads(line))

    def _read(self, found: dict[str, Any]) -> None:
        if "died" in found:
            print(f"{found['block']} {found['died']}: {found['printed'][-300:]}")
            return
        names, file = list(found["tests"]), found["file"]
        for name, (seconds, passed) in found["tests"].items():
            if passed:
                self.seconds[name] = seconds
                self.of_file.setdefault(file, []).append(name)
            else:
                self.unfit.append(name)
        for module, own in found["ran"].items():
            self.runs.setdefault(module, []).extend(
                Test(names[int(k)], file, self.seconds[names[int(k)]], int(bits, 16))
                for k, bits in own.items()
                if names[int(k)] in self.seconds
            )

    def drop(self, name: str) -> None:
        """Forget a test."""
        del self.seconds[name]
        self.of_file[file_of(name)].remove(name)
        self.runs = {m: [t for t in own if t.name != name] for m, own in self.runs.items()}

    def tests_for(self, tree: Path, module: str, line: int) -> list[str]:
        """Return the tests that a mutant of a line meets.

        Those that run its statement come first; of a line that runs at import those that run the
        function that it heads, then those that run any function of its module; last the others of
        their files. Within each of these the fastest come first.
        """
        runs = self.runs.get(module, [])
        tiers = [
            [t.name for t in runs if t.lines & wanted] for wanted in _wanted(tree, module, line)
        ]
        met = {name for tier in tiers for name in tier}
        files = {t.file for t in runs if t.name in met}
        tiers.append([name for file in files for name in self.of_file[file]])
        ordered = (name for tier in tiers for name in sorted(tier, key=self.seconds.__getitem__))
        return list(dict.fromkeys(ordered))


@cache
def _parsed(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _bits(first: int, last: int) -> int:
    return (1 << last + 1) - (1 << first)


def _wanted(tree: Path, module: str, line: int) -> Iterable[int]:
    """The lines whose tests come first, second, ..."""
    parsed = _parsed(tree / module)
    inside = [
        node
        for node in ast.walk(parsed)
        if isinstance(node, ast.stmt) and node.lineno <= line <= (node.end_lineno or 0)
    ]
    if not inside:
        return [0]
    own = inside[-1]  # walked from the outside inwards
    last = own.end_lineno or line
    body = getattr(own, "body", None)
    heads = isinstance(own, ast.FunctionDef | ast.ClassDef) and bool(body)
    if body:
        last = max(own.lineno, body[0].lineno - 1)
    around = [n for n in inside if isinstance(n, ast.FunctionDef) and n is not own]
    wanted = [
        _bits(line, line) if line > last else _bits(own.lineno, last),
        _bits(own.lineno, last),
    ]
    if around:
        return wanted
    # of what runs at import, the tests on record are those that happened to import it first
    within = 0
    for function in ast.walk(parsed):
        if isinstance(function, ast.FunctionDef):
            within |= _bits(function.body[0].lineno, function.end_lineno or function.lineno)
    headed = [_bits(body[0].lineno, own.end_lineno or line)] if heads else []
    return [*headed, within, *wanted]
