r"""Whether a denoiser's Jacobian is symmetric, ``<w, J v> = <v, J w>``, as contraction needs it.

For an exact denoiser ``J = (alpha/sigma^2) Cov(x_star | x)``: symmetric, positive semidefinite, so
that the Lipschitz constant of a first-order step is an eigenvalue and the bound an equality.
Nothing makes a network's Jacobian symmetric; a trained one is so only where it is exact.
``J v`` is by automatic differentiation of the denoiser itself, in float64. The norms of the
galaxies' Jacobians, 1,024 x 1,024, are estimated: ``E|(J -+ J') v|^2 = |J -+ J'|_F^2``.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cache, partial
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture, NoiseLevel
from steinlab.claims.instruments.random_steps import draw_law
from steinlab.coefficient.rounding import EPS, ROUNDING
from steinlab.diffusion.laws import load_digits
from steinlab.errors import InputError, one_of, quote
from steinlab.verification.claim import Check, Claim, Dropped, Effort, NegativeControl, Results
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number, Table
from toy_models.claims.networks import GALAXY, network, own_samples, with_galaxies, without_galaxies

DIGITS_ROWS, DIGITS_BANDWIDTH = 200, 0.2
FIELD = 1e-3
"""Size of the control's field ``eps (x_2, 0, ...)``: its Jacobian is no symmetric matrix."""

RATIOS = (0.05, 0.2, 0.5, 1.0, 3.0, 10.0)
NETWORKS = ("digits-mlp", "grid25-mlp", "moons-mlp")
EXACT = ("mixture", "digits", "mixture, field", "digits, field")
STATES = 4
LIMITS = {"ratio": (1e-3, 1e3), "count": (1, 4096)}
"""What a stored case may ask for: it is answered within seconds."""
COLUMNS, PROBES = 100, 16
"""Coordinates up to which a Jacobian is taken whole, and probes of its norms beyond."""

Formula = Callable[[np.ndarray, np.ndarray], np.ndarray]


@dataclass(frozen=True)
class States:
    """States of one model at one level, two probes per state: a case a state."""

    dataset: ClassVar[str | None] = None

    model: str
    ratio: float
    seed: int
    count: int = STATES

    def __len__(self) -> int:
        """Return the number of states."""
        return self.count

    def describe(self, index: int) -> dict[str, Any]:
        """Return one case as JSON; all the states come again, drawn together."""
        return {**asdict(self), "state": index}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back.

        Raises
        ------
        InputError
            For a model of another name, and a ratio or a number of states out of range.
        """
        one_of("model", case["model"], (*EXACT, *NETWORKS, GALAXY))
        for name, (low, high) in LIMITS.items():
            if not low <= case[name] <= high:
                raise InputError(f"{name} must be in {low:g} to {high:g}, got {quote(case[name])}")
        return cls(*(case[name] for name in ("model", "ratio", "seed", "count")))


class Measured(NamedTuple):
    """``<w, J v>``, ``<v, J w>``, the sizes of their rounding, and the asymmetry, ``(N,)``."""

    forward: np.ndarray
    backward: np.ndarray
    size: np.ndarray
    asymmetry: np.ndarray


def _mixture(seed: int) -> GaussianMixture:
    rng = np.random.default_rng([seed, 0])
    kind = ("scalar", "diagonal", "full")[seed % 3]
    return draw_law(rng, 1, 3, int(rng.integers(2, 7)), kind).take(0)


@cache
def _digits() -> EmpiricalMixture:
    return EmpiricalMixture(load_digits()[:DIGITS_ROWS], DIGITS_BANDWIDTH)


def denoiser(case: States) -> tuple[Any, Any]:
    """Return a denoiser with ``jvp``, and the law that states are drawn from."""
    import torch

    from steinlab.diffusion.autodiff import Pulled
    from steinlab.diffusion.networks import NetworkDenoiser

    if case.model == GALAXY:
        return network(GALAXY).denoiser.in_dtype(torch.float64), own_samples()  # type: ignore[attr-defined]
    if case.model in NETWORKS:
        model = network(case.model)
        law = model.data_law() if model.data_law else network("grid25-mlp").data_law()  # type: ignore[misc]
        return model.denoiser.in_dtype(torch.float64), law  # type: ignore[attr-defined]
    law = _digits() if case.model.startswith("digits") else _mixture(case.seed)
    size = FIELD if case.model.endswith("field") else 0.0

    def exact(x: torch.Tensor, level: NoiseLevel) -> torch.Tensor:
        field = torch.zeros_like(x)
        field[..., 0] = x[..., 1]
        out: torch.Tensor = law(x, level) + size * field
        return out

    return NetworkDenoiser(exact, law.dim, dtype=torch.float64, products=Pulled), law


def measure(case: States) -> Measured:
    """Differentiate along random directions, and along all for the asymmetry."""
    net, law = denoiser(case)
    rng = np.random.default_rng([case.seed, 1])
    level = NoiseLevel(1.0, case.ratio)
    x_star = law.sample(case.count, rng)
    x = x_star + case.ratio * rng.standard_normal(x_star.shape)
    v, w = rng.standard_normal((2, *x.shape))
    norm, odd, even = (_norms if net.dim <= COLUMNS else _probed_norms)(net, x, level, rng)
    forward, backward = (np.sum(b * net.jvp(x, level, a), axis=-1) for a, b in ((v, w), (w, v)))
    size = norm * np.linalg.norm(v, axis=-1) * np.linalg.norm(w, axis=-1)
    # responsibilities round with their logits, of size |x|^2 / sigma^2
    logits = 1 + np.sum(x * x, axis=-1) / case.ratio**2
    return Measured(forward, backward, size * logits * math.sqrt(net.dim), odd / even)


def _norms(net: Any, x: np.ndarray, level: NoiseLevel, _rng: Any) -> Sequence[np.ndarray]:
    """``|J|``, ``|J - J'|`` and ``|J + J'|``, Frobenius, a state."""
    units = np.broadcast_to(np.eye(net.dim)[:, None, :], (net.dim, *x.shape))
    jacobian = np.moveaxis(net.jvp(x, level, units), 0, -1)  # (N, d, d)
    turned = np.swapaxes(jacobian, 1, 2)
    parts = (jacobian, jacobian - turned, jacobian + turned)
    return [np.linalg.norm(part, axis=(1, 2)) for part in parts]


def _probed_norms(
    net: Any, x: np.ndarray, level: NoiseLevel, rng: np.random.Generator
) -> Sequence[np.ndarray]:
    """The same, estimated."""
    v = rng.standard_normal((PROBES, *x.shape))
    forward, backward = net.jvp(x, level, v), net.vjp(x, level, v)
    parts = (forward, forward - backward, forward + backward)
    return [np.sqrt(np.mean(np.sum(part**2, axis=-1), axis=0)) for part in parts]


def same(forward: np.ndarray, backward: np.ndarray) -> np.ndarray:  # noqa: ARG001
    """``<w, J v> = <v, J w>``."""
    return backward


def compare(data: Measured, formula: Formula) -> Comparison:
    """Compare both contractions within rounding."""
    tolerance = ROUNDING * EPS * data.size
    return Comparison(data.forward, formula(data.forward, data.backward), tolerance)


def _draw_exact(effort: Effort, *, suffix: str = "") -> Sequence[States]:
    seeds = effort.rng.integers(2**31, size=(effort.count(4), len(RATIOS)))
    mixtures = [
        States("mixture" + suffix, r, int(s))
        for row in seeds
        for r, s in zip(RATIOS, row, strict=True)
    ]
    digits = [States("digits" + suffix, r, int(s)) for r, s in zip(RATIOS, seeds[0], strict=True)]
    return [*mixtures, *digits]


def _draw_networks(effort: Effort) -> Sequence[States]:
    return [
        States(
            name,
            ratio,
            int(effort.rng.integers(2**31)),
            1 if name == GALAXY else effort.count(STATES),
        )
        for name in with_galaxies(*NETWORKS)
        for ratio in RATIOS
    ]


def _table(results: Results) -> Table:
    rows = []
    for name in with_galaxies(*NETWORKS):
        found = _medians(results, name)
        rows.append([name, *(f"{found[r]:.2g}" for r in RATIOS)])
    columns = ["network", *(f"sigma {r:g}" for r in RATIOS)]
    return Table("median |J - J'|_F / |J + J'|_F at forward states", columns, rows)


def _medians(results: Results, name: str) -> dict[float, float]:
    """Return a network's median asymmetry by level."""
    pairs = zip(results["networks"].batches, results["networks"].data, strict=True)
    return {
        c.ratio: float(np.median(d.asymmetry))
        for c, d in pairs
        if isinstance(c, States) and isinstance(d, Measured) and c.model == name
    }


