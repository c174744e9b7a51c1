"""``steinlab coefficient``: what it passes on, prints and writes."""

import json
import sys
import types

import numpy as np
import pytest

from analytic import NoiseLevel
from steinlab.cli import main
from steinlab.coefficient.routes import COUPLING, TRACE_PRODUCTS, Coefficients, coefficients
from steinlab.errors import InputError
from steinlab.estimates import Estimate
from steinlab.solvers import EULER, SOLVERS
from tests.steinlab.network_toys import toy_model

MIXTURE = {"weights": ["1/2", "1/2"], "means": [-3, 3], "stds": ["1/10", "1/10"]}
STEP = {"data": MIXTURE, "from": ["4/5", "3/5"], "to": ["12/13", "5/13"], "solver": "euler"}


@pytest.fixture
def exact(monkeypatch):
    """A stand-in for ``steinlab.coefficient.routes`` that records what it is asked."""
    asked = {}

    def coefficients(law, s, t, solver, *, history, samples, seed, progress):
        asked.update(law=law, s=s, t=t, solver=solver, history=history, samples=samples, seed=seed)
        gamma = {"reference": Estimate(2.0, 1e-14), "stein": Estimate(1.98765, 0.012)}
        return Coefficients(gamma, {})

    module = types.ModuleType("steinlab.coefficient.routes")
    module.coefficients = coefficients
    module.COUPLING = COUPLING
    monkeypatch.setitem(sys.modules, "steinlab.coefficient.routes", module)
    return asked


def test_it_passes_the_step_on_and_writes_exactly_gamma(exact, spec_file, tmp_path, capsys):
    out = tmp_path / "out.json"
    assert main(["coefficient", spec_file(STEP), "--json", str(out), "--seed", "7"]) == 0
    assert (exact["s"], exact["t"]) == (NoiseLevel(0.8, 0.6), NoiseLevel(12 / 13, 5 / 13))
    assert (exact["seed"], exact["samples"], exact["history"]) == (7, None, ())
    assert exact["law"].means.tolist() == [[-3.0], [3.0]]
    assert json.loads(out.read_text()) == {
        "gamma": {
            "reference": {"value": 2.0, "error": 1e-14},
            "stein": {"value": 1.98765, "error": 0.012},
        }
    }
    table = capsys.readouterr().out
    assert "reference" in table
    assert "1.988" in table
    assert "Theorem 4.7" in table


def test_a_multistep_solver_says_how_its_history_was_coupled(exact, spec_file, capsys):
    spec = {**STEP, "solver": "dpmpp-2m", "history": [["3/5", "4/5"]]}
    assert main(["coefficient", spec_file(spec), "--json", "-"]) == 0
    out, err = capsys.readouterr()
    assert json.loads(out)["history"] == COUPLING
    assert "reference" in err
    assert exact["history"] == (NoiseLevel(0.6, 0.8),)
    assert main(["coefficient", spec_file({**STEP, "solver": "dpmpp-2m"}), "--json", "-"]) == 0
    assert json.loads(capsys.readouterr().out)["history"].startswith("none")


def test_the_table_uses_the_digits_that_the_error_leaves(exact, spec_file, capsys):
    main(["coefficient", spec_file(STEP)])
    lines = capsys.readouterr().out.splitlines()
    assert any("1.988 " in line and "1.2e-02" in line for line in lines)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--seed", "x"], "--seed must be a whole number from 0"),
        (["--seed", "-1"], "--seed must be a whole number from 0"),
        (["--samples", "0"], "--samples must be a whole number from 2 to 100000000, got 0"),
        (["--json", "no/such/file"], "--json must name a file in an existing folder"),
    ],
)
def test_bad_options_are_one_line(exact, spec_file, refused, args, message):
    assert refused("coefficient", spec_file(STEP), *args).startswith(message)
    assert exact == {}


def test_bad_specs_are_one_line(exact, spec_file, refused, tmp_path):
    bad = {**STEP, "data": {**MIXTURE, "weights": [0.6, 0.5]}}
    file = spec_file(bad)
    assert refused("coefficient", file) == (
        f"data.weights must sum to 1, got a sum of 1.1, in {file}"
    )
    assert "line 1, column 2" in refused("coefficient", spec_file("{"))
    assert "must be finite, got nan" in refused(
        "coefficient",
        spec_file(
            '{"data": {"weights": [NaN], "means": [0], "stds": [1]},'
            ' "from": [1, 1], "to": [1, 0], "solver": "euler"}'
        ),
    )
    assert "no such file" in refused("coefficient", tmp_path / "nope.json")
    assert exact == {}


