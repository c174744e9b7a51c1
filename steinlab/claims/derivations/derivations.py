"""The derivations there are, with their axioms in words. Imports no sympy until one is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from types import MappingProxyType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from steinlab.claims.derivations.proofs import Proof

AXIOMS: Mapping[str, str] = MappingProxyType(
    {
        "linearity": "the expectation is linear, and the mean squares that appear are finite",
        "positivity": "E|f|^2 >= 0, so that 0 <= a^2 <= b^2 gives |a| <= b for b >= 0",
        "moving": "E|u|^2 > 0: the step moves the state",
        "error": "Err = E|x - x_star|^2 > 0, so that rho is defined",
        "coupling": "x = alpha x_star + sigma eps with alpha, sigma > 0 and eps standard normal, "
        "independent of x_star",
        "stein": "Stein's lemma (Gaussian integration by parts): E<v(x), eps> = sigma E div v(x) "
        "for weakly differentiable v of x alone, or of x and a history independent of eps, with "
        "E|v|^2 and E|div v| finite",
        "divergence": "integral of div(v p) over the space = 0 where v p and div(v p) are "
        "integrable, v weakly differentiable (then the product rule holds), p the density of x "
        "given x_star",
        "independence": "eps independent of x_star, so that the identity given x_star may be "
        "averaged over x_star (Fubini)",
        "exchange": "derivatives in a parameter of a Gaussian integral may be taken inside it",
        "parts-q": "integration by parts under q: E_q div u = -E_q<u, s_q>, with q of full "
        "support, weakly differentiable, and no boundary terms",
        "tweedie": "the model's denoiser and score are related by alpha D = x + sigma^2 s_model",
        "tower": "D(x) = E[x_star | x], so E<f(x), x_star> = E<f(x), D(x)>",
        "shrinking": "kappa < 1: the noise decreases",
        "scalars": "the step evaluates an exact denoiser once; its moments are those of the "
        "derivation three-scalars",
        "small-alpha": "alpha -> 0 along VP with D = m + alpha C eps + O(alpha^2) and "
        "V = M - |m|^2 - K alpha^2 + O(alpha^4), m and C the data's mean and covariance, "
        "K = tr C^2: the data have moments enough",
        "limit": "limits pass through sums, through expectations, and through quotients whose "
        "denominator has a limit other than 0; kappa -> 1 at fixed alpha'/alpha > 1",
        "every-step": "every step takes gamma* of the joint law of its own states and x_star, so "
        "that decay and range hold for each",
        "induction": "induction over the number of steps",
        "eta": "eta = min rho_k",
        "flow": "the probability flow of Gaussian data is linear, its gain on an axis of variance "
        "l the root of (l + t'^2)/(l + t^2)",
        "spread": "w = E|x - D|^2/(sigma^2 d) <= 1 for an exact denoiser, so that 1 - w (1 - k^2) "
        "has a positive root X; letters are less their means, and E[x - D] = 0 keeps the mean",
        "axes": "sums over the principal axes, in which data, denoiser and flow are diagonal; two "
        "stand for any number",
        "trigonometry": "t = c tan a with 0 < a < pi/2, C = cos a, S = sin a; Pythagoras and the "
        "addition theorems",
        "compactness": "the product of the cosines is continuous on the compact set of angles with "
        "a given sum, so has a largest value there: where no pair can be improved",
        "classes": "the law of total expectation over finitely many classes: J is the sum of p_c "
        "times the classes' own; written out for two",
        "tweedie-q": "D_q and q's score are related by alpha D_q = x + sigma^2 s_q",
        "tower-q": "q is the law of x = alpha x_star + sigma eps and D_q(x) = E_q[x_star | x], so "
        "E_q<f(x), x_star> = E_q<f(x), D_q(x)>",
        "jensen": "p is the mean over x_star of N(.; x_star, sigma^2 I), so log p(y) - log p(x) is "
        "the logarithm of a mean under the posterior at x, at least the mean of the logarithm",
        "state-form": "(gamma_tilde - gamma_q)^2 E_q|u|^2 <= (sigma^2/alpha)^2 F: the derivation "
        "perturbation-bound",
    }
)
"""What derivations take for granted, in words."""


@dataclass(frozen=True)
class Derivation:
    """A derivation before it is built: what it shows, from which axioms.

    Attributes
    ----------
    name, statement : str
    axioms : tuple of str
        Keys of :data:`AXIOMS`; every one is used by some step.
    source : str
        ``module:function`` that returns the :class:`~steinlab.claims.derivations.proofs.Proof`.
    """

    name: str
    statement: str
    axioms: tuple[str, ...]
    source: str

    def proof(self) -> Proof:
        """Return the steps, built on first use."""
        return _build(self.source)

    def words(self) -> list[str]:
        """Return the axioms in words."""
        return [AXIOMS[name] for name in self.axioms]


@cache
def _build(source: str) -> Proof:
    module, function = source.split(":")
    proof: Proof = getattr(import_module(f"steinlab.claims.derivations.{module}"), function)()
    return proof


_ALL = (
    Derivation(
        "optimal-coefficient",
        "J(gamma) = J(gamma*) + E|u|^2 (gamma - gamma*)^2, so gamma* is the only minimiser",
        ("linearity", "moving"),
        "coefficient:optimal_coefficient",
    ),
    Derivation(
        "stein-identity",
        "E<v(x), x - alpha x_star> = sigma^2 E div v(x)",
        ("linearity", "coupling", "independence", "divergence", "exchange"),
        "stein:stein_identity",
    ),
    Derivation(
        "reference-free-coefficient",
        "gamma* = [(1 - 1/alpha) E<u,x> + (sigma^2/alpha) E div u] / E|u|^2",
        ("linearity", "moving", "coupling", "stein"),
        "coefficient:reference_free_coefficient",
    ),
    Derivation(
        "edm-drift-vanishes",
        "at alpha = 1: gamma* = sigma^2 E div u / E|u|^2",
        ("linearity", "moving", "coupling", "stein"),
        "coefficient:edm_drift_vanishes",
    ),
    Derivation(
        "error-decay",
        "Err_next = (1 - rho) Err with rho in [0,1]; Err_0 = prod(1 - rho_k) Err_N "
        "<= (1 - min rho)^N Err_N",
        ("linearity", "positivity", "moving", "error", "every-step", "induction", "eta"),
        "decay:error_decay",
    ),
    Derivation(
        "asymptotic-equivalence",
        "|gamma* - 1| |u|_{L2} <= |T - x_star|_{L2}",
        ("linearity", "positivity", "moving"),
        "coefficient:asymptotic_equivalence",
    ),
    Derivation(
        "perturbation-bound",
        "|gamma_tilde - gamma_q| <= C sqrt(F), C = sigma^2 / (alpha |u|_{L2(q)}), with equality "
        "where u is parallel to s_model - s_q; in state form "
        "|(gamma_tilde - gamma_q) u|_{L2(q)} <= (sigma^2/alpha) sqrt(F)",
        ("linearity", "positivity", "moving", "tweedie", "parts-q"),
        "perturbation:perturbation_bound",
    ),
    Derivation(
        "three-scalars",
        "E<u,x>, E div u, E|u|^2 and so gamma* of T = kappa x + beta D from M, V and the levels",
        ("linearity", "coupling", "tower", "stein"),
        "first_order:three_scalars",
    ),
    Derivation(
        "collapse",
        "beta = 1 - kappa (EDM, VE, rectified flow) gives gamma* = 1/(1 - kappa) and the "
        "corrected state D(x)",
        ("linearity", "positivity", "moving", "tower", "shrinking"),
        "first_order:collapse",
    ),
    Derivation(
        "vp-singularity",
        "E<u,x> - sigma^2 E div u = alpha E<u,x_star>, and how numerator, drift, E|u|^2 and the "
        "sampling error scale with alpha",
        ("linearity", "coupling", "stein", "scalars", "small-alpha", "limit"),
        "singularity:vp_singularity",
    ),
    Derivation(
        "cosine-law",
        "on N(0, c^2) a step of Euler has cos(a - a') times the exact gain, a = arctan(t/c); equal "
        "angles have the largest product",
        ("flow", "trigonometry", "induction", "compactness"),
        "gaussian_steps:cosine_law",
    ),
    Derivation(
        "law-scalar",
        "gamma_law = (1 - X)/(1 - E) = (1 + k)/(1 + X) lies in [(1 + k)/2, 1], the optimum "
        "1/(1 - k) does not",
        ("flow", "shrinking"),
        "gaussian_steps:law_scalar",
    ),
    Derivation(
        "exact-flow-coefficient",
        "gamma* of the exact flow's step is at least 1 for Gaussian data in EDM",
        ("flow", "axes", "moving"),
        "gaussian_steps:exact_flow_coefficient",
    ),
    Derivation(
        "posterior-variance",
        "sigma^2 d - E|x - alpha D|^2 = alpha^2 V, and E<D, x - alpha D>, its quotient with "
        "E<x, x - alpha D> times sigma^2 d, and sigma^2 E div D are alpha V",
        ("linearity", "coupling", "tower", "stein"),
        "moments:posterior_variance",
    ),
    Derivation(
        "moment-exact-step",
        "with gamma = (1 + k)/(1 + sqrt(1 - w (1 - k^2))) the state has the next level's total "
        "variance, for every law",
        ("linearity", "coupling", "tower", "spread"),
        "moments:moment_exact_step",
    ),
    Derivation(
        "per-class-coefficient",
        "J(gamma) - J(gamma_class) = sum p_c E_c|u|^2 (gamma_c - gamma)^2, and the one optimum is "
        "the mean of the gamma_c by p_c E_c|u|^2",
        ("linearity", "moving", "classes"),
        "losses:per_class",
    ),
    Derivation(
        "bound-as-excess-loss",
        "(sigma^2/alpha)^2 F = E_q|D - D_q|^2 = L_q(D) - mmse_q for a noised law q, so "
        "|(gamma_tilde - gamma_q) u|^2 <= L_q(D) - mmse_q",
        ("linearity", "tweedie", "tweedie-q", "tower-q", "state-form"),
        "losses:excess_loss",
    ),
    Derivation(
        "trajectory-ascent",
        "log p(x + l (D - x)) - log p(x) >= sigma^2 |grad log p|^2 l (1 - l/2), and the right side "
        "is >= 0 for l in [0, 2]",
        ("linearity", "tweedie", "tower", "jensen"),
        "trajectories:ascent",
    ),
)

DERIVATIONS: Mapping[str, Derivation] = MappingProxyType({d.name: d for d in _ALL})
"""Every derivation by name."""
