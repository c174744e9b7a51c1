"""Every ``steinlab`` command that the README and the pages show parses, and runs.

Run here as shown: models, coefficient, check-grid, gpu-table. Run here on less, for time: figures;
``compare`` with two solvers, one budget and few samples (the galaxies in ``make test-full`` only);
``sample`` with two pictures at three evaluations; ``falsify`` with 20 cases; ``report`` on a small
ledger without figures. :data:`ELSEWHERE` names the test that runs each of the others, on less too.
Output that a page shows is compared by that page's test: test_documents.py (README),
test_write_a_paper.py, test_conform_a_sampler.py, test_verify_your_bound.py, test_pages.py (study,
networks), test_tournament.py (corrections), gpu_models/test_page.py (gpu), test_peers.py
(conformance).
"""

from __future__ import annotations

import itertools
import json
import re
import shlex
from dataclasses import replace
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

import pytest
import typer

from steinlab.cli import app, main
from steinlab.diffusion.models import load_model, registered
from steinlab.errors import InputError
from steinlab.report.figures import figure_names, load_figure
from steinlab.report.figures.base import Figure
from steinlab.verification.ledger import claim_ids
from tests.steinlab.report.figures.test_registered import reduced

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
SAVED = {"two-modes.json"}
"""Files that a page has its reader write; the page's own test runs its commands."""

OF_THE_PAGE = {"linear-estimate", "jensen"}
"""Claims that a page has its reader write; the page's own test judges them."""

EXAMPLES = {
    "CLAIM": "lipschitz-bound",
    "CASE.json": "case.json",
    "SPEC.json": "docs/specs/digits.json",
    "spec.json": "docs/specs/digits.json",
    "extrapolated": "euler",
}


OF_COMMAND = {
    "coefficient": {"SPEC.json": "docs/specs/coefficient.json"},
    "gpu-table": {"FILE": "docs/gpu-exact.json"},
}
"""What one command reads in the place of :data:`EXAMPLES`."""

ELSEWHERE = {
    "advise": "steinlab/experiments/test_advise.py",
    "calibrate": "steinlab/cli/test_corrections.py",
    "certify": "steinlab/verification/test_continuum.py",
    "check": "steinlab/testing/test_commands.py",
    "comparison-table": "steinlab/cli/test_pages.py",
    "evaluate": "gpu_models/test_commands.py",
    "evaluate-flow": "gpu_models/test_commands.py",
    "export": "steinlab/report/test_exports.py",
    "galaxy-budget": "toy_models/galaxies/test_galaxy_claims.py",
    "networks-pictures": "toy_models/pages/test_networks_pictures.py",
    "networks-record": "toy_models/pages/test_networks_page.py",
    "pages": "steinlab/cli/test_pages.py",
    "show": "steinlab/report/test_terminal.py",
    "study": "gpu_models/test_study_command.py",
    "tournament": "steinlab/experiments/tournament/test_tournament.py",
    "trace": "steinlab/testing/test_commands.py",
    "train": "toy_models/trained/test_training.py",
    "train-classifier": "gpu_models/test_commands.py",
    "train-fashion": "gpu_models/test_commands.py",
    "verify": "steinlab/cli/test_verify.py",
}
"""Commands that the pages show and that another file of tests runs, on what takes seconds."""

NOT_RUN = {"bench-exact": "times a CUDA device, and refuses to run without one"}
"""Commands that the pages show and that are only parsed and refused here, with the reason."""


def commands(text: str) -> set[str]:
    """Return what stands in code spans, in blocks without a language and in indented ones."""
    fenced = re.findall(r"^```(\w*)\n(.*?)^```", text, re.DOTALL | re.MULTILINE)
    blocks = [block for language, block in fenced if not language]
    spans = re.findall(r"`(steinlab\s[a-z][^`]+)`", re.sub(r"```.*?```", "", text, flags=re.DOTALL))
    lines = re.findall(r"^(?:\$ )?(steinlab .+)$", "\n".join(blocks), re.MULTILINE)
    lines += re.findall(r"^    (steinlab .+)$", text, re.MULTILINE)
    return {" ".join(command.split()) for command in [*spans, *lines]}


