"""Every claim with case-wise checks can be searched, replayed and continued; controls are found."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from steinlab.cli import main
from steinlab.verification.falsify import Search, shrink, spaces_of
from steinlab.verification.falsify.attack import describe
from steinlab.verification.falsify.spaces import Parameter, index
from steinlab.verification.judge import rerun
from steinlab.verification.ledger import load_claim, read_case
from steinlab.verification.registry import claim_ids

DEAR = (
    "amed-order",
    "consistency-training",
    "dc-solver-order",
    "dpm-v3-order",
    "epd-order",
    "flow-likelihood",
    "integration-error-decomposition",
    "inversion",
    "pfdiff-order",
    "rectified-flow-cost",
    "reflow-straightness",
    "solver-order",
    "third-order-as-published",
)
"""Claims whose cases take tenths of a second."""

UNSEARCHED = (
    "gain-grows-with-step",
    "few-evaluations-gain",
    "error-budget",
    "tweedie-versus-stein",
    "jacobian-symmetry",
    "correction-tournament",
    "large-step-counts",
    "self-consistency-variant",
    "batch-coupling",
    "coefficient-concentration",
    "pas-directions",
    "neural-coefficient",
    "neural-integration-error",
    "neural-clipped-gain",
    "artifact-reduction",
    "coverage",
    "correction-cost",
)
"""Claims without a search space: a whole design, drawn batches, networks, or a stored study."""

CONTROLS = [
    ("algorithm-cost", "m products per run", 64),
    ("amed-order", "orders one higher", 4),
    ("analytic-variance", "DDIM: no noise", 4),
    ("ays-grid", "2 % less", 4),
    ("bound-as-excess-loss", "the excess loss times sigma", 32),
    ("clip-neutrality", "at least 2", 64),
    ("clipped-gain", "gamma = 1.5, cell by cell", 16),
    ("clipped-gain-flow", "clipped from below only, cell by cell", 128),
    ("consistency-training", "variance kept", 4),
    ("cosine-law", "exact steps", 8),
    ("cost-table", "probes cost no operation", 4),
    ("dc-solver-order", "orders one higher", 4),
    ("dpm-v3-exactness", "l = 1, the data form", 4),
    ("dpm-v3-order", "orders one lower", 4),
    ("epd-order", "three in series of order four", 4),
    ("flow-likelihood", "half the variance", 4),
    ("frechet-bias", "the mean's part alone", 4),
    ("gits-grid", "a quarter of Karras's error", 4),
    ("guided-coefficient", "Tweedie with the guided denoiser", 8),
    ("hutchinson-estimator", "J for its symmetric part", 128),
    ("hutchinson-estimator", "half the variance", 32),
    ("integration-error", "gamma = 1.5 instead of the rule, cell by cell", 16),
    ("integration-error-decomposition", "denoiser's part dropped", 2),
    ("inversion", "no gain of even orders", 16),
    ("latent-decoder", "1 % more of one", 8),
    ("law-scalar", "the plain step", 8),
    ("linear-family", "newest number off by 1e-6", 4),
    ("mean-value-direction", "s the geometric middle", 4),
    ("meanflow-identity", "du/dt left out", 4),
    ("multistep-hypothesis", "bias of the other sign", 96),
    ("one-step-coefficient", "1: a perfect map needs no correction", 8),
    ("oss-grid", "10 % less than the least", 4),
    ("patch-locality", "1 % less", 4),
    ("per-class-coefficient", "weights p_c left out", 4),
    ("perturbation-bound", "1/alpha dropped", 64),
    ("perturbation-bound", "constant lowered by 10 %", 64),
    ("perturbation-bound-in-trap", "constant lowered by 10 %", 64),
    ("pfdiff-order", "orders one higher", 4),
    ("progressive-distillation", "off by 1e-5", 4),
    ("rectified-flow-cost", "crossings alone", 4),
    ("reflow-straightness", "the bound t", 4),
    ("shift-adaptation", "Tweedie with the model's denoiser", 16),
    ("shortcut-consistency", "both halves from one state", 4),
    ("solver-equivalences", "increments off by 1e-6", 16),
    ("solver-order", "orders one higher", 16),
    ("third-order-as-published", "order four for c = 2", 48),
    ("trajectory-ascent", "right side l (1 - l/4)", 4),
    ("trajectory-dimension", "one dimension less", 4),
    ("weak-order", "seeds-3 of order 3", 4),
]


def searched(claim, budget: int, seed: int = 0) -> Search:
    search = Search(claim, spaces_of(claim), seed)
    for found in search.run(budget):
        if found is not None and found.violated:
            break
    return search


@pytest.mark.parametrize(("claim_id", "name", "budget"), CONTROLS)
def test_a_broken_formula_is_found(claim_id, name, budget) -> None:
    claim = load_claim(claim_id)
    control = next(t for t in claim.controls if t.name == name)
    wrong = replace(claim, formula=control.formula)
    if control.checks:  # third-order-as-published is refuted as it stands, in its other checks
        wrong = replace(
            wrong, search=lambda c: [s for s in claim.search(c) if s.check in control.checks]
        )
    found = searched(wrong, budget).best()
    assert found is not None
    assert found.violated
    case = json.loads(json.dumps(describe(wrong, found)))
    assert rerun(wrong, found.space.check, case).violated.all()


KINDS = (
    "algorithm-cost",
    "clip-neutrality",
    "hutchinson-estimator",
    "law-scalar",
    "multistep-hypothesis",
    "perturbation-bound",
    "pfdiff-order",
)
"""A claim for each kind of space; that the cases of every other replay is tried above."""


@pytest.mark.parametrize(
    "claim_id",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name not in KINDS))
        for name in sorted({claim for claim, *_ in CONTROLS})
    ],
)
def test_the_command_stores_replays_and_continues(claim_id, tmp_path, capsys) -> None:
    few, more = (1, 2) if claim_id in DEAR else (8, 24)
    args = ["falsify", claim_id, "--json", str(tmp_path / "r.json"), "--out"]
    assert main([*args, str(tmp_path / "a"), "--budget", str(few)]) == 0
    assert main([*args, str(tmp_path / "a"), "--budget", str(more)]) == 0
    assert f"{few} of them in earlier runs" in capsys.readouterr().out
    result = json.loads((tmp_path / "r.json").read_text())
    assert result["spent"] == more
    file = tmp_path / "a" / f"{claim_id}.attack.json"
    assert read_case(file)["claim"] == claim_id
    assert main(["replay", str(file)]) == 0  # to the last digit


def test_a_continued_search_of_rows_ends_where_a_whole_one_does() -> None:
    claim = load_claim("multistep-hypothesis")
    whole, part, rest = (Search(claim, spaces_of(claim), 3) for _ in range(3))
    for search, budget in ((whole, 96), (part, 48)):
        for _ in search.run(budget):
            pass
    rest.restore(json.loads(json.dumps(part.to_json("s"))), "s")
    for _ in rest.run(96):
        pass
    assert rest.to_json("s") == whole.to_json("s")


def test_claims_that_cannot_be_searched_name_those_that_can(refused) -> None:
    said = refused("falsify", "gain-grows-with-step")
    assert "got gain-grows-with-step, whose checks draw whole designs" in said
    assert "trend (property), oracle (property)" in said
    named = [name for name in claim_ids() if spaces_of(load_claim(name))]
    assert f"such as {', '.join(named[:4])}, ... ({len(named)})" in said
    assert named == [name for name in claim_ids() if name not in UNSEARCHED]
    assert {claim for claim, *_ in CONTROLS} == {name for name in named if load_claim(name).search}


def test_runs_searched_do_not_fold() -> None:
    rng = np.random.default_rng(0)
    for space in spaces_of(load_claim("perturbation-bound-in-trap")):
        points = rng.random((2, len(space.parameters)))
        points[:, -1] = 1.0  # the longest steps
        values = np.stack([p.at(points[:, i]) for i, p in enumerate(space.parameters)], axis=1)
        for cases in space.build(values, np.zeros(2, dtype=int)):
            assert cases.folds.tolist() == [0]


def test_indices_stay_below_their_count() -> None:
    assert int(index("which", 7).at(np.array([1.0]))[0]) == 6
    assert int(index("which", 7).at(np.array([0.0]))[0]) == 0
    assert Parameter("a", 0.0, 2.0).at(np.array([0.5]))[0] == 1.0


def test_pairs_shrink_to_fewer_components() -> None:
    claim = load_claim("perturbation-bound")
    control = next(t for t in claim.controls if t.name == "constant lowered by 10 %")
    wrong = replace(claim, formula=control.formula)
    found = searched(wrong, 200).best()
    assert found is not None
    small, _ = shrink(wrong, found)
    assert small.violated
    assert len(small.values) <= len(found.values)
