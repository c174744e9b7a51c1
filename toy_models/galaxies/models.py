r"""Read the score networks of galaxies inside the package galaxygrad 0.2.1.

They are read from the user's own installation, without importing it (that would need JAX): ``make
galaxies``, or ``pip install --no-deps galaxygrad==0.2.1``. The files carry no licence.

The process is variance preserving with ``int_beta(t) = t`` for ``t`` in (0, 10] (the package's
``scorenet.py`` and ``generate.py``). With ``dx = -x/2 dt + dw`` that is

    alpha = exp(-t/2),   sigma^2 = 1 - exp(-t),   (sigma/alpha)^2 = e^t - 1,   t = log(1 + r^2),

and a network returns the score at ``(x, t)``. The noisiest level is ``r = sqrt(e^10 - 1) = 148.4``.

**Coordinates.** :func:`steinlab.diffusion.networks.timed_denoiser` rescales any process's states,
and the models' own ``schedule`` is ``edm``, the same levels as ``x / alpha``: in VP coordinates the
paper's coefficient is in the hundreds, of either sign, where ``alpha`` is small (claim
``vp-singularity``).

**Small noise.** Nothing says down to which time a network was trained, and below some level its
output is nearly constant. The grids' last level before zero noise, ``GalaxyNetwork.least``, is our
choice from Stein's identity on the network's own samples (``docs/networks.md`` has the numbers).
Below it the network is still asked at its own ``t``; nothing is extrapolated or clipped. Above ``t
= 10`` it is refused.

**States** are ``log(1 + image) / 0.1``, as the package transforms its images. Their scale and the
background (0, but 1 for LSST and Roman) are read off the samples. The two ``log`` networks, which
the package holds but does not use, have other states, by their range ``log(0.02 + flux)``: our
inference.

**Pictures.** A galaxy's core is a hundred times brighter than its disc, so the scale is not linear:
``grey = asinh(flux / 0.02) / asinh(brightest / 0.02)``, linear below a flux of 0.02 and logarithmic
above, black at 0 (and below), white at ``brightest``, the same for all pictures of a network.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from steinlab.diffusion.models import Model
from steinlab.diffusion.pictures import Display
from steinlab.errors import InputError
from toy_models.galaxies.weight_files import count_parameters, mixer_shapes, problem, read_leaves

if TYPE_CHECKING:
    from steinlab.diffusion.networks import NetworkDenoiser
    from toy_models.galaxies.mixer import ScoreMixer

PACKAGE, VERSION = "galaxygrad", "0.2.1"

INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}, or make galaxies"

LAST_TIME = 10.0

PIXELS_AT_ONCE = 2**20
"""Of the pictures that a network sees at once: its hidden units are 32 float32 per pixel."""

RATIO_MAX = math.sqrt(math.expm1(LAST_TIME))
"""``sigma / alpha`` at the last time."""


@dataclass(frozen=True)
class GalaxyNetwork:
    """One of the package's networks; called, it returns its ``Model``.

    Parameters
    ----------
    name : str
    file : str
        In the package's folder.
    side : int
        Pixels of a picture's side.
    survey : str
    digest : str
        SHA-256 of the file in version 0.2.1.
    display : Display
    least : float
        Least ``sigma / alpha`` of a grid before zero noise; the module's text says why.
    """

    name: str
    file: str
    side: int
    survey: str
    digest: str
    display: Display
    least: float = 0.05

    def __call__(self) -> Model:
        """Return the model; ``missing`` says what keeps it from being available."""
        count = count_parameters(mixer_shapes(self.side))
        return Model(
            name=self.name,
            dim=self.side**2,
            size=f"{count:,} parameters, {self.side} x {self.side} pixels",
            provenance=f"{PACKAGE} {VERSION}, {self.file} ({self.survey})",
            schedule="edm",
            build=self.denoiser,
            shape=(1, self.side, self.side),
            display=self.display,
            sigma_range=(self.least, RATIO_MAX),
            missing=self.missing(),
        )

    def missing(self, folder: Path | None = None) -> str:
        """Return what is missing and how to get it, or nothing."""
        if folder is None:
            folder, reason = package_folder()
            if folder is None:
                return f"{reason}: {INSTALL}"
        wrong = problem(folder / self.file, mixer_shapes(self.side), self.digest)
        again = f"pip install --no-deps --force-reinstall {PACKAGE}=={VERSION}"
        return f"{wrong}: {again}" if wrong else ""

    def network(self, folder: Path | None = None) -> ScoreMixer:
        """Return the torch module in float32, ``(pictures, t) -> score``, of the installed package.

        Raises
        ------
        InputError
            If the package is missing or of another version, or the file is not the one verified.
        """
        from toy_models.galaxies.mixer import ScoreMixer, set_leaves

        missing = self.missing(folder)
        if missing:
            raise InputError(missing)
        folder = folder or package_folder()[0]
        assert folder is not None
        net = ScoreMixer(self.side)
        set_leaves(net, read_leaves(folder / self.file, mixer_shapes(self.side)))
        return net.requires_grad_(False).eval()

    def denoiser(self, **options: Any) -> NetworkDenoiser:
        """Return the network as a denoiser at any level with ``sigma / alpha`` up to 148.4.

        ``options`` are ``dtype`` (by default float32), ``device`` and ``rows`` of
        :class:`steinlab.diffusion.networks.NetworkDenoiser`.
        """
        import torch

        from steinlab.diffusion.autodiff import Pulled
        from steinlab.diffusion.networks import timed_denoiser

        device, dtype = options.get("device", "cpu"), options.get("dtype", torch.float32)
        net = self.network().to(device=device, dtype=dtype)
        options = {"rows": max(1, PIXELS_AT_ONCE // self.side**2), **options}
        shape = (1, self.side, self.side)
        made = timed_denoiser(net, shape, prediction="score", time_of=time_of, **options)
        return replace(made, products=Pulled)


def time_of(ratio: float) -> float:
    """Return ``t = log(1 + r^2)``.

    Raises
    ------
    InputError
        Beyond the last time, 10, with 1e-9 of slack for rounding.

    Examples
    --------
    >>> round(time_of(RATIO_MAX), 12)
    10.0
    """
    if not 0 <= ratio <= RATIO_MAX * (1 + 1e-9):
        raise InputError(
            f"sigma/alpha of a galaxy network must be in 0 to {RATIO_MAX:.4g}, got {ratio:.6g}"
        )
    return min(math.log1p(ratio * ratio), LAST_TIME)


def package_folder() -> tuple[Path | None, str]:
    """Return the folder of the installed package, not importing it, or None and the reason."""
    spec = find_spec(PACKAGE)
    if spec is None or spec.origin is None:
        return None, f"{PACKAGE} {VERSION} is not installed"
    try:
        found = version(PACKAGE)
    except PackageNotFoundError:
        found = "no version"
    if found != VERSION:
        return None, f"{PACKAGE} must have version {VERSION}, found {found} in {spec.origin}"
    return Path(spec.origin).parent, ""


SCALE = 0.1
"""States are ``log(1 + image) / SCALE``."""

SOFTENING = 0.02
"""Flux at which the stretch turns from linear to logarithmic."""

LOG_FLOOR = 0.02
"""States of the ``log`` networks are taken for ``log(LOG_FLOOR + flux)``."""


def _display(formula: str, flux: Callable[[np.ndarray], np.ndarray], brightest: float) -> Display:
    def grey(states: np.ndarray) -> np.ndarray:
        return np.arcsinh(flux(states) / SOFTENING) / math.asinh(brightest / SOFTENING)

    words = f"asinh(flux / {SOFTENING}), flux = {formula}, black at 0, white at {brightest:.3g}"
    return Display(words, grey)


def image_display(background: float, brightest: float) -> Display:
    """Return the display of states ``log(1 + image) / 0.1`` with a constant background.

    Examples
    --------
    >>> image_display(0.0, 1.0).grey(np.array([0.0, 10 * np.log(2)])).round(12)
    array([0., 1.])
    """
    formula = f"exp({SCALE} x) - {1 + background:g}"
    return _display(formula, lambda x: np.expm1(SCALE * x) - background, brightest)


def log_display(brightest: float) -> Display:
    """Return the display of states ``log(0.02 + flux)``."""
    return _display(f"exp(x) - {LOG_FLOOR}", lambda x: np.exp(x) - LOG_FLOOR, brightest)


DIGESTS = {
    "eqx_hsc_ScoreNet32": "cb926562fcdfcbd33952fea8b2394074e75cb652fb7824c4c809a5f89a0a6532",
    "eqx_hsc_ScoreNet64": "4758114b1b77e4640ca7b834a976202aeb126fd7332ec07842af46d72c6b2e01",
    "eqx_hsc_LogNet32": "49873516d95c02506fb21c386419bc3915cc88b90c92d90adc718dd3b7950169",
    "eqx_hsc_LogNet64": "6d1e7387ff54a4142e68844acee1a37f42f0d3ec9ad1f1938d5f47c2ee25ee40",
    "eqx_ZTF_ScoreNet32": "60b29e6b9b7b4baa4ddc84132d083991c9e1e2910f55f3e9ae16e65bf0df8f47",
    "eqx_ZTF_ScoreNet64": "806cb83de98d8aff924dd13b267bcb157d72ddb819804a541134a06adb391065",
    "eqx_lsst_ScoreNet60": "93ef40f17a6e7e87e6527c90d5c1d4f2b17c77bbedfc14b08d014c53aa2db0e0",
    "eqx_quasar_lens72": "b1574b390d2e450521f6234ff3f3288937c53237a76189883d61342c9d293c2f",
    "eqx_roman_Scorenet120": "68a1d78410c877b7b50f466b505cb75d073f1f44e904420ed0fd9fb678201b03",
}
"""SHA-256 of each network's file in version 0.2.1."""


