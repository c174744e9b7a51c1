r"""The parts of an estimated coefficient's error explain the whole.

Cases are the levels of a Karras grid of eight steps: the exact digits (in float32), ``digits-mlp``
on EDM, ``grid25-mlp`` with Heun's step on VP, and the denoiser of a wrong law there. The parts that
are expectations and the exact coefficient each have samples of their own, so a wrong formula leaves
a gap.

``galaxies-hsc-32`` is judged in the full profile, where its package is installed, against its own
samples: an exact trace takes 1,024 Jacobian products, several seconds per state. All its levels are
in ``docs/networks.md``.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

import numpy as np

from analytic import GaussianMixture
from steinlab.coefficient.error_budget import (
    PARTS,
    Budget,
    Setting,
    Subject,
    error_budget,
    of_law,
    of_model,
)
from steinlab.diffusion.grids import make_grid
from steinlab.diffusion.processes import PROCESSES
from steinlab.solvers import SOLVERS
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.quantities import Number, Table
from steinlab.verification.significance import critical
from toy_models.claims.networks import GALAXY, galaxies_missing, network, own_samples, split

STEPS = 8
WRONG = "two modes in the plane, too wide"
"""An exact denoiser of a wrong law: cheap enough that the small parts stand out."""

BATCH = 16
"""States of a batch: few, so that its noise and that of its probes stand out."""

RUNS = (
    ("digits", "edm", "euler", 384),
    ("digits-mlp", "edm", "euler", 384),
    ("grid25-mlp", "vp-linear", "heun", 384),
    (WRONG, "vp-linear", "heun", 2**15),
)
"""Model, process, the step's solver and states of each expectation."""

GALAXY_RUN = (GALAXY, "edm", "euler", 64)
GALAXY_LEVELS, GALAXY_BATCH = (4, 7), 2
"""Fewer levels and states: the full profile has minutes."""

FAMILY = 1000
"""Cases that share the family-wise level: more than the full profile draws."""

GRADE = 0.1
"""Relative error of the total that the graded control claims: the sums are known to a few per
cent where they are known best."""

Weights = Mapping[str, float]


@dataclass(frozen=True)
class Level(SingleCase):
    """One step of one model: a case."""

    model: str
    process: str
    solver: str
    states: int
    index: int
    seed: int
    batch: int = BATCH

    def setting(self) -> Setting:
        """Return the step: plain Euler leads to where it begins."""
        own = self.model == GALAXY  # a network that is not made for every level
        process = network(GALAXY).process(self.process) if own else PROCESSES[self.process]
        grid = make_grid(process, "karras", STEPS)
        return Setting(
            grid,
            self.index,
            SOLVERS[self.solver],
            SOLVERS["euler"],
            batch=self.batch,
            states=self.states,
            seed=self.seed,
        )


@cache
def subject(name: str) -> Subject:
    """Return a model with its truth."""
    if name == WRONG:
        weights, means = np.array([0.5, 0.5]), np.array([[-1.0, -1.0], [1.0, 1.0]])
        wide, true = (GaussianMixture(weights, means, v) for v in (0.5, 0.3))
        return of_law(wide, true)
    model = network(name)
    if name == GALAXY:
        return of_model(model, own_samples().sample)
    return of_law(model.exact_law, model.exact_law) if model.exact_law else of_model(model)


def measure(case: Level) -> Budget:
    """Return the budget."""
    return error_budget(subject(case.model), case.setting())


def compare(data: Budget, weights: Weights) -> Comparison:
    """Compare the sum of the parts with the total.

    The joint error is made of samples of ``states`` states each: Student's law has at least the
    degrees of freedom of one.
    """
    explained = sum(weights[name] * part.value for name, part in data.parts.items())
    tolerance = critical(FAMILY, data.states - 1) * data.error
    return single(explained, data.total.value, tolerance, sampled=True, grade=GRADE)


def _draw(effort: Effort) -> Sequence[Level]:
    seeds = effort.rng.integers(2**32, size=effort.count(1))
    found = [
        Level(*run, index, int(seed)) for seed in seeds for run in RUNS for index in range(STEPS)
    ]
    if effort.profile == "full" and not galaxies_missing():
        seed = int(seeds[0])
        found += [Level(*GALAXY_RUN, index, seed, GALAXY_BATCH) for index in GALAXY_LEVELS]
    return found


