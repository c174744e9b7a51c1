"""The rooms of this laboratory: who imports whom, and on which floor each room lies."""

import ast
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes

from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, BLUE, RED

PACKAGES = ("analytic", "steinlab", "toy_models", "gpu_models")
INNER = "steinlab"
"""The package that is drawn room by room; the others are one room each."""

STONES = ("errors", "estimates", "metrics", "plugins", "storage", "workers")
"""Modules at the root that everything stands on: one room in the picture."""

BOX = (0.86, 0.62)
"""Width and height of a room, in units of a place and a floor."""


def room_of(module: str) -> str:
    """Return the room that a module lies in; "" for the package's own face.

    Examples
    --------
    >>> room_of("steinlab.solvers.loop"), room_of("analytic.flow"), room_of("steinlab.errors")
    ('solvers', 'analytic', 'stones')
    """
    package, _, inside = module.partition(".")
    if package != INNER:
        return package
    name = inside.partition(".")[0]
    return "stones" if name in STONES else name


def imported(tree: ast.AST) -> Iterator[str]:
    """Yield the modules that a source imports, those inside functions included."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            plain = node.module in PACKAGES
            yield from (f"{node.module}.{a.name}" for a in node.names) if plain else (node.module,)


def sources() -> Iterator[tuple[str, ast.AST, int]]:
    """Yield every module of the four packages with its syntax tree and its number of lines."""
    for package in PACKAGES:
        spec = find_spec(package)
        for folder in map(Path, spec.submodule_search_locations or () if spec else ()):
            for file in sorted(folder.rglob("*.py")):
                parts = (package, *file.relative_to(folder).with_suffix("").parts)
                module = ".".join(part for part in parts if part != "__init__")
                text = file.read_text(encoding="utf-8")
                yield module, ast.parse(text), text.count("\n")


def floors(arrows: Mapping[tuple[str, str], int], rooms: Sequence[str]) -> dict[str, int]:
    """Return each room's floor: one above the highest that it stands on.

    An arrow that would close a circle is left out, the one with the fewest imports first, and is
    drawn in red: there should be none but the solvers' look at the corrections by their ids.
    """
    below: dict[str, set[str]] = {room: set() for room in rooms}

    def reaches(start: str, end: str) -> bool:
        return start == end or any(reaches(one, end) for one in below[start])

    for (upper, lower), _ in sorted(arrows.items(), key=lambda arrow: (-arrow[1], arrow[0])):
        if not reaches(lower, upper):
            below[upper].add(lower)

    def floor(room: str) -> int:
        return 1 + max((floor(one) for one in below[room]), default=-1)

    return {room: floor(room) for room in rooms}


def compute(seed: int) -> FigureData:  # noqa: ARG001
    """Return rooms, their lines and floors, and the imports between them, read from the sources."""
    lines: Counter[str] = Counter()
    arrows: Counter[tuple[str, str]] = Counter()
    for module, tree, count in sources():
        room = room_of(module)
        if room in ("", "__main__") or (room == "tournament" and module.startswith(INNER)):
            continue  # the face, and the old name of a command
        lines[room] += count
        targets = {room_of(name) for name in imported(tree) if name.split(".")[0] in PACKAGES}
        arrows.update((room, target) for target in targets - {room, ""})
    rooms = sorted(lines)
    at = floors(arrows, rooms)
    pairs = sorted(arrows)
    arrays = {
        "lines": np.array([lines[room] for room in rooms]),
        "floor": np.array([at[room] for room in rooms]),
        "arrow": np.array([[rooms.index(a), rooms.index(b)] for a, b in pairs]),
        "imports": np.array([arrows[pair] for pair in pairs]),
    }
    return FigureData(arrays, {"rooms": rooms})


def places(floor: np.ndarray) -> np.ndarray:
    """Return the room's centres, shape (rooms, 2): each floor's rooms spread about the middle."""
    out = np.empty((len(floor), 2))
    for level in np.unique(floor):
        here = np.flatnonzero(floor == level)
        out[here, 0] = np.arange(len(here)) - (len(here) - 1) / 2
        out[here, 1] = level
    out[:, 0] += 0.22 * np.where(floor % 2 == 0, 1.0, -1.0)
    return out


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw a box per room, a line per pair that imports, as wide as the imports are many."""
    (ax,) = axes
    centre = places(data.arrays["floor"])
    width, height = BOX
    for (a, b), count in zip(data.arrays["arrow"], data.arrays["imports"], strict=True):
        down = centre[a, 1] > centre[b, 1]
        ends = centre[[a, b]] + (np.array([[0, -1], [0, 1]]) if down else 0) * height / 2
        ax.plot(*ends.T, color=BLUE if down else RED, linewidth=0.25 + count / 25, alpha=0.45)
    for name, lines, (x, y) in zip(data.config["rooms"], data.arrays["lines"], centre, strict=True):
        ax.fill_between(
            [x - width / 2, x + width / 2], y - height / 2, y + height / 2,
            facecolor="white", edgecolor=BLACK, linewidth=0.6, zorder=2,
        )  # fmt: skip
        ax.text(x, y + 0.1, name, ha="center", va="center", zorder=3, fontsize=6.5)
        said = f"{lines:,} lines"
        ax.text(x, y - 0.14, said, ha="center", va="center", zorder=3, fontsize=4.5)
    ax.set_axis_off()


FIGURE = Figure(
    "rooms",
    "The laboratory's rooms: imports go down, wider where more modules import",
    compute,
    plot,
    aspect=0.8,
    column={"aspect": 1.5},
)
