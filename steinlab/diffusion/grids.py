r"""Grids: discretisations of a process, tuples of levels from noise to data.

A grid is named by its id and its options: ``karras``, ``karras:rho=5``, or the object
``{"name": "karras", "rho": 5}`` of a SPEC.json. Each id is one function ``(process, n, options)``
that returns ``n`` decreasing ratios ``sigma / alpha``, infinite at ``alpha = 0``.

All but those of published tables have the option ``start``: the time of the process at which the
grid begins, by default ``t_max``. ``time-uniform:start=1`` on the flow begins at ``alpha = 0``, as
flow grids do elsewhere. Grids over the process's range have ``sigma_min`` and ``sigma_max``, its
ends in ``sigma / alpha``. A list of ``sigma / alpha`` or of times, :data:`GIVEN`, is a grid too.
"""

import dataclasses
import inspect
import itertools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

import numpy as np

from analytic import NoiseLevel
from steinlab.diffusion.options import canonical, named
from steinlab.diffusion.processes import Process, get_process
from steinlab.errors import InputError, one_of, quote

KARRAS_RHO = 7.0
"""Exponent of Karras et al. (2022), eq. (5)."""

Grid = tuple[NoiseLevel, ...]

Direction = Literal["data", "noise"]
"""Where a walk over levels leads: to less noise, as sampling does, or to more, as inversion."""


def _karras(process: Process, n: int, *, rho: float = KARRAS_RHO) -> np.ndarray:
    top, bottom = process.ratio_max ** (1 / rho), process.ratio_min ** (1 / rho)
    return np.linspace(top, bottom, n) ** rho


def _logsnr(process: Process, n: int) -> np.ndarray:
    return np.geomspace(process.ratio_max, process.ratio_min, n)


def _time_uniform(process: Process, n: int) -> np.ndarray:
    return np.asarray(process.ratio(np.linspace(process.t_max, process.t_min, n)))


def _quadratic(process: Process, n: int) -> np.ndarray:
    root = np.linspace(process.t_max**0.5, process.t_min**0.5, n)
    return np.asarray(process.ratio(root**2))


def _exponential(process: Process, n: int, *, rho: float = 1.0) -> np.ndarray:
    """Uniform in ``log^(1/rho)``: k-diffusion's exponential, and poly-exponential, spacing."""
    top, bottom = math.log(process.ratio_max), math.log(process.ratio_min)
    return np.exp(bottom + np.linspace(1.0, 0.0, n) ** rho * (top - bottom))


def _beta(process: Process, n: int, *, alpha: float = 0.6, beta: float = 0.6) -> np.ndarray:
    """Quantiles of a beta law over the range of ratios (Lee et al., 2024, arXiv 2407.12173)."""
    from scipy.special import betaincinv

    quantiles = betaincinv(alpha, beta, 1 - np.linspace(0.0, 1.0, n))
    low, high = process.ratio_min, process.ratio_max
    return np.asarray(low + quantiles * (high - low))


def _tangent(process: Process, n: int, *, scale: float | str = 1.0) -> np.ndarray:
    """``scale tan(angle)``, uniform in the angle (TrigFlow: Lu and Song, 2024, scale 0.5).

    On data ``N(0, c^2)`` a first-order step from angle ``a`` to ``a'`` has ``cos(a - a')`` times
    the exact gain where ``scale = c``, so equal angles are best for every number of steps (Sabour,
    Fidler, Kreis, 2024). No one scale is best where directions differ in variance.
    """
    if isinstance(scale, str):
        raise ValueError(
            "scale must be a number where no law or model is known to take it from, got data"
        )
    top, bottom = (math.atan(r / scale) for r in (process.ratio_max, process.ratio_min))
    ratios = scale * np.tan(np.linspace(top, bottom, n))
    ratios[0] = process.ratio_max
    return np.asarray(ratios)


def _flow_shift(_process: Process, n: int, *, shift: float = 3.0, start: float = 1.0) -> np.ndarray:
    """``s' = shift s / (1 + (shift - 1) s)`` of ``s = start (1 - i/n)``, times of rectified flow.

    That multiplies ``sigma / alpha = s / (1 - s)`` by ``shift`` (Esser et al., 2024, eq. 23).
    """
    if not 0 < start <= 1:
        raise ValueError(f"start must be in (0, 1] for flow-shift, got {start}")
    s = np.linspace(start, start / n, n)
    with np.errstate(divide="ignore"):
        return np.asarray(shift * (s / (1 - s)))


