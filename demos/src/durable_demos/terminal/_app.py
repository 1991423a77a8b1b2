"""The chat: what `DurableChatClient` has, on a screen."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import VerticalScroll
from textual.widgets import Footer, Input, Static

from durable_ai_db import AgentSpec, DurableChatClient, SessionError
from durable_demos.terminal._message import MessageView
from durable_demos.terminal._service import ServiceError, ensure_service

if TYPE_CHECKING:
    from collections.abc import Awaitable
    from pathlib import Path

    from durable_ai_db.materialize import ApprovalRow, MessageRow

FRAME_SECONDS = 0.05
"""The screen follows the session at most so often."""
BAD_STATUS = {"error", "connecting"}
STATUS = {
    "connected": "● connected",
    "connecting": "◌ connecting …",
    "paused": "❚❚ paused",
    "error": "○ no connection, trying again …",
    "disconnected": "○ not connected",
}
HELLO = (
    "Say something. The assistant knows the weather, writes e-mails (and asks before it sends "
    "one), plans trips.\nClose this terminal in mid-answer and come back: the answer went on."
)


@dataclass(frozen=True)
class Settings:
    """What the chat is about.

    Attributes:
        url: Of the session service.
        session: Its id; who opens the same one is in the same chat.
        name: Who is writing here.
        agent: Who answers, by endpoint; nobody but people, when empty.
        data: Folder of a service of our own, which is started again when it is gone.
        pace: For that service.
    """

    url: str
    session: str
    name: str
    agent: str = ""
    data: Path | None = None
    pace: float | None = None


class Terminal(App[None]):
    """One terminal of a session."""

    TITLE = "durable chat"
    CSS_PATH = "terminal.tcss"
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("ctrl+y", "answer(True)", "Allow", priority=True),
        Binding("ctrl+n", "answer(False)", "Don't", priority=True),
        Binding("escape", "stop", "Stop", priority=True),
        Binding("ctrl+r", "reload", "Ask again", priority=True),
        Binding("ctrl+f", "fork", "Fork", priority=True),
        Binding("ctrl+t", "look", "Dark/light", priority=True),
        Binding("pageup", "page(-1)", "Up", show=False, priority=True),
        Binding("pagedown", "page(1)", "Down", show=False, priority=True),
        Binding("ctrl+q", "quit", "Quit", priority=True),
    ]

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings
        self._client = self._new_client(settings.session)
        self._changed = asyncio.Event()
        self._views: dict[str, MessageView] = {}
        self._reviving = False
        self._told = ""

    # ------------------------------------------------------------------ the screen

    def compose(self) -> ComposeResult:
        yield Static(id="status", markup=False)
        with VerticalScroll(id="messages"):
            yield Static(HELLO, id="hello", markup=False)
        yield Input(placeholder="Message", id="draft")
        yield Footer(show_command_palette=False)

    def on_mount(self) -> None:
        place = self.query_one("#messages", VerticalScroll)
        place.can_focus = False
        place.anchor()  # its end stays in sight, until somebody scrolls up
        self.query_one("#draft").focus()
        self.run_worker(self._open(), group="session", exclusive=True)
        self.run_worker(self._follow(), group="screen")

    async def on_unmount(self) -> None:
        await self._client.disconnect()

    async def _follow(self) -> None:
        """Show what has changed, all of it at once and not more often than one can see."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            if not self.query("#status"):
                return  # on its way out: the widgets go before the connection does
            await self._show()
            await asyncio.sleep(FRAME_SECONDS)

    async def _show(self) -> None:
        self.query_one("#status", Static).update(self._status_line())
        names = self._names()
        place = self.query_one("#messages", VerticalScroll)
        rows = self._client.messages
        self.query_one("#hello").display = not rows
        for gone in self._views.keys() - {row.id for row in rows}:
            await self._views.pop(gone).remove()
        for row in rows:
            view = self._views.get(row.id)
            if view is None:
                view = self._views[row.id] = MessageView(row.role)
                await place.mount(view)
            await view.show(row, self._client.actor.id, names)
        self.refresh_bindings()

    def _status_line(self) -> str:
        here = sorted(
            row.name or row.actor_id
            for row in self._client.collections.presence.values()
            if row.status == "online" and row.actor_type == "user"
        )
        who = ", ".join(here) or self._settings.name
        status = STATUS[self._client.connection_status]
        return f"{status}  #{self._client.session_id}  {len(here) or 1} here: {who}"

    def _names(self) -> dict[str, str]:
        rows = self._client.collections
        named = {row.actor_id: row.name for row in rows.presence.values() if row.name}
        return named | {row.agent_id: row.name for row in rows.agents.values() if row.name}

    # ------------------------------------------------------------------ the session

    def _new_client(self, session: str) -> DurableChatClient:
        return DurableChatClient(
            session, self._settings.url, actor_id=self._settings.name, on_error=self._tell
        )

    async def _open(self) -> None:
        """Follow the session, be seen in it, and have somebody there who answers."""
        client = self._client
        rows = client.collections
        for collection in (rows.messages, rows.presence, rows.agents, rows.session_meta):
            collection.subscribe(lambda _: self._changed.set(), initial=True)
        rows.session_meta.subscribe(lambda _: self._revive())
        while True:
            try:
                await client.connect()
                await client.set_presence("online", name=self._settings.name)
                endpoint = self._settings.agent
                if endpoint and not any(row.endpoint == endpoint for row in rows.agents.values()):
                    agent = AgentSpec("assistant", endpoint, "Assistant", format="ag-ui")
                    await client.register_agents([agent])
            except SessionError as error:
                self._tell(error)
                await asyncio.sleep(1)
            else:
                self._told = ""
                return

    def _revive(self) -> None:
        """Start a service of our own again when it has gone."""
        if self._settings.data is None or self._reviving:
            return
        if self._client.connection_status in BAD_STATUS:
            self._reviving = True
            self.run_worker(self._start_service(self._settings.data), group="service")

    async def _start_service(self, data: Path) -> None:
        try:
            await asyncio.to_thread(ensure_service, data, self._settings.pace)
        except ServiceError as error:
            self._tell(error)
        finally:
            self._reviving = False

    async def _switch(self, session: str) -> None:
        await self._client.disconnect()
        self._client = self._new_client(session)
        self._changed.set()
        await self._open()

    def _tell(self, error: Exception) -> None:
        """Say it once, however often it is tried again meanwhile."""
        self._changed.set()
        if str(error) != self._told:
            self._told = str(error)
            self.notify(self._told, severity="error", markup=False)

    # ------------------------------------------------------------------ keys

    def on_input_submitted(self, event: Input.Submitted) -> None:
        """Send; it is shown at once, and sent when there is a connection."""
        text = event.value.strip()
        if not text:
            return
        try:
            self._client.send_message(text)
        except SessionError as error:  # not connected yet: the draft stays
            self._tell(error)
            return
        event.input.clear()
        self.query_one("#messages", VerticalScroll).anchor()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:  # noqa: ARG002
        """Only the keys that do something now are in the footer."""
        match action:
            case "answer":
                return self._pending() is not None
            case "stop":
                return self._client.is_loading
            case "reload":
                rows = self._client.messages
                return not self._client.is_loading and any(row.role == "user" for row in rows)
            case "fork":
                return bool(self._client.messages)
            case _:
                return True

    def action_answer(self, approved: bool) -> None:  # noqa: FBT001 - an action's argument
        """Allow what an agent asks for, or do not."""
        pending = self._pending()
        if pending is not None:
            self._client.add_tool_approval_response(pending.id, approved=approved)

    def action_stop(self) -> None:
        """End what is being written, for everybody."""
        self._do(self._client.stop())

    def action_reload(self) -> None:
        """Have the last message answered again."""
        self._do(self._client.reload())

    def action_fork(self) -> None:
        """Go on in a session of one's own, from here."""
        self._do(self._fork())

    async def _fork(self) -> None:
        fork = await self._client.fork()
        self.notify(f"This is now #{fork.session_id}; the others stay.", markup=False)
        await self._switch(fork.session_id)

    def action_look(self) -> None:
        """The other of dark and light."""
        self.theme = "textual-light" if self.current_theme.dark else "textual-dark"

    def action_page(self, direction: int) -> None:
        """Read what was said before, or go back to the end, which then stays in sight."""
        place = self.query_one("#messages", VerticalScroll)
        place.scroll_relative(y=direction * (place.size.height - 2), animate=False)

    def _do(self, asked: Awaitable[object]) -> None:
        self._told = ""  # a key was pressed: it is told again

        async def ask() -> None:
            with suppress(SessionError):  # it was told: the client's `on_error`
                await asked
            self._changed.set()

        self.run_worker(ask(), group="asked")

    def _pending(self) -> ApprovalRow | None:
        rows: list[MessageRow] = self._client.messages
        shown = {row.id for row in rows if not row.interrupted and row.error is None}
        for approval in self._client.collections.approvals.values():
            if approval.status == "pending" and approval.message_id in shown:
                return approval
        return None
