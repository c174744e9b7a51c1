"""What the README and CONTRIBUTING show works, and says what the laboratory says."""

from __future__ import annotations

import os
import re
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from steinlab import corrections
from steinlab.cli import main
from steinlab.diffusion.processes import EDM
from steinlab.report.figures import figure_names
from steinlab.solvers import EULER
from steinlab.solvers.loop import solve
from steinlab.solvers.step import NoCorrection
from steinlab.verification.ledger import claim_ids
from steinlab.verification.registry import load_claim

ROOT = Path(__file__).resolve().parent.parent
CHANGES = ROOT / "CHANGELOG.md"
README = (ROOT / "README.md").read_text(encoding="utf-8")
CONTRIBUTING = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
EXPECTED = {name: load_claim(name).expected for name in claim_ids()}


def blocks(text: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def test_readme_is_short() -> None:
    assert len(README.split()) <= 900


def test_readme_python_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bound, code = blocks(README, "python")
    exec(compile(code, "README.md", "exec"), {})
    assert capsys.readouterr().out == code.rsplit("# ", 1)[1], "as shown below it"
    (tmp_path / "my.py").write_text(bound)
    assert main(["verify", str(tmp_path / "my.py")]) == 0
    assert re.search(r"HOLDS .*\n +jensen ", capsys.readouterr().out)


def test_readme_counts_every_verdict() -> None:
    verdicts = re.findall(r"(\d+) ([a-z-]+)", README[README.index("- The paper's claims:") :])
    found = Counter(EXPECTED.values())
    for verdict in found:
        same = [int(n) for n, v in verdicts if v in (verdict, verdict.removesuffix("s"))]
        assert sum(same) == found[verdict], verdict


def test_readme_pictures_are_figures_that_a_command_draws() -> None:
    pictures = re.findall(r"!\[.+?\]\((docs/pictures/.+?)\)", README)
    assert pictures
    for picture in pictures:
        assert (ROOT / picture).is_file()
        assert Path(picture).stem in figure_names()
        assert f"`steinlab figures {Path(picture).stem}`" in " ".join(README.split())


def test_readme_findings_say_what_the_claims_found() -> None:
    """Each finding is the claim's own headline, up to its numbers."""
    found = re.findall(r"^\| (.+) \| `steinlab show ([a-z-]+)` \|$", README, flags=re.MULTILINE)
    assert len(found) == 3
    for said, claim in found:
        own = re.sub(r"\{.*?\}", "0", load_claim(claim).headline)
        assert re.sub(r"\d+( %)?", "#", said) == re.sub(r"\d+", "#", own)


def test_make_targets_shown_exist() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    shown = re.findall(r"(?:^|[`$] ?)make ([a-z][a-z-]*)", README + CONTRIBUTING, re.MULTILINE)
    assert {"verify", "test"} <= set(shown)
    for target in shown:
        assert re.search(rf"^{target}:", makefile, flags=re.MULTILINE), target


@pytest.mark.parametrize("profile", ["quick", "full"])
def test_make_verify_expects_the_verdicts_of_the_claims(profile: str) -> None:
    command = ["make", "-n", "verify", "STAMP=README.md", f"PROFILE={profile}"]
    # `make test` hands its own flags on, and a make below another says which folder it enters
    env = {k: v for k, v in os.environ.items() if k not in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL")}
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True, env=env)
    assert f"--profile {profile} " in done.stdout
    assert done.stdout.rstrip().endswith(" --expect claims")


def test_linked_pages_exist() -> None:
    for text in (README, CONTRIBUTING):
        for page in re.findall(r"\]\(([^)#:]+)\)", text):
            assert (ROOT / page).exists(), page


OPENING = re.compile(r"^(?:#|\||!\[)", re.MULTILINE)
"""What ends a page's opening: a heading, a table or a picture."""

PAGES = [ROOT / "README.md", CHANGES, ROOT / "CONTRIBUTING.md", *sorted(ROOT.glob("docs/**/*.md"))]


def sentences(page: str) -> int:
    """Return the number of sentences before a page's first heading, table or picture.

    A paragraph or an item of a list without an end counts as one; code counts as a word or, on
    lines of its own, not at all.
    """
    text = re.sub(r"<!--.*?-->", "", page.partition("\n")[2], flags=re.DOTALL)
    text = re.sub(r"```.*?```", "\n\n", OPENING.split(text, maxsplit=1)[0], flags=re.DOTALL)
    text = re.sub(r"\]\([^)]*\)", "]", re.sub(r"`[^`]*`", "code", text))
    text = re.sub(r"\b(et al|vs|e\.g|i\.e|eq)\.", r"\1", text)
    blocks = [one.strip() for one in re.split(r"\n\s*\n|\n(?=[-*] |\d+\. )", text)]
    ends = re.compile(r"[.?!](?=[)*_]*(?:\s|$))")
    return sum(max(1, len(ends.findall(one))) for one in blocks if one)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_a_page_opens_with_five_sentences(page: Path) -> None:
    assert sentences(page.read_text("utf-8")) <= 5


def test_sentences_are_counted() -> None:
    assert sentences("# A\n\nOne. Two, et al. so; e.g. `a. b`! Is three?\n\n## B\n\nNo.") == 3
    assert sentences("# A\n\nAn opening:\n\n- one\n- two\n\n```\ncode. more.\n```\n| a |") == 3
    assert sentences("# A\n\n![A picture. Or two.](x.png)") == 0


def test_every_page_is_linked() -> None:
    """From the README and CONTRIBUTING, by way of other pages."""
    docs = ROOT / "docs"
    left = re.findall(r"\]\(docs/([^)#/]+\.md)[)#]", README + CONTRIBUTING)
    linked: set[str] = set()
    while left:
        page = left.pop()
        if page not in linked:
            linked.add(page)
            left += re.findall(r"\]\(([^)#/:]+\.md)[)#]", (docs / page).read_text("utf-8"))
    assert {page.name for page in docs.glob("*.md")} == linked


def test_correction_of_contributing_runs() -> None:
    code, _, model = blocks(CONTRIBUTING, "python")
    space: dict[str, Any] = {}
    from analytic import GaussianMixture
    from steinlab.diffusion.grids import make_grid

    exec(compile(code, "CONTRIBUTING.md", "exec"), space)
    law = GaussianMixture(np.array([0.5, 0.5]), np.array([-1.0, 1.0]), 0.1)
    grid = make_grid(EDM, "karras", 3)
    x = 80 * np.random.default_rng(0).standard_normal((50, 1))
    halfway = solve(law, x, grid, EULER, correction=space["halfway"]()).diagnostics[0].gamma
    full = corrections.tweedie()
    raw = solve(law, x, grid, EULER, correction=full).diagnostics[0].gamma
    assert halfway == pytest.approx(0.5 * (1 + raw))
    assert NoCorrection().name == "none"
    assert "from_torch(" in model


def test_metric_of_contributing_runs() -> None:
    from steinlab import metrics

    exec(compile(blocks(CONTRIBUTING, "python")[1], "CONTRIBUTING.md", "exec"), vars(metrics))
    try:
        x = np.array([[0.0, 0.0], [3.0, 4.0]])
        found = metrics.Samples(x, metrics.Truth(x), 0 * x).measured(["worst"])["worst"]
    finally:
        del metrics._METRICS["worst"]
    assert found is not None
    assert found.value == 5.0


def test_model_of_contributing_runs() -> None:
    torch = pytest.importorskip("torch")
    _, _, code = blocks(CONTRIBUTING, "python")
    space: dict[str, Any] = {"my_torch_module": lambda x, _t: x, "my_alphas_cumprod": [0.9, 0.1]}
    exec(compile(code, "CONTRIBUTING.md", "exec"), space)
    grid_level = EDM.level_at(2.0)
    x = torch.ones(3, 64, dtype=torch.float64)
    expected = (1 - 2 / 5**0.5) * x  # eps = x / sqrt(1 + 4), D = x - 2 eps
    assert torch.allclose(space["denoiser"](x, grid_level), expected)
    assert space["denoiser"].jvp(x, grid_level, x[None]).shape == (1, 3, 64)
