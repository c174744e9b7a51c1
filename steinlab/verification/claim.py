r"""What a claim is, and how evidence becomes a verdict.

A claim holds checks. A check draws cases, measures them once, and compares what was measured with
a formula; the same comparison applied to a falsified formula, or to cases that drop a condition,
must find a violation. Those are the claim's controls.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, field
from typing import Any

import numpy as np

from steinlab.errors import InputError, one_of, quote
from steinlab.verification.cases import Cases
from steinlab.verification.comparison import Comparison
from steinlab.verification.quantities import Number, Table

RUN_LEVEL, SAMPLED_TESTS = 1e-4, 80
"""Probability that a whole ledger run raises a false alarm, divided among this many sampled tests:
no fewer than the registered claims hold (a check's cases are one, its joint statistic another). A
check counts by its comparison, whatever its method; only where the cases are deterministic, the
method ``quadrature``, is a ``sampled`` tolerance asymptotic instead, and has no chance in it."""

FAMILY_LEVEL = RUN_LEVEL / SAMPLED_TESTS
"""Probability that any comparison of one sampled test fails although the formula is true."""


OWNERS = ("paper", "review", "peer", "laboratory", "user")
"""Whose statement a claim is: the paper's, its review's, a peer's, an aim of this laboratory, or,
where a claim does not say, that of whoever wrote the file or the package that it stands in."""

ID = re.compile(r"[^\W_][\w-]*")
"""What a claim may be called: the name goes into addresses, lists with commas and files."""

KINDS = ("identity", "tight", "upper", "lower", "order", "limit", "empirical")
"""What a claim states."""

VERDICTS = ("proved", "certified", "holds", "conditional", "refuted", "not-reproduced", "not-run")
"""What a claim can come to."""

TEXTS = ("id", "title", "statement", "source", "kind", "owner", "tried", "headline", "expected")
"""Fields of a claim that are text."""

METHODS = ("symbolic", "certified", "quadrature", "property", "monte-carlo", "neural")
"""How a check comes by its evidence; beside them stands the falsifier's, ``adversarial``."""

COUNTS_AS = "not_finite_counts_as"
"""Key of a check's notes: the ratio of measured to bound as which it counts what is not finite."""

EXACT_GRADE, SAMPLED_GRADE = 1e-6, 1e-2
"""Relative errors of the graded controls: of exact checks and of sampled ones."""


@dataclass(frozen=True)
class Effort:
    """How much to spend: the profile, and a generator seeded by content."""

    profile: str
    rng: np.random.Generator

    def count(self, quick: int) -> int:
        """Return the number of cases for this profile, given the quick one's."""
        return quick * FULL_FACTOR if self.profile == "full" else quick


FULL_FACTOR = 8
"""Cases in the full profile for one in the quick."""

PROFILES = ("quick", "full")


@dataclass(frozen=True)
class Check:
    """One kind of evidence.

    Parameters
    ----------
    name : str
    method : str
        One of :data:`METHODS`.
    restore : callable
        ``JSON of one case -> cases``, for replay; or the class of the cases, whose ``restore`` is
        that.
    draw : callable
        ``Effort -> batches of cases``.
    measure : callable
        ``cases -> data``; expensive, done once.
    compare : callable
        ``(data, formula) -> Comparison`` with one entry per case; cheap.
    pool : callable, optional
        ``(data of all batches, formula) -> Comparison``: a joint test of a sampled check.
    covers : bool
        Whether the check, if ``symbolic`` or ``certified``, decides the whole statement under its
        conditions, so that the verdict is ``proved`` or ``certified`` unless something speaks
        against it.
    available : callable, optional
        ``() -> reason`` why the check cannot run here (an extra not installed), empty if it can.
    notes : callable, optional
        ``() -> JSON`` to add to the evidence: axioms, the number of steps, a certificate's radius.
    locate : callable, optional
        ``JSON of one case -> (space, parameters)`` of the falsifier, so that a violation that was
        drawn is shrunk before it is written down.
    partly : callable, optional
        ``profile -> {what: reason}`` of the cases that the check leaves out here (a model that is
        not installed) while it runs on the others; the row lists them under ``not_looked_at``.
    seconds : float
        About what it takes in the quick profile: long checks start first, and for a few short
        ones no processes are started.
    """

    name: str
    method: str
    restore: Callable[[Mapping[str, Any]], Cases] | type[Any]
    _: KW_ONLY
    draw: Callable[[Effort], Sequence[Cases]]
    measure: Callable[[Any], Any]
    compare: Callable[[Any, Any], Comparison]
    pool: Callable[[Sequence[Any], Any], Comparison] | None = None
    covers: bool = False
    available: Callable[[], str] | None = None
    notes: Callable[[], Mapping[str, Any]] | None = None
    locate: Callable[[Mapping[str, Any]], tuple[Any, np.ndarray]] | None = None
    partly: Callable[[str], Mapping[str, str]] | None = None
    seconds: float = 1.0

    def __post_init__(self) -> None:
        """Refuse an unknown method; take the function where the class of the cases is given."""
        one_of(f"method of check {self.name}", self.method, METHODS)
        if isinstance(self.restore, type):
            kind: Any = self.restore
            object.__setattr__(self, "restore", kind.restore)

    def missing(self) -> str:
        """Return why the check cannot run here, empty if it can."""
        return self.available() if self.available else ""


@dataclass(frozen=True)
class NegativeControl:
    """A falsified formula that the claim's own checks must reject.

    ``checks`` restricts it to the checks named; empty means any of them may reject it.
    """

    name: str
    formula: Any
    checks: tuple[str, ...] = ()


@dataclass(frozen=True)
class Dropped:
    """A check on cases that lack a condition; it must be violated.

    ``unstated`` marks a condition that the claim's own statement does not mention: the claim then
    holds only conditionally.
    """

    name: str
    check: Check
    unstated: bool = False


@dataclass(frozen=True, kw_only=True)
class Claim:
    """A statement of a paper and everything needed to judge it.

    ``kind`` is one of :data:`KINDS`, ``latex`` the statement as formulas, one per displayed line.
    ``headline`` says in one sentence what was found, where the verdict is ``expected``: a template
    over ``numbers`` by their keys (``"cuts the error by {cut}"``), so that it holds no number of
    its own and shows the digits of the table. ``numbers`` and ``table`` take the finished evidence
    by check name, with the checks of the dropped conditions. ``finding`` holds the details: a text
    that is true where the verdict is ``expected``, or a function of the same evidence.
    ``search``, if any, gives the spaces (:class:`steinlab.verification.falsify.Space`) that the
    falsifier searches instead of those it reads off the checks' draws; an empty list forbids
    attacks. ``owner`` says whose statement it is, one of :data:`OWNERS`. ``tried``, for an
    experiment of a paper that was tried on our own models, says what was tried: where it fails, the
    verdict is ``not-reproduced`` and says nothing against figures measured on others. ``on``, if
    any, narrows the claim to subjects named by ids (``steinlab verify --only``), those that other
    packages register among them. ``beside`` is the id of a claim whose runs this one repeats: one
    process judges both, where several are at work.

    Raises
    ------
    InputError
        For a text or a condition that is none, an id that no file or list could hold, a kind, an
        owner or an expected verdict that there is not, no check, no control at all, a check or a
        control named twice.
    """

    id: str
    title: str
    statement: str
    source: str
    kind: str
    conditions: tuple[str, ...]
    formula: Any
    checks: tuple[Check, ...]
    controls: tuple[NegativeControl, ...]
    dropped: tuple[Dropped, ...] = ()
    finding: str | Callable[[Results], str]
    table: Callable[[Results], Table] | None = None
    search: Callable[[Claim], Sequence[Any]] | None = None
    owner: str = "user"
    tried: str = ""
    headline: str = ""
    numbers: Callable[[Results], Sequence[Number]] | None = None
    latex: tuple[str, ...] = ()
    expected: str = "holds"
    on: Callable[[Sequence[str]], Claim] | None = None
    beside: str = ""

    @property
    def failure(self) -> str:
        """The verdict where a case violates the claim."""
        return "not-reproduced" if self.tried else "refuted"

    def __post_init__(self) -> None:
        """Refuse what could not be judged, named or written down."""
        for name in TEXTS:
            if not isinstance(text := getattr(self, name), str):
                raise InputError(
                    f"{name} of claim {quote(self.id)} must be text, got {quote(text)}"
                )
        if not ID.fullmatch(self.id):
            raise InputError(
                "id of a claim must be letters, digits, - and _, the first a letter or a digit, "
                f"got {quote(repr(self.id))}"
            )
        for name in ("conditions", "latex"):
            texts = getattr(self, name)
            if not (isinstance(texts, tuple | list) and all(isinstance(t, str) for t in texts)):
                raise InputError(
                    f"{name} of claim {self.id} must be a tuple of texts, got {quote(texts)}"
                )
        one_of(f"kind of claim {self.id}", self.kind, KINDS)
        one_of(f"owner of claim {self.id}", self.owner, OWNERS)
        one_of(f"expected verdict of claim {self.id}", self.expected, VERDICTS)
        names = [check.name for check in (*self.checks, *(d.check for d in self.dropped))]
        controls = [*(c.name for c in self.controls), *(d.name for d in self.dropped)]
        for what, given in (("check", names), ("control", controls)):
            if not given:
                raise InputError(f"claim {self.id} must have a {what}, got none")
            if other := [name for name in given if not isinstance(name, str)]:
                raise InputError(
                    f"claim {self.id} must name each {what} by a text, got {quote(other[0])}"
                )
            if twice := sorted({name for name in given if given.count(name) > 1}):
                raise InputError(
                    f"claim {self.id} must name each {what} once, got {twice[0]} twice"
                )


@dataclass(frozen=True)
class Result:
    """A finished check: its comparison over all cases, the joint test, and what was measured."""

    check: Check
    batches: Sequence[Cases]
    data: Sequence[Any]
    comparison: Comparison
    pooled: Comparison | None = field(default=None)

    def describe(self, index: int) -> dict[str, Any]:
        """Return case ``index``, counted over all batches, as JSON."""
        for batch in self.batches:
            if index < len(batch):
                return batch.describe(index)
            index -= len(batch)
        raise IndexError(index)


Results = Mapping[str, Result]
"""Finished checks by name."""
