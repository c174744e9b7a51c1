r"""What a step of Algorithm 1 costs beside the solver's, counted: Table 3 without a clock.

Three prices are paid per step: ``m`` Jacobian products, operations on the batch's own ``B d``
numbers, and sums over the batch, before which no state may move: of the numerator, of ``|u|^2`` and
of the standard error (as printed ``s_xu, s_uu, s_div``). An addition or multiplication of two
numbers is one operation, a sum of ``n`` numbers is ``n``. Then

    by Theorem 4.7   (6 + 2 m) B d + (12 + m) B + 8       by Tweedie   7 B d + 6 B + 8

of which per number of a state two belong to ``<x, u>`` (three with ``x - D``), two to ``|u|^2``,
two to ``x - gamma u`` and two to each product; per state six to the ratio and its standard error,
``6 + m`` to ``div u`` and the numerator made of it.

Counted is the correction as this package has it, on arrays that count what is done with them. The
products are counted as calls: what is done inside belongs to the network.
"""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from analytic import NoiseLevel
from steinlab.claims.coefficient.counted_passes import CLIP
from steinlab.coefficient.divergence import Hutchinson
from steinlab.corrections import stein, tweedie
from steinlab.solvers import SOLVERS
from steinlab.solvers.step import Correction, Step
from steinlab.verification.cases import SingleCase
from steinlab.verification.claim import Check, Claim, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison, single
from steinlab.verification.falsify.spaces import Parameter, Space, picked
from steinlab.verification.quantities import Number, Table

TWEEDIE, PRODUCTS = "tweedie", ("jvp", "vjp")
PROBES = (1, 2, 5)
FIVE = PROBES[-1]
"""The paper's number."""


@dataclass
class Tally:
    """Operations done, sums taken over the batch, and Jacobian products per state."""

    batch: int
    operations: int = 0
    sums: int = 0
    products: int = 0


class Tallied(np.ndarray):
    """An array whose operations are counted."""

    tally: Any = None

    def __array_finalize__(self, parent: Any) -> None:
        """Keep the tally of the array that this one is made of."""
        self.tally = getattr(parent, "tally", None)

    def __array_ufunc__(self, ufunc: Any, method: str, *inputs: Any, **options: Any) -> Any:
        """Count an elementwise operation by its outputs, a sum by its inputs."""
        given = (*inputs, *options.get("out", ()))
        tally = next(v.tally for v in given if isinstance(v, Tallied))
        plain = [v.view(np.ndarray) if isinstance(v, Tallied) else v for v in given]
        if "out" in options:
            options["out"] = tuple(plain[len(inputs) :])
        out = getattr(ufunc, method)(*plain[: len(inputs)], **options)
        if method == "reduce":
            tally.operations += np.size(plain[0])
            tally.sums += np.size(out) == 1 and np.size(plain[0]) == tally.batch
        else:
            tally.operations += np.size(out)
        return tallied(out, tally)


def tallied(values: Any, tally: Tally) -> Tallied:
    """Return the array as one that counts."""
    out = np.asarray(values).view(Tallied)
    out.tally = tally
    return out


@dataclass(frozen=True)
class Network:
    """A linear denoiser; its products are counted, not what is done inside."""

    tally: Tally = field(compare=False)
    guided = False

    def __call__(self, x: Any, level: NoiseLevel) -> Any:  # noqa: ARG002
        """Denoise."""
        return tallied(0.5 * x.view(np.ndarray), self.tally)

    def jvp(self, x: Any, level: NoiseLevel, tangent: Any) -> Any:  # noqa: ARG002
        """Return ``D' v`` per probe."""
        self.tally.products += len(tangent)
        return tallied(0.5 * np.asarray(tangent), self.tally)

    vjp = jvp


def _make(route: str, probes: int) -> Correction:
    if route == TWEEDIE:
        return tweedie(**CLIP)
    return stein(divergence=Hutchinson(probes, "gaussian", route), **CLIP)


@dataclass(frozen=True)
class Size(SingleCase):
    """A corrected first-order step of ``batch`` states in ``dim`` dimensions."""

    route: str
    probes: int
    batch: int
    dim: int


class Counts(NamedTuple):
    """A step's size and what its correction did."""

    size: Size
    operations: int
    sums: int
    products: int


@lru_cache(maxsize=1024)
def measure(size: Size) -> Counts:
    """Take a plain step, then correct it on arrays that count."""
    tally, rng = Tally(size.batch), np.random.default_rng(0)
    x = rng.standard_normal((size.batch, size.dim))
    s, t = NoiseLevel(0.6, 0.8), NoiseLevel(0.8, 0.6)
    network: Any = Network(Tally(size.batch))
    step = Step.take(network, SOLVERS["euler"], x, s, t)
    made = step.candidate
    counting: dict[str, Any] = {
        name: tallied(getattr(made, name), tally) for name in ("state", "residual", "denoised")
    }
    candidate = replace(made, **counting)
    own: Any = Network(tally)
    _make(size.route, size.probes)(
        replace(step, denoiser=own, x=tallied(x, tally), candidate=candidate), rng
    )
    return Counts(size, tally.operations, tally.sums, tally.products)


