"""Mutation run over the formulas that the laboratory rests on: `make mutants`.

Cosmic-ray makes the mutants and keeps those drawn in OUT (default out/mutants); a run that was
stopped goes on where it stopped. The mutants live in a copy of the tree, OUT/tree, and their tests
run in forks of `server.py`. `plan.toml` says what is mutated and which tests run; `page.py` writes
the page.

    run.py                  run what is pending, write docs/mutants.json
    run.py --minutes 60     leave what was not begun by then, and run the survivors
    run.py --again          copy the tree anew (tests were added) and run the survivors again
    run.py --report         only write docs/mutants.json
    run.py --seed 1 --sample 50 --only solvers --out OTHER      another sample of a room
"""

import argparse
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
import tomllib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from cosmic_ray import plugins
from cosmic_ray.ast import ast_nodes, get_ast_from_path
from cosmic_ray.ast.ast_query import ASTQuery
from cosmic_ray.mutating import mutate_and_test
from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, WorkItem
from record import killed, report  # beside this file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT = 1800.0
"""Seconds; the server ends what takes too much processor time long before."""

COPIED = ("analytic", "steinlab", "toy_models", "gpu_models", "tests", "docs")
PYTEST = "-x -q -m 'not slow'"

LEFT_OUT = (
    r"/ReplaceBinaryOperator_(\w+_)?(RShift|LShift|BitOr|BitAnd|BitXor)(_\w+)?$",
    r"/ReplaceUnaryOperator_\w*Invert\w*$",
    r"/ReplaceComparisonOperator_(?!Is_IsNot$|IsNot_Is$)(\w+_Is|\w+_IsNot|Is_\w+|IsNot_\w+)$",
    r"/RemoveDecorator$",
)
"""Operators whose mutants say nothing; docs/mutants.md gives the reasons."""

NAMED = re.compile(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", re.MULTILINE)
"""A test that failed, as pytest names it."""


def main(args: list[str]) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mutants")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--minutes", type=float, default=1e6, help="stop drawing on after these")
    parser.add_argument("--only", nargs="+", metavar="ROOM")
    asked = parser.parse_args(args)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # the mutated module is restored
    out = asked.out.resolve()
    plan = tomllib.loads((HERE / "plan.toml").read_text(encoding="utf-8"))
    plan["seed"] = plan["seed"] if asked.seed is None else asked.seed
    plan["sample"] = asked.sample or plan["sample"]
    plan["rooms"] = {k: v for k, v in plan["rooms"].items() if not asked.only or k in asked.only}
    if not asked.report:
        _copy(out, again=asked.again)
        _draw(out, plan)
        with _served(out) as command:
            _run(out, plan, command, asked.minutes)
    found = report(out)
    text = json.dumps(found, indent=1, ensure_ascii=True) + "\n"
    place = ROOT / "docs" if out == ROOT / "out" / "mutants" else out
    (place / "mutants.json").write_text(text, encoding="utf-8")
    print("\n".join(f"{r['name']}: {r['killed']} of {r['run']} killed" for r in found["rooms"]))
    return 0


def _copy(out: Path, *, again: bool) -> None:
    """Copy the tree once; later runs go on with that copy, or ``again`` with other tests."""
    tree = out / "tree"
    if tree.exists() and not again:
        return
    if again:
        _forget_survivors(out)
    shutil.rmtree(tree, ignore_errors=True)
    tree.mkdir(parents=True)
    for name in COPIED:
        skip = shutil.ignore_patterns("__pycache__", "*.pyc")
        shutil.copytree(ROOT / name, tree / name, ignore=skip)
    for file in ROOT.iterdir():
        if file.is_file() and not file.name.startswith("."):
            shutil.copy(file, tree)
    # compiled files that are checked against the source itself, which a mutant changes
    checked = ("--invalidation-mode", "checked-hash")
    subprocess.run([sys.executable, "-m", "compileall", "-q", *checked, tree], check=True)


