"""Every bad field is named with what it must be and what was given."""

import copy
import json
import re
from fractions import Fraction

import numpy as np
import pytest

from steinlab.diffusion.processes import PROCESSES
from steinlab.errors import InputError
from steinlab.experiments.compare import Comparison
from steinlab.experiments.specs.coefficient import CoefficientSpec
from steinlab.experiments.specs.compare import CompareSpec, CorrectionSpec
from steinlab.experiments.specs.laws import data_from_json
from steinlab.experiments.specs.solvers import Options
from steinlab.solvers import ALIASES, SOLVER_IDS
from steinlab.storage import read_json

MIXTURE = {"weights": [0.5, 0.5], "means": [-1.0, 1.0], "stds": [0.1, 0.2]}
STEP = {"data": MIXTURE, "from": [1.0, 2.0], "to": [1.0, 1.0], "solver": "euler"}
COMPARISON = {"data": MIXTURE, "solvers": ["euler"], "evaluations": [3]}
MISSING = object()


def changed(base, path, value):
    out = copy.deepcopy(base)
    *parents, last = path.split("/")
    place = out
    for key in parents:
        place = place[key]
    if value is MISSING:
        del place[last]
    else:
        place[last] = value
    return out


BAD_STEPS = [
    ("data/weights", [0.6, 0.5], "data.weights must sum to 1, got a sum of 1.1"),
    ("data/weights", [-0.5, 1.5], "data.weights[0] must be >= 0, got -0.5"),
    ("data/weights", [], "data.weights must be a list with at least one entry, got []"),
    ("data/weights", 1, "data.weights must be a list with at least one entry, got 1"),
    (
        "data/weights",
        [0.5, "half"],
        'data.weights[1] must be a number or a fraction such as "12/13", got half',
    ),
    (
        "data/weights",
        [0.5, True],
        'data.weights[1] must be a number or a fraction such as "12/13", got true',
    ),
    (
        "data/weights",
        [0.5, "1/0"],
        "data.weights[1] must have a denominator other than 0, got 1/0",
    ),
    ("data/means", [1.0], "data.means must hold one entry per weight, 2 in all, got 1"),
    ("data/means", [1.0, float("nan")], "data.means[1] must be finite, got nan"),
    ("data/means", [1.0, float("inf")], "data.means[1] must be finite, got inf"),
    (
        "data/means",
        [1.0, 1e200],
        "data.means[1] must be 0 or of magnitude 1e-100 to 1e100, got 1e+200",
    ),
    (
        "data/means",
        [1.0, "1e999999999999"],
        "data.means[1] must be 0 or of magnitude 1e-100 to 1e100, got 1e999999999999",
    ),
    (
        "data/means",
        [1.0, [2.0]],
        "data.means must be all numbers or all vectors, got [1.0, [2.0]]",
    ),
    (
        "data/means",
        [[1.0, 2.0], [1.0]],
        "data.means[1] must have 2 coordinates as data.means[0] has, got 1",
    ),
    ("data/stds", [0.1], "data.stds must hold one entry per weight, 2 in all, got 1"),
    ("data/stds", [0.1, 0], "data.stds[1] must be > 0, got 0.0"),
    ("data/stds", [0.1, -0.2], "data.stds[1] must be > 0, got -0.2"),
    ("data/stds", MISSING, "data.stds is missing: data must hold weights, means, stds"),
    (
        "data/std",
        [1.0],
        "did you mean stds? data must hold only weights, means, stds, got std",
    ),
    ("data", [1.0], "data must be an object, got [1.0]"),
    ("from", [0.0, 0.0], "from: sigma must be > 0 where alpha is 0, got 0"),
    ("from", ["3/2", 1.0], "from: alpha must be in [0, 1], got 1.5"),
    ("from", [1.0, 0.0], "from: sigma must be > 0, got 0"),
    ("from", [1.0, -1.0], "from: sigma must be >= 0, got -1.0"),
    ("from", [1.0], "from must be a list [alpha, sigma], got [1.0]"),
    ("from", MISSING, "from is missing: SPEC must hold data, from, to, solver"),
    ("to", [1.0, -1.0], "to: sigma must be >= 0, got -1.0"),
    (
        "to",
        [1.0, 2.0],
        "to must be less noisy than from: sigma/alpha must be < 2.0, got 2.0",
    ),
    ("solver", "hueun", "did you mean heun? "),
    ("solver", "unipc-4", "solver: order must be 1, 2 or 3 for unipc, got 4"),
    (
        "solver",
        "deis-tab-2",
        "solver: deis-tab-2 integrates in a process's time, and SPEC gives levels without one; "
        "deis-rho-2 integrates in sigma / alpha",
    ),
    ("solver", 3, "solver must be a string, got 3"),
    ("form", [1, 1], "did you mean from? "),
    ("history", [[1.0, 3.0]], "history must hold at most 0 levels for euler, got 1"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_STEPS)
def test_a_bad_step_is_named(path, value, message):
    with pytest.raises(InputError) as caught:
        CoefficientSpec.from_json(changed(STEP, path, value))
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("history", "message"),
    [
        (
            [[1.0, 1.5]],
            "from must be less noisy than history[0]: sigma/alpha must be < 1.5, got 2.0",
        ),
        ([[1.0, 0.0]], "history[0]: sigma must be > 0, got 0"),
        ([[2.0, 3.0]], "history[0]: alpha must be in [0, 1], got 2.0"),
        ([[1, 5], [1, 4]], "history must hold at most 1 levels for dpmpp-2m, got 2"),
        ([[1, 4], [1, 5]], "history[1] must be less noisy than history[0]"),
    ],
)
def test_a_bad_history_is_named(history, message):
    with pytest.raises(InputError) as caught:
        CoefficientSpec.from_json({**STEP, "solver": "dpmpp-2m", "history": history})
    assert str(caught.value).startswith(message)


