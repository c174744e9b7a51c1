"""Mutation run over the formulas that the laboratory rests on: `make mutants`.

Cosmic-ray makes the mutants and keeps the sessions, one a module, in OUT (default out/mutants); a
run that was stopped goes on where it stopped. The mutants live in a copy of the tree, OUT/tree, and
their tests run in forks of `server.py`. `strata.toml` says what is mutated and which tests run.

    run.py                  run what is pending, write OUT/mutants.json
    run.py --again          copy the tree anew (tests were added) and run the survivors again
    run.py --report         only write OUT/mutants.json
    run.py --seed 1 --sample 120 --only bounds --out OTHER      another sample of a stratum
    run.py --plan wider.toml --out OTHER                        what another plan names
"""

import argparse
import contextlib
import json
import os
import random
import re
import shlex
import shutil
import sqlite3
import subprocess
import sys
import time
import tomllib
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, WorkerOutcome, WorkItem, WorkResult
from record import Module, key, killed, report  # beside this file

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
TIMEOUT = 90.0
COPIED = ("analytic", "steinlab", "toy_models", "gpu_models", "tests", "docs")
PYTEST = "-x -q -m 'not slow'"

LEFT_OUT = {
    "bits": r"ReplaceBinaryOperator_(\w+_)?(RShift|LShift|BitOr|BitAnd|BitXor)(_\w+)?$",
    "invert": r"ReplaceUnaryOperator_\w*Invert\w*$",
    "identity": r"ReplaceComparisonOperator_(?!Is_IsNot$|IsNot_Is$)"
    r"(\w+_Is|\w+_IsNot|Is_\w+|IsNot_\w+)$",
    "decorator": r"RemoveDecorator$",
}
"""Operators whose mutants say nothing; docs/mutants.md gives the reasons."""


def main(args: list[str]) -> int:
    """Run; return the exit code."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", type=Path, default=ROOT / "out" / "mutants")
    parser.add_argument("--again", action="store_true")
    parser.add_argument("--report", action="store_true")
    parser.add_argument("--seed", type=int)
    parser.add_argument("--sample", type=int)
    parser.add_argument("--plan", default="strata.toml")
    parser.add_argument("--only", nargs="+", metavar="STRATUM")
    asked = parser.parse_args(args)
    out = asked.out.resolve()
    plan = _plan(asked)
    modules = [
        Module(
            stratum["name"],
            path,
            " ".join(f"{entry['tests']} {entry.get('options', '')}".split()),
            frozenset(entry.get("definitions", "").split()),
            out / (path.replace("/", "-") + ".sqlite"),
        )
        for stratum in plan["strata"]
        for path, entry in stratum["modules"].items()
    ]
    if not asked.report:
        _copy(out, modules, again=asked.again)
        _draw(out / "tree", modules, plan)
        with _served(out) as ask:
            for module in modules:
                _run(module, out / "tree", ask)
    found = report(modules, plan)
    text = json.dumps(found, indent=1, ensure_ascii=True) + "\n"
    (out / "mutants.json").write_text(text, encoding="utf-8")
    print("\n".join(f"{s['name']}: {s['killed']} of {s['run']} killed" for s in found["strata"]))
    return 0


def _plan(asked: argparse.Namespace) -> dict[str, Any]:
    plan = tomllib.loads((HERE / asked.plan).read_text(encoding="utf-8"))
    plan["seed"] = plan["seed"] if asked.seed is None else asked.seed
    plan["strata"] = [s for s in plan["strata"] if not asked.only or s["name"] in asked.only]
    for stratum in plan["strata"]:
        stratum["sample"] = asked.sample or stratum["sample"]
    return plan


def _copy(out: Path, modules: list[Module], *, again: bool) -> None:
    """Copy the tree once; later runs go on with that copy, or ``again`` with other tests."""
    tree = out / "tree"
    if tree.exists() and not again:
        return
    for module in modules if again else ():
        old, new = ((place / module.path).read_bytes() for place in (tree, ROOT))
        if old != new:
            sys.exit(f"{module.path} has changed since the mutants were drawn: remove {out}")
        _forget_survivors(module)
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


def _forget_survivors(module: Module) -> None:
    """Make the survivors pending again; remember how many there were at first."""
    with use_db(module.session, WorkDB.Mode.open) as db:
        lived = [(job, result) for job, result in db.results if not killed(result)]
    first = module.session.with_suffix(".first")
    if not first.exists():
        first.write_text(str(len(lived)), encoding="utf-8")
    with contextlib.closing(sqlite3.connect(module.session)) as db, db:
        marks = [(job,) for job, _ in lived]
        db.executemany("DELETE FROM work_results WHERE job_id = ?", marks)


def _draw(tree: Path, modules: list[Module], plan: dict[str, Any]) -> None:
    """Have cosmic-ray list the mutants of every module, leave out what says nothing, and sample."""
    for stratum in plan["strata"]:
        own = [m for m in modules if m.stratum == stratum["name"]]
        if all(m.session.exists() for m in own):
            continue
        pool: list[tuple[Module, WorkItem]] = []
        for module in own:
            _init(module, tree)
            lines = (tree / module.path).read_text(encoding="utf-8").splitlines()
            with use_db(module.session, WorkDB.Mode.open) as db:
                found = [(_reason(module, i.mutations[0], lines), i) for i in db.work_items]
                pool += [(module, item) for reason, item in found if reason is None]
                for reason in {r for r, _ in found if r}:
                    _skip(db, reason, [item for r, item in found if r == reason])
        pool.sort(key=lambda pair: (pair[0].path, *key(pair[1].mutations[0])))
        random.Random(f"{plan['seed']} {stratum['name']}").shuffle(pool)
        for module in own:
            with use_db(module.session, WorkDB.Mode.open) as db:
                _skip(db, "sample", [i for m, i in pool[stratum["sample"] :] if m is module])


def _skip(db: WorkDB, reason: str, items: list[WorkItem]) -> None:
    result = WorkResult(worker_outcome=WorkerOutcome.SKIPPED, output=reason)
    db.set_multiple_results([item.job_id for item in items], result)


def _init(module: Module, tree: Path) -> None:
    module.session.unlink(missing_ok=True)
    subprocess.run(_cosmic("init", _config(module), module.session), cwd=tree, check=True)


def _config(module: Module) -> Path:
    """Write cosmic-ray's configuration."""
    file, socket = module.session.with_suffix(".toml"), module.session.parent / "socket"
    command = f"{sys.executable} -S -E {HERE / 'server.py'} {socket} --ask {PYTEST} {module.tests}"
    file.write_text(
        f'[cosmic-ray]\nmodule-path = "{module.path}"\ntimeout = {TIMEOUT}\nexcluded-modules = []\n'
        f"test-command = {json.dumps(command)}\n"
        '[cosmic-ray.distributor]\nname = "local"\n',
        encoding="utf-8",
    )
    return file


