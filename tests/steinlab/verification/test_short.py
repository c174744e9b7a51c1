"""A claim in one function: judged, shrunk, replayed and attacked like any other."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from steinlab import E, claim, laws, levels, numbers, steps
from steinlab.errors import InputError
from steinlab.verification import short
from steinlab.verification.claim import Claim
from steinlab.verification.expectation import Ball
from steinlab.verification.falsify import Found, Search, attack, shrink, spaces_of
from steinlab.verification.judge import judge, rerun, run_check

CONTROLS: Any = {"a tenth": lambda law: 0.1 * law.variance()}


@claim("E|D|^2 <= E|x_star|^2", controls={"centred": lambda law: law.variance()}, cases=60)
def jensen(law=laws.mixtures(dim=1), s=levels("edm")):
    return E(lambda x: law(x, s) ** 2, law, s) <= law.second_moment()


@claim("E|D|^2 <= 0.5 E|x_star|^2", controls=CONTROLS, cases=60)
def too_sharp(law=laws.mixtures(components=(3, 4)), s=levels("edm")):
    """Half of it is too little."""
    return E(lambda x: law(x, s) ** 2, law, s) <= 0.5 * law.second_moment()


def test_jensen_holds_and_its_control_is_rejected() -> None:
    row = judge(jensen)
    assert (row["id"], row["verdict"], row["kind"]) == ("jensen", "holds", "upper")
    assert (row["cases"], row["undecided"]) == (60, 0)
    assert row["statement"] == row["title"] == "E|D|^2 <= E|x_star|^2"
    assert row["source"] == "test_short.py"
    assert [(c["name"], c["rejected"]) for c in row["controls"]] == [
        ("centred", True),
        ("graded 0.01, cases", True),
    ]
    assert 0.99 < row["tightness"] <= 1
    worst = row["worst"]
    again = rerun(jensen, worst["check"], worst["case"])
    assert (again.measured[0], again.predicted[0], again.tolerance[0]) == (
        worst["measured"],
        worst["bound"],
        worst["tolerance"],
    )


def test_a_false_bound_falls_to_the_smallest_law() -> None:
    row = judge(too_sharp)
    assert (row["id"], row["title"]) == ("too-sharp", "Half of it is too little")
    assert row["verdict"] == "refuted"
    assert row["finding"].startswith("fails in ")
    case = row["worst"]["case"]
    assert len(case["law"]["weights"]) == 3  # the fewest that it ranges over
    rounded = [*case["law"]["means"], *case["law"]["stds"], case["s"]["ratio"]]
    assert all(float(f"{x:.0e}") == x for x in rounded)
    assert rerun(too_sharp, "cases", case).violated[0]


def test_one_component_with_round_numbers_where_they_refute() -> None:
    @claim("E|D|^2 <= 0.5 E|x_star|^2", controls=CONTROLS, cases=20)
    def half(law=laws.mixtures(), s=levels("edm")):
        return E(lambda x: law(x, s) ** 2, law, s) <= 0.5 * law.second_moment()

    worst = judge(half)["worst"]
    assert worst["shrunk"] is True
    law, ratio = worst["case"]["law"], worst["case"]["s"]["ratio"]
    assert law["weights"] == law["stds"] == [1.0]
    assert law["means"] in ([0.0], [1.0])
    assert ratio == float(f"{ratio:.0e}")
    mean = law["means"][0] ** 2
    assert worst["measured"] == pytest.approx(mean + 1 / (1 + ratio**2), rel=1e-12)
    assert worst["bound"] == 0.5 * (mean + 1)


def test_every_argument_is_made_simpler() -> None:
    @claim("M_p <= M_q / 4", controls={"a tenth": lambda q: 0.1 * q.second_moment()}, cases=8)
    def two_laws(p=laws.mixtures(components=(1, 3)), q=laws.mixtures(components=(1, 2))):
        return Ball(float(p.second_moment())) <= 0.25 * q.second_moment()

    place = two_laws.checks[0].locate
    assert place is not None
    three = {"weights": [0.2, 0.3, 0.5], "means": [1.0, 2.0, 3.0], "stds": [1.0, 0.5, 0.2]}
    mixed = {"weights": [0.3, 0.7], "means": [1.0, 2.0], "stds": [1.0, 0.5]}
    space, values = place({"p": three, "q": mixed})
    assert [s.name for s, _ in space.simpler(values)] == ["p 2, q 2"] * 3 + ["p 3, q 1"] * 2
    found, _ = shrink(two_laws, Found(space, values, 0, True, 4.0))
    assert found.space.name == "p 1, q 1"


def test_the_falsifier_shrinks_what_it_finds() -> None:
    outcome = attack(too_sharp, 0, budget=64)
    assert outcome is not None
    assert outcome.comparison.violated[0]
    assert len(outcome.worst["law"]["weights"]) == 3
    assert all(float(f"{x:.0e}") == x for x in outcome.worst["law"]["means"])
    spaces = spaces_of(jensen)
    assert [space.name for space in spaces] == [f"law {k}, s edm" for k in (1, 2, 3, 4)]
    search = Search(jensen, spaces, 0)
    list(search.run(64))
    best = search.best()
    assert best is not None
    assert not best.violated
    assert 0.9 < best.score <= 1


def test_the_same_seed_draws_the_same_cases_and_another_seed_others() -> None:
    one, same, other = (run_check(jensen, jensen.checks[0], "quick", s) for s in (0, 0, 1))
    assert one.describe(7) == same.describe(7) != other.describe(7)
    np.testing.assert_array_equal(one.comparison.measured, same.comparison.measured)
    components = [len(one.describe(i)["law"]["weights"]) for i in range(8)]
    assert components == [1, 2, 3, 4, 1, 2, 3, 4]


@claim(
    "E<u, x - alpha D> = sigma^2 E div u",
    controls={
        "no square": lambda law, step: step.s.sigma * _divergence(law, step),
        "half the step": lambda law, step: 0.5 * step.s.sigma**2 * _divergence(law, step),
    },
    cases=40,
)
def stein(law=laws.mixtures(), step=steps(("vp-linear", "flow"), "euler")):
    def along(x: Any) -> Any:
        return step.candidate(law, x).residual * (x - step.s.alpha * law(x, step.s))

    return E(along, law, step.s) == step.s.sigma**2 * _divergence(law, step)


def _divergence(law: Any, step: Any) -> Any:
    """``E div u`` of a first-order step, ``u = (1 - kappa) x - beta D``."""
    kappa = step.t.sigma / step.s.sigma
    beta = step.t.alpha - kappa * step.s.alpha
    return (1 - kappa) - beta * E(lambda x: law.divergence(x, step.s), law, step.s)


def test_an_identity_of_steps_holds_to_rounding() -> None:
    row = judge(stein)
    assert (row["verdict"], row["kind"], row["tightness"]) == ("holds", "identity", None)
    assert all(control["rejected"] for control in row["controls"])
    assert [c["name"] for c in row["controls"]][-1] == "graded 1e-06, cases"
    assert row["detects"] < 1e-9


def test_rounding_outside_the_expectations_refutes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def violations() -> int:
        runs = (run_check(stein, stein.checks[0], "quick", seed) for seed in range(5))
        return sum(int(run.comparison.violated.sum()) for run in runs)

    assert violations() == 0
    monkeypatch.setattr(short, "ROUNDING", 0.0)  # 1 - kappa of a short step, say
    assert violations() > 0


@pytest.mark.parametrize("written", ["bound first", "expectation first"])
def test_a_lower_bound_reads_either_way(written: str) -> None:
    controls: Any = {"twice": lambda law, c: 2 * c * law.variance()}

    def least(law: Any, s: Any, c: Any) -> Any:
        mean = E(lambda x: x**2, law, s)
        right = c * s.alpha**2 * law.second_moment()
        return right <= mean if written == "bound first" else mean >= right

    made = claim("E|x|^2 >= c alpha^2 M", controls=controls, cases=30)

    def second_moment(law=laws.gaussians(), s=levels("flow"), c=numbers(0.9, 1.0)):
        return least(law, s, c)

    row = judge(made(second_moment))
    assert (row["verdict"], row["kind"]) == ("holds", "lower")
    assert row["tightness"] <= 1
    assert all(control["rejected"] for control in row["controls"])


def test_the_sides_are_those_of_the_statement() -> None:
    controls: Any = {"half": lambda law, s: 0.5 * E(lambda x: x**2, law, s)}

    @claim("alpha^2 M <= E|x|^2", controls=controls, cases=20)
    def least(law=laws.gaussians(), s=levels("flow")):
        return s.alpha**2 * law.second_moment() <= E(lambda x: x**2, law, s)

    (of,) = least.checks
    run = run_check(least, of, "quick", 0)
    case = of.restore(run.describe(0)).describe(0)
    law, s = laws.gaussians().read(case["law"]), levels("flow").read(case["s"])
    assert run.comparison.measured[0] == s.alpha**2 * law.second_moment()
    assert judge(least)["verdict"] == "holds"


def test_a_negative_bound_is_lowered_too() -> None:
    controls: Any = {"twice": lambda law: -2 * law.variance()}
    made = claim("-E V <= -(variance of the error)", controls=controls, cases=20)

    def negative(law=laws.gaussians(), s=levels("edm", low=1e3, high=1e4)):
        return -1 * law.variance() * E(lambda _: 1.0, law, s) <= -1 * E(
            lambda x: law.posterior_variance(x, s), law, s
        )

    row = judge(made(negative))
    assert row["verdict"] == "holds"
    assert all(control["rejected"] for control in row["controls"]), row["controls"]


def crash(function: Callable[..., Any], statement: str = "a <= b", controls: Any = None) -> str:
    made = claim(statement, controls=controls or {"one": lambda: 1.0}, cases=3)(function)
    with pytest.raises(Exception, match=r".") as caught:
        judge(made)
    assert "\n" not in str(caught.value)
    assert any(note.startswith('at {"s": {"process"') for note in caught.value.__notes__)
    return f"{type(caught.value).__name__}: {caught.value}"


def test_what_a_property_may_not_do_gets_one_line() -> None:
    def says_true(s=levels("edm")):
        return s.sigma <= 1e9

    def says_nothing(s=levels("edm")):
        return None

    def raises(s=levels("edm")):
        return 1 / 0

    def is_nan(s=levels("edm")):
        return E(lambda x: x, laws.gaussians().read(STANDARD), s) <= np.inf - np.inf

    def is_equal(s=levels("edm")):
        return E(lambda x: x, laws.gaussians().read(STANDARD), s) == 0

    assert crash(says_true) == (
        "ValueError: says_true must return a relation such as E(...) <= bound, whose sides know "
        "their errors, got True"
    )
    assert crash(says_nothing).endswith("got None")
    assert crash(raises) == "ZeroDivisionError: division by zero"
    assert crash(is_nan) == "ValueError: right side of is_nan must be finite, got nan"
    assert crash(is_equal).endswith("is_equal must return its statement's relation <=, got ==")


STANDARD = {"weights": [1.0], "means": [0.0], "stds": [1.0]}


def refused(statement: str, function: Any, **options: Any) -> str:
    with pytest.raises(InputError) as caught:
        claim(statement, **{"controls": {"one": lambda: 1.0}, **options})(function)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_a_claim_must_say_gets_one_line() -> None:
    def fine(law=laws.mixtures()):
        raise NotImplementedError

    def bare(law):
        raise NotImplementedError

    def number(law=3):
        raise NotImplementedError

    def nothing():
        raise NotImplementedError

    assert "must contain its relation <=, >= or =, got it is small" in refused("it is small", fine)
    assert "controls of fine must hold at least one" in refused("a <= b", fine, controls={})
    assert "got [1]" in refused("a <= b", fine, controls=[1])
    assert "control two of fine must be a function of law, got 2" in refused(
        "a <= b", fine, controls={"two": 2}
    )
    assert "control t of fine must take arguments of fine, law, got sigma" in refused(
        "a <= b", fine, controls={"t": lambda sigma: sigma}
    )
    assert "argument law of bare must say what it ranges over" in refused("a <= b", bare)
    assert "got 3" in refused("a <= b", number)
    assert "nothing must have an argument" in refused("a <= b", nothing)
    unnamed = refused("a <= b", lambda law=laws.mixtures(): law)
    assert unnamed == "a claim must be a named function, got <lambda>"
    assert "cases of fine must be a whole number >= 1, got 0" in refused("a <= b", fine, cases=0)
    with pytest.raises(TypeError, match="controls"):
        claim("a <= b")  # type: ignore[call-arg]


def test_unicode_signs_and_one_equals_sign_are_relations() -> None:
    def fine(law=laws.mixtures()):
        raise NotImplementedError

    kinds = {}
    for sign in ("<=", "\u2264", ">=", "\u2265", "=", "=="):
        made: Claim = claim(f"a {sign} b", controls={"one": lambda: 1.0})(fine)
        kinds[sign] = made.kind
    assert list(kinds.values()) == ["upper", "upper", "lower", "lower", "identity", "identity"]
