"""The inspector's page in a real browser, in front of a real proxy and its upstream."""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from hashlib import sha256
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

import pytest
from selenium.webdriver.common.keys import Keys

from browser import Page, chromium
from proxy import harness
from proxy.command import serving as serving_command
from proxy.harness import UNIT, Served, served
from proxy.wire import Wire, upstream

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from selenium import webdriver

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

SECRET = "a-secret-of-the-service"
OWN = {"X-Proxy-Secret": SECRET}
HOSTILE = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>\'"&lt;'


@pytest.fixture(autouse=True)
def as_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness, "AS_COMMAND", True)


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


class Slow:
    """An upstream that sends what the test puts there, and ends with None."""

    def __init__(self) -> None:
        self.parts: asyncio.Queue[bytes | None] = asyncio.Queue()

    async def __call__(self, wire: Wire) -> None:
        await wire.head(200, ("Content-Type", "text/event-stream"))
        while (part := await self.parts.get()) is not None:
            if not part:
                wire.reset()
                return
            await wire.chunk(part)
        await wire.end()


async def _start(proxy: Served, url: str) -> tuple[UUID, UUID]:
    ids = uuid4(), uuid4()
    headers = {"X-Proxy-Url": url, **OWN}
    answer = await proxy.client.post(proxy.path(*ids), headers=headers, content=b"{}")
    assert answer.status_code == 200, answer.text
    return ids


def _page(driver: webdriver.Chrome, proxy: Served) -> Page:
    return Page(driver, f"{proxy.url}/_inspector")


def _unlock(page: Page, fragment: str = "") -> None:
    page.open()
    page.until("#server", "secret")
    page.evaluate("sessionStorage.setItem('durable-proxy-secret', arguments[0])", SECRET)
    page.open(fragment)
    page.complaints()  # of the browser, about the first answer


async def _run(look: Callable[[], object]) -> None:
    async with asyncio.timeout(60 * UNIT):
        await asyncio.to_thread(look)


async def test_a_running_generation_is_listed_followed_and_stopped(
    driver: webdriver.Chrome,
) -> None:
    slow = Slow()
    slow.parts.put_nowait("Grüße".encode()[:3])
    async with upstream(slow) as up, served(secret=SECRET, drain_seconds=0) as proxy:
        page = _page(driver, proxy)
        await _run(lambda: _unlock(page))
        await _run(lambda: page.until("#count", "No generation runs."))
        session, request = await _start(proxy, up.url)

        def watch() -> None:
            page.until("#rows", str(request))
            assert page.text("#count") == "1 running"
            page.until("#rows", lambda found: "streaming" in found and "0 s" in found)
            assert str(session) in page.text("#rows")
            page.click("#rows button")
            page.until("#name", f"{session}/{request}")
            page.until("#log", "Gr")

        await _run(watch)
        slow.parts.put_nowait("Grüße".encode()[3:] + b" and more")
        await _run(lambda: page.until("#log", "Grüße and more"))

        def end() -> None:
            page.until("#state", "16 bytes")
            page.until("#rows", "16")
            page.type("#reason", "costs <b>too</b> much")
            page.click("#stop button")
            page.until("#stopped", "You have stopped it.")
            page.until("#state", "aborted, 16 bytes")
            told = page.text("#end")
            for words in ("reason\ncosts <b>too</b> much", "actor\ninspector", "code\naborted"):
                assert words in told
            assert re.search(r"timing duration ms\n\d", told)
            page.until("#count", "No generation runs.")
            assert page.text("#log") == "Grüße and more"
            page.until("#reading", "ended")
            assert page.text("#stop") == ""
            assert page.complaints() == []

        await _run(end)
        await asyncio.wait_for(up.left.wait(), 10 * UNIT)


async def test_a_bad_end_is_told_and_keys_alone_will_do(driver: webdriver.Chrome) -> None:
    one, other = Slow(), Slow()
    other.parts.put_nowait(b"another")
    async with (
        upstream(one) as up,
        upstream(other) as up2,
        served(secret=SECRET, drain_seconds=0) as proxy,
    ):
        page = _page(driver, proxy)
        _, first = await _start(proxy, up.url)
        _, second = await _start(proxy, up2.url)

        def look() -> None:
            _unlock(page)
            page.until("#count", "2 running")
            assert page.evaluate("document.querySelector('#rows').innerText").find(str(first)) == 0
            page.evaluate("document.querySelector('#rows button').focus()")
            page.press(Keys.ARROW_DOWN)
            page.press(Keys.ENTER)
            page.until("#name", str(second))
            assert page.evaluate("document.activeElement.id") == "name"
            page.until("#log", "another")
            page.press("/")
            page.press(str(first)[:13])
            page.until("#count", "2 running, 1 of them begin so")

        await _run(look)
        other.parts.put_nowait(b"")

        def ended() -> None:
            page.until("#state", "failed, 7 bytes")
            page.until("#end", "upstream_error")
            assert page.text("#log") == "another"
            assert page.complaints() == []

        await _run(ended)


