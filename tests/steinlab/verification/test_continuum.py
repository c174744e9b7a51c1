"""Statements over boxes: the search, the certificate and its check, on those registered."""

from __future__ import annotations

import base64
import dataclasses
import json
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab.claims.continua import second_runs
from steinlab.cli import main
from steinlab.errors import InputError
from steinlab.storage import sealed
from steinlab.verification.continuum import certificate
from steinlab.verification.continuum.search import (
    OPEN,
    PROVED,
    REFUTED,
    Node,
    Search,
    middle,
    worst_point,
)
from steinlab.verification.continuum.statement import (
    Enclosed,
    Statement,
    halves,
    load_statement,
    read_box,
    statement_ids,
)
from steinlab.workers import SerialExecutor, executor_for

SMALL = {
    "contraction-edm-euler": ("", 300),
    "contraction-vp-euler": ("noise=0.5:2", 600),
    "contraction-edm-heun": ("weight=1/5,separation=0:2", 600),
    "coefficient-vp-euler": ("noise=1:1.1,separation=5:6", 60),
    "coefficient-edm-heun": ("separation=4:5,ratio=0.2:0.5", 40),
    "bound-edm-euler": ("separation=1:1.2,weight=7/10,shift=4", 40),
    "clip-neutral-flow": ("separation=2.49:2.5,ratio=0.05:0.95", 40),
    "moment-exact-nearer": ("separation=3:3.01,ratio=0.2:0.5", 40),
    "ascent-two-modes": ("length=0:4,separation=2,state=0:3", 200),
    "conditioning-vp-euler": ("separation=0:3,target=0.4:0.6", 300),
    "hutchinson-two-modes": ("separation=0:4,state=0:2", 2000),
    "gain-dpmpp-2m-karras": ("steps=3:9", 200),
    "gain-ipndm-4-karras": ("steps=99:100", 60),
}
"""Boxes, and how many parts are examined."""

CHECKED = SMALL | {
    "contraction-vp-euler": ("noise=0.5:2", 120),
    "contraction-edm-heun": ("weight=1/5,separation=0:2", 120),
    "coefficient-vp-euler": ("noise=5:20", 400),
    "coefficient-edm-heun": ("separation=4:5,ratio=0.2:0.5", 24),
    "bound-edm-euler": ("", 300),
    "clip-neutral-flow": ("separation=2.495:2.5,ratio=0.395:0.4", 1),
    "moment-exact-nearer": ("separation=2.995:3,ratio=0.395:0.4", 1),
    "ascent-two-modes": ("length=0:4,separation=2,state=0:3", 60),
    "conditioning-vp-euler": ("separation=0:3,target=0.5,alpha=1e-8:0.1", 20),
    "hutchinson-two-modes": ("separation=0:4,state=0:2", 400),
    "gain-ipndm-4-karras": ("steps=100,std=1:1.1", 4),
}
"""Smaller ones, for the second evaluator."""


def searched(name: str) -> Search:
    text, budget = SMALL[name]
    statement = load_statement(name)
    search = Search(statement, read_box(statement, text or None))
    for _ in search.run(budget):
        pass
    return search


def test_every_family_of_statements_is_searched_here() -> None:
    families = {name.split("-")[0] for name in SMALL}
    assert {name.split("-")[0] for name in statement_ids()} == families


@pytest.mark.parametrize("name", SMALL)
def test_the_laboratory_agrees_within_decided_boxes(name: str) -> None:
    search = searched(name)
    rng = np.random.default_rng(0)
    assert search.found.decided > 0.2
    decided = [leaf for leaf in search.root.leaves() if leaf.mark != OPEN]
    for i in rng.choice(len(decided), min(5, len(decided)), replace=False):
        leaf = decided[i]
        point = {
            one.name: float(low if one.whole else low + (high - low) * Fraction(rng.random()))
            for one, (low, high) in zip(search.statement.parameters, leaf.box, strict=True)
        }
        value = search.statement.measure(point)
        slip = 1e-5 * (1 + abs(value))
        assert leaf.bounds[0] - slip <= value <= leaf.bounds[1] + slip
        assert (value > 0) == (leaf.mark == PROVED)