SHOWN = sorted({(c, page.name) for page in PAGES for c in commands(page.read_text("utf-8"))})
COMMANDS = sorted({command for command, _ in SHOWN})


def words(command: str) -> list[str]:
    _, name, *rest = shlex.split(command, comments=True)
    examples = {**EXAMPLES, **OF_COMMAND.get(name, {})}
    return [name, *(examples.get(word, word) for word in rest)]


def parsed(command: str) -> dict[str, Any]:
    """Return the parameters of a command, read by the command line's own parser."""
    name, *args = words(command)
    root: Any = typer.main.get_command(app)
    with root.commands[name].make_context(name, args) as context:
        return dict(context.params)


def named(command: str) -> bool:
    """Whether a span names a command rather than showing how to call it."""
    _, *args = words(command)
    return not args or args in (["--certify"], ["--curve"])


def test_the_pages_show_commands() -> None:
    assert len(COMMANDS) > 30
    assert "steinlab coefficient docs/specs/coefficient.json" in COMMANDS
    assert "steinlab falsify CLAIM" in COMMANDS
    assert "steinlab replay CASE.json" in COMMANDS
    assert "steinlab coefficient --certify" in COMMANDS


@pytest.mark.parametrize(("command", "page"), SHOWN)
def test_it_parses_and_names_what_exists(command: str, page: str) -> None:
    root: Any = typer.main.get_command(app)
    name, *args = words(command)
    assert name in root.commands
    if named(command):
        known = {option for p in root.commands[name].params for option in p.opts}
        assert set(args) <= known
        return
    given = parsed(command)
    if name == "verify" and given["claims"]:
        assert set(given["claims"].split(",")) <= {*claim_ids(), *OF_THE_PAGE}
    if name == "figures":
        assert set(given["names"] or []) <= set(figure_names())
    if name == "sample":
        assert given["model"].partition(":")[0] in registered()
    if name in ("compare", "coefficient") and args[0] not in SAVED:
        assert (ROOT / args[0]).is_file()


def test_the_parser_refuses() -> None:
    with pytest.raises(Exception, match="No such option"):
        parsed("steinlab verify --claim stein-identity")


RUN = {"compare", "sample", "models", "figures", "coefficient", "falsify", "replay", "report"}
RUN |= {"check-grid", "gpu-table"}


def test_every_command_is_run_or_has_a_reason() -> None:
    kinds = [*RUN, *ELSEWHERE, *NOT_RUN]
    assert sorted(kinds) == sorted({command.split()[1] for command in COMMANDS})


@pytest.mark.parametrize("name", sorted(ELSEWHERE))
def test_another_file_runs_it(name: str) -> None:
    """A call holds the command as the first word of its line."""
    text = (ROOT / "tests" / ELSEWHERE[name]).read_text("utf-8")
    assert re.search(rf'\[\s*"{name}"[,\]]', text)
    assert re.search(r"\b(main|app)\(", text)


def test_the_benchmark_of_a_device_asks_for_one(capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        assert main(["bench-exact", "--size", "tiny"]) == 0
    else:
        assert main(["bench-exact", "--size", "tiny"]) == 2
        assert capsys.readouterr().err == (
            "steinlab: device must be a CUDA device for this benchmark, got none\n"
        )


BROUGHT = {entry.name for entry in entry_points(group="steinlab.commands")}


@pytest.mark.parametrize("name", sorted(BROUGHT & {c.split()[1] for c in COMMANDS}))
def test_a_brought_command_has_the_options_shown(
    name: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """It parses its own arguments, which the command line passes on."""
    for command in (c for c in COMMANDS if c.split()[1] == name):
        given = words(command.partition(" > ")[0])
        plain = itertools.takewhile(lambda word: not word.startswith("--"), given)
        assert main([*plain, "--help"]) == 0
        known = set(re.findall(r"--[a-z][a-z-]*", capsys.readouterr().out))
        assert {word for word in given if word.startswith("--")} <= known, command


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] == "check-grid"])
def test_a_grid_is_looked_at_as_shown(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words(command)) == 1
    assert "1 fault" in capsys.readouterr().out


