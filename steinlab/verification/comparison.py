"""Measured against predicted, case by case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

UNDECIDED = 1e-3
"""A case whose rounding tolerance exceeds this part of its scale is undecided, never passed."""


@dataclass(frozen=True)
class Comparison:
    """Measured against predicted, case by case; all arrays have shape ``(C,)``.

    Attributes
    ----------
    measured, predicted, tolerance : array
        Equal within the tolerance, or with ``upper``: ``measured <= predicted + tolerance``.
    upper : bool
        Whether ``predicted`` is an upper bound.
    scale : array
        What an error is relative to; by default the larger of the two.
    sampled : bool
        Whether the tolerance is statistical or asymptotic; then no case is undecided.
    grade : float, optional
        The relative error that the graded control must expose, where the default is not apt.
    """

    measured: np.ndarray
    predicted: np.ndarray
    tolerance: np.ndarray
    upper: bool = False
    scale: np.ndarray | None = None
    sampled: bool = False
    grade: float | None = None

    @property
    def excess(self) -> np.ndarray:
        """How far each case violates the relation (negative: not at all)."""
        difference = self.measured - self.predicted
        return np.asarray(difference if self.upper else np.abs(difference))

    @property
    def decided(self) -> np.ndarray:
        """Which cases have a rounding tolerance small enough to say anything."""
        if self.sampled:
            return np.asarray(np.isfinite(self.tolerance))
        larger = np.maximum(np.abs(self.measured), np.abs(self.predicted))
        scale = larger if self.scale is None else self.scale
        return np.asarray(np.isfinite(self.excess) & (self.tolerance <= UNDECIDED * scale))

    @property
    def violated(self) -> np.ndarray:
        """Which decided cases break the relation."""
        return np.asarray(self.decided & (self.excess > self.tolerance))

    def take(self, index: int) -> Comparison:
        """Return one case's comparison."""
        part = slice(index, index + 1)
        scale = None if self.scale is None else np.asarray(self.scale)[part]
        return replace(
            self,
            measured=self.measured[part],
            predicted=self.predicted[part],
            tolerance=self.tolerance[part],
            scale=scale,
        )

    def graded(self, grade: float) -> Comparison:
        """Return the comparison with a formula off by the relative amount ``grade``."""
        if self.upper:  # lowered, whatever its sign
            return replace(self, predicted=self.predicted * (1 - grade * np.sign(self.predicted)))
        return replace(self, predicted=self.predicted * (1 + grade))

    def detects(self) -> float:
        """Return the smallest relative error of the formula that some decided case exposes."""
        slack = self.tolerance - self.excess if self.upper else self.tolerance + self.excess
        slack = np.where(self.violated, self.tolerance, slack)  # exposed as it stands
        size = np.abs(self.predicted)
        usable = self.decided & (size > 0)
        return float((slack[usable] / size[usable]).min()) if usable.any() else float("inf")

    def tightness(self) -> float | None:
        """Return the largest ``measured / bound`` over decided cases; None for identities."""
        usable = self.decided & (self.predicted > 0)
        if not self.upper or not usable.any():
            return None
        return float((self.measured[usable] / self.predicted[usable]).max())

    def worst(self) -> int:
        """Return the case nearest to its limit, by excess over tolerance."""
        with np.errstate(invalid="ignore"):
            ratio = self.excess / np.maximum(self.tolerance, 1e-300)
        return int(np.argmax(np.where(self.decided, ratio, -np.inf)))


def single(measured: float, predicted: float, tolerance: float, **options: Any) -> Comparison:
    """Return the comparison of one case; ``options`` are those of a comparison."""
    values = np.array([[measured], [predicted], [tolerance]])
    return Comparison(values[0], values[1], values[2], **options)


def join(comparisons: Sequence[Comparison]) -> Comparison:
    """Concatenate comparisons of one kind."""
    first = comparisons[0]
    scale = None
    if first.scale is not None:
        scale = np.concatenate([np.asarray(c.scale) for c in comparisons])
    return replace(
        first,
        measured=np.concatenate([c.measured for c in comparisons]),
        predicted=np.concatenate([c.predicted for c in comparisons]),
        tolerance=np.concatenate([c.tolerance for c in comparisons]),
        scale=scale,
    )
