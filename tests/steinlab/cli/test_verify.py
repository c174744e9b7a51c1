"""``steinlab verify`` and ``replay`` in processes of their own."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from steinlab.cli import main
from steinlab.verification.ledger import run

ROOT = Path(__file__).resolve().parents[3]
IDS = ["latent-decoder", "trajectory-decay"]

LEDGER = {"version", "profile", "seed", "wall_seconds", "environment", "claims"}
CLAIM = {
    "id", "title", "statement", "source", "kind", "verdict", "finding", "cases", "worst",
    "tightness", "evidence", "controls",
}  # fmt: skip
"""The keys of the design; the rest is extra."""
EXTRA = {
    "conditions", "undecided", "detects", "seconds", "table", "owner", "tried", "not_looked_at",
    "headline", "numbers", "latex", "expected", "part",
}  # fmt: skip


def command(*args: Any, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    quiet = ["--no-progress"] if args[0] == "verify" else []
    return subprocess.run(
        [sys.executable, "-m", "steinlab.cli", *map(str, args), *quiet],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        cwd=cwd,
        env={**os.environ, "COLUMNS": "140"},
    )


@pytest.fixture(scope="module")
def verified(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """One run of two claims on two workers: its process and its folder."""
    folder = tmp_path_factory.mktemp("verify")
    expect = folder / "expect.json"
    expect.write_text(json.dumps(dict.fromkeys(IDS, "conditional")))
    done = command(
        "verify", "--claims", ",".join(IDS), "--workers", 2, "--json", folder / "l.json",
        "--out", folder / "out" / "new", "--expect", expect,
    )  # fmt: skip
    return done, folder


@pytest.fixture(scope="module")
def ledger(verified: tuple[Any, Path]) -> Any:
    return json.loads((verified[1] / "l.json").read_text())


def test_it_ends_well(verified: tuple[Any, Path]) -> None:
    done, folder = verified
    assert (done.returncode, done.stderr) == (0, "")
    for claim_id in IDS:
        assert claim_id in done.stdout
    assert "controls rejected" in done.stdout
    assert "2 claims · 2 conditional (1 paper, 1 ours)\n" in done.stdout
    assert re.search(r"^CONDITIONAL .*\n  trajectory-decay +\w(.*\n)+  latent-", done.stdout, re.M)
    names = {file.name for file in (folder / "out" / "new").iterdir()}
    assert names == {"ledger.json", "shards", *(f"{claim_id}.case.json" for claim_id in IDS)}
    assert (folder / "l.json").read_text() == (folder / "out/new/ledger.json").read_text()


def test_the_ledger_has_the_keys_of_the_design(ledger: Any) -> None:
    assert set(ledger) == LEDGER | {"interrupted"}
    assert (ledger["version"], ledger["profile"], ledger["seed"]) == (1, "quick", 0)
    assert not ledger["interrupted"]
    assert [row["id"] for row in ledger["claims"]] == IDS
    for row in ledger["claims"]:
        assert set(row) == CLAIM | EXTRA
        assert set(row["worst"]) == {"measured", "bound", "tolerance", "case", "check", "shrunk"}
        assert all("method" in entry for entry in row["evidence"])
        assert all({"name", "rejected", "measured"} <= set(c) for c in row["controls"])
        assert all(c["rejected"] for c in row["controls"])


def test_numbers_do_not_depend_on_workers_or_order(ledger: Any) -> None:
    alone = run(IDS[::-1], workers=1)
    assert [row["id"] for row in alone["claims"]] == IDS[::-1]
    ours = {row["id"]: {**row, "seconds": 0} for row in alone["claims"]}
    for row in ledger["claims"]:
        assert json.loads(json.dumps(ours[row["id"]])) == {**row, "seconds": 0}


@pytest.mark.parametrize("claim_id", IDS)
def test_every_stored_case_replays(
    verified: tuple[Any, Path], claim_id: str, steinlab: Any
) -> None:
    file = verified[1] / "out" / "new" / f"{claim_id}.case.json"
    done = steinlab("replay", file, "--json", "-", here=True)
    assert done.returncode == 0, done.stderr
    stored, now = json.loads(file.read_text()), json.loads(done.stdout)
    assert now["reproduced"] is True
    for key in ("measured", "bound", "tolerance"):
        assert now[key] == stored[key]
    assert now["violated"] is False
    assert "reproduced to the last digit" in done.stderr


@pytest.fixture
def stored(verified: tuple[Any, Path], tmp_path: Path) -> Callable[..., Path]:
    """A function that writes a changed copy of a stored case; ``None`` drops a field."""
    original = json.loads((verified[1] / "out" / "new" / "latent-decoder.case.json").read_text())

    def write(**changes: Any) -> Path:
        case = {**original, **changes}
        file = tmp_path / "case.json"
        file.write_text(json.dumps({k: v for k, v in case.items() if v is not None}))
        return file

    return write


def test_a_tampered_case_exits_1(stored: Callable[..., Path], steinlab: Any) -> None:
    case = json.loads(stored().read_text())
    off = case["measured"] * (1 + 4e-16)
    assert off != case["measured"]
    done = steinlab("replay", stored(measured=off), here=True)
    assert done.returncode == 1
    assert "differs" in done.stdout
    assert "NOT reproduced" in done.stdout
    moved = {**case["case"], "ratio": 0.5 * case["case"]["ratio"]}
    assert steinlab("replay", stored(case=moved), here=True).returncode == 1


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"version": 2}, "version must be 1"),
        ({"tolerance": None}, "a stored case must hold tolerance, got only version, claim"),
        ({"claim": "latent-decodr"}, "did you mean latent-decoder?"),
        ({"check": "lengths kep"}, "did you mean lengths kept?"),
        ({"case": {"from": [1.0, 1.0]}}, "case must be one that lengths kept of latent-decoder"),
        ({"case": []}, "case must be"),
        ({"measured": "much"}, "measured must be a number, got much"),
        ({"claim": 7}, "claim must be text, got 7"),
    ],
)
def test_a_bad_case_is_one_line(
    stored: Callable[..., Path], refused: Any, changes: dict[str, Any], message: str
) -> None:
    assert message in refused("replay", stored(**changes))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("{", "line 1, column 2"),
        ("[]", "a stored case must be an object, got []"),
        ("", "line 1"),
    ],
)
def test_malformed_json_is_one_line(tmp_path: Path, refused: Any, text: str, message: str) -> None:
    file = tmp_path / "case.json"
    file.write_text(text)
    assert message in refused("replay", file)
    assert "no such file" in refused("replay", tmp_path / "nope.json")


def test_bad_input_in_a_process_of_its_own(tmp_path: Path) -> None:
    done = command("verify", "--claims", "vp-singularty")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1
    assert "did you mean vp-singularity?" in done.stderr
    file = tmp_path / "case.json"
    file.write_text('{"version": 1}')
    done = command("replay", file)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--claims", "nothing"], "--claims must be one of"),
        (["--claims", ""], "--claims must be one of"),
        (
            ["--profile", "quik"],
            "did you mean quick? --profile must be one of quick, full, got quik",
        ),
        (["--workers", "0"], "--workers must be a whole number from 1"),
        (["--workers", "two"], "--workers must be a whole number from 1"),
        (["--seed", "-1"], "--seed must be a whole number from 0"),
        (["--seed", "1.5"], "--seed must be a whole number from 0"),
        (["--json", "no/such/file"], "--json must name a file in an existing folder"),
        (["--expect", "no-such-file"], "no such file"),
        (["--nonsense"], "no such option"),
    ],
)
def test_bad_options_are_one_line(refused: Any, args: list[str], message: str) -> None:
    assert message.lower() in refused("verify", *args).lower()


def test_a_folder_that_cannot_be_made_is_one_line(refused: Any, tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.write_text("")
    assert "--out must be a folder that can be made" in refused("verify", "--out", file / "sub")
    assert "--out must be a folder" in refused("verify", "--out", file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ('{"vp-singularty": "holds"}', "did you mean vp-singularity?"),
        ('{"vp-singularity": "hold"}', "did you mean holds?"),
        ("[]", "expected verdicts by claim must be an object, got []"),
        ("{", "line 1, column 2"),
    ],
)
def test_a_bad_expectation_is_one_line(
    refused: Any, tmp_path: Path, content: str, message: str
) -> None:
    file = tmp_path / "expect.json"
    file.write_text(content)
    assert message in refused("verify", "--expect", file)


def test_another_verdict_than_expected_exits_1(tmp_path: Path, steinlab: Any) -> None:
    file = tmp_path / "expect.json"
    file.write_text(json.dumps({"cost-table": "refuted", "stein-identity": "refuted"}))
    given = ("verify", "--claims", "cost-table", "--expect", file, "--seed", 5)
    done = steinlab(*given, "--no-progress", "--workers", 1, here=True)
    assert done.returncode == 1
    assert done.stderr == "steinlab: cost-table: verdict holds, expected refuted\n"


def test_the_claims_own_expectations_need_no_file(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The template's claim comes out as it expects, and another expectation exits 1."""
    text = (ROOT / "docs" / "templates" / "my_claim.py").read_text()
    for name, expected, code in (("right", "holds", 0), ("wrong", "conditional", 1)):
        stated = f'    expected="{expected}",\n    headline='
        (tmp_path / f"{name}.py").write_text(text.replace("    headline=", stated))
        assert main(["verify", str(tmp_path / f"{name}.py"), "--expect", "claims"]) == code
    assert "my-claim: verdict holds, expected conditional" in capsys.readouterr().err


def test_to_load_the_claims_takes_no_library_that_few_checks_need() -> None:
    code = (
        "import sys; from steinlab.verification import registry\n"
        "for name in registry.claim_ids(): registry.load_claim(name)\n"
        "late = {'torch', 'sympy', 'mpmath', 'sklearn', 'scipy.stats'} & set(sys.modules)\n"
        "sys.exit(str(late) if late else 0)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_verify_does_not_load_torch() -> None:
    code = (
        "import sys; from steinlab.cli import main;"
        "assert main(['verify', '--claims', 'cost-table', '--workers', '1']) == 0;"
        "sys.exit('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
