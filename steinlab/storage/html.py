"""One HTML file from a template: all text escaped, nothing run or loaded but what is ours."""

from __future__ import annotations

import base64
import hashlib
from typing import Any


def render(template: str, style: str, script: str = "", /, **values: Any) -> str:
    """Fill a Jinja template; every value is escaped unless it is ``Markup``.

    The template's ``policy`` is the content security policy: no network, no inline style or script
    but the two given here (by their hashes), no picture but an embedded one.

    Parameters
    ----------
    template : str
        Names ``policy``, ``style`` and ``script`` where they belong; a name that is not given
        raises.
    style, script : str
        Our own, written as they are.
    **values
        What else the template names.

    Examples
    --------
    >>> render("<b>{{ name }}</b><style>{{ style }}</style>", "b {}", name="<script>")
    '<b>&lt;script&gt;</b><style>b {}</style>'
    """
    from jinja2 import Environment, StrictUndefined
    from markupsafe import Markup

    policy = (
        f"default-src 'none'; style-src {_hash(style)}; script-src {_hash(script)}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )
    made = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True)
    made.policies["json.dumps_kwargs"] = {"allow_nan": False}  # keys keep their order
    return made.from_string(template).render(
        policy=policy, style=Markup(style), script=Markup(script), **values
    )


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"
