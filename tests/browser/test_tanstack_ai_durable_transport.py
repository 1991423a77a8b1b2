"""The chat page on TanStack AI in a real browser: whatever happens, the answer is whole."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from browser import PHONE, Page, second_tab, tid
from browser.demo import DemoServer, running_demo

if TYPE_CHECKING:
    from collections.abc import Iterator

    from selenium import webdriver

pytestmark = pytest.mark.slow

INPUT = tid("composer-input")
ANSWER = tid("message-assistant")
QUESTION = tid("message-user")
ERROR = tid("error")
STORAGE = tid("storage-notice")
RETRY = tid("retry")
NOTE = tid("message-note")
ASK_AGAIN = tid("ask-again")
BADGE = tid("connection")
STOP = tid("stop")
SEND = tid("send")
APPROVAL = tid("approval")
LONG = "Explain durable streams, please."
ANSWERS = Path(__file__).parents[2] / "demos/src/durable_demos/answers"
WORDS = re.findall(r"[A-Za-z]{3,}", (ANSWERS / "durable.md").read_text())
PACE = 0.012


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    name = "tanstack-ai-durable-transport"
    with running_demo(name, tmp_path_factory.mktemp("demo"), pace=PACE) as server:
        yield server


@pytest.fixture
def page(driver: webdriver.Chrome, demo: DemoServer) -> Page:
    page = Page(driver, demo.url)
    page.network(up=True)
    page.block()
    page.looks()
    page.open()
    return page


def ask(page: Page, text: str = LONG) -> None:
    page.type(INPUT, f"{text}\n")


def begun(page: Page, words: int = 12) -> str:
    """Wait until so many words of the answer are there."""
    return page.until(ANSWER, lambda text: len(text.split()) >= words)


def ended(page: Page) -> str:
    """Wait for the end of the answer."""
    page.until(BADGE, "Connected")
    return page.text(ANSWER)


def whole(page: Page) -> str:
    answer = ended(page)
    words = re.findall(r"[A-Za-z]{3,}", answer)
    missing = [word for word in WORDS if word not in words]
    assert missing == []
    assert len(words) < 1.2 * len(WORDS), answer
    return answer


def test_a_message_is_answered(page: Page, demo: DemoServer) -> None:
    page.screenshot("tanstack-welcome")
    before = demo.calls()
    ask(page)
    begun(page)
    page.until(BADGE, "Streaming")
    page.screenshot("tanstack-streaming")
    whole(page)
    page.screenshot("tanstack-answer")
    assert demo.calls() == before + 1
    assert page.count(ERROR) == 0


def test_a_reload_in_the_middle_loses_nothing(page: Page, demo: DemoServer) -> None:
    before = demo.calls()
    ask(page)
    begun(page)
    page.reload()
    page.until(QUESTION, LONG)
    begun(page)
    page.reload()
    whole(page)
    assert page.count(ANSWER) == 1
    assert page.count(QUESTION) == 1
    assert demo.calls() == before + 1
    # And once more when all is over, from what is kept.
    page.reload()
    page.until(QUESTION, LONG)
    whole(page)
    ask(page, "hello")
    page.until_count(ANSWER, 2)
    page.until(BADGE, "Connected")
    assert demo.calls() == before + 2


def test_a_second_tab_follows(page: Page, demo: DemoServer, driver: webdriver.Chrome) -> None:
    before = demo.calls()
    ask(page)
    begun(page)
    with second_tab(driver, page.address()) as (other, switch):
        other.open()
        begun(other)
        first = whole(other)
        switch()
        assert whole(page) == first
        ask(page, "hello")
        page.until_count(ANSWER, 2)
        switch()
        other.until_count(ANSWER, 2)
        other.until_count(QUESTION, 2)
        assert other.count(ERROR) == 0
    assert demo.calls() == before + 2


def test_a_network_that_goes_and_comes_back(page: Page, demo: DemoServer) -> None:
    before = demo.calls()
    ask(page)
    begun(page)
    page.network(up=False)
    page.until(BADGE, "Offline")
    page.screenshot("tanstack-offline")
    page.network(up=True)
    whole(page)
    assert page.count(ERROR) == 0
    assert demo.calls() == before + 1


def test_a_server_that_is_killed_is_told_and_can_be_asked_again(
    page: Page, demo: DemoServer
) -> None:
    ask(page)
    begun(page)
    demo.restart()
    page.until(ERROR, "Interrupted by a restart")
    assert len(page.text(ANSWER).split()) >= 12
    page.screenshot("tanstack-killed")
    page.reload()
    page.until(ERROR, "Interrupted by a restart")
    assert len(page.text(ANSWER).split()) >= 12
    page.click(RETRY)
    page.until_count(ERROR, 0)
    begun(page)
    whole(page)
    assert page.count(QUESTION) == 1
    assert demo.calls() == 1


def test_stop_ends_the_answer_and_the_model(page: Page) -> None:
    ask(page)
    begun(page)
    page.click(STOP)
    page.until(BADGE, "Connected")
    left = page.text(ANSWER)
    assert len(left.split()) < len(WORDS) / 2
    page.until(NOTE, "Stopped before its end")
    page.screenshot("tanstack-stopped")
    page.reload()
    page.until(QUESTION, LONG)
    page.until(NOTE, "Stopped before its end")
    page.until(BADGE, "Connected")
    assert len(page.text(ANSWER).split()) < len(WORDS) / 2
    ask(page, "hello")
    page.until_count(ANSWER, 2)
    page.until(BADGE, "Connected")
    assert page.count(ERROR) == 0
    assert page.count(ASK_AGAIN) == 0
    assert page.text(NOTE) == "Stopped before its end"


def test_stop_is_there_after_a_reload(page: Page) -> None:
    ask(page)
    begun(page)
    page.reload()
    begun(page)
    page.click(STOP)
    page.until_count(SEND, 1)
    page.until(BADGE, "Connected")
    assert len(page.text(ANSWER).split()) < len(WORDS) / 2
    assert page.count(ERROR) == 0
    page.click(ASK_AGAIN)
    page.until_count(NOTE, 0)
    begun(page)
    page.click(STOP)
    page.until(NOTE, "Stopped before its end")
    assert page.count(QUESTION) == 1


def test_a_stop_at_once_can_be_asked_again(page: Page) -> None:
    ask(page)
    page.click(STOP)
    page.until_count(f"{RETRY}, {ASK_AGAIN}", 1)
    page.reload()
    page.until_count(f"{RETRY}, {ASK_AGAIN}", 1)
    page.click(f"{RETRY}, {ASK_AGAIN}")
    begun(page)


def test_an_approval_waits_over_a_reload(page: Page, demo: DemoServer) -> None:
    before = demo.calls()
    ask(page, "Send Ada an e-mail about the launch.")
    page.until(APPROVAL, "ada@example.com")
    page.until(BADGE, "Connected")
    page.screenshot("tanstack-approval")
    page.reload()
    page.until(APPROVAL, "ada@example.com")
    page.click(tid("approve"))
    page.until_count(APPROVAL, 0)
    page.until(tid("tool"), "done")
    page.until(BADGE, "Connected")
    page.screenshot("tanstack-approved")
    assert demo.calls() == before + 2
    page.reload()
    page.until(tid("tool"), "done")


def test_an_approval_that_is_denied(page: Page) -> None:
    ask(page, "Send Ada an e-mail about the launch.")
    page.until(APPROVAL, "ada@example.com")
    page.until(BADGE, "Connected")
    page.click(tid("deny"))
    page.until(tid("tool"), "not allowed")
    page.until(ANSWER, "not sent it")


def test_a_tool_is_shown_with_what_came_of_it(page: Page) -> None:
    ask(page, "What is the weather in Bergen?")
    page.until(tid("tool"), "done")
    page.until(ANSWER, "17")
    page.until(BADGE, "Connected")
    page.looks(PHONE, dark=True)
    page.screenshot("tanstack-tool-phone")


def test_a_model_that_fails_says_why_and_the_way_on(page: Page, demo: DemoServer) -> None:
    ask(page, "Begin to answer, and then fail.")
    page.until(ERROR, "overloaded")
    page.screenshot("tanstack-failed")
    page.reload()
    page.until(ERROR, "overloaded")
    before = demo.calls()
    page.click(RETRY)
    page.until_true("document.querySelectorAll(arguments[0]).length === 1", ERROR)
    assert page.count(QUESTION) == 1
    assert demo.calls() >= before


@pytest.mark.parametrize("session", ["nonsense", "00000000-0000-4000-8000-000000000000"])
def test_a_session_of_others_or_of_nobody(page: Page, session: str) -> None:
    page.open(f"/?session={session}")
    page.until(tid("welcome"), "Answers that survive")
    if session == "nonsense":
        page.until(ERROR, "does not lead to a chat")
    else:
        page.until(ERROR, "This chat is not in this browser")
    ask(page, "hello")
    page.until_count(ANSWER, 1)
    page.until(BADGE, "Connected")


def test_a_storage_that_is_damaged(page: Page) -> None:
    ask(page, "hello")
    page.until_count(ANSWER, 1)
    page.until(BADGE, "Connected")
    script = "Object.keys(localStorage).forEach(key => localStorage.setItem(key, arguments[0]))"
    for damage in ("{", '{"version":1,"messages":[3]}', "null"):
        page.evaluate(script, damage)
        page.reload()
        # What was damaged is lost, unless the page had still something to save as it was left.
        page.until(BADGE, "Connected")
        page.until_count(ERROR, 0)
    answers = page.count(ANSWER)
    ask(page, "hello")
    page.until_count(ANSWER, answers + 1)


def test_a_storage_that_is_full(page: Page) -> None:
    full = "Storage.prototype.setItem = () => { throw new DOMException('', 'QuotaExceededError') }"
    with page.before_each_load(full):
        page.reload()
        page.until(tid("welcome"), "Answers that survive")
        ask(page, "hello")
        page.until(STORAGE, "This browser does not keep this chat")
        page.until_count(ANSWER, 1)
        page.until(BADGE, "Connected")
        assert page.count(ERROR) == 0


def test_a_clock_that_is_wrong(page: Page, demo: DemoServer) -> None:
    before = demo.calls()
    skew = "const now = Date.now; Date.now = () => now() + 30 * 60 * 1000"
    ask(page)
    begun(page)
    with page.before_each_load(skew):
        page.reload()
        begun(page)
        whole(page)
    assert demo.calls() == before + 1


def test_a_page_instead_of_an_answer_is_told(page: Page) -> None:
    sign_in = """
        const real = window.fetch;
        window.fetch = (input, init) => String(input.url ?? input).includes('/durable')
            ? Promise.resolve(new Response('<h1>Sign in</h1>',
                { headers: { 'content-type': 'text/html' } }))
            : real(input, init);
    """
    with page.before_each_load(sign_in):
        page.reload()
        ask(page, "hello")
        page.until(ERROR, "in place of the chat server")
        page.screenshot("tanstack-html")
        assert page.count(QUESTION) == 1
    page.reload()
    page.until(QUESTION, "hello")
    page.until_count(RETRY, 1)
    page.click(RETRY)
    page.until_count(ANSWER, 1)
    page.until(BADGE, "Connected")


def test_a_server_that_is_down_when_the_page_comes_back(page: Page) -> None:
    ask(page)
    begun(page)
    page.block("*/durable/*")
    page.reload()
    page.until(QUESTION, LONG)
    page.type(INPUT, "what I am writing")
    page.until(BADGE, lambda text: "onnecting" in text or "esuming" in text)
    page.screenshot("tanstack-down")
    page.reload()
    page.until_true(
        "document.querySelector(arguments[0]).value === arguments[1]", INPUT, "what I am writing"
    )
    page.block()
    whole(page)


def test_a_server_that_is_away_for_long_is_not_asked_a_second_time(
    page: Page, demo: DemoServer
) -> None:
    before = demo.calls()
    ask(page)
    begun(page)
    page.block("*/durable/*")
    page.reload()
    page.until(ERROR, "cannot be reached")
    page.block()
    page.click(RETRY)
    page.until_count(ERROR, 0)
    whole(page)
    assert page.count(QUESTION) == 1
    assert demo.calls() == before + 1