def test_no_page_tells_to_type_an_old_name() -> None:
    """One module has no other name: what fills the record of ``few-step-methods``."""
    module = r"-m (?:toy_models|gpu_models(?!\.study\.few_steps)|steinlab\.tournament)"
    old = re.compile(rf"python (?:docs/|notebooks/|{module})")
    assert [page.name for page in PAGES if old.search(page.read_text("utf-8"))] == []


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def less(spec: Path) -> dict[str, Any]:
    """Return a comparison of two solvers at one budget, on few samples."""
    obj: dict[str, Any] = json.loads(spec.read_text())
    obj["solvers"] = obj["solvers"][:2]
    return {**obj, "evaluations": obj["evaluations"][:1], "samples": 16}


def compared() -> list[Any]:
    """One that another continues, with its options, runs with those."""
    found = [c for c in COMMANDS if c.split()[1] == "compare" and not named(c)]
    found = [c for c in found if c.split()[2] not in SAVED]
    found = [c for c in found if not any(other.startswith(f"{c} -") for other in found)]
    slow = pytest.mark.slow  # the galaxies' long run alone takes 20 s
    return [pytest.param(c, marks=[slow] if "galaxies" in c else []) for c in found]


def skip_without(model: str) -> None:
    """Skip where the model needs what is not installed."""
    try:
        load_model(model)
    except InputError as error:
        pytest.skip(str(error))


@pytest.mark.parametrize("command", compared())
def test_compare_runs_on_less(command: str, here: Path) -> None:
    name, *rest = words(command)
    spec = less(ROOT / rest[0])
    if "model" in spec:
        skip_without(spec["model"])
    (here / "spec.json").write_text(json.dumps(spec))
    assert main([name, "spec.json", *rest[1:]]) == 0


@pytest.mark.parametrize("command", [c for c in COMMANDS if c.split()[1] == "sample"])
def test_sample_runs_on_less(command: str, here: Path) -> None:
    args, target = words(command), parsed(command)
    skip_without(target["model"])
    args[args.index("--evaluations") + 1] = "3"
    assert main([*args, "--samples", "2"]) == 0
    assert (here / target["out"]).is_file()


def small(name: str) -> Figure:
    return replace(load_figure(name), compute=lambda _: reduced(name))


CHEAP = [c for c in COMMANDS if c.split()[1] in ("models", "figures", "coefficient", "gpu-table")]


@pytest.mark.parametrize("command", [c for c in CHEAP if not named(c) or "models" in c])
def test_it_runs_as_shown(command: str, here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of figures the reduced form."""
    args = [str(ROOT / word) if word.startswith("docs/") else word for word in words(command)]
    if "figures" in command and "--list" not in command:
        monkeypatch.setattr("steinlab.report.figures.render.load_figure", small)
        assert main([*args, "--workers", "1"]) == 0
        assert list(here.glob("out/figures/*.png"))
    else:
        assert main(args) == 0


def test_coefficients_are_certified_as_named() -> None:
    spec = str(ROOT / "docs" / "specs" / "coefficient.json")
    pytest.importorskip("flint")
    assert main(["coefficient", spec, "--certify"]) == 0


def test_falsify_replay_and_report_run_on_less(here: Path) -> None:
    assert main(["verify", "--claims", "cost-table", "--out", "cases"]) == 0
    (here / "ledger.json").write_bytes((here / "cases" / "ledger.json").read_bytes())
    for command in (c for c in COMMANDS if c.split()[1] == "report" and ".py" not in c):
        assert main([*words(command), "--without-figures"]) == 0
    assert (here / "out" / "report" / "report.html").is_file()
    (here / "case.json").write_bytes((here / "cases" / "cost-table.case.json").read_bytes())
    assert main(words("steinlab replay CASE.json")) == 0
    assert main([*words("steinlab falsify CLAIM"), "--budget", "20"]) == 0
