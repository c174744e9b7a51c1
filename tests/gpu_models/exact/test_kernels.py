"""Triton's kernels without a device, where Triton is installed."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

pytestmark = pytest.mark.skipif(not find_spec("triton"), reason="needs Triton")


def interpreted(*words: str) -> dict[str, float]:
    script = Path(__file__).with_name("interpreted.py")
    out = subprocess.run(
        [sys.executable, str(script), *words], capture_output=True, text=True, check=False
    )
    assert out.returncode == 0, out.stderr
    found: dict[str, float] = json.loads(out.stdout)
    return found


def test_the_fused_kernels_give_the_moments_within_the_stated_error() -> None:
    assert max(interpreted().values()) < 0.3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("tl.store(row + place, 0.0)", "tl.store(row + place, 0.0, mask=place < 0)"),
        ("weights = scale * tl.load", "weights = tl.load"),
        ("fade * held + enters * former", "fade * held"),
        ("fade * held + enters * former", "held + enters * former"),
        ("acc - tl.where(live, bias * halves", "acc - tl.where(live, bias + halves"),
        ("tl.where(best > ref + MARGIN, best, ref)", "tl.where(best > ref + 3, best, ref)"),
        ("((1, 0), (0, dim), (0, 0))", "((0, dim), (0, 0))"),
        ("((1, 0), (0, dim), (0, 0))", "((1, 0), (0, 0))"),
        ("[large, small, large]", "[large, large, large]"),
        ("tl.store(out, _round_tf32(row - large)", "tl.store(out, 0 * row"),
        ("kept += small", "kept += 0"),
        ("small = _round_tf32(weights - kept)", "small = 0 * kept"),
    ],
)
def test_a_kernel_with_a_term_lost_exceeds_it(old: str, new: str) -> None:
    assert max(interpreted(old, new).values()) > 1
