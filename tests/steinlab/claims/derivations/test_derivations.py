"""Every derivation holds, and falls wherever it is touched."""

from dataclasses import replace

import pytest

from steinlab.claims.derivations import AXIOMS, DERIVATIONS
from steinlab.claims.derivations.proofs import AT_MOST, corrupted, gap

STEPS = [(name, i) for name, d in DERIVATIONS.items() for i in range(len(d.proof().steps))]
IDS = [f"{name}: {DERIVATIONS[name].proof().steps[i].name}" for name, i in STEPS]
every_step = pytest.mark.parametrize(("name", "index"), STEPS, ids=IDS)


@every_step
def test_a_step_holds_and_falls_wherever_it_is_touched(name, index):
    """Where a side is changed, where a term, a special value or a limit is left out, or turned."""
    proof = DERIVATIONS[name].proof()
    step = proof.steps[index]
    assert gap(proof, index) == ""
    for factor in (-1, 2):
        why = gap(proof, index, corrupted(step, factor))
        assert "does not simplify to zero" in why or (step.squared and "nonnegative" in why)
    for k in range(len(step.terms)):
        fewer = replace(step, terms=step.terms[:k] + step.terms[k + 1 :])
        assert gap(proof, index, fewer), f"{step.terms[k]} is not needed"
    if step.relation == AT_MOST:
        assert gap(proof, index, replace(step, left=step.right, right=step.left)), "turned"
    for key in ("given", "at"):
        if getattr(step, key):
            assert gap(proof, index, replace(step, **{key: {}})), f"{key} is not needed"


@pytest.mark.parametrize("name", DERIVATIONS)
def test_axioms_are_those_used(name):
    proof = DERIVATIONS[name].proof()
    cited = {p.axiom for p in proof.premises} | {a for s in proof.steps for a in s.by}
    assert cited == set(DERIVATIONS[name].axioms)


@pytest.mark.parametrize("name", DERIVATIONS)
def test_premises_are_used_and_names_unique(name):
    proof = DERIVATIONS[name].proof()
    used = {fact for step in proof.steps for term in step.terms for fact in term[1:]}
    assert {p.name for p in proof.premises} <= used
    names = [p.name for p in proof.premises] + [s.name for s in proof.steps]
    assert len(set(names)) == len(names)


def test_all_axioms_are_in_use():
    assert {a for d in DERIVATIONS.values() for a in d.axioms} == set(AXIOMS)
