"""``steinlab compare`` in several processes and on a device: the same rows."""

import json

import numpy as np
import pytest

import steinlab.experiments.compare
from steinlab.cli import main
from steinlab.diffusion.models import load_model
from steinlab.errors import InputError
from steinlab.experiments.compare import Source, compare, rows_elsewhere, to_json
from steinlab.workers import executor_for

NETWORK = {
    "model": "ring-mlp",
    "solvers": ["euler", "dpmpp-2m"],
    "evaluations": [2],
    "corrections": ["none", "stein"],
    "samples": 16,
}
LAW = {"weights": [1], "means": [[0, 1]], "stds": [1]}
EXACT = {"data": LAW, "solvers": ["euler", "heun"], "evaluations": [3], "samples": 20}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("STEINLAB_CACHE", str(tmp_path / "cache"))


def rows_of(source):
    """Rows by their places, as those of several processes are gathered."""
    with executor_for(1) as here:
        works = {source: source.comparison()}
        yield from (found[1:] for found in rows_elsewhere(works, here, lambda _done, _what: None))


def test_processes_give_the_rows_that_one_process_gives(spec_file, tmp_path):
    spec, alone, out = spec_file(NETWORK), tmp_path / "alone.json", tmp_path / "several.json"
    assert main(["compare", spec, "--json", str(alone)]) == 0
    rows = tmp_path / "rows"
    several = ["--workers", "2", "--out", str(rows)]
    assert main(["compare", spec, "--json", str(out), *several]) == 0
    assert out.read_text() == alone.read_text()
    assert len(list(rows.iterdir())) == 4
    assert len(list((tmp_path / "cache" / "long-runs").iterdir())) == 4  # each run by one process


def test_rows_come_with_their_places_and_the_seed_given(spec_file):
    source = Source(spec_file(EXACT), seed=5)
    found = dict(rows_of(source))
    assert [to_json(found[i]) for i in range(4)] == [to_json(r) for r in compare(source.spec())]
    other = dict(rows_of(Source(spec_file(EXACT))))
    assert other[0].measured != found[0].measured


def test_a_row_that_fails_does_not_take_the_others_with_it(spec_file, monkeypatch):
    real = steinlab.experiments.compare._run

    def broken(task, bench, spec):
        if task.solver.name == "euler":
            raise ZeroDivisionError(task.label)
        return real(task, bench, spec)

    monkeypatch.setattr(steinlab.experiments.compare, "_run", broken)
    found = []
    with pytest.raises(ZeroDivisionError, match="euler, 3 evaluations, none"):
        found.extend(row for _, row in rows_of(Source(spec_file(EXACT))))
    assert [row.solver.name for row in found] == ["heun", "heun"]


def test_what_is_done_is_in_the_file_before_the_end(spec_file, tmp_path, monkeypatch):
    out, seen = tmp_path / "rows.json", []
    real = steinlab.experiments.compare._run

    def spy(*args):
        seen.append(len(json.loads(out.read_text())) if out.exists() else 0)
        return real(*args)

    monkeypatch.setattr(steinlab.experiments.compare, "_run", spy)
    assert main(["compare", spec_file(EXACT), "--json", str(out)]) == 0
    assert seen == [0, 1, 2, 3]


def test_a_device_is_named_where_the_network_is(spec_file, refused):
    spec = spec_file(NETWORK)
    wrong = "device must be one that torch has here, cpu or cuda say, got nowhere: "
    assert refused("compare", spec, "--device", "nowhere").startswith(wrong)
    message = refused("compare", spec_file(EXACT), "--device", "cuda")
    assert message.startswith("device needs a model, got cuda with data, in ")
    with pytest.raises(InputError, match="left out for digits, which is no network, got cpu"):
        _ = load_model("digits").on("cpu").denoiser


def test_a_network_on_its_own_device_is_the_same_network():
    model = load_model("digits-mlp")
    level = model.process().level_at(1.0)
    x = np.random.default_rng(0).standard_normal((3, 64))
    assert (model.on("cpu").denoiser(x, level) == model.denoiser(x, level)).all()
    assert model.on("meta").denoiser.device == "meta"
