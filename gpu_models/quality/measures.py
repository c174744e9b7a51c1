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

import functools
import math
import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import torch

from gpu_models.quality.features import Extractor
from steinlab.estimates import Estimate

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
        return _merged([cls._of_chunk(chunk.double()) for chunk in torch.split(rows, CHUNK)])

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

    @functools.cached_property
    def root(self) -> torch.Tensor:
        """The covariance's root."""
        return _power(self.covariance, 0.5)


def frechet(sample: Moments, reference: Moments) -> float:
    r"""Return the Frechet distance of two Gaussians with these moments (not its root).

    Biased upward at finite counts, by about ``d / n`` of the covariance's trace and more: compare
    equal counts. Eigenvalues that rounding made negative count as zero.
    """
    c1, c2, root = sample.covariance, reference.covariance, reference.root
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


class Jackknifed(NamedTuple):
    """A value, its standard error (the reference counts as given), and the value without bias.

    ``unbiased`` is the jackknife's value, less the bias of order ``1 / n``.
    """

    value: float
    error: float
    unbiased: float


def frechet_estimate(rows: torch.Tensor, reference: Moments, groups: int = GROUPS) -> Jackknifed:
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
    parts = [Moments.of(rows[g::groups]) for g in range(groups)]
    value = frechet(_merged(parts), reference)
    left = [frechet(_merged(parts[:g] + parts[g + 1 :]), reference) for g in range(groups)]
    mean = sum(left) / groups
    square = sum((x - mean) ** 2 for x in left) * (groups - 1) / groups
    return Jackknifed(value, math.sqrt(square), groups * value - (groups - 1) * mean)


def _merged(parts: Sequence[Moments]) -> Moments:
    return functools.reduce(operator.add, parts)


def frechet_influence(rows: torch.Tensor, reference: Moments) -> torch.Tensor:
    r"""Return each row's influence on the Frechet distance, ``(n,)``: cheap errors, by one pass.

    ``psi_i = 2 <m1 - m2, y_i> + y_i' (I - T) y_i - tr((I - T) C1)``, ``y_i = x_i - m1`` and
    ``T = C2^(1/2) (C2^(1/2) C1 C2^(1/2))^(-1/2) C2^(1/2)`` the optimal map between the Gaussians.
    The standard error is ``std(psi) / sqrt(n)``; that of the difference of two runs from the same
    starts ``std(psi_a - psi_b) / sqrt(n)``. First order in ``1 / sqrt(n)``: trust it where n is
    many times d, and where it does not it exceeds or falls short of the jackknife.
    """
    sample = Moments.of(rows)
    root = reference.root
    transport = root @ _power(root @ sample.covariance @ root, -0.5) @ root
    slope = torch.eye(len(root), dtype=root.dtype, device=root.device) - transport
    shift = 2 * (sample.mean - reference.mean)
    parts = []
    for chunk in torch.split(rows, CHUNK):
        y = chunk.double() - sample.mean
        parts.append(y @ shift + torch.einsum("ni,ij,nj->n", y, slope, y))
    psi = torch.cat(parts)
    return psi - psi.mean()


def _share(hits: torch.Tensor) -> Estimate:
    """Return a share of the samples and its standard error (binomial, given the reference)."""
    p = float(hits.double().mean())
    return Estimate(p, math.sqrt(p * (1 - p) / len(hits)))


def precision_recall(
    samples: torch.Tensor, reference: torch.Tensor, k: int = NEIGHBOURS
) -> tuple[Estimate, Estimate]:
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
    return (_share(_inside(samples, reference, k)), _share(_inside(reference, samples, k)))


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


