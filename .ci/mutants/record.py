"""What a mutation run found: counts by room, and the survivors."""

import json
import platform
import re
from importlib.metadata import version
from pathlib import Path
from typing import Any

from cosmic_ray.work_db import WorkDB, use_db
from cosmic_ray.work_item import MutationSpec, WorkerOutcome, WorkResult

# how pytest says that a test failed, or that a module could not be imported
FAILED = re.compile(r"\b\d+ (failed|errors?)\b|ImportError while loading")


def killed(result: WorkResult) -> bool:
    """Say whether a mutant that ran was killed."""
    return result.worker_outcome != WorkerOutcome.NORMAL or result.is_killed


def _late(result: WorkResult) -> bool:
    return (result.output or "").strip() == "timeout"


def report(out: Path) -> dict[str, Any]:
    """Return the counts and the survivors."""
    head = json.loads((out / "drawn.json").read_text(encoding="utf-8"))
    with use_db(out / "drawn.sqlite", WorkDB.Mode.open) as db:
        ran = [(item, result) for item, result in db.completed_work_items]
        if left := len(db.pending_work_items):
            print(f"{left} mutants have not run")
    lived = {item.job_id for item, result in ran if not killed(result)}
    first = out / "first.json"
    at_first = set(json.loads(first.read_text(encoding="utf-8"))) if first.exists() else lived
    for room in head["rooms"]:
        own = [(i, r) for i, r in ran if i.mutations[0].module_path.as_posix() in room["modules"]]
        results = [result for _, result in own]
        room |= {
            "run": len(own),
            "killed at first": sum(item.job_id not in at_first for item, _ in own),
            "killed": sum(map(killed, results)),
            "timeouts": sum(_late(result) for result in results),
            "unexplained": sum(
                killed(r) and not _late(r) and not FAILED.search(r.output or "") for r in results
            ),
            "survivors": sorted(
                (_described(i.mutations[0], r) for i, r in own if not killed(r)),
                key=lambda s: (s["module"], s["line"], s["operator"]),
            ),
        }
    del head["order"]
    tools = {"tool": f"cosmic-ray {version('cosmic-ray')}", "python": platform.python_version()}
    return tools | head


def _described(mutation: MutationSpec, result: WorkResult) -> dict[str, Any]:
    """Name a survivor, with the line before and after."""
    body = [x for x in result.diff.splitlines() if not x.startswith(("---", "+++", "@@"))]
    before, after = (" ".join(s[1:].strip() for s in body if s[:1] == sign) for sign in "-+")
    return {
        "module": mutation.module_path.as_posix(),
        "line": mutation.start_pos[0],
        "operator": f"{mutation.operator_name.split('/')[-1]} {mutation.occurrence}",
        "before": before,
        "after": after,
    }
