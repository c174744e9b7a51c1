"""A number with its error: what estimators and distances between samples return."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Estimate:
    """A number (or one a case) with its error: a standard error, or a bound where stated."""

    value: Any
    error: Any
