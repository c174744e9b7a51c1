from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.steinlab.claims.small import BROKEN, forget


@pytest.fixture(autouse=True)
def fresh() -> Iterator[None]:
    """Leave nothing to the next test that a broken formula computed."""
    yield
    if BROKEN:
        forget()
        BROKEN.clear()
