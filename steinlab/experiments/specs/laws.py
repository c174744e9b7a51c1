"""Data laws as a SPEC.json gives them: mixtures, laws and data sets by name, arrays in files."""

from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np

from analytic import EmpiricalMixture, GaussianMixture
from analytic.parameters import WEIGHT_TOLERANCE
from steinlab.diffusion.laws import DATASETS, Law, load_law
from steinlab.errors import InputError, one_of, quote
from steinlab.experiments.specs.fields import (
    LARGEST,
    SMALLEST,
    at,
    each,
    items,
    mapping,
    number,
    text,
)

Vector = tuple[Fraction, ...]


@dataclass(frozen=True)
class MixtureSpec:
    """A mixture of isotropic Gaussians, exact as written: see :func:`mixture_from_json`."""

    weights: Vector
    means: tuple[Vector, ...]
    stds: Vector

    def law(self) -> GaussianMixture:
        """Return the law in double precision."""
        weights, stds = _floats(self.weights), _floats(self.stds)
        return GaussianMixture(weights, np.array([_floats(m) for m in self.means]), stds**2)


@dataclass(frozen=True)
class LawSpec:
    """A law by name, of this package or of another."""

    name: str

    def law(self) -> Law:
        """Return the law."""
        return load_law(self.name, "data.law")


@dataclass(frozen=True)
class DatasetSpec:
    """A named data set, a Gaussian of standard deviation ``bandwidth`` around each row."""

    dataset: str
    bandwidth: Fraction

    def law(self) -> EmpiricalMixture:
        """Load the data set and return its law."""
        return EmpiricalMixture(DATASETS[self.dataset](), float(self.bandwidth))


@dataclass(frozen=True)
class FileSpec:
    """An array ``(n, d)`` in a ``.npy`` file, with a Gaussian around each row."""

    npy: Path
    bandwidth: Fraction

    def law(self) -> EmpiricalMixture:
        """Read the file and return the law of its rows."""
        return EmpiricalMixture(read_rows(self.npy, "data.npy"), float(self.bandwidth))


DataSpec = MixtureSpec | LawSpec | DatasetSpec | FileSpec


def data_from_json(obj: Any, path: str, folder: Path) -> DataSpec:
    """Return the data law of any form; a relative file name is looked up in ``folder``.

    Raises
    ------
    InputError
        Naming the field by its path below ``path``.
    """
    if isinstance(obj, dict) and "law" in obj:
        return law_from_json(obj, path)
    if isinstance(obj, dict) and "dataset" in obj:
        fields = mapping(obj, path, ["dataset", "bandwidth"])
        name = one_of(at(path, "dataset"), text(fields["dataset"], at(path, "dataset")), DATASETS)
        return DatasetSpec(name, _bandwidth(fields, path))
    if isinstance(obj, dict) and "npy" in obj:
        fields = mapping(obj, path, ["npy", "bandwidth"])
        return FileSpec(folder / text(fields["npy"], at(path, "npy")), _bandwidth(fields, path))
    if isinstance(obj, dict) and not {"weights", "means", "stds"} & obj.keys():
        found = quote(", ".join(obj) or "nothing")
        raise InputError(
            f"{path} must hold weights, means, stds, or law, or dataset, bandwidth, "
            f"or npy, bandwidth, got {found}"
        )
    return mixture_from_json(obj, path)


def law_from_json(obj: Any, path: str) -> LawSpec:
    """Return the law ``{"law": name}``; a stranger's is loaded, so that its faults show here.

    Raises
    ------
    InputError
        For an unknown name, one that two packages register, or what is no law.
    """
    name = text(mapping(obj, path, ["law"])["law"], at(path, "law"))
    load_law(name, at(path, "law"))
    return LawSpec(name)