def test_a_defect_of_the_laboratory_is_a_traceback(exact, spec_file, monkeypatch):
    def broken(*args, **kwargs):
        raise ValueError("a defect")

    monkeypatch.setattr(sys.modules["steinlab.coefficient.routes"], "coefficients", broken)
    with pytest.raises(ValueError, match="a defect"):
        main(["coefficient", spec_file(STEP)])


def test_a_bad_step_in_a_process_of_its_own(steinlab, spec_file):
    done = steinlab("coefficient", spec_file({**STEP, "solver": "hueun"}))
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "did you mean heun?" in done.stderr


def test_it_does_not_load_torch(steinlab, spec_file):
    code = "import sys; from steinlab.cli import main; assert main(sys.argv[1:]) == 0;"
    code += "sys.exit('torch' in sys.modules)"
    assert steinlab("coefficient", spec_file(STEP), code=code).returncode == 0


def test_the_routes_agree_in_a_process_of_its_own(steinlab, spec_file):
    done = steinlab("coefficient", spec_file(STEP), "--json", "-")
    assert done.returncode == 0
    gamma = json.loads(done.stdout)["gamma"]
    assert set(gamma) >= {"reference", "stein", "tweedie", "three_scalar"}
    for route in gamma.values():
        allowed = route["error"] + gamma["reference"]["error"] + 1e-12
        assert abs(route["value"] - gamma["reference"]["value"]) <= allowed


@pytest.mark.parametrize("name", ["dpmpp-2m", "dpmpp-3m", "unipc-3", "deis-log-3", "ipndm-4"])
def test_a_deep_history_matches_the_closed_form_of_a_gaussian(steinlab, spec_file, name):
    """All of a step is linear in ``(x_star, eps)``, past evaluations included."""
    levels = [(1.0, sigma) for sigma in (5.0, 3.0, 2.0)]  # from noise to data
    history = levels[-{"dpmpp-2m": 1, "ipndm-4": 3}.get(name, 2) :]
    data = {"weights": [1], "means": [[0]], "stds": [0.7]}
    spec = {"data": data, "from": [1, 1.4], "to": [1, 0.8], "solver": name, "history": history}
    done = steinlab("coefficient", spec_file(spec), "--json", "-", "--samples", 100_000, here=True)
    gamma = json.loads(done.stdout)["gamma"]["reference"]
    seen = [NoiseLevel(1.0, 1.4), *(NoiseLevel(*level) for level in history[::-1])]
    linear = SOLVERS[name].weights(tuple(seen), NoiseLevel(1.0, 0.8))
    states = [np.array([level.alpha, level.sigma]) for level in seen]  # of x_star and eps
    wiener = [0.49 / (0.49 + level.sigma**2) for level in seen]
    step = linear.kappa * states[0]
    step = step + sum(b * c * x for b, c, x in zip(linear.betas, wiener, states, strict=True))
    step = step + sum(z * x for z, x in zip(linear.zetas, states[1:], strict=False))
    u, off = states[0] - step, states[0] - np.array([1.0, 0.0])
    power = np.array([0.49, 1.0])
    expected = (power * u * off).sum() / (power * u * u).sum()
    assert abs(gamma["value"] - expected) < 4.5 * gamma["error"]
    assert gamma["error"] < 0.02 * abs(expected)


def test_history_is_sampled_and_its_bias_shows(steinlab, spec_file):
    spec = {**STEP, "solver": "dpmpp-2m", "history": [["3/5", "4/5"]]}
    done = steinlab("coefficient", spec_file(spec), "--json", "-", "--samples", 20000, here=True)
    answer = json.loads(done.stdout)
    reference, stein = answer["gamma"]["reference"], answer["gamma"]["stein"]
    assert answer["history"] == COUPLING
    assert abs(reference["value"] - stein["value"]) > 5 * (reference["error"] + stein["error"])


# --- models -------------------------------------------------------------------------------------

ON_MODEL = {"model": "digits", "from": [1, 0.5], "to": [1, 0.3], "solver": "euler"}


