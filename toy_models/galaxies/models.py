r"""Score networks of galaxies that nobody here wrote: those inside the package galaxygrad 0.2.1.

They are read from the user's own installation, of which nothing is imported (that would need JAX):
``make galaxies``, or ``pip install --no-deps galaxygrad==0.2.1``. The files carry no licence.

The process is variance preserving with ``int_beta(t) = t`` for ``t`` in (0, 10] (the package's
``scorenet.py`` and ``generate.py``). With ``dx = -x/2 dt + dw`` that is

    alpha = exp(-t/2),   sigma^2 = 1 - exp(-t),   (sigma/alpha)^2 = e^t - 1,   t = log(1 + r^2),

and a network returns the score at ``(x, t)``. The noisiest level is ``r = sqrt(e^10 - 1) = 148.4``.

**Coordinates.** :func:`steinlab.diffusion.networks.timed_denoiser` rescales any process's states,
and the models' own ``schedule`` is ``edm``, the same levels as ``x / alpha``: in VP coordinates the
paper's coefficient is in the hundreds, of either sign, where ``alpha`` is small (claim
``vp-singularity``).

**Small noise.** A network sees ``t`` through a channel ``t / 10``, so its output is as good as
constant below some level, where the score must grow as ``1 / sigma``. Nothing says down to which
time they were trained. Stein's identity, centred, ``E<x - c, x - alpha D> = sigma^2 d`` on noised
samples of the network's own, fails on HSC 32 x 32 by -56 +- 4 % at ``r = 0.02``, where the network
hardly denoises, by -6 +- 2 % at 0.05, by -1.5 +- 1.1 % at 0.1 and within 1 % above. Our choice: the
grids' last level before zero noise, ``GalaxyNetwork.least``, is the least of 0.05, 0.1, 0.2 where
it fails by no more than 10 %. Below, the network is still asked at its own ``t``, nothing is
extrapolated or clipped; above ``t = 10`` it is refused.

**States** are ``log(1 + image) / 0.1``, as the package transforms its images. Their scale and the
background (0, but 1 for LSST and Roman) are read off the samples. The two ``log`` networks, which
the package holds but does not use, have other states, by their range ``log(0.02 + flux)``: our
inference.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steinlab.diffusion.models import Model
from steinlab.diffusion.pictures import Display
from steinlab.errors import InputError
from toy_models.galaxies.display import image_display, log_display
from toy_models.galaxies.weight_files import count_parameters, mixer_shapes, problem, read_leaves

if TYPE_CHECKING:
    from steinlab.diffusion.networks import NetworkDenoiser
    from toy_models.galaxies.mixer import ScoreMixer

PACKAGE, VERSION = "galaxygrad", "0.2.1"

INSTALL = f"pip install --no-deps {PACKAGE}=={VERSION}, or make galaxies"

LAST_TIME = 10.0

PIXELS_AT_ONCE = 2**20
"""Of the pictures that a network sees at once: its hidden units are 32 float32 a pixel."""

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
        """Return the torch module in float32, ``(pictures, t) -> score``.

        Parameters
        ----------
        folder : Path, optional
            Of the file, by default the installed package's.

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

        Parameters
        ----------
        options
            ``dtype`` (float32 by default; ``torch.float64`` for exact work), ``device``, ``rows``
            of :class:`steinlab.diffusion.networks.NetworkDenoiser`.

        Raises
        ------
        InputError
            As :meth:`network` does; and the denoiser's call, at a level beyond its last time.
        """
        import torch

        from steinlab.diffusion.networks import timed_denoiser

        device, dtype = options.get("device", "cpu"), options.get("dtype", torch.float32)
        net = self.network().to(device=device, dtype=dtype)
        options = {"rows": max(1, PIXELS_AT_ONCE // self.side**2), **options}
        shape = (1, self.side, self.side)
        return timed_denoiser(net, shape, prediction="score", time_of=time_of, **options)


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


HSC_32 = GalaxyNetwork(
    "galaxies-hsc-32",
    "eqx_hsc_ScoreNet32.eqx",
    32,
    "Hyper Suprime-Cam",
    "cb926562fcdfcbd33952fea8b2394074e75cb652fb7824c4c809a5f89a0a6532",
    image_display(0, 1),
)
HSC_64 = GalaxyNetwork(
    "galaxies-hsc-64",
    "eqx_hsc_ScoreNet64.eqx",
    64,
    "Hyper Suprime-Cam",
    "4758114b1b77e4640ca7b834a976202aeb126fd7332ec07842af46d72c6b2e01",
    image_display(0, 1.5),
)
HSC_LOG_32 = GalaxyNetwork(
    "galaxies-hsc-log-32",
    "eqx_hsc_LogNet32.eqx",
    32,
    "Hyper Suprime-Cam, logarithms",
    "49873516d95c02506fb21c386419bc3915cc88b90c92d90adc718dd3b7950169",
    log_display(1),
    least=0.1,
)
HSC_LOG_64 = GalaxyNetwork(
    "galaxies-hsc-log-64",
    "eqx_hsc_LogNet64.eqx",
    64,
    "Hyper Suprime-Cam, logarithms",
    "6d1e7387ff54a4142e68844acee1a37f42f0d3ec9ad1f1938d5f47c2ee25ee40",
    log_display(1),
    least=0.1,
)
ZTF_32 = GalaxyNetwork(
    "galaxies-ztf-32",
    "eqx_ZTF_ScoreNet32.eqx",
    32,
    "Zwicky Transient Facility",
    "60b29e6b9b7b4baa4ddc84132d083991c9e1e2910f55f3e9ae16e65bf0df8f47",
    image_display(0, 1.5),
)
ZTF_64 = GalaxyNetwork(
    "galaxies-ztf-64",
    "eqx_ZTF_ScoreNet64.eqx",
    64,
    "Zwicky Transient Facility",
    "806cb83de98d8aff924dd13b267bcb157d72ddb819804a541134a06adb391065",
    image_display(0, 4),
)
LSST_60 = GalaxyNetwork(
    "galaxies-lsst-60",
    "eqx_lsst_ScoreNet60.eqx",
    60,
    "Rubin LSST",
    "93ef40f17a6e7e87e6527c90d5c1d4f2b17c77bbedfc14b08d014c53aa2db0e0",
    image_display(1, 1),
)
QUASAR_72 = GalaxyNetwork(
    "galaxies-quasar-72",
    "eqx_quasar_lens72.eqx",
    72,
    "lensed quasars",
    "b1574b390d2e450521f6234ff3f3288937c53237a76189883d61342c9d293c2f",
    image_display(0, 2),
    least=0.1,
)
ROMAN_120 = GalaxyNetwork(
    "galaxies-roman-120",
    "eqx_roman_Scorenet120.eqx",
    120,
    "Roman Space Telescope",
    "68a1d78410c877b7b50f466b505cb75d073f1f44e904420ed0fd9fb678201b03",
    image_display(1, 1),
)

NETWORKS = (
    HSC_32,
    HSC_64,
    HSC_LOG_32,
    HSC_LOG_64,
    ZTF_32,
    ZTF_64,
    LSST_60,
    QUASAR_72,
    ROMAN_120,
)
"""Every network of the package."""