SHIFTS = ((256, 0.5), (4096, 1.15))
"""Tokens of a picture and ``log shift`` between which Flux interpolates (FLUX.1, 2024)."""


def _flow_shift_dynamic(
    process: Process, n: int, *, length: float = 4096.0, start: float = 1.0
) -> np.ndarray:
    """Static shift with ``log shift`` linear in the number of tokens: :data:`SHIFTS`."""
    (short, low), (long, high) = SHIFTS
    mu = low + (high - low) * (length - short) / (long - short)
    return _flow_shift(process, n, shift=math.exp(mu), start=start)


TRAIN_STEPS = 1000
"""Number of levels in the tables that networks were trained on."""

BETAS: Mapping[str, Callable[[], np.ndarray]] = MappingProxyType(
    {
        "linear": lambda: np.linspace(1e-4, 0.02, TRAIN_STEPS),
        "scaled-linear": lambda: np.linspace(0.00085**0.5, 0.012**0.5, TRAIN_STEPS) ** 2,
    }
)
"""Tables of betas: DDPM's (Ho et al., 2020) and latent diffusion's (Rombach et al., 2022)."""


def table_ratios(table: str = "linear", *, zero_snr: float = 0.0) -> np.ndarray:
    """Return ``sigma / alpha`` of a table's levels, from data to noise.

    Parameters
    ----------
    table : str
        A key of :data:`BETAS`.
    zero_snr : {0, 1}
        1 shifts and scales ``alpha`` so that the last is 0 and the first stays (Lin et al., 2024,
        algorithm 1).

    Examples
    --------
    >>> table_ratios()[-1].round(3), table_ratios(zero_snr=1)[-1]
    (np.float64(157.407), np.float64(inf))
    """
    alphas = np.sqrt(np.cumprod(1 - BETAS[one_of("table", table, BETAS)]()))
    if zero_snr not in (0, 1):
        raise ValueError(f"zero_snr must be 0 or 1, got {zero_snr}")
    if zero_snr:
        alphas = (alphas - alphas[-1]) * (alphas[0] / (alphas[0] - alphas[-1]))
    with np.errstate(divide="ignore"):
        return np.asarray(np.sqrt((1 - alphas) * (1 + alphas)) / alphas)


def _spaced(times: Callable[[int], np.ndarray]) -> Callable[..., np.ndarray]:
    """Levels of a table at ``n`` of its times, chosen as in Table 2 of Lin et al. (2024)."""

    def ratios(
        _process: Process,
        n: int,
        *,
        table: str = "linear",
        zero_snr: float = 0.0,
        offset: float = 0.0,
    ) -> np.ndarray:
        if not n <= TRAIN_STEPS:
            raise ValueError(f"levels must be at most the table's {TRAIN_STEPS}, got {n}")
        chosen = times(n) + int(offset)
        if offset != int(offset) or not chosen[0] < TRAIN_STEPS:
            raise ValueError(
                f"offset must be whole and keep times below {TRAIN_STEPS}, got {offset}"
            )
        return np.asarray(table_ratios(table, zero_snr=zero_snr)[chosen])

    return ratios


def _linspace(n: int) -> np.ndarray:
    return np.linspace(0, TRAIN_STEPS - 1, n).round()[::-1].astype(int)


