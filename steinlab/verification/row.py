"""A row of the ledger, as JSON holds it: a claim with its verdict and the evidence for it."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict


class Heading(TypedDict):
    """What a row repeats of its claim; ``part`` is the part of the paper that it belongs to."""

    id: str
    title: str
    statement: str
    source: str
    kind: str
    owner: str
    tried: str
    conditions: Sequence[str]
    latex: Sequence[str]
    expected: str
    part: str


class Judged(TypedDict):
    """What came out.

    ``headline`` is empty unless the verdict is the expected one; ``finding`` holds the details, and
    of a claim that was not run the reason. ``numbers`` are :class:`steinlab.verification.claim
    .Number` as mappings, ``worst`` the case nearest to its limit, ``detects`` the smallest relative
    error that any check would expose. ``crash`` is a traceback, ``file`` where a claim of a file
    stands.
    """

    verdict: str
    headline: str
    finding: str
    numbers: Sequence[Mapping[str, Any]]
    cases: int
    undecided: int
    worst: Mapping[str, Any] | None
    tightness: float | None
    detects: float | None
    evidence: Sequence[Mapping[str, Any]]
    controls: Sequence[Mapping[str, Any]]
    not_looked_at: Sequence[Mapping[str, str]]
    table: Mapping[str, Any] | None
    crash: NotRequired[str]
    file: NotRequired[Mapping[str, str]]
    seconds: NotRequired[float]


class Row(Heading, Judged):
    """A claim with what came out."""
