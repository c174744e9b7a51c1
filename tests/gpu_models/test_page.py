"""The page on ``fashion-edm`` says what the stored records say."""

from __future__ import annotations

import json
from pathlib import Path

from gpu_models.models import FOLDER
from gpu_models.pages import exact

PAGES = Path(__file__).resolve().parents[2] / "docs"
PAGE = (PAGES / "fashion-edm.md").read_text(encoding="utf-8")


def record(name: str) -> dict:
    return json.loads((FOLDER / f"{name}.json").read_text(encoding="utf-8"))


def test_errors_by_level_are_the_recorded_ones() -> None:
    found = {(v["part"], v["sigma"]): v for v in record("fashion-edm")["validation"]}
    rows = [
        line.split("|") for line in PAGE.splitlines() if line.startswith(("| 0", "| 2 |", "| 10"))
    ]
    assert len(rows) == 4
    for _, sigma, *parts, _ in rows:
        for part, text in zip(("test", "train"), parts, strict=True):
            value, error = (word.strip() for word in text.split("+-"))
            stored = found[part, float(sigma)]
            digits = len(value.split(".")[1])
            assert float(value) == round(stored["error"], digits)
            assert abs(float(error) - stored["standard_error"]) <= 0.51 * 10.0**-digits


def test_training_facts_are_the_recorded_ones() -> None:
    facts = record("fashion-edm")
    assert f"{facts['steps']:,} steps of {facts['settings']['batch']} pictures" in PAGE
    assert f"in {facts['seconds']:.0f} s" in PAGE
    accuracy = record("fashion-classifier")
    assert (
        f"{100 * accuracy['test_accuracy']:.1f} +- {100 * accuracy['standard_error']:.1f}" in PAGE
    )


def test_measures_are_the_recorded_ones() -> None:
    runs = {run["evaluations"]: run["measures"] for run in record("fashion-edm-measures")["runs"]}
    for name, digits in (("FD-EffLite0", 2), ("FD-classifier", 3)):
        (line,) = (each for each in PAGE.splitlines() if each.startswith(f"| {name} (less"))
        for evaluations in (18, 8):
            each = runs[evaluations][name][name]
            value, error = f"{each['value']:.{digits}f}", f"{each['error']:.{digits}f}"
            assert f"{value} +- {error} ({each['unbiased']:.{digits}f})" in line
    for name, place in (("FD-EffLite0", "EffLite0"), ("FD-classifier", "classifier")):
        (line,) = (each for each in PAGE.splitlines() if each.startswith(f"| artifacts, {place}"))
        for evaluations in (18, 8):
            each = runs[evaluations][name]["artifacts"]
            assert f"{100 * each['rate']:.1f} +- {100 * each['error']:.1f} %" in line
            assert f"floor {100 * each['floor']:.1f} +- {100 * each['floor_error']:.1f} %" in line
    for key, words in (("precision", 0), ("recall", 1)):
        (line,) = (each for each in PAGE.splitlines() if each.startswith("| precision, recall"))
        cells = line.split("|")[2:4]
        for cell, evaluations in zip(cells, (18, 8), strict=True):
            stated = cell.split("(")[0].split(",")[words].strip()
            assert stated == f"{runs[evaluations]['FD-EffLite0'][key]['value']:.3f}"


def test_floor_is_the_recorded_one() -> None:
    floor = record("fashion-edm-measures")["held_out"]["FD-classifier"]["FD-classifier"]
    assert f"FD-classifier {floor['value']:.3f} +- {floor['error']:.3f}:" in PAGE


def test_the_page_on_the_flow_says_what_its_records_say() -> None:
    page = (PAGES / "fashion-flow.md").read_text(encoding="utf-8")
    facts, measures = record("fashion-flow"), record("fashion-flow-measures")
    assert f"{facts['images']:,} pictures in all" in page
    assert f"for {facts['seconds'] / 60:.0f} minutes" in page
    errors = {(v["part"], v["t"]): v for v in facts["validation"]}
    lines = [
        line.split("|") for line in page.splitlines() if line.startswith(("| 0.", "| 1 | 0.2"))
    ]
    assert len(lines) == 7
    for _, t, *parts, _ in lines:
        for part, text in zip(("test", "train"), parts, strict=True):
            found = errors[part, float(t)]
            assert text.strip() == f"{found['error']:.3f} +- {found['standard_error']:.3f}"
    for run in measures["samples"]["runs"]:
        share, distance = run["accuracy"], run["FD-classifier"]
        (line,) = (
            each for each in page.splitlines() if each.startswith(f"| w = {run['guidance']:g}")
        )
        assert f"{100 * share['value']:.1f} +- {100 * share['error']:.1f} %" in line
        assert f"{distance['value']:.2f} +- {distance['error']:.2f}" in line
    for name in ("label", "none"):
        bits = measures["bits"][name]
        assert f"{bits['value']:.2f} +- {bits['error']:.2f}" in page
    for trip in measures["round_trips"]:
        assert f"{trip['value']:.2g} +- {trip['error']:.1g}" in page


