r"""Components of a mixture that cannot count at a state, found before they are solved for.

With ``u = x - alpha c``, ``p_k = m_k - c`` for a point ``c``, and ``A_k = S_k^-1`` the logit of a
component is a polynomial of second degree in ``u``,

    l_k = log w_k - log det(S_k) / 2 - (u - alpha p_k)' A_k (u - alpha p_k) / 2,

so that all logits at all states are one product of monomials of ``u`` with a table of the level.
Expanded squares cancel: where ``d`` is the dimension, ``F`` the number of monomials, ``tau_k`` the
trace of ``A_k`` (its largest entry where the axes are the eigenvectors) and ``a_k`` the sum of
``|log w_k|`` and ``|log v_kj| / 2``, the product is off by at most

    e_k = (16 + F + 2 d) eps (tau_k (|u| + alpha (|p_k| + |c|))^2 / 2 + a_k),

by the rounding of a sum of ``F`` terms, of ``x - alpha c``, and of ``A_k`` as a product of ``d``
terms. So ``upper_k = l_k + e_k`` as computed, and ``upper_k - 2 e_k``, bound the logit on both
sides. Any two components give lower bounds of the largest and of the second largest logit; those of
the largest ``upper_k`` are taken, and component ``k`` is left out where ``upper_k`` is below
:func:`analytic.screening.cut` of them.

All components left out together then have at most ``left_out`` times the probability of those other
than the top one. With ``lost <= left_out mass`` their probability, ``mass`` that of all but the top
one, ``R`` the largest ``|mu_k - D|``, ``W`` the largest ``tr S_k`` of a posterior and ``w`` its
largest eigenvalue, the mean moves by ``lost`` times the distance of two means, and the law of total
variance gives

    |Delta D| <= 2 R lost,                     |Delta V| <= (W + 5 R^2) lost,
    |Delta div D| <= (alpha / sigma^2) |Delta V|,
    |Delta D'| <= (alpha / sigma^2) (w + 5 R^2) lost,
    |Delta s| <= (alpha / sigma^2) 2 R lost,   log p - lost / (1 - lost) <= log p' <= log p.
"""

import math
from collections.abc import Callable
from typing import NamedTuple, Self

import numpy as np

from analytic.arrays import Array, assign, by_rows, like, namespace
from analytic.screening import SAMPLED, cut, share

LEAST = (10, 2, 2**17)
"""Components, coordinates, and numbers ``(K, N, d)``, below which a bound costs more than it saves.
"""

KEPT = (1 / 4, 1 / 10)
"""Share of the components that may be left for choosing them state by state to pay, without and
with matrices: a state's own ones are copied, and multiplied one by one."""

NUMBERS = 2**18
"""Bounds, or monomials, of some states at once: a cache's."""


class Near(NamedTuple):
    """The components that may count, state by state."""

    columns: Array  # of all states, one state's after the other
    starts: Array  # (N,) of a state's first
    counts: Array  # (N,) > 0

    def of(self, states: Array, width: int) -> tuple[Array, Array]:
        """Return components ``(J, n)`` of some states, and which entries are ones."""
        xp = namespace(self.counts)
        slots = xp.arange(width, dtype=self.counts.dtype)[:, None]
        real = slots < xp.take(self.counts, states)[None, :]
        places = xp.where(real, xp.take(self.starts, states)[None, :] + slots, 0)
        flat = xp.take(self.columns, xp.reshape(places, (-1,)))
        return xp.reshape(flat, places.shape), real


