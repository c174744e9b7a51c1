"""docs/mutants.md says what the record of the mutation run, docs/mutants.json, holds."""

from __future__ import annotations

import json
import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from scipy.stats import beta

ROOT = Path(__file__).resolve().parent.parent
PAGE = (ROOT / "docs" / "mutants.md").read_text(encoding="utf-8")
RECORD = json.loads((ROOT / "docs" / "mutants.json").read_text(encoding="utf-8"))
FRESH = json.loads((ROOT / "docs" / "mutants-fresh.json").read_text(encoding="utf-8"))
LAST = json.loads((ROOT / "docs" / "mutants-last.json").read_text(encoding="utf-8"))
PLAN = tomllib.loads((ROOT / ".ci" / "mutants" / "strata.toml").read_text(encoding="utf-8"))
GOAL = 0.95
SECOND = "Survivors of the fresh sample"
KINDS = {"equivalent", "tolerable"}


def percent(part: int, whole: int) -> str:
    """A share rounded down, so that none is shown above what it is."""
    return f"{1000 * part // whole / 10:.1f} %"


def interval(part: int, whole: int) -> str:
    """Clopper and Pearson's 95 % interval, rounded outwards."""
    low = float(beta.ppf(0.025, part, whole - part + 1)) if part else 0.0
    high = float(beta.ppf(0.975, part + 1, whole - part)) if part < whole else 1.0
    return f"{int(1000 * low) / 10:.1f} to {-int(-1000 * high // 1) / 10:.1f} %"


def rows(heading: str) -> list[list[str]]:
    """The cells of the table under a heading, without its head."""
    section = PAGE.split(f"## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")][2:]
    return [
        [cell.strip().replace("\\|", "|") for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        for line in lines
    ]


def survivors(record: dict[str, Any]) -> list[tuple[str, ...]]:
    return sorted(
        (module["module"], lived["operator"], lived["before"], lived["after"])
        for stratum in record["strata"]
        for module in stratum["modules"]
        for lived in module["survivors"]
    )


def named(heading: str) -> list[tuple[str, ...]]:
    """Survivors as a table names them: module, operator, before and after."""
    return sorted(
        (cells[0].strip("`"), cells[1], cells[2].strip("`"), cells[3].strip("`"))
        for cells in rows(heading)
    )


def equivalent(stratum: dict[str, Any], heading: str) -> int:
    own = {module["module"] for module in stratum["modules"]}
    return sum(c[0].strip("`") in own and c[4] == "equivalent" for c in rows(heading))


def test_the_record_is_of_the_plan() -> None:
    assert RECORD["seed"] == PLAN["seed"] != FRESH["seed"]
    assert [s["name"] for s in RECORD["strata"]] == [s["name"] for s in PLAN["strata"]]
    for stratum, planned in zip(RECORD["strata"], PLAN["strata"], strict=True):
        assert [m["module"] for m in stratum["modules"]] == list(planned["modules"])
        assert stratum["run"] == min(planned["sample"], stratum["population"])
    for word in (RECORD["tool"], f"Python {RECORD['python']}", f"seed {RECORD['seed']}"):
        assert word in PAGE


@pytest.mark.parametrize("record", [RECORD, FRESH, LAST], ids=["record", "fresh", "last"])
def test_the_counts_add_up(record: dict[str, Any]) -> None:
    for stratum in record["strata"]:
        assert stratum["unexplained"] == 0
        for count in ("population", "run", "killed at first", "killed", "timeouts"):
            assert stratum[count] == sum(m[count] for m in stratum["modules"])
        for module in stratum["modules"]:
            assert module["generated"] - sum(module["left out"].values()) == module["population"]
            assert module["run"] - module["killed"] == len(module["survivors"])
            assert module["killed at first"] <= module["killed"] <= module["run"]


def test_the_table_of_rates_is_the_records() -> None:
    expected = []
    for s in RECORD["strata"]:
        whole = s["run"] == s["population"]
        lived = s["run"] - s["killed"]
        expected.append(
            [
                s["name"],
                str(s["population"]),
                str(s["run"]),
                percent(s["killed at first"], s["run"]),
                "all run" if whole else interval(s["killed at first"], s["run"]),
                f"{s['killed']} ({s['timeouts']} by the timeout)",
                str(lived),
                percent(s["killed"], s["run"]),
                percent(s["killed"], s["run"] - equivalent(s, "Survivors")),
            ]
        )
        assert s["killed"] >= GOAL * s["run"]
    assert rows("Rates") == expected


def test_the_table_of_the_fresh_samples_is_their_records() -> None:
    assert f"seed {FRESH['seed']}" in PAGE
    expected = []
    for s in FRESH["strata"]:
        first, real = s["killed at first"], s["run"] - equivalent(s, SECOND)
        expected.append(
            [
                s["name"],
                str(s["run"]),
                str(first),
                percent(first, s["run"]),
                interval(first, s["run"]),
                percent(first, real),
                str(s["killed"]),
                percent(s["killed"], real),
            ]
        )
    assert rows("A fresh sample") == expected


def test_the_last_sample_is_its_records() -> None:
    (s,) = LAST["strata"]
    rate = (
        f"{s['killed at first']} of {s['run']} killed, {interval(s['killed at first'], s['run'])}"
    )
    assert f"seed {LAST['seed']}, {rate}" in PAGE


def test_the_table_of_modules_is_the_records() -> None:
    assert rows("Modules") == [
        [f"`{m['module']}`", str(m["generated"]), str(m["population"]), str(m["run"]),
         str(m["killed"])]
        for s in RECORD["strata"] for m in s["modules"]
    ]  # fmt: skip


def test_every_survivor_is_listed_with_a_reason() -> None:
    assert named("Survivors") == survivors(RECORD)
    assert named(SECOND) == survivors(FRESH)
    for heading in ("Survivors", SECOND):
        for cells in rows(heading):
            assert cells[4] in KINDS
            assert len(cells[5]) > 10
