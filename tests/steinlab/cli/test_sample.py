"""``steinlab sample``: files written whole or not at all, the table, and bad input in one line."""

import numpy as np
import pytest
from PIL import Image

from analytic import GaussianMixture
from steinlab.cli import main
from steinlab.corrections import CORRECTIONS, Prepares, get_correction
from steinlab.diffusion.models import Model
from steinlab.diffusion.pictures import GAP, GAP_GREY, Display, sheet
from steinlab.diffusion.processes import EDM
from steinlab.experiments.sample import GAMMA_MAX, SampleRun, draw
from steinlab.solvers import DPMPP_2M
from steinlab.solvers.plans import run_within

BASE = ["sample", "--model", "digits", "--solver", "dpmpp-2m", "--evaluations", "4"]


def plane(dim: int = 2) -> Model:
    law = GaussianMixture([0.5, 0.5], np.array([[-2.0] * dim, [2.0] * dim]), 0.1)
    return Model("plane", dim, "two modes", "this test", "edm", build=lambda: law, law=lambda: law)


def use(monkeypatch, model: Model) -> None:
    monkeypatch.setattr("steinlab.experiments.sample.load_model", lambda _name, _field: model)


def test_a_sheet_of_digits(steinlab, tmp_path):
    """The picture is the samples, pixel for pixel, enlarged by a whole number."""
    out, array = tmp_path / "x.png", tmp_path / "x.npy"
    done = steinlab(*BASE, "--samples", 6, "--out", out)
    assert (done.returncode, done.stderr) == (0, "")
    assert (
        "6 samples of digits, edm, karras, sigma/alpha 80 to 0.002, then 0, seed 0" in done.stdout
    )
    assert "black at 0, white at 1" in done.stdout
    assert steinlab(*BASE, "--samples", 6, "--out", array, here=True).returncode == 0
    states = np.load(array)
    assert (states.shape, states.dtype) == ((6, 1, 8, 8), "float64")
    pixels = np.asarray(Image.open(out))
    assert pixels.dtype == np.uint8
    assert pixels.shape == (2 * 128 + GAP, 3 * 128 + 2 * GAP)  # three in a row
    fifth = np.rint(255 * np.clip(states[4, 0], 0, 1)).astype(np.uint8)
    top, left = 128 + GAP, 128 + GAP
    assert (pixels[top : top + 128 : 16, left : left + 128 : 16] == fifth).all()
    assert (pixels[top + 15 : top + 128 : 16, left + 15 : left + 128 : 16] == fifth).all()
    assert (pixels[:, 128 : 128 + GAP] == GAP_GREY).all()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.npy", "x.png"]


def test_the_same_seed_draws_the_same_file(tmp_path):
    files = [tmp_path / name for name in ("a.png", "b.png", "c.png")]
    for file, seed in zip(files, ("3", "3", "4"), strict=True):
        assert main([*BASE, "--seed", seed, "--out", str(file)]) == 0
    a, b, c = (file.read_bytes() for file in files)
    assert a == b
    assert a != c


def test_an_archive_holds_what_it_takes_to_draw_it_again(tmp_path):
    file = tmp_path / "x.npz"
    args = [*BASE, "--correction", "stein", "--grid", "logsnr", "--samples", "8"]
    assert main([*args, "--seed", "5", "--out", str(file)]) == 0
    kept = np.load(file)
    run = SampleRun.of(
        "digits", "dpmpp-2m", 4, correction="stein", grid="logsnr", samples=8, seed=5
    )
    again = draw(run)
    assert (kept["samples"].reshape(8, 64) == again.states).all()
    assert str(kept["correction"]) == "stein gamma_max=1"
    assert kept["gammas"].tolist() == [step.gamma for step in again.diagnostics]
    plan, grid = run_within(DPMPP_2M, EDM, "logsnr", 4)
    assert kept["levels"].tolist() == [[level.alpha, level.sigma] for level in grid]
    assert int(kept["evaluations"]) == len(plan.solvers) == 4


