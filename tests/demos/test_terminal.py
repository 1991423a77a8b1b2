"""The chat in the terminal, against its real service: Pilot presses the keys, processes die."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import signal
import struct
import subprocess
import sys
import termios
import threading
import time
from typing import TYPE_CHECKING

import httpx2
import pytest

from durable_ai_db import DurableChatClient
from durable_demos._script import _answer
from durable_demos.terminal._app import Settings, Terminal
from durable_demos.terminal._service import ADDRESS, agent_of, last_port, running

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator
    from pathlib import Path

    from textual.pilot import Pilot

    from durable_ai_db.materialize import MessageRow

pytestmark = [pytest.mark.anyio, pytest.mark.slow, pytest.mark.timeout(400)]

PACE = 0.01
LONG = _answer("durable")
END = "carry"
"""A word that stands nowhere but in the last line, near its end."""
PATIENCE = 40
"""In units; the machine may be busy."""


class Service:
    """The service in a process of its own, which keeps its port and its data."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        found = running(self.data)
        assert found is not None
        return found

    def start(self) -> None:
        command = [sys.executable, "-m", "durable_demos.terminal._service"]
        with (self.data / "service.log").open("ab") as log:
            self._process = subprocess.Popen(
                [*command, "--data", str(self.data), "--pace", str(PACE)],
                stdout=subprocess.PIPE,
                stderr=log,
            )
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line.startswith(b"sessions at "), (self.data / "service.log").read_text()

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.communicate()

    def calls(self) -> int:
        """How often its model was called since it was started."""
        origin = self.url.removesuffix("/durable")
        calls: int = httpx2.get(f"{origin}/api/calls", trust_env=False).json()["calls"]
        return calls


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    running_service = Service(tmp_path_factory.mktemp("terminal"))
    running_service.start()
    yield running_service
    running_service.kill()


class Screen:
    """A terminal and the keys that are pressed in it."""

    def __init__(self, app: Terminal, pilot: Pilot[None], unit: float) -> None:
        self.app = app
        self._pilot = pilot
        self._unit = unit

    @property
    def messages(self) -> list[MessageRow]:
        return self.app._client.messages

    @property
    def last(self) -> MessageRow:
        return self.messages[-1]

    @property
    def keys(self) -> set[str]:
        """What the footer offers."""
        active = self.app.screen.active_bindings.values()
        return {one.binding.description for one in active if one.enabled and one.binding.show}

    async def until(self, condition: Callable[[], object]) -> None:
        deadline = time.monotonic() + PATIENCE * self._unit
        while not condition():
            shown = [(row.role, row.text[-40:], row.error) for row in self.messages]
            assert time.monotonic() < deadline, (self.app._status_line(), shown)
            await self._pilot.pause(0.02)

    async def connected(self) -> None:
        rows = self.app._client.collections
        await self.until(lambda: rows.agents.values() and rows.presence.values())

    async def say(self, text: str) -> None:
        """Type it, send it, and wait until it is answered by something."""
        count = len(self.messages)
        await self._pilot.press(*("space" if one == " " else one for one in text), "enter")
        await self.until(lambda: len(self.messages) >= count + 2)

    async def press(self, key: str) -> None:
        await self._pilot.press(key)

    async def done(self) -> None:
        await self.until(lambda: not self.app._client.is_loading and self.last.is_complete)

    async def shown(self, text: str) -> None:
        """Wait until the text is on the screen."""
        await self.until(lambda: text in self.text())

    def text(self) -> str:
        """All that the screen's messages say, also what is out of sight."""
        return self.app._status_line() + "\n".join(
            block.text for view in self.app._views.values() for block in view._shown
        )


@contextlib.asynccontextmanager
async def terminal(
    service: Service,
    session: str,
    unit: float,
    *,
    name: str = "Ada",
    size: tuple[int, int] = (80, 30),
) -> AsyncIterator[Screen]:
    """A terminal of a session."""
    app = Terminal(Settings(service.url, session, name, agent_of(service.url)))
    async with app.run_test(size=size) as pilot:
        screen = Screen(app, pilot, unit)
        await screen.connected()
        yield screen


async def test_several_are_one_chat(service: Service, unit: float) -> None:
    async with terminal(service, "shared", unit) as ada:
        bob = DurableChatClient("shared", service.url, actor_id="bob")
        async with bob:
            await bob.set_presence("online", name="Bob")
            await ada.shown("2 here: Ada, Bob")
            calls = service.calls()
            bob.send_message("tell me")
            await ada.until(lambda: "Stop" in ada.keys)
            await ada.until(lambda: LONG in ada.text())
            await ada.done()
            assert [row.actor_id for row in bob.messages] == ["bob", "assistant"]
            assert service.calls() == calls + 1
        await ada.until(lambda: "Stop" not in ada.keys)


async def test_stop_then_ask_again(service: Service, unit: float) -> None:
    async with terminal(service, "stopped", unit) as screen:
        await screen.say("tell me")
        await screen.until(lambda: len(screen.last.text) > 50)
        await screen.press("escape")
        await screen.shown("■ stopped. Ctrl+R asks again.")
        assert LONG.startswith(screen.last.text.strip())
        await screen.press("ctrl+r")
        await screen.until(lambda: LONG in screen.text())
        assert [row.role for row in screen.messages] == ["user", "assistant"]