Count = Callable[[Size], float]


class Formula(NamedTuple):
    """What a step's correction does, by the step's size."""

    operations: Count
    sums: Count
    products: Count


def operations(size: Size) -> float:
    """``(6 + 2 m) B d + (12 + m) B + 8``; by Tweedie ``7 B d + 6 B + 8``."""
    m, b = size.probes, size.batch
    wide, per_state = (7, 6) if size.route == TWEEDIE else (6 + 2 * m, 12 + m)
    return wide * b * size.dim + per_state * b + 8


STATED = Formula(operations, lambda _: 3, lambda size: size.probes)


def _sizes(effort: Effort) -> list[Size]:
    routes = [(TWEEDIE, 0), *((route, m) for route in PRODUCTS for m in PROBES)]
    shapes = effort.rng.integers(2, 65, (effort.count(4), 2)).tolist()
    return [Size(*route, batch, dim) for route in routes for batch, dim in shapes]


def _check(name: str) -> Check:
    def compare(data: Counts, formula: Formula) -> Comparison:
        return single(getattr(data, name), getattr(formula, name)(data.size), 0.0)

    return Check(name, "property", Size, draw=_sizes, measure=measure, compare=compare)


def _slope(route: str, probes: int) -> float:
    """Operations per number of a state, from two dimensions."""
    one, two = (measure(Size(route, probes, 8, dim)).operations for dim in (8, 16))
    return (two - one) / 64


def _numbers(results: Results) -> list[Number]:
    five = _slope(PRODUCTS[1], FIVE)
    outweighed = "parameters per coordinate above which products weigh more, at two operations each"
    return [
        Number("operations per coordinate, five probes", five, better="lower", key="wide"),
        Number("operations per coordinate, Tweedie", _slope(TWEEDIE, 0), better="lower"),
        Number("sums over the batch per step", results["sums"].comparison.measured.max()),
        Number(outweighed, five / FIVE / 2),
        Number("steps counted", len(results["operations"].data)),
    ]


def _table(results: Results) -> Table:  # noqa: ARG001
    rows = []
    for route, m in ((TWEEDIE, 0), *((PRODUCTS[1], m) for m in PROBES)):
        found = measure(Size(route, m, 8, 8))
        label = "Tweedie" if route == TWEEDIE else f"Theorem 4.7, {m} probes"
        rows.append([label, found.products, f"{_slope(route, m):g} B d", found.sums])
    columns = ["estimate", "Jacobian products", "operations, leading", "sums over the batch"]
    return Table("Per step, beside the solver's own work", columns, rows)


def size_spaces(claim: Claim) -> list[Space]:
    """Spaces of every check: routes, states and dimensions."""
    limits = (("batch", 2, 4096), ("dim", 1, 256))
    numbers = [Parameter(*one, log=True, whole=True) for one in limits]
    lists = {"route": PRODUCTS, "probes": PROBES}
    return [picked(check.name, 64, lists, Size, *numbers) for check in claim.checks]


CLAIM = Claim(
    id="cost-table",
    title="Operations and batch sums of the correction",
    statement="beside the solver's work a step of Algorithm 1 takes m Jacobian products, O(B d) "
    "operations and three sums over the batch",
    latex=(
        r"m \text{ products}, \qquad (6 + 2m)\, B d + (12 + m)\, B + 8 \text{ operations}, "
        r"\qquad 3 \text{ sums over the batch}",
    ),
    headline="Adds {wide} operations per coordinate and three batch sums per step to its five "
    "products, whatever the network.",
    numbers=_numbers,
    source="Table 3 and Algorithm 1",
    kind="identity",
    owner="paper",
    conditions=(
        "a step that evaluates the denoiser once",
        "drawing the probes, and what a product does inside the network, are not counted",
    ),
    formula=STATED,
    checks=tuple(map(_check, Formula._fields)),
    controls=(
        NegativeControl(
            "operations of order B d^2",
            STATED._replace(operations=lambda size: operations(size) * size.dim),
            ("operations",),
        ),
        NegativeControl(
            "probes cost no operation",
            STATED._replace(operations=lambda size: operations(replace(size, probes=0))),
            ("operations",),
        ),
        NegativeControl("no sum over the batch", STATED._replace(sums=lambda _: 0), ("sums",)),
        NegativeControl(
            "one product per state's number",
            STATED._replace(products=lambda size: size.probes * size.dim),
            ("products",),
        ),
    ),
    finding="Beside the Jacobian products the correction is cheap: a few operations on every "
    "number of the batch, as the paper says. The products weigh more in every network with more "
    "than a couple of parameters per coordinate. The sums are a barrier: no state moves before all "
    "of its batch have been evaluated, once per step. Tweedie's estimate takes no product.",
    table=_table,
    search=size_spaces,
)