@pytest.mark.parametrize("name", SMALL)
def test_every_control_is_refuted(name: str) -> None:
    text, budget = SMALL[name]
    statement = load_statement(name)
    for index in range(len(statement.controls)):
        search = Search(statement, read_box(statement, text or None), index)
        for _ in search.run(8 * budget):
            pass
        control, found = statement.controls[index], worst_point(search)
        assert found is not None, control.name
        if control.measure is not None:
            assert control.measure(found[0]) < 0


@pytest.mark.parametrize("name", SMALL)
def test_the_second_evaluator_accepts(name: str, tmp_path: Path) -> None:
    pytest.importorskip("flint")
    text, budget = CHECKED[name]
    statement = load_statement(name)
    search = Search(statement, read_box(statement, text or None))
    for _ in search.run(budget):
        pass
    certificate.write(tmp_path / "c.json", search)
    found = certificate.check(certificate.read(tmp_path / "c.json"))
    assert found.decided == pytest.approx(search.found.decided)


@pytest.mark.parametrize("name", SMALL)
def test_the_second_evaluator_encloses_what_is_measured(name: str) -> None:
    """At points, and on boxes of a sixty-fourth of each side about them.

    What is measured errs by quadrature and difference quotients, at most by 1e-5 of ``1 + |f|``.
    """
    pytest.importorskip("flint")
    statement, rng = load_statement(name), np.random.default_rng(1)
    box, known = read_box(statement, SMALL[name][0] or None), 0
    for _ in range(4):
        at = [
            Fraction(int(low + int((high - low) * Fraction(rng.random()))))
            if one.whole
            else low + (high - low) * Fraction(rng.random())
            for one, (low, high) in zip(statement.parameters, box, strict=True)
        ]
        value = statement.measure(
            {one.name: float(end) for one, end in zip(statement.parameters, at, strict=True)}
        )
        slip = 1e-5 * (1 + abs(value))
        around = tuple(
            (end, end)
            if one.whole
            else (max(low, end - (high - low) / 128), min(high, end + (high - low) / 128))
            for one, end, (low, high) in zip(statement.parameters, at, box, strict=True)
        )
        for piece in (tuple((end, end) for end in at), around):
            margin, power = certificate.second(statement, piece)
            if margin.is_finite():
                known += 1
                assert not margin > power * (value + slip)
                assert not margin < power * (value - slip)
    assert known >= 4


@pytest.mark.parametrize("name", CHECKED)
def test_the_second_evaluator_refuses_a_flipped_leaf(name: str) -> None:
    pytest.importorskip("flint")
    text, budget = CHECKED[name]
    statement = load_statement(name)
    search = Search(statement, read_box(statement, text or None))
    for _ in search.run(budget):
        pass
    leaf = next(leaf for leaf in search.root.leaves() if leaf.mark != OPEN)
    leaf.mark = REFUTED if leaf.mark == PROVED else PROVED
    found = certificate.Certificate(statement, search.box, search.root, search.spent)
    with pytest.raises(certificate.CertificateError, match="a leaf"):
        certificate.check(found)


def test_a_search_goes_on_as_if_it_had_not_stopped(tmp_path: Path) -> None:
    whole, first = searched("contraction-edm-euler"), None
    first = Search(whole.statement, whole.box)
    for _ in first.run(100):
        pass
    certificate.write(tmp_path / "c.json", first)
    kept = certificate.read(tmp_path / "c.json")
    first.restore(kept.root, kept.boxes)
    for _ in first.run(SMALL["contraction-edm-euler"][1]):
        pass
    assert first.found == whole.found
    assert [leaf.box for leaf in first.root.leaves()] == [leaf.box for leaf in whole.root.leaves()]


