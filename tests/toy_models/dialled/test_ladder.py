"""The perturbation bound holds at every point of the ladder, and a constant 1 % lower does not."""

from __future__ import annotations

import matplotlib as mpl
import numpy as np
import pytest

from steinlab.claims.error_bounds.perturbation import (
    FALSE_BOUNDS,
    Bounds,
    coefficient_bound,
    state_bound,
)
from toy_models.dialled.ladder import KINDS, SIZES, STEPS, climb
from toy_models.figures import perturbation_ladder

RUNGS = (SIZES[0], 1e-3, SIZES[-1])


FEW = STEPS[2:8:2]
"""Of the nine steps one for each process and each level."""


@pytest.fixture(scope="module", params=[FEW, pytest.param(STEPS, marks=pytest.mark.slow)], ids=len)
def ladder(request):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toy_models.dialled.ladder.STEPS", request.param)
        return climb(RUNGS)


def test_it_holds_at_every_point(ladder):
    compared = ladder.compared()
    assert compared.decided.all()
    assert not compared.violated.any()
    assert len(ladder.size) in [len(KINDS) * 2 * 3 * len(s) * len(RUNGS) for s in (FEW, STEPS)]


@pytest.mark.parametrize("kind", KINDS)
def test_a_constant_one_percent_lower_fails_for_every_kind(ladder, kind):
    broken = Bounds(lambda d: 0.99 * coefficient_bound(d), lambda d: 0.99 * state_bound(d))
    violated = ladder.compared(broken).violated.reshape(-1, 2).any(axis=1)
    assert violated[ladder.kind == kind].any()


@pytest.mark.parametrize("name", FALSE_BOUNDS)
def test_falsified_bounds_fail(ladder, name):
    assert ladder.compared(FALSE_BOUNDS[name]).violated.any()


def test_the_error_is_the_dialled_one(ladder):
    """The integral of ``(s_model - s)^2`` against the closed form that set it."""
    dialled = np.isin(ladder.kind, ("Fourier", "bias", "ripple"))
    np.testing.assert_allclose(ladder.error[dialled], ladder.size[dialled], rtol=1e-9)
    assert (ladder.error[~dialled] < ladder.size[~dialled]).all()


@pytest.mark.parametrize("kind", KINDS)
def test_it_is_tight_where_the_error_is_large(ladder, kind):
    best = ladder.tightness[ladder.kind == kind].max()
    assert 0.99 < best < 1 + 1e-4


def test_the_deviation_is_linear_in_a_small_error(ladder):
    small, large = (ladder.size == size for size in RUNGS[:2])
    slope = ladder.deviation[large] / ladder.deviation[small]
    seen = ladder.deviation[small] > 1e3 * ladder.deviation_error[small]
    assert seen.mean() > 0.5
    expected = ladder.error[large] / ladder.error[small]
    assert np.median(np.abs(slope / expected - 1)[seen]) < 0.01


def test_the_figure_draws_what_was_computed(monkeypatch):
    monkeypatch.setattr("toy_models.dialled.ladder.STEPS", FEW)
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    data = perturbation_ladder.compute(0, sizes=RUNGS[1:3], kinds=("bias", "ripple"))
    assert set(data.arrays["kind"]) == {"bias", "ripple"}
    assert (data.config["violated"], data.config["undecided"]) == (0, 0)
    assert data.config["points"] == len(data.arrays["error"]) == 2 * 2 * 3 * len(FEW) * 2
    figure, ax = plt.subplots()
    perturbation_ladder.plot([ax], data)
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels[0] == "bound"
    assert labels[1].startswith("bias, median ")
    assert ax.get_xscale() == ax.get_yscale() == "log"
    plt.close(figure)
