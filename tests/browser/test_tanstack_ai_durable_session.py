"""The shared session in a real browser: people, agents, tabs, and everything that can go wrong."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import httpx2
import pytest

from browser import PHONE, Page, second_tab, tid
from browser.demo import DemoServer, running_demo
from durable_demos._script import ANSWERS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from selenium import webdriver

pytestmark = pytest.mark.slow

NAME = "tanstack-ai-durable-session"
INPUT, ANSWER, ASKED = tid("composer-input"), tid("message-assistant"), tid("message-user")
LONG = "Explain durable streams, please."
TRIP = "Plan a weekend in Lisbon"
DONE = f'{ANSWER}[data-state="done"]'
STREAMING = f'{ANSWER}[data-state="streaming"]'
STOPPED = f'{ANSWER}[data-state="stopped"]'
HERE = f'{tid("person")}[data-status="online"]'


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoServer]:
    with running_demo(NAME, tmp_path_factory.mktemp("demo")) as server:
        yield server


@pytest.fixture
def page(driver: webdriver.Chrome, demo: DemoServer) -> Page:
    """A new session, with Ada in front of it."""
    page = Page(driver, demo.url)
    page.looks()
    page.network(up=True)
    page.block()
    page.open()
    join(page, "Ada")
    return page


def join(page: Page, name: str) -> None:
    """Say who one is, if the page asks."""
    page.until_true("!!document.querySelector(arguments[0])", f"{tid('name-dialog')}, {INPUT}")
    if page.count(tid("name-dialog")):
        page.type(tid("name-input"), name)
        page.click(tid("name-submit"))
    page.until(tid("connection"), "Connected")


@contextmanager
def grace(driver: webdriver.Chrome, address: str) -> Iterator[tuple[Page, Callable[[], None]]]:
    """A second tab on a session, with somebody else in front of it."""
    with second_tab(driver, address) as (page, other):
        page.open()
        page.until(tid("connection"), "Connected")
        page.click(tid("rename"))
        page.click(tid("someone-else"))
        page.evaluate("document.querySelector(arguments[0]).select()", tid("name-input"))
        page.type(tid("name-input"), "Grace")
        page.click(tid("name-submit"))
        page.until(tid("people"), "Grace")
        yield page, other


def send(page: Page, text: str) -> None:
    page.type(INPUT, f"{text}\n")


def begun(page: Page, letters: int = 150) -> str:
    """Wait until an answer is half way."""
    return page.until(STREAMING, lambda text: len(text) > letters)


def rows(page: Page, kind: str) -> list[dict[str, Any]]:
    """What the service has of the page's session."""
    parts = urlsplit(page.address())
    (session,) = parse_qs(parts.query)["session"]
    url = f"{parts.scheme}://{parts.netloc}/durable/v1/sessions/{session}/{kind}"
    found: list[dict[str, Any]] = httpx2.get(url).raise_for_status().json()[kind]
    return found


def texts(page: Page) -> list[str]:
    return [
        "".join(part["content"] for part in row["parts"] if part["type"] == "text")
        for row in rows(page, "messages")
    ]


def test_an_answer_survives_a_reload_and_the_conversation_goes_on(
    page: Page, demo: DemoServer
) -> None:
    page.screenshot("session-welcome")
    before = demo.calls()
    send(page, LONG)
    begun(page)
    page.screenshot("session-streaming")
    page.reload()
    begun(page)
    assert page.count(tid("stop")) == 1
    shown = page.until(DONE, "carry on.")
    assert shown.count("Why an answer should outlive its connection") == 1
    assert texts(page)[1] == (ANSWERS / "durable.md").read_text(encoding="utf-8").strip()
    assert demo.calls() == before + 1
    send(page, "hello")
    page.until_count(DONE, 2)
    assert demo.calls() == before + 2
    page.until_count(tid("stop"), 0)


def test_two_people_see_each_other_and_what_both_say(driver: webdriver.Chrome, page: Page) -> None:
    with grace(driver, page.address()) as (second, other):
        send(second, "hello")
        second.until_count(DONE, 1)
        assert second.text(f"{ASKED} {tid('author')}") == "Grace"
        other()
        page.until(f"{ASKED} {tid('author')}", "Grace")
        page.until(ANSWER, "kill the server.")
        page.until_count(HERE, 1)  # Grace's tab is not looked at now
        page.until(tid("people"), lambda text: "Grace" in text and "away" in text)
        send(page, TRIP)
        begun(page)
        other()
        second.until(f"{ASKED} {tid('author')}", "Grace|Ada")
        second.until_count(DONE, 2)
        second.screenshot("session-two-people")
    page.until(tid("people"), lambda text: "Grace" in text and "gone" in text)