def mixture_from_json(obj: Any, path: str) -> MixtureSpec:
    """Return the mixture ``{"weights": [...], "means": [...], "stds": [...]}``.

    ``weights`` are >= 0 and sum to one; ``means`` are numbers or vectors of one length; ``stds``
    are > 0, one per component.

    Raises
    ------
    InputError
        Naming the field by its path below ``path``.
    """
    fields = mapping(obj, path, ["weights", "means", "stds"])
    weights = _vector(fields["weights"], at(path, "weights"))
    stds = _vector(fields["stds"], at(path, "stds"))
    for i, weight in enumerate(weights):
        if weight < 0:
            raise InputError(f"{path}.weights[{i}] must be >= 0, got {quote(weight)}")
    total = sum(weights, Fraction(0))
    if abs(total - 1) > Fraction(WEIGHT_TOLERANCE) / 2:  # the rest is for rounding to doubles
        raise InputError(f"{path}.weights must sum to 1, got a sum of {quote(total)}")
    means = _means(fields["means"], at(path, "means"))
    for name, found in (("means", len(means)), ("stds", len(stds))):
        if found != len(weights):
            raise InputError(
                f"{path}.{name} must hold one entry per weight, {len(weights)} in all, got {found}"
            )
    for i, std in enumerate(stds):
        if std <= 0:
            raise InputError(f"{path}.stds[{i}] must be > 0, got {quote(std)}")
    return MixtureSpec(weights, means, stds)


def _vector(obj: Any, path: str) -> Vector:
    return each(obj, path, number)


def _means(obj: Any, path: str) -> tuple[Vector, ...]:
    entries = items(obj, path)
    nested = [isinstance(entry, list | tuple) for entry in entries]
    if not any(nested):
        return tuple((mean,) for mean in _vector(obj, path))
    if not all(nested):
        raise InputError(f"{path} must be all numbers or all vectors, got {quote(obj)}")
    means = each(obj, path, _vector)
    for i, mean in enumerate(means):
        if len(mean) != len(means[0]):
            raise InputError(
                f"{path}[{i}] must have {len(means[0])} coordinates as {path}[0] has, "
                f"got {len(mean)}"
            )
    return means


def _bandwidth(fields: dict[str, Any], path: str) -> Fraction:
    bandwidth = number(fields["bandwidth"], at(path, "bandwidth"))
    if bandwidth <= 0:
        raise InputError(f"{path}.bandwidth must be > 0, got {quote(bandwidth)}")
    return bandwidth


def read_rows(file: Path, path: str) -> np.ndarray:
    """Return an array file's rows ``(n, d)`` in float64, pictures flat; ``path`` names the field.

    Raises
    ------
    InputError
        For a file that cannot be read, or holds anything but finite real numbers in rows.
    """
    try:
        held = np.lib.format.open_memmap(file, mode="r")  # its declared size is the file's
    except OSError as error:
        reason = (error.strerror or "not a .npy file").lower()
        raise InputError(f"{path} must name a readable .npy file, got {file}: {reason}") from None
    except Exception as error:  # whatever NumPy's reader of headers makes of a part of a file
        objects = "objects" in str(error) or "Object arrays" in str(error)
        reason = "it holds objects" if objects else "not a .npy file, or a part of one"
        raise InputError(
            f"{path} must name a .npy file of real numbers, got {file}: {reason}"
        ) from None
    if held.dtype.kind not in "fiu":
        raise InputError(f"{path} must hold one array of real numbers, got {held.dtype}")
    if held.ndim < 2 or 0 in held.shape:
        raise InputError(f"{path} must hold an array of shape (n, d), got {held.shape}")
    rows: np.ndarray = np.asarray(held.reshape(len(held), -1), dtype=np.float64)
    size = np.abs(rows)
    bad = np.argwhere(~((size >= float(SMALLEST)) & (size <= float(LARGEST)) | (rows == 0)))
    if len(bad):
        row, column = (int(i) for i in bad[0])
        raise InputError(
            f"{path} must be finite, 0 or of magnitude 1e-100 to 1e100, "
            f"got {rows[row, column]} in row {row}, column {column}"
        )
    return rows


def _floats(values: Vector) -> np.ndarray:
    return np.array([float(value) for value in values])
