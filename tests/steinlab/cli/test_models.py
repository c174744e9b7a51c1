"""``steinlab models``, the program itself, and the registry behind it."""

import json
import os
from importlib.metadata import EntryPoint

import pytest

import steinlab.diffusion.models
from steinlab.cli import main
from steinlab.diffusion.laws import DATASETS
from steinlab.diffusion.models import load_model
from steinlab.errors import InputError

NOT_INSTALLED = EntryPoint(
    "absent", "no_such_package.models:absent", steinlab.diffusion.models.GROUP
)


def test_the_table_and_the_json(steinlab, tmp_path):
    file = tmp_path / "models.json"
    done = steinlab("models", "--json", file)
    assert (done.returncode, done.stderr) == (0, "")
    assert "digits" in done.stdout
    assert "load_digits" in done.stdout
    record = next(entry for entry in json.loads(file.read_text()) if entry["name"] == "digits")
    assert (record["dim"], record["exact"], record["state"]) == (64, True, "available")
    assert list(tmp_path.iterdir()) == [file]


def test_json_on_stdout_stands_alone(steinlab):
    done = steinlab("models", "--json", "-", here=True)
    assert isinstance(json.loads(done.stdout), list)
    assert "digits" in done.stderr


def test_a_model_that_is_not_installed_is_listed(monkeypatch, capsys):
    monkeypatch.setattr(steinlab.diffusion.models, "registered", lambda: {"absent": NOT_INSTALLED})
    assert main(["models"]) == 0
    assert "not installed: No module named" in capsys.readouterr().out
    with pytest.raises(InputError, match="model absent needs what is not installed"):
        load_model("absent")


def test_a_model_that_lacks_its_weights_is_refused(monkeypatch):
    model = steinlab.diffusion.models.Model(
        "bare", 1, "0", "nowhere", "edm", build=lambda: None, missing="weights: run `fetch bare`"
    )
    monkeypatch.setattr(steinlab.diffusion.models, "bare", lambda: model, raising=False)
    entry = EntryPoint("bare", "steinlab.diffusion.models:bare", steinlab.diffusion.models.GROUP)
    monkeypatch.setattr(steinlab.diffusion.models, "registered", lambda: {"bare": entry})
    with pytest.raises(InputError, match="model bare is not available: weights: run `fetch bare`"):
        load_model("bare")
    assert steinlab.diffusion.models.describe()[0]["state"] == "weights: run `fetch bare`"


def optional(*, width: float = 1.0) -> steinlab.diffusion.models.Model:
    """Stand in for a model with an option."""
    if not float(width) > 0:
        raise InputError(f"width must be > 0, got {width}")
    return steinlab.diffusion.models.Model(
        f"optional:width={width}", 1, "0", "nowhere", "edm", build=lambda: None
    )


def test_options_reach_the_model_as_word_or_object(monkeypatch):
    monkeypatch.setattr(steinlab.diffusion.models, "optional", optional, raising=False)
    group = steinlab.diffusion.models.GROUP
    entry = EntryPoint("optional", "steinlab.diffusion.models:optional", group)
    monkeypatch.setattr(steinlab.diffusion.models, "registered", lambda: {"optional": entry})
    assert load_model("optional").name == "optional:width=1.0"
    assert load_model("optional:width=2").name == "optional:width=2"
    assert load_model({"name": "optional", "width": 2}).name == "optional:width=2"
    for given, message in (
        ("optional:wdth=2", r"did you mean width\? model optional: option must be one of width"),
        ("optional:width=0", "width must be > 0, got 0"),
        ({"width": 2}, "model must be a name or an object such as"),
        (["optional"], "model must be a name or an object such as"),
    ):
        with pytest.raises(InputError, match=message):
            load_model(given)


def test_digits_is_the_exact_denoiser_of_its_rows():
    model, rows = load_model("digits"), DATASETS["digits"]()
    assert model.denoiser is model.exact_law
    assert (model.exact_law.data == rows).all()
    assert model.exact_law.bandwidth == 0.1
    assert (rows.shape, rows.dtype, rows.min(), rows.max()) == ((1797, 64), "float64", 0.0, 1.0)


def test_version_and_help(steinlab):
    assert steinlab("--version").stdout.startswith("steinlab 0.")
    assert "compare" in steinlab("--help", here=True).stdout
    assert steinlab(here=True).returncode == 0


def test_help_starts_quickly_and_loads_nothing_heavy(steinlab):
    code = (
        "import sys; from steinlab.cli import main; main(['--help']);"
        "print(*sorted({'torch', 'sklearn', 'ot', 'scipy', 'sympy'} & set(sys.modules)),"
        " file=sys.stderr)"
    )
    before = os.times()
    done = steinlab(code=code)
    after = os.times()
    assert done.stderr.strip() == ""
    spent = after.children_user + after.children_system
    # of the processor, whatever else it has to do; 0.5 s
    assert 0 < spent - before.children_user - before.children_system < 3


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["compar"], "command must be one of"),
        (["compar"], "did you mean compare? "),
        (["models", "--jsn", "x"], "no such option: --jsn"),
        (["--verbose"], "no such option: --verbose"),
        (["models", "extra"], "got unexpected extra argument"),
        (["models", "--json"], "option '--json' requires an argument"),
        (["models", "--json", "."], "--json must name a file, got the folder ."),
        (["models", "--json", "no/such/x"], "--json must name a file in an existing folder"),
        (["compare"], "missing argument 'SPEC.json'"),
    ],
)
def test_bad_usage_is_one_line(refused, args, message):
    assert message in refused(*args)


def denied(*_: object, **__: object) -> None:
    raise PermissionError(13, "Permission denied")


def test_a_folder_that_cannot_be_written_is_refused_before_the_work(refused, monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.mkstemp", denied)  # root may write anywhere
    message = refused("models", "--json", tmp_path / "x.json")
    assert message.startswith("--json must name a file that can be written")
