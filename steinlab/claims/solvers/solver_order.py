"""Every solver's declared order, observed."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np

from steinlab.claims.instruments.observed_order import (
    PROCESS_NAMES,
    Convergence,
    Observed,
    cases,
    compare_orders,
    observe,
    order_spaces,
)
from steinlab.claims.solvers.broken_solvers import OFF, falsify
from steinlab.diffusion.processes import EDM
from steinlab.solvers import SOLVER_IDS, get_solver, matching_start
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.quantities import Number, Table

FAMILIES: Mapping[str, str] = {
    "DDIM": "euler",
    "Heun": "heun",
    "DPM-Solver": "dpm-2",
    "single-step DPM-Solver++": "dpmpp-3s",
    "multistep DPM-Solver++": "dpmpp-2m",
    "corrected 3M": "dpmpp-3m-exact",
    "UniPC": "unipc-3",
    "DEIS, rho": "deis-rho-3",
    "DEIS, log": "deis-log-3",
    "DEIS, time": "deis-tab-3",
    "iPNDM": "ipndm-2",
    "variable-step iPNDM": "ipndm-v-4",
}
"""A member of each family, whose falsified form must be rejected."""

STARTED = tuple(name for name in SOLVER_IDS if matching_start(get_solver(name, EDM)))
"""Solvers that a matching start concerns."""


def _draw(kind: str, solvers: Sequence[str]) -> Callable[[Effort], list[Convergence]]:
    def draw(effort: Effort) -> list[Convergence]:
        processes = PROCESS_NAMES if effort.profile == "full" else PROCESS_NAMES[:2]
        return cases(solvers, kind, processes)

    return draw


def order_check(kind: str, solvers: Sequence[str], among: Sequence[str] = ()) -> Check:
    """Observe the orders of solvers on every process and grid, ``among`` others observed too."""
    return Check(
        kind,
        "quadrature",
        Convergence,
        draw=_draw(kind, solvers),
        measure=partial(observe, among=tuple(among or solvers)),
        compare=compare_orders,
        seconds=4,
    )


def falsified_check(family: str, solver: str) -> Check:
    """Observe a falsified solver, started by right single steps."""
    kind = "matching" if matching_start(get_solver(solver, EDM)) else "own"

    def draw(effort: Effort) -> list[Convergence]:  # noqa: ARG001
        return cases((solver,), kind, PROCESS_NAMES[:1])

    return Check(
        f"falsified {family}",
        "quadrature",
        Convergence,
        draw=draw,
        measure=partial(observe, alter=falsify),
        compare=compare_orders,
    )


def orders(results: Results, kind: str) -> dict[str, list[Observed]]:
    """Collect the observed orders of a check by solver."""
    out: dict[str, list[Observed]] = {}
    for data in results[kind].data:
        out.setdefault(data.case.solver, []).append(data)
    return out


KINDS = ("own", "matching", "local")


def _wrong(seen: Sequence[Observed] | None) -> bool:
    """Whether any of the observed orders is not the declared one."""
    return any(bool(compare_orders(o, 0).violated.any()) for o in seen or ())


def _span(seen: Sequence[Observed] | None) -> str:
    if not seen:
        return ""
    shown = sorted({f"{o.order:.2f}" for o in seen})
    span = shown[0] if len(shown) == 1 else f"{shown[0]} to {shown[-1]}"
    mark = ", WRONG" if _wrong(seen) else ""
    return f"{span} +- {max(o.confidence for o in seen):.2f}{mark}"


def _table(results: Results) -> Table:
    kinds = {kind: orders(results, kind) for kind in KINDS if kind in results}
    rows = []
    for name in kinds["own"]:
        cells: list[Any] = [name]
        for seen in kinds.values():
            observed = seen.get(name)
            cells += [str(observed[0].declared) if observed else "", _span(observed)]
        rows.append(cells)
    columns = ["solver"]
    for kind in kinds:
        columns += [kind if kind != "own" else "own start", "observed"]
    return Table("Declared and observed orders, over processes and grids", columns, rows)


def _started_only(results: Results) -> list[str]:
    """Solvers that need a matching start."""
    seen = orders(results, "matching").items() if "matching" in results else ()
    return [name for name, found in seen if found[0].declared > declared_alone(name)]


def _numbers(results: Results) -> list[Number]:
    comparisons = [results[kind].comparison for kind in KINDS if kind in results]
    worst = max(float(np.max(c.excess[~c.violated], initial=0.0)) for c in comparisons)
    return [
        Number("solvers", len(orders(results, "own"))),
        Number("of these, with a matching start only", len(_started_only(results)), key="started"),
        Number("largest distance to the declared order", worst, better="lower"),
        Number("processes", len({d.case.process for d in results["own"].data})),
    ]


def _finding(results: Results) -> str:
    wrong = [
        f"{name} (declared {seen[0].declared}, observed {_span(seen)[: -len(', WRONG')]}, {kind})"
        for kind in KINDS
        if kind in results
        for name, seen in orders(results, kind).items()
        if _wrong(seen)
    ]
    solvers, started = orders(results, "own"), _started_only(results)
    right = len(solvers) - len({text.split()[0] for text in wrong})
    which = f"all {right}" if not wrong else f"{right} of {len(solvers)}"
    return (
        f"{which} solvers have their declared order, global and local, on a smooth denoiser and 2 "
        "grids"
        + (f"; not {', '.join(wrong)}" if wrong else "")
        + (f"; with a matching start only: {', '.join(started)}" if started else "")
    )


def declared_alone(name: str) -> int:
    """Return the order that a solver declares when it starts by itself."""
    return get_solver(name, EDM).order


def claim_on(solvers: Sequence[str]) -> Claim:
    """Return the claim on these solvers alone, another package's among them.

    Examples
    --------
    >>> [check.name for check in claim_on(["heun"]).checks]
    ['own', 'local']
    """
    found = {name: get_solver(name, EDM, field="--only") for name in solvers}
    started = [name for name, solver in found.items() if matching_start(solver)]
    checks = [order_check("own", solvers), order_check("local", solvers)]
    checks[1:1] = [order_check("matching", started, solvers)] if started else []
    wrong = [
        Dropped(f"a coefficient {OFF:.0%} off: {name}", falsified_check(name, name))
        for name, solver in found.items()
        if solver.order > 1  # of the others nothing but inconsistency would show
    ]
    return replace(CLAIM, checks=tuple(checks), dropped=tuple(wrong))


CLAIM = Claim(
    id="solver-order",
    title="Orders of the solvers",
    statement="a solver of order p has global error O(h^p) and local error O(h^(p+1))",
    latex=(r"\text{global error } O(h^p), \qquad \text{local error } O(h^{p+1})",),
    headline="All {solvers} solvers reach their declared order; {started} of them only with a "
    "matching start.",
    numbers=_numbers,
    source="The solvers' papers; docs/solvers.md",
    kind="order",
    owner="peer",
    conditions=("a smooth denoiser", "steps short against the denoiser's scale"),
    formula=0,
    checks=(
        order_check("own", SOLVER_IDS),
        order_check("matching", STARTED, SOLVER_IDS),
        order_check("local", SOLVER_IDS),
    ),
    controls=(NegativeControl("orders one higher", 1), NegativeControl("orders one lower", -1)),
    dropped=tuple(
        Dropped(f"a coefficient 5 % off: {family} ({solver})", falsified_check(family, solver))
        for family, solver in FAMILIES.items()
    ),
    finding=_finding,
    table=_table,
    search=order_spaces,
    on=claim_on,
)
