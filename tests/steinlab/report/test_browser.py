"""The report in a real headless browser: loads without errors, filters, sorts, unfolds, saves."""

from __future__ import annotations

import itertools
import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from steinlab.report.page import Picture, page
from steinlab.verification.registry import claim_ids, load_claim
from tests.steinlab.report.ledgers import BREAKOUT, HOSTILE, LEDGER, PNG

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

pytestmark = [
    pytest.mark.skipif(not (CHROMIUM and DRIVER), reason="chromium and chromedriver not installed"),
    pytest.mark.xdist_group("browser"),
]

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("report")
    pictures = [Picture("p", "a picture", frozenset({"solver-equivalences"}), PNG)]
    (made / "report.html").write_text(page(LEDGER, pictures), encoding="utf-8")
    hostile = page(HOSTILE, [Picture("p", BREAKOUT, frozenset(), PNG)])
    (made / "hostile.html").write_text(hostile, encoding="utf-8")
    inline = f"<script>window.broken = 5</script><b style='color: red' onclick=''>{BREAKOUT}</b>"
    (made / "slipped.html").write_text(hostile.replace("<main>", f"<main>{inline}"), "utf-8")
    return made


@pytest.fixture(scope="module")
def browser(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    from selenium import webdriver

    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in (*FLAGS, f"--user-data-dir={tmp_path_factory.mktemp('profile')}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
    options.add_experimental_option("prefs", {"download.default_directory": str(folder)})
    driver = webdriver.Chrome(options, webdriver.ChromeService(DRIVER))
    driver.set_window_size(1280, 900)
    yield driver
    driver.quit()


@pytest.fixture
def loaded(browser: Any, folder: Path) -> Any:
    browser.get((folder / "report.html").as_uri())
    return browser


def shown(browser: Any) -> list[str]:
    rows = browser.find_elements("css selector", "tbody.claim")
    return [row.get_attribute("id") for row in rows if row.is_displayed()]


def test_it_loads_without_errors_or_requests(loaded: Any) -> None:
    assert loaded.get_log("browser") == []
    events = [json.loads(e["message"])["message"] for e in loaded.get_log("performance")]
    urls = [
        e["params"]["request"]["url"] for e in events if e["method"] == "Network.requestWillBeSent"
    ]
    assert urls
    assert all(url.startswith(("file:", "data:", "chrome")) for url in urls), urls


def clicked(browser: Any) -> None:
    browser.find_element("id", "unfold").click()
    browser.execute_script(
        "document.querySelectorAll('a, math *').forEach(e => e.dispatchEvent("
        "new MouseEvent('click', {bubbles: true, cancelable: true})))"
    )


def test_a_hostile_ledger_is_shown_and_runs_nothing(browser: Any, folder: Path) -> None:
    browser.get((folder / "hostile.html").as_uri())
    assert len(shown(browser)) == 3
    clicked(browser)
    assert browser.execute_script("return window.broken") is None
    assert browser.get_log("browser") == []  # nothing was there for the policy to stop
    assert "{{ 7 * 7 }}" in browser.find_element("css selector", ".detail").text
    head = browser.find_element("css selector", "#ledger > thead th:nth-child(3) button")
    head.click()
    assert len(shown(browser)) == 3


def test_markup_that_slipped_in_would_not_run(browser: Any, folder: Path) -> None:
    """The policy is the second lock: here the first is broken by hand."""
    browser.get((folder / "slipped.html").as_uri())
    clicked(browser)
    assert browser.execute_script("return window.broken") is None
    assert any("Content Security Policy" in one["message"] for one in browser.get_log("browser"))
    assert len(shown(browser)) == 3


def test_it_filters_by_words_and_verdict(loaded: Any) -> None:
    assert len(shown(loaded)) == 3
    box = loaded.find_element("id", "search")
    box.send_keys("unip ddim")
    assert shown(loaded) == ["solver-equivalences"]
    assert loaded.find_element("id", "count").text == "1 of 3"
    box.clear()
    box.send_keys(" ")
    loaded.find_element("css selector", ".chip.refuted").click()
    assert "third-order-as-published" not in shown(loaded)
    assert len(shown(loaded)) == 2


def test_it_sorts(loaded: Any) -> None:
    head = loaded.find_element("css selector", "#ledger > thead th:nth-child(3) button")
    cases = {row["id"]: row["cases"] for row in LEDGER["claims"]}
    for reverse in (False, True):
        head.click()
        assert shown(loaded) == sorted(cases, key=lambda i: cases[i], reverse=reverse)


def test_a_row_unfolds_with_its_formula_picture_and_controls(loaded: Any) -> None:
    claim = loaded.find_element("id", "solver-equivalences")
    detail = claim.find_element("css selector", ".detail")
    assert not detail.is_displayed()
    claim.find_element("css selector", ".row").click()
    assert detail.is_displayed()
    formula = detail.find_element("css selector", "math")
    assert formula.is_displayed()
    assert formula.size["width"] > 100
    assert detail.find_element("css selector", "figure img").is_displayed()
    claim.find_element("css selector", ".row").send_keys("\ue007")  # Enter folds it again
    assert not detail.is_displayed()


def test_the_worst_case_is_saved_as_a_file_that_replays(loaded: Any, folder: Path) -> None:
    from steinlab.verification.ledger import read_case, replay

    claim = loaded.find_element("id", "lipschitz-bound")
    claim.find_element("css selector", ".row").click()
    claim.find_element("css selector", "a.save").click()
    file = folder / "lipschitz-bound.json"
    for _ in range(100):
        if file.exists():
            break
        time.sleep(0.1)
    case = read_case(file)
    assert replay(case)["measured"] == case["measured"]


def test_an_address_leads_to_its_claim(browser: Any, folder: Path) -> None:
    browser.get((folder / "report.html").as_uri() + "#lipschitz-bound")
    opened = browser.find_elements("css selector", '.row[aria-expanded="true"]')
    claims = [one.find_element("xpath", "..").get_attribute("id") for one in opened]
    assert claims == ["lipschitz-bound"]


def test_nothing_is_wider_than_a_phone(loaded: Any) -> None:
    loaded.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True},
    )
    try:
        loaded.find_element("id", "unfold").click()
        width = loaded.execute_script("return document.documentElement.scrollWidth")
        assert width <= 390
    finally:
        loaded.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def every_claim() -> dict[str, Any]:
    """Return a ledger with a row for each claim, by its own title and headline."""
    made = []
    for claim, row in zip(map(load_claim, claim_ids()), itertools.cycle(LEDGER["claims"])):
        said = re.sub(r"\{.*?\}", "17 %", claim.headline) if claim.headline else claim.title
        own = {"title": claim.title, "headline": said, "owner": claim.owner, "source": claim.source}
        made.append({**row, **own, "id": claim.id, "verdict": claim.expected})
    return {**LEDGER, "claims": made}


