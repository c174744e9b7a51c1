"""Real pictures' features, and all measures of samples against them."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from gpu_models.quality.features import Extractor
from gpu_models.quality.measures import (
    Estimate,
    Moments,
    artifact_rate,
    frechet_estimate,
    nearest,
    precision_recall,
)


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
            self.name: plain(found),
            "pictures": len(self.test),
            "half_against_half": {
                "precision": dataclasses.asdict(precision),
                "recall": dataclasses.asdict(recall),
            },
        }

    def measure(self, states: torch.Tensor) -> dict[str, Any]:
        """Return every measure of the samples, with errors."""
        rows = self.extractor(states)
        count = min(len(rows), len(self.test))
        precision, recall = precision_recall(rows[:count], self.test[:count])
        artifacts = artifact_rate(nearest(rows, self.train), self.test_distance)
        return {
            self.name: plain(frechet_estimate(rows, self.moments)),
            "precision": dataclasses.asdict(precision),
            "recall": dataclasses.asdict(recall),
            "artifacts": dataclasses.asdict(artifacts),
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
        return {"artifacts": dataclasses.asdict(artifacts), "median": -float(doubt.median())}


def plain(estimate: Estimate) -> dict[str, float]:
    """Return an estimate without its replicates."""
    return {"value": estimate.value, "error": estimate.error, "unbiased": estimate.unbiased}


def measure(states: torch.Tensor, benches: Sequence[Bench | ConfidenceBench]) -> dict[str, Any]:
    """Return the measures of every bench, by the extractor's name."""
    return {bench.name: bench.measure(states) for bench in benches}
