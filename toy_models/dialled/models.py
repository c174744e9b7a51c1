"""Exact denoisers with a dialled error, under ``steinlab.models``: a law, a field and a size each.

Make others in Python: ``Dialled(law, field, Target(amount, unit))``.
"""

from collections.abc import Callable
from functools import partial

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


grid25_fourier = partial(
    _model,
    "grid25-fourier",
    "grid25",
    lambda law: fourier(law.dim),
    Target(RELATIVE, "relative"),
    f"a Fourier field of {RELATIVE} / sigma added to the score",
)
"""The 25 modes with a Fourier field, which is no gradient field."""

grid25_oversmoothed = partial(
    _model,
    "grid25-oversmoothed",
    "grid25",
    lambda law: smoothing(law, FACTOR),
    Target(1.0, "field"),
    f"deviations times {FACTOR}",
)
"""The exact denoiser of modes that are wider by half."""

digits_ripple = partial(
    _model,
    "digits-ripple",
    "digits",
    lambda law: ripple(law.dim),
    Target(RELATIVE, "relative"),
    f"a steep ripple of {RELATIVE} / sigma added to the score",
)
"""The digits with a steep ripple."""
