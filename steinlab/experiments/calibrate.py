"""Tables of moves for the first solver and budget of a comparison: ``steinlab calibrate``."""

from __future__ import annotations

from steinlab.corrections.calibrated import Table
from steinlab.corrections.fitted import calibrate
from steinlab.experiments.bench import rng_of
from steinlab.experiments.compare import process_of, subject_name, subject_of
from steinlab.experiments.specs.compare import CompareSpec
from steinlab.solvers.loop import Run
from steinlab.solvers.plans import run_within


def calibrate_table(spec: CompareSpec) -> Table:
    """Return the table of moves for the first solver and budget of a specification.

    Its states are ``samples`` fresh ones at the grid's noisiest level, drawn from a generator that
    no row of a comparison uses.
    """
    process, entry, subject = process_of(spec), spec.solvers[0], subject_of(spec)
    zero = spec.end == "zero"
    plan, grid = run_within(
        entry.solver,
        process,
        spec.grid,
        spec.evaluations[0],
        start=entry.start,
        finish=entry.finish,
        final_zero=zero,
    )
    rng = rng_of(spec.seed, "calibration")
    if spec.model is not None:
        x = spec.model.start(grid[0], spec.samples, rng)
    else:
        assert subject.law is not None
        x = grid[0].noised(subject.law.sample(spec.samples, rng), rng)
    return calibrate(Run(subject.denoiser, x, grid, plan, rng), model=subject_name(spec))