def test_a_point_is_refuted_before_a_box_is() -> None:
    statement = load_statement("contraction-edm-euler")
    search = Search(statement, read_box(statement, "separation=1.9:8,step=1"))
    for _ in search.run(1):
        pass
    assert search.found.refuted == 0
    point, bound = worst_point(search) or ({}, 1.0)
    assert statement.measure(point) == pytest.approx(bound, abs=1e-4)
    assert bound < 0


def test_the_falsifier_starts_where_boxes_resist() -> None:
    """The middles, 1.93 and 1.99, contract; what refutes lies beyond separation 2."""
    statement = load_statement("contraction-edm-euler")
    search = Search(statement, read_box(statement, "separation=1.9:2.02,step=1"))
    for _ in search.run(1):
        pass
    assert statement.measure({"separation": 1.99, "step": 1.0}) > 0
    point, bound = worst_point(search) or ({}, 1.0)
    assert bound < 0
    assert 2 < point["separation"] <= 2.02
    assert statement.measure(point) == pytest.approx(bound, abs=1e-4)


class Interrupting:
    """A statement's evaluator that the user interrupts at its second call."""

    def __init__(self, statement: Statement) -> None:
        self.statement, self.calls = statement, 0

    def __call__(self, low: np.ndarray, high: np.ndarray) -> Enclosed:
        self.calls += 1
        if self.calls == 2:
            raise KeyboardInterrupt
        return self.statement.evaluate(low, high)


def test_an_interrupt_loses_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    name, file = "contraction-edm-euler", tmp_path / "c.json"
    statement = load_statement(name)
    stopped = dataclasses.replace(statement, evaluate=Interrupting(statement))
    order = ["certify", name, "--budget", "300", "--out", str(file)]
    with monkeypatch.context() as patch:
        patch.setattr("steinlab.verification.continuum.statement.load_statement", lambda _: stopped)
        assert main(order) == 130
    assert "continues it" in capsys.readouterr().err
    assert 0 < certificate.read(file).boxes < 300
    assert main(order) == 0
    assert list(map(str, certificate.read(file).root.leaves())) == list(
        map(str, searched(name).root.leaves())
    )


def test_an_ascent_without_a_move_is_measured_by_its_limit() -> None:
    """At ``l e = 0`` the rise over ``l e^2`` is 0/0; ``f`` goes there as to any point."""
    measure = load_statement("ascent-two-modes").measure
    for at, beside in (((0.0, 1.0, 2.5), (1e-3, 1.0, 2.5)), ((1.0, 3.0, 0.0), (1.0, 3.0, 1e-4))):
        values = [
            measure(dict(zip(("state", "separation", "length"), point, strict=True)))
            for point in (at, beside)
        ]
        assert values[0] == pytest.approx(values[1], abs=1e-3)


def test_an_infinite_bound_decides_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    statement = load_statement("contraction-edm-euler")

    def unbounded(low: np.ndarray, high: np.ndarray) -> Enclosed:
        found = statement.evaluate(low, high)
        return found._replace(upper=np.where(found.lower > 0, np.inf, found.upper))

    search = Search(dataclasses.replace(statement, evaluate=unbounded), statement.box)
    for _ in search.run(200):
        pass
    assert search.found.proved == 0
    assert search.found.refuted > 0


def test_a_killed_search_goes_on_to_the_same_bytes(tmp_path: Path) -> None:
    """As what it saves before it is killed is what a search of fewer rounds writes."""
    statement = load_statement("contraction-vp-euler")
    files = [tmp_path / "whole.json", tmp_path / "killed.json"]
    whole, killed = (Search(statement, statement.box) for _ in files)
    for _ in whole.run(9000):
        pass
    for _ in killed.run(9000):  # a round at a time, and every time from what was saved
        certificate.write(files[1], killed)
        kept = certificate.read(files[1])
        killed = Search(statement, kept.box)
        killed.restore(kept.root, kept.boxes)
        break
    for _ in killed.run(9000):
        pass
    for file, search in zip(files, (whole, killed), strict=True):
        certificate.write(file, search)
    assert files[0].read_bytes() == files[1].read_bytes()