def _leading(n: int) -> np.ndarray:
    return np.arange(n)[::-1] * (TRAIN_STEPS // n)


def _trailing(n: int) -> np.ndarray:
    return np.arange(TRAIN_STEPS, 0, -TRAIN_STEPS / n)[:n].round().astype(int) - 1


AYS: Mapping[str, tuple[float, ...]] = MappingProxyType(
    {
        "sd15": (14.615, 6.475, 3.861, 2.697, 1.886, 1.396, 0.963, 0.652, 0.399, 0.152),
        "sdxl": (14.615, 6.315, 3.771, 2.181, 1.342, 0.862, 0.555, 0.380, 0.234, 0.113),
        "svd": (700.0, 54.5, 15.886, 7.977, 4.248, 1.789, 0.981, 0.403, 0.173, 0.034),
    }
)
"""Align Your Steps (Sabour, Fidler, Kreis, 2024): ``sigma / alpha`` of ten steps to zero noise, for
Stable Diffusion 1.5, XL and Stable Video Diffusion."""


def _ays(_process: Process, n: int, *, table: str = "sd15") -> np.ndarray:
    """A published table; for other lengths its logarithms are interpolated, as the authors do."""
    values = AYS[one_of("table", table, AYS)]
    if n == len(values):
        return np.array(values)
    place = np.linspace(0, len(values) - 1, n)
    return np.asarray(np.exp(np.interp(place, np.arange(len(values)), np.log(values))))


RANGE = ("sigma_min", "sigma_max")
"""Options that give the ends of a grid in ``sigma / alpha``."""

GRIDS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {"karras": _karras, "logsnr": _logsnr, "time-uniform": _time_uniform, "quadratic": _quadratic}
)
"""The discretisations of the laboratory's own experiments, by name: :data:`ALL_GRIDS` has more."""

TABLES = ("linspace", "leading", "trailing", "ays")
"""Grids of a published table's levels, whatever the process."""

ALL_GRIDS: Mapping[str, Callable[..., np.ndarray]] = MappingProxyType(
    {
        **GRIDS,
        "exponential": _exponential,
        "lu": _logsnr,
        "beta": _beta,
        "tangent": _tangent,
        "flow-shift": _flow_shift,
        "flow-shift-dynamic": _flow_shift_dynamic,
        "linspace": _spaced(_linspace),
        "leading": _spaced(_leading),
        "trailing": _spaced(_trailing),
        "ays": _ays,
    }
)
"""Every discretisation by name: ``(process, n, **options) -> n`` decreasing ratios over the
process's range; the shifts and :data:`TABLES` have ranges of their own."""

_ALL_SEARCH: Mapping[str, Any] = {"levels": 61.0, "teacher": "ipndm-4"}

SEARCHED: Mapping[str, Mapping[str, Any]] = MappingProxyType(
    {
        "gits": {**_ALL_SEARCH, "g": 1.15, "cost": "distance"},
        "oss": _ALL_SEARCH,
        "descent": _ALL_SEARCH,
    }
)
"""Grids that :mod:`steinlab.solvers.searched_grids` finds on a law or model, with their options:
``levels``, the number of candidates, and ``teacher``, the solver that visits them."""

DATA = "data"
"""In place of a number, :data:`OF_DATA`: what the law or model at hand has."""

OF_DATA: Mapping[str, str] = MappingProxyType({"tangent": "scale"})
"""The option of a grid that is a standard deviation of the data."""

LARGEST = 1e100
"""Of given levels, and its inverse the smallest but 0: their squares stay in double precision."""

GIVEN = ("sigmas", "times")
"""Grids of given values: of ``sigma / alpha``, or of the process's time."""


def grid_name(grid: Any, field: str = "grid") -> str:
    """Return a grid's canonical name, such as ``karras:rho=5``.

    Parameters
    ----------
    grid : str, dict or list
        ``"karras"``, ``"karras:rho=5"``, ``{"name": "karras", "rho": 5}`` or that as JSON. Given
        levels, noise first: a list of ``sigma / alpha``, ``{"sigmas": [...]}``,
        ``{"times": [...]}``, or ``"sigmas:80,10,1,0"``.
    field : str
        The name of the argument in messages.

    Raises
    ------
    InputError
        For an unknown name or option, or a value outside the option's range.

    Examples
    --------
    >>> grid_name({"name": "karras", "rho": 5}), grid_name("leading:table=scaled-linear")
    ('karras:rho=5', 'leading:table=scaled-linear')
    >>> grid_name([80, 1, 0]), grid_name({"times": [1, 0.5]})
    ('sigmas:80,1,0', 'times:1,0.5')
    """
    name, options = _parsed(grid, field)
    if name in GIVEN:
        return f"{name}:{','.join(repr(value).removesuffix('.0') for value in options[name])}"
    return canonical(name, options)


def given_steps(grid: Any) -> int | None:
    """Return the number of steps of a grid of given values; None for every other."""
    name, options = _parsed(grid, "grid")
    return len(options[name]) - 1 if name in GIVEN else None


