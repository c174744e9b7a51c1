"""Why the coefficient collapses: blind to the law, against its spread; what a clip at 1 does."""

from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes

from analytic import NoiseLevel
from analytic.quadrature import composite_rule, mixture_breaks
from steinlab.claims.causes.clip_neutrality import LINES, MixtureStep, line
from steinlab.claims.causes.cosine_law import cosines, tangent
from steinlab.claims.causes.law_scalar import law_scalar
from steinlab.diffusion.grids import make_grid
from steinlab.report.figures.base import Figure, FigureData
from steinlab.report.figures.style import BLACK, GREY, look
from steinlab.solvers import get_solver

START = 1.0
"""Noise at which the steps of the first and third panel begin."""

RATIOS = np.linspace(0.05, 0.95, 19)
DEVIATION = 0.5
STEPS = (3, 4, 6, 8, 12, 18, 25, 40)
GRIDS = {"karras": "Karras", "logsnr": "log-SNR", "tangent": "equal angles"}
DEVIATIONS = (0.1, 0.5, 2.0)
CLIP_STEPS = 6


def optimum(law_name: str, solver_id: str, ratio: float) -> float:
    """Return ``gamma* = E<u, x - D> / E|u|^2`` of a step in EDM, by quadrature on a line."""
    law, solver = line(law_name), get_solver(solver_id)
    s, t = NoiseLevel(1.0, START), NoiseLevel(1.0, ratio * START)
    x, weights = composite_rule(mixture_breaks(law, s), 8)
    mass = weights * np.exp(law.log_prob(x[:, None], s))
    u = solver.step(law, x[:, None], s, t, ()).residual
    off = x[:, None] - law(x[:, None], s)
    return float((mass @ (u * off)[:, 0]) / (mass @ (u * u)[:, 0]))


def compute(seed: int, *, laws: tuple[str, ...] = tuple(LINES)) -> FigureData:  # noqa: ARG001
    """Return optima ``(law, solver, ratio)``, spreads ``(grid, steps)``, scalars, flow's optima.

    Closed forms and quadrature: nothing is drawn at random.
    """
    solvers = ("euler", "heun")
    found = [[[optimum(law, one, k) for k in RATIOS] for one in solvers] for law in laws]
    spread = [[cosines(DEVIATION, _levels(name, n)) for n in STEPS] for name in GRIDS]
    shares = [d**2 / (d**2 + START**2) for d in DEVIATIONS]
    scalar = [[law_scalar(k, v) for k in RATIOS] for v in shares]
    steps = [MixtureStep(law, "karras", CLIP_STEPS, i) for law in laws for i in range(CLIP_STEPS)]
    flow = np.reshape([one.measure().value for one in steps], (len(laws), CLIP_STEPS))
    noise = [level.sigma for level in make_grid("edm", "karras", CLIP_STEPS)[:-1]]
    arrays = {
        **{"ratio": RATIOS, "optimum": np.array(found), "collapse": 1 / (1 - RATIOS)},
        **{"steps": np.array(STEPS), "spread": np.array(spread), "scalar": np.array(scalar)},
        **{"noise": np.array(noise), "flow": flow},
    }
    config = {
        **{"laws": list(laws), "solvers": list(solvers), "grids": list(GRIDS.values())},
        **{"deviations": list(DEVIATIONS), "deviation": DEVIATION, "start": START},
    }
    return FigureData(arrays, config)


def _levels(name: str, steps: int) -> np.ndarray:
    """Return the levels of a grid that ends at zero noise."""
    if name == "tangent":
        return tangent(DEVIATION, steps, 0.0)
    return np.array([level.sigma for level in make_grid("edm", name, steps)])


def plot(axes: Sequence[Axes], data: FigureData) -> None:
    """Draw the four causes."""
    blind, narrow, apart, clip = axes
    arrays, config, k = data.arrays, data.config, data.arrays["ratio"]
    blind.plot(k, arrays["collapse"], color=BLACK, label=r"$1/(1 - k)$")
    for i, law in enumerate(config["laws"]):
        euler, heun = arrays["optimum"][i]
        blind.plot(k, euler, linestyle="none", label=f"Euler, {law}", **look(i))
        style = look(i) | {"marker": ""}
        blind.plot(k, heun, linestyle=":", label="Heun" if i == 0 else None, **style)
    blind.set(yscale="log", xlabel=r"step ratio $k = \sigma'/\sigma$", ylabel=r"$\gamma^\star$")
    blind.set_title("the optimum does not see the law")
    for i, (grid, spread) in enumerate(zip(config["grids"], arrays["spread"], strict=True)):
        narrow.plot(arrays["steps"], spread, label=grid, **look(i))
    narrow.axhline(1.0, color=GREY, linestyle="--")
    narrow.set(xscale="log", xlabel="Euler steps", ylabel="spread kept")
    narrow.set_xticks(arrays["steps"], [str(n) for n in arrays["steps"]])
    narrow.minorticks_off()
    narrow.set_title(rf"$\mathcal{{N}}(0, {config['deviation']}^2)$ comes out narrow")
    for i, (c, scalar) in enumerate(zip(config["deviations"], arrays["scalar"], strict=True)):
        apart.plot(k, scalar, label=f"keeps the law, c = {c:g}", **look(i))
    apart.plot(k, arrays["collapse"], color=BLACK, label="least mean square")
    apart.axhline(1.0, color=GREY, linestyle="--")
    apart.set(ylim=(0.4, 3.0), xlabel=r"step ratio $k$", ylabel=r"$\gamma$ of an Euler step")
    apart.set_title("law and mean square pull apart")
    for i, (law, values) in enumerate(zip(config["laws"], arrays["flow"], strict=True)):
        clip.plot(arrays["noise"], values, label=law, **look(i))
    clip.axhline(1.0, color=GREY, linestyle="--", label="clip")
    clip.set(xscale="log", yscale="log", xlabel=r"noise $\sigma$ at the step's start")
    clip.invert_xaxis()
    clip.set_ylabel(r"$\gamma^\star$ of the exact flow")
    clip.set_title("where a clip at 1 would act")
    for ax in axes:
        ax.legend(loc="best", fontsize=5)


FIGURE = Figure(
    "causes",
    "Why the coefficient collapses: it does not see the law, Euler narrows it, law and mean square "
    "pull apart, and a clip at 1 touches exact steps of narrow modes alone",
    compute,
    plot,
    rows=2,
    columns=2,
    aspect=0.66,
    claims=("geometry-blindness", "cosine-law", "law-scalar", "clip-neutrality"),
)
