"""The chat page on the Vercel AI SDK in a real browser: whatever happens, the answer is whole."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

from browser import PHONE, Page, second_tab, tid
from browser.demo import DemoServer, running_demo

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from selenium import webdriver

pytestmark = pytest.mark.slow

NAME = "vercel-ai-sdk-durable-transport"
INPUT, STOP, SEND = tid("composer-input"), tid("stop"), tid("send")
ANSWER, ASKED, TEXT = tid("message-assistant"), tid("message-user"), tid("markdown")
STORAGE = tid("storage-notice")
STATE, ERROR, RETRY, NOTE = tid("connection"), tid("error"), tid("retry"), tid("message-note")
LONG, BEGUN, LAST = "Plan a weekend in Lisbon\n", "Alfama before nine", "send the plan to somebody?"


FAST, SLOW = 0.009, 0.06
"""Seconds between two words: an answer of 3 s, to be waited for; one of 17 s, to be cut short."""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with running_demo(NAME, tmp_path_factory.mktemp("demo"), pace=FAST) as server:
        yield server


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    """One that is still writing, however busy the machine is."""
    with running_demo(NAME, tmp_path_factory.mktemp("slow"), pace=SLOW) as server:
        yield server


@pytest.fixture(scope="module")
def whole(driver: webdriver.Chrome, demo: DemoServer) -> str:
    """The long answer as it looks when nothing happens to it."""
    page = Page(driver, demo.url)
    page.looks()
    page.open()
    _ask(page)
    page.screenshot("vercel-02-streaming")
    page.until(TEXT, LAST)
    page.until_count(STOP, 0)
    return page.text(TEXT)


@pytest.fixture
def page(driver: webdriver.Chrome, demo: DemoServer) -> Iterator[Page]:
    """A conversation that has not begun, in a browser that knows none."""
    page = Page(driver, demo.url)
    _begin(page)
    yield page
    page.network(up=True)
    page.block()


@pytest.fixture
def slow_page(driver: webdriver.Chrome, slow: DemoServer) -> Page:
    page = Page(driver, slow.url)
    _begin(page)
    return page


def _begin(page: Page) -> None:
    page.looks()
    page.open()
    page.evaluate("localStorage.clear()")
    page.open()


def _ask(page: Page) -> None:
    """Send a long question and wait until the answer is on its way."""
    page.type(INPUT, LONG)
    page.until(TEXT, BEGUN)


def _is_whole(page: Page, whole: str) -> None:
    """The answer is there, every word once, and nothing is still on its way."""
    page.until(TEXT, LAST)
    page.until_count(STOP, 0)
    assert page.text(TEXT) == whole
    assert page.count(ASKED) == page.count(ANSWER) == 1
    assert page.count(ERROR) == 0


def test_a_message_is_answered(page: Page, demo: DemoServer) -> None:
    page.screenshot("vercel-01-welcome")
    calls = demo.calls()
    page.type(INPUT, "hello\n")
    page.until(ANSWER, "kill the server.")
    assert page.text(ASKED) == "hello"
    assert demo.calls() == calls + 1
    page.until(STATE, "Connected")


def test_it_fits_a_phone_and_the_dark(page: Page, whole: str) -> None:
    page.type(INPUT, LONG)
    _is_whole(page, whole)
    page.looks(dark=True)
    page.screenshot("vercel-03-dark")
    for dark in (False, True):
        page.looks(PHONE, dark=dark)
        page.screenshot(f"vercel-04-phone-{'dark' if dark else 'light'}")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), "sideways"
    colours = "getComputedStyle(document.documentElement).backgroundColor"
    assert page.evaluate(colours) == "rgb(19, 21, 20)"


def test_a_tool_is_called(page: Page) -> None:
    page.type(INPUT, "What is the weather in Bergen?\n")
    page.until(TEXT, "sunglasses for tomorrow")
    assert (
        page.evaluate("document.querySelector(arguments[0]).dataset.state", tid("tool")) == "done"
    )
    page.click(f"{tid('tool')} summary")
    page.until(tid("tool"), '"city": "Bergen"')
    page.screenshot("vercel-06-tool")


def test_refresh_in_mid_stream(page: Page, demo: DemoServer, whole: str) -> None:
    calls = demo.calls()
    _ask(page)
    page.reload()
    page.until(TEXT, BEGUN)
    page.screenshot("vercel-07-after-refresh")
    _is_whole(page, whole)
    assert demo.calls() == calls + 1
    page.reload()
    _is_whole(page, whole)
    assert demo.calls() == calls + 1


def test_a_second_tab_follows(
    page: Page, driver: webdriver.Chrome, demo: DemoServer, whole: str
) -> None:
    calls = demo.calls()
    _ask(page)
    with second_tab(driver, page.address()) as (other, switch):
        other.open()
        other.until(TEXT, BEGUN)
        _is_whole(other, whole)
        switch()
        _is_whole(page, whole)
        switch()
    assert demo.calls() == calls + 1


def test_a_tab_that_was_open_before_follows(
    page: Page, driver: webdriver.Chrome, demo: DemoServer, whole: str
) -> None:
    calls = demo.calls()
    with second_tab(driver, page.address()) as (other, switch):
        other.open()
        other.until_count(tid("welcome"), 1)
        switch()
        _ask(page)
        switch()
        other.until(ASKED, "Lisbon")
        _is_whole(other, whole)
    assert demo.calls() == calls + 1


def test_the_network_is_cut_and_comes_back(page: Page, demo: DemoServer, whole: str) -> None:
    calls = demo.calls()
    _ask(page)
    page.network(up=False)
    page.until(STATE, "Offline, will go on")
    page.screenshot("vercel-08-offline")
    page.network(up=True)
    _is_whole(page, whole)
    page.until(STATE, "Connected")
    assert demo.calls() == calls + 1


def test_the_server_is_killed_and_restarted(
    driver: webdriver.Chrome, whole: str, tmp_path: Path
) -> None:
    with running_demo(NAME, tmp_path, pace=SLOW) as demo:
        page = Page(driver, demo.url)
        _begin(page)
        _ask(page)
        demo.kill()
        page.until(STATE, "Reconnecting…")
        demo.start(FAST)
        page.until(ERROR, "Interrupted by a restart")
        page.screenshot("vercel-09-killed")
        page.until_count(STOP, 0)
        assert BEGUN in page.text(TEXT)
        for _ in range(2):
            page.reload()
            page.until(ERROR, "Interrupted by a restart")
            assert BEGUN in page.text(TEXT)
        assert demo.calls() == 0
        page.click(RETRY)
        page.until_count(ERROR, 0)
        _is_whole(page, whole)
        assert demo.calls() == 1


def test_a_double_click_sends_and_does_not_stop(page: Page, driver: webdriver.Chrome) -> None:
    page.type(INPUT, LONG.strip())
    ActionChains(driver).double_click(driver.find_element(By.CSS_SELECTOR, SEND)).perform()
    page.until(TEXT, BEGUN)
    assert page.count(ASKED) == 1
    page.click(STOP)
    page.until(NOTE, "Stopped")


def test_stop_before_a_refresh(slow_page: Page, slow: DemoServer) -> None:
    page = slow_page
    _ask(page)
    page.click(STOP)
    page.until(NOTE, "Stopped")
    page.until_count(STOP, 0)
    page.screenshot("vercel-10-stopped")
    stopped, calls = page.text(TEXT), slow.calls()
    page.reload()
    page.until(NOTE, "Stopped")
    assert page.text(TEXT) == stopped
    assert page.count(ERROR) == 0
    page.type(INPUT, "hello\n")
    page.until(ANSWER, "kill the server.")
    assert slow.calls() == calls + 1


def test_stop_after_a_refresh(slow_page: Page) -> None:
    page = slow_page
    _ask(page)
    page.reload()
    page.until(TEXT, BEGUN)
    page.type(INPUT, Keys.ESCAPE)
    page.until(NOTE, "Stopped")
    page.until_count(STOP, 0)
    assert LAST not in page.text(TEXT)
    assert page.count(ERROR) == 0


def test_stop_in_another_tab(slow_page: Page, driver: webdriver.Chrome) -> None:
    page = slow_page
    _ask(page)
    with second_tab(driver, page.address()) as (other, switch):
        other.open()
        other.until(TEXT, BEGUN)
        other.click(STOP)
        other.until(NOTE, "Stopped")
        switch()
        page.until_count(STOP, 0)
        assert LAST not in page.text(TEXT)
        assert page.count(ERROR) == 0
        switch()


def test_it_follows_until_the_user_scrolls_up(page: Page) -> None:
    page.looks((900, 420))
    at_end = "(b => b.scrollHeight - b.clientHeight - b.scrollTop < 2)"
    box = f"(document.querySelector('{tid('messages')}'))"
    _ask(page)
    page.until_true(f"{box}.scrollTop > 100")
    page.evaluate(f"void ({box}.scrollTop = 0)")
    page.until_count(tid("jump"), 1)
    page.until(TEXT, LAST)
    page.until_count(STOP, 0)
    assert page.evaluate(f"{box}.scrollTop") == 0
    page.click(tid("jump"))
    page.until_true(f"{at_end}{box}")
    page.until_count(tid("jump"), 0)


def test_a_second_message_after_a_resume(page: Page, demo: DemoServer) -> None:
    calls = demo.calls()
    _ask(page)
    page.reload()
    page.until(TEXT, LAST)
    page.until_count(STOP, 0)
    page.type(INPUT, "hello\n")
    page.until(ANSWER, "kill the server.")
    assert page.count(ASKED) == page.count(ANSWER) == 2
    assert demo.calls() == calls + 2


def test_an_approval_across_a_refresh(page: Page, demo: DemoServer) -> None:
    calls = demo.calls()
    page.type(INPUT, "Send Ada an e-mail about the launch.\n")
    page.until(tid("approval"), "ada@example.com")
    page.until_count(STOP, 0)
    page.reload()
    page.until(tid("approval"), "The launch is on Thursday")
    page.screenshot("vercel-11-approval")
    page.click(tid("approve"))
    page.until(ANSWER, "it goes out only once")
    page.until_count(STOP, 0)
    page.screenshot("vercel-12-approved")
    assert page.count(ANSWER) == 1
    assert page.count(tid("approval")) == 0
    assert demo.calls() == calls + 2
    page.reload()
    page.until(ANSWER, "it goes out only once")
    assert page.count(tid("approval")) == 0
    assert demo.calls() == calls + 2


def test_an_approval_is_denied(page: Page) -> None:
    page.type(INPUT, "Send Ada an e-mail about the launch.\n")
    page.until_count(tid("deny"), 1)
    page.until_count(STOP, 0)
    page.click(tid("deny"))
    page.until(ANSWER, "I have not sent it")
    page.until(tid("tool"), "not allowed")


def test_a_model_that_fails_says_so_and_can_be_asked_again(page: Page, demo: DemoServer) -> None:
    calls = demo.calls()
    page.type(INPUT, "Begin to answer, and then fail.\n")
    page.until(ERROR, "The model is overloaded")
    page.screenshot("vercel-13-failed")
    page.reload()
    page.until(ERROR, "The model is overloaded")
    assert page.count(ANSWER) == 1
    page.click(RETRY)
    page.until_count(ERROR, 0)
    page.until(ERROR, "The model is overloaded")
    assert page.count(ASKED) == 1
    assert demo.calls() == calls + 2


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("nonsense", "“nonsense”"),
        ("Gr%C3%BC%C3%9Fe", "“Grüße”"),
        ("a%2Fb", "“a/b”"),
        ("x" * 3000, "x…”"),
        ("%20", "“ ”"),
    ],
)
def test_an_address_that_names_no_session(page: Page, name: str, shown: str) -> None:
    page.open(f"/?session={name}")
    page.until(ERROR, "This link does not lead to a chat")
    assert shown in page.text(ERROR)
    page.screenshot("vercel-14-bad-link")
    page.type(INPUT, "hello\n")
    page.until(ANSWER, "kill the server.")
    assert page.count(ERROR) == 0


def test_a_session_of_somebody_else(page: Page) -> None:
    page.open("/?session=0f0f0f0f-0000-4000-8000-000000000000")
    page.until(ERROR, "This chat is not in this browser")
    page.screenshot("vercel-15-foreign")
    page.click(tid("notice-action"))
    page.until_count(tid("welcome"), 1)
    page.until_count(ERROR, 0)
    assert "0f0f0f0f" not in page.address()


def test_a_corrupt_storage(page: Page) -> None:
    page.type(INPUT, "hello\n")
    page.until(ANSWER, "kill the server.")
    page.until_count(STOP, 0)
    with page.before_each_load("Object.keys(localStorage).forEach(k => localStorage[k] = '{[')"):
        page.reload()
        page.until_count(tid("welcome"), 1)
        page.until(STORAGE, "Not all of this chat could be read")
        page.type(INPUT, "hello\n")
        page.until(ANSWER, "kill the server.")
        assert page.count(ERROR) == 0


DAMAGE = """(() => {
  const key = Object.keys(localStorage).find((key) => key.startsWith('durable-ai:["messages"'));
  const entry = JSON.parse(localStorage[key]);
  entry.saved.messages[1].parts = [null];
  localStorage[key] = JSON.stringify(entry);
})()"""


def test_a_message_that_is_damaged(page: Page) -> None:
    page.type(INPUT, "hello\n")
    page.until(ANSWER, "kill the server.")
    page.until_count(STOP, 0)
    with page.before_each_load(DAMAGE):
        page.reload()
        page.until(STORAGE, "Not all of this chat could be read")
        page.screenshot("vercel-18-damaged")
        assert page.text(ASKED) == "hello"
        assert page.count(ANSWER) == 0


FULL = """(() => {
  let piece = 'x'.repeat(1 << 20);
  for (let n = 0; piece.length; n += 1) {
    try { localStorage.setItem('filler' + n, piece); }
    catch { piece = piece.slice(0, piece.length >> 1); }
  }
})()"""


def test_a_full_storage(page: Page, demo: DemoServer) -> None:
    calls = demo.calls()
    page.evaluate(FULL)
    page.type(INPUT, "hello\n")
    page.until(STORAGE, "This browser does not keep this chat")
    page.until(ANSWER, "kill the server.")
    page.screenshot("vercel-19-full")
    assert page.count(ERROR) == 0
    assert demo.calls() == calls + 1


@pytest.mark.parametrize("days", [-2, 2])
def test_a_clock_that_is_wrong(page: Page, demo: DemoServer, days: int) -> None:
    """Set back, what is stored is from the future; set forward, what runs was begun long ago."""
    calls = demo.calls()
    _ask(page)
    skewed = f"const now = Date.now; Date.now = () => now() + {days} * 86400000;"
    with page.before_each_load(skewed):
        page.reload()
        page.until(TEXT, BEGUN)
        page.reload()
        page.until(TEXT, LAST)
        page.until_count(STOP, 0)
        assert page.count(ANSWER) == 1
        assert page.count(ERROR) == 0
        page.type(INPUT, "hello\n")
        page.until(ANSWER, "kill the server.")
    assert demo.calls() == calls + 2


def test_a_proxy_that_is_down_at_load(page: Page, demo: DemoServer, whole: str) -> None:
    calls = demo.calls()
    _ask(page)
    page.type(INPUT, "a draft")
    page.block("*/durable/*")
    page.reload()
    page.until(ERROR, "The chat server cannot be reached")
    page.screenshot("vercel-16-proxy-down")
    assert page.evaluate("document.querySelector(arguments[0]).value", INPUT) == "a draft"
    page.block()
    page.click(RETRY)
    _is_whole(page, whole)
    assert demo.calls() == calls + 1
    assert page.evaluate("document.querySelector(arguments[0]).value", INPUT) == "a draft"


HTML = """const real = fetch;
window.fetch = (input, init) => {
  const url = String(input instanceof Request ? input.url : input);
  if (!url.includes('/durable/') || window.healed) return real(input, init);
  const body = '<!doctype html><title>Sign in</title>';
  return Promise.resolve(new Response(body, { headers: { 'content-type': 'text/html' } }));
};"""


def test_a_page_that_answers_in_place_of_the_proxy(
    page: Page, demo: DemoServer, whole: str
) -> None:
    calls = demo.calls()
    with page.before_each_load(HTML):
        page.open()
        page.type(INPUT, LONG)
        page.until(ERROR, "Something else answered")
        page.screenshot("vercel-17-html")
        assert "Lisbon" in page.text(ASKED)
        assert demo.calls() == calls
        page.evaluate("window.healed = true")
        page.click(RETRY)
        _is_whole(page, whole)


def test_a_draft_outlives_a_reload(page: Page) -> None:
    page.type(INPUT, "half a thought")
    page.reload()
    assert page.evaluate("document.querySelector(arguments[0]).value", INPUT) == "half a thought"
