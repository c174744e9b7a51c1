"""Mutation run over the formulas that the laboratory rests on: `make mutants`.

OUT (default out/mutants) keeps what was done, and a run that was stopped goes on there:

    tree/         a copy of the tree, of which each worker mutates a copy of its own
    lines.jsonl   which tests run which lines, and their seconds
    drawn.json    the sample
    ran.jsonl     what became of each mutant

    run.py                    do what is missing; write OUT/record.json, for page.py
    run.py --workers 32 --seconds 300     processes; begin nothing after these seconds
    run.py --again            copy the tree anew (tests were added), run the survivors again
    run.py --draw             only copy and draw (the rest needs no cosmic-ray)
    run.py --former OLD       take over what the record of an older run, in OLD, still says
    run.py --seed 1 --sample 50 --only 'steinlab/workers.py' --out OTHER      another sample
"""

import argparse
import contextlib
import functools
import json
import os
import platform
import resource
import shutil
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from typing import Any

from draw import draw, modules, place, with_mutant  # these stand beside this file
from forks import apart, import_libraries, spread
from lines import OPTIONS, Lines, blocks, file_of, record, taken_over

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
FIRST = 16
"""Tests that a mutant meets at first; then twice as many at each time, if it lives."""

PATIENCE = 30.0, 10.0
"""A test is ended after so many seconds, and so many times those of its file without a mutant."""

HANG = 900.0
"""Seconds of the clock after which a process that does nothing is ended."""

GRACE = 20.0
"""Seconds past ``--seconds`` after which what runs is left for another time."""


def main(args: list[str]) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mutants")
    parser.add_argument("--workers", type=_positive, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--seconds", type=float, default=1e9)
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--draw", action="store_true")
    parser.add_argument("--former", type=Path)
    parser.add_argument("--seed", type=int)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--only", nargs="+", metavar="PATTERN", help="mutate these modules")
    parser.add_argument("--tests", nargs="+", metavar="PATTERN", help="of these files alone")
    asked = parser.parse_args(args)
    plan = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))
    plan |= {k: v for k in ("seed", "sample") if (v := getattr(asked, k)) is not None}
    if asked.only:
        plan["rooms"], plan["definitions"] = {"asked": asked.only}, {}
    run = Run(asked.out.resolve(), plan, asked.workers, time.monotonic() + asked.seconds)
    run.copy(again=asked.again)
    run.draw()
    if asked.former:
        run.take_over(asked.former)
    if not asked.draw:
        import_libraries()
        run.record_lines(asked.tests)
        run.meet()
        run.doubt()
        run.report()
    return 0


