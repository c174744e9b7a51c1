"""``steinlab advise``: closed form where it can be, a pilot where not, one line where neither."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic import GaussianMixture
from steinlab.cli import main
from steinlab.corrections import pilot
from steinlab.diffusion.processes import EDM
from steinlab.experiments.advise import advise, spectrum_of_loss
from steinlab.experiments.bench import flow_ends
from steinlab.solvers import SOLVERS, get_solver
from steinlab.solvers.gaussian_runs import flow_distance
from steinlab.solvers.loop import solve
from steinlab.solvers.plans import run_within

MODES: dict[str, Any] = {
    "data": {"weights": [0.3, 0.7], "means": [[-2, 0], [2, 1]], "stds": [0.3, 0.4]},
    "evaluations": 6,
    "solvers": ["euler", "dpmpp-2m", "ipndm-3"],
    "grids": ["karras", "logsnr"],
}
STDS = [3.0, 1.0, 0.2]


def test_of_a_spectrum_the_least_error_of_all_is_named() -> None:
    found = advise({"spectrum": STDS, "evaluations": 7})
    law = GaussianMixture(np.ones(1), np.zeros((1, 3)), np.array([STDS]) ** 2)
    errors = {}
    for name, grid in ((n, g) for n in SOLVERS for g in ("karras", "karras:rho=3", "logsnr")):
        solver = get_solver(name)
        if solver.ends_at_zero and not getattr(solver, "couples_batch", False):
            errors[name, grid] = flow_distance(law, *run_within(solver, EDM, grid, 7))
    assert found.best.error == pytest.approx(min(errors.values()), rel=1e-9)
    assert errors[found.best.solver, found.best.grid] == pytest.approx(found.best.error)
    assert found.best.low == found.best.high == found.best.error
    batch = law.sample(100_000, np.random.default_rng(0))
    for one in (one for one in (found.best, *found.others) if one.solver == "unit-speed-3"):
        plan, grid = run_within(get_solver(one.solver), EDM, one.grid, 7)
        x = grid[0].noised(batch, np.random.default_rng(1))
        gaps = solve(law, x, grid, plan).state - flow_ends(law, x, grid[0], grid[-1])[0]
        assert np.sqrt(np.mean(np.sum(gaps**2, axis=1))) == pytest.approx(one.error, rel=0.03)
        break
    else:
        pytest.fail("unit-speed-3 is among the first five")
    exact = advise({"spectrum": STDS, "evaluations": 7, "solvers": ["unit-speed-1c"]}).best
    assert exact.error < 1e-12  # of any Gaussian, so that it is no advice unless it is asked for
    ranks = [found.best.error, *(one.error for one in found.others)]
    assert ranks == sorted(ranks)
    assert (found.price, found.spread) == (0, pytest.approx(math.hypot(*STDS)))


def test_a_loss_curve_of_gaussian_data_gives_their_advice() -> None:
    squares, ratios = np.square(STDS), np.geomspace(0.002, 80, 60)
    loss = np.sum(squares * ratios[:, None] ** 2 / (squares + ratios[:, None] ** 2), axis=1)
    deviations, counts, misfit = spectrum_of_loss(ratios, loss)
    for one in STDS:
        near = np.abs(np.log(deviations / one)) < 0.3
        assert counts[near].sum() == pytest.approx(1.0, rel=0.1)
    assert misfit < 0.01
    assert counts @ deviations**2 == pytest.approx(squares.sum(), rel=0.02)
    points = np.stack([ratios, loss], axis=1).tolist()
    found = advise({"loss": points, "evaluations": 7})
    exact = advise({"spectrum": STDS, "evaluations": 7})
    named = {(one.solver, one.grid): one.error for one in (exact.best, *exact.others)}
    assert named[found.best.solver, found.best.grid] < 1.5 * exact.best.error
    assert "as if the data were Gaussian" in found.why


def test_of_a_law_the_winner_is_as_good_as_is_said(tmp_path: Path) -> None:
    """The expected error holds on other states, against the exact flow."""
    found = advise(MODES)
    best = found.best
    assert best.correction == {"name": "pilot", "states": 96}
    process, law = (
        EDM,
        GaussianMixture(
            np.array([0.3, 0.7]), np.array([[-2.0, 0.0], [2.0, 1.0]]), np.array([0.3, 0.4]) ** 2
        ),
    )
    plan, grid = run_within(get_solver(best.solver), process, best.grid, 6)
    rng = np.random.default_rng(3)
    x = grid[0].noised(law.sample(600, rng), rng)
    ends, _ = flow_ends(law, x, grid[0], grid[-1])
    run = solve(law, x, grid, plan, correction=pilot(states=96)).state
    error = float(np.sqrt(np.mean(np.sum((run - ends) ** 2, axis=1))))
    plain = solve(law, x, grid, plan).state
    assert error < 0.8 * np.sqrt(np.mean(np.sum((plain - ends) ** 2, axis=1)))
    assert best.low / 1.5 < error < 1.5 * best.high
    assert best.low < best.error < best.high
    assert advise(MODES) == found
    assert len(found.others) == 4


def test_the_price_is_every_evaluation(monkeypatch: pytest.MonkeyPatch) -> None:
    calls = 0
    real = GaussianMixture.__call__

    def counted(self: Any, x: Any, level: Any) -> Any:
        nonlocal calls
        calls += len(x)
        return real(self, x, level)

    monkeypatch.setattr(GaussianMixture, "__call__", counted)
    whole = {key: value for key, value in MODES.items() if key != "grids"}  # the default ones
    assert advise({**whole, "states": 20, "solvers": ["euler"]}).price == calls > 1000


def test_the_command_prints_and_writes_the_advice(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, out = tmp_path / "spec.json", tmp_path / "out.json"
    file.write_text(json.dumps({"spectrum": STDS, "evaluations": 7}))
    assert main(["advise", str(file), "--json", str(out)]) == 0
    told, found = capsys.readouterr().out, json.loads(out.read_text())
    best = advise({"spectrum": STDS, "evaluations": 7}).best
    assert (found["solver"], found["grid"], found["correction"]) == (best.solver, best.grid, "none")
    assert f"{best.error:.3g}" in told
    assert found["error"] == best.error
    assert found["price"] == {"evaluations": 0, "per_state_of_10000": 0.0}


def test_from_pure_noise_only_what_can_begin_there_is_advised() -> None:
    whole = {"evaluations": 5, "process": "flow", "grids": ["time-uniform:start=1"]}
    solvers = ["euler", "unit-speed-3"]
    for subject in ({"spectrum": STDS}, {"data": MODES["data"], "states": 16}):
        found = advise({**whole, **subject, "solvers": solvers})
        assert {one.solver for one in (found.best, *found.others)} == {"euler"}


def test_the_table_tells_what_chose_from_what_was_judged(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    spec = {**MODES, "states": 16, "solvers": ["euler", "unit-speed-2"]}
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))
    assert main(["advise", str(file)]) == 0
    told, found = capsys.readouterr().out, advise(spec)
    rows = [line.split() for line in told.splitlines() if line.split()[:1] in (["use"], ["beside"])]
    best = found.best
    fresh = f"{best.error:.3g} ({best.low:.3g} to {best.high:.3g})"
    assert rows[0][-5:] == [f"{best.chosen_by:.3g}", *fresh.split()]
    assert [row[-1] for row in rows[1:]] == [f"{one.chosen_by:.3g}" for one in found.others]
    assert found.best.chosen_by < min(one.chosen_by for one in found.others)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({"evaluations": 5}, "SPEC must hold one of spectrum, loss, data, model, got none"),
        ({"spectrum": [1], "loss": [[1, 1]], "evaluations": 5}, "got spectrum, loss"),
        ({"spectrum": [1]}, "evaluations is missing"),
        ({"spectrum": [1, 0], "evaluations": 5}, "spectrum[1] must be > 0, got 0"),
        ({"loss": [[1, 1], 2], "evaluations": 5}, "loss[1] must be a list [sigma / alpha, loss]"),
        ({"spectrum": [1], "evaluations": 5, "states": 9}, "states needs data or a model, got 9"),
        ({"spectrum": [1], "evaluations": 5, "solvers": ["eulr"]}, "did you mean euler"),
        ({"spectrum": [1], "evaluations": 1, "solvers": ["dpm-2"], "grids": ["karas"]}, "karras"),
        ({**MODES, "states": 15}, "states must be a whole number from 16 to"),
        ({**MODES, "solvers": ["dpmpp-2s"], "evaluations": 0}, "evaluations must be a whole"),
        ({**MODES, "grids": ["karras", "logsnr:sigma_max=9"]}, "grids must begin and end at the"),
    ],
)
def test_bad_input_is_one_line(
    spec: dict[str, Any], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(spec))
    assert main(["advise", str(file)]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
