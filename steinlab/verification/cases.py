"""Batches of cases: what a check draws, measures together, and writes down one by one."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Protocol, Self


class Cases(Protocol):
    """A batch of cases that can be written down one by one."""

    def __len__(self) -> int:
        """Return the number of cases."""

    @property
    def dataset(self) -> str | None:
        """Name of the data set the cases are about, if any."""

    def describe(self, index: int) -> dict[str, Any]:
        """Return case ``index`` as JSON; the check's ``restore`` reads it back."""


@dataclass(frozen=True)
class SingleCase:
    """A batch of one case, whose fields are what is written down of it."""

    dataset: ClassVar[str | None] = None

    def __len__(self) -> int:
        """Return 1."""
        return 1

    def describe(self, index: int) -> dict[str, Any]:  # noqa: ARG002
        """Return the case as JSON."""
        return {f.name: _turned(getattr(self, f.name), tuple, list) for f in fields(self)}

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read the case back."""
        return cls(**{name: _turned(value, list, tuple) for name, value in case.items()})


def _turned(value: Any, kind: Any, other: Any) -> Any:
    """Return a value with sequences of one kind, and those within them, as another."""
    return other(_turned(one, kind, other) for one in value) if isinstance(value, kind) else value


@dataclass(frozen=True)
class JsonCases:
    """A batch of cases that are JSON objects themselves."""

    dataset: ClassVar[str | None] = None

    rows: tuple[Mapping[str, Any], ...]

    def __len__(self) -> int:
        """Return the number of cases."""
        return len(self.rows)

    def describe(self, index: int) -> dict[str, Any]:
        """Return a case."""
        return dict(self.rows[index])

    @classmethod
    def restore(cls, case: Mapping[str, Any]) -> Self:
        """Read a case back."""
        return cls((case,))
