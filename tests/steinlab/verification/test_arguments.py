"""What arguments range over: drawn within limits, written down, read back, made simpler."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest

from steinlab.diffusion.processes import EDM, FLOW
from steinlab.errors import InputError
from steinlab.solvers import EULER
from steinlab.verification import laws
from steinlab.verification.arguments import Strategy, levels, numbers, steps

STRATEGIES: dict[str, Any] = {
    "mixtures": laws.mixtures(components=(2, 4)),
    "gaussians": laws.gaussians(),
    "levels": levels("edm", FLOW),
    "all levels": levels(),
    "steps": steps(("edm", FLOW), ["euler", "heun"]),
    "objects": steps(EDM, EULER, longest=1.0),
    "numbers": numbers(-1.0, 2.0),
    "logarithmic": numbers(0.1, 10.0, log=True),
}


def drawn(strategy: Strategy, rng: np.random.Generator) -> tuple[Any, tuple[float, ...]]:
    kind = strategy.kinds[int(rng.integers(len(strategy.kinds)))]
    return kind, tuple(float(p.at(rng.random())) for p in strategy.parameters(kind))


def plain(value: Any) -> Any:
    """Compare objects by their numbers."""
    if hasattr(value, "weights"):
        return value.weights.tolist(), value.means.tolist(), value.spectra.tolist()
    return value


@pytest.mark.parametrize("strategy", STRATEGIES.values(), ids=STRATEGIES)
def test_a_value_is_its_json_and_has_a_place(strategy: Strategy) -> None:
    rng = np.random.default_rng(1)
    assert isinstance(strategy, Strategy)
    for _ in range(20):
        kind, values = drawn(strategy, rng)
        written = strategy.write(kind, values)
        again = json.loads(json.dumps(written))
        assert again == json.loads(json.dumps(strategy.write(kind, values)))
        assert plain(strategy.read(again)) == plain(strategy.read(written))
        where, found = strategy.place(again)
        assert where in strategy.kinds
        near = json.loads(json.dumps(strategy.write(where, found)))
        for key, value in near.items() if isinstance(near, dict) else [(None, near)]:
            same = again[key] if key else again
            assert value == (same if isinstance(value, str) else pytest.approx(same, rel=1e-12))


def test_a_mixture_loses_one_component_at_a_time() -> None:
    three = laws.mixtures()
    values = (0.2, 1.0, 0.5, -1.0, 0.0, 1.0, 0.1, 0.2, 0.3)
    smaller = three.simpler(3, values)
    assert [kind for kind, _ in smaller] == [2, 2, 2]
    assert smaller[1] == (2, (0.2, 0.5, -1.0, 1.0, 0.1, 0.3))
    assert three.simpler(*smaller[1])[0] == (1, (1.0, 0.3))
    assert three.simpler(1, (1.0, 0.3)) == ()
    assert laws.mixtures(components=(2, 3)).simpler(*smaller[1]) == ()


def test_a_step_runs_between_its_levels() -> None:
    step = steps("flow", "heun").read({"process": "flow", "solver": "heun", "from": 3, "to": 1})
    assert (step.s.sigma, step.t.sigma, step.solver.name) == (0.75, 0.5, "heun")
    candidate = step.candidate(lambda x, _level: 0 * x, np.ones((1, 1)))
    np.testing.assert_allclose(candidate.residual, 1 - candidate.state)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: laws.mixtures(2), "laws: dim must be 1, .*long form, got 2"),
        (lambda: laws.mixtures(components=(0, 2)), r"components must be .*got \(0, 2\)"),
        (lambda: laws.mixtures(farthest=0), "farthest must be > 0, got 0"),
        (lambda: laws.gaussians(stds=(1, 1)), r"stds must be .*got \(1, 1\)"),
        (lambda: levels("edn"), r"did you mean edm\? process must be one of .*, got edn"),
        (lambda: levels(low=0), "levels: low must be in .*got 0 and high 100"),
        (lambda: steps("edm", "dpmpp-2m"), "without history, got dpmpp-2m"),
        (lambda: steps("edm", "eular"), r"did you mean euler\? "),
        (lambda: steps("edm", "euler", longest=0), "longest must be > 0, got 0"),
        (lambda: steps("edm", "euler", low=2, high=1), "got 2 and high 1"),
        (lambda: numbers(1, 0), "low must be < high, both finite, got 1 and 0"),
        (lambda: numbers(0, 1, log=True), "low must be > 0 with log, got 0"),
    ],
)
def test_bad_ranges_get_one_line(make: Any, message: str) -> None:
    with pytest.raises(InputError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value)
