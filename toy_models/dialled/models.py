"""Exact denoisers with a dialled error, under ``steinlab.models``: a law, a field and a size each.

Others are a line of Python: ``Dialled(law, field, Target(amount, unit))``.
"""

from __future__ import annotations

from collections.abc import Callable

from steinlab.diffusion.models import Model
from toy_models.dialled.denoiser import Dialled, Target
from toy_models.dialled.fields import Field, Law, fourier, ripple, smoothing
from toy_models.trained.data import DATA

RELATIVE = 0.1
"""``sigma sqrt F``: the score is off by a tenth of its own size ``1 / sigma``."""

FACTOR = 1.5
"""What the deviations of an over-smoothed law are multiplied by."""


def _model(
    name: str, data: str, field: Callable[[Law], Field], target: Target, words: str
) -> Model:
    law = DATA[data].law
    assert law is not None
    known = law
    return Model(
        name=name,
        dim=64 if data == "digits" else 2,
        size=f"the exact denoiser of {data}, {words}",
        provenance=f"{DATA[data].source}; error in closed form",
        schedule="edm",
        build=lambda: Dialled(known(), field(known()), target),
        data_law=known,
        shape=(1, 8, 8) if data == "digits" else (),
    )


def grid25_fourier() -> Model:
    """Return the 25 modes with a random Fourier field, no gradient, a tenth of the score."""
    target = Target(RELATIVE, "relative")
    words = f"a Fourier field of {RELATIVE} / sigma added to the score"
    return _model("grid25-fourier", "grid25", lambda law: fourier(law.dim), target, words)


def grid25_oversmoothed() -> Model:
    """Return the exact denoiser of modes half as wide again."""
    words = f"deviations times {FACTOR}"
    return _model(
        "grid25-oversmoothed",
        "grid25",
        lambda law: smoothing(law, FACTOR),
        Target(1.0, "field"),
        words,
    )


def digits_ripple() -> Model:
    """Return the digits with a steep ripple, a tenth of the score."""
    target = Target(RELATIVE, "relative")
    words = f"a steep ripple of {RELATIVE} / sigma added to the score"
    return _model("digits-ripple", "digits", lambda law: ripple(law.dim), target, words)