class Pruning(NamedTuple):
    """The table of a level: what bounds every component's logit from above."""

    centre: Array  # (d,) alpha c
    table: Array  # (F, K)
    errors: Array  # (K, 3) of e_k, by |u|^2, |u| and 1
    full: bool  # whether the monomials hold products of two coordinates
    left_out: float

    @classmethod
    def of(
        cls,
        parts: tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray | None],
        level: tuple[float, float],
        left_out: float,
        x: Array,
    ) -> Self:
        """Return the table of ``(log weights, means, spectra, basis)`` at ``(alpha, sigma)``."""
        log_weights, means, spectra, basis = parts
        alpha, sigma = level
        dim = means.shape[-1]
        centre = means.mean(axis=0)
        p, v = means - centre, alpha**2 * spectra + sigma**2
        if basis is None:
            bent, line = -0.5 / v, alpha * p / v
        else:
            inverse = (basis / v[:, None, :]) @ np.swapaxes(basis, -1, -2)
            line = alpha * (inverse @ p[..., None])[..., 0]
            twice = np.triu(2 * inverse, 1) + np.eye(dim) * inverse
            bent = -0.5 * np.concatenate([twice[:, i, i:] for i in range(dim)], axis=-1)
        logs = np.log(v) * (dim // v.shape[-1])
        still = log_weights - 0.5 * (logs.sum(axis=-1) + alpha * (p * line).sum(axis=-1))
        tau = (1 / v).max(axis=-1) if basis is None else (1 / v).sum(axis=-1)
        length = alpha * (np.linalg.norm(p, axis=-1) + np.linalg.norm(centre))
        sizes = np.where(np.isfinite(log_weights), np.abs(log_weights), 0.0)
        sizes = sizes + 0.5 * np.abs(logs).sum(axis=-1)
        errors = np.stack([0.5 * tau, tau * length, 0.5 * tau * length**2 + sizes], axis=-1)
        count = bent.shape[-1] + dim + 3
        errors *= (16 + count + 2 * dim) * float(namespace(x).finfo(x.dtype).eps)
        table = np.concatenate(
            [bent, line, errors[:, :2], (still + errors[:, 2])[:, None]], axis=-1
        )
        down = like(np.ascontiguousarray(table.T), x)
        full = basis is not None
        return cls(like(alpha * centre, x), down, like(errors, x), full, left_out)

    def bounds(self, x: Array) -> tuple[Array, Array]:
        """Return upper bounds ``(N, K)`` of the logits, and sizes ``(N, 3)`` of their errors."""
        xp = namespace(x)
        u = x - self.centre
        square = xp.sum(u**2, axis=1, keepdims=True)
        sizes = xp.concat([square, xp.sqrt(square), xp.ones_like(square)], axis=1)
        dim, rest = x.shape[1], self.table.shape[0] - x.shape[1] - 3
        if self.full:
            bent = [u[:, i : i + 1] * u[:, i:] for i in range(dim)]
        else:
            bent = [square if rest == 1 else u**2]
        return xp.concat([*bent, u, sizes], axis=1) @ self.table, sizes

    def keep(self, x: Array) -> Array:
        """Return which components may count at the states ``(N, d)``, booleans ``(N, K)``."""
        xp = namespace(x)
        upper, sizes = self.bounds(x)

        def lower(pick: Array) -> Array:
            errors = xp.sum(sizes * xp.take(self.errors, pick, axis=0), axis=1, keepdims=True)
            return xp.take_along_axis(upper, pick[:, None], axis=1) - 2 * errors

        best = xp.argmax(upper, axis=1)
        first = lower(best)
        assign(upper, best, -math.inf)
        second = lower(xp.argmax(upper, axis=1))
        # a state that is not a number keeps every one
        kept = ~(upper < cut(first, second, upper.shape[1], self.left_out))
        assign(kept, best, True)
        return kept

    def near(self, x: Array) -> Near | None:
        """Return the components that may count at each of the states, None unless they are few.

        Some of the states tell at once where most components count.
        """
        xp, most = namespace(x), KEPT[self.full]
        if share(self.keep(x[:: max(1, x.shape[0] // SAMPLED), :])) > most:
            return None
        size = max(1, NUMBERS // max(self.table.shape))
        (kept,) = by_rows(lambda rows: (self.keep(rows),), size, x)
        if share(kept) > most:
            return None
        counts = xp.sum(xp.astype(kept, xp.int64), axis=1)
        return Near(xp.nonzero(kept)[1], xp.cumulative_sum(counts) - counts, counts)


def by_counts(
    function: Callable[..., tuple[Array, ...]], near: Near, numbers: int, *args: Array
) -> tuple[Array, ...]:
    """Apply ``function`` to the rows (axis -2) of ``args``, those with as many components together.

    It is given some rows of each, and what :meth:`Near.of` returns for them; a call has at most
    ``numbers`` components, counting each state's, or one state. Outputs have their rows on the row
    axis of the argument with the most axes.
    """
    xp = namespace(args[0])
    order = xp.argsort(near.counts)
    counts = xp.take(near.counts, order)
    parts, start, total = [], 0, counts.shape[0]
    while start < total:
        # no wider than the last of as many states as the first one's width allows
        end = min(start + max(1, numbers // int(counts[start])), total)
        end = min(start + max(1, numbers // int(counts[end - 1])), end)
        states = order[start:end]
        some = (xp.take(arg, states, axis=-2) for arg in args)
        parts.append(function(*some, *near.of(states, int(counts[end - 1]))))
        start = end
    axis, back = max(arg.ndim for arg in args) - 2, xp.argsort(order)
    return tuple(
        xp.take(xp.concat(list(pieces), axis=axis), back, axis=axis)
        for pieces in zip(*parts, strict=True)
    )
