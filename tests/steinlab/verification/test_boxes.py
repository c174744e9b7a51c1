"""Claims in the short form over boxes: traced, enclosed twice, refuted, refused."""

from __future__ import annotations

import dataclasses
import json
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analytic.certified import cells
from analytic.certified.series import integral, number, squared
from steinlab.cli import main
from steinlab.errors import InputError
from steinlab.verification.continuum import balls, certificate, forms, trace
from steinlab.verification.continuum.search import OPEN, PROVED, Search, worst_point
from steinlab.verification.continuum.statement import Statement, load_statement, read_box
from steinlab.verification.continuum.trace import Law, Level, Node

CLAIMS = """
import math
import numpy as np
from steinlab import E, claim, laws, levels, numbers, steps

MIXED = laws.mixtures(dim=1)
CENTRED = {"centred": lambda law: law.variance()}


@claim("E|D|^2 <= E|x_star|^2", controls=CENTRED)
def jensen(law=MIXED, s=levels("edm")):
    return E(lambda x: law(x, s) ** 2, law, s) <= law.second_moment()


@claim(
    "(sigma^2/alpha) E D' = E V",
    controls={"half": lambda law, s: 0.5 * E(lambda x: law.posterior_variance(x, s), law, s)},
)
def slope(law=MIXED, s=levels("vp-linear", "flow")):
    return s.sigma**2 / s.alpha * E(lambda x: law.divergence(x, s), law, s) == E(
        lambda x: law.posterior_variance(x, s), law, s
    )


@claim("E|T|^2 <= E|x|^2", controls={"half": lambda law, step: 0.5 * law.second_moment()})
def shrinks(law=MIXED, step=steps(["edm", "vp-linear"], ["euler", "heun"])):
    return E(lambda x: step.candidate(law, x).state ** 2, law, step.s) <= E(
        lambda x: x**2, law, step.s
    )


@claim(
    "E tanh|a x| exp(-x^2) sqrt(1 + x^2)/(2 + x^2) <= a",
    controls={"tenth": lambda a: 0.01 * a},
)
def every_piece(law=laws.gaussians(), s=levels("edm"), a=numbers(0.5, 2.0)):
    return (
        E(
            lambda x: (
                np.tanh(np.abs(a * x))
                * np.exp(-(x**2))
                * np.sqrt(1 + x * x)
                / (2 + np.log(1 + np.maximum(x, -x) ** 2))
            ).sum(axis=-1),
            law,
            s,
        )
        <= a
    )
"""

BOXES = {
    "jensen": ("s=0.5:2,separation=0:4,weight=0.3,width=0.5", 200),
    "slope": ("separation=0:1,weight=0.3,s=1:1.25,tolerance=0.1", 400),
    "shrinks": ("separation=0:4,weight=0.3,width=0.5,step=1:3,left=0.5", 300),
    "every-piece": ("s=0.5:2,width=0.5,a=1", 100),
}
BAD = {
    "np.sin(x)": ("E(lambda x: np.sin(x), law, s)", "np.sin"),
    "erf(x)": ("E(lambda x: __import__('scipy').special.erf(x), law, s)", "erf"),
    "2.0**x": ("E(lambda x: 2.0**x, law, s)", "a power whose exponent is a symbol"),
    "x % 1.0": ("E(lambda x: x % 1.0, law, s)", "a remainder or a quotient rounded down"),
    "x @ x": ("E(lambda x: x @ x, law, s)", "a matrix product"),
    "math.exp(s.sigma)": ("math.exp(s.sigma) * law.variance()", "a conversion to a plain number"),
    "law.sample": ("law.sample(3, None).mean()", "a law's .sample"),
    "x > 0": ("E(lambda x: np.where(x > 0, x, 0), law, s)", "a comparison"),
}


@pytest.fixture(name="here")
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my.py").write_text(CLAIMS)
    return tmp_path


def searched(name: str, control: int | None = None) -> Search:
    statement, (text, budget) = load_statement(f"my.py::{name}"), BOXES[name]
    search = Search(statement, read_box(statement, text), control)
    for _ in search.run(budget):
        pass
    return search


def decided(search: Search, count: int) -> list[Any]:
    leaves = [leaf for leaf in search.root.leaves() if leaf.mark != OPEN]
    picked = np.random.default_rng(0).choice(len(leaves), min(count, len(leaves)), replace=False)
    return [leaves[i] for i in picked]


def inside(statement: Statement, box: Any, rng: np.random.Generator) -> dict[str, float]:
    return {
        one.name: float(low if one.whole else low + (high - low) * Fraction(rng.random()))
        for one, (low, high) in zip(statement.parameters, box, strict=True)
    }


