"""The error budget of a network that is judged by its own samples, and its record."""

import json

import numpy as np
import pytest

from tests.steinlab.network_toys import toy_model
from toy_models.claims.networks import Pool
from toy_models.galaxies import error_budget
from toy_models.galaxies.error_budget import Job, budget_of, main, record


@pytest.fixture(autouse=True)
def _stand_in(tmp_path, monkeypatch):
    """Two modes in the plane and a field that is no gradient, of which no law is known."""
    monkeypatch.setenv("STEINLAB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(error_budget, "load_model", lambda _name: toy_model(1.0, data_law=False))
    for kept in (error_budget.model_on, error_budget.own_flow):
        kept.cache_clear()
    yield
    for kept in (error_budget.model_on, error_budget.own_flow):
        kept.cache_clear()


def test_it_closes_at_every_level():
    squares = [
        budget_of(Job(solver, i, batch=8, states=800, pool=64, seed=seed)).z ** 2
        for solver in ("euler", "heun")
        for i in range(8)
        for seed in range(2)
    ]
    assert np.mean(squares) == pytest.approx(1.0, abs=4 * np.sqrt(2 / len(squares)))


def test_another_law_of_data_leaves_a_gap(monkeypatch):
    """Were ``x_star`` not of the law that the states come from, the budget would not close."""
    real = Pool.sample

    def shifted(self, n, rng):
        return real(self, n, rng) + (0.3 if shifted.on else 0.0)

    shifted.on = False
    chain_score = error_budget.error_budget.__globals__["_Chain"].score

    def score(self):
        shifted.on = True
        found = chain_score(self)
        shifted.on = False
        return found

    monkeypatch.setattr(Pool, "sample", shifted)
    monkeypatch.setattr(error_budget.error_budget.__globals__["_Chain"], "score", score)
    job = Job("heun", 6, batch=8, states=4000, pool=64)
    assert abs(budget_of(job).z) > 6


def test_the_record_holds_every_part_with_its_error(tmp_path, capsys):
    out = tmp_path / "budget.json"
    args = ["--batch", "4", "--states", "50", "--pool", "8", "--indices", "2", "6"]
    assert main(["--out", str(out), *args, "--solvers", "euler"]) == 0
    rows = json.loads(out.read_text())
    assert [row["index"] for row in rows] == [2, 6]
    assert rows[0] == record(Job("euler", 2, batch=4, states=50, pool=8))
    assert set(rows[0]["parts"]) == {"rounding", "probes", "batch", "drift", "score"}
    total = sum(part["value"] for part in rows[0]["parts"].values())
    assert total == pytest.approx(rows[0]["explained"], rel=1e-4)
    assert rows[0]["sigma"][0] > rows[0]["sigma"][1] > 0
    assert "euler 6: z" in capsys.readouterr().out


def test_a_pool_is_drawn_from_with_replacement():
    drawn = Pool(np.arange(4.0)[:, None]).sample(4000, np.random.default_rng(0))
    assert drawn.shape == (4000, 1)
    assert sorted(set(drawn[:, 0])) == [0, 1, 2, 3]
    assert drawn.mean() == pytest.approx(1.5, abs=0.1)