def test_an_approval_waits_over_a_reload_and_anybody_may_give_it(
    driver: webdriver.Chrome, page: Page
) -> None:
    send(page, "Send Ada an e-mail about the launch.")
    page.until(tid("approval"), "The launch is on Thursday")
    page.reload()
    page.until(tid("approval"), "Approve")
    page.screenshot("session-approval")
    with grace(driver, page.address()) as (second, other):
        second.click(tid("approve"))
        second.until(tid("decision"), "Approved by you")
        second.until(ANSWER, "it goes out only once")
        other()
        page.until(tid("decision"), "Approved by Grace")
        page.until(ANSWER, "it goes out only once")
        assert page.count(tid("approve")) == 0
        other()
    (approval,) = rows(page, "approvals")
    assert (approval["status"], approval["phase"]) == ("approved", "applied")


def test_what_is_denied_is_not_done(page: Page) -> None:
    send(page, "Send Ada an e-mail about the launch.")
    page.until(tid("approval"), "Deny")
    page.click(tid("deny"))
    page.until(tid("decision"), "Denied by you")
    page.until(ANSWER, "I have not sent it")


def test_a_tool_shows_what_it_is_asked_and_what_it_gives(page: Page) -> None:
    send(page, "What is the weather in Bergen?")
    page.until(ANSWER, "Bergen")
    page.until_count(f'{tid("tool-call")}[data-tool="get_weather"][data-state="done"]', 1)
    page.click(f"{tid('tool')} summary")
    page.until(tid("tool"), lambda text: "Bergen" in text and "partly cloudy" in text)


def test_without_a_network_nothing_is_lost(page: Page, demo: DemoServer) -> None:
    before = demo.calls()
    send(page, TRIP)
    begun(page)
    page.network(up=False)
    page.until(tid("connection"), "Offline")
    send(page, "hello")
    page.until_count(f'{ASKED}[data-state="pending"]', 1)
    page.screenshot("session-offline")
    page.network(up=True)
    page.until_count(DONE, 2)
    assert texts(page)[2 - 1] == (ANSWERS / "lisbon.md").read_text(encoding="utf-8").strip()
    page.until(tid("connection"), "Connected")
    assert demo.calls() == before + 2


def test_a_killed_server_says_so_and_trying_again_works(page: Page, demo: DemoServer) -> None:
    send(page, TRIP)
    said = begun(page)
    demo.kill()
    page.until(tid("error"), "The server cannot be reached")
    page.screenshot("session-server-away")
    demo.start()
    page.until(tid("failure"), "The server went away while it answered")
    assert (
        page.evaluate("document.querySelector(arguments[0]).dataset.code", tid("failure"))
        == "orphaned"
    )
    assert said.splitlines()[-1][:20] in page.text(ANSWER)
    page.screenshot("session-orphaned")
    page.click(tid("retry"))
    page.until(DONE, "Lisbon")
    page.until_count(tid("failure"), 0)
    assert demo.calls() == 1
    assert texts(page)[1] == (ANSWERS / "lisbon.md").read_text(encoding="utf-8").strip()


def test_a_stop_stops_before_and_after_a_reload(page: Page, demo: DemoServer) -> None:
    send(page, LONG)
    begun(page)
    page.click(tid("stop"))
    page.until(STOPPED, "Stopped. What was said stays.")
    page.until_count(tid("stop"), 0)
    page.click(f"{ANSWER} {tid('regenerate')}")
    begun(page)
    page.reload()
    begun(page)
    page.click(tid("stop"))
    page.until(STOPPED, "Why an answer should outlive")
    after = demo.calls()
    page.reload()
    page.until(STOPPED, "Why an answer should outlive")
    send(page, "hello")
    page.until(DONE, "kill the server.")
    assert demo.calls() == after + 1


