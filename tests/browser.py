"""A real browser, and the one page that it shows."""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
PATIENCE = 20 * UNIT
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


@contextmanager
def chromium(profile: Path) -> Iterator[webdriver.Chrome]:
    """Run a browser without a window for as long as the block lasts."""
    browser = next(filter(None, map(shutil.which, CHROMIUM)), None)
    assert browser, "a Chromium is needed: scripts/setup.sh browser installs one on Debian"
    options = webdriver.ChromeOptions()
    options.binary_location = browser
    for argument in (
        "headless=new",
        "no-sandbox",
        "disable-dev-shm-usage",
        f"user-data-dir={profile}",
    ):
        options.add_argument(f"--{argument}")
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    service = webdriver.ChromeService(executable_path=shutil.which("chromedriver"))
    running = webdriver.Chrome(options, service)
    running.set_script_timeout(PATIENCE)
    try:
        yield running
    finally:
        running.quit()


class Page:
    """The page, driven from outside. Everything here waits for the browser: call it in a thread."""

    def __init__(self, driver: webdriver.Chrome, url: str) -> None:
        self._driver = driver
        self.url = url

    def open(self, fragment: str = "") -> None:
        self._driver.get("about:blank")
        self.complaints()  # of the page before, whose server has gone
        self._driver.get(self.url + fragment)

    def text(self, selector: str) -> str:
        shown = "[...document.querySelectorAll(arguments[0])].filter(n => n.checkVisibility())"
        script = f"return {shown}.map(n => n.innerText).join('|')"
        found: str = self._driver.execute_script(script, selector)
        return found

    def until(self, selector: str, wanted: str | Callable[[str], bool]) -> str:
        def holds(_: Any) -> bool:
            found = self.text(selector)
            return wanted in found if isinstance(wanted, str) else wanted(found)

        problem = f"{wanted!r} did not come: {self.text('body')}"
        WebDriverWait(self._driver, PATIENCE, 0.02).until(holds, problem)
        return self.text(selector)

    def click(self, selector: str) -> None:
        self._driver.find_element(By.CSS_SELECTOR, selector).click()

    def type(self, selector: str, *keys: str) -> None:
        self._driver.find_element(By.CSS_SELECTOR, selector).send_keys(*keys)

    def press(self, *keys: str) -> None:
        self._driver.switch_to.active_element.send_keys(*keys)

    def evaluate(self, script: str, *arguments: str) -> Any:
        return self._driver.execute_script(f"return {script}", *arguments)

    def complaints(self) -> list[str]:
        """What the browser's console has to say."""
        return [entry["message"] for entry in self._driver.get_log("browser")]  # type: ignore[no-untyped-call]
