"""What a SPEC.json may say: frozen records, and parsers that name each bad field."""

from steinlab.specs.coefficient import CoefficientSpec
from steinlab.specs.compare import CompareSpec, CorrectionSpec
from steinlab.specs.laws import DatasetSpec, FileSpec, MixtureSpec
from steinlab.specs.reading import read_json

__all__ = [
    "CoefficientSpec",
    "CompareSpec",
    "CorrectionSpec",
    "DatasetSpec",
    "FileSpec",
    "MixtureSpec",
    "read_json",
]
