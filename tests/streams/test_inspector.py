"""The inspector's page in a real browser."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

import pytest
from selenium.webdriver.common.keys import Keys

from browser import Page, chromium
from durable_streams_server._inspector import PAGE
from streams.command import ServeProcess

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

pytestmark = [pytest.mark.anyio, pytest.mark.slow]

HOSTILE = '<img src=x onerror="window.owned=1"><script>window.owned=1</script>\'"&lt;'


@pytest.fixture(scope="module")
def driver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[webdriver.Chrome]:
    with chromium(tmp_path_factory.mktemp("profile")) as running:
        yield running


def page_of(driver: webdriver.Chrome, server: ServeProcess) -> Page:
    return Page(driver, f"http://127.0.0.1:{server.port}/_inspector")


async def in_browser(driver: webdriver.Chrome, server: ServeProcess, look: Any) -> None:
    """Look at the server's page, in a thread."""
    page = page_of(driver, server)
    await asyncio.to_thread(look, page)
    assert await asyncio.to_thread(page.complaints) == []
    assert server.errors() == ""


async def test_streams_pages_and_search(driver: webdriver.Chrome, url: str) -> None:
    def look(page: Page) -> None:
        page.open()
        page.until("#count", "100 streams and more")
        page.click("#more")
        page.until("#count", "121 streams")
        assert page.text("#more") == ""
        page.press("/")
        page.press("chat/", Keys.ENTER)
        page.until("#count", lambda found: found == "1 streams")
        assert page.text("#streams").startswith("chat/1\ntext/plain, 5 bytes, closed")
        assert page.evaluate("document.querySelectorAll('[src],[href]').length") == 0

    async with ServeProcess(url) as server:
        async with server.connect() as connection:
            for number in range(120):
                await connection.request("PUT", f"/v1/stream/s/{number:03}", b"")
                await connection.reply()
        await server.put("chat/1", b"Hello", Stream_Closed="true")
        await in_browser(driver, server, look)


async def test_keys_alone_will_do(driver: webdriver.Chrome, url: str) -> None:
    def look(page: Page) -> None:
        page.open()
        page.until("#count", "2 streams")
        page.evaluate("document.querySelector('#streams button').focus()")
        page.press(Keys.ARROW_DOWN)
        page.press(Keys.ENTER)
        page.until("#name", "b")
        page.until("#log", "second")
        assert page.evaluate("document.activeElement.id") == "name"
        assert page.text("[aria-current=true]").startswith("b")

    async with ServeProcess(url) as server:
        await server.put("a", b"first")
        await server.put("b", b"second")
        await in_browser(driver, server, look)


async def test_facts_producers_and_json(driver: webdriver.Chrome, url: str) -> None:
    def look(page: Page) -> None:
        page.open("#s")
        page.until("#log", '{\n  "a": 1\n}')
        facts = page.text("#facts")
        for words in ("content type\napplication/json", "ttl seconds\n3600", "stored bytes\n12"):
            assert words in facts
        assert page.text("#batches") == "writer\t7\t0"
        assert page.text("#offset") == f"{12:020}"
        assert page.text("#state") == "live"

    async with ServeProcess(url) as server:
        as_json = {"Content_Type": "application/json"}
        await server.put("s", b"", Stream_TTL="3600", **as_json)
        producer = {"Producer_Id": "writer", "Producer_Epoch": "7", "Producer_Seq": "0"}
        await server.post("s", b'[{"a":1},"b"]', **producer, **as_json)
        await in_browser(driver, server, look)


async def test_the_tail_goes_on_over_a_restart(driver: webdriver.Chrome, url: str) -> None:
    async with ServeProcess(url) as server:
        await server.put("s", b"one")
        page, port = page_of(driver, server), str(server.port)
        await asyncio.to_thread(page.open, "#s")
        await asyncio.to_thread(page.until, "#log", "one")
        await server.post("s", b"two")
        await asyncio.to_thread(page.until, "#log", "two")
    await asyncio.to_thread(page.until, "#state", "reconnecting")
    async with ServeProcess(url, "--port", port) as server:
        await server.post("s", b"three")
        await asyncio.to_thread(page.until, "#log", "three")
        assert (await asyncio.to_thread(page.text, "#log pre")) == "one|two|three"
        await server.close("s")
        await asyncio.to_thread(page.until, "#state", "closed")
    await asyncio.to_thread(page.complaints)  # about the server that was away