class Searched(NamedTuple):
    """A grid of :data:`SEARCHED`: the candidates' grid and number, and how they are searched."""

    name: str
    base: dict[str, Any]
    levels: int
    options: dict[str, Any]


def searched(grid: Any) -> Searched | None:
    """Return what a grid of :data:`SEARCHED` asks for; None for every other.

    Examples
    --------
    >>> searched("gits:g=1,sigma_max=40")
    Searched(name='gits', base={'name': 'karras', 'sigma_max': 40.0}, levels=61, options={'g': 1.0})
    """
    name, options = _parsed(grid, "grid")
    if name not in SEARCHED:
        return None
    ends = {key: options.pop(key) for key in ("start", *RANGE) if key in options}
    levels = int(options.pop("levels", SEARCHED[name]["levels"]))
    return Searched(name, {"name": "karras", **ends}, levels, options)


def with_data(grid: Any, deviation: Callable[[], float]) -> str:
    """Return a grid's canonical name, the data's deviation in the place of the word ``data``.

    Parameters
    ----------
    grid : str, dict or list
    deviation : callable
        Returns the data's standard deviation; called where the grid asks for it.

    Examples
    --------
    >>> with_data("tangent:scale=data", lambda: 0.5), with_data("karras", lambda: 0.5)
    ('tangent:scale=0.5', 'karras')
    """
    name, options = _parsed(grid, "grid")
    key = OF_DATA.get(name)
    if key is None or options.get(key) != DATA:
        return grid_name(grid)
    return grid_name({"name": name, **options, key: deviation()})


def _parsed(grid: Any, field: str) -> tuple[str, dict[str, Any]]:
    """Return a grid's id and its options; of a grid of given values, those under its own id."""
    if isinstance(grid, str) and grid.lstrip()[:1] in ("{", "["):
        try:
            grid = json.loads(grid)
        except (ValueError, RecursionError) as error:
            raise InputError(
                f"{field} must be a name or JSON, got {quote(grid)}: {error}"
            ) from None
    grid = grid.tolist() if hasattr(grid, "tolist") else grid
    if isinstance(grid, list | tuple):
        return "sigmas", {"sigmas": _values(grid, f"{field}")}
    if isinstance(grid, Mapping) and len(grid) == 1 and next(iter(grid)) in GIVEN:
        ((name, values),) = grid.items()
        return name, {name: _values(values, f"{field}: {name}")}
    if isinstance(grid, str) and grid.partition(":")[0] in GIVEN:
        name, _, tail = grid.partition(":")
        return name, {name: _values(tail.split(","), f"{field}: {name}")}
    kinds = 'a name or an object such as {"name": "karras", "rho": 5}, or a list of sigma/alpha'
    name, given = named(grid, field, kinds)
    return name, _options(
        one_of(field, name, [*ALL_GRIDS, *SEARCHED], "docs/grids.md"), given, field
    )


def _values(values: Any, path: str) -> tuple[float, ...]:
    """Return given levels: numbers >= 0 that decrease, infinity among them."""
    values = values.tolist() if hasattr(values, "tolist") else values
    if not isinstance(values, list | tuple) or len(values) < 2:
        raise InputError(f"{path} must be a list of at least 2 numbers, got {quote(values)}")
    found: list[float] = []
    for i, value in enumerate(values):
        try:
            number = float("nan" if isinstance(value, bool) else value)
        except (TypeError, ValueError, OverflowError):
            number = math.nan
        if not number >= 0:
            raise InputError(f"{path}[{i}] must be a number >= 0, got {quote(value)}")
        if 0 < number < math.inf and not 1 / LARGEST <= number <= LARGEST:
            raise InputError(
                f"{path}[{i}] must be 0, infinite or from {1 / LARGEST:g} to {LARGEST:g}, "
                f"got {quote(value)}"
            )
        if found and not number < found[-1]:
            raise InputError(
                f"{path}[{i}] must be less than the one before, {found[-1]:g}, got {number:g}"
            )
        found.append(number)
    return tuple(found)