async def test_an_approval_outlives_everybody(service: Service, unit: float) -> None:
    async with terminal(service, "approval", unit) as screen:
        await screen.say("send an email")
        await screen.shown("May it? Ctrl+Y allows it, Ctrl+N does not.")
    await asyncio.to_thread(service.kill)
    await asyncio.to_thread(service.start)
    async with terminal(service, "approval", unit, name="Bob") as screen:
        await screen.shown("May it?")
        assert {"Allow", "Don't"} <= screen.keys
        await screen.press("ctrl+y")
        await screen.shown("→ Sent “The launch is on Thursday”")
        await screen.shown("it goes out only once")
        await screen.until(lambda: "Allow" not in screen.keys)
        await screen.done()
        await screen.say("another email")
        await screen.until(lambda: "Allow" in screen.keys)
        await screen.press("ctrl+n")
        await screen.shown("I have **not** sent it")


async def test_a_service_that_dies_in_mid_answer_is_told_and_asked_again(
    service: Service, unit: float
) -> None:
    async with terminal(service, "orphan", unit) as screen:
        await screen.say("tell me")
        await screen.until(lambda: len(screen.last.text) > 50)
        await asyncio.to_thread(service.kill)
        await screen.until(lambda: "● connected" not in screen.text())
        await asyncio.to_thread(service.start)
        await screen.shown("The server that wrote this is gone; what it had said is kept.")
        await screen.press("ctrl+r")
        await screen.until(lambda: LONG in screen.text())
        assert service.calls() == 1


async def test_a_fork_is_a_chat_of_ones_own(service: Service, unit: float) -> None:
    async with terminal(service, "before", unit) as screen:
        await screen.say("hello")
        await screen.done()
        await screen.press("ctrl+f")
        await screen.until(lambda: screen.app._client.session_id != "before")
        await screen.connected()
        await screen.until(lambda: len(screen.messages) == 2)
        await screen.say("weather in Lisbon")
        await screen.until(lambda: "⚙ get_weather" in screen.text() and "→ " in screen.text())
        await screen.done()
    async with DurableChatClient("before", service.url) as old:
        assert len(old.messages) == 2


async def test_what_goes_on_failing_is_told_once(service: Service, unit: float) -> None:
    app = Terminal(Settings(service.url, "told-once", "Ada", "http://127.0.0.1:9/not-allowed"))
    told: list[str] = []
    app.notify = lambda message, **_: told.append(message)  # type: ignore[method-assign]
    async with app.run_test() as pilot:
        await pilot.pause(3 * unit)
    assert len(told) == 1, told


async def test_it_is_readable_in_light_and_narrow(
    service: Service, unit: float, tmp_path: Path
) -> None:
    async with terminal(service, "look", unit, size=(32, 18)) as screen:
        await screen.say("hi")
        await screen.done()
        await screen.press("ctrl+t")
        assert not screen.app.current_theme.dark
        await screen.press("pageup")
        await screen.press("pagedown")
        screen.app.save_screenshot(str(tmp_path / "narrow.svg"))
        assert await asyncio.to_thread((tmp_path / "narrow.svg").read_text)
        assert screen.app.query_one("#messages").virtual_size.width <= 32


class Tty:
    """``demo terminal`` in a real terminal, whose output is read all the time."""

    def __init__(self, data: Path, *, colour: bool) -> None:
        self.seen = b""
        leader, follower = pty.openpty()
        fcntl.ioctl(leader, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 100, 0, 0))
        environment = (
            os.environ | {"TERM": "xterm-256color"} | ({} if colour else {"NO_COLOR": "1"})
        )
        command = [sys.executable, "-m", "durable_demos._cli", "terminal"]
        self._process = subprocess.Popen(
            [*command, "--data", str(data), "--pace", "0.01", "--name", "Ada"],
            stdin=follower,
            stdout=follower,
            stderr=follower,
            env=environment,
            start_new_session=True,
        )
        os.close(follower)
        self._leader = leader
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while data := os.read(self._leader, 65536):
                self.seen += data

    def type(self, text: str) -> None:
        os.write(self._leader, text.encode())

    def until(self, text: str, patience: float) -> None:
        deadline = time.monotonic() + patience
        while text.encode() not in self.seen:
            assert time.monotonic() < deadline, self.seen[-3000:].decode(errors="replace")
            assert self._process.poll() is None, self.seen[-3000:].decode(errors="replace")
            time.sleep(0.02)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        os.close(self._leader)


def last_message(service: str) -> str:
    """Return the text of the last message that the service keeps of the terminal's session."""
    answer = httpx2.get(f"{service}/v1/sessions/terminal/messages", trust_env=False)
    return str(answer.json()["messages"][-1]["parts"][0]["content"])


def test_killed_in_mid_answer_and_started_again(tmp_path: Path, unit: float) -> None:
    """In a real terminal. The service is not the terminal's child to take along."""
    patience = PATIENCE * unit
    first = Tty(tmp_path, colour=True)
    try:
        first.until("connected", 2 * patience)
        first.type("tell me\r")
        first.until("outlive", patience)  # a word of the answer's first line
    finally:
        first.kill()
    address = json.loads((tmp_path / ADDRESS).read_text())
    assert last_port(tmp_path / ADDRESS) > 0
    try:
        again = Tty(tmp_path, colour=False)
        try:
            again.until(END, 2 * patience)
        finally:
            again.kill()
        origin = address["url"].removesuffix("/durable")
        assert httpx2.get(f"{origin}/api/calls", trust_env=False).json() == {"calls": 1}
        deadline = time.monotonic() + patience
        while (kept := last_message(address["url"])) != LONG:
            assert LONG.startswith(kept)
            assert time.monotonic() < deadline, kept
            time.sleep(0.05)
    finally:
        os.kill(address["pid"], signal.SIGTERM)