def test_a_phone_scrolls_twelve_screens_before_the_details(browser: Any, folder: Path) -> None:
    (folder / "all.html").write_text(page(every_claim(), []), encoding="utf-8")
    screen = {"width": 390, "height": 844, "deviceScaleFactor": 2, "mobile": True}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", screen)
    try:
        browser.get((folder / "all.html").as_uri())
        assert len(shown(browser)) == len(claim_ids())
        ends = "document.querySelector('#ledger').getBoundingClientRect().bottom"
        assert browser.execute_script(f"return {ends}") <= 12 * 844
    finally:
        browser.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})


def test_on_paper_stands_what_is_unfolded_and_nothing_is_cut(loaded: Any) -> None:
    loaded.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": "print"})
    loaded.execute_cdp_cmd(
        "Emulation.setDeviceMetricsOverride",
        {"width": 718, "height": 1000, "deviceScaleFactor": 1, "mobile": False},  # A4 less margins
    )
    try:
        details = loaded.find_elements("css selector", ".detail")
        assert not any(one.is_displayed() for one in details)
        loaded.execute_script("document.getElementById('unfold').click()")
        assert all(one.is_displayed() for one in details)
        cut = """return [...document.querySelectorAll('.inner, math, img, p')].filter(
            e => e.getBoundingClientRect().right > document.documentElement.clientWidth).length"""
        assert loaded.execute_script(cut) == 0
    finally:
        loaded.execute_cdp_cmd("Emulation.clearDeviceMetricsOverride", {})
        loaded.execute_cdp_cmd("Emulation.setEmulatedMedia", {"media": ""})
