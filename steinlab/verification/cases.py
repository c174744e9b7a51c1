"""Batches of cases: what a check draws, measures together, and writes down one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self


class Cases(Protocol):
    """A batch of cases that can be written down one by one."""

    def __len__(self) -> int:
        """Return the number of cases."""
        ...

    @property
    def dataset(self) -> str | None:
        """Name of the data set the cases are about, if any."""
        ...

    def describe(self, index: int) -> dict[str, Any]:
        """Return case ``index`` as JSON; the check's ``restore`` reads it back."""
        ...


@dataclass(frozen=True)
class SingleCase:
    """A batch of one case, whose fields are what is written down of it."""

    dataset: ClassVar[str | None] = None

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def describe(self, index: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the case as JSON."""
        return {f.name: getattr(self, f.name) for f in fields(self)}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back."""
        return cls(**case)
