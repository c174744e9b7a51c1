"""Hypothesis profiles, the thread count and the order, for every test."""

from __future__ import annotations

import gc
import os
import signal
import sys
from collections.abc import Generator
from importlib import import_module
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import HealthCheck, settings

from steinlab.workers import keep_memory

keep_memory()

settings.register_profile(
    "ci",
    derandomize=True,
    deadline=None,
    max_examples=40,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("long", deadline=None, max_examples=2000)
os.environ.pop("COLUMNS", None)  # tables have the width of a pipe, whatever the terminal
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "ci"))


PACKAGES = ("analytic", "steinlab", "toy_models", "gpu_models")


def pytest_collect_file(file_path: Path) -> None:
    """Import a module whose doctests run by its name: pytest would run a second copy of it."""
    words = file_path.relative_to(Path(__file__).parent).with_suffix("").parts
    if file_path.suffix == ".py" and words[0] in PACKAGES and words[-1] != "__main__":
        import_module(".".join(words).removesuffix(".__init__"))


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, Any, Any]:
    """Collect without looking for garbage: what is imported stays, and need not be looked at."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options that run files, and the tests of each, in another order."""
    parser.addoption("--shuffle", type=int, metavar="SEED", help="order by this seed")
    parser.addoption("--only", action="append", metavar="PATH", help="order these; else all")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Shuffle; the tests of a file stay together, for they share what it sets up."""
    seed = config.getoption("--shuffle")
    if seed is None:
        return
    roots = [config.rootpath / place for place in config.getoption("--only") or ["."]]
    chosen = [i for i, item in enumerate(items) if any(map(item.path.is_relative_to, roots))]
    some, rng = [items[i] for i in chosen], Random(seed)
    places = {file: rng.random() for file in dict.fromkeys(item.path for item in some)}
    rng.shuffle(some)
    some.sort(key=lambda item: places[item.path])
    for i, item in zip(chosen, some, strict=True):
        items[i] = item


@pytest.fixture(scope="session", autouse=True)
def _interruptible() -> None:
    """A shell starts a background job with interrupts ignored, which tests would inherit."""
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)
