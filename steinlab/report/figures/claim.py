"""The figure of any claim, drawn from its row of a ledger.

Up to three panels: numbers of one unit that were found; the worst case of each check in units of
its limit; by how much each control, a falsified formula or a dropped condition, misses.
"""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import NullFormatter

from steinlab.report.figures import CLAIM, figure_names, load_figure
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.panels import say, take_away
from steinlab.report.figures.style import BLACK, BLUE, GREY, ORANGE, RED
from steinlab.report.words import measured, nearest
from steinlab.verification.ledger import judge_by_id
from steinlab.verification.registry import load_claim

PANELS = ("found", "checks", "controls")

ENDS = ("interval, from", "interval, to")
"""How the names of an interval's ends end, which follow the number that it is of."""

REFERS = ("the same", "of these")
"""How the name of a number begins that says nothing without the number before it."""

BEYOND = 1e6
"""Where a larger share of a limit is drawn; its words say how large it is."""

LINE, AROUND = 0.115, 0.42
"""Height of a line of text, and of what stands around a panel, in inches."""

WIDE = 2.0
"""Share of a limit from which the axis of the checks is logarithmic beyond the limit."""

LABEL = 7
"""Size of a panel's label, in points; names and values have 6."""

NAME, TITLE = 56, 60
"""Characters of a line that names a dot, and of the title's."""

STYLES: Mapping[str, Mapping[str, Any]] = {
    "found": {"color": BLACK, "marker": "D"},
    "within": {"color": BLUE, "marker": "o"},
    "rejected": {"color": ORANGE, "marker": "s", "markerfacecolor": "white"},
    "broken": {"color": RED, "marker": "X"},
}
"""How dots look: a number, a check within its limit, a control rejected, and what should not be."""

Row = Mapping[str, Any]
Dot = tuple[Any, ...]
"""Style, name, value in words, value, and its interval's ends."""


def _found(row: Row) -> list[Dot]:
    """Return the numbers of the commonest unit, or, of those without, that have a better side.

    An interval's ends, numbers of their own, become the interval of the number before them.
    """
    groups: dict[str, list[Dot]] = {}
    unit = ""
    for number in row.get("numbers", ()):
        name, value, error = number["name"], number["value"], number["error"] or 0.0
        if name.endswith(ENDS):
            if unit:
                *first, low, high = groups[unit][-1]
                ends = (value, high) if name.endswith(ENDS[0]) else (low, value)
                groups[unit][-1] = (*first, *ends)
            continue
        before, unit = unit, number["unit"] or number["better"]
        if isinstance(value, int) or (name.startswith(REFERS) and unit != before):
            unit = ""
        if unit:
            dot = ("found", name, measured(number), value, value - error, value + error)
            groups.setdefault(unit, []).append(dot)
    most = max(groups.values(), key=len, default=[])
    return most if len(most) > 1 else []


def _checks(row: Row) -> list[Dot]:
    """Return the worst case of each check in units of its limit."""
    out: list[Dot] = []
    for entry in row.get("evidence", ()):
        words, share = nearest({**row, "evidence": [entry]})
        said = words.partition(",")[0]
        name, cases = entry.get("check", "derivation"), entry.get("cases", 0)
        violations = entry.get("violations", 0)
        if entry["method"] == "symbolic":
            said = f"{violations} of {cases} steps fail"
        else:
            name = f"{name}, {cases:,} case{'s' * (cases != 1)}"
            said = "far within" if share < 0 else said
        style = "broken" if violations else "within"
        out.append((style, name, said, *3 * (min(max(share, 0.0), BEYOND),)))
    return out


def _controls(row: Row) -> list[Dot]:
    """Return the relative error of each control; graded ones only where there are no others."""
    controls = row.get("controls", ())
    own = [one for one in controls if not (one.get("graded") and one["rejected"])] or controls
    out: list[Dot] = []
    for one in own:
        style, said = ("rejected", "rejected") if one["rejected"] else ("broken", "NOT rejected")
        error = one.get("measured") or 0.0
        out.append((style, one["name"], f"off by {error:.2g}, {said}", *3 * (error,)))
    return out


