r"""Distances between two sets of pictures through their features, each with its error.

    FD = |m1 - m2|^2 + tr C1 + tr C2 - 2 tr (C2^(1/2) C1 C2^(1/2))^(1/2).

Means and covariances accumulate in float64, chunk by chunk, merged exactly. On any device.

References
----------
Heusel et al., "GANs trained by a two time-scale update rule", 2017 (the distance). Chan, Golub and
LeVeque, "Updating formulae", 1979 (merging). Kynkaanniemi, Karras, Laine, Lehtinen and Aila,
"Improved precision and recall metric", 2019. Efron and Tibshirani 1993 (jackknife, influence).
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch

CHUNK = 1024
"""Rows of features treated at once."""
NEIGHBOURS = 3
"""Kynkaanniemi et al.'s k."""
GROUPS = 20
"""Groups that the jackknife leaves out, one after the other."""
QUANTILE = 0.99
"""Of the held-out pictures' own scores: beyond it a picture counts as an artifact."""


@dataclass(frozen=True)
class Moments:
    """Number, mean and scatter matrix ``sum (x - m)(x - m)'`` of rows, in float64.

    Merging is exact up to rounding: ``a + b`` are the moments of both sets of rows.
    """

    count: int
    mean: torch.Tensor  # (d,)
    scatter: torch.Tensor  # (d, d)

    @classmethod
    def of(cls, rows: torch.Tensor) -> Moments:
        """Return the moments of rows ``(n, d)``, n >= 1."""
        if rows.ndim != 2 or len(rows) < 1:
            raise ValueError(f"rows must have shape (n >= 1, d), got {tuple(rows.shape)}")
        parts = [cls._of_chunk(chunk.double()) for chunk in torch.split(rows, CHUNK)]
        total = parts[0]
        for part in parts[1:]:
            total = total + part
        return total

    @classmethod
    def _of_chunk(cls, rows: torch.Tensor) -> Moments:
        mean = rows.mean(0)
        centred = rows - mean
        return cls(len(rows), mean, centred.T @ centred)

    def __add__(self, other: Moments) -> Moments:
        count = self.count + other.count
        shift = other.mean - self.mean
        mean = self.mean + shift * (other.count / count)
        between = torch.outer(shift, shift) * (self.count * other.count / count)
        return Moments(count, mean, self.scatter + other.scatter + between)

    @property
    def covariance(self) -> torch.Tensor:
        """The unbiased covariance."""
        if self.count < 2:
            raise ValueError(f"count must be >= 2 for a covariance, got {self.count}")
        return self.scatter / (self.count - 1)


def frechet(sample: Moments, reference: Moments) -> float:
    r"""Return the Frechet distance of two Gaussians with these moments (not its root).

    Biased upward at finite counts, by about ``d / n`` of the covariance's trace and more: compare
    equal counts. Eigenvalues that rounding made negative count as zero.
    """
    root = _power(reference.covariance, 0.5)
    return _frechet(sample, reference, root)


def _frechet(sample: Moments, reference: Moments, root: torch.Tensor) -> float:
    c1, c2 = sample.covariance, reference.covariance
    shift = sample.mean - reference.mean
    middle = torch.linalg.eigvalsh(_symmetric(root @ c1 @ root)).clamp(min=0).sqrt().sum()
    return float(shift @ shift + c1.trace() + c2.trace() - 2 * middle)


def _symmetric(matrix: torch.Tensor) -> torch.Tensor:
    return (matrix + matrix.T) / 2


def _power(matrix: torch.Tensor, power: float) -> torch.Tensor:
    """Power of a symmetric positive semidefinite matrix on its range."""
    values, vectors = torch.linalg.eigh(_symmetric(matrix))
    least = values[-1].clamp(min=0) * len(values) * torch.finfo(values.dtype).eps
    raised = torch.where(values > least, values.clamp(min=least) ** power, torch.zeros_like(values))
    power_of_it: torch.Tensor = (vectors * raised) @ vectors.T
    return power_of_it


@dataclass(frozen=True)
class Estimate:
    """A value with its standard error, and what either is made of.

    Attributes
    ----------
    value : float
    error : float
        Standard error over the samples; the reference counts as given.
    unbiased : float
        The jackknife's value, less the bias of order ``1 / n``.
    replicates : tuple of float
        The value without each group. Runs from the same start states, grouped alike, give the
        error of a difference by :func:`difference`.
    """

    value: float
    error: float
    unbiased: float
    replicates: tuple[float, ...]


def frechet_estimate(rows: torch.Tensor, reference: Moments, groups: int = GROUPS) -> Estimate:
    """Return the Frechet distance of rows to a reference, with its jackknife error.

    Parameters
    ----------
    rows : tensor (n, d)
        Independent; row ``i`` belongs to group ``i mod groups``.
    reference : Moments
    groups : int
        At least 2, and at most n / 2.
    """
    if not 2 <= groups <= len(rows) // 2:
        raise ValueError(f"groups must be in 2 to {len(rows) // 2}, got {groups}")
    root = _power(reference.covariance, 0.5)
    parts = [Moments.of(rows[g::groups]) for g in range(groups)]
    value = _frechet(_merged(parts), reference, root)
    left = [_frechet(_merged(parts[:g] + parts[g + 1 :]), reference, root) for g in range(groups)]
    return _jackknife(value, left)


def difference(a: Estimate, b: Estimate) -> Estimate:
    """Return ``a - b`` for runs from the same start states, with the error of the difference."""
    if len(a.replicates) != len(b.replicates):
        raise ValueError(
            f"replicates must be as many, got {len(a.replicates)} and {len(b.replicates)}"
        )
    left = [x - y for x, y in zip(a.replicates, b.replicates, strict=True)]
    return _jackknife(a.value - b.value, left)


