"""A solver around another, whose traits it keeps."""

from dataclasses import dataclass

from analytic import NoiseLevel
from steinlab.solvers import Solver


@dataclass(frozen=True)
class Wrapped:
    """What a solver with a step of its own takes from the one within; no history by default."""

    inner: Solver

    @property
    def name(self) -> str:
        """Return the id of the solver within."""
        return self.inner.name

    @property
    def order(self) -> int:
        """Return the order of the solver within."""
        return self.inner.order

    @property
    def depth(self) -> int:
        """Return 0."""
        return 0

    @property
    def ends_at_zero(self) -> bool:
        """Return whether the solver within can end at zero noise."""
        return self.inner.ends_at_zero

    def evaluations(self, t: NoiseLevel) -> int:
        """Return the evaluations of the solver within."""
        return self.inner.evaluations(t)