def _forget_survivors(out: Path) -> None:
    """Make the survivors pending again, unless their module changed; remember who they were."""
    with use_db(out / "drawn.sqlite", WorkDB.Mode.open) as db:
        lived = [(i.job_id, i.mutations[0]) for i, r in db.completed_work_items if not killed(r)]
    for path in {mutation.module_path for _, mutation in lived}:
        old, new = ((place / path).read_bytes() for place in (out / "tree", ROOT))
        if old != new:
            sys.exit(f"{path} has changed since the mutants were drawn: remove {out}")
    (out / "met.json").unlink(missing_ok=True)
    first = out / "first.json"
    if not first.exists():
        first.write_text(json.dumps([job for job, _ in lived]), encoding="utf-8")
    with contextlib.closing(sqlite3.connect(out / "drawn.sqlite")) as db, db:
        db.executemany("DELETE FROM work_results WHERE job_id = ?", [(job,) for job, _ in lived])


def _modules(room: dict[str, Any]) -> list[Path]:
    """The modules of a room, relative to the tree."""
    found = (path for pattern in room["modules"].split() for path in ROOT.glob(pattern))
    return sorted({path.relative_to(ROOT) for path in found})


def _draw(out: Path, plan: dict[str, Any]) -> None:
    """List the mutants, leave out what says nothing, and sample."""
    if (out / "drawn.json").exists():
        return
    (out / "drawn.sqlite").unlink(missing_ok=True)
    pool, rooms = [], []
    with contextlib.chdir(out / "tree"):
        for name, room in plan["rooms"].items():
            said = [(_reason(room, m, line), m) for p in _modules(room) for m, line in _mutants(p)]
            own = [mutation for reason, mutation in said if reason is None]
            left_out = dict(sorted(Counter(reason for reason, _ in said if reason).items()))
            modules = [path.as_posix() for path in _modules(room)]
            head = {"name": name, "apart": room.get("apart", False), "modules": modules}
            rooms.append(head | {"left out": left_out, "population": len(own)})
            pool += own
    drawn = random.Random(plan["seed"]).sample(pool, min(plan["sample"], len(pool)))
    items = [WorkItem.single(job_id=str(number), mutation=m) for number, m in enumerate(drawn)]
    with use_db(out / "drawn.sqlite", WorkDB.Mode.create) as db:
        db.add_work_items(items)
    apart = {module for room in rooms if room["apart"] for module in room["modules"]}
    items.sort(key=lambda item: item.mutations[0].module_path.as_posix() in apart)
    head = {"seed": plan["seed"], "rooms": rooms, "order": [item.job_id for item in items]}
    (out / "drawn.json").write_text(json.dumps(head, indent=1), encoding="utf-8")


def _mutants(path: Path) -> Iterator[tuple[MutationSpec, str]]:
    """Cosmic-ray's mutants of a module, each with the line that it changes."""
    lines = path.read_text(encoding="utf-8").splitlines()
    nodes = list(ast_nodes(get_ast_from_path(path)))
    for name in sorted(plugins.operator_names()):
        operator = plugins.get_operator(name)
        if operator.arguments() or any(re.search(pattern, name) for pattern in LEFT_OUT):
            continue
        positions = ((n, *place) for n in nodes for place in operator().mutation_positions(n))
        for occurrence, (node, start, end) in enumerate(positions):
            within = ASTQuery(node).get_definition_name()
            mutation = MutationSpec(path, name, occurrence, start, end, {}, within)
            yield mutation, lines[start[0] - 1]


def _reason(room: dict[str, Any], mutation: MutationSpec, line: str) -> str | None:
    """Why a mutant is left out, or None."""
    if "definitions" in room and mutation.definition_name not in room["definitions"].split():
        return "definition"
    if line.lstrip().startswith("@"):
        return "decorator"
    column = mutation.start_pos[1]
    return "syntax" if line[column : column + 2] == "*," else None  # the mark, not a product