def _jackknife(value: float, left: Sequence[float]) -> Estimate:
    groups = len(left)
    mean = sum(left) / groups
    square = sum((x - mean) ** 2 for x in left) * (groups - 1) / groups
    return Estimate(value, math.sqrt(square), groups * value - (groups - 1) * mean, tuple(left))


def _merged(parts: Sequence[Moments]) -> Moments:
    total = parts[0]
    for part in parts[1:]:
        total = total + part
    return total


def frechet_influence(rows: torch.Tensor, reference: Moments) -> torch.Tensor:
    r"""Return each row's influence on the Frechet distance, ``(n,)``: cheap errors, by one pass.

    ``psi_i = 2 <m1 - m2, y_i> + y_i' (I - T) y_i - tr((I - T) C1)``, ``y_i = x_i - m1`` and
    ``T = C2^(1/2) (C2^(1/2) C1 C2^(1/2))^(-1/2) C2^(1/2)`` the optimal map between the Gaussians.
    The standard error is ``std(psi) / sqrt(n)``; that of the difference of two runs from the same
    starts ``std(psi_a - psi_b) / sqrt(n)``. First order in ``1 / sqrt(n)``: trust it where n is
    many times d, and where it does not it exceeds or falls short of the jackknife.
    """
    sample = Moments.of(rows)
    root = _power(reference.covariance, 0.5)
    transport = root @ _power(root @ sample.covariance @ root, -0.5) @ root
    slope = torch.eye(len(root), dtype=root.dtype, device=root.device) - transport
    shift = 2 * (sample.mean - reference.mean)
    parts = []
    for chunk in torch.split(rows, CHUNK):
        y = chunk.double() - sample.mean
        parts.append(y @ shift + torch.einsum("ni,ij,nj->n", y, slope, y))
    psi = torch.cat(parts)
    return psi - psi.mean()


@dataclass(frozen=True)
class Share:
    """A share of the samples and its standard error (binomial, given the reference)."""

    value: float
    error: float


def _share(hits: torch.Tensor) -> Share:
    p = float(hits.double().mean())
    return Share(p, math.sqrt(p * (1 - p) / len(hits)))


def precision_recall(
    samples: torch.Tensor, reference: torch.Tensor, k: int = NEIGHBOURS
) -> tuple[Share, Share]:
    """Return improved precision and recall.

    Precision is the share of samples inside a ball around some reference row, up to that row's
    k-th nearest neighbour among the reference; recall the same with the roles exchanged. Both
    depend on the two numbers of rows: compare equal ones.

    Parameters
    ----------
    samples : tensor (n, d)
    reference : tensor (m, d)
    k : int
        1 <= k < n, m.
    """
    if not 1 <= k < min(len(samples), len(reference)):
        raise ValueError(f"k must be in 1 to {min(len(samples), len(reference)) - 1}, got {k}")
    return (
        _share(_inside(samples, reference, k)),
        _share(_inside(reference, samples, k)),
    )


def _inside(points: torch.Tensor, manifold: torch.Tensor, k: int) -> torch.Tensor:
    """Whether each point lies in the ball of some row of the manifold."""
    radii = torch.cat(
        [square.kthvalue(k + 1, dim=1).values for square in _squares(manifold, manifold)]
    )
    return torch.cat([(square <= radii).any(1) for square in _squares(points, manifold)])


def nearest(points: torch.Tensor, reference: torch.Tensor) -> torch.Tensor:
    """Return the distance of each point to the nearest reference row, ``(n,)``."""
    return torch.cat([square.amin(1) for square in _squares(points, reference)]).sqrt()


def _squares(x: torch.Tensor, y: torch.Tensor) -> Iterator[torch.Tensor]:
    """Squared distances of a chunk of ``x`` to all of ``y``, centred, in float64."""
    centre = y.double().mean(0)
    other = y.double() - centre
    norms = other.square().sum(1)
    for chunk in torch.split(x, CHUNK):
        rows = chunk.double() - centre
        square = rows.square().sum(1)[:, None] + norms - 2 * rows @ other.T
        yield square.clamp(min=0)


@dataclass(frozen=True)
class ArtifactRate:
    """Share of samples beyond a quantile of held-out pictures' scores.

    Attributes
    ----------
    rate, error : float
        The error counts the samples and, to first order for equal laws, the threshold.
    floor, floor_error : float
        The same for held-out pictures that did not set the threshold: what a perfect model scores.
    threshold : float
    """

    rate: float
    error: float
    floor: float
    floor_error: float
    threshold: float


def artifact_rate(
    scores: torch.Tensor, held_out: torch.Tensor, quantile: float = QUANTILE
) -> ArtifactRate:
    """Return the share of scores beyond a quantile of the held-out pictures' scores.

    A score grows with strangeness: :func:`nearest` distance to the training set's features, or
    minus the classifier's confidence. Even held-out rows set the threshold, odd ones the floor.

    Parameters
    ----------
    scores : tensor (n,)
    held_out : tensor (m,)
        m >= 4.
    quantile : float
        In (0, 1).
    """
    if not 0 < quantile < 1:
        raise ValueError(f"quantile must be in (0, 1), got {quantile}")
    if len(held_out) < 4:
        raise ValueError(f"held_out must have 4 scores or more, got {len(held_out)}")
    given, checked = held_out[::2].double(), held_out[1::2].double()
    threshold = torch.quantile(given, quantile)
    tail = quantile * (1 - quantile) / len(given)
    shares = [_share(each.double() > threshold) for each in (scores, checked)]
    errors = [math.sqrt(share.error**2 + tail) for share in shares]
    return ArtifactRate(shares[0].value, errors[0], shares[1].value, errors[1], float(threshold))
