"""Open every page of the built site at the width of a phone and of a desk, in a headless browser.

A fault is a page that scrolls sideways, a picture that does not load, TeX left as it was typed, a
link to a place of the page that is not there, or a line in the browser's log; and a search that
answers nothing. `make docs` runs it::

    .venv/bin/python .ci/site/check.py out/site
"""

import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from selenium import webdriver
from selenium.common.exceptions import TimeoutException
from selenium.webdriver.support.wait import WebDriverWait

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")

FLAGS = (
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--allow-file-access-from-files",
)

WIDTHS = {"phone": (390, 844), "desk": (1280, 900)}
"""Pixels of each screen."""

SERVED = {"404.html"}
"""Pages that only a server shows: their addresses begin at its root."""

PATIENCE = 20.0
"""Seconds until the search must have answered."""

STILL = """
const style = document.createElement("style");
style.textContent = "*, *::before, *::after {transition: none !important}";
document.head.append(style);
"""
"""What moves as a page widens is where it will be at once."""

LOOK = r"""
const found = [], root = document.documentElement;
const article = document.querySelector("article, body");
if (root.scrollWidth > root.clientWidth)
  found.push(`is ${root.scrollWidth - root.clientWidth} pixels wider than the screen`);
for (const one of document.images)
  if (one.complete && !one.naturalWidth) found.push(`shows no picture for ${one.alt || one.src}`);
const words = [];
const walk = document.createTreeWalker(article, NodeFilter.SHOW_TEXT);
while (walk.nextNode())
  if (!walk.currentNode.parentElement.closest("code, pre, script, style, math"))
    words.push(walk.currentNode.data);
const tex = words.join(" ").match(/\\(frac|sqrt|gamma|sigma|alpha|hat|mathbb)\b|\$[^$\n]{1,60}\$/);
if (tex) found.push(`shows TeX: ${tex[0]}`);
for (const one of document.querySelectorAll('a[href^="#"]')) {
  const id = decodeURIComponent(one.getAttribute("href").slice(1));
  if (id && !document.getElementById(id)) found.push(`leads to #${id}, which is not there`);
}
return found;
"""


def browser(folder: str) -> Any:
    """Return a headless browser that keeps its profile in a folder."""
    options = webdriver.ChromeOptions()
    options.binary_location = str(CHROMIUM)
    for flag in (*FLAGS, f"--user-data-dir={folder}"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    return webdriver.Chrome(options, webdriver.ChromeService(DRIVER))


def faults(driver: Any, site: Path) -> Iterator[str]:
    """Yield a line per fault of the pages below a folder: each opened on a phone, then widened."""
    for page in sorted(site.rglob("*.html")):
        if page.name in SERVED:
            continue
        for screen, (width, height) in WIDTHS.items():
            size = {"width": width, "height": height, "deviceScaleFactor": 1}
            mobile = {"mobile": screen == "phone"}
            driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size | mobile)
            if screen == "phone":
                driver.get(page.as_uri())
                driver.execute_script(STILL)
            said = [line["message"] for line in driver.get_log("browser")]
            for fault in (*driver.execute_script(LOOK), *said):
                yield f"{page.relative_to(site)} at {width} pixels: {fault}"


def unanswered(driver: Any, site: Path) -> Iterator[str]:
    """Yield a line where the home page, opened as a file, finds nothing for a word it holds."""
    driver.get((site / "index.html").as_uri())
    field = driver.find_element("css selector", "input[name=query]")
    field.click()
    field.send_keys("solver")
    try:
        WebDriverWait(driver, PATIENCE).until(
            lambda page: page.find_elements("css selector", ".md-search-result__item")
        )
    except TimeoutException:
        yield "index.html: the search answers nothing"


def main(site: Path) -> int:
    """Print the faults of a site; return 1 where there are any."""
    if not (CHROMIUM and DRIVER):
        print("site: not looked at, chromium and chromedriver are not installed")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        driver = browser(folder)
        try:
            found = [*faults(driver, site), *unanswered(driver, site)]
        finally:
            driver.quit()
    print("\n".join(found) or f"site: no fault on {len(list(site.rglob('*.html')))} pages")
    return bool(found)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1]).resolve()))