def test_a_fork_goes_its_own_way(page: Page) -> None:
    send(page, "hello")
    page.until_count(DONE, 1)
    send(page, "thanks")
    page.until_count(DONE, 2)
    page.click(f"{DONE} {tid('fork')}")
    page.until(tid("forked"), "The fork is ready")
    page.screenshot("session-fork")
    original = page.address()
    fork = page.evaluate("document.querySelector(arguments[0]).href", tid("fork-link"))
    page.open(fork.removeprefix(page.url))
    page.until_count(DONE, 1)
    assert page.text(ASKED).count("hello") == 1
    send(page, "hi")
    page.until_count(DONE, 2)
    page.open(original.removeprefix(page.url))
    page.until_count(DONE, 2)
    assert "hi" not in [text.strip() for text in texts(page)]
    page.click(tid("tab-sessions"))
    page.until(tid("sessions"), "hello")


def test_a_message_in_other_words_takes_back_what_followed(page: Page) -> None:
    send(page, "hello")
    page.until_count(DONE, 1)
    send(page, "thanks")
    page.until_count(DONE, 2)
    page.click(f"{ASKED} {tid('edit')}")
    page.type(tid("edit-text"), " again\n")
    page.until_count(ASKED, 1)
    page.until(ASKED, "hello again")
    page.until_count(DONE, 1)


def test_an_agent_joins_answers_everybody_and_leaves(page: Page) -> None:
    page.click(tid("add-critic"))
    page.until_count(tid("agent-critic"), 1)
    send(page, "hello")
    page.until_count(DONE, 3)  # the assistant to Ada, the critic to both
    authors = page.text(f"{ANSWER} {tid('author')}")
    assert {"Assistant", "Critic"} <= set(authors.split("|"))
    page.screenshot("session-agents")
    page.evaluate(
        "((select) => { select.value = 'user-messages';"
        " select.dispatchEvent(new Event('change', { bubbles: true })) })"
        "(document.querySelector(arguments[0]))",
        tid("triggers-critic"),
    )
    page.until_true(
        "document.querySelector(arguments[0]).value === 'user-messages'", tid("triggers-critic")
    )
    page.click(tid("remove-critic"))
    page.until_count(tid("add-critic"), 1)
    send(page, "thanks")
    page.until_count(DONE, 4)


def test_the_log_is_shown_as_it_is_stored(page: Page, demo: DemoServer) -> None:
    page.click(tid("tab-log"))
    send(page, "hello")
    page.until_count(DONE, 1)
    page.until(tid("inspector-rows"), "RUN_FINISHED")
    page.screenshot("session-log")
    offsets = page.evaluate(
        "[...document.querySelectorAll(arguments[0])].map((row) => +row.dataset.offset)",
        tid("log-row"),
    )
    (session,) = parse_qs(urlsplit(page.address()).query)["session"]
    url = f"{demo.url}/durable/v1/stream/sessions/{session}"
    whole = httpx2.get(url, params={"offset": "-1"}).json()  # may have grown meanwhile
    for place in (0, len(offsets) // 2, len(offsets) - 1):
        rest = httpx2.get(url, params={"offset": f"{offsets[place]:020}"}).json()
        assert rest[: len(whole) - place] == whole[place:]
    page.type(tid("inspector-filter"), "presence Ada")
    page.until_true(
        "[...document.querySelectorAll(arguments[0])].every((r) => r.dataset.type === 'presence')",
        tid("log-row"),
    )
    page.click(f"{tid('log-row')} button")
    page.until(tid("log-row"), '"status": "online"')


def test_on_a_phone_and_in_the_dark(page: Page) -> None:
    send(page, "What is the weather in Bergen?")
    page.until(ANSWER, "Bergen")
    page.looks(dark=True)
    page.screenshot("session-dark")
    page.looks(PHONE)
    page.screenshot("session-phone")
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    page.click(tid("panel-toggle"))
    page.until(tid("people"), "Ada")
    page.screenshot("session-phone-people")
    page.click(tid("panel-toggle"))
    page.until(INPUT, lambda _: page.count(INPUT) == 1)


def test_pages_that_were_left_hold_no_connections(page: Page) -> None:
    """A browser keeps them for the way back, and has six connections for all of an origin."""
    address = page.address()
    for _ in range(6):
        page.command("Page.navigate", url="about:blank")
        page.until_true("location.href === 'about:blank'")
        page.command("Page.navigate", url=address)
        page.until(tid("connection"), "Connected")
    send(page, "hello")
    page.until(DONE, "kill the server.")
    page.evaluate("history.go(-2)")
    page.until(tid("connection"), "Connected")
    page.until(DONE, "kill the server.")
    send(page, "thanks")
    page.until_count(DONE, 2)


# ---------------------------------------------------------------------- bad input


@pytest.mark.parametrize("named", ["not-of-this-server", "%00", "a/b", "what%3F"])
def test_an_unknown_session_is_said_and_left(page: Page, named: str) -> None:
    page.open(f"/?session={named}")
    page.until(tid("error"), "There is no such session here")
    page.screenshot("session-unknown")
    page.click(tid("start-new"))
    page.until(tid("connection"), "Connected")
    page.until(tid("welcome"), "One conversation")


@pytest.mark.parametrize("forked", [False, True], ids=["alone", "forked"])
def test_a_session_that_is_deleted_while_it_is_open_is_said_and_left(
    page: Page,
    *,
    forked: bool,
) -> None:
    """A fork keeps the bytes of a deleted session, which the service says in another way."""
    send(page, "hello")
    page.until(DONE, "kill the server.")
    parts = urlsplit(page.address())
    (session,) = parse_qs(parts.query)["session"]
    url = f"{parts.scheme}://{parts.netloc}/durable/v1/sessions/{session}"
    if forked:
        httpx2.post(f"{url}/fork", json={}).raise_for_status()
    httpx2.delete(url).raise_for_status()
    told = page.until(tid("error"), "What you see here is what is left")
    assert "/v1/" not in told
    page.until_count(INPUT, 0)
    assert "kill the server." in page.text(DONE)
    page.screenshot("session-deleted")
    page.click(tid("start-new"))
    page.until(tid("connection"), "Connected")
    page.until(tid("welcome"), "One conversation")


def test_a_server_that_is_away_at_the_start_is_waited_for(page: Page) -> None:
    page.block("*/api/*")
    page.open()
    page.until(tid("error"), "The server does not answer")
    page.block()
    page.until(tid("connection"), "Connected")


ANSWERS_HTML = """
const send = window.fetch;
window.fetch = (url, ...more) => String(url).includes("%s")
  ? Promise.resolve(new Response("<!doctype html><h1>Please log in</h1>", { status: 200 }))
  : send(url, ...more);
"""


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("/api/sessions", "Something else answers in place of the server"),
        ("/view", "What answers is not the session service"),
    ],
)
def test_a_web_page_in_place_of_an_answer_is_said(page: Page, path: str, said: str) -> None:
    with page.before_each_load(ANSWERS_HTML % path):
        page.open()
        page.until(tid("error"), said)
    page.open()
    page.until(tid("connection"), "Connected")


