"""Models by name, found through the entry points ``steinlab.models`` and loaded on demand.

A package registers a model by one line, ``name = "package.module:function"``. The function returns
a :class:`Model` quickly; slow work belongs in ``build``. Its parameters, all with defaults, are the
model's options: ``fashion-flow:label=3,guidance=2``, or in a SPEC.json the object
``{"name": "fashion-flow", "label": 3, "guidance": 2}``.
"""

from __future__ import annotations

import functools
import inspect
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint
from typing import Any

import numpy as np

from analytic import NoiseLevel
from steinlab import plugins
from steinlab.diffusion.denoisers import Denoiser
from steinlab.diffusion.grids import Grid
from steinlab.diffusion.options import named
from steinlab.diffusion.pictures import UNIT, Display
from steinlab.diffusion.processes import PROCESSES, Process
from steinlab.errors import InputError, one_of, quote

GROUP = "steinlab.models"
"""The entry-point group."""

DIGITS_BANDWIDTH = 0.1
"""Standard deviation of the Gaussian around each row of the model ``digits``."""


@dataclass(frozen=True)
class Model:
    """A denoiser with its description.

    Parameters
    ----------
    name : str
    dim : int
        Coordinates of a state.
    size : str
        Its number of data rows or parameters, in words.
    provenance : str
        The source of data and weights.
    schedule : str
        Name of the process that it is made for, the default of ``compare``.
    build : callable
        Returns the denoiser; called once, when first needed.
    law : callable, optional
        Returns the exact data law of the denoiser, if there is one.
    data_law : callable, optional
        Returns the law of the data that a network was trained on, if it is known.
    shape : tuple of int
        Shape of one picture, ``(channels, height, width)``; empty if a state is no picture.
    display : Display
        How its pictures are shown.
    sigma_range : tuple of float, optional
        Least and greatest ``sigma / alpha`` that it is made for; grids stay within.
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

        Building its denoiser then raises ``InputError`` if it is no network, or torch has no such
        device here.
        """
        return replace(self, build=functools.partial(_built_on, self, device))

    def process(self, name: str = "") -> Process:
        """Return a process by name, by default its own, within ``sigma_range``.

        Raises
        ------
        InputError
            If the process has no level in that range.
        """
        process = PROCESSES[name or self.schedule]
        if self.sigma_range is None:
            return process
        try:
            return process.within(*self.sigma_range)
        except ValueError as error:
            raise InputError(f"model {self.name}: {error}") from None

    def require_grid(self, grid: Grid, process: Process, *, init: bool = False) -> None:
        """Raise ``InputError`` unless the model can be sampled on a grid.

        Its levels lie within ``sigma_range``. Where it begins below the process's noisiest level,
        states hold data: those of a law that is known, or of rows that are given (``init``).
        """
        low, high = self.sigma_range or (0.0, math.inf)
        for level in grid:
            ratio = float(level.ratio)
            if level.sigma and not low * (1 - 1e-9) <= ratio <= high * (1 + 1e-9):
                raise InputError(
                    f"grid: sigma/alpha must be in {low:.4g} to {high:.4g} for the model "
                    f"{self.name}, got {ratio:.4g}"
                )
        known = init or self.law or self.data_law
        if not known and grid[0].ratio < process.ratio_max * (1 - 1e-6):
            raise InputError(
                f"init must be given for {self.name} on a grid that begins in the middle: a state "
                f"at sigma/alpha {float(grid[0].ratio):.4g} holds data, and their law is not known"
            )

    def start(self, level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        """Return ``n`` states ``(n, dim)`` at a grid's noisiest level, where sampling starts.

        They follow the forward law of the data, ``alpha x0 + sigma eps``, if the data law is known,
        else ``N(0, sigma^2 I)``.
        """
        law = self.exact_law if self.data_law is None else self.data_law()
        noise = level.sigma * rng.standard_normal((n, self.dim))
        if law is None:
            return np.asarray(noise)
        return np.asarray(level.alpha * law.sample(n, rng) + noise)


def _built_on(model: Model, device: str) -> Denoiser:
    built: Any = model.build()
    if getattr(built, "on", None) is None:
        raise InputError(
            f"device must be left out for {model.name}, which is no network, got {device}"
        )
    moved: Denoiser = built.on(device)
    return moved


def noised_rows(rows: np.ndarray) -> Callable[[NoiseLevel, int, np.random.Generator], np.ndarray]:
    """Return a start that noises rows ``(m, d)``, in the manner of :meth:`Model.start`.

    Where as many states are asked for as there are rows, each is noised once, in order; else rows
    are drawn with replacement.
    """

    def start(level: NoiseLevel, n: int, rng: np.random.Generator) -> np.ndarray:
        chosen = rows if n == len(rows) else rows[rng.integers(len(rows), size=n)]
        return np.asarray(level.noised(chosen, rng))

    return start


def registered() -> dict[str, EntryPoint]:
    """Return every registered model's entry point by name, sorted; nothing is loaded."""
    found = sorted(plugins.entries(GROUP), key=lambda entry: entry.name)
    return {entry.name: entry for entry in found}


def load_model(model: str | Mapping[str, Any], field: str = "model") -> Model:
    """Return the model of that name, with its options.

    Parameters
    ----------
    model : str or mapping
        A registered name, ``fashion-flow``; with options where the model takes them,
        ``fashion-flow:label=3,guidance=2`` or ``{"name": "fashion-flow", "label": 3}``. The name of
        what is returned holds them.
    field : str
        The name of the argument in messages.

    Raises
    ------
    InputError
        If no model has the name, it has no such option or value, or what it needs is missing.

    Examples
    --------
    >>> load_model("digits").dim
    64
    """
    kinds = 'a name or an object such as {"name": "fashion-flow", "label": 3}'
    name, options = named(model, field, kinds)
    entries = registered()
    entry = entries[one_of(field, name, entries, "steinlab models")]
    try:
        make = entry.load()
        known = list(inspect.signature(make).parameters)
        for key in options:
            if not known:
                raise InputError(f"{field} {name} must be given without options, got {quote(key)}")
            one_of(f"{field} {name}: option", key, known)
        found: Model = make(**options)
    except ImportError as error:
        raise InputError(f"{field} {name} needs what is not installed: {error}") from error
    if found.missing:
        raise InputError(f"{field} {name} is not available: {found.missing}")
    return found


def describe() -> list[dict[str, Any]]:
    """Return one record per model: name, dim, size, provenance, schedule, exact, state."""
    return [_describe(name, entry) for name, entry in registered().items()]


def _describe(name: str, entry: EntryPoint) -> dict[str, Any]:
    keys = ("dim", "size", "provenance", "schedule")
    try:
        model: Model = entry.load()()
    except ImportError as error:
        nothing = dict.fromkeys((*keys, "exact"))
        return {"name": name, **nothing, "state": f"not installed: {error}"}
    record = {key: getattr(model, key) for key in keys} | {"exact": model.law is not None}
    return {"name": name, **record, "state": model.missing or "available"}


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
