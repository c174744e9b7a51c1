r"""One coefficient per class of the data: what it gains over one for all, exactly.

A batch of several classes is a mixture ``sum p_c law_c``; the denoiser is that of the mixture. Each
class's states have an optimum of their own, ``gamma_c = E_c<u, x - x_star> / E_c|u|^2``, and
``J = sum p_c J_c`` with ``J_c(gamma) = J_c(gamma_c) + E_c|u|^2 (gamma_c - gamma)^2``. The objective
is integrated directly, its parabola is not used: ``E_c|x - gamma u - x_star|^2`` is
``E_c|x - gamma u - D_c|^2`` and a number that ``gamma`` does not change, ``D_c`` the denoiser of
the class's law.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import numpy as np

from analytic import GaussianMixture
from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.verification import laws
from steinlab.verification.arguments import numbers, steps
from steinlab.verification.claim import Results
from steinlab.verification.expectation import E
from steinlab.verification.quantities import Number
from steinlab.verification.short import CHECK, claim

PAIR, LAWS = laws.mixtures(components=(2, 2)), laws.mixtures(components=(1, 2))
STEPS = steps(("edm", "vp-linear", "flow"), ("euler", "heun"), low=0.1, high=30.0, longest=3.0)
SHARES, GAMMAS = numbers(0.05, 0.95), numbers(-1.0, 3.0)
CASES = 12
"""Each kind of law and step once."""

APART = 0.1
"""Distance of the classes' coefficients that counts as one."""


class Class(NamedTuple):
    """A class: its share, ``E_c|u|^2``, ``gamma_c``, and ``E_c|x - gamma u - D_c|^2``."""

    share: float
    power: Any
    best: Any
    objective: Callable[[float], Any]


def _classes(first: GaussianMixture, second: GaussianMixture, p: float, step: Any) -> list[Class]:
    """Integrate what is needed of both classes; ``u`` is the step's on the mixture's denoiser."""
    whole = GaussianMixture(
        np.concatenate((p * first.weights, (1 - p) * second.weights)),
        np.concatenate((first.means, second.means)),
        np.concatenate((first.spectra, second.spectra)),
    )

    def u(x: Any) -> Any:
        return step.candidate(whole, x).residual

    def of(law: GaussianMixture, share: float) -> Class:
        power = E(lambda x: u(x) ** 2, law, step.s)
        top = E(lambda x: u(x) * (x - law(x, step.s)), law, step.s)

        def objective(gamma: float) -> Any:
            return E(lambda x: (x - gamma * u(x) - law(x, step.s)) ** 2, law, step.s)

        return Class(share, power, top / power, objective)

    return [of(first, p), of(second, 1 - p)]


def _total(found: Sequence[Class], gamma: float) -> Any:
    return sum(c.share * c.power * (c.best - gamma) ** 2 for c in found)


def _unweighted(first: Any, second: Any, p: float, gamma: float, step: Any) -> Any:
    return _total([c._replace(share=1.0) for c in _classes(first, second, p, step)], gamma)


def _no_square(first: Any, second: Any, p: float, gamma: float, step: Any) -> Any:
    return sum(c.share * c.power * abs(c.best - gamma) for c in _classes(first, second, p, step))


@claim(
    "J(gamma) - J(gamma_class) = sum p_c E_c|u|^2 (gamma_c - gamma)^2",
    source="the definition of gamma*, class by class",
    owner="laboratory",
    conditions=[
        "classes of known share, each noised as x = alpha x_star + sigma eps",
        "the class of every state is known; the denoiser need not know it",
    ],
    controls={
        "weights p_c left out": _unweighted,
        "gamma_c - gamma without its square": _no_square,
    },
    cases=CASES,
    expected="proved",
)
def per_class_coefficient(
    first: Any = PAIR, second: Any = LAWS, p: Any = SHARES, gamma: Any = GAMMAS, step: Any = STEPS
) -> Any:
    """One coefficient per class."""
    found = _classes(first, second, p, step)
    saved = (c.share * (c.objective(gamma) - c.objective(c.best.value)) for c in found)
    return sum(saved) == _total(found, gamma)


def _numbers(results: Results) -> list[Number]:
    rows = [row for data in results[CHECK].data for row in data.rows]
    best = []
    for row in rows:
        both = (PAIR.read(row["first"]), LAWS.read(row["second"]))
        best.append([c.best.value for c in _classes(*both, row["p"], STEPS.read(row["step"]))])
    apart = np.abs(np.diff(best, axis=1))
    share = (apart > APART).mean()
    return [
        Number(f"steps whose gamma_c are more than {APART} apart", share, unit="%", key="apart"),
        Number("distance of the classes' gamma_c, median", np.median(apart)),
        Number("distance of the classes' gamma_c, largest", apart.max()),
        Number("steps", len(rows)),
    ]


DERIVATION = DERIVATIONS["per-class-coefficient"]

CLAIM = replace(
    per_class_coefficient,
    checks=(*per_class_coefficient.checks, symbolic_check(DERIVATION, covers=True)),
    controls=(*per_class_coefficient.controls, *symbolic_controls(DERIVATION)),
    headline="Saves the weighted spread of the classes' coefficients; in {apart} of steps they "
    "lie well apart.",
    numbers=_numbers,
    latex=(
        r"J(\gamma) - J(\gamma_{\mathrm{class}}) = \sum_c p_c\, \mathbb{E}_c\|u\|^2\, "
        r"(\gamma_c - \gamma)^2",
    ),
    finding="What one coefficient per class saves over any common one is the spread of the "
    "classes' own, weighted by their share and their squared residual: exactly, for every step and "
    "any denoiser. Where all classes want one coefficient nothing is saved: compare the classes' "
    "estimates before keeping one for each.",
)