async def test_a_stream_is_deleted_while_it_is_shown(driver: webdriver.Chrome, url: str) -> None:
    async with ServeProcess(url) as server:
        await server.put("s", b"one")
        page = page_of(driver, server)
        await asyncio.to_thread(page.open, "#s")
        await asyncio.to_thread(page.until, "#log", "one")
        await server.ask("DELETE", "s")
        await asyncio.to_thread(page.until, "#state", "there is no stream")
    await asyncio.to_thread(page.complaints)


async def test_hostile_streams_stay_text(driver: webdriver.Chrome, url: str) -> None:
    def look(page: Page) -> None:
        page.open()
        page.until("#count", "4 streams")
        for number in range(4):
            page.evaluate(f"document.querySelectorAll('#streams button')[{number}].click()")
            page.until("#log", lambda found: "window.owned" in found or "77 69 6e 64" in found)
        assert page.evaluate("window.owned") is None
        assert page.evaluate("document.querySelectorAll('img, iframe, object').length") == 0
        assert page.evaluate("document.scripts.length") == 1

    async with ServeProcess(url) as server:
        name = "".join(f"%{byte:02X}" for byte in HOSTILE.encode())
        await server.put(name, HOSTILE.encode(), Content_Type="text/html")
        await server.put("json", json.dumps([HOSTILE]).encode(), Content_Type="application/json")
        await server.put("binary", HOSTILE.encode(), Content_Type="image/svg+xml")
        await server.put("javascript:owned=1", b"", Content_Type="text/plain")
        producer = {"Producer_Id": HOSTILE, "Producer_Epoch": "0", "Producer_Seq": "0"}
        await server.post("javascript:owned=1", HOSTILE.encode(), **producer)
        await in_browser(driver, server, look)


async def test_markup_could_not_run_even_if_it_got_in(driver: webdriver.Chrome, url: str) -> None:
    """The second line of defence: the policy, tried from inside the page."""

    def look(page: Page) -> None:
        page.open()
        page.until("#count", "0 streams")
        attempts = {
            "document.body.innerHTML = '<img src=x onerror=owned=1>'",
            "document.createElement('script').text = 'owned=1'",
            "document.body.setAttribute('onclick', 'owned=1'); document.body.click()",
        }
        for attempt in attempts:
            script = (
                f"(() => {{ try {{ {attempt}; return 'ran' }} catch (e) {{ return e.name }} }})()"
            )
            assert page.evaluate(script) == "TypeError", attempt
        assert page.evaluate("window.owned") is None
        assert page.complaints(), "the browser says what it has refused"

    async with ServeProcess(url) as server:
        await in_browser(driver, server, look)


async def test_the_token_is_asked_for(driver: webdriver.Chrome, url: str) -> None:
    async with ServeProcess(url, "--admin-token", "s3cret") as server:
        await server.put("private", b"x")
        page = page_of(driver, server)

        def look() -> None:
            page.open()
            page.until("#server", "admin token")
            assert page.evaluate("document.activeElement.id") == "token"
            page.type("#token", "wrong", Keys.ENTER)
            page.until("#server", "admin token")
            page.evaluate("document.querySelector('#token').value = ''")
            page.type("#token", "s3cret", Keys.ENTER)
            page.until("#streams", "private")
            page.evaluate("sessionStorage.clear()")

        await asyncio.to_thread(look)
        await asyncio.to_thread(page.complaints)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_light_and_dark(driver: webdriver.Chrome, url: str, scheme: str) -> None:
    def look(page: Page) -> None:
        feature = {"name": "prefers-color-scheme", "value": scheme}
        driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [feature]})
        page.open()
        page.until("#count", "0 streams")
        red = page.evaluate(
            "Number(getComputedStyle(document.querySelector('button')).color.match(/\\d+/)[0])"
        )
        assert (red > 128) is (scheme == "dark"), "letters are light on dark"

    async with ServeProcess(url) as server:
        await in_browser(driver, server, look)


def test_the_page_names_nothing_outside() -> None:
    assert b"http:" not in PAGE.body
    assert b"https:" not in PAGE.body
    assert b"innerHTML" not in PAGE.body
    assert "unsafe" not in PAGE.policy
