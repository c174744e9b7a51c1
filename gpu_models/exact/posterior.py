"""What the statistics of a pass say: the posterior over the rows, around the most probable one."""

from __future__ import annotations

from typing import NamedTuple

import torch

from analytic.arrays import Array
from analytic.empirical import Gains
from gpu_models.exact.streaming import Atoms, State


class Moments(NamedTuple):
    """``D``, ``div D`` and ``V = tr Cov(x_star | x)`` of a batch of states."""

    denoised: Array
    divergence: Array
    variance: Array


class Posterior(NamedTuple):
    """The posterior of a block of queries over the rows, written around the top row."""

    u: torch.Tensor  # (N, d) x - alpha c in the work dtype
    scaled: torch.Tensor  # (N, d) rate u, rounded to the products' factors
    state: State
    total: torch.Tensor  # (N, 1) weight of all rows
    top: torch.Tensor  # (N, d) the most probable row
    mass: torch.Tensor  # (N, 1) probability of the other rows
    shift: torch.Tensor  # (N, d) posterior mean of the rows, less the top row
    spread: torch.Tensor  # (N,) V_atoms


def read(state: State, atoms: Atoms, u: torch.Tensor, scaled: torch.Tensor) -> Posterior:
    """Return the posterior that a finished pass found for the queries ``u``."""
    # rounding a weight to TF32 may lose that it is not a number: the query says it again
    mass = state.mass[:, None] + 0 * scaled.sum(dim=1, keepdim=True).to(u.dtype)
    total = torch.exp(state.top_logit - state.ref)[:, None] + mass
    best = state.top.long()
    top = atoms.factors[best].to(u.dtype)
    rest, mass, second = state.rest / total, mass / total, state.second / total[:, 0]
    shift = rest - mass * top
    spread = 2 * second - mass[:, 0] * (top**2).sum(-1) - (shift * (2 * top + shift)).sum(-1)
    return Posterior(u, scaled, state, total, atoms.rows[best], mass, shift, spread)


def derivative(
    post: Posterior, atoms: Atoms, gains: Gains, tangent: torch.Tensor, columns: int
) -> torch.Tensor:
    """Return ``D'(x) tangent``, ``(N, d)``: a second pass with those responsibilities."""
    state, t = post.state, tangent.to(post.u.dtype)
    bias, top = gains.alpha**2 / gains.v, atoms.factors[state.top.long()].to(t.dtype)
    along_top = (t * top).sum(-1, keepdim=True)
    second, sums = torch.zeros_like(t), torch.zeros_like(post.mass)
    for start in range(0, len(atoms.halves), columns):
        rows = atoms.factors[start : start + columns].to(t.dtype)
        logits = post.scaled.to(t.dtype) @ rows.T - bias * atoms.halves[start : start + len(rows)]
        weights = torch.exp(logits - state.ref[:, None]) / post.total
        weights = weights * (t @ rows.T - along_top)
        here = torch.arange(start, start + len(rows), device=t.device)
        weights = weights.masked_fill(here == state.top[:, None], 0.0)
        second += weights @ rows
        sums += weights.sum(-1, keepdim=True)
    between = second - sums * top - post.shift * (post.shift * t).sum(-1, keepdim=True)
    return gains.signal * t + gains.alpha * gains.noise / gains.v * between
