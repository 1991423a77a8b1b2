"""What the log of a session makes of its collections. Pure.

The log's rows are sources, what is materialized from chunks are sources too, and everything that
one piece of the log changes is one batch.
"""

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Generic, NamedTuple, TypeAlias, TypeVar

from durable_ai_db._rows import AgentRow, PresenceRow, SessionMetaRow
from durable_ai_db.live._changes import MISSING
from durable_ai_db.live._collection import Collection, Ordered, Source
from durable_ai_db.live._graph import Graph
from durable_ai_db.materialize._format import ChunkFormat
from durable_ai_db.materialize._materializer import Materializer
from durable_ai_db.materialize._order import Instant
from durable_ai_db.materialize._rows import (
    ActiveGenerationRow,
    ApprovalRow,
    BadRowError,
    ChunkRow,
    MessageRow,
    RowChange,
    StatsRow,
    ToolCallRow,
    ToolResultRow,
)
from durable_ai_db.materialize.formats import DEFAULT_FORMATS
from durable_ai_db.state import ChangeMessage, Control, ControlMessage, Malformed, Operation, parse

V = TypeVar("V")

KEPT_TXIDS: Final = 10_000
KEPT_REJECTED: Final = 100
MATERIALIZED: Final = (
    *("message", "active_generation", "tool_call", "tool_result", "approval", "stats"),
)
RowKey: TypeAlias = tuple[str, str]
"""Type and key of a row of the log."""


@dataclass(frozen=True)
class SessionCollections:
    """The collections of a session. All are live; keys are ids.

    Attributes:
        messages: In order of time.
        active_generations: Messages that are being generated, by message id.
        tool_calls: What agents called.
        tool_results: What came of it, by ``{messageId}:{toolCallId}``.
        approvals: Questions whether a tool may be called.
        session_stats: Counts and tokens: one row, by session id.
        session_meta: How this client stands to the session: one row, by session id.
        presence: Who is there.
        agents: Who answers.
        chunks: The log's own rows that messages are made of, by ``{messageId}:{seq}``.
        others: Values of types that are none of a session's, by type and key.
    """

    messages: Ordered[str, MessageRow]
    active_generations: Collection[str, ActiveGenerationRow]
    tool_calls: Collection[str, ToolCallRow]
    tool_results: Collection[str, ToolResultRow]
    approvals: Collection[str, ApprovalRow]
    session_stats: Collection[str, StatsRow]
    session_meta: Collection[str, SessionMetaRow]
    presence: Collection[str, PresenceRow]
    agents: Collection[str, AgentRow]
    chunks: Collection[str, ChunkRow]
    others: Collection[tuple[str, str], Any]


class Placed(NamedTuple):
    """A message, and by what it is ordered: not its own time, but that of its earliest row."""

    row: MessageRow
    place: Instant


@dataclass(frozen=True, slots=True)
class RowPatch(Generic[V]):
    """A row as this client wants it shown until the log says so, or says no."""

    key: str
    change: Callable[[V | None], V | None]

    def apply(self, row: V | None, /) -> V | None:
        """The row with the patch."""
        return self.change(row)


@dataclass(slots=True)
class Taken:
    """What a piece of the log came to.

    Attributes:
        txids: Transactions that are in now.
        rows: Type, key and value (None: gone) of every row that was written, in order.
        cleared: All rows from before are void.
        restart: Read on from here instead: what follows in the piece was not taken in.
    """

    txids: list[str] = field(default_factory=list)
    rows: dict[RowKey, Any] = field(default_factory=dict)
    cleared: bool = False
    restart: str | None = None