def read(row: Row) -> FigureData:
    """Return what a claim's figure shows; no panel for what the row does not hold.

    Parameters
    ----------
    row : mapping
        Of a ledger.
    """
    found = (_found(row), _checks(row), _controls(row))
    panels = {name: dots for name, dots in zip(PANELS, found, strict=True) if dots}
    units = {one["name"]: one["unit"] for one in row.get("numbers", ())}
    config = {
        "said": row.get("headline") or row["title"],
        "unit": units.get(found[0][0][1], "") if found[0] else "",
        "detects": row.get("detects"),
        "panels": {name: [dot[:3] for dot in dots] for name, dots in panels.items()},
    }
    return FigureData({k: np.array([d[3:] for d in dots]) for k, dots in panels.items()}, config)


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a panel per kind of number, and make the picture as high as their dots need."""
    panels, lines = data.config["panels"], []
    take_away(axes[max(len(panels), 1) :])
    if not panels:
        say(axes[0], data.config["said"])
        return
    scales = {"found": _found_scale, "checks": _checks_scale, "controls": _controls_scale}
    for ax, (name, words) in zip(axes, panels.items(), strict=False):
        limit = scales[name](ax, data)
        ax.xaxis.set_minor_formatter(NullFormatter())
        ax.xaxis.label.set_fontsize(LABEL)
        lines.append(_dots(ax, words, data.arrays[name], limit))
    title = textwrap.wrap(data.config["said"], TITLE)
    axes[0].set_title("\n".join(title), loc="left", x=0.0, pad=7, parse_math=False)
    empty = [1e-3] * (len(axes) - len(panels))
    grid, canvas = axes[0].get_gridspec(), axes[0].get_figure(root=True)
    assert grid is not None
    assert canvas is not None
    grid.set_height_ratios([*lines, *empty])
    canvas.set_figheight(LINE * (sum(lines) + 1.3 * len(title)) + AROUND * len(panels))


def _dots(
    ax: Axes, words: Sequence[Sequence[str]], values: np.ndarray, limit: float | None
) -> float:
    """Draw each dot below its name and value in words; return the lines that this takes."""
    y, across = 0.0, ax.get_yaxis_transform()
    small: dict[str, Any] = {"transform": across, "va": "top", "fontsize": 6, "parse_math": False}
    for (style, name, said), (value, low, high) in zip(words, values, strict=True):
        wrapped = textwrap.wrap(name, NAME)
        ax.text(0.0, y, "\n".join(wrapped), ha="left", **small)
        ax.text(1.0, y, said, ha="right", color=RED if style == "broken" else BLACK, **small)
        y += len(wrapped) + 0.55
        ax.axhline(y, color=GREY, linewidth=0.3, alpha=0.5)
        if limit is not None:
            ax.plot([limit, limit], [y - 0.33, y + 0.33], color=BLACK)
        if value > 0 or ax.get_xscale() != "log":
            ax.plot([low, high], [y, y], color=STYLES[style]["color"], linewidth=0.8)
            ax.plot(value, y, linestyle="none", clip_on=False, **STYLES[style])
        y += 0.65
    ax.set(ylim=(y, 0.0), yticks=[])
    ax.spines["left"].set_visible(False)
    return y


def _found_scale(ax: Axes, data: FigureData) -> float | None:
    """Name and scale what was found; return zero where the axis is not logarithmic."""
    values, unit = data.arrays["found"], data.config["unit"]
    bars = " (bars: intervals)" if (values[:, 1] < values[:, 2]).any() else ""
    ax.set_xlabel(f"what was found{', in ' * bool(unit)}{unit}{bars}")
    if unit == "%":
        ax.xaxis.set_major_formatter(lambda x, _: f"{100 * x:g}")
    elif values.min() > 0 and values.max() > 10 * values.min():
        ax.set(xscale="log", xlim=_decades(values))
        return None
    return 0.0


def _checks_scale(ax: Axes, data: FigureData) -> float:
    """Name and scale the checks' worst cases; return their limit."""
    top = data.arrays["checks"].max()
    if top > WIDE:
        ax.set_xscale("symlog", linthresh=1.0)
    said = "each check's worst case over its limit (the upright line)"
    ax.set(xlim=(0.0, 1.05 * max(top, 1.0)), xlabel=said)
    return 1.0


def _controls_scale(ax: Axes, data: FigureData) -> float | None:
    """Name and scale the controls' errors; return the least error that a check exposes."""
    values, detects = data.arrays["controls"], data.config["detects"]
    said = "relative error of each control: it must be rejected"
    ends = values[values > 0]
    if len(ends):
        ax.set(xscale="log", xlim=_decades(np.append(ends, detects or ends[0])))
    ax.set_xlabel(f"{said}\n(upright line: the least that a check exposes)" if detects else said)
    return detects or None


def _decades(values: np.ndarray) -> tuple[float, float]:
    """Return the whole decades about positive values."""
    low, high = np.log10([values.min() / 1.5, values.max() * 1.5])
    return 10.0 ** np.floor(low), 10.0 ** np.ceil(high)


def of_claim(claim_id: str) -> Figure:
    """Return the figure of a registered claim, judged in the quick profile when it is drawn."""
    title = load_claim(claim_id).title
    blank = _figure(claim_id, title)
    return replace(blank, compute=lambda seed: read(judge_by_id(claim_id, "quick", seed)))


def of_row(row: Row) -> Figure:
    """Return the figure of a row of a ledger."""
    return replace(_figure(row["id"], row["title"]), compute=lambda _seed: read(row))


def of_rows(rows: Iterable[Row]) -> list[Figure]:
    """Return the figures of the rows that were judged and that no registered figure shows."""
    shown = {one for name in figure_names() for one in load_figure(name).claims}
    return [of_row(row) for row in rows if row["id"] not in shown and row["evidence"]]


def _figure(claim_id: str, title: str) -> Figure:
    return Figure(
        f"{CLAIM}{claim_id}",
        f"{title}: what was found, checks against their limits, and controls",
        lambda _seed: FigureData({}, {}),
        plot,
        rows=len(PANELS),
        wide=False,
        claims=(claim_id,),
    )
