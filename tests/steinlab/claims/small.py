"""The claims with fewer cases, and formulas broken in place."""

from __future__ import annotations

import functools
import gc
import importlib
import inspect
import textwrap
from dataclasses import replace
from typing import Any

import pytest

from steinlab.verification.claim import Effort
from steinlab.verification.judge import judge
from steinlab.verification.ledger import load_claim

OURS = ("analytic", "steinlab", "toy_models", "gpu_models")
"""Where functions keep what they computed."""

SMALLER = 6
"""Cases of the quick profile for one here."""


def shrink(monkeypatch: pytest.MonkeyPatch, smaller: int = SMALLER) -> None:
    """Draw a sixth of the quick profile's cases, or fewer."""
    monkeypatch.setattr(Effort, "count", lambda _, quick: max(1, quick // smaller))


def judged(claim_id: str, *checks: str) -> dict[str, Any]:
    """Judge a claim by these of its checks alone, its finding left out."""
    claim = load_claim(claim_id)
    kept = tuple(check for check in claim.checks if check.name in checks)
    assert len(kept) == len(checks), f"checks must be among {[c.name for c in claim.checks]}"
    others = {check.name for check in claim.checks} - set(checks)
    return judge(
        replace(
            claim,
            checks=kept,
            controls=tuple(c for c in claim.controls if not others.issuperset(c.checks or checks)),
            dropped=(),
            finding=lambda _: "",
            table=None,
            headline="",
            numbers=None,
        )
    )


BROKEN: list[str] = []
"""Functions that the test in progress has broken."""


def _caches() -> list[Any]:
    """The caches of the laboratory's own functions among the objects that are not frozen."""
    kept = (one for one in gc.get_objects() if isinstance(one, functools._lru_cache_wrapper))
    return [one for one in kept if one.__module__.startswith(OURS)]


@functools.cache
def _settled() -> list[Any]:
    """The caches that there are at the first call.

    Every other object of then is frozen, so that later ones are found without a look at millions.
    """
    gc.unfreeze()
    gc.collect()
    found = _caches()
    gc.freeze()
    return found


def forget() -> None:
    """Empty every cache of the laboratory's own functions."""
    for one in (*_settled(), *_caches()):
        one.cache_clear()


def break_source(
    monkeypatch: pytest.MonkeyPatch, module: str, name: str, *, old: str, new: str
) -> None:
    """Replace text in a function's source, for everyone who holds the function.

    What claims keep of their runs is forgotten, now and at the end of the test.
    """
    forget()
    BROKEN.append(name)
    place: Any = importlib.import_module(module)
    for part in name.split("."):
        place = getattr(place, part)
    source = textwrap.dedent(inspect.getsource(place))
    assert old in source, f"{old} is not in {module}.{name}"
    scope: dict[str, Any] = {}
    exec(
        compile("from __future__ import annotations\n" + source.replace(old, new), module, "exec"),
        vars(importlib.import_module(module)).copy(),
        scope,
    )
    monkeypatch.setattr(place, "__code__", scope[place.__name__].__code__)