def test_the_page_on_the_flow_says_what_its_preset_for_a_gpu_reached() -> None:
    page = " ".join((PAGES / "fashion-flow.md").read_text(encoding="utf-8").split())
    stored = Path(__file__).resolve().parents[2] / "gpu_models" / "results" / "flow-h200.json"
    facts = json.loads(stored.read_text(encoding="utf-8"))
    epochs = round(facts["images"] / 60_000)
    assert f"has {facts['parameters']:,} parameters" in page
    assert f"On one {facts['device']}" in page
    assert f"{facts['steps']:,} steps of {facts['settings']['batch']} pictures" in page
    assert f"{facts['images']:,} in all ({epochs} epochs), in {facts['seconds']:.0f} s" in page
    errors = {v["t"]: f"{v['error']:.3f}" for v in facts["validation"] if v["part"] == "test"}
    told = f"{errors[0.02]} at t = 0.02, {errors[0.3]} at 0.3, {errors[0.5]} at 0.5"
    assert f"{told} and {errors[1.0]} at 1." in page


def test_the_table_of_the_exact_denoiser_is_the_recorded_one() -> None:
    """And what the page says of it: met in float32, by TF32 and bf16 in a row; errors in bounds."""
    docs = Path(__file__).resolve().parents[2] / "docs"
    stored = json.loads((docs / "gpu-exact.json").read_text(encoding="utf-8"))
    page = (docs / "gpu.md").read_text(encoding="utf-8")
    assert exact.table_of(stored) in page
    ours = [row for row in stored["rows"] if row["name"] in ("fused", "folded", "split")]

    def best(precision: str) -> tuple[float, ...]:
        found = [ratios_of(row) for row in ours if row["precision"] == precision]
        return tuple(min(ratios) for ratios in zip(*found, strict=True))

    told = " ".join(page.split())
    (one, row), (bf16_one, bf16_row) = best("tf32"), best("bf16")
    assert f"({row:.2f} and {bf16_row:.2f}), **and missed by single calls**" in told
    assert f"({one:.2f} and {bf16_one:.2f})" in told
    assert max(row, bf16_row) <= 1.3 < min(one, bf16_one)
    assert max(*best("float32"), *best("tf32x3")) <= 1.3
    pair = [f"{best(name)[1]:.2f}" for name in ("float32", "tf32x3")]
    assert f"| a call over float32's products, in a row | {pair[0]} | {pair[1]} |" in page
    for key in ("denoised_error", "divergence_error"):
        for name in ("float32", "tf32x3"):
            errors = (check[key] for check in stored["checks"] if check["precision"] == name)
            assert f"| {', '.join(f'{error:.1e}' for error in errors)} |" in page
    (chosen,) = (r for r in ours if r["precision"] == "float64" and r["chunk_mib"] == 128)
    assert max(ratios_of(chosen)) <= 1.3
    for key in ("denoised_over_bound", "divergence_over_bound"):
        assert f"{max(check[key] for check in stored['checks']):.2g}" in page


def test_the_tables_of_rows_left_out_are_the_recorded_ones() -> None:
    """And what the page says of them: the run's ratio, and two devices over one."""
    docs = Path(__file__).resolve().parents[2] / "docs"
    page = " ".join((docs / "gpu.md").read_text(encoding="utf-8").split())

    def stored(name: str) -> dict:
        return json.loads((docs / f"gpu-exact-{name}.json").read_text(encoding="utf-8"))

    fashion, one, two = (stored(name) for name in ("fashion", "million", "million-x2"))
    former = stored("million-former")
    for text in (exact.levels_of(fashion), exact.growth_of(one), exact.growth_of(two)):
        assert " ".join(text.split()) in page
    runs = {name: ways["call"] for name, ways in exact.run_ratios(fashion["levels"]).items()}
    assert f"float32 reaches {runs['float32']:.2f}" in page
    pair = f"{runs['tf32x3']:.2f} as TF32x3, {runs['float32']:.2f} as float32"
    assert f"the run, float32: 0.7 | {pair} | met" in page
    assert f"the run, TF32: 0.7 | {runs['tf32']:.2f} | **missed**" in page
    assert runs["tf32x3"] <= 0.7 < min(runs["float32"], runs["tf32"])
    full = [row for row in fashion["levels"] if row["sigma"] > 1]
    for precision, aim, words in (("bf16", 1.5, "{} to {} | met"), ("tf32", 1.2, "{} to {}, with")):
        ratios = [row["call"] / row["products"] for row in full if row["precision"] == precision]
        told = words.format(f"{min(ratios):.2f}", f"{max(ratios):.2f}")
        assert f": {aim} | {told}" in page
        assert (max(ratios) <= aim) == ("| met" in told)
    faster = former["growth"][3]["wide"] / two["growth"][3]["wide"]
    assert f"{faster:.2f} times as fast on a million rows" in page
    work, codes = (one["growth"][i] for i in (3, 5))
    assert (work["count"], codes["count"], codes["storage"]) == (1_000_000, 1_000_000, "codes")
    assert f"{codes['wide'] / work['wide']:.1f} times the time where every row counts" in page
    assert f"take {codes['rows_gib']:.1f} GiB there, a twelfth" in page
    assert round(work["rows_gib"] / codes["rows_gib"]) == 12


def ratios_of(row: dict) -> tuple[float, float]:
    return row["ratio"], row["queued_ratio"]