FULL = """
Storage.prototype.setItem = () => { throw new DOMException("full", "QuotaExceededError") };
"""
DAMAGED = """
for (const storage of [localStorage, sessionStorage])
  for (const key of ["durable-demo:me", "durable-demo:sessions", "demo-theme"])
    storage.setItem(key, '{"id":');
"""


@pytest.mark.parametrize("script", [FULL, DAMAGED], ids=["full", "damaged"])
def test_storage_that_is_of_no_use_breaks_nothing(page: Page, script: str) -> None:
    page.evaluate("localStorage.clear() ?? sessionStorage.clear()")
    with page.before_each_load(script):
        page.open()
        join(page, "Ada")
        send(page, "hello")
        page.until(DONE, "kill the server.")


def test_a_phone_nearby_reads_it_without_https(page: Page) -> None:
    """`--host 0.0.0.0`: what browsers keep from pages of plain HTTP that are not of localhost."""
    page.evaluate("localStorage.clear() ?? sessionStorage.clear()")
    kept = "delete Crypto.prototype.randomUUID; delete Navigator.prototype.clipboard;"
    with page.before_each_load(kept):
        page.open()
        join(page, "Ada")
        send(page, "hello")
        page.until(DONE, "kill the server.")


def test_a_clock_that_is_wrong_breaks_nothing(page: Page) -> None:
    skewed = "const now = Date.now; Date.now = () => now() - 3 * 24 * 3600 * 1000;"
    with page.before_each_load(skewed):
        page.open()
        join(page, "Ada")
        send(page, "hello")
        page.until(DONE, "kill the server.")
        page.until_count(HERE, 1)
        send(page, "thanks")
        page.until_count(DONE, 2)
        assert page.text(f"{ASKED} {tid('content')}") == "hello|thanks"


def test_a_draft_outlives_a_reload(page: Page) -> None:
    page.type(INPUT, "not sent yet")
    page.reload()
    page.until_true("document.querySelector(arguments[0])?.value === 'not sent yet'", INPUT)
