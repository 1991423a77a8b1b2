"""The client for code without an event loop, such as notebooks: one runs in its own thread."""

import asyncio
import threading
from collections.abc import Callable, Coroutine, Iterable, Mapping
from concurrent.futures import CancelledError, Future
from types import TracebackType
from typing import Any, Self, TypeVar

from durable_ai_db._calls import AgentSpec, Fork
from durable_ai_db._chat_client import DurableChatClient
from durable_ai_db._errors import NotConnected, SessionError
from durable_ai_db._outbox import PendingWrite
from durable_ai_db._rows import ConnectionStatus, PresenceStatus
from durable_ai_db._session_state import SessionCollections
from durable_ai_db.materialize import MessageRow

T = TypeVar("T")


class SyncDurableChatClient:
    """A `DurableChatClient` whose calls wait, with the same arguments.

    What is written returns when the session has it. Callbacks are called in a thread of the
    client's own; so are functions of derived collections. `read` looks at collections from there.
    """

    def __init__(self, session_id: str, base_url: str, **options: Any) -> None:
        self._client = DurableChatClient(session_id, base_url, **options)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None

    def __enter__(self) -> Self:
        self.connect()
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.disconnect()

    # ------------------------------------------------------------------ the thread

    def _wait(self, make: Callable[[], Coroutine[Any, Any, T]]) -> T:
        if self._loop is None:
            raise NotConnected(self._client.session_id)
        future: Future[T] = asyncio.run_coroutine_threadsafe(make(), self._loop)
        try:
            return future.result()
        except (KeyboardInterrupt, CancelledError):
            future.cancel()
            raise

    def _write(self, write: Callable[[], PendingWrite]) -> str:
        async def written() -> str:
            return await write()

        return self._wait(written)

    def read(self, look: Callable[[SessionCollections], T]) -> T:
        """Look at the collections, and derive from them, while nothing changes.

        Args:
            look: Is called in the client's thread with the collections.
        """
        if self._loop is None:
            return look(self._client.collections)

        async def looked() -> T:
            return look(self._client.collections)

        return self._wait(looked)

    def _start(self) -> None:
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
            self._thread = threading.Thread(
                target=_run, args=(self._loop,), name="durable chat", daemon=True
            )
            self._thread.start()

    def _end(self) -> None:
        loop, thread = self._loop, self._thread
        self._loop = self._thread = None
        if loop is not None and thread is not None:
            loop.call_soon_threadsafe(loop.stop)
            thread.join()

    # ------------------------------------------------------------------ life

    def connect(self) -> None:
        """As `DurableChatClient.connect`."""
        self._start()
        try:
            self._wait(self._client.connect)
        except SessionError:
            raise
        except BaseException:
            self.disconnect()
            raise

    def disconnect(self) -> None:
        """As `DurableChatClient.disconnect`."""
        if self._loop is not None:
            try:
                self._wait(self._client.disconnect)
            finally:
                self._end()

    def pause(self) -> None:
        """As `DurableChatClient.pause`."""
        self._wait(self._client.pause)

    def resume(self) -> None:
        """As `DurableChatClient.resume`."""
        self._wait(self._client.resume)

    # ------------------------------------------------------------------ what there is

    @property
    def messages(self) -> list[MessageRow]:
        """All messages, in order."""
        return self.read(lambda _: self._client.messages)

    @property
    def is_loading(self) -> bool:
        """Somebody is generating a message."""
        return self.read(lambda _: self._client.is_loading)

    @property
    def error(self) -> SessionError | None:
        """What went wrong last."""
        return self._client.error

    @property
    def connection_status(self) -> ConnectionStatus:
        """``disconnected``, ``connecting`` (again), ``connected``, ``paused`` or ``error``."""
        return self.read(lambda _: self._client.connection_status)

    def snapshot(self) -> dict[str, Any]:
        """All collections as JSON values."""
        return self.read(lambda _: self._client.snapshot())

    # ------------------------------------------------------------------ writing

    def send_message(self, content: str, **options: Any) -> str:
        """As `DurableChatClient.send_message`; returns the message's id when it is there."""
        return self._write(lambda: self._client.send_message(content, **options))

    def append(self, message: MessageRow | Mapping[str, Any]) -> str:
        """As `DurableChatClient.append`; returns the message's id when it is there."""
        return self._write(lambda: self._client.append(message))

    def add_tool_result(self, tool_call_id: str, output: Any = None, **options: Any) -> str:
        """As `DurableChatClient.add_tool_result`; returns when it is there."""
        return self._write(lambda: self._client.add_tool_result(tool_call_id, output, **options))

    def add_tool_approval_response(self, approval_id: str, *, approved: bool) -> str:
        """As `DurableChatClient.add_tool_approval_response`; returns when it is there."""
        return self._write(
            lambda: self._client.add_tool_approval_response(approval_id, approved=approved)
        )

    def clear(self) -> None:
        """As `DurableChatClient.clear`."""
        self.read(lambda _: self._client.clear())

    # ------------------------------------------------------------------ asking the service

    def reload(self) -> None:
        """As `DurableChatClient.reload`."""
        self._wait(self._client.reload)

    def stop(self, message_id: str | None = None) -> None:
        """As `DurableChatClient.stop`."""
        self._wait(lambda: self._client.stop(message_id))

    def fork(self, **options: Any) -> Fork:
        """As `DurableChatClient.fork`."""
        return self._wait(lambda: self._client.fork(**options))

    def register_agents(self, agents: Iterable[AgentSpec]) -> None:
        """As `DurableChatClient.register_agents`."""
        self._wait(lambda: self._client.register_agents(agents))

    def unregister_agent(self, agent_id: str) -> None:
        """As `DurableChatClient.unregister_agent`."""
        self._wait(lambda: self._client.unregister_agent(agent_id))

    def set_presence(self, status: PresenceStatus = "online", *, name: str | None = None) -> None:
        """As `DurableChatClient.set_presence`."""
        self._wait(lambda: self._client.set_presence(status, name=name))


def _run(loop: asyncio.AbstractEventLoop) -> None:
    asyncio.set_event_loop(loop)
    try:
        loop.run_forever()
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.run_until_complete(loop.shutdown_default_executor())
    finally:
        asyncio.set_event_loop(None)
        loop.close()
