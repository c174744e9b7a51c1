"""Derivations as evidence: the check, its controls, the verdict and the replay."""

import json
from dataclasses import dataclass, replace

import numpy as np
import pytest
import sympy as sp

from steinlab.claims.derivations import DERIVATIONS, symbolic_check, symbolic_controls
from steinlab.claims.derivations.evidence import StepCases, compare, measure, undetected
from steinlab.verification.claim import Claim, Dropped, Effort
from steinlab.verification.judge import judge


def claim(derivation, *, covers=True, dropped=()):
    return Claim(
        id="toy",
        title="",
        statement="",
        source="",
        kind="identity",
        conditions=(),
        formula=None,
        checks=(symbolic_check(derivation, covers=covers),),
        controls=symbolic_controls(derivation),
        dropped=dropped,
        finding="{}".format,
    )


@dataclass(frozen=True)
class Broken:
    """A derivation with its second step replaced."""

    name: str
    change: dict
    statement: str = ""

    def proof(self):
        proof = DERIVATIONS[self.name].proof()
        steps = list(proof.steps)
        steps[1] = replace(steps[1], **self.change)
        return replace(proof, steps=tuple(steps))

    def words(self):
        return []


@pytest.mark.parametrize("name", ["cosine-law", "error-decay", "optimal-coefficient"])
def test_a_derivation_that_covers_a_statement_proves_it(name):
    derivation = DERIVATIONS[name]
    row = judge(claim(derivation))
    assert row["verdict"] == "proved"
    (evidence,) = row["evidence"]
    assert evidence["method"] == "symbolic"
    assert evidence["notes"]["axioms"] == derivation.words()
    assert evidence["notes"]["steps"] == evidence["cases"] == len(derivation.proof().steps)
    assert [c["rejected"] for c in row["controls"]] == [True, True]
    json.dumps(row, allow_nan=False)


def test_a_derivation_of_a_part_proves_nothing_more():
    row = judge(claim(DERIVATIONS["three-scalars"], covers=False))
    assert row["verdict"] == "holds"


def test_a_gap_refutes_and_its_step_is_the_worst_case():
    row = judge(claim(Broken("reference-free-coefficient", {"right": sp.Symbol("wrong")})))
    assert row["verdict"] == "refuted"
    assert row["worst"]["measured"] == 1.0
    assert row["worst"]["case"]["step"] == "displacement"
    json.dumps(row, allow_nan=False)


def test_an_unstated_condition_outranks_a_proof():
    fallen = symbolic_check(Broken("collapse", {"right": sp.Integer(5)}), covers=False)
    dropped = Dropped("a condition", replace(fallen, name="dropped"), unstated=True)
    row = judge(claim(DERIVATIONS["collapse"], dropped=(dropped,)))
    assert row["verdict"] == "conditional"


def test_a_control_passes_if_one_corrupted_step_survives():
    vacuous = Broken("collapse", {"left": sp.Integer(0), "right": sp.Integer(0)})
    assert undetected(vacuous, 2) == [vacuous.proof().steps[1].name]
    controls = judge(claim(vacuous))["controls"]
    assert [c["rejected"] for c in controls] == [False, False]


def test_formulas_of_the_claim_leave_the_derivation_alone():
    data = measure(StepCases(DERIVATIONS["three-scalars"]))
    assert not compare(data, "anything").violated.any()


@pytest.mark.parametrize("name", DERIVATIONS)
def test_a_step_written_down_is_found_again(name):
    check = symbolic_check(DERIVATIONS[name], covers=False)
    (batch,) = check.draw(Effort("quick", np.random.default_rng(0)))
    for index in range(len(batch)):
        case = json.loads(json.dumps(batch.describe(index)))
        again = check.restore(case)
        assert [again.describe(i) for i in range(len(again))].index(case) == index


def test_sympy_is_loaded_by_checks_only(steinlab):
    code = (
        "import sys, steinlab.cli, steinlab.claims.derivations\n"
        "import steinlab.claims.coefficient.optimal_coefficient as c\n"
        "assert 'sympy' not in sys.modules\n"
        "c.CLAIM.checks[-1].measure(c.CLAIM.checks[-1].draw(None)[0])\n"
        "assert 'sympy' in sys.modules"
    )
    out = steinlab(code=code)
    assert out.returncode == 0, out.stderr