def _options(name: str, given: Mapping[str, Any], field: str) -> dict[str, Any]:
    if name in SEARCHED:
        known = dict(SEARCHED[name])
    else:
        made = inspect.signature(ALL_GRIDS[name]).parameters.values()
        known = {p.name: p.default for p in made if p.kind == 3}
    if name not in TABLES and "start" not in known:
        known |= dict.fromkeys(("start", *RANGE), 1.0)
    options: dict[str, Any] = {}
    for key, value in sorted(given.items()):
        default = known[one_of(f"{field} {name}: option", key, known)]
        where = f"{field} {name}: {key}"
        if value == DATA and OF_DATA.get(name) == key:
            options[key] = DATA
            continue
        if isinstance(default, str) and not isinstance(value, str):
            raise InputError(f"{where} must be a word, got {quote(value)}")
        options[key] = value if isinstance(default, str) else _number(value, where, default)
    if "start" in options and "sigma_max" in options:
        raise InputError(f"{field} {name}: start and sigma_max both say where it begins, got both")
    return options


def _number(value: Any, path: str, default: float) -> float:
    """Return a number > 0, or 0 if that is the option's default."""
    try:
        number = float("nan" if isinstance(value, bool) else value)
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (0 < number < math.inf or number == default == 0):
        raise InputError(
            f"{path} must be a number {'>=' if default == 0 else '>'} 0, got {quote(value)}"
        )
    return number


def make_grid(
    process: Process | str,
    grid: str | Mapping[str, Any] | Sequence[float],
    steps: int | None = None,
    *,
    final_zero: bool = True,
) -> Grid:
    """Return the levels of ``steps`` steps, from the process's noisiest level to zero noise.

    Parameters
    ----------
    process : Process or str
        The process, or its name.
    grid : str, dict or list
        A key of :data:`ALL_GRIDS`, with options as :func:`grid_name` takes them: ``karras``
        (uniform in ``ratio^(1/rho)``), ``logsnr`` (uniform in ``log ratio``), ``time-uniform`` or
        ``quadratic`` (uniform in ``t`` or ``sqrt t``), ... Or given levels, noise first: a list of
        ``sigma / alpha``, or an array of them, or of times, ``{"times": [...]}``.
    steps : int, optional
        At least 1; given levels need none.
    final_zero : bool
        Whether the grid ends at zero noise, ``(1, 0)``, after the process's least noisy level (the
        customary end), or at that level. Given levels end where they end.

    Raises
    ------
    InputError, ValueError
        For an unknown name or option; if the ratios do not decrease, or start at infinity in a grid
        that spaces ratios.

    Examples
    --------
    >>> [round(level.sigma, 3) for level in make_grid("edm", "karras", steps=3)]
    [80.0, 2.515, 0.002, 0.0]
    >>> [round(level.sigma, 3) for level in make_grid("flow", "flow-shift:shift=3", steps=3)]
    [1.0, 0.857, 0.6, 0.0]
    >>> [round(level.sigma, 3) for level in make_grid("flow", {"times": [1, 0.5, 0]})]
    [1.0, 0.5, 0.0]
    """
    process = get_process(process)
    name, options = _parsed(grid, "grid")
    if name in GIVEN:
        return _given(process, name, options[name], steps)
    if not isinstance(steps, int | np.integer):
        raise ValueError(f"steps must be a whole number, got {steps!r}")
    if steps < 1:
        raise ValueError(f"steps must be >= 1, got {steps}")
    if name in SEARCHED:
        raise InputError(
            f"grid {name} must be searched on a law or model, as steinlab compare does; the "
            "searched_grid of its --json is a grid of given levels"
        )
    make = ALL_GRIDS[name]
    if "start" not in inspect.signature(make).parameters:
        process = _cut(process, options)
    try:
        with np.errstate(invalid="ignore", divide="ignore"):
            ratios = make(process, steps if final_zero else steps + 1, **options)
    except ValueError as error:
        raise InputError(f"grid {name}: {error}") from None
    if np.isnan(ratios).any() or np.isinf(ratios[1:]).any():
        raise InputError(
            f"grid {name} spaces values of sigma/alpha, which is infinite at its start, alpha = 0: "
            "start below, or take time-uniform, quadratic, tangent or flow-shift"
        )
    return given_grid(process, [*ratios, 0.0] if final_zero else list(ratios))


