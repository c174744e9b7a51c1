"""What the rows of a comparison are measured against: start states, samples of the law, flow ends.

A model with an exact law is compared with that law and its probability flow. A network is compared
with itself: its own flow by a long run from the same start states, its own law by long runs from
independent ones, and besides with the law of its data where that is known.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.flow.exact import exact_flow
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.models import Model
from steinlab.diffusion.processes import Process
from steinlab.estimates import Estimate
from steinlab.metrics import energy_distance, rms_distance, sliced_w2
from steinlab.solvers.reference_flow import STEPS, LongRun, long_run

FLOW_STATES = 1000
"""Start states followed by the exact flow or the long run: the first so many of the samples."""

FLOW_RTOL = 1e-4
"""Tolerance of the exact flow, far below the sampling error of the distance to it."""

NUM_PROJECTIONS = 200
"""Directions of the sliced distance, the same ones in every row."""

Law = GaussianMixture | EmpiricalMixture

Progress = Callable[[float, str], None]
"""Called with the fraction done and what begins now."""

EXACT_FLOW = "exact flow of the law"
LONG_RUN = f"long run of the same network, ipndm-4, {STEPS} and {2 * STEPS} steps"


@dataclass(frozen=True)
class Floor:
    """The distances between two samples of the law itself, as large as those compared."""

    energy_distance: Estimate
    sliced_w2: Estimate


@dataclass(frozen=True, eq=False)
class Sample:
    """A sample of the law that rows are compared with, and its distances to another one."""

    states: np.ndarray
    floor: Floor


@dataclass(frozen=True)
class Reference:
    """What ``flow_error`` is measured to: ``kind``, and the root mean square error of it."""

    kind: str
    error: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Bench:
    """What all rows share; ``ends`` are the flow's end points of the first start states."""

    seed: int
    denoiser: Denoiser
    start: np.ndarray
    own: Sample
    data: Sample | None
    ends: np.ndarray | None
    reference: Reference
    end: str


@dataclass(frozen=True)
class Distances:
    """Distances of a sample of end states; ``flow_error`` is None where there is no flow."""

    energy_distance: Estimate
    sliced_w2: Estimate
    flow_error: Estimate | None
    data: Floor | None = None


def rng_of(seed: int, *content: object) -> np.random.Generator:
    """Return a generator that depends on the seed and on the content it serves."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


def distance_pair(x: np.ndarray, sample: np.ndarray, seed: int) -> Floor:
    """Return energy distance and sliced distance of two samples."""
    directions = int(rng_of(seed, "directions").integers(2**31))
    sliced = sliced_w2(x, sample, num_projections=NUM_PROJECTIONS, seed=directions)
    return Floor(energy_distance(x, sample), sliced)


def distances(bench: Bench, state: np.ndarray, index: np.ndarray | None = None) -> Distances:
    """Return the distances of end states, those of the start states ``index`` (by default all)."""
    index = np.arange(len(state)) if index is None else index
    flow_error = None
    if bench.ends is not None:
        known = index < len(bench.ends)
        if known.sum() > 1:
            found = rms_distance(state[known], bench.ends[index[known]])
            error = float(np.hypot(found.error, bench.reference.error))
            flow_error = Estimate(found.value, error)
    own = distance_pair(state, bench.own.states, bench.seed)
    data = distance_pair(state, bench.data.states, bench.seed) if bench.data else None
    return Distances(own.energy_distance, own.sliced_w2, flow_error, data)


@dataclass(frozen=True)
class Request:
    """What a bench is prepared for: the seed, the samples, the ends of the grid."""

    seed: int
    samples: int
    noisy: NoiseLevel
    clean: NoiseLevel
    end: str

    @classmethod
    def on(cls, grid: Grid, *, seed: int, samples: int, end: str) -> Request:
        """Return the request for runs over a grid."""
        return cls(seed, samples, grid[0], grid[-1], end)

    def sample(self, draw: Callable[[np.random.Generator], np.ndarray]) -> Sample:
        """Draw two independent samples; the first is kept, the second gives the floor."""
        states, again = (draw(rng_of(self.seed, name)) for name in ("truth", "truth again"))
        return Sample(states, distance_pair(again, states, self.seed))

    def of_law(self, law: Any) -> Sample:
        """Draw them from the forward law at the grid's end."""
        return self.sample(lambda rng: self.clean.noised(law.sample(self.samples, rng), rng))


def exact_bench(request: Request, law: Law, denoiser: Denoiser, progress: Progress) -> Bench:
    """Prepare the comparison with an exact law, runs starting under its forward law."""
    progress(0.0, "samples of the law")
    own = request.of_law(law)
    rng = rng_of(request.seed, "start")
    start = request.noisy.noised(law.sample(request.samples, rng), rng)
    progress(0.1, "the exact flow")
    ends, reference = None, Reference(EXACT_FLOW, 0.0)
    try:
        flow = exact_flow(
            law,
            start[:FLOW_STATES],
            request.noisy,
            request.clean,
            rtol=FLOW_RTOL,
            progress=lambda f: progress(0.1 + 0.9 * f, "the exact flow"),
        )
        ends = flow.state
        reference = Reference(EXACT_FLOW, float(np.sqrt(np.mean(flow.error**2))))
    except ArithmeticError as failure:
        reference = Reference(EXACT_FLOW, 0.0, f"no flow_error: {failure}")
    return Bench(request.seed, denoiser, start, own, None, ends, reference, request.end)


RUNS = ("start", "truth", "truth again")
"""A network's long runs, by what draws their states: the rows' own flow, its law, its floor."""


def follow_run(
    request: Request,
    model: Model,
    process: Process,
    name: str,
    progress: Callable[[float], None] | None = None,
) -> LongRun:
    """Return one of :data:`RUNS`; the first has its errors and at most ``FLOW_STATES`` states."""
    own = name == RUNS[0]
    states = _starts(request, model, name)
    return long_run(
        model.denoiser,
        states[:FLOW_STATES] if own else states,
        process,
        final_zero=request.end == "zero",
        estimate_error=own,
        progress=progress,
    )


def _starts(request: Request, model: Model, name: str) -> np.ndarray:
    return model.start(request.noisy, request.samples, rng_of(request.seed, name))


def network_bench(request: Request, model: Model, process: Process, progress: Progress) -> Bench:
    """Prepare the comparison of a network with itself, runs starting as the model says."""
    runs, begun = [], 0.0
    for name, share in zip(RUNS, (0.4, 0.3, 0.3), strict=True):

        def tell(f: float, name: str = name, begun: float = begun, share: float = share) -> None:
            progress(begun + share * f, f"the network's long run: {name}")

        tell(0.0)
        runs.append(follow_run(request, model, process, name, tell))
        begun += share
    flow, law, again = runs
    own = Sample(law.state, distance_pair(again.state, law.state, request.seed))
    data = request.of_law(model.data_law()) if model.data_law else None
    reference = Reference(LONG_RUN, flow.rms_error)
    states = _starts(request, model, RUNS[0])
    return Bench(
        request.seed, model.denoiser, states, own, data, flow.state, reference, request.end
    )