BAD_COMPARISONS = [
    ("solvers", MISSING, "solvers is missing: SPEC must hold solvers, evaluations"),
    ("solvers", ["eulre"], "did you mean euler? "),
    ("solvers", [], "solvers must be a list with at least one entry, got []"),
    ("evaluations", [3, 0], "evaluations[1] must be a whole number from 1 to 10000, got 0"),
    ("evaluations", [-3], "evaluations[0] must be a whole number from 1 to 10000, got -3"),
    ("evaluations", [2.5], "evaluations[0] must be a whole number from 1 to 10000, got 2.5"),
    ("evaluations", [True], "evaluations[0] must be a whole number from 1 to 10000, got true"),
    ("samples", 0, "samples must be a whole number from 2 to 1000000, got 0"),
    ("samples", True, "samples must be a whole number from 2 to 1000000, got true"),
    ("seed", -1, f"seed must be a whole number from 0 to {2**63 - 1}, got -1"),
    ("schedule", "edn", "did you mean edm? "),
    ("grid", "karas", "did you mean karras? "),
    ("corrections", ["stien"], "did you mean stein? "),
    ("corrections", [{"name": "stien"}], "did you mean stein? "),
    (
        "corrections",
        [{"name": "stein", "gama_min": 1}],
        "corrections[0] must hold only name, divergence, gamma_min, gamma_max, states, "
        "target_error, got gama_min",
    ),
    (
        "corrections",
        [{"name": "none", "gamma_min": 1}],
        "corrections[0] must hold only name, got gamma_min",
    ),
    (
        "corrections",
        [{"name": "stein", "gamma_min": 2, "gamma_max": 1}],
        "corrections[0]: gamma_min must be <= gamma_max = 1.0, got 2.0",
    ),
    ("corrections", [3], 'such as {"name": "stein", "gamma_max": 1}, got 3'),
    ("model", "digits", "SPEC must hold one of data and model, got both"),
    ("data", MISSING, "SPEC must hold one of data and model, got neither"),
    ("data", {}, "or npy, bandwidth, got nothing"),
    ("data", {"dataset": "digit", "bandwidth": 1}, "did you mean digits? "),
    ("data", {"dataset": "digits", "bandwidth": 0}, "data.bandwidth must be > 0, got 0.0"),
    (
        "data",
        {"dataset": "digits"},
        "data.bandwidth is missing: data must hold dataset, bandwidth",
    ),
    ("sample", 3, "did you mean samples? "),
    ("solvers", ["euler", "unipc-4"], "solvers[1]: order must be 1, 2 or 3 for unipc, got 4"),
    ("solvers", [{"name": "ipndm-5"}], "order must be 1, 2, 3 or 4 for ipndm, got 5"),
    ("solvers", [{"name": "huen"}], "did you mean heun? "),
    ("solvers", [{"nam": "heun"}], "did you mean name? "),
    ("solvers", [3], "solvers[0] must be a string, got 3"),
    (
        "solvers",
        [{"name": "heun", "start": "machting"}],
        "did you mean matching? solvers[0].start must be one of own, matching, got machting",
    ),
    (
        "start",
        "matchng",
        "did you mean matching? start must be one of own, matching, got matchng",
    ),
    ("start", None, "start must be a string, got null"),
    ("final", [0], "final[0] must be a whole number from 1 to 4, got 0"),
    ("final", [2, "euler"], "final[1] must be a whole number from 1 to 4, got euler"),
    ("final", 1, "final must be a list with at least one entry, got 1"),
    ("end", "last", "did you mean least? end must be one of zero, least, got last"),
]