def _left_out(profile: str) -> dict[str, str]:
    """Return why no level of the galaxies is looked at, if none is."""
    later = "in the full profile only; docs/networks.md has every level"
    reason = galaxies_missing() or ("" if profile == "full" else later)
    return {GALAXY: reason} if reason else {}


def _with(**changes: float) -> Weights:
    return MappingProxyType({**dict.fromkeys(PARTS, 1.0), **changes})


def _table(results: Results) -> Table:
    rows = []
    toys, galaxies = split(results["levels"])
    for case, budget in [*toys[: len(RUNS) * STEPS], *galaxies]:
        ratio = case.setting().grid[case.index].ratio
        parts = [f"{p.value:.2g}" if (p := budget.parts.get(name)) else "" for name in PARTS]
        ends = [f"{v:.4g}" for v in (budget.estimated, budget.exact.value)]
        rows.append([case.model, f"{ratio:.3g}", *ends, *parts, f"{budget.z:.1f}"])
    columns = ["model", "sigma/alpha", "estimated", "exact", *PARTS, "z"]
    return Table("gamma estimated on 16 states, less gamma*: the parts", columns, rows)


def _leading(results: Results) -> list[str]:
    """Name the largest part of every level."""
    parts = [budget.parts for _, budget in split(results["levels"])[0]]
    return [max(own, key=lambda name: abs(own[name].value)) for own in parts]


def _numbers(results: Results) -> list[Number]:
    pairs, leading = split(results["levels"])[0], _leading(results)
    closed = sum(not compare(budget, CLAIM.formula).violated[0] for _, budget in pairs)
    mlp = [budget for case, budget in pairs if case.model == "digits-mlp"]
    score = max((budget.parts["score"] for budget in mlp), key=lambda part: abs(part.value))
    return [
        Number("levels", len(pairs)),
        Number("of these, parts add up to the total", closed, better="higher"),
        Number("mean square of z", float(np.mean([budget.z**2 for _, budget in pairs]))),
        Number("levels led by batch noise", leading.count("batch")),
        Number("levels led by law drift", leading.count("drift")),
        Number("largest score error along u, digits-mlp", score.value, score.error),
        Number("states of a batch", BATCH, key="batch"),
    ]


def _finding(results: Results) -> str:
    leading, pairs = _leading(results), split(results["levels"])[0]
    rest = [name for name in PARTS if name in leading and name not in ("batch", "drift")]
    last = [b for c, b in pairs if c.model == "digits-mlp" and c.index == STEPS - 1]
    return (
        "beside batch noise and law drift the largest part is "
        f"{', '.join(f'{n} in {leading.count(n)}' for n in rest) or 'none'}. "
        f"digits-mlp at its last level estimates {np.mean([b.estimated for b in last]):.3f} where "
        f"gamma* is {np.mean([b.exact.value for b in last]):.3f}: there its score error leads. "
        "First-order and Heun steps, exact denoiser known"
    )


CLAIM = Claim(
    id="error-budget",
    title="Error budget of an estimated coefficient",
    statement="rounding, probe noise, batch noise, law drift, score error along u and the step's "
    "own change add up to the estimated coefficient's error",
    latex=(
        r"\hat\gamma - \gamma^{\star} = \delta_{\mathrm{rounding}} + \delta_{\mathrm{probes}} "
        r"+ \delta_{\mathrm{batch}} + \delta_{\mathrm{drift}} + \delta_{\mathrm{score}} + "
        r"\delta_{\mathrm{residual}}",
    ),
    headline="Six parts explain the estimated coefficient's whole error; on batches of {batch} it "
    "is mostly batch noise and law drift.",
    numbers=_numbers,
    source="Stein's identity; Theorem 4.7; the perturbation bound, section 4",
    kind="identity",
    owner="laboratory",
    conditions=(
        "the step's candidate is a function of the state: no history",
        "the exact denoiser of the data is known",
    ),
    formula=_with(),
    checks=(
        Check(
            "levels",
            "neural",
            Level,
            draw=_draw,
            measure=measure,
            compare=compare,
            partly=_left_out,
            seconds=15.0,
        ),
    ),
    controls=(
        NegativeControl("law drift left out", _with(drift=0.0)),
        NegativeControl("score error with the wrong sign", _with(score=-1.0)),
        NegativeControl("batch noise left out", _with(batch=0.0)),
        NegativeControl("probe noise left out", _with(probes=0.0)),
        NegativeControl("the step's own change left out", _with(residual=0.0)),
    ),
    finding=_finding,
    table=_table,
)