@pytest.mark.parametrize("solver", ["euler", "heun"])
def test_the_routes_on_a_network_agree_where_theory_says_so(tmp_path, monkeypatch, solver):
    """``stein`` is ``reference`` whatever the network; ``tweedie`` is off by the score error."""
    monkeypatch.setenv("STEINLAB_CACHE", str(tmp_path))
    s, t = NoiseLevel(1.0, 1.0), NoiseLevel(1.0, 0.6)
    for data_law in (True, False):
        found = coefficients(
            toy_model(error=1.5, data_law=data_law), s, t, SOLVERS[solver], samples=5000
        )
        gamma = found.gamma
        assert found.counts == dict.fromkeys(gamma, 5000) | {"stein": TRACE_PRODUCTS // 2}
        for name in ("stein", "stein_hutchinson"):
            apart = abs(gamma[name].value - gamma["reference"].value)
            assert apart < 4.5 * np.hypot(gamma[name].error, gamma["reference"].error)
        if data_law and solver == "euler":  # for u = (1 - kappa)(x - D) it is 1 / (1 - kappa)
            assert gamma["tweedie"].value == pytest.approx(2.5, abs=1e-6)
            assert abs(gamma["reference"].value - 2.5) > 4.5 * gamma["reference"].error
        assert found.states.startswith("the law of" if data_law else "the network's own long run")


def test_a_model_in_place_of_data(spec_file, capsys):
    assert main(["coefficient", spec_file(ON_MODEL), "--json", "-", "--samples", "50"]) == 0
    out, err = capsys.readouterr()
    answer = json.loads(out)
    assert set(answer["gamma"]) == {"reference", "stein", "stein_hutchinson", "tweedie"}
    assert answer["states"]["from"] == "the model's exact law, noised forward"
    assert set(answer["states"]["counts"].values()) == {50}
    assert "noised forward" in err


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"model": "digts"}, "did you mean digits? model must be one of "),
        ({"model": 3}, "model must be a name or an object such as "),
        ({"model": {"name": "digits", "label": 3}}, "digits must be given without options"),
        ({"data": MIXTURE}, "SPEC must hold only model, from, to, solver, history"),
        ({"from": [1, 0]}, "from: sigma must be > 0"),
    ],
)
def test_bad_specs_of_models_are_one_line(spec_file, refused, change, message):
    assert message in refused("coefficient", spec_file({**ON_MODEL, **change}))


def test_levels_out_of_a_models_range_and_certificates_are_refused(spec_file, refused):
    line = refused("coefficient", spec_file(ON_MODEL), "--certify")
    assert line == "--certify: SPEC must hold data, got a model"
    with pytest.raises(InputError, match=r"must be in 0.02 to 20 for toy, got 30"):
        coefficients(toy_model(), NoiseLevel(1.0, 30.0), NoiseLevel(1.0, 1.0), EULER)


def _edge(mean="1", std="0.3", **change):
    data = {"weights": [0.5, 0.5], "means": [f"-{mean}", mean], "stds": [std, std]}
    return {**STEP, "data": data, "from": [1, 1], "to": [1, "1/2"], **change}


PLANE = {"data": {"weights": [1], "means": [["1e20", "1e20"]], "stds": [1]}}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (_edge("1e61"), "data.means[0] must be at most 1e60 for a coefficient, got 1e+61"),
        (_edge(std="1e90"), "data.stds[0] must be at most 1e60 for a coefficient, got 1e+90"),
        (_edge(**{"from": [1, "1e61"]}), "from: sigma must be at most 1e60 for a coefficient"),
        (_edge(**{"from": [1, "1e-61"], "to": [1, 0]}), "from: sigma must be at least 1e-60 for"),
        (_edge("1e60", "1e60"), "data.means[0] must be at most 1e6 sigma/alpha of from, got 1e+60"),
        (_edge(**PLANE), "data.means[0] must be at most 1e6 sigma/alpha of from, got 1e+20 for 1"),
        (_edge(**{"from": [1, "1e-30"], "to": [1, 0]}), "got 1.0 for 1e-30: rounding leaves"),
        (
            _edge(**{"from": ["1e-30", 1], "to": ["1e-29", 1]}),
            "to must be a step that is longer, got (1e-30, 1) and (1e-29, 1): rounding leaves",
        ),
    ],
)
def test_what_double_precision_cannot_hold_is_refused(spec, message, spec_file, refused):
    assert message in refused("coefficient", spec_file(spec), "--samples", "64")


@pytest.mark.parametrize(
    "spec",
    [
        _edge("1e60", "1e60", **{"from": [1, "1e60"], "to": [1, "1e59"]}),
        _edge("1e-100", "1e-100", **{"from": [1, "1e-60"], "to": [1, 0]}),
        _edge(**{"from": ["1e-100", 1]}),
        _edge("1e3", "1e3"),
        _edge(std="1e-100"),
    ],
)
def test_what_it_can_is_answered(spec, spec_file, tmp_path, capsys):
    out = tmp_path / "found.json"
    assert main(["coefficient", spec_file(spec), "--json", str(out), "--no-progress"]) == 0
    assert capsys.readouterr().err == ""
    gamma = json.loads(out.read_text())["gamma"]
    error = gamma["reference"]["error"]
    assert 0 < error < 1e-2
    assert gamma["tweedie"]["value"] == pytest.approx(gamma["reference"]["value"], abs=error)