def test_the_table_tells_every_step(capsys):
    assert main([*BASE, "--correction", "stein"]) == 0
    out = capsys.readouterr().out
    assert "nothing is written" in out
    assert out.count("clipped to [0.1, 1.0]") >= 1
    steps = [line for line in out.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"], ["4"])]
    assert len(steps) == 4


def test_coefficients_are_cut_at_one_unless_told(capsys):
    run = SampleRun.of("digits", "euler", 4, correction="stein")
    assert run.correction.label == f"stein gamma_max={GAMMA_MAX:g}"
    free = SampleRun.of("digits", "euler", 4, correction="stein", gamma_max=np.inf)
    gammas = [[step.gamma for step in draw(each).diagnostics] for each in (run, free)]
    assert max(gammas[0]) <= 1 < max(gammas[1])
    args = [*BASE, "--correction", "stein", "--gamma-min", "-inf", "--gamma-max", "inf"]
    assert main(args) == 0
    assert "stein gamma_min=-inf gamma_max=inf" in capsys.readouterr().out


@pytest.mark.parametrize("correction", CORRECTIONS)
@pytest.mark.parametrize("samples", ["1", "5"])
def test_every_correction_can_be_asked_for(correction, samples):
    code = main([*BASE, "--correction", correction, "--samples", samples])
    prepared = isinstance(get_correction(correction), Prepares)
    assert code == (2 if samples == "1" and prepared else 0)


def test_states_start_under_the_law_or_as_noise():
    rng = np.random.default_rng(0)
    level = EDM.level_at(0.5)
    known = plane().start(level, 4000, rng)
    assert abs(known.var() - (4.1 + 0.25)) < 0.1
    law = plane().exact_law
    bare = Model("bare", 2, "", "", "edm", build=lambda: law)
    assert abs(bare.start(level, 4000, rng).var() - 0.25) < 0.02
    trained = Model("trained", 2, "", "", "edm", build=lambda: law, data_law=lambda: law)
    assert abs(trained.start(level, 4000, rng).var() - (4.1 + 0.25)) < 0.1


def test_a_run_keeps_to_the_range_of_a_model(monkeypatch):
    law = plane().exact_law
    model = Model("cut", 2, "", "", "vp-linear", build=lambda: law, sigma_range=(0.1, 3.0))
    use(monkeypatch, model)
    for schedule in ("", "edm", "flow"):
        run = SampleRun.of("cut", "euler", 5, schedule=schedule)
        ratios = [level.sigma / level.alpha for level in run.grid]
        assert ratios[0] == pytest.approx(3.0)
        assert ratios[-2:] == [pytest.approx(0.1), 0.0]
    end = SampleRun.of("cut", "euler", 5, end="least").grid[-1]
    assert end.sigma / end.alpha == pytest.approx(0.1)


def test_points_of_a_plane_are_scattered(monkeypatch, tmp_path):
    use(monkeypatch, plane())
    file = tmp_path / "x.png"
    assert main([*BASE, "--samples", "50", "--out", str(file)]) == 0
    assert Image.open(file).size == (750, 750)
    first = file.read_bytes()
    assert main([*BASE, "--samples", "50", "--out", str(file)]) == 0
    assert file.read_bytes() == first


def test_an_interrupt_leaves_the_file_as_it_was(monkeypatch, tmp_path, capsys):
    file = tmp_path / "x.png"
    file.write_bytes(b"older")

    def interrupted(*_args, **_options):
        raise KeyboardInterrupt

    monkeypatch.setattr("steinlab.experiments.sample.played", interrupted)
    assert main([*BASE, "--out", str(file)]) == 130
    assert capsys.readouterr().err == "steinlab: interrupted\n"
    assert file.read_bytes() == b"older"
    monkeypatch.undo()
    monkeypatch.setattr("PIL.Image.Image.save", interrupted)
    assert main([*BASE, "--out", str(file)]) == 130
    assert file.read_bytes() == b"older"
    assert list(tmp_path.iterdir()) == [file]


def test_a_state_that_overflows_is_told(monkeypatch, tmp_path, refused):
    model = Model("bad", 2, "", "", "edm", build=lambda: lambda x, _level: x * np.inf)
    use(monkeypatch, model)
    out = tmp_path / "x.npy"
    message = refused(*BASE, "--out", out)
    assert message.startswith(
        "--solver dpmpp-2m on 4 evaluations: state is not finite after step 1"
    )
    assert not out.exists()


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--model", "digit"], "--model must be one of"),
        (["--model", "digit"], "did you mean digits? "),
        (["--model", "galaxy-hsc-32"], "did you mean galaxies-hsc-32? "),
        (["--solver", "dpmp-2m"], "--solver must be one of"),
        (["--solver", "dpmp-2m"], "did you mean dpmpp-2m? "),
        (["--solver", "deis-log-2"], "--solver deis-log-2 cannot step to zero noise: give --end l"),
        (["--correction", "stien"], "--correction must be one of"),
        (["--correction", "stein", "--gamma-min", "2"], "--correction stein: gamma_min must be <="),
        (["--gamma-max", "1"], "--gamma-max must be left out with --correction none, got 1.0"),
        (["--correction", "stein", "--gamma-max", "x"], "--gamma-max must be a number or a frac"),
        (["--grid", "karas"], "--grid must be one of"),
        (["--schedule", "emd"], "--process must be one of edm"),
        (["--end", "last"], "did you mean least? --end must be one of zero, least, got last"),
        (["--evaluations", "0"], "--evaluations must be a whole number from 1 to 10000, got 0"),
        (["--evaluations", "x"], "--evaluations must be a whole number from 1 to 10000, got x"),
        (
            ["--solver", "dpmpp-2s", "--evaluations", "1", "--end", "least"],
            "--evaluations must be >= 2 for one step of dpmpp-2s, got 1",
        ),
        (["--samples", "0"], "--samples must be a whole number from 1 to 1000000, got 0"),
        (["--samples", "1025", "--out", "x.png"], "--samples must be at most 1024 for a picture"),
        (["--samples", "4", "--correction", "auto"], "--samples must be at least 5 for --correc"),
        (["--seed", "-1"], "--seed must be a whole number from 0"),
        (["--out", "x.jpg"], "--out must end in .png, .npy, .npz, got x.jpg"),
        (["--out", "x"], "--out must end in .png, .npy, .npz, got x"),
        (["--out", "no/such/x.png"], "--out must name a file in an existing folder, got no/such/"),
        (["--out", "."], "--out must name a file, got the folder ."),
    ],
)
def test_bad_input_is_one_line(refused, monkeypatch, tmp_path, args, message):
    monkeypatch.chdir(tmp_path)
    assert message in refused(*BASE, *args)
    assert not list(tmp_path.iterdir())