@pytest.mark.parametrize("name", BOXES)
def test_both_evaluators_enclose_what_quadrature_measures(name: str, here: Path) -> None:
    pytest.importorskip("flint")
    search, rng = searched(name), np.random.default_rng(1)
    assert search.found.decided > 0.2
    for leaf in decided(search, 4):
        for _ in range(3):
            point = inside(search.statement, leaf.box, rng)
            value, slip = search.statement.measure(point), 1e-9
            assert leaf.bounds[0] - slip <= value <= leaf.bounds[1] + slip
            assert (value > 0) == (leaf.mark == PROVED)
            exact = tuple((Fraction(x),) * 2 for x in point.values())
            for box in (leaf.box, exact):
                ball, _ = certificate.second(search.statement, box)
                assert ball.lower() - slip <= value <= ball.upper() + slip
            assert float(ball.rad()) < 0.02 * (1 + abs(value))


@pytest.mark.parametrize("name", BOXES)
def test_controls_are_refuted_by_a_measured_case(name: str, here: Path) -> None:
    for index, control in enumerate(load_statement(f"my.py::{name}").controls):
        point, bound = worst_point(searched(name, index)) or ({}, 1.0)
        assert control.measure is not None
        assert control.measure(point) <= bound + 1e-9 < 0


def test_a_certificate_is_checked_and_bound_to_its_file(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("flint")
    order = ["certify", "my.py::jensen", "--box", "separation=1:2,weight=0.2,width=0.25,s=0.75:1"]
    assert main([*order, "--budget", "140", "--out", "c.json", "--json", "found.json"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "100.00% proved" in said
    assert "control centred: refuted at separation" in said
    assert main(["check-certificate", "c.json"]) == 0
    assert "100.00% of the volume" in capsys.readouterr().out
    (here / "my.py").write_text(CLAIMS.replace("== E(", "== 2 * E("))
    assert main(["check-certificate", "c.json"]) == 2
    assert "my.py must be as it was" in capsys.readouterr().err


def test_a_control_refuted_nowhere_is_in_the_verdict(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of weights 1/2 about 0 the variance is the second moment: the control says the same."""
    order = ["certify", "my.py::jensen", "--box", "separation=0:1,weight=0.5,width=0.5,s=1:1.5"]
    assert main([*order, "--budget", "40", "--out", "c.json", "--json", "found.json"]) == 1
    said = " ".join(capsys.readouterr().out.split())
    assert said.partition(" proved: ")[0].endswith("boxes; control centred refuted nowhere")
    assert "control centred: refuted nowhere in this box" in said
    assert json.loads((here / "found.json").read_text())["controls"][0]["value"] is None
    assert certificate.read(here / "c.json").root.leaves()


def test_a_point_without_a_number_is_no_case(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name = "contraction-edm-euler"
    blank = dataclasses.replace(load_statement(name), measure=lambda _: float("nan"))
    monkeypatch.setattr("steinlab.verification.continuum.statement.load_statement", lambda _: blank)
    assert main(["certify", name, "--budget", "300", "--json", "found.json"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert "no number there" in said
    assert "nan" not in said
    assert json.loads((here / "found.json").read_text())["case"] is None


def test_a_refuted_point_replays(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    order = [
        "certify",
        "my.py::shrinks",
        "--box",
        "kind=2:3,separation=3:4,weight=0.3,width=0.5,step=2:3,left=0.5",
    ]
    assert main([*order, "--json", "found.json"]) == 0
    found = json.loads((here / "found.json").read_text())
    assert found["case"]["value"] < 0
    [control] = found["controls"]
    assert control["value"] < 0
    assert main(["replay", "found.json"]) == 0
    assert "refutes the statement; reproduced" in " ".join(capsys.readouterr().out.split())


@pytest.mark.parametrize("piece", BAD)
def test_a_piece_without_an_enclosure_is_named(
    piece: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    side, why = BAD[piece]
    text = CLAIMS.replace("<= law.second_moment()", f"<= {side}", 1)
    (here / "my.py").write_text(text)
    assert main(["certify", "my.py::jensen"]) == 2
    line = capsys.readouterr().err
    assert line.startswith("steinlab: my.py, line 12: ")
    assert piece in line
    assert f"has no enclosure: {why}; these have:" in line
    assert line.count("\n") == 1


REFUSED = {
    "my.py": "CLAIM must be one claim, such as my.py::jensen",
    "stein-identity": "CLAIM must be in the short form",
    "my.py::jensen --box angle=0:1": "--box parameter must be one of separation, weight, width",
    "my.py::jensen --box width=0:1": "--box width must lie in 0.05:2, got 0:1",
    "my.py:jensen": "must be named with two colons, my.py::jensen, got my.py:jensen",
    "my.py::jensen --out no/c.json": "--out must name a file in an existing folder, got no/c.json",
    "my.py::jensen --budget 1": "--budget must decide a box of my.py::jensen, got 1",
}


@pytest.mark.parametrize("options", REFUSED)
def test_bad_input_is_one_line(
    options: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["certify", *options.split()]) == 2
    line = capsys.readouterr().err
    assert REFUSED[options] in line
    assert line.count("\n") == 1


ROOTS = {
    "of a side": lambda a: trace.sqrt(a - 1),
    "of a state": lambda a: Law([(1.0, 0.0)], 0.5).expectation(
        lambda x: trace.sqrt(9.2 + x), Level(1.0, a)
    ),
}
"""Roots that have a value on a part of ``a`` in [1/2, 2], or of the states (at a width of 1.1)."""


@pytest.mark.parametrize("name", ROOTS)
def test_a_root_that_has_no_value_decides_nothing(name: str) -> None:
    pytest.importorskip("flint")
    root = trace.node(ROOTS[name](Node("parameter", (), "a", True, nonnegative=True)))
    low, high = ([[0.5]], [[2.0]]) if name == "of a side" else ([[1.0]], [[1.0]])
    with np.errstate(all="ignore"):
        found = forms.Enclosure(root, ["a"], np.array(low), np.array(high))
    assert not np.isfinite([found.lower, found.upper]).any()
    ball = number(low[0][0]).union(number(high[0][0]))
    assert not balls.enclose(root, {"a": ball}).is_finite()


def test_a_root_of_what_is_never_negative_reaches_0() -> None:
    a = Node("parameter", (), "a", nonnegative=True)
    with np.errstate(all="ignore"):
        found = forms.Enclosure(trace.sqrt(a), ["a"], np.zeros((1, 1)), np.ones((1, 1)))
    assert found.lower[0] == pytest.approx(0, abs=1e-12)
    assert found.upper[0] == pytest.approx(1)


def test_a_series_whose_slopes_cancel_keeps_the_curvature_of_others() -> None:
    """``int_0^3 (x - x)^2 + x^4 dx = 48.6``; the midpoint rule alone says 44.19."""
    pytest.importorskip("flint")
    [found] = integral(lambda x: [squared(x - x) + x * x * x * x], [0, 1, 2, 3])
    assert found.contains(number("48.6"))
    assert not found.contains(number("44.1875"))


def test_a_factor_below_0_keeps_an_exponential_bounded() -> None:
    """``E exp(-x^2/2)`` of ``x ~ N(0, 2)`` is ``1/sqrt(3)``, in whatever order it is written."""
    pytest.importorskip("flint")
    law, level = Law([(1.0, 0.0)], 1.0), Level(1.0, 1.0)
    for f in (lambda x: -0.5 * (x * x), lambda x: -(x * x) / 2, lambda x: (x * x) * -0.5):
        found = balls.enclose(law.expectation(lambda x, f=f: trace.exp(f(x)), level), {})
        assert found.contains(number(1) / number(3).sqrt())
        assert float(found.rad()) < 0.01


def test_modes_in_one_place_keep_the_curvature() -> None:
    """``E[V(x) exp(-30 x^2)]`` at separation 0, where ``V`` is the number ``d^2 s^2/(d^2 + s^2)``.

    With ``d = s = 1`` it is ``1/2`` over ``sqrt(1 + 120)``; the midpoint rule is off by 1e-4 of it.
    """
    pytest.importorskip("flint")
    sides = {name: Node("parameter", (), name, True) for name in ("apart", "weight")}
    law = Law(
        [(sides["weight"], 0.5 * sides["apart"]), (1 - sides["weight"], -0.5 * sides["apart"])], 1.0
    )
    level = Level(1.0, 1.0)
    root = law.expectation(
        lambda x: law.posterior_variance(x, level) * trace.exp(-30 * (x * x)), level
    )
    found = balls.enclose(root, {"apart": number(0), "weight": number(0.25)})
    assert found.contains(number(1) / 22)
    assert float(found.rad()) < 0.1


def test_a_registered_claim_is_asked_for_by_its_id() -> None:
    with pytest.raises(InputError, match=r"line \d+: float\(step.s.ratio\) has no enclosure"):
        load_statement("analytic-variance")


def test_what_lies_beyond_the_cells_is_bounded(
    here: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """With cells that end at 3 deviations, only the bound keeps the value inside."""
    pytest.importorskip("flint")
    statement = load_statement("my.py::shrinks")
    point = {one.name: float((one.low + one.high) / 2) for one in statement.parameters}
    point |= {"kind": 2.0}
    value = statement.measure(point)
    for module in (balls, forms, cells):
        monkeypatch.setattr(module, "REACH", 3.0)
    cells.normal_cells.cache_clear()
    ball, _ = certificate.second(statement, tuple((Fraction(x),) * 2 for x in point.values()))
    at = np.array([list(point.values())])
    lower, upper, _ = statement.evaluate(at, at)
    cells.normal_cells.cache_clear()
    assert ball.contains(value)
    assert 0.005 < float(ball.rad()) < 5
    assert lower[0] <= value <= upper[0]
    assert 0.005 < upper[0] - lower[0] < 5
