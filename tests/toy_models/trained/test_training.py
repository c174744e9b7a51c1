"""Training a toy: deterministic, stoppable, resumable; what its files say and refuse."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from steinlab import storage  # noqa: E402
from steinlab.cli import main  # noqa: E402
from steinlab.errors import InputError, Interrupted  # noqa: E402
from toy_models.trained import presets, training  # noqa: E402
from toy_models.trained import train as command  # noqa: E402
from toy_models.trained.network import NOISE_RANGE, ToyNet  # noqa: E402
from toy_models.trained.presets import PRESETS, Preset  # noqa: E402
from toy_models.trained.training import advance, begin  # noqa: E402
from toy_models.trained.weights import content_digest, read, write  # noqa: E402

TINY = Preset("tiny", "ring", (2,), 24, 1, 2, steps=60, batch=64, warmup=5, pool=512, held_out=256)


@pytest.fixture
def cache(monkeypatch, tmp_path):
    monkeypatch.setenv(storage.CACHE_VARIABLE, str(tmp_path))
    return tmp_path


@pytest.fixture(scope="module")
def trained():
    return advance(begin(TINY))


def same(a, b):
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


def test_a_run_learns_and_keeps_its_best(trained):
    losses = dict(trained.curve)
    assert trained.done
    assert len(losses) == 20
    assert trained.best_loss == min(losses.values()) < losses[min(losses)]
    assert losses[trained.best_step] == trained.best_loss


def test_the_seed_decides_the_weights(trained):
    assert same(advance(begin(TINY)).best, trained.best)
    assert not same(advance(begin(TINY.with_seed(1))).best, trained.best)
    assert TINY.with_seed(1).digest != TINY.digest == TINY.with_seed(0).digest


@pytest.mark.parametrize("steps", [1, 17, 59])
def test_stopped_and_resumed_it_ends_the_same(trained, steps, tmp_path):
    count = iter(range(10**6))
    half = advance(begin(TINY), stop=lambda: next(count) >= steps)
    assert half.step == steps
    torch.save(half.state(), tmp_path / "state")
    state = torch.load(tmp_path / "state", weights_only=True)
    rest = advance(begin(TINY, state))
    assert same(rest.best, trained.best)
    assert rest.curve == trained.curve


def test_threads_and_the_global_generator_do_not_matter(trained):
    before = torch.get_num_threads()
    torch.manual_seed(5)
    try:
        torch.set_num_threads(2)
        assert same(advance(begin(TINY)).best, trained.best)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)


def test_an_interrupt_keeps_the_best_weights_and_the_run_goes_on(trained, cache, monkeypatch):
    @contextmanager
    def interrupting(_silent):
        def tell(done, _what):
            if round(60 * done) == 35:
                os.kill(os.getpid(), signal.SIGINT)

        yield tell

    monkeypatch.setattr(command, "progress_bar", interrupting)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(
        Interrupted, match=r"stopped after 35 of 60 steps.*the same command goes on"
    ):
        command.train(TINY)
    assert signal.getsignal(signal.SIGINT) is handler
    file = presets.cached_file(TINY)
    note = json.loads(presets.provenance_file(file).read_text())
    assert not note["complete"]
    known = dict(note["loss_curve"])
    assert note["best_step"] in {*known, 35}
    assert note["validation_loss"] <= min(known.values()) + 1e-6
    best = read(file, TINY, ToyNet(TINY).state_dict())
    assert _loss_of(best) == pytest.approx(note["validation_loss"], rel=1e-5)
    monkeypatch.undo()
    monkeypatch.setenv(storage.CACHE_VARIABLE, str(cache))
    command.train(TINY)
    assert same(read(file, TINY, ToyNet(TINY).state_dict()), trained.best)
    assert sorted(path.suffix for path in file.parent.iterdir()) == [".json", ".safetensors"]


def _loss_of(weights, preset=TINY):
    run = begin(preset)
    run.net.load_state_dict(weights)
    with torch.no_grad():
        return float(training._loss(run.net, *training._held_out(run)))


def test_a_second_interrupt_is_one():
    with training.stopped_by_interrupt() as stop:
        os.kill(os.getpid(), signal.SIGINT)
        assert stop()
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)


def test_the_loss_vanishes_where_the_denoiser_returns_the_data():
    """``D = m + c_skip (x - m) + c_out F_target`` is ``x_star``, from the definition."""
    net = ToyNet(TINY)
    net.mean.copy_(torch.tensor([0.3, -0.2]))
    net.sigma_data.fill_(0.7)
    rng = torch.Generator().manual_seed(0)
    x_star, eps = (torch.randn(200, 2, generator=rng) for _ in range(2))
    sigma = torch.linspace(*NOISE_RANGE, 200)[:, None]
    x = x_star + sigma * eps
    skip, out = net.outer(sigma)
    target = (x_star - net.mean - skip * (x - net.mean)) / out
    net.inner = lambda *_: target
    assert float(training._loss(net, x_star, sigma, eps)) < 1e-8
    assert torch.allclose(net(x, sigma[:, 0]), x_star, atol=2e-5)
    net.inner = lambda *_: target + 0.1
    assert float(training._loss(net, x_star, sigma, eps)) == pytest.approx(0.01, rel=1e-3)


@pytest.mark.parametrize("name", PRESETS)
def test_parameters_are_counted_from_the_sizes(name):
    net = ToyNet(PRESETS[name])
    assert sum(p.numel() for p in net.parameters()) == PRESETS[name].parameters


@pytest.fixture
def stored(trained, tmp_path):
    file = tmp_path / "w.safetensors"
    write(file, TINY, trained.best, {})
    return file


def refusal(file, preset=TINY, sizes=TINY):
    with pytest.raises(InputError) as caught:
        read(file, preset, ToyNet(sizes).state_dict())
    message = str(caught.value)
    assert "\n" not in message
    assert message.startswith(f"weights {file}: ")
    return message.removeprefix(f"weights {file}: ")


def test_what_is_written_is_read(stored, trained):
    assert same(read(stored, TINY, ToyNet(TINY).state_dict()), trained.best)


@pytest.mark.parametrize("keep", [0, 7, 100, -1, -1000])
def test_a_truncated_file_is_refused(stored, keep):
    stored.write_bytes(stored.read_bytes()[:keep])
    assert refusal(stored).startswith("expected a whole safetensors file, found ")


def test_one_flipped_bit_is_noticed(stored):
    content = bytearray(stored.read_bytes())
    content[-9] ^= 1
    stored.write_bytes(content)
    assert refusal(stored).startswith("expected digest of the tensors ")


def test_what_is_no_file_is_refused(tmp_path):
    assert "found No such file" in refusal(tmp_path / "none.safetensors")
    assert "expected a" in refusal(tmp_path)
    (tmp_path / "text").write_text("weights")
    assert "found 7 bytes that are not" in refusal(tmp_path / "text")


def test_another_version_preset_or_architecture_is_refused(stored, trained, monkeypatch):
    other = TINY.with_seed(3)
    found = refusal(stored, preset=other)
    assert found == f"expected hash of preset tiny {other.digest}, found {TINY.digest}"
    wider = Preset("tiny", "ring", (2,), 32, 1, 2, steps=60, batch=64)
    assert refusal(stored, sizes=wider).startswith("expected shape of blocks.0.first.bias [32], f")
    deeper = Preset("tiny", "ring", (2,), 24, 2, 2, steps=60, batch=64)
    assert refusal(stored, sizes=deeper).endswith("blocks.1.first.bias [24], found none")
    monkeypatch.setattr("toy_models.trained.weights.FORMAT", 99)
    write(stored, TINY, trained.best, {})
    monkeypatch.undo()
    assert refusal(stored) == "expected format 1, found 99"


def test_weights_that_are_not_finite_are_refused(stored, trained):
    broken = {name: value.clone() for name, value in trained.best.items()}
    broken["enter.bias"][0] = float("nan")
    write(stored, TINY, broken, {})
    assert refusal(stored) == "enter.bias must be finite, found a value that is not"


def test_the_digest_sees_names_shapes_and_bytes():
    a = {"x": torch.zeros(2, 3), "y": torch.zeros(3)}
    others = [
        {"z": a["x"], "y": a["y"]},
        {"x": torch.zeros(3, 2), "y": a["y"]},
        {"x": a["x"].half(), "y": a["y"]},
        {"x": a["x"] + 1, "y": a["y"]},
    ]
    assert len({content_digest(each) for each in (a, *others)}) == 5


def test_a_damaged_or_foreign_checkpoint_is_refused(cache):
    checkpoint = presets.cached_file(TINY).with_suffix(".checkpoint")
    checkpoint.parent.mkdir()
    checkpoint.write_bytes(b"no checkpoint")
    with pytest.raises(
        InputError, match=r"expected one of preset tiny, found a damaged file .* anew"
    ):
        command.train(TINY)
    command._save(begin(TINY.with_seed(2)).state(), checkpoint)
    with pytest.raises(InputError, match=f"expected hash {TINY.digest}, found .*; delete it"):
        command.train(TINY)


def test_flipped_bits_of_a_checkpoint_are_noticed(cache):
    """torch itself loads most of them without a word."""
    checkpoint = presets.cached_file(TINY).with_suffix(".checkpoint")
    command._save(begin(TINY).state(), checkpoint)
    whole, rng = checkpoint.read_bytes(), np.random.default_rng(0)
    assert command._resumable(checkpoint, TINY)["digest"] == TINY.digest
    for place in rng.integers(8 * len(whole), size=200):
        damaged = bytearray(whole)
        damaged[place // 8] ^= 1 << (place % 8)
        checkpoint.write_bytes(damaged)
        with pytest.raises(InputError, match="found a damaged file"):
            command._resumable(checkpoint, TINY)


def test_the_cache_folder_follows_the_environment(monkeypatch, tmp_path):
    monkeypatch.delenv(storage.CACHE_VARIABLE, raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert storage.cache_folder() == tmp_path / "steinlab"
    monkeypatch.delenv("XDG_CACHE_HOME")
    assert storage.cache_folder() == Path.home() / ".cache" / "steinlab"
    monkeypatch.setenv(storage.CACHE_VARIABLE, str(tmp_path / "own"))
    assert presets.cached_file(TINY).parent == tmp_path / "own" / "toy_models"


def test_weights_are_found_by_hash(cache, trained):
    assert presets.find(TINY) is None
    write(presets.cached_file(TINY), TINY, trained.best, {})
    assert presets.find(TINY) == presets.cached_file(TINY)
    assert presets.find(TINY.with_seed(1)) is None
    packaged = PRESETS["ring-mlp"]
    assert presets.find(packaged) == presets.packaged_file(packaged)
    assert presets.find(packaged.with_seed(1)) is None


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["rng-mlp"], "NAME must be one of moons-mlp, "),
        (["rng-mlp"], "did you mean ring-mlp? "),
        (["ring-mlp", "--seed", "-1"], "--seed must be"),
        (["ring-mlp", "--seed", "x"], "--seed must be"),
        (["ring-mlp", "--out", "w.bin"], "--out must be a .safetensors file, got w.bin"),
        (["ring-mlp", "--out", "/dev/null/w.safetensors"], "--out must be a folder that can"),
    ],
)
def test_bad_usage_is_one_line(args, message, capsys, cache):
    assert main(["train", *args]) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err
    assert err.count("\n") == 1
    assert list(cache.iterdir()) == []


def test_the_command_trains_and_prints_the_file(cache, capsys, monkeypatch, trained):
    monkeypatch.setattr(command, "PRESETS", {"tiny": TINY})
    assert main(["train", "tiny"]) == 0
    out, err = capsys.readouterr()
    assert out.strip() == str(presets.cached_file(TINY))
    assert err == ""
    note = json.loads(presets.provenance_file(presets.cached_file(TINY)).read_text())
    assert (note["steps"], note["complete"], note["torch"]) == (60, True, torch.__version__)
    assert note["retrain"] == "steinlab train tiny"
    assert note["validation_loss"] == trained.best_loss


def test_the_module_is_a_command():
    done = subprocess.run(
        [sys.executable, "-m", "toy_models.train", "--help"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert "grid25-mlp" in done.stdout


def test_levels_cover_the_range():
    run = begin(TINY)
    levels = training._levels(run, 20_000).numpy()
    assert levels.min() >= NOISE_RANGE[0] * (1 - 1e-6)
    assert levels.max() <= NOISE_RANGE[1] * (1 + 1e-6)
    share = np.mean(levels > 40)
    tail = np.log(80 / 40) / np.log(80 / 0.002) * TINY.noise_tail
    assert share == pytest.approx(tail, rel=0.3)