@pytest.mark.parametrize(("path", "value", "message"), BAD_COMPARISONS)
def test_a_bad_comparison_is_named(path, value, message):
    with pytest.raises(InputError) as caught:
        CompareSpec.from_json(changed(COMPARISON, path, value))
    assert message in str(caught.value)


def test_an_unknown_model_is_named():
    with pytest.raises(InputError, match=r"did you mean digits\? model must be one of"):
        CompareSpec.from_json({"model": "digit", "solvers": ["euler"], "evaluations": [3]})


def test_numbers_stay_exact(tmp_path):
    file = tmp_path / "spec.json"
    text = '{"data": {"weights": [0.1, "9/10"], "means": [[1, "-2/3"], [0.3, 1e-2]],'
    text += ' "stds": [0.1, 2]}, "from": ["12/13", "5/13"], "to": [1, 0], "solver": "ddim"}'
    file.write_text(text)
    spec = CoefficientSpec.from_json(read_json(file))
    assert spec.start == (Fraction(12, 13), Fraction(5, 13))
    assert spec.data.weights == (Fraction(1, 10), Fraction(9, 10))
    assert spec.data.means[0] == (1, Fraction(-2, 3))
    assert spec.data.means[1] == (Fraction(3, 10), Fraction(1, 100))
    law = spec.data.law()
    np.testing.assert_array_equal(law.spectra[:, 0], [0.1**2, 4.0])
    assert (spec.s.alpha, spec.t.sigma, spec.solver.name) == (12 / 13, 0.0, "euler")


def test_defaults_and_options_of_a_comparison():
    spec = CompareSpec.from_json(COMPARISON)
    assert (spec.schedule, spec.grid, spec.samples, spec.seed) == ("edm", "karras", 10_000, 0)
    assert [entry.name for entry in spec.corrections] == ["none", "stein"]
    given = [{"name": "stein", "gamma_max": None, "gamma_min": "1/2"}]
    spec = CompareSpec.from_json({**COMPARISON, "corrections": given})
    options = (("gamma_max", float("inf")), ("gamma_min", 0.5))
    assert spec.corrections == (CorrectionSpec("stein", options),)
    assert spec.corrections[0].make().gamma_min == 0.5
    given = [{"name": "stein", "gamma_min": None}]
    spec = CompareSpec.from_json({**COMPARISON, "corrections": given})
    assert spec.corrections[0].make().gamma_min == -float("inf")


def test_history_is_passed_newest_first():
    spec = {**STEP, "solver": "dpmpp-3m", "history": [[1, 8], [1, 4]]}
    assert [entry.sigma for entry in CoefficientSpec.from_json(spec).past] == [4.0, 8.0]


HISTORIES = {"euler": 0, "heun": 0, "dpmpp-3s": 0, "dpmpp-2m": 1, "dpmpp-3m-exact": 2}
HISTORIES |= {"unipc-1": 0, "unipc-3": 2, "deis-log-3": 2, "ipndm-4": 3, "ipndm-v-4": 3}


@pytest.mark.parametrize(("name", "most"), HISTORIES.items())
def test_history_holds_the_levels_that_a_step_combines(name, most):
    history = [[1, 8 + k] for k in range(most + 1, 0, -1)]
    step = {**STEP, "solver": name}
    spec = CoefficientSpec.from_json({**step, "history": history[:most]})
    assert (len(spec.past), spec.most_history) == (most, most)
    with pytest.raises(InputError, match=f"history must hold at most {most} levels for {name}, "):
        CoefficientSpec.from_json({**step, "history": history})


def test_binary_floats_mean_the_decimals_they_show():
    spec = CoefficientSpec.from_json({**STEP, "from": [0.1, 0.3], "to": [1.0, 0.0]})
    assert spec.start == (Fraction(1, 10), Fraction(3, 10))


def test_zero_noise_needs_a_solver_that_can_end_there():
    step = {**STEP, "solver": "deis-log-2"}
    with pytest.raises(InputError, match=r"to: sigma must be > 0 for deis-log-2, got 0; .*euler"):
        CoefficientSpec.from_json({**step, "to": [1, 0]})
    assert CoefficientSpec.from_json(step).solver.name == "deis-log-2"


