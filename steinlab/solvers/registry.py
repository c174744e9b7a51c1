"""The registry: every solver by id, one line per family."""

from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import Any

from steinlab import plugins
from steinlab.diffusion.processes import Process, get_process
from steinlab.errors import InputError, one_of, quote
from steinlab.solvers.adams import DEIS_LOG, DEIS_RHO, DPM_2M, DPM_3M, IPNDM, IPNDM_V, deis_tab
from steinlab.solvers.base import Solver
from steinlab.solvers.compensated import dc
from steinlab.solvers.euler import EULER
from steinlab.solvers.exponential import DPMPP_2M, DPMPP_2M_HEUN, DPMPP_3M, DPMPP_3M_EXACT
from steinlab.solvers.heun import HEUN
from steinlab.solvers.one_step import student
from steinlab.solvers.parallel import EPD_2, amed
from steinlab.solvers.pfdiff import PFDIFF, pfdiff
from steinlab.solvers.pndm import pndm
from steinlab.solvers.richardson import RX
from steinlab.solvers.runge_kutta import TABLEAUX, runge_kutta
from steinlab.solvers.single import SINGLE, TwoStage, on_process
from steinlab.solvers.stochastic import STOCHASTIC as _STOCHASTIC
from steinlab.solvers.stochastic import stochastic_on
from steinlab.solvers.unipc import UNIPC
from steinlab.solvers.unit_speed import UNIT_SPEED

_FAMILIES: tuple[tuple[Solver, ...], ...] = (
    (EULER,),
    (HEUN,),
    SINGLE,
    (DPMPP_2M, DPMPP_2M_HEUN, DPMPP_3M, DPMPP_3M_EXACT),
    (DPM_2M, DPM_3M),
    UNIPC,
    DEIS_RHO,
    DEIS_LOG,
    IPNDM,
    IPNDM_V,
    UNIT_SPEED,
    (PFDIFF,),
    RX,
    (EPD_2,),
)

SOLVERS: Mapping[str, Solver] = MappingProxyType(
    {solver.name: solver for family in _FAMILIES for solver in family}
)
"""Every solver that needs no process, by id."""

ON_PROCESS: Mapping[str, Callable[[Process], Solver]] = MappingProxyType(
    {f"deis-tab-{nodes}": partial(deis_tab, nodes) for nodes in (1, 2, 3, 4)}
    | {solver.name: partial(on_process, solver) for solver in (*SINGLE, *RX, EPD_2)}
    | {"pndm": pndm}
    | {name: partial(runge_kutta, name) for name in TABLEAUX}
)
"""Solvers built for a process: they integrate in its time, or place their stages on it. Those that
are not in :data:`SOLVERS` need one."""

AT_FRACTION: Mapping[str, Callable[[str], Solver]] = MappingProxyType(
    {
        **{"dpm-2": TwoStage.of, "dpmpp-2s": TwoStage.of, "amed": amed, "pfdiff": pfdiff, "dc": dc},
        **{"distilled": student, "shortcut": student},
    }
)
"""Solvers with a number in their name, ``NAME@R``: where the stage lies, DC-Solver's ratio, or how
many steps of its teacher a student takes in one."""

SOLVER_IDS: tuple[str, ...] = tuple(dict.fromkeys((*SOLVERS, *ON_PROCESS)))
"""Every deterministic solver of this package: they follow the flow."""

STOCHASTIC: Mapping[str, Any] = MappingProxyType({one.name: one for one in _STOCHASTIC})
"""Solvers whose steps draw noise, by id: they keep the law."""

KNOWN_IDS: tuple[str, ...] = (*SOLVER_IDS, *STOCHASTIC)
"""Every id of this package but for aliases."""

GROUP = "steinlab.solvers"
"""The entry-point group by which other packages register solvers: a solver, or a function of a
process that returns one."""

ALIASES: Mapping[str, str] = MappingProxyType(
    {"ddim": "euler", "sde-dpmpp-1": "seeds-1", "euler-ancestral": "seeds-1"}
)
"""Other names of the same solver."""