def test_workers_write_the_same_bytes(tmp_path: Path) -> None:
    files = [tmp_path / f"{workers}.json" for workers in (1, 2)]
    for workers, file in enumerate(files, start=1):
        order = ["certify", "contraction-edm-euler", "--budget", "2000", "--out", str(file)]
        assert main([*order, "--workers", str(workers)]) == 0
    assert files[0].read_bytes() == files[1].read_bytes()


def test_workers_refuse_the_first_leaf_that_is_false(tmp_path: Path) -> None:
    pytest.importorskip("flint")
    search = searched("contraction-edm-euler")
    decided = [leaf for leaf in search.root.leaves() if leaf.mark != OPEN]
    for leaf in (decided[-1], decided[len(decided) // 2], decided[20]):
        leaf.mark = REFUTED if leaf.mark == PROVED else PROVED
    found = certificate.Certificate(search.statement, search.box, search.root, search.spent)
    for executor in (BackwardsExecutor(), SerialExecutor()):
        with pytest.raises(certificate.CertificateError) as error:
            certificate.check(found, executor=executor)
        assert str(error.value).endswith(certificate.told(search.statement, decided[20].box))


class BackwardsExecutor(ThreadPoolExecutor):
    """Finishes later calls first: what was submitted waits until all are there."""

    def __init__(self) -> None:
        super().__init__(1)
        self.calls: list[tuple[Future[Any], Callable[[], Any]]] = []

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        future: Future[Any] = Future()
        self.calls.append((future, lambda: fn(*args, **kwargs)))
        if len(self.calls) == 1:
            super().submit(self._work)
        return future

    def _work(self) -> None:
        time.sleep(0.5)
        for future, call in reversed(self.calls):
            try:
                future.set_result(call())
            except Exception as error:
                future.set_exception(error)


def test_workers_check_as_one_process_does(tmp_path: Path) -> None:
    pytest.importorskip("flint")
    certificate.write(tmp_path / "c.json", searched("contraction-edm-euler"))
    found = certificate.read(tmp_path / "c.json")
    with executor_for(2) as executor:
        assert certificate.check(found, executor=executor) == certificate.check(found)


def test_a_series_cut_short_is_still_enclosed(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("flint")
    statement = load_statement("gain-euler-karras")
    monkeypatch.setattr(second_runs, "ORDER", 2)
    box = read_box(statement, "steps=4,std=1:1.3")
    found, _ = certificate.second(statement, box)
    for std in (1.0, 1.1, 1.3):
        assert found.contains(statement.measure({"steps": 4, "std": std}))


def test_whole_sides_are_cut_between_numbers() -> None:
    statement = load_statement("gain-euler-karras")
    box = read_box(statement, "steps=3:6")
    first, last = halves(statement, box, 0)
    assert (first[0], last[0]) == ((3, 4), (5, 6))


def flipped(tree: str, at: int) -> str:
    other = REFUTED if tree[at] == PROVED else PROVED
    return tree[:at] + other + tree[at + 1 :]


DAMAGE: dict[str, tuple[Callable[[dict[str, Any]], dict[str, Any]], str]] = {
    "a changed digit": (lambda c: {**c, "boxes": c["boxes"] + 1}, "checksum"),
    "a flipped leaf": (
        lambda c: sealed({**c, "tree": flipped(c["tree"], c["tree"].index(PROVED))}),
        "leaf",
    ),
    "a flipped leaf at the end": (
        lambda c: sealed({**c, "tree": flipped(c["tree"], c["tree"].rindex(REFUTED))}),
        "leaf",
    ),
    "a missing leaf": (lambda c: sealed({**c, "tree": c["tree"][:-1]}), "cover"),
    "one leaf more": (lambda c: sealed({**c, "tree": c["tree"] + "?"}), "beyond"),
    "no such side": (lambda c: sealed({**c, "tree": "3" + c["tree"]}), "cuts a side"),
    "a larger box": (
        lambda c: sealed({**c, "box": {**c["box"], "separation": ["0", "16"]}}),
        "leaf",
    ),
    "a box beyond what is stated": (
        lambda c: sealed({**c, "box": {**c["box"], "step": ["-1", "4"]}}),
        "--box step must lie in 0.001:8",
    ),
    "a number of a million digits": (
        lambda c: sealed({**c, "box": {**c["box"], "step": ["1", "1e999999"]}}),
        "--box step must be a number",
    ),
    "bounds that are no numbers": (
        lambda c: sealed({**c, "bounds": rebounded(c, np.nan)}),
        "a leaf has infinite bounds",
    ),
    "an upper bound that is infinite": (
        lambda c: sealed({**c, "bounds": rebounded(c, np.inf, end=1)}),
        "a leaf has infinite bounds",
    ),
    "bounds about 0": (
        lambda c: sealed({**c, "bounds": rebounded(c, 0.0)}),
        "a leaf has bounds of no sign",
    ),
}


def rebounded(content: dict[str, Any], value: float, end: int = 0) -> str:
    """Return the bounds with another end of the first leaf, which is proved."""
    bounds = np.frombuffer(base64.b64decode(content["bounds"]), "<f8").copy()
    bounds[end] = value
    return base64.b64encode(bounds.tobytes()).decode()


@pytest.mark.parametrize("box", [{"steps": ["7/2", "6"]}, {"steps": ["-3", "6"]}])
def test_a_certificate_between_whole_numbers_is_refused(
    box: dict[str, list[str]], tmp_path: Path
) -> None:
    statement = load_statement("gain-euler-karras")
    certificate.write(tmp_path / "c.json", Search(statement, statement.box))
    content = json.loads((tmp_path / "c.json").read_text())
    del content["sum"]
    changed = sealed({**content, "box": {**content["box"], **box}})
    (tmp_path / "c.json").write_text(json.dumps(changed))
    with pytest.raises(certificate.CertificateError, match=r"its box is none .*--box steps must"):
        certificate.read(tmp_path / "c.json")


@pytest.mark.parametrize("name", DAMAGE)
def test_a_damaged_certificate_is_refused(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    pytest.importorskip("flint")
    file = tmp_path / "c.json"
    certificate.write(file, searched("contraction-edm-euler"))
    change, reason = DAMAGE[name]
    content = json.loads(file.read_text())
    content = {
        key: value for key, value in content.items() if name == "a changed digit" or key != "sum"
    }
    file.write_text(json.dumps(change(content)))
    assert main(["check-certificate", str(file)]) == 1
    out = " ".join(capsys.readouterr().out.split())
    assert out.startswith("refused: ")
    assert reason in out


BAD = {
    "--box step=3:1": "--box step must be LOW:HIGH with LOW < HIGH, got the reversed 3:1",
    "--box step=1:1": "--box step must be LOW:HIGH with LOW < HIGH, got the empty 1:1",
    "--box step=1:inf": "--box step must be finite, got inf",
    "--box steps=1:2": "did you mean step? "
    "--box parameter must be one of separation, step, got steps",
    "--box step=1:1e99999999": "--box step must be a number or a fraction, got 1e99999999",
    "--box step=0:1": "--box step must lie in 0.001:8, got 0:1",
    "--box step=1:2,step=1:3": "--box must name each parameter once, got step twice",
    "--box step": "--box must be NAME=LOW:HIGH, got step",
    "--budget 1": "--budget must decide a box of contraction-edm-euler, got 1: none is decided",
}


@pytest.mark.parametrize("options", BAD)
def test_bad_input_is_one_line(options: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["certify", "contraction-edm-euler", *options.split()]) == 2
    assert capsys.readouterr().err == f"steinlab: {BAD[options]}\n"


@pytest.mark.parametrize("mark", [PROVED, REFUTED])
@pytest.mark.parametrize("middle", [-0.3, 0.0, 0.3])
def test_a_leaf_whose_sign_the_second_evaluator_leaves_open_is_not_borne_out(
    mark: str, middle: float
) -> None:
    """At a point, where nothing is left to be cut: the ball ``middle +- 0.5`` holds both signs."""
    flint = pytest.importorskip("flint")
    statement = load_statement("contraction-edm-euler")
    wide = dataclasses.replace(statement, second=lambda *_: flint.arb(middle, 0.5))
    point = tuple((Fraction(1), Fraction(1)) for _ in statement.parameters)
    leaf = Node.root(point)
    leaf.mark, leaf.bounds = mark, (-2.0, 2.0)
    with pytest.raises(certificate.CertificateError, match="a leaf is not borne out"):
        certificate._prove(wide, leaf)
    clear = flint.arb(0.6 if mark == PROVED else -0.6, 0.5)
    certificate._prove(dataclasses.replace(statement, second=lambda *_: clear), leaf)
    with pytest.raises(certificate.CertificateError, match="a leaf is false"):
        certificate._prove(dataclasses.replace(statement, second=lambda *_: -clear), leaf)
    leaf.bounds = (-0.01, 0.01)
    with pytest.raises(certificate.CertificateError, match="has bounds beside the value"):
        certificate._prove(dataclasses.replace(statement, second=lambda *_: clear), leaf)


def test_leaves_of_each_kind_are_counted(tmp_path: Path) -> None:
    pytest.importorskip("flint")
    statement = load_statement("contraction-edm-euler")
    search = Search(statement, read_box(statement, "separation=1:8,step=1"))
    for _ in search.run(60):
        pass
    marks = [leaf.mark for leaf in search.root.leaves()]
    certificate.write(tmp_path / "c.json", search)
    found = certificate.check(certificate.read(tmp_path / "c.json"))
    counts = [marks.count(mark) for mark in (PROVED, REFUTED, OPEN)]
    assert min(counts[:2]) > 0
    assert [found.proved, found.refuted, len(found.open)] == counts


def test_a_whole_side_is_cut_by_its_numbers() -> None:
    """Of 3 to 9, seven numbers, the shares are those of how many each half holds."""
    statement = load_statement("gain-euler-karras")
    axis = next(i for i, one in enumerate(statement.parameters) if one.whole)
    box = tuple(
        (Fraction(3), Fraction(9)) if i == axis else (Fraction(1), Fraction(2))
        for i in range(len(statement.parameters))
    )
    root = Node.root(box)
    root.cut(statement, axis)
    sizes = [int(b - a + 1) for a, b in (node.box[axis] for node in root.leaves())]
    assert sum(sizes) == 7
    assert [node.size for node in root.leaves()] == [pytest.approx(n / 7) for n in sizes]


def test_the_middle_of_a_box_is_halfway_and_of_whole_sides_the_lower_end() -> None:
    statement = load_statement("gain-euler-karras")
    box = tuple((Fraction(k + 1), Fraction(k + 4)) for k in range(len(statement.parameters)))
    found = middle(statement, box)
    for (low, high), one in zip(box, statement.parameters, strict=True):
        assert found[one.name] == (low if one.whole else (low + high) / 2)


def test_a_stored_point_names_every_parameter_and_no_other() -> None:
    statement = load_statement("contraction-edm-euler")
    point = {one.name: 1.5 for one in statement.parameters}
    case = {"statement": statement.id, "point": point}
    for name in point:
        lost = {key: value for key, value in point.items() if key != name}
        with pytest.raises(InputError, match=f"point must hold {name}, got"):
            certificate.replayed({**case, "point": lost})
    with pytest.raises(InputError, match="point must be one of"):
        certificate.replayed({**case, "point": {**point, "other": 1.0}})