class Run:
    """A run in a folder."""

    def __init__(self, out: Path, plan: dict[str, Any], workers: int, until: float) -> None:
        self.out, self.plan, self.workers, self.until = out, plan, workers, until
        self.tree = out / "tree"
        self.ran = out / "ran.jsonl"
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))

    def copy(self, *, again: bool) -> None:
        """Copy the tree once; or ``again`` with other tests, for the survivors."""
        if again:
            lived = [e["mutant"] for e in _lines(self.ran) if e["outcome"] == "survived"]
            if not (first := self.out / "first.json").exists():
                first.write_text(json.dumps(lived))
            killed = [line for line in _lines(self.ran) if line["outcome"] != "survived"]
            self.ran.write_text("".join(json.dumps(line) + "\n" for line in killed))
            for old in ("lines.jsonl", "doubts.jsonl"):
                (self.out / old).unlink(missing_ok=True)
            shutil.rmtree(self.tree, ignore_errors=True)
        if self.tree.exists():
            return
        listed = ("git", "ls-files", "--cached", "--others", "--exclude-standard", "-z")
        names = subprocess.run(listed, cwd=ROOT, capture_output=True, check=True, text=True).stdout
        for name in filter(None, names.split("\0")):
            if (ROOT / name).is_file():
                (self.tree / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(ROOT / name, self.tree / name)

    def draw(self) -> None:
        """Sample the mutants, once."""
        if not (self.out / "drawn.json").exists():
            counts, mutants = draw(self.tree, self.plan)
            head = {"seed": self.plan["seed"], "cap": self.plan["cap"], "population": counts}
            head["tool"] = f"cosmic-ray {version('cosmic-ray')}"
            (self.out / "drawn.json").write_text(json.dumps(head | {"mutants": mutants}, indent=1))
        self.drawn = json.loads((self.out / "drawn.json").read_text())

    def take_over(self, former: Path) -> None:
        """Begin the record with what another run's says, if there is none yet."""
        to = self.out / "lines.jsonl"
        if not to.exists():
            kept = taken_over(former / "lines.jsonl", former / "tree", self.tree)
            to.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def record_lines(self, patterns: list[str] | None) -> None:
        """Record which tests run which lines, of those files of tests that are not on record."""
        # compiled files that are checked against the source itself, which a mutant changes
        checked = ("--invalidation-mode", "checked-hash")
        packages = [path for path in self.tree.iterdir() if (path / "__init__.py").exists()]
        subprocess.run([sys.executable, "-m", "compileall", "-q", *checked, *packages], check=True)
        to = self.out / "lines.jsonl"
        done = {tuple(line["block"]) for line in _lines(to)}
        left = [block for block in blocks(self.tree) if block not in done]
        if patterns:
            chosen = set(modules(self.tree, patterns))
            left = [block for block in left if block.file in chosen]
        mutated = {mutant["module"] for mutant in self.drawn["mutants"]}
        rooms = [p for room in self.plan["rooms"].values() for p in room]
        include = [str(self.tree / m) for m in mutated.union(modules(self.tree, rooms))]

        # half of the time at most
        seconds = min(HANG, (self.until - time.monotonic()) / 2)

        def begin(_: int) -> Callable[[Any], dict[str, Any]]:
            _enter(self.tree)
            return lambda b: apart(lambda: record(b, include), seconds) | {"block": b}

        spread(left, self.workers, begin, to)
        self.lines = Lines(to)
        print(f"{len(self.lines.seconds)} tests pass in {sum(self.lines.seconds.values()):.0f} s")

    def meet(self) -> None:
        """Have each mutant meet its tests, except those that a test without a mutant failed."""
        done = {line["mutant"] for line in _lines(self.ran)}
        left = [k for k in range(len(self.drawn["mutants"])) if k not in done]
        lines = self.lines

        def one(number: int) -> dict[str, Any]:
            mutant = self.drawn["mutants"][number]
            moved = place((self.tree / mutant["module"]).read_text("utf-8"), mutant)
            line = mutant["line"] + moved - mutant["first"]
            names = lines.tests_for(self.tree, mutant["module"], line)
            if (seconds := self.until - time.monotonic()) < 0:
                return {"mutant": number, "outcome": "not finished"}
            with _in_place(Path.cwd() / mutant["module"], mutant):
                call = functools.partial(run_tests, names, lines, self.drawn["cap"])
                found = _judged(apart(call, min(HANG, seconds + GRACE)))
            if found.get("died") == "hung" and seconds + GRACE < HANG:
                found = {"outcome": "not finished"}
            return {"mutant": number, "tests": len(names)} | found

        spread(left, self.workers, self._own_tree(one), self.ran)
        kept = [line for line in _lines(self.ran) if line["outcome"] != "not finished"]
        self.ran.write_text("".join(json.dumps(line) + "\n" for line in kept))

    def _own_tree(self, one: Callable[[Any], dict[str, Any]]) -> Callable[[int], Any]:
        def begin(k: int) -> Any:
            own = self.out / f"tree-{k}"
            shutil.rmtree(own, ignore_errors=True)
            shutil.copytree(self.tree, own, copy_function=os.link)
            sys.dont_write_bytecode, os.environ["PYTHONDONTWRITEBYTECODE"] = True, "1"
            _enter(own)
            return one

        return begin

    def doubt(self) -> None:
        """Run the tests that killed mutants without one; do not count those that then fail."""
        while True:
            killers = {line["by"] for line in _lines(self.ran) if line.get("by")}
            files: dict[str, list[str]] = {}
            for name in sorted(killers, key=self.lines.seconds.__getitem__):
                files.setdefault(file_of(name), []).append(name)
            doubts = self.out / "doubts.jsonl"
            doubts.unlink(missing_ok=True)
            every = [files[file] for file in files]

            def one(names: list[str]) -> dict[str, Any]:
                return apart(lambda: run_tests(names, self.lines, float("inf"), every=True), HANG)

            spread(every, self.workers, self._own_tree(one), doubts)
            answers = list(_lines(doubts))
            if died := [a["printed"] for a in answers if "died" in a]:
                sys.exit(f"tests died without a mutant:\n{died[0]}")
            failed = {name for answer in answers for name in answer["failed"]}
            if not failed:
                return
            print(f"fail without a mutant: {sorted(failed)}")
            for name in failed:
                self.lines.drop(name)
            sure = [line for line in _lines(self.ran) if line.get("by") not in failed]
            self.ran.write_text("".join(json.dumps(line) + "\n" for line in sure))
            self.meet()

    def report(self) -> None:
        """Write the record: the counts by room, and what lived."""
        mutants, ran = self.drawn["mutants"], {line["mutant"]: line for line in _lines(self.ran)}
        first = self.out / "first.json"
        lived = [k for k, line in sorted(ran.items()) if line["outcome"] == "survived"]
        at_first = json.loads(first.read_text()) if first.exists() else lived
        rooms = {}
        for room, population in self.drawn["population"].items():
            own = [k for k in ran if mutants[k]["room"] == room]
            rooms[room] = {
                "population": population,
                "run": len(own),
                "killed at first": sum(k not in at_first for k in own),
                "killed": sum(k not in lived for k in own),
                "late": sum(ran[k]["outcome"] == "late" for k in own),
            }
        survivors = [
            {key: mutants[k][key].strip("\n") if key in ("before", "after") else mutants[k][key]
             for key in ("room", "module", "line", "operator", "before", "after")}
            | {key: ran[k][key] for key in ("tests", "met")}
            for k in lived
        ]  # fmt: skip
        survivors.sort(key=lambda s: (s["module"], s["line"], s["operator"]))
        head = {key: self.drawn[key] for key in ("seed", "cap", "tool")}
        head |= {"python": platform.python_version(), "drawn": len(mutants)}
        found = head | {"rooms": rooms, "survivors": survivors}
        (self.out / "record.json").write_text(json.dumps(found, indent=1) + "\n")
        print(f"{len(ran)} of {len(mutants)} ran, {len(lived)} lived")


def _positive(text: str) -> int:
    if text.isdecimal() and int(text) > 0:
        return int(text)
    raise argparse.ArgumentTypeError(f"must be a whole number above 0, got {text!r}")


def _lines(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _enter(tree: Path) -> None:
    """Make a tree the one whose packages are imported, here and in what is started."""
    os.chdir(tree)
    sys.path.insert(0, str(tree))
    before = os.environ.get("PYTHONPATH")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (str(tree), before)))
    os.environ["PYTHONHASHSEED"] = "0"