@pytest.mark.parametrize("name", ["deis-log-2", "deis-log-3", "deis-tab-2", "deis-tab-3"])
def test_a_comparison_ends_at_zero_only_where_the_solver_can(name):
    spec = {**COMPARISON, "schedule": "ve", "solvers": [name]}
    with pytest.raises(InputError) as caught:
        CompareSpec.from_json(spec)
    assert str(caught.value) == (
        f"solvers[0]: {name} cannot step to sigma = 0; give a first-order last step, "
        '"final": [1], or stop at the least noisy level, "end": "least"'
    )
    with pytest.raises(InputError, match="cannot step to sigma = 0"):
        CompareSpec.from_json({**spec, "final": [1, 2]})
    with pytest.raises(InputError, match="cannot step to sigma = 0"):
        CompareSpec.from_json({**spec, "start": "matching"})
    for fix in ({"final": [1]}, {"final": [2, 1]}, {"end": "least"}):
        assert CompareSpec.from_json({**spec, **fix}).solvers[0].name == name
    (entry,) = CompareSpec.from_json({**spec, "solvers": [{"name": name, "final": [1]}]}).solvers
    assert [one.width for one in entry.finish] == [1]


@pytest.mark.parametrize("schedule", PROCESSES)
def test_every_solver_is_accepted_by_name_on_its_process(schedule):
    names = [*SOLVER_IDS, *ALIASES]
    spec = {**COMPARISON, "schedule": schedule, "end": "least", "solvers": names}
    entries = CompareSpec.from_json(spec).solvers
    assert [entry.name for entry in entries] == names
    for entry in entries:
        assert entry.label == entry.name
        if entry.name in SOLVER_IDS:
            assert entry.solver.name == entry.name
        if hasattr(entry.solver, "between"):
            s, t = (PROCESSES[schedule].level_at(ratio) for ratio in (2.0, 1.0))
            middle = PROCESSES[schedule].level_at(2.0**0.5)
            seen = entry.solver.between(s, t, 0.5)
            assert (seen.alpha, seen.sigma) == pytest.approx((middle.alpha, middle.sigma))


def test_a_grid_is_a_name_or_an_object_with_options():
    for grid in ("karras:rho=5", {"name": "karras", "rho": 5}, '{"name": "karras", "rho": "5"}'):
        assert CompareSpec.from_json({**COMPARISON, "grid": grid}).grid == "karras:rho=5"
    for grid, words in (
        ({"name": "karras", "roh": 5}, "did you mean rho? grid karras: option must be one of"),
        ({"name": "karras", "rho": 0}, "grid karras: rho must be a number > 0, got 0"),
        ({"name": "ays", "table": 3}, "grid ays: table must be a word, got 3"),
        ({"rho": 5}, 'grid must be a name or an object such as {"name": "karras", "rho": 5}'),
        ("ays:start=1", "grid ays: option must be one of table"),
    ):
        with pytest.raises(InputError, match=re.escape(words)):
            CompareSpec.from_json({**COMPARISON, "grid": grid})


START = {"schedule": "flow", "grid": "time-uniform:start=1", "samples": 50, "corrections": ["none"]}


def test_a_comparison_begins_at_alpha_zero():
    spec = {**COMPARISON, **START, "corrections": ["none", "stein"], "solvers": ["dpmpp-2m"]}
    rows = [Comparison(CompareSpec.from_json(spec)).row(i, lambda *_: None) for i in (0, 1)]
    assert all(row.measured["flow_error"] is not None and not row.stopped for row in rows)
    assert "divides by alpha" in rows[1].coefficients[0].note


@pytest.mark.parametrize(
    ("more", "words"),
    [
        ({"solvers": ["heun"]}, "solver heun: from: alpha must be > 0 for heun"),
        ({"grid": "leading", "evaluations": [4, 6]}, "grid leading has other ends for other numb"),
        ({"schedule": "edm", "grid": "flow-shift"}, "grid flow-shift: ratio must be finite for"),
    ],
)
def test_comparisons_that_a_grid_forbids_are_one_line(more, words):
    spec = CompareSpec.from_json({**COMPARISON, **START, "solvers": ["euler"], **more})
    with pytest.raises(InputError, match=re.escape(words)) as error:
        Comparison(spec)
    assert "\n" not in str(error.value)


