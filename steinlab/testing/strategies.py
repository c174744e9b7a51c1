"""Hypothesis strategies of grids: even, uneven, graded, short, repeated.

Needs hypothesis (the extra ``steinlab[strategies]``); laws, steps and denoisers to go with them are
in :mod:`steinlab.verification.strategies`.
"""

import numpy as np
from hypothesis import strategies as st

from analytic import NoiseLevel
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.processes import Process, get_process
from steinlab.errors import one_of
from steinlab.verification.strategies import processes

KINDS = ("even", "uneven", "graded", "short", "repeated")
"""Even and uneven in ``log(sigma / alpha)``; graded: each step twice the one before; short: one or
two
steps; repeated: an inner level stands twice."""


@st.composite
def grids(
    draw: st.DrawFn,
    kind: str | None = None,
    *,
    process: Process | str | None = None,
    min_steps: int = 3,
    max_steps: int = 12,
    final_zero: bool | None = None,
) -> Grid:
    """Draw a grid from noise to data, of a kind or of any but ``repeated``.

    Parameters
    ----------
    kind : str, optional
    process : Process or str, optional
        By default any.
    min_steps, max_steps : int
        Of all kinds but ``short``.
    final_zero : bool, optional
        Whether it ends at zero noise; by default it may or may not.
    """
    chosen = get_process(process) if process is not None else draw(processes())
    name = one_of("kind", kind, KINDS) if kind else draw(st.sampled_from(KINDS[:-1]))
    steps = draw(st.integers(1, 2) if name == "short" else st.integers(min_steps, max_steps))
    top = draw(st.floats(0.5, 20.0))
    bottom = top * draw(st.floats(0.05, 0.5))
    lengths: np.ndarray = np.ones(steps)
    if name == "uneven":
        lengths = np.array(draw(st.lists(st.floats(0.3, 3.0), min_size=steps, max_size=steps)))
    elif name == "graded":
        lengths = 2.0 ** np.arange(steps)
    share = np.concatenate([[0.0], np.cumsum(lengths) / lengths.sum()])
    levels: list[NoiseLevel] = [chosen.level_at(float(top * (bottom / top) ** u)) for u in share]
    if name == "repeated":
        at = draw(st.integers(1, steps - 1))
        levels.insert(at, levels[at])
    if draw(st.booleans()) if final_zero is None else final_zero:
        levels.append(chosen.level_at(0.0))
    return tuple(levels)
