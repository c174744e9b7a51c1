"""Formulas as MathML: what a browser typesets by itself, without a network."""

from __future__ import annotations

import html


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