def test_options_of_a_run_and_of_one_solver_in_it():
    names = ["dpmpp-3m-exact", "heun", "euler", {"name": "dpmpp-2m", "start": "own", "final": []}]
    names += [{"name": "dpmpp-2m", "start": "own"}, {"name": "dpmpp-2m", "final": [1]}]
    spec = CompareSpec.from_json(
        {**COMPARISON, "solvers": names, "start": "matching", "final": [2, 1], "end": "least"}
    )
    third, heun, euler, second, finished, started = spec.solvers
    assert spec.end == "least"
    assert [one.name for one in third.start] == ["dpmpp-3s", "dpmpp-3s"]
    assert [one.width for one in third.finish] == [2, 1]
    assert third.label == "dpmpp-3m-exact start=matching final=2,1"
    assert third.options == Options("matching", (2, 1))
    assert (finished.options, started.options) == (
        Options("own", (2, 1)),
        Options("matching", (1,)),
    )
    for entry in (heun, euler, second):
        assert (entry.start, entry.finish, entry.options) == ((), (), Options())
        assert entry.label == entry.name
    plain = CompareSpec.from_json({**COMPARISON, "solvers": ["dpmpp-2m"]})
    assert (plain.end, plain.solvers[0].options) == ("zero", Options())
    (capped,) = CompareSpec.from_json(
        {**COMPARISON, "solvers": ["dpmpp-2m"], "final": [3, 1]}
    ).solvers
    assert [one.width for one in capped.finish] == [2, 1]


def test_an_absurd_exponent_is_refused_at_once(tmp_path):
    file = tmp_path / "spec.json"
    file.write_text(json.dumps(STEP).replace("-1.0", "1e999999999"))
    with pytest.raises(InputError, match=r"data\.means\[0\] must be 0 or of magnitude"):
        CoefficientSpec.from_json(read_json(file))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"data": [1,\n 2,]}', "line 2"),
        ("", "line 1, column 1: Expecting value"),
        ('{"a": 1, "a": 2}', "the key a stands twice in one object"),
        ("[" * 100_000, "nested too deeply"),
        ("1" * 5000, "holds an endless integer"),
    ],
)
def test_malformed_json_is_located(tmp_path, text, message):
    file = tmp_path / "spec.json"
    file.write_text(text)
    with pytest.raises(InputError, match=r"^SPEC must be valid JSON: .*spec\.json") as caught:
        read_json(file)
    assert message in str(caught.value)


def test_unreadable_files_are_named(tmp_path):
    with pytest.raises(InputError, match=r"SPEC must be a readable JSON file, got .*no such file"):
        read_json(tmp_path / "nope.json")
    with pytest.raises(InputError, match=r"SPEC must be a readable JSON file, got .*directory"):
        read_json(tmp_path)
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00{")
    with pytest.raises(InputError, match="not UTF-8 text"):
        read_json(tmp_path / "binary")


BAD_ARRAYS = [
    (np.zeros(3), "must hold an array of shape (n, d), got (3,)"),
    (np.zeros((0, 2)), "must hold an array of shape (n, d), got (0, 2)"),
    (np.array([[0.0, 1.0], [np.nan, 1.0]]), "1e100, got nan in row 1, column 0"),
    (np.array([[1.0, None]], dtype=object), "it holds objects"),
    (np.array([[1j]]), "must hold one array of real numbers, got complex128"),
    (np.array([["a"]]), "must hold one array of real numbers, got <U1"),
]


@pytest.mark.parametrize(("array", "message"), BAD_ARRAYS)
def test_a_bad_array_is_named(tmp_path, array, message):
    np.save(tmp_path / "rows.npy", array, allow_pickle=True)
    spec = data_from_json({"npy": "rows.npy", "bandwidth": 0.1}, "data", tmp_path)
    with pytest.raises(InputError, match=r"^data\.npy must") as caught:
        spec.law()
    assert message in str(caught.value)


def test_files_that_hold_no_array_are_named(tmp_path):
    (tmp_path / "text.npy").write_text("no array")
    (tmp_path / "empty.npy").touch()
    np.savez(tmp_path / "several.npz", a=np.zeros((2, 2)))
    for name in ("text.npy", "empty.npy", "several.npz", "nope.npy", "."):
        spec = data_from_json({"npy": name, "bandwidth": 0.1}, "data", tmp_path)
        with pytest.raises(InputError, match=r"^data\.npy must"):
            spec.law()


def test_an_array_is_found_beside_its_spec(tmp_path):
    np.save(tmp_path / "rows.npy", np.arange(6, dtype=np.int32).reshape(3, 2))
    law = data_from_json(json.loads('{"npy": "rows.npy", "bandwidth": "1/4"}'), "data", tmp_path)
    assert (law.law().dim, law.law().bandwidth) == (2, 0.25)
