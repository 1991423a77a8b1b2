"""A chat session as a client has it: everything there is, live, and everything one can do."""

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from itertools import count
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

import httpx2

from durable_ai_db import _calls
from durable_ai_db._calls import Actor, AgentSpec, Call, Draft, Fork
from durable_ai_db._errors import (
    NotConnected,
    SessionClosed,
    SessionError,
    SessionForbidden,
    SessionUnreachable,
)
from durable_ai_db._headers import HeaderSource
from durable_ai_db._outbox import Outbox, PendingWrite
from durable_ai_db._presence import Presence
from durable_ai_db._rows import ActorType, ConnectionStatus, PresenceStatus
from durable_ai_db._service import Service
from durable_ai_db._session_db import TIMING, SessionDB
from durable_ai_db._session_state import MATERIALIZED, RowPatch, SessionCollections
from durable_ai_db.live import Change, Deleted, Inserted, Subscription
from durable_ai_db.materialize import DEFAULT_FORMATS, ChunkFormat, ChunkRow, MessageRow
from durable_transport import Timing


def _nothing(_: object) -> None:
    return None


class DurableChatClient:
    """A chat session.

    Its collections are there from the beginning and follow the session from `connect` to
    `disconnect`. What is written is shown at once, sent in order, sent again while the service is
    unreachable, and taken back when it is refused.

    Args:
        session_id: Of the session; it is created when it is not there.
        base_url: Address of the service.
        actor_id: Who writes; made up when absent.
        actor_type: ``user``, or ``agent``.
        agent: Is asked to answer every message of this client.
        headers: For every request, such as credentials: a mapping, or a function (``async`` too)
            that is called for every request.
        client: Sends the requests, and is yours to close. One is made when absent.
        cache: A SQLite file that remembers sessions: `connect` then needs no network.
        formats: How chunks of messages are read.
        on_message: Called with every message that is new or has changed since `connect`.
        on_chunk: Called with every chunk that comes after `connect`.
        on_finish: Called with every assistant's message that is complete from now on.
        on_error: Called with what goes wrong: refused writes, a session that cannot be read.
        timing: Time settings of reading.
        confirm_within: Seconds in which what the service has taken comes back in the log.
        presence_every: Seconds after which `set_presence` is repeated, as a sign of life.

    Raises:
        InvalidSession: The address or the id cannot be one.
    """

    def __init__(
        self,
        session_id: str,
        base_url: str,
        *,
        actor_id: str | None = None,
        actor_type: ActorType = "user",
        agent: AgentSpec | None = None,
        headers: HeaderSource = None,
        client: httpx2.AsyncClient | None = None,
        cache: str | Path | None = None,
        formats: Sequence[ChunkFormat] = DEFAULT_FORMATS,
        on_message: Callable[[MessageRow], object] | None = None,
        on_chunk: Callable[[ChunkRow], object] | None = None,
        on_finish: Callable[[MessageRow], object] | None = None,
        on_error: Callable[[Exception], object] | None = None,
        timing: Timing = TIMING,
        confirm_within: float = 10.0,
        presence_every: float = 15.0,
    ) -> None:
        self.session_id = session_id
        self.actor = Actor(actor_id or uuid4().hex, actor_type)
        self._agent = agent
        self._base_url = base_url
        self._headers = headers
        self._client = client
        self._on_message = on_message or _nothing
        self._on_chunk = on_chunk or _nothing
        self._on_finish = on_finish or _nothing
        self._on_error = on_error or _nothing
        self._timing = timing
        self._confirm_within = confirm_within
        self._presence = Presence(self.actor, self._call, every=presence_every)
        self._error: SessionError | None = None
        self._turns = count()
        self._hidden = count(-1, -1)
        self._subscriptions: list[Subscription] = []
        self._http: httpx2.AsyncClient | None = None
        self._service: Service | None = None
        self._outbox: Outbox | None = None
        # The clients' connections are shared: the database asks for one when it begins to read.
        self._db = SessionDB(
            session_id,
            base_url,
            headers=headers,
            client=client,
            cache=cache,
            formats=formats,
            prepare=self._create,
            on_error=on_error,
            timing=timing,
        )

    # ------------------------------------------------------------------ what there is

    @property
    def collections(self) -> SessionCollections:
        """Everything that is known of the session, live."""
        return self._db.collections

    @property
    def messages(self) -> list[MessageRow]:
        """All messages, in order; those that are on their way are the last."""
        return list(self.collections.messages.values())

    @property
    def is_loading(self) -> bool:
        """Somebody is generating a message."""
        return len(self.collections.active_generations) > 0

    @property
    def error(self) -> SessionError | None:
        """What went wrong last; None again when the next thing goes right."""
        return self._db.error or self._error

    @property
    def connection_status(self) -> ConnectionStatus:
        """``disconnected``, ``connecting`` (again), ``connected``, ``paused`` or ``error``."""
        return self._db.status

    @property
    def pending(self) -> tuple[PendingWrite, ...]:
        """Writes that are shown and not in the session yet, in order."""
        return () if self._outbox is None else self._outbox.pending

    def snapshot(self) -> dict[str, Any]:
        """All collections as JSON values, and the offset up to which they have the log."""
        rows = self.collections
        listed: dict[str, Iterable[Any]] = {
            "messages": rows.messages.values(),
            "activeGenerations": rows.active_generations.values(),
            "toolCalls": rows.tool_calls.values(),
            "toolResults": rows.tool_results.values(),
            "approvals": rows.approvals.values(),
            "presence": rows.presence.values(),
            "agents": rows.agents.values(),
        }
        return {
            "sessionId": self.session_id,
            "offset": self._db.offset,
            **{name: [row.to_json() for row in found] for name, found in listed.items()},
            "stats": rows.session_stats[self.session_id].to_json(),
        }

    # ------------------------------------------------------------------ life

    async def __aenter__(self) -> Self:
        try:
            await self.connect()
        except BaseException:
            await self.disconnect()
            raise
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.disconnect()

    async def connect(self) -> None:
        """Create the session if it is not there, and follow it.

        Returns when the collections show all of it; with a cache that knows the session, at
        once. Connecting twice is fine.

        Raises:
            SessionUnreachable: There is no answer; it is tried on and on until `disconnect`.
            SessionError: The service refuses.
        """
        if self._outbox is None:
            self._http = self._client or httpx2.AsyncClient()
            self._service = Service(
                self.session_id,
                self._base_url,
                actor_id=self.actor.id,
                headers=self._headers,
                client=self._http,
                timeout=self._timing.silence,
            )
            self._outbox = Outbox(
                self._db,
                self._service.call,
                on_end=self._ended,
                confirm_within=self._confirm_within,
            )
            self._outbox.start()
        try:
            await self.resume()
        finally:
            self._listen()

    def _listen(self) -> None:
        """From now on what comes is news."""
        rows = self.collections
        if not self._subscriptions:
            self._subscriptions = [
                rows.chunks.subscribe(self._tell_chunks),
                rows.messages.subscribe(self._tell_messages),
                rows.session_meta.subscribe(self._tell_errors),
            ]

    async def disconnect(self) -> None:
        """Follow no more. Writes that are still on their way fail with `SessionClosed`."""
        await self._presence.close()
        for subscription in self._subscriptions:
            subscription.close()
        self._subscriptions = []
        outbox, self._outbox = self._outbox, None
        if outbox is not None:
            await outbox.close()
        await self._db.close()
        http, self._http, self._service = self._http, None, None
        if http is not None and http is not self._client:
            await http.aclose()

    async def pause(self) -> None:
        """Read no further for now. Writes are sent all the same."""
        self._connected()
        await self._db.pause()

    async def resume(self) -> None:
        """Read on from where `pause` came.

        Raises:
            SessionError: As for `connect`.
        """
        self._connected()
        await self._db.start()
        if not self._db.has_snapshot:
            await self._db.preload()

    async def _create(self) -> None:
        give_up = time.monotonic() + self._timing.start_patience
        while True:
            try:
                await self._call(Call("PUT"))
            except SessionForbidden:
                return  # who may only take part reads what is there
            except SessionUnreachable:
                if time.monotonic() > give_up:
                    raise
                await asyncio.sleep(self._timing.backoff_first)
            else:
                return

    def _connected(self) -> Service:
        if self._service is None:
            raise NotConnected(self.session_id)
        return self._service

    # ------------------------------------------------------------------ writing

    def send_message(
        self, content: str, *, message_id: str | None = None, agent: AgentSpec | None = None
    ) -> PendingWrite:
        """Send a message of the user's; agents answer it.

        Args:
            content: Its text.
            message_id: Under which sending it twice counts once; made up when absent.
            agent: Is asked to answer, instead of the client's.

        Returns:
            To be awaited for its end, or not: the message is shown at once either way.

        Raises:
            NotConnected: `connect` comes first.
        """
        return self._send(content, "user", message_id, agent or self._agent)

    def append(self, message: MessageRow | Mapping[str, Any]) -> PendingWrite:
        """Append a message with any role: a row, or a mapping with ``role`` and ``content``.

        The client's agent is asked to answer a user's message only.

        Raises:
            NotConnected: `connect` comes first.
        """
        if isinstance(message, MessageRow):
            content, role, message_id = message.text, message.role, message.id
        else:
            content, role = _calls.text_of(message), str(message["role"])
            message_id = message.get("id") or ""
        return self._send(content, role, message_id, self._agent if role == "user" else None)

    def add_tool_result(
        self,
        tool_call_id: str,
        output: Any = None,
        *,
        error: str | None = None,
        message_id: str | None = None,
    ) -> PendingWrite:
        """Give what a tool gave (any JSON value), or why it failed.

        Raises:
            NotConnected: `connect` comes first.
        """
        return self._add(
            _calls.tool_result(
                *(self.actor, tool_call_id, output, error),
                message_id=message_id or uuid4().hex,
                txid=_txid(),
                now=_now(),
            )
        )

    def add_tool_approval_response(self, approval_id: str, *, approved: bool) -> PendingWrite:
        """Answer an approval.

        Raises:
            NotConnected: `connect` comes first.
        """
        draft = _calls.approval(
            self.actor, approval_id, approved=approved, txid=_txid(), now=_now()
        )
        return self._add(draft)

    def _send(
        self, content: str, role: str, message_id: str | None, agent: AgentSpec | None
    ) -> PendingWrite:
        return self._add(
            _calls.message(
                *(self.actor, content),
                message_id=message_id or uuid4().hex,
                role=role,
                txid=_txid(),
                now=_now(),
                turn=next(self._turns),
                agent=agent,
            )
        )

    def _add(self, draft: Draft) -> PendingWrite:
        if self._outbox is None:
            raise NotConnected(self.session_id)
        return self._outbox.add(draft)

    def clear(self) -> None:
        """Show no more, here, of what is in the session now. The session itself is as it was."""
        with self._db.state.graph.batch():
            for name in MATERIALIZED:
                if name == "stats":
                    continue
                for key in self._db.state.logged_keys(name):
                    patch: RowPatch[Any] = RowPatch(key, _nothing)
                    self._db.state.patches[name].set(next(self._hidden), patch)

    # ------------------------------------------------------------------ asking the service

    async def reload(self) -> None:
        """Have the last message of a user answered again; what followed it goes.

        Raises:
            SessionError: The service refuses, or is unreachable.
        """
        asked = [message for message in self.messages if message.role == "user"]
        if not asked:
            return
        body = {
            "fromMessageId": asked[-1].id,
            "content": asked[-1].text,
            "actorId": self.actor.id,
            "actorType": self.actor.type,
        }
        await self._ask(Call("POST", "/regenerate", body))

    async def stop(self, message_id: str | None = None) -> None:
        """Stop the generation of a message, or of all.

        Raises:
            SessionError: The service refuses, or is unreachable.
        """
        await self._ask(Call("POST", "/stop", {"messageId": message_id}))

    async def fork(
        self, *, at_message_id: str | None = None, new_session_id: str | None = None
    ) -> Fork:
        """Make a session that begins with this one's messages, up to one of them.

        Raises:
            SessionError: The service refuses, or is unreachable.
        """
        body = {"atMessageId": at_message_id, "newSessionId": new_session_id}
        answer = await self._ask(Call("POST", "/fork", body))
        field = partial(_calls.text_field, self.session_id, answer)
        return Fork(field("sessionId"), field("offset"))

    async def register_agents(self, agents: Iterable[AgentSpec]) -> None:
        """Have agents answer in the session.

        Raises:
            SessionError: The service refuses, or is unreachable.
        """
        body = {"agents": [agent.to_json() for agent in agents]}
        await self._ask(Call("POST", "/agents", body))

    async def unregister_agent(self, agent_id: str) -> None:
        """Have an agent answer no more.

        Raises:
            SessionError: The service refuses, or is unreachable.
        """
        await self._ask(Call("DELETE", f"/agents/{quote(agent_id, safe='')}"))

    async def set_presence(
        self, status: PresenceStatus = "online", *, name: str | None = None
    ) -> None:
        """Tell everybody that this actor is here; repeated until ``offline`` or `disconnect`.

        Raises:
            SessionError: The service refuses, or is unreachable.
        """
        await self._presence.set(status, name)

    async def _call(self, call: Call) -> Any:
        return await self._connected().call(call)

    async def _ask(self, call: Call) -> Any:
        try:
            answer = await self._call(call)
        except SessionError as error:
            if not isinstance(error, NotConnected):
                self._ended(error)
            raise
        self._ended(None)
        return answer

    # ------------------------------------------------------------------ telling

    def _ended(self, error: SessionError | None) -> None:
        self._error = error
        if error is not None and not isinstance(error, SessionClosed):
            self._on_error(error)

    def _tell_chunks(self, changes: list[Change[str, ChunkRow]]) -> None:
        for change in changes:
            if isinstance(change, Inserted):
                self._on_chunk(change.value)

    def _tell_messages(self, changes: list[Change[str, MessageRow]]) -> None:
        for change in changes:
            if isinstance(change, Deleted):
                continue
            message = change.value
            self._on_message(message)
            was_complete = not isinstance(change, Inserted) and change.before.is_complete
            if message.role == "assistant" and message.is_complete and not was_complete:
                self._on_finish(message)

    def _tell_errors(self, changes: list[Change[str, Any]]) -> None:
        for change in changes:
            if isinstance(change, Deleted) or change.value.connection_status != "error":
                continue
            before = None if isinstance(change, Inserted) else change.before.connection_status
            if before != "error" and self._db.error is not None:
                self._on_error(self._db.error)


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _txid() -> str:
    return str(uuid4())
