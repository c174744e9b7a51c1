"""Other libraries' code, loaded without what is not needed of it."""

import functools
import importlib
import importlib.util
import sys
import types
from importlib.metadata import PackageNotFoundError, version
from typing import Any

DISTRIBUTIONS = ("diffusers", "k-diffusion", "flow-matching", "torchdiffeq", "azula", "torch")
"""Whose versions a record names."""


class MissingLibrary(ImportError):
    """A library, or a part of it that is needed, is not installed."""


def versions() -> dict[str, str]:
    """Return the versions of what is installed."""
    out = {}
    for name in DISTRIBUTIONS:
        try:
            out[name] = version(name)
        except PackageNotFoundError:
            continue
    return out


def library(name: str) -> Any:
    """Return a module, raising :class:`MissingLibrary` with the reason where it does not import."""
    try:
        return k_diffusion() if name == "k_diffusion.sampling" else importlib.import_module(name)
    except MissingLibrary:
        raise
    except ImportError as error:
        raise MissingLibrary(f"{name} does not import here: {error}") from None


@functools.cache
def k_diffusion() -> Any:
    """Return k-diffusion's sampling module.

    The package itself imports torchvision, kornia and others; its samplers need ``append_dims``
    alone.
    """
    found = importlib.util.find_spec("k_diffusion")
    if found is None or not found.submodule_search_locations:
        raise MissingLibrary("k-diffusion is not installed")
    package: Any = types.ModuleType("k_diffusion")
    package.__path__ = list(found.submodule_search_locations)
    package.__spec__ = found
    utils: Any = types.ModuleType("k_diffusion.utils")
    utils.append_dims = lambda x, n: x[(...,) + (None,) * (n - x.ndim)]
    package.utils = utils
    sys.modules |= {"k_diffusion": package, "k_diffusion.utils": utils}
    try:
        return importlib.import_module("k_diffusion.sampling")
    except ImportError as error:
        raise MissingLibrary(f"k_diffusion.sampling does not import here: {error}") from None