def paired_energy_rows(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the rows ``(n,)`` whose mean is :func:`steinlab.metrics.energy_distance_of_pairs`.

    Row ``i`` is the mean over ``j != i`` of ``|x_i - y_j| + |x_j - y_i| - |x_i - x_j| -
    |y_i - y_j|``. The mean's standard error is twice the rows' own, to ``O(1/n)``.
    """
    between = _distance_sums(x, y) + _distance_sums(y, x) - 2 * (x - y).square().sum(1).sqrt()
    return (between - _distance_sums(x, x) - _distance_sums(y, y)) / (len(x) - 1)


def _distance_sums(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    """Return the sums of ``|x_i - y_j|`` over ``j``, ``(n,)``, up to the products' rounding."""
    return torch.cat([square.sqrt().sum(1) for square in _squares(x, y)])


class ArtifactRate(NamedTuple):
    """Share of samples beyond a quantile of held-out pictures' scores, with its error.

    The error counts the samples and, to first order for equal laws, the threshold. ``floor`` is the
    same for held-out pictures that did not set the threshold: what a perfect model scores.
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


@dataclass(frozen=True)
class Bench:
    """What samples are measured against: one extractor's features of all real pictures.

    The Frechet distance is to the training set. Precision and recall are against the test set, of
    which as many rows are used as there are samples. A sample is an artifact when it is farther
    from the training set than 99 % of the test pictures are.
    """

    extractor: Extractor
    train: torch.Tensor  # (n, dim)
    moments: Moments
    test: torch.Tensor  # (m, dim)
    test_distance: torch.Tensor  # (m,) to the nearest training row

    @classmethod
    def of(cls, extractor: Extractor, train: torch.Tensor, test: torch.Tensor) -> Bench:
        """Return the bench of an extractor for real states ``(n, 784)`` and ``(m, 784)``."""
        known, unseen = extractor(train), extractor(test)
        return cls(extractor, known, Moments.of(known), unseen, nearest(unseen, known))

    @property
    def name(self) -> str:
        """The name of the Frechet distance."""
        return self.extractor.name

    def floor(self) -> dict[str, Any]:
        """Return what test pictures score: the best that a model can hope for."""
        found = frechet_estimate(self.test, self.moments)
        half = len(self.test) // 2
        precision, recall = precision_recall(self.test[:half], self.test[half:])
        return {
            self.name: found._asdict(),
            "pictures": len(self.test),
            "half_against_half": {"precision": vars(precision), "recall": vars(recall)},
        }

    def measure(self, states: torch.Tensor) -> dict[str, Any]:
        """Return every measure of the samples, with errors."""
        rows = self.extractor(states)
        return {self.name: frechet_estimate(rows, self.moments)._asdict(), **self.shares(rows)}

    def shares(self, rows: torch.Tensor, most: int | None = None) -> dict[str, Any]:
        """Return artifacts, and precision and recall of equally many rows, ``most`` at most."""
        count = min(len(rows), len(self.test), most or len(rows))
        precision, recall = precision_recall(rows[:count], self.test[:count])
        artifacts = artifact_rate(nearest(rows, self.train), self.test_distance)
        return {
            "precision": vars(precision),
            "recall": vars(recall),
            "artifacts": artifacts._asdict(),
        }


@dataclass(frozen=True)
class ConfidenceBench:
    """Artifacts by the classifier's doubt.

    A sample is one when the classifier's largest class probability is below that of 99 % of the
    test pictures.
    """

    extractor: Extractor
    test_doubt: torch.Tensor  # (m,) minus the largest probability

    @classmethod
    def of(cls, extractor: Extractor, test: torch.Tensor) -> ConfidenceBench:
        """Return the bench for test states ``(m, 784)``."""
        return cls(extractor, -extractor(test)[:, 0])

    @property
    def name(self) -> str:
        """The extractor's name."""
        return self.extractor.name

    def floor(self) -> dict[str, Any]:
        """Return how sure the classifier is of test pictures, at their median."""
        return {"median": -float(self.test_doubt.median()), "pictures": len(self.test_doubt)}

    def measure(self, states: torch.Tensor) -> dict[str, Any]:
        """Return the artifact rate of the samples and the median confidence."""
        doubt = -self.extractor(states)[:, 0]
        artifacts = artifact_rate(doubt, self.test_doubt)
        return {"artifacts": artifacts._asdict(), "median": -float(doubt.median())}


def measure(states: torch.Tensor, benches: Sequence[Bench | ConfidenceBench]) -> dict[str, Any]:
    """Return the measures of every bench, by the extractor's name."""
    return {bench.name: bench.measure(states) for bench in benches}
