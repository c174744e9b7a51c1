"""Models by name, found through the entry points ``steinlab.models`` and loaded on demand.

A package registers a model by one line, ``name = "package.module:function"``: a function of no
arguments that returns a :class:`Model`, quickly; what is slow belongs in ``build``.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.pictures import UNIT, Display
from steinlab.diffusion.processes import PROCESSES, Process
from steinlab.errors import InputError, one_of

GROUP = "steinlab.models"
"""The entry-point group."""

DIGITS_BANDWIDTH = 0.1
"""Standard deviation of the Gaussian around each row of the model ``digits``."""


@dataclass(frozen=True)
class Model:
    """A denoiser with its papers.

    Parameters
    ----------
    name : str
    dim : int
        Coordinates of a state.
    size : str
        What it holds, in words: rows, or parameters.
    provenance : str
        Where data and weights come from.
    schedule : str
        The process that it is made for, the default of ``compare``.
    build : callable
        Returns the denoiser; called once, when first needed.
    law : callable, optional
        Returns the exact data law of the denoiser, where there is one.
    data_law : callable, optional
        Returns the law of the data that a network was trained on, where it is known.
    shape : tuple of int
        Of one picture, ``(channels, height, width)``; empty where a state is no picture.
    display : Display
        How its pictures are shown.
    sigma_range : tuple of float, optional
        Least and greatest ``sigma / alpha`` that it is made for; grids keep within.
    missing : str
        Empty, or what is missing and how to get it.
    """

    name: str
    dim: int
    size: str
    provenance: str
    schedule: str
    build: Callable[[], Denoiser]
    law: Callable[[], Any] | None = None
    data_law: Callable[[], Any] | None = None
    shape: tuple[int, ...] = ()
    display: Display = UNIT
    sigma_range: tuple[float, float] | None = None
    missing: str = ""

    @functools.cached_property
    def denoiser(self) -> Denoiser:
        """The denoiser, built at the first use."""
        return self.build()

    @functools.cached_property
    def exact_law(self) -> Any | None:
        """The data law whose exact denoiser this is, or None."""
        return self.law() if self.law is not None else None

    def on(self, device: str) -> Model:
        """Return the model with its network on a device of torch, such as ``cuda``.

        Raises
        ------
        InputError
            When the denoiser is built, if it is no network or torch has no such device here.
        """
        return replace(self, build=functools.partial(_built_on, self, device))

    def process(self, name: str = "") -> Process:
        """Return a process by name, by default its own, cut to the range it is made for.

        Raises
        ------
        InputError
            If the process has no such level.
        """
        process = PROCESSES[name or self.schedule]
        if self.sigma_range is None:
            return process
        try:
            return process.within(*self.sigma_range)
        except ValueError as error:
            raise InputError(f"model {self.name}: {error}") from None

    def start(self, level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` states ``(n, dim)`` to sample from, at a grid's noisiest level.

        Under the forward law of the data where that is known, ``alpha x0 + sigma eps``, else
        ``N(0, sigma^2 I)``: what is left out then is ``alpha x0``, the data at that level.
        """
        law = self.exact_law if self.data_law is None else self.data_law()
        noise = level.sigma * rng.standard_normal((n, self.dim))
        if law is None:
            return np.asarray(noise)
        return np.asarray(level.alpha * law.sample(n, rng) + noise)


def _built_on(model: Model, device: str) -> Denoiser:
    built: Any = model.build()
    if not hasattr(built, "on"):
        raise InputError(
            f"device must be left out for {model.name}, which is no network, got {device}"
        )
    moved: Denoiser = built.on(device)
    return moved


def registered() -> dict[str, EntryPoint]:
    """Return every registered model's entry point by name, sorted; nothing is loaded."""
    found = sorted(entry_points(group=GROUP), key=lambda entry: entry.name)
    return {entry.name: entry for entry in found}


def load_model(name: str, field: str = "model") -> Model:
    """Return the model of that name.

    Raises
    ------
    InputError
        If no model has the name, or what it needs is missing.

    Examples
    --------
    >>> load_model("digits").dim
    64
    """
    entries = registered()
    entry = entries[one_of(field, name, entries, "steinlab models")]
    try:
        model: Model = entry.load()()
    except ImportError as error:
        raise InputError(f"{field} {name} needs what is not installed: {error}") from error
    if model.missing:
        raise InputError(f"{field} {name} is not available: {model.missing}")
    return model


def describe() -> list[dict[str, Any]]:
    """Return one record a model: name, dim, size, provenance, schedule, exact, state."""
    return [_describe(name, entry) for name, entry in registered().items()]


def _describe(name: str, entry: EntryPoint) -> dict[str, Any]:
    keys = ("dim", "size", "provenance", "schedule")
    try:
        model: Model = entry.load()()
    except ImportError as error:
        return {
            "name": name,
            **dict.fromkeys(keys),
            "exact": None,
            "state": f"not installed: {error}",
        }
    record = {key: getattr(model, key) for key in keys}
    state = model.missing or "available"
    return {"name": name, **record, "exact": model.law is not None, "state": state}


def digits() -> Model:
    """Return the exact denoiser of scikit-learn's digits, each row a Gaussian of deviation 0.1."""

    @functools.cache
    def law() -> Any:
        from analytic import EmpiricalMixture
        from steinlab.diffusion.laws import load_digits

        return EmpiricalMixture(load_digits(), DIGITS_BANDWIDTH)

    return Model(
        name="digits",
        dim=64,
        size="1797 rows of 8 x 8 pixels",
        provenance="scikit-learn load_digits / 16 (UCI, 1998), exact denoiser, bandwidth 0.1",
        schedule="edm",
        build=law,
        law=law,
        shape=(1, 8, 8),
    )
