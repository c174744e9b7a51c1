"""What the rows of a comparison are measured against: start states, samples of the law, flow ends.

A model with an exact law is compared with that law and its probability flow. A network is compared
with itself: its own flow by a long run from the same start states, its own law by long runs from
independent ones, and besides with the law of its data where that is known.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from analytic.arrays import Array
from analytic.flow.exact import exact_flow
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.laws import completed
from steinlab.diffusion.models import Model
from steinlab.diffusion.processes import Process
from steinlab.estimates import Estimate
from steinlab.metrics import Samples, Truth
from steinlab.solvers import Plan, Solver
from steinlab.solvers.loop import NonFiniteStateError, Solution, solve
from steinlab.solvers.reference_flow import STEPS, LongRun, long_run

FLOW_STATES = 1000
"""Start states followed by the exact flow or the long run: the first so many of the samples."""

FLOW_RTOL = 1e-4
"""Tolerance of the exact flow, far below the sampling error of the distance to it."""

NEARLY_CLEAN = 1e-4
"""Noise, over the law's r.m.s. size, to which the flow of a law without a density is followed."""

BATCH = 10_000
"""States of a batch in use, over which what was spent once is spread: compare's default."""

NUM_PROJECTIONS = 200
"""Directions of the sliced distance, the same ones in every row."""

DEFAULT_METRICS = ("energy_distance", "sliced_w2", "flow_error")

Progress = Callable[[float, str], None]
"""Called with the fraction done and what begins now."""

EXACT_FLOW = "exact flow of the law"
LONG_RUN = f"long run of the same network, ipndm-4, {STEPS} and {2 * STEPS} steps"


RUNS = ("start", "truth", "truth again")
"""A network's long runs, by what draws their states: the rows' own flow, its law, its floor."""

DATA = "data_"
"""What a metric's name begins with where a network is held against the law of its data."""

Measured = Mapping[str, Estimate | None]
"""Metrics by name; None where there is nothing to compare with."""


@dataclass(frozen=True)
class Reference:
    """What ``flow_error`` is measured to: ``kind``, and the root mean square error of it."""

    kind: str
    error: float
    note: str = ""


@dataclass(frozen=True, eq=False)
class Target:
    """A sample of a law, and the metrics of another one against it, as large as those compared."""

    truth: Truth
    floor: Measured


