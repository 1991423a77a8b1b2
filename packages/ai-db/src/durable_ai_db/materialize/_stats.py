"""Counts of a session, kept as its messages change. Pure."""

from collections.abc import Iterator, Mapping
from typing import Any

from durable_ai_db.materialize._draft import Draft
from durable_ai_db.materialize._message import LoggedMessage
from durable_ai_db.materialize._order import Instant, SortedKeys, instant
from durable_ai_db.materialize._rows import Collection, MessageRow, Row, StatsRow
from durable_ai_db.materialize._usage import NO_USAGE, Usage


class Tally:
    """The order of the messages, and what is counted."""

    def __init__(self, session_id: str) -> None:
        self._session_id = session_id
        self._roles: dict[str, int] = {}
        self._order: SortedKeys[tuple[Instant, str]] = SortedKeys()
        self._times: SortedKeys[tuple[Instant, str]] = SortedKeys()
        self._placed: dict[str, tuple[Instant, str]] = {}
        self._usages: dict[str, Usage] = {}
        self._usage = NO_USAGE
        self._skips: dict[str, int] = {}
        self._skipped = 0
        self._counts: tuple[Any, ...] = (*[0] * 9, None, None, 0)

    def replace(
        self, message_id: str, logged: LoggedMessage, old: MessageRow | None, new: MessageRow | None
    ) -> None:
        """A message is another one now."""
        if old is None or new is None or _counted_as(old) != _counted_as(new):
            for row, by in ((old, -1), (new, 1)):
                if row is not None:
                    self._roles[row.role] = self._roles.get(row.role, 0) + by
            self._times.replace(_time(old), _time(new))
        place = None if new is None or logged.earliest is None else (logged.earliest, message_id)
        self._order.replace(self._placed.pop(message_id, None), place)
        if place is not None:
            self._placed[message_id] = place

    def count(self, message_id: str, draft: Draft) -> None:
        """Count the tokens of a message, and its skipped chunks."""
        if draft.usage is not self._usages.get(message_id, NO_USAGE):
            before = self._usages.get(message_id, NO_USAGE)
            self._usage = self._usage.plus(draft.usage).minus(before)
            self._usages[message_id] = draft.usage
        if draft.skipped_count != self._skips.get(message_id, 0):
            self._skipped += draft.skipped_count - self._skips.get(message_id, 0)
            self._skips[message_id] = draft.skipped_count

    def message_ids(self) -> Iterator[str]:
        """Ids of the messages in their order."""
        return (message_id for _, message_id in self._order)

    def row_of(self, rows: Mapping[Collection, Mapping[str, Row]], before: StatsRow) -> StatsRow:
        """The counts, of the session's rows as they are now: `before` when they are the same."""
        ends = self._times.ends()
        counts = (
            len(rows["message"]),
            self._roles.get("user", 0),
            self._roles.get("assistant", 0),
            len(rows["tool_call"]),
            len(rows["approval"]),
            self._usage.total,
            self._usage.prompt,
            self._usage.completion,
            len(rows["active_generation"]),
            None if ends is None else ends[0][1],
            None if ends is None else ends[1][1],
            self._skipped,
        )
        if counts == self._counts:
            return before
        self._counts = counts
        return StatsRow(self._session_id, *counts)


def _counted_as(row: MessageRow) -> tuple[str, str]:
    return row.role, row.created_at


def _time(row: MessageRow | None) -> tuple[Instant, str] | None:
    return None if row is None else (instant(row.created_at), row.created_at)