def _cosmic(command: str, *args: Path) -> list[str]:
    return [str(Path(sys.executable).with_name("cosmic-ray")), command, *map(str, args)]


def _reason(module: Module, mutation: MutationSpec, lines: list[str]) -> str | None:
    """Why a mutant is left out, or None."""
    if module.definitions and mutation.definition_name not in module.definitions:
        return "definition"
    name = mutation.operator_name.split("/")[-1]
    for reason, pattern in LEFT_OUT.items():
        if re.match(pattern, name):
            return reason
    row, column = mutation.start_pos
    line = lines[row - 1]
    if line.lstrip().startswith("@"):
        return "decorator"
    return "syntax" if line[column : column + 2] == "*," else None  # the mark, not a product


@contextlib.contextmanager
def _served(out: Path) -> Any:
    """Start the server; yield a function that runs tests without a mutant."""
    threads = {f"{k}_NUM_THREADS": "1" for k in ("OMP", "OPENBLAS", "MKL")}
    path = out / "socket"
    path.unlink(missing_ok=True)
    server = subprocess.Popen(
        [sys.executable, str(HERE / "server.py"), str(path), str(out / "tree")],
        env={**os.environ, **threads, "PYTHONHASHSEED": "0"},
    )

    def ask(*args: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, str(HERE / "server.py"), str(path), "--ask", *args]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    try:
        while not path.exists():
            if server.poll() is not None:
                sys.exit("the server did not start")
            time.sleep(0.1)
        yield ask
    finally:
        server.terminate()
        server.wait()
        path.unlink(missing_ok=True)


def _run(module: Module, tree: Path, ask: Any) -> None:
    """Run a module's pending mutants, if the tests pass without any and notice a broken module."""
    with use_db(module.session, WorkDB.Mode.open) as db:
        pending = len(db.pending_work_items)
    if not pending:
        return
    arguments = shlex.split(f"{PYTEST} {module.tests}")
    plain = ask(*arguments)
    if plain.returncode:
        sys.exit(f"the tests of {module.path} fail without a mutant:\n{plain.stdout}")
    file = tree / module.path
    source = (ROOT / module.path).read_text(encoding="utf-8")
    file.write_text(source + "\nraise ImportError\n", encoding="utf-8")
    try:
        if not ask(*arguments).returncode:
            sys.exit(f"the tests of {module.path} do not read the copy in {tree}")
    finally:
        file.write_text(source, encoding="utf-8")
    print(f"{module.path}: {pending} mutants", flush=True)
    subprocess.run(_cosmic("exec", _config(module), module.session), cwd=tree, check=True)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
