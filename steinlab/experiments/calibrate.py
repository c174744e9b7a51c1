"""Tables of moves for the first solver and budget of a comparison: ``steinlab calibrate``."""

from __future__ import annotations

from steinlab.corrections.calibrated import Table
from steinlab.corrections.fitted import calibrate
from steinlab.experiments.bench import rng_of
from steinlab.experiments.compare import runs_of, subject_name, subject_of
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.solvers.loop import Run


def calibrate_table(spec: CompareSpec) -> Table:
    """Return the table of moves for the first solver and budget of a specification.

    Its states are ``samples`` fresh ones at the grid's noisiest level, drawn from a generator that
    no row of a comparison uses.
    """
    _, plan, _, grid = next(runs_of(spec))
    subject, rng = subject_of(spec), rng_of(spec.seed, "calibration")
    x = subject.start(grid[0], spec.samples, rng)
    return calibrate(Run(subject.denoiser, x, grid, plan, rng), model=subject_name(spec))