async def test_the_secret_is_asked_for(driver: webdriver.Chrome) -> None:
    slow = Slow()
    async with upstream(slow) as up, served(secret=SECRET, drain_seconds=0) as proxy:
        slow.parts.put_nowait(b"private")
        _, request = await _start(proxy, up.url)
        page = _page(driver, proxy)

        def look() -> None:
            page.open()
            page.until("#server", "send the proxy's secret")
            assert page.evaluate("document.activeElement.id") == "secret"
            page.type("#secret", "not-the-secret-of-it", Keys.ENTER)
            page.until("#server", "this is not the proxy's secret")
            assert page.text("#rows") == ""
            assert page.evaluate("sessionStorage.length") == 0, "a wrong one is not kept"
            page.type("#secret", "sécret", Keys.ENTER)
            page.until("#server", "printable ASCII")
            page.evaluate("document.querySelector('#secret').value = ''")
            page.type("#secret", SECRET, Keys.ENTER)
            page.until("#rows", str(request))
            page.until("#server", "live")
            assert page.text("#auth") == ""
            assert SECRET not in page.evaluate("location.href + document.cookie")
            page.open(f"#{uuid4()}/{uuid4()}")
            page.until("#state", "there is no generation with these ids")
            page.complaints()  # of the browser, about answers that were no

        await _run(look)


async def test_it_says_when_the_proxy_is_away_and_goes_on(
    driver: webdriver.Chrome, tmp_path: Path
) -> None:
    async with serving_command(tmp_path) as command:
        page = Page(driver, f"{command.url}/_inspector")
        await _run(page.open)
        await _run(lambda: page.until("#server", "live"))
        port = int(command.url.rpartition(":")[2])
    await _run(lambda: page.until("#server", "the proxy does not answer"))
    async with serving_command(tmp_path, port=port):
        await _run(lambda: page.until("#server", "live"))
    await _run(page.complaints)


async def test_markup_stays_text(driver: webdriver.Chrome) -> None:
    slow = Slow()
    slow.parts.put_nowait(HOSTILE.encode())
    async with upstream(slow) as up, served(secret=SECRET, drain_seconds=0) as proxy:
        session, request = await _start(proxy, up.url)
        page = _page(driver, proxy)
        await _run(lambda: _unlock(page, f"#{session}/{request}"))
        await _run(lambda: page.until("#log", HOSTILE))
        body = {"actor": HOSTILE, "reason": HOSTILE}
        url = f"{proxy.path(session, request)}/stop"
        stopped = await proxy.client.post(url, headers=OWN, json=body)
        assert stopped.json()["stopped"]

        def look() -> None:
            told = page.until("#end", HOSTILE)
            assert f"reason\n{HOSTILE}" in told
            assert f"actor\n{HOSTILE}" in told
            assert page.complaints() == []
            page.open("#<img src=x onerror=window.owned=1>/<script>window.owned=1</script>")
            page.until("#name", "window.owned")
            page.until("#state", "UUID")
            assert page.evaluate("window.owned") is None
            assert page.evaluate("document.querySelectorAll('img, iframe, object').length") == 0
            assert page.evaluate("document.scripts.length") == 1
            page.complaints()  # of the browser, about the answer that was no

        await _run(look)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark_and_every_field_has_a_name(
    driver: webdriver.Chrome, scheme: str
) -> None:
    async with served() as proxy:
        page = _page(driver, proxy)

        def look() -> None:
            feature = {"name": "prefers-color-scheme", "value": scheme}
            driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
            page.open()
            page.until("#server", "live")
            color = "getComputedStyle(document.body).color.match(/\\d+/)[0]"
            assert (int(page.evaluate(color)) > 128) is (scheme == "dark"), "letters are light"
            unnamed = "[...document.querySelectorAll('input')].filter(n => !n.labels.length).length"
            assert page.evaluate(unnamed) == 0

        await _run(look)


async def test_anybody_may_have_the_page_and_it_may_run_itself_only() -> None:
    async with served(secret=SECRET, drain_seconds=0) as proxy:
        answer = await proxy.client.get("/_inspector")
        assert answer.status_code == 200
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert SECRET not in answer.text
        policy = answer.headers["content-security-policy"].split("; ")
        for tag in ("script", "style"):
            (text,) = re.findall(f"<{tag}>(.*?)</{tag}>", answer.text, re.DOTALL)
            digest = b64encode(sha256(text.encode()).digest()).decode()
            assert f"{tag}-src 'sha256-{digest}'" in policy
        assert "default-src 'none'" in policy
        assert "require-trusted-types-for 'script'" in policy
        assert "unsafe" not in str(policy)
        for word in ("http:", "https:", "innerHTML"):
            assert word not in answer.text
        head = await proxy.client.head("/_inspector")
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-security-policy"] == "; ".join(policy)
        refused = await proxy.client.post("/_inspector")
        assert (refused.status_code, refused.headers["allow"]) == (405, "GET, HEAD")