def _given(process: Process, name: str, values: tuple[float, ...], steps: int | None) -> Grid:
    if steps is not None and steps != len(values) - 1:
        raise InputError(
            f"steps must be {len(values) - 1}, or left out, for a grid of {len(values)} given "
            f"levels, got {steps}"
        )
    try:
        if name == "sigmas":
            return given_grid(process, values)
        return require_grid([process.level(t) for t in values])
    except ValueError as error:
        raise InputError(f"grid {name}: {error}") from None


def _cut(process: Process, options: dict[str, Any]) -> Process:
    """Return the process between the options ``sigma_min`` and ``sigma_max``, or from ``start``.

    The options are taken out.
    """
    bounds = {}
    if "start" in options:
        bounds["t_max"] = options.pop("start")
        if not process.t_min < bounds["t_max"] <= process.t_end:
            raise InputError(
                f"grid: start must be a time of {process.name} in ({process.t_min:g}, "
                f"{process.t_end:g}], got {bounds['t_max']:g}"
            )
    for option, bound in (("sigma_min", "t_min"), ("sigma_max", "t_max")):
        if option in options:
            ratio = options.pop(option)
            bounds[bound] = float(process.time(ratio))
            if not 0 <= bounds[bound] <= process.t_end:
                raise InputError(
                    f"grid: {option} must be a value of sigma/alpha on {process.name}, at most "
                    f"{float(process.ratio(process.t_end)):.4g} (only given levels go beyond), "
                    f"got {ratio:g}"
                )
    cut = dataclasses.replace(process, **bounds)
    if not cut.t_min < cut.t_max:
        raise InputError(
            f"grid: sigma_min must be less than sigma_max, got {cut.ratio_min:g} and "
            f"{cut.ratio_max:g}"
        )
    return cut


def given_grid(process: Process, ratios: Sequence[float], *, repeated: bool = False) -> Grid:
    """Return the levels of a process at the given noise-to-signal ratios, noise first.

    An infinite ratio is ``alpha = 0``. ``repeated`` is that of :func:`require_grid`.
    """
    levels = tuple(process.level_at(float(ratio)) for ratio in ratios)
    return require_grid(levels, repeated=repeated)


def require_grid(
    grid: Sequence[NoiseLevel], *, repeated: bool = False, towards: Direction = "data"
) -> Grid:
    """Return the grid as a tuple; raise ``ValueError`` unless it runs from noise to data.

    Parameters
    ----------
    grid : sequence of NoiseLevel
    repeated : bool
        Whether a level may come twice in a row, as in the grids of some libraries: a step of no
        length, which costs an evaluation.
    towards : {"data", "noise"}
        Where it must lead instead, if to noise.
    """
    wrong = [level for level in grid if not isinstance(level, NoiseLevel)]
    if wrong:
        raise ValueError(
            f"grid must hold levels, as make_grid(process, grid, steps) returns, got {wrong[0]!r}"
        )
    if len(grid) < 2:
        raise ValueError(f"grid must hold at least 2 levels, got {len(grid)}")
    for i, (s, t) in enumerate(itertools.pairwise(grid)):
        same = _everywhere((s.alpha == t.alpha) & (s.sigma == t.sigma))
        if repeated and same:
            continue
        try:
            require_step(s, t, towards=towards)
        except ValueError as error:
            again = (
                ": a repeated level costs an evaluation and moves nothing; repeated=True replays it"
            )
            raise ValueError(f"grid step {i}: {error}{again if same else ''}") from None
    return tuple(grid)


def require_step(s: NoiseLevel, t: NoiseLevel, *, towards: Direction = "data") -> None:
    """Raise ``ValueError`` unless every step from ``s`` to ``t`` leads to less noise, or to more.

    No step leaves zero noise, whose states do not say where noise was taken from.
    """
    if not _everywhere(s.sigma > 0):
        raise ValueError(f"from: sigma must be > 0, got {s.sigma}")
    if one_of("towards", towards, ("data", "noise")) == "data":
        right, what, sign = t.ratio < s.ratio, "less noisy", "<"
    else:
        right, what, sign = t.ratio > s.ratio, "noisier", ">"
    if not _everywhere(right):
        raise ValueError(
            f"to must be {what} than from: sigma/alpha must be {sign} {s.ratio}, got {t.ratio}"
        )


def _everywhere(condition: Any) -> bool:
    """Whether a comparison holds in every case; the fast path is for plain numbers."""
    return condition if isinstance(condition, bool) else bool(np.all(condition))