def _network(name: str, file: str, survey: str, display: Display, **more: float) -> GalaxyNetwork:
    side = int(name.rpartition("-")[2])
    return GalaxyNetwork(
        f"galaxies-{name}", f"{file}.eqx", side, survey, DIGESTS[file], display, **more
    )


HSC, LOG = "Hyper Suprime-Cam", "Hyper Suprime-Cam, logarithms"
ZTF = "Zwicky Transient Facility"
HSC_32 = _network("hsc-32", "eqx_hsc_ScoreNet32", HSC, image_display(0, 1))
HSC_64 = _network("hsc-64", "eqx_hsc_ScoreNet64", HSC, image_display(0, 1.5))
HSC_LOG_32 = _network("hsc-log-32", "eqx_hsc_LogNet32", LOG, log_display(1), least=0.1)
HSC_LOG_64 = _network("hsc-log-64", "eqx_hsc_LogNet64", LOG, log_display(1), least=0.1)
ZTF_32 = _network("ztf-32", "eqx_ZTF_ScoreNet32", ZTF, image_display(0, 1.5))
ZTF_64 = _network("ztf-64", "eqx_ZTF_ScoreNet64", ZTF, image_display(0, 4))
LSST_60 = _network("lsst-60", "eqx_lsst_ScoreNet60", "Rubin LSST", image_display(1, 1))
QUASAR_72 = _network(
    "quasar-72", "eqx_quasar_lens72", "lensed quasars", image_display(0, 2), least=0.1
)
ROMAN_120 = _network(
    "roman-120", "eqx_roman_Scorenet120", "Roman Space Telescope", image_display(1, 1)
)

NETWORKS = (HSC_32, HSC_64, HSC_LOG_32, HSC_LOG_64, ZTF_32, ZTF_64, LSST_60, QUASAR_72, ROMAN_120)
"""Every network of the package."""
