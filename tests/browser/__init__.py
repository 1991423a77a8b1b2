"""A real browser, and the pages that it shows.

`chromium` runs one, `Page` drives what it shows, `second_tab` opens another page beside it. What
the demos add, a server that can be killed, is in `browser.demo`.
"""

from __future__ import annotations

import os
import shutil
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from selenium import webdriver
from selenium.webdriver.common.by import By
from selenium.webdriver.support.wait import WebDriverWait

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

UNIT = float(os.environ.get("DURABLE_TEST_UNIT", "1"))
PATIENCE = 20 * UNIT
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")
ARTEFACTS = Path(__file__).with_name("artefacts")
"""Where the screenshots go; git ignores it."""
PHONE, DESKTOP = (390, 844), (1280, 860)


def tid(name: str) -> str:
    """The selector of the elements that have this test id."""
    return f'[data-testid="{name}"]'


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

    def count(self, selector: str) -> int:
        return len(self._driver.find_elements(By.CSS_SELECTOR, selector))

    def until_count(self, selector: str, wanted: int) -> None:
        problem = f"there are not {wanted} {selector}: {self.text('body')}"
        WebDriverWait(self._driver, PATIENCE, 0.02).until(
            lambda _: self.count(selector) == wanted, problem
        )

    def until_true(self, script: str, *arguments: str) -> None:
        problem = f"{script} is not so: {self.text('body')}"
        WebDriverWait(self._driver, PATIENCE, 0.02).until(
            lambda _: self.evaluate(script, *arguments), problem
        )

    def reload(self) -> None:
        self._driver.refresh()

    def address(self) -> str:
        return self._driver.current_url

    def command(self, name: str, **parameters: Any) -> Any:
        """A command of the DevTools protocol, for this tab."""
        return self._driver.execute_cdp_cmd(name, parameters)

    def network(self, *, up: bool) -> None:
        """Cut this tab off, its running requests too, or let it on again."""
        self.command("Network.enable")
        self.command(
            "Network.emulateNetworkConditions",
            offline=not up,
            latency=0,
            downloadThroughput=-1,
            uploadThroughput=-1,
        )

    def block(self, *patterns: str) -> None:
        """Let no request get through whose address matches, `*` being anything; none: let all."""
        self.command("Network.enable")
        self.command("Network.setBlockedURLs", urls=list(patterns))

    @contextmanager
    def before_each_load(self, script: str) -> Iterator[None]:
        """Run a script in every page before its own, as long as the block lasts."""
        added = self.command("Page.addScriptToEvaluateOnNewDocument", source=script)
        try:
            yield
        finally:
            self.command("Page.removeScriptToEvaluateOnNewDocument", **added)

    def looks(self, size: tuple[int, int] = DESKTOP, *, dark: bool = False) -> None:
        """The size of the page in pixels, and what its user prefers."""
        width, height = size
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=size == PHONE,
        )
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.command("Emulation.setEmulatedMedia", features=[scheme])

    def screenshot(self, name: str) -> None:
        """Keep what the page looks like now."""
        ARTEFACTS.mkdir(exist_ok=True)
        self._driver.save_screenshot(str(ARTEFACTS / f"{name}.png"))


@contextmanager
def second_tab(driver: webdriver.Chrome, url: str) -> Iterator[tuple[Page, Callable[[], None]]]:
    """Another tab, shown for as long as the block lasts, and a function that switches tabs."""
    first = driver.current_window_handle
    driver.switch_to.new_window("tab")
    second = driver.current_window_handle

    def other() -> None:
        driver.switch_to.window(first if driver.current_window_handle == second else second)

    try:
        page = Page(driver, url)
        page.looks()
        yield page, other
    finally:
        driver.switch_to.window(second)
        driver.close()
        driver.switch_to.window(first)
