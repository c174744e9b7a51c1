"""What a mutation run found: counts by stratum and module, and the survivors."""

import hashlib
import platform
import re
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any, NamedTuple

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, WorkerOutcome, WorkResult

ROOT = Path(__file__).resolve().parents[2]


class Module(NamedTuple):
    """A module to mutate, with its session and the tests that run on its mutants."""

    stratum: str
    path: str
    tests: str
    definitions: frozenset[str]
    session: Path


def key(mutation: MutationSpec) -> tuple[str, int]:
    """Name a mutant within its module."""
    return mutation.operator_name, mutation.occurrence


def killed(result: WorkResult) -> bool:
    """Say whether a mutant that ran was killed."""
    return result.worker_outcome != WorkerOutcome.NORMAL or result.is_killed


# how pytest says that a test failed, or that a module could not be imported
FAILED = re.compile(r"\b\d+ (failed|errors?)\b|ImportError while loading")

_SUMMED = ("population", "run", "killed at first", "killed", "timeouts", "unexplained")


def report(modules: list[Module], plan: dict[str, Any]) -> dict[str, Any]:
    """Return the counts and the survivors."""
    strata = []
    for stratum in plan["strata"]:
        rows = [_count(m) for m in modules if m.stratum == stratum["name"]]
        sums = {k: sum(r[k] for r in rows) for k in _SUMMED}
        strata.append({"name": stratum["name"], **sums, "modules": rows})
    return {
        "tool": f"cosmic-ray {version('cosmic-ray')}",
        "python": platform.python_version(),
        "seed": plan["seed"],
        "strata": strata,
    }


def _count(module: Module) -> dict[str, Any]:
    with use_db(module.session, WorkDB.Mode.open) as db:
        done, total = list(db.completed_work_items), db.num_work_items
    skipped = Counter(r.output for _, r in done if r.worker_outcome == WorkerOutcome.SKIPPED)
    ran = [(i.mutations[0], r) for i, r in done if r.worker_outcome == WorkerOutcome.NORMAL]
    if len(ran) + sum(skipped.values()) < total:
        print(f"{module.path}: {total - len(ran) - sum(skipped.values())} mutants have not run")
    lived = sorted((m.start_pos, *key(m), r.diff) for m, r in ran if not r.is_killed)
    skipped.pop("sample", None)
    first = module.session.with_suffix(".first")
    lived_at_first = int(first.read_text(encoding="utf-8")) if first.exists() else len(lived)
    return {
        "module": module.path,
        "sha256": hashlib.sha256((ROOT / module.path).read_bytes()).hexdigest()[:16],
        "generated": total,
        "left out": dict(sorted(skipped.items())),
        "population": total - sum(skipped.values()),
        "run": len(ran),
        "killed at first": len(ran) - lived_at_first,
        "killed": len(ran) - len(lived),
        "timeouts": sum(r.output == "timeout" for _, r in ran),
        "unexplained": sum(
            r.is_killed and r.output != "timeout" and not FAILED.search(r.output or "")
            for _, r in ran
        ),
        "survivors": [
            {"line": at[0], "operator": f"{name.split('/')[-1]} {n}", **_change(diff)}
            for at, name, n, diff in lived
        ],
    }


def _change(diff: str) -> dict[str, str]:
    """The line before and after."""
    lines = [line for line in diff.splitlines() if not line.startswith(("---", "+++", "@@"))]
    before, after = (" ".join(s[1:].strip() for s in lines if s[:1] == sign) for sign in "-+")
    return {"before": before, "after": after}