@dataclass(frozen=True)
class Subject:
    """What is sampled: a denoiser on a process, with its start states and what is known of its law.

    Parameters
    ----------
    name : str
        What tells it from others.
    denoiser : Denoiser
    process : Process
        Within the levels that the denoiser is made for.
    dim : int
    start : callable
        ``(level, n, rng) -> (n, dim)``, states to sample from at a grid's noisiest level.
    law : law, optional
        The data law whose exact denoiser it is.
    known : law, optional
        The law of the data that a network was trained on.
    """

    name: str
    denoiser: Denoiser
    process: Process
    dim: int
    start: Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]
    law: Any | None = None
    known: Any | None = None

    @classmethod
    def of_law(cls, law: Any, process: Process, name: str = "") -> Subject:
        """Return a law's exact denoiser, runs starting under its forward law."""

        def start(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
            return np.asarray(level.noised(law.sample(n, rng), rng))

        return cls(name, law, process, law.dim, start, law, law)

    @classmethod
    def of_model(cls, model: Model, process: str = "") -> Subject:
        """Return a model on a process, by default its own, runs starting as the model says."""
        known = model.data_law() if model.data_law else None
        law, kept = model.exact_law, model.process(process)
        return cls(model.name, model.denoiser, kept, model.dim, model.start, law, known)

    @property
    def modes(self) -> GaussianMixture | None:
        """The mixture whose components are the modes of the data, where it is known."""
        return self.known if isinstance(self.known, GaussianMixture) else None


@dataclass(frozen=True, eq=False)
class Bench:
    """Start states of a subject, and what end states are measured against.

    Parameters
    ----------
    subject : Subject
    start : array (n, dim)
    own : Target
        Of the subject's own law.
    ends : array (k, dim), optional
        Where the flow leads the first start states.
    reference : Reference
        What those ends are.
    data : Target, optional
        Of the data that a network was trained on.
    metrics : tuple of str
    back : callable, optional
        Where a row's solver leads end states, up the noise and down again.
    """

    subject: Subject
    start: np.ndarray
    own: Target
    ends: np.ndarray | None = None
    reference: Reference = Reference("", 0.0)
    data: Target | None = None
    metrics: tuple[str, ...] = DEFAULT_METRICS
    back: Callable[[np.ndarray], np.ndarray] | None = None

    def samples(self, state: np.ndarray, index: np.ndarray | None = None) -> Samples:
        """Return end states, those of the start states ``index``, with their own law and flow.

        The indices increase; by default they are all.
        """
        ends = self.ends
        if ends is not None and index is not None:
            ends = ends[index[index < len(ends)]]
        return Samples(state, self.own.truth, ends, self.reference.error, self.back)

    def measured(self, state: np.ndarray, index: np.ndarray | None = None) -> Measured:
        """Return the metrics of end states (:meth:`samples`), with ``data_`` those to the data."""
        found = self.samples(state, index).measured(self.metrics)
        if self.data is None:
            return found
        return {**found, **_to_data(Samples(state, self.data.truth).measured(self.data.floor))}

    @property
    def floor(self) -> Measured:
        """The same metrics of an independent sample of the law, where one can be had."""
        return {**self.own.floor, **_to_data(self.data.floor if self.data else {})}


def _to_data(found: Measured) -> Measured:
    return {DATA + name: entry for name, entry in found.items()}


def played(
    denoiser: Denoiser, x: Array, grid: Grid, solver: Solver | Plan, **options: Any
) -> tuple[Solution, NonFiniteStateError | None]:
    """Run; where a state leaves the finite numbers, return what came before and the error."""
    try:
        with np.errstate(over="ignore", invalid="ignore"):  # the loop stops where one overflows
            return solve(denoiser, x, grid, solver, **options), None
    except NonFiniteStateError as error:
        return error.partial, error


def rng_of(seed: int, *content: object) -> np.random.Generator:
    """Return a generator that depends on the seed and on the content it serves."""
    digest = hashlib.blake2b(repr(content).encode(), digest_size=16).digest()
    return np.random.default_rng([seed, int.from_bytes(digest, "big")])


@dataclass(frozen=True)
class Request:
    """What a bench is prepared for: the seed, the samples, the ends of the grid, the metrics."""

    seed: int
    samples: int
    noisy: NoiseLevel
    clean: NoiseLevel
    end: str
    metrics: tuple[str, ...] = DEFAULT_METRICS

    def span(self, process: Process) -> Process:
        """Return the process between the grid's ends, where these are not its own."""
        bounds: dict[str, Any] = {}
        if _other(self.noisy, process.ratio_max):
            bounds["t_max"] = float(process.time(self.noisy.ratio))
        if self.end != "zero" and _other(self.clean, process.ratio_min):
            bounds["t_min"] = float(process.time(self.clean.ratio))
        elif self.noisy.ratio < 2 * process.ratio_min:
            bounds["t_min"] = float(process.time(LEAST * self.noisy.ratio))
        return replace(process, **bounds)

    def starts(self, subject: Subject, name: str) -> np.ndarray:
        """Draw the states that one of :data:`RUNS` starts from."""
        return subject.start(self.noisy, self.samples, rng_of(self.seed, name))

    def target(self, states: np.ndarray, again: np.ndarray, **law: Any) -> Target:
        """Return a sample to compare with, its floor from an independent one."""
        seed = int(rng_of(self.seed, "directions").integers(2**31))
        truth = Truth(states, num_projections=NUM_PROJECTIONS, seed=seed, **law)
        found = Samples(again, truth).measured(self.metrics)
        return Target(truth, {name: one for name, one in found.items() if one is not None})

    def of_law(self, law: Any) -> Target:
        """Draw both from the forward law at the grid's end."""
        draws = (rng_of(self.seed, name) for name in RUNS[1:])
        samples = (self.clean.noised(law.sample(self.samples, rng), rng) for rng in draws)
        moments = isinstance(law, GaussianMixture | EmpiricalMixture) or (
            hasattr(law, "mean") and hasattr(law, "covariance")
        )
        return self.target(*samples, law=law if self.end == "zero" and moments else None)


LEAST = 1e-3
"""Ratio, of the noisiest level's, from where a long run steps to zero noise, if that is needed."""


def _other(level: NoiseLevel, ratio: float) -> bool:
    return level.alpha > 0 and not math.isclose(level.ratio, ratio, rel_tol=1e-9)


def exact_bench(request: Request, subject: Subject, progress: Progress) -> Bench:
    """Prepare the comparison with an exact law, runs starting under its forward law."""
    law = subject.law
    assert law is not None
    progress(0.0, "samples of the law")
    own = request.of_law(law)
    rng = rng_of(request.seed, RUNS[0])
    start = request.noisy.noised(law.sample(request.samples, rng), rng)
    progress(0.1, "the exact flow")
    ends, reference = None, Reference(EXACT_FLOW, 0.0)
    try:
        ends, error = flow_ends(
            law,
            start[:FLOW_STATES],
            request.noisy,
            request.clean,
            progress=lambda f: progress(0.1 + 0.9 * f, "the exact flow"),
        )
        reference = Reference(EXACT_FLOW, float(np.sqrt(np.mean(error**2))))
    except ArithmeticError as failure:
        reference = Reference(EXACT_FLOW, 0.0, f"no flow_error: {failure}")
    return Bench(subject, start, own, ends, reference, metrics=request.metrics)


def flow_ends(
    law: Any,
    x: np.ndarray,
    noisy: NoiseLevel,
    clean: NoiseLevel,
    *,
    rtol: float = FLOW_RTOL,
    progress: Callable[[float], None] | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return where the flow leads states ``(n, d)``, and the error of each ``(n,)``.

    Where a law without a density is followed to zero noise, the flow is cut at
    :data:`NEARLY_CLEAN` and the state denoised there; the error then holds that last way.
    """
    law, end = completed(law), clean
    edge = clean.sigma == 0 and law.smallest_variance == 0
    if edge:
        size = math.sqrt(float(law.second_moment()) / law.dim)
        end = NoiseLevel(clean.alpha, clean.alpha * NEARLY_CLEAN * size)
    flow = exact_flow(law, x, noisy, end, rtol=rtol, progress=progress)
    if not edge:
        return flow.state, flow.error
    ends = clean.alpha * law(flow.state, end)
    return ends, flow.error + np.linalg.norm(flow.state - ends, axis=1)


def follow_run(
    request: Request, subject: Subject, name: str, progress: Callable[[float], None] | None = None
) -> LongRun:
    """Return one of :data:`RUNS`; the first has its errors and at most ``FLOW_STATES`` states."""
    own = name == RUNS[0]
    states = request.starts(subject, name)
    return long_run(
        subject.denoiser,
        states[:FLOW_STATES] if own else states,
        request.span(subject.process),
        final_zero=request.end == "zero",
        estimate_error=own,
        noisy=None if request.noisy.alpha else request.noisy,
        progress=progress,
    )


def network_bench(request: Request, subject: Subject, progress: Progress) -> Bench:
    """Prepare the comparison of a network with itself, runs starting as the model says."""
    runs, begun = [], 0.0
    for name, share in zip(RUNS, (0.4, 0.3, 0.3), strict=True):

        def tell(f: float, name: str = name, begun: float = begun, share: float = share) -> None:
            progress(begun + share * f, f"the network's long run: {name}")

        tell(0.0)
        runs.append(follow_run(request, subject, name, tell))
        begun += share
    flow, law, again = runs
    own = request.target(law.state, again.state, named=subject.modes)
    data = None if subject.known is None else request.of_law(subject.known)
    reference, start = Reference(LONG_RUN, flow.rms_error), request.starts(subject, RUNS[0])
    return Bench(subject, start, own, flow.state, reference, data, request.metrics)