@contextlib.contextmanager
def _in_place(path: Path, mutant: dict[str, Any]) -> Iterator[None]:
    """Put a mutant into a file that is a link, and the link back."""
    kept = path.with_suffix(".kept")
    path.rename(kept)
    try:
        path.write_text(with_mutant(kept.read_text(encoding="utf-8"), mutant), encoding="utf-8")
        yield
    finally:
        kept.replace(path)


def run_tests(names: list[str], lines: Lines, cap: float, *, every: bool = False) -> dict[str, Any]:
    """Run tests in their order, until one fails or the cap is spent; or ``every`` one."""
    import pytest

    rank, start = {name: k for k, name in enumerate(names)}, time.process_time()
    of_file = {file: sum(map(lines.seconds.get, own)) for file, own in lines.of_file.items()}
    met: list[str] = []
    failed: list[str] = []
    out = os.dup(1)  # pytest takes what is printed otherwise
    spent = False

    class Watch:
        wanted: set[str]

        @pytest.hookimpl(trylast=True)
        def pytest_collection_modifyitems(self, items: list[pytest.Item]) -> None:
            items[:] = [item for item in items if item.nodeid in self.wanted]
            items.sort(key=lambda item: rank[item.nodeid])

        @pytest.hookimpl(wrapper=True)
        def pytest_runtest_protocol(
            self, item: pytest.Item, nextitem: pytest.Item | None
        ) -> Iterator[None]:
            nonlocal spent
            fixed, times = PATIENCE
            patience = fixed + times * of_file[file_of(item.nodeid)]
            _allow(time.process_time() + patience)
            met.append(item.nodeid)
            os.write(out, f"\n@{item.nodeid}\n".encode())
            result = yield
            ahead = lines.seconds[nextitem.nodeid] if nextitem else 0.0
            if time.process_time() - start + ahead > cap:
                spent, item.session.shouldstop = True, "the cap is spent"
            return result

        def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
            if report.failed and report.nodeid not in failed:
                failed.append(report.nodeid)

    watch, at, count = Watch(), 0, len(names) if every else FIRST
    while at < len(names) and not spent:
        some, at, count = names[at : at + count], at + count, 2 * count
        watch.wanted = set(some)
        files = list(dict.fromkeys(file_of(name) for name in some))
        code = pytest.main([*OPTIONS, *([] if every else ["-x"]), *files], plugins=[watch])
        if failed and not every:
            return {"by": failed[0], "met": len(met), "seconds": time.process_time() - start}
        if code not in (0, 5) and not spent and not failed:
            return {"by": "", "met": len(met), "seconds": time.process_time() - start}
    return {
        "failed": failed,
        "met": len(met),
        "spent": spent,
        "seconds": time.process_time() - start,
    }


def _allow(seconds: float) -> None:
    resource.setrlimit(resource.RLIMIT_CPU, (int(seconds) + 1, resource.RLIM_INFINITY))


def _judged(found: dict[str, Any]) -> dict[str, Any]:
    """Say what became of a mutant of what its tests gave."""
    if "died" in found:
        late = found["died"] in ("SIGXCPU", "hung")
        return {"outcome": "late" if late else "killed", "by": _last(found), **found}
    return {"outcome": "killed" if "by" in found else "survived", **found}


def _last(found: dict[str, Any]) -> str:
    """The test that ran when a process died."""
    named = [line[1:] for line in found["printed"].splitlines() if line.startswith("@")]
    return named[-1] if named else ""


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
