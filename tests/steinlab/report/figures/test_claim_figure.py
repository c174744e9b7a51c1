"""Every claim has a figure: its own, drawn from its row, where no registered one shows it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from markupsafe import escape

from steinlab.cli import main
from steinlab.cli.report import _own
from steinlab.report.figures import figures_of, load_figure
from steinlab.report.figures.claim import of_row, of_rows, read
from steinlab.report.figures.render import draw, spanning
from steinlab.report.figures.style import styled
from steinlab.report.page import page
from steinlab.verification.registry import claim_ids
from tests.steinlab.report.figures.test_registered import check
from tests.steinlab.report.ledgers import LEDGER

ROWS = {row["id"]: row for row in LEDGER["claims"]}
ROW: dict[str, Any] = ROWS["solver-equivalences"]


def number(name: str, value: float, **more: Any) -> dict[str, Any]:
    return {"name": name, "value": value, "error": None, "unit": "%", "better": "", **more}


LONG = {
    **ROW,
    "headline": "Costs $3, and says so in a headline as long as one may be: " + "long " * 12,
    "numbers": [
        number("error cut, mean", 0.06),
        number("its 95 % interval, from", 0.02),
        number("its 95 % interval, to", 0.1),
        number("the same for Heun", -0.3),
        number("runs", 12),
        number("the same, of a number that is not drawn", 0.2),
        number(
            "steps, \u03ba, a name that takes a second line" + " or would meet its value" * 3, 0.5
        ),
    ],
    "evidence": [
        *ROW["evidence"],
        {**ROW["evidence"][0], "violations": 3, "tightness": 400.0, "check": "broken"},
    ],
    "controls": [*ROW["controls"], {"name": "slips through", "rejected": False}],
}


@pytest.mark.parametrize("claim", claim_ids())
def test_every_claim_has_a_figure_that_names_it(claim: str) -> None:
    names = figures_of(claim)
    assert names
    assert all(claim in load_figure(name).claims for name in names)


@pytest.mark.parametrize(
    ("row", "width"),
    [*((row, "column") for row in (*ROWS.values(), LONG)), (LONG, "page")],
    ids=[*ROWS, "long", "page"],
)
def test_no_words_overlap_or_leave_the_page(row: dict[str, Any], width: str) -> None:
    figure = spanning(of_row(row), width)
    check(figure, figure.compute(0))


def test_what_is_drawn_is_what_the_row_holds() -> None:
    data = read(LONG)
    found = data.config["panels"]["found"]
    assert [words[1] for words in found[:2]] == ["error cut, mean", "the same for Heun"]
    assert len(found) == 3
    assert data.arrays["found"][0].tolist() == [0.06, 0.02, 0.1]
    assert [words[0] for words in data.config["panels"]["checks"]].count("broken") == 1
    assert data.config["panels"]["checks"][-1][2] == "violated: 400 times the bound"
    assert data.arrays["checks"][-1, 0] == 400.0
    own = [one for one in ROW["controls"] if not one.get("graded")]
    drawn = data.arrays["controls"][:, 0]
    assert np.array_equal(drawn, [*(one["measured"] for one in own), 0.0])
    assert data.config["panels"]["controls"][-1][0] == "broken"


def test_a_claim_that_was_not_run_says_so() -> None:
    row = {**ROW, "headline": "", "evidence": [], "controls": [], "numbers": []}
    assert of_rows([row]) == []
    figure = of_row(row)
    with styled(figure):
        (ax,) = draw(figure, figure.compute(0)).axes
    assert ax.texts[0].get_text() == ROW["title"]


def test_a_claims_own_is_drawn_from_a_ledger(tmp_path: Path) -> None:
    file, out = tmp_path / "l.json", tmp_path / "out"
    mine = {**ROW, "id": "mine", "title": "A stranger's"}
    file.write_text(json.dumps({**LEDGER, "claims": [mine]}))
    words = ["figures", "claim-mine", "--ledger", str(file), "--out", str(out)]
    assert main([*words, "--workers", "1", "--format", "png"]) == 0
    record = json.loads((out / "claim-mine.json").read_text())
    assert record["claims"] == ["mine"]
    assert record["title"].startswith("A stranger's: ")


def test_the_report_draws_what_no_other_figure_shows() -> None:
    (picture,) = _own([ROWS["lipschitz-bound"], ROW], "my ledger.json")
    assert picture.claims == {"solver-equivalences"}
    assert picture.name == "claim-solver-equivalences --ledger 'my ledger.json'"
    text = page(LEDGER, [picture])
    assert f"<code>steinlab figures {escape(picture.name)}</code>" in text
    assert picture.png.startswith(b"\x89PNG")


def test_an_unknown_claim_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["figures", "claim-solver-equivalence"]) == 2
    assert "did you mean claim-solver-equivalences?" in capsys.readouterr().err
