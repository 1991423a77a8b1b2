"""A session, as its stream says it is. Pure.

Everything that is decided about a session is decided from this, and everything in it comes from
the stream: whoever reads the same rows comes to the same state.
"""

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias

from durable_ai_db.materialize import BadRowError, ChunkRow, Materializer, RowChange
from durable_ai_db_proxy._policy import RunPolicy
from durable_ai_db_proxy._rows import BY, DECISION, Json, Row
from durable_ai_db_proxy._run import Cause, Run

Change: TypeAlias = RowChange | Row
"""Something that is materialized is another one, or a row that stands for itself was written."""

REMEMBERED = 64
"""So many of the last decisions are known by who made them."""


class SessionState:
    """What the rows of a session came to, so far.

    Attributes:
        count: Rows that were taken in.
        decision: Number of the last decision.
        tokens: Who made the last ones, by number.
        settings: The value of the ``session`` row.
        agents: Values of ``agent`` rows, by id.
        presence: Values of ``presence`` rows, by actor.
        runs: By id, in the order in which they were asked for; those of a source session are not
            among them.
        last_seq: Of every message there is, also of those that are answers, by its id and in the
            order in which they began.
        ends_at: How many rows there were when a message had its last one.
        agent_turns: Runs that agents have caused since anybody else did.
        messages: What is materialized from the chunks.
    """

    def __init__(self, session_id: str) -> None:
        self.session_id = session_id
        self.count = 0
        self.decision = 0
        self.tokens: dict[int, str] = {}
        self.settings: Json = {}
        self.agents: dict[str, Json] = {}
        self.presence: dict[str, Json] = {}
        self.runs: dict[str, Run] = {}
        self.last_seq: dict[str, int] = {}
        self.ends_at: dict[str, int] = {}
        self.agent_turns = 0
        self.messages = Materializer(session_id=session_id)

    @property
    def policy(self) -> RunPolicy | None:
        """The session's own run policy, if it has one."""
        try:
            return RunPolicy(str(self.settings.get("runPolicy")))
        except ValueError:
            return None

    def open_runs(self) -> list[Run]:
        """Runs that are not over."""
        return [run for run in self.runs.values() if run.status.is_open]

    def run_of_message(self, message_id: str) -> Run | None:
        """The run whose answer a message is."""
        return next((run for run in self.runs.values() if run.message_id == message_id), None)

    def apply(self, rows: Iterable[Any]) -> list[Change]:
        """Take in rows of the stream, parsed; what has changed."""
        changes: list[Change] = []
        chunks: list[ChunkRow] = []
        for row in rows:
            self.count += 1
            if not isinstance(row, Mapping) or not isinstance(row.get("headers"), Mapping):
                continue
            headers = row["headers"]
            self._note_decision(headers)
            if row.get("type") != "chunk":
                changes += self._apply_other(str(row.get("type")), row, headers)
            elif headers.get("operation") == "insert":
                self._add_chunk(row.get("value"), chunks)
            else:
                changes += self.messages.apply(chunks)
                chunks.clear()
                changes += self._change_chunk(str(row.get("key")), row.get("value"))
        return changes + self.messages.apply(chunks)

    def _note_decision(self, headers: Mapping[str, Any]) -> None:
        number = headers.get(DECISION)
        if not isinstance(number, int) or number <= self.decision:
            return
        self.decision = number
        self.tokens[number] = str(headers.get(BY))
        self.tokens.pop(number - REMEMBERED, None)

    def _add_chunk(self, value: object, chunks: list[ChunkRow]) -> None:
        try:
            chunk = ChunkRow.from_json(value)
        except BadRowError:
            return
        chunks.append(chunk)
        last = self.last_seq.get(chunk.message_id, -1)
        self.last_seq[chunk.message_id] = max(last, chunk.seq)
        self.ends_at[chunk.message_id] = self.count

    def _change_chunk(self, key: str, value: object) -> list[RowChange]:
        message_id, _, seq = key.rpartition(":")
        if not seq.isdecimal():
            return []
        changes = self.messages.discard([(message_id, int(seq))])
        if value is not None:
            chunks: list[ChunkRow] = []
            self._add_chunk(value, chunks)
            return changes + self.messages.apply(chunks)
        if self.last_seq.get(message_id) == int(seq):
            # A message is taken back as a whole, from its first chunk to its last one.
            self.last_seq.pop(message_id)
            self.ends_at.pop(message_id, None)
        return changes

    def _apply_other(
        self, kind: str, row: Mapping[str, Any], headers: Mapping[str, Any]
    ) -> list[Row]:
        key, value = str(row.get("key")), row.get("value")
        gone = headers.get("operation") == "delete" or not isinstance(value, Mapping)
        now = None if gone else dict(row["value"])
        match kind:
            case "run" if now is not None:
                if not self._apply_run(now):
                    return []
            case "session" if now is not None:
                key, self.settings = self.session_id, now  # a fork's begins as its source's
            case "agent":
                _put(self.agents, key, now)
            case "presence":
                _put(self.presence, key, now)
            case _:
                return []
        return [Row(kind, key, "delete" if now is None else "upsert", now)]

    def _apply_run(self, value: Mapping[str, Any]) -> bool:
        try:
            run = Run.from_json(value)
        except (KeyError, ValueError, TypeError):
            return False
        if run.session_id != self.session_id:
            return False
        if run.id not in self.runs:
            self.agent_turns = self.agent_turns + 1 if run.cause is Cause.AGENT else 0
        self.runs[run.id] = run
        return True


def _put(rows: dict[str, Json], key: str, value: Json | None) -> None:
    if value is None:
        rows.pop(key, None)
    else:
        rows[key] = value
