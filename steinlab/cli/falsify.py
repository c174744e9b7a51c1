"""``steinlab falsify``: search for the worst case of a claim, and store it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.text import Text

from steinlab.cli.output import (
    CLAIM_IDS,
    JsonOption,
    ProgressOption,
    SchedulerOption,
    SeedOption,
    WorkersOption,
    completing,
    new_table,
    number_option,
    progress_bar,
    show,
    whole,
    write_json,
)
from steinlab.errors import InputError, Interrupted, choices
from steinlab.storage import check_target, in_file, make_folder, sealed
from steinlab.storage.schemas import read_stored

if TYPE_CHECKING:
    from steinlab.verification.claim import Claim
    from steinlab.verification.falsify import Found, Search

MAX_BUDGET = 10**9

SAVE_SECONDS = 2.0
"""How much of a search a killed process may lose; an interrupt loses nothing."""


def falsify(  # noqa: PLR0917
    name: Annotated[
        str,
        typer.Argument(
            metavar="CLAIM",
            help="Id of the claim, or FILE.py::NAME.",
            autocompletion=completing(CLAIM_IDS),
        ),
    ],
    budget: Annotated[
        int,
        number_option(whole(1, MAX_BUDGET), "Measure this number of cases, of earlier runs too."),
    ] = 4096,
    seed: SeedOption = 0,
    workers: WorkersOption = 1,
    scheduler: SchedulerOption = None,
    out: Annotated[
        str | None,
        typer.Option(metavar="DIR", help="Keep the search and the case it found; continue it."),
    ] = None,
    target: JsonOption = None,
    silent: ProgressOption = False,
) -> None:
    """Search laws, levels, solvers and steps for the worst case of a claim."""
    from steinlab.verification.falsify import Search, spaces_of
    from steinlab.verification.registry import load_claim, only
    from steinlab.verification.shards import sources_of
    from steinlab.workers import SerialExecutor, executor_for

    address = only(name)
    claim = load_claim(address)
    check_target(target)
    spaces = spaces_of(claim)
    if not spaces:
        raise InputError(_refusal(claim))
    folder = None if out is None else make_folder(out)
    state = folder / f"{claim.id}.search.json" if folder else None
    sources = sources_of(address)
    with executor_for(workers, scheduler) as executor:
        here = isinstance(executor, SerialExecutor)
        search = Search(claim, spaces, seed, None if here else (executor, address))
        if state is not None and state.exists():
            with in_file(state):
                search.restore(read_stored(state, "search", "--out"), sources)
        before = search.spent
        try:
            interrupted = _run(search, budget, silent, lambda: _save(search, state, sources))
        finally:
            _save(search, state, sources)
    result = _result(claim, address, search, budget)
    case = result["case"]
    if folder and case:
        write_json(str(folder / f"{claim.id}.attack.json"), case)
    write_json(target, result)
    show(*_report(claim, result, before, folder), target=target)
    if interrupted:
        kept = f"; {state} continues it" if state else "; --out DIR would have kept it"
        raise Interrupted(f"interrupted after {search.spent} of {budget} cases{kept}")


def _refusal(claim: Claim) -> str:
    """Say in one line why a claim cannot be searched, and which can."""
    from steinlab.verification.falsify import spaces_of
    from steinlab.verification.registry import claim_ids, load_claim

    checks = choices([f"{check.name} ({check.method})" for check in claim.checks])
    others = choices([name for name in claim_ids() if spaces_of(load_claim(name))])
    return (
        f"CLAIM must have a search space, such as {others}, got {claim.id}, whose checks draw "
        f"whole designs, samples, networks or proofs: {checks}"
    )


def _save(search: Search, state: Path | None, sources: str) -> None:
    if state is not None:
        write_json(str(state), sealed(search.to_json(sources)))


def _run(search: Search, budget: int, silent: bool, save: Callable[[], None]) -> bool:
    """Search, showing the best so far; return whether the user stopped it."""
    last = time.monotonic()
    with progress_bar(silent) as tell:
        try:
            for best in search.run(budget):
                said = f"{search.spent} of {budget} cases: {_line(best)}"
                tell(search.spent / budget, said)
                if time.monotonic() - last > SAVE_SECONDS:
                    save()
                    last = time.monotonic()
        except KeyboardInterrupt:
            return True
    return False


def _line(best: Found | None) -> str:
    if best is None:
        return "nothing decided yet"
    what = "violation" if best.violated else "best"
    return f"{what} {_number(best.score)} of the limit ({best.space.check}; {best.space.name})"


def _number(score: float) -> str:
    """A score, near its limit by its distance from it."""
    return f"1 - {1 - score:.1e}" if 0.999 < score < 1 else f"{score:.6g}"


def _result(claim: Claim, address: str, search: Search, budget: int) -> dict[str, Any]:
    """Shrink the best case, and measure it alone, as ``replay`` will."""
    from steinlab.verification.falsify import shrink
    from steinlab.verification.falsify.attack import describe, stored
    from steinlab.verification.falsify.search import score_of
    from steinlab.verification.judge import rerun
    from steinlab.verification.ledger import VERSION
    from steinlab.verification.registry import provenance

    best = search.best()
    result: dict[str, Any] = {
        "claim": claim.id,
        "seed": search.seed,
        "budget": budget,
        "spent": search.spent,
        "spaces": len(search.islands),
    }
    if best is None:
        return {**result, "violated": False, "best": None, "checks": {}, "case": None}
    small, tried = shrink(claim, best)
    case = describe(claim, small)
    comparison = rerun(claim, small.space.check, case)
    score = "measured / bound" if comparison.upper else "excess / tolerance"
    checks = {island.space.check: search.best(island.space.check) for island in search.islands}
    written = stored(claim, small, comparison, case)
    return {
        **result,
        "violated": bool(comparison.violated[0]),
        "best": {
            "kind": score,
            "score": float(score_of(comparison)[0]),
            "space": small.space.name,
            "before_shrinking": {"score": best.score, "space": best.space.name},
            "shrinking": tried,
        },
        "checks": {name: top.score for name, top in checks.items() if top},
        "case": {"version": VERSION, **provenance(address), **written},
    }


def _report(
    claim: Claim, result: dict[str, Any], before: int, folder: Path | None
) -> Iterator[Any]:
    from steinlab.report.words import case_name, labels

    earlier = f", {before} of them in earlier runs" if before else ""
    yield (
        f"{result['spent']} of {result['budget']} cases spent{earlier}, "
        f"in {result['spaces']} spaces, seed {result['seed']}"
    )
    best, case = result["best"], result["case"]
    if best is None:
        yield "no case could be decided"
        return
    title = Text(f"{claim.id}, {case['check']}: {case_name(case)}")
    table = new_table(title, ("", "value"), left=("",))
    for key, label in labels(claim.kind).items():
        table.add_row(label, repr(case[key]))
    inverted = claim.kind == "lower" and best["kind"] == "measured / bound"
    table.add_row("bound / measured" if inverted else best["kind"], _number(best["score"]))
    table.add_row("worst, before shrinking", _number(best["before_shrinking"]["score"]))
    table.add_row("space", best["space"])
    for name, value in result["checks"].items():
        table.add_row(f"best of {name}", _number(value))
    yield table
    yield (
        "[red]the case violates the claim[/]"
        if result["violated"]
        else "no attack succeeded: the case agrees with the claim"
    )
    if folder:
        yield Text(f"stored in {folder / (claim.id + '.attack.json')}; steinlab replay reruns it")