class SessionState:
    """The collections of one session, fed with its log.

    Args:
        session_id: Of the session.
        formats: How chunks of messages are read.
        on_error: Is given what functions and subscribers of collections raise.
    """

    def __init__(
        self,
        session_id: str,
        *,
        formats: Sequence[ChunkFormat] = DEFAULT_FORMATS,
        on_error: Callable[[Exception], object] | None = None,
    ) -> None:
        self.graph = Graph(on_error=on_error)
        self.meta = Source[str, SessionMetaRow](self.graph)
        self.rejected: deque[Malformed] = deque(maxlen=KEPT_REJECTED)
        """The last messages of the log that could not be used, and why."""
        self._materializer = Materializer(formats, session_id=session_id)
        self._chunks = Source[str, ChunkRow](self.graph)
        self._presence = Source[str, PresenceRow](self.graph)
        self._agents = Source[str, AgentRow](self.graph)
        self._others = Source[tuple[str, str], Any](self.graph)
        self._rows = {name: Source[str, Any](self.graph) for name in MATERIALIZED}
        self.patches = {name: Source[int, RowPatch[Any]](self.graph) for name in MATERIALIZED}
        self._txids: dict[str, None] = {}
        self._restarts: set[str] = set()
        self.collections = self._collections()
        self._rows["stats"].set(session_id, self._materializer.stats)
        self.meta.set(session_id, SessionMetaRow(session_id))

    def _collections(self) -> SessionCollections:
        shown = {name: rows.patched(self.patches[name]) for name, rows in self._rows.items()}
        return SessionCollections(
            messages=shown["message"].arranged(lambda placed: placed.place, lambda one: one.row),
            active_generations=shown["active_generation"],
            tool_calls=shown["tool_call"],
            tool_results=shown["tool_result"],
            approvals=shown["approval"],
            session_stats=shown["stats"],
            session_meta=self.meta,
            presence=self._presence,
            agents=self._agents,
            chunks=self._chunks,
            others=self._others,
        )

    def has_seen(self, txid: str) -> bool:
        """Whether a transaction has come; the last ten thousand are remembered."""
        return txid in self._txids

    def logged(self, collection: str, key: str) -> Any:
        """A materialized row as the log has it, without patches; None when there is none."""
        return self._rows[collection].get(key)

    def logged_keys(self, collection: str) -> list[str]:
        """Keys of all materialized rows of a collection that the log has."""
        return list(self._rows[collection])

    # ------------------------------------------------------------------ the log

    def take(self, messages: Sequence[Any], offsets: Sequence[str] | None = None) -> Taken:
        """Take a piece of the log in, as one batch.

        Args:
            messages: JSON values.
            offsets: For each, the offset after it; without them, resets restart nothing.
        """
        taken, writes = Taken(), dict[RowKey, Any]()
        for index, message in enumerate(map(parse, messages)):
            if isinstance(message, ChangeMessage):
                self._take_change(message, taken, writes)
            elif isinstance(message, Malformed):
                self.rejected.append(message)
            elif message.control is Control.RESET:
                self._reset(message, None if offsets is None else offsets[index], taken, writes)
                if taken.restart is not None:
                    break
        with self.graph.batch():
            self._write(writes)
        self._remember(taken.txids)
        return taken

    def clear(self) -> None:
        """Let everything go that came from the log."""
        self.take([ControlMessage(Control.RESET).to_json()])

    def _take_change(self, message: ChangeMessage, taken: Taken, writes: dict[RowKey, Any]) -> None:
        if message.txid is not None:
            taken.txids.append(message.txid)
        gone = message.operation is Operation.DELETE
        key = (message.type, message.key)
        try:
            row = MISSING if gone else _row(message)
        except BadRowError as error:
            self.rejected.append(Malformed(message.to_json(), str(error)))
            return
        writes[key] = row
        # Behind what was there: a cache replays rows in the order in which they came.
        taken.rows.pop(key, None)
        taken.rows[key] = None if gone else message.value

    def _reset(
        self,
        message: ControlMessage,
        offset: str | None,
        taken: Taken,
        writes: dict[RowKey, Any],
    ) -> None:
        """All rows so far are void. A reset that led back is passed again, and means no more."""
        if offset in self._restarts:
            return
        taken.cleared = True
        taken.rows.clear()
        writes.update(dict.fromkeys([*writes, *(key for key, _ in self._current())], MISSING))
        if offset is not None and message.offset not in (None, offset):
            self._restarts.add(offset)
            taken.restart = message.offset

    def _write(self, writes: dict[RowKey, Any]) -> None:
        fresh: list[ChunkRow] = []
        stale: list[tuple[str, int]] = []
        for (type_, key), row in writes.items():
            if type_ != "chunk":
                source, name = self._source(type_, key)
                self.graph.write(source, name, row)
                continue
            before = self._chunks.get(key)
            if row == before:
                continue
            self.graph.write(self._chunks, key, row)
            if before is not None:
                stale.append((before.message_id, before.seq))
            if row is not MISSING:
                fresh.append(row)
        if stale:
            self._show(self._materializer.discard(stale))
        if fresh:
            self._show(self._materializer.apply(fresh))
        # A row that changes nothing of its message may still be its earliest.
        for message_id in {*(row[0] for row in stale), *(row.message_id for row in fresh)}:
            self._show_message(message_id)

    def _source(self, type_: str, key: str) -> tuple[Source[Any, Any], Any]:
        match type_:
            case "presence":
                return self._presence, key
            case "agent":
                return self._agents, key
            case _:
                return self._others, (type_, key)

    def _show(self, changes: Iterable[RowChange]) -> None:
        for collection, key, row in changes:
            if collection == "message":
                self._show_message(key)
            elif row is None:
                self._rows[collection].delete(key)
            else:
                self._rows[collection].set(key, row)

    def _show_message(self, message_id: str) -> None:
        row, place = (
            self._materializer.messages.get(message_id),
            self._materializer.place(message_id),
        )
        shown = MISSING if row is None or place is None else Placed(row, place)
        self.graph.write(self._rows["message"], message_id, shown)

    def _remember(self, txids: Iterable[str]) -> None:
        for txid in txids:
            self._txids[txid] = None
        while len(self._txids) > KEPT_TXIDS:
            del self._txids[next(iter(self._txids))]

    def _current(self) -> Iterator[tuple[RowKey, Any]]:
        for key, chunk in self._chunks.items():
            yield ("chunk", key), chunk
        for key, present in self._presence.items():
            yield ("presence", key), present
        for key, agent in self._agents.items():
            yield ("agent", key), agent
        yield from self._others.items()


def _row(message: ChangeMessage) -> Any:
    match message.type:
        case "chunk":
            return ChunkRow.from_json(message.value)
        case "presence":
            return PresenceRow.from_json(message.key, message.value)
        case "agent":
            return AgentRow.from_json(message.key, message.value)
        case _:
            return message.value
