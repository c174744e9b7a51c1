"""Formulas as MathML: what a browser typesets by itself, without a network."""

from __future__ import annotations

import html
import tomllib
from functools import cache
from importlib.resources import files


@cache
def formulas() -> dict[str, list[str]]:
    """Return the LaTeX statements of the claims by id (``formulas.toml``)."""
    return tomllib.loads((files("steinlab.report") / "formulas.toml").read_text(encoding="utf-8"))


def mathml(latex: str) -> str:
    """Return a formula as a block of MathML, with its LaTeX as the text alternative.

    Examples
    --------
    >>> mathml("x^2").startswith("<math")
    True
    """
    from latex2mathml.converter import convert

    made: str = convert(latex, display="block")
    return made.replace("<math ", f'<math aria-label="{html.escape(latex, quote=True)}" ', 1)