def _numbers(results: Results) -> list[Number]:
    """Return the asymmetries; the galaxies', which are not everywhere, are in the table."""
    exact = results["exact denoisers"]
    most = max(float(d.asymmetry.max()) for d in exact.data if isinstance(d, Measured))
    tops = [max(_medians(results, name).values()) for name in NETWORKS]
    return [
        Number("largest asymmetry, exact denoisers", most, better="lower"),
        Number("cases of these", len(exact.comparison.measured)),
        Number("largest median, networks", max(tops), unit="%", better="lower", key="most"),
    ]


def _finding(results: Results) -> str:
    levels = {name: _medians(results, name) for name in NETWORKS}
    where = ", ".join(f"sigma {max(m, key=m.__getitem__):g} for {n}" for n, m in levels.items())
    return (
        "asymmetry is |J - J'|/|J + J'| at forward states, a median over them for networks, "
        f"largest at {where}. Trained networks are not gradient fields, so that the Lipschitz "
        "constant of their steps is no eigenvalue; small networks, by automatic differentiation"
    )


_check = partial(Check, measure=measure, compare=compare, restore=States.restore)

CLAIM = Claim(
    id="jacobian-symmetry",
    title="Symmetry of the denoiser's Jacobian",
    statement="the denoiser's Jacobian is symmetric, which makes a first-order step's Lipschitz "
    "constant an eigenvalue",
    latex=(
        r"J = \frac{\partial D}{\partial x} = J^{\top}, \qquad J = \frac{\alpha}{\sigma^2}\, "
        r"\operatorname{Cov}(x_{\star} \mid x) \text{ where } D \text{ is exact}",
    ),
    expected="conditional",
    headline="Exact denoisers have symmetric Jacobians; those of trained networks are asymmetric "
    "by up to {most}.",
    numbers=_numbers,
    source="assumed by the contraction results, section 3",
    kind="identity",
    owner="paper",
    conditions=("unstated: the denoiser is exact; a trained network's Jacobian is not symmetric",),
    formula=same,
    checks=(_check("exact denoisers", method="property", draw=_draw_exact),),
    controls=(
        NegativeControl("antisymmetric", lambda _f, b: -b),
        NegativeControl("one of them halved", lambda _f, b: 0.5 * b),
    ),
    dropped=(
        Dropped(
            "trained networks",
            _check("networks", method="neural", draw=_draw_networks, partly=without_galaxies),
            unstated=True,
        ),
        Dropped(
            "a field of size 0.001 that is no gradient added",
            _check("with a field", method="property", draw=partial(_draw_exact, suffix=", field")),
        ),
    ),
    finding=_finding,
    table=_table,
)