def get_solver(
    name: Solver | str, process: Process | str | None = None, *, field: str = "solver"
) -> Solver:
    """Return a solver by id or alias, or a solver as it is.

    Parameters
    ----------
    name : Solver or str
        One of :data:`SOLVER_IDS`, :data:`STOCHASTIC` or :data:`ALIASES`, an id that another package
        registers, or a family of :data:`AT_FRACTION` with its number, ``NAME@R``.
    process : Process or str, optional
        The process of the grid, or its name. ``deis-tab-N``, ``pndm`` and ``rk-*`` need its time.
        Single-step solvers place their stages on it; without it they interpolate ``log alpha`` and
        ``log sigma``, which is the same for an exact denoiser. Others ignore it.
    field : str
        The name of the argument in messages.

    Raises
    ------
    InputError
        For an unknown name, an order that the family does not have, a missing process, or an id
        that two packages register.

    Examples
    --------
    >>> get_solver("ddim").name
    'euler'
    >>> get_solver("unipc-4")
    Traceback (most recent call last):
    ...
    steinlab.errors.InputError: solver: order must be 1, 2 or 3 for unipc, got 4
    """
    if not isinstance(name, str):
        if not (hasattr(name, "step") and hasattr(name, "depth")):
            raise InputError(f"{field} must be an id or a solver, got {quote(name)}")
        return name
    process = process if process is None else get_process(process)
    if name.partition("@")[0] in AT_FRACTION and "@" in name:
        try:
            solver = AT_FRACTION[name.partition("@")[0]](name)
        except ValueError as error:
            raise InputError(f"{field}: {error}") from None
        if process is not None and hasattr(solver, "between"):
            solver = on_process(solver, process)
        return solver.on(process) if process is not None and hasattr(solver, "on") else solver
    _require_order(name, field)
    name = ALIASES.get(name, name)
    if name in STOCHASTIC:
        found: Solver = STOCHASTIC[name]
        return found if process is None else stochastic_on(found, process)
    if name not in SOLVER_IDS:
        return _foreign(name, process, field)
    if name in ON_PROCESS and process is not None:
        return ON_PROCESS[name](process)
    if name in SOLVERS:
        return SOLVERS[name]
    raise InputError(
        f"{field}: a process must be given for {name}, whose formula uses its time, got none"
    )


def _foreign(name: str, process: Process | None, field: str) -> Solver:
    """Return a solver of another package."""
    ids = [*KNOWN_IDS, *ALIASES]
    entries = plugins.registered(GROUP, ids)
    entry = entries[one_of(field, name, [*ids, *entries], "docs/solvers.md")]
    found = plugins.loaded(entry, field)
    if not hasattr(found, "step") and callable(found):
        if process is None:
            raise InputError(f"{field}: a process must be given for {name}, got none")
        found = found(process)
    for attribute in ("name", "order", "depth", "ends_at_zero", "evaluations", "step"):
        if not hasattr(found, attribute):
            raise InputError(
                f"{field} {name} of the package {plugins.package_of(entry)} must be a solver with "
                f"{attribute}, got {type(found).__name__}"
            )
    if found.name != name:
        raise InputError(
            f"{field} {name} of the package {plugins.package_of(entry)} must have that name, "
            f"got {found.name}"
        )
    solver: Solver = found
    return solver


def _require_order(name: str, field: str) -> None:
    """Raise where a known family is asked for an order that it does not have."""
    if name in (*KNOWN_IDS, *ALIASES):
        return
    family, _, tail = name.removesuffix("-bh1").removesuffix("-noise").rpartition("-")
    numbers = [one.rpartition("-") for one in KNOWN_IDS if one.rpartition("-")[0] == family]
    orders = sorted(number for _, _, number in numbers if number.isdigit())
    if orders and tail.lstrip("-").isdigit():
        raise InputError(f"{field}: order must be {_listed(orders)} for {family}, got {tail}")


def _listed(items: list[str]) -> str:
    return f"{', '.join(items[:-1])} or {items[-1]}" if len(items) > 1 else items[0]