def test_what_is_missing_is_one_line(refused):
    assert "missing option '--solver'" in refused("sample", "--model", "digits")


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_cannot_be_written(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.mkstemp", denied)  # root may write anywhere
    message = refused(*BASE, "--out", tmp_path / "x.png")
    assert message.startswith("--out must name a file that can be written")


def test_a_space_of_many_dimensions_has_no_picture(refused, monkeypatch, tmp_path):
    use(monkeypatch, plane(3))
    message = refused(*BASE, "--out", tmp_path / "x.png")
    assert message.startswith("--out must end in .npy or .npz for states of 3 coordinates")


def test_a_range_beyond_a_process_is_refused(refused, monkeypatch):
    law = plane().exact_law
    far = Model("far", 2, "", "", "edm", build=lambda: law, sigma_range=(100.0, 200.0))
    use(monkeypatch, far)
    assert refused(*BASE).startswith(
        "model far: schedule must reach sigma/alpha between 100 and 200, got edm from 0.002 to 80"
    )


def test_colour_and_bad_shapes():
    red = np.array([[1.0, 1.0, 0.0, 0.0, 0.5, 0.5]])  # two pixels, channels first
    pixels = sheet(red, (3, 1, 2), Display("plain", lambda x: x))
    assert pixels.shape == (64, 128, 3)
    assert pixels[0, 0].tolist() == [255, 0, 128]
    for states, shape, message in [
        (np.ones((1, 6)), (2, 1, 3), "shape must be"),
        (np.ones((1, 5)), (3, 1, 2), "states must have shape"),
        (np.ones((0, 6)), (3, 1, 2), "states must have shape"),
        (np.full((1, 6), np.nan), (3, 1, 2), "states must be finite"),
    ]:
        with pytest.raises(ValueError, match=message):
            sheet(states, shape)