@contextlib.contextmanager
def _served(out: Path) -> Any:
    """Start the server; yield the command that has it run tests."""
    threads = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "OPENBLAS", "MKL")}
    path = out / "socket"
    path.unlink(missing_ok=True)
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(path), str(out / "tree")],
        env={**os.environ, **threads, "PYTHONHASHSEED": "0", "PYTHONPATH": str(out / "tree")},
    )
    try:
        while not path.exists():
            if server.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.1)
        yield f"{sys.executable} -S -E {HERE / 'server.py'} {path} --ask {PYTEST}"
    finally:
        server.terminate()
        server.wait()
        path.unlink(missing_ok=True)


def _groups(room: dict[str, Any], path: Path) -> list[str]:
    """Groups of tests: those that name a module, with its doctests, then the room's others."""
    words = path.with_suffix("").parts
    words = words[:-1] if words[-1] == "__init__" else words
    dotted, above, name = (re.escape(w) for w in (".".join(words), ".".join(words[:-1]), words[-1]))
    named = re.compile(rf"{dotted}\b|from {above} import ([^(\n]*?|\([^)]*?)\b{name}\b")
    tests, costly = room["tests"].split(), room.get("costly", "").split()
    naming = {
        t
        for t in (*tests, *costly)
        if t.endswith(f"/test_{words[-1]}.py")
        or named.search((ROOT / t).read_text(encoding="utf-8"))
    }
    doctests = [str(path)] if ">>> " in (ROOT / path).read_text(encoding="utf-8") else []
    beside = [t for t in tests if Path(t).parent == "tests" / path.parent]
    first = [t for t in tests if t in naming] if naming else beside
    groups = [
        " ".join(doctests + first),
        *(t for t in costly if t in naming),
        " ".join(t for t in tests if t not in first),
        *(t for t in costly if t not in naming),
    ]
    return [group for group in groups if group]


def _run(out: Path, plan: dict[str, Any], command: str, minutes: float) -> None:
    """Run what is pending in the order drawn, then the survivors with the room's other tests.

    A run that is stopped early has therefore run a sample still. The groups of tests that survivors
    have met are counted in OUT/met.json.
    """
    os.chdir(out / "tree")
    until = time.monotonic() + 60 * minutes
    groups = {p: _groups(room, p) for room in plan["rooms"].values() for p in _modules(room)}
    counts = out / "met.json"
    met = json.loads(counts.read_text(encoding="utf-8")) if counts.exists() else {}
    with use_db(out / "drawn.sqlite", WorkDB.Mode.open) as db:
        head = json.loads((out / "drawn.json").read_text(encoding="utf-8"))
        by_name = {item.job_id: item for item in db.work_items}
        items = [by_name[name] for name in head["order"]]

        def meet(item: WorkItem, which: int) -> None:
            module = item.mutations[0].module_path
            if which < len(groups[module]):
                result = mutate_and_test(
                    item.mutations, f"{command} {groups[module][which]}", TIMEOUT
                )
                db.set_result(item.job_id, result)
                met[item.job_id] = which + 1
                if killed(result):
                    del met[item.job_id]
                counts.write_text(json.dumps(met), encoding="utf-8")
                print(module, which, result.test_outcome, flush=True)

        pending = {item.job_id for item in db.pending_work_items}
        for item in items:
            if item.job_id in pending and time.monotonic() < until:
                meet(item, 0)
        begun = {item.job_id for item, _ in db.completed_work_items}
        head["order"] = [name for name in head["order"] if name in begun]
        (out / "drawn.json").write_text(json.dumps(head, indent=1), encoding="utf-8")
        for which in range(1, max(map(len, groups.values()))):
            for item in items:
                if met.get(item.job_id) == which:
                    meet(item, which)
        _doubt(db, command)


def _doubt(db: WorkDB, command: str) -> None:
    """Stop if a test that killed a mutant fails without one, too."""
    by = {
        i.job_id: match[1]
        for i, r in db.completed_work_items
        if (match := NAMED.search(r.output or ""))
    }
    words = [*shlex.split(command.replace(" -x ", " ")), *sorted(set(by.values()))]
    plain = subprocess.run(words, capture_output=True, text=True, check=False)
    if plain.returncode:
        sys.exit(f"tests that killed mutants fail without one:\n{plain.stdout}")


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
