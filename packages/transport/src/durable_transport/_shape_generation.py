"""The driver for reading a generation as shapes, as clients of Electric do. Pure, as the other is.

Rows are text, so this is for answers that are text. A row's bytes follow those of the row before;
the record of the end names the last row by its id, and counts once that row is there. Ids are only
compared: behind the proxy may be a real Electric, whose ids are a database's. Whatever a row has
been cut to, the bytes of all rows are the body, so a resume reads the rows again from the first one
and hands out what is new.

    catching up ── up to date ──▶ ask the control shape ── done, and its row is here ──▶ the end
                                      │ nothing yet   ▲
                                      ▼               │ rows, or LOOK_SECONDS
                                  live: wait for rows ┘
"""

import json
from collections.abc import Mapping
from http import HTTPStatus
from types import MappingProxyType
from typing import Any, Literal

from pydantic import ValidationError

from durable_transport._answers import is_success
from durable_transport._effects import Answer, Breakage, Broke, Emit, Opened, ReadAll, Step
from durable_transport._generation import REJECTION_LIMIT, Generation
from durable_transport._link import Failure
from durable_transport._merge import Merge
from durable_transport._shape import Row, ShapeCursor
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    ProxyHeader,
    StartAnswer,
    format_offset,
)

Reads = Literal["log", "shapes"]

LOOK_SECONDS = 5.0
"""How long new rows are waited for before the control shape is looked at. Our own proxy does not
let us wait for a generation that has ended; a real Electric does."""
ANSWER_LIMIT = 256 << 20

_ENDS = frozenset({ControlEvent.DONE.value, ControlEvent.ERROR.value})


class ShapeGeneration(Generation):
    """One durable request whose answer is read as two shapes."""

    live_start = False

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._data = ShapeCursor("data")
        self._control = ShapeCursor("control")
        self._last_row = 0
        self._ending: Row | None = None

    # ------------------------------------------------------------------ the head

    def _judge_start(self, opened: Opened) -> Step[Answer | None]:
        if opened.headers.get(ProxyHeader.SOURCE) is not None or not is_success(opened.status):
            return (yield from super()._judge_start(opened))
        body = yield ReadAll(REJECTION_LIMIT)
        if isinstance(body, Broke):
            yield from self._retry_start(body)
            return None
        try:
            start = StartAnswer.model_validate_json(body)
        except ValidationError as error:
            yield from self._finish()
            raise self._link.not_ours(opened) from error
        self._link.reached()
        headers = start.upstream_headers
        return self._live(start.upstream_status, headers, start.content_type, position=0)

    def _await_head(self) -> Step[None]:
        """What the upstream answered with is in the log only; how it ended is for the shapes."""
        yield from super()._await_head()
        if self._merge.start is not None and self._merge.verdict is None:
            known, self._merge = self._merge, Merge(self._merge.position)
            self._merge.start = known.start

    # ------------------------------------------------------------------ the body

    def _reconnect(self) -> Step[Failure | None]:
        asked_at, waited = self._now(), self._data.up_to_date
        rows = yield from self._ask_shape(self._data, wait=waited)
        if isinstance(rows, Failure):
            return rows
        progressed = yield from self._hand_out(rows)
        news = waited and progressed
        if self._data.up_to_date and self._merge.verdict is None and not news:
            failure = yield from self._look_for_the_end()
            if failure is not None:
                return failure
        if self._merge.verdict is None and waited and not progressed:
            if self._now() - asked_at < self._timing.healthy:
                return Failure("the proxy answers at once, with nothing")
            self._link.check_patience()
        self._link.moved()
        return None

    def _hand_out(self, rows: list[Row]) -> Step[bool]:
        """Give the consumer what is new in some rows; whether there was anything."""
        progressed = False
        for row in rows:
            data = str(row.values.get("data") or "").encode()
            fresh = self._merge.data(self._wire, data)
            self._wire += len(data)
            self._last_row = row.id
            if fresh:
                progressed = True
                self._link.moved()
                self.progress.offset = self._merge.position
                safe = self._points.feed(fresh)
                yield Emit(fresh)
                self._link.waiting_since = self._now()
                yield from self._consumed(safe)
            self._end_if_all_is_here()
        return progressed

    def _look_for_the_end(self) -> Step[Failure | None]:
        rows = yield from self._ask_shape(self._control, wait=False)
        if isinstance(rows, Failure):
            return rows
        for row in rows:
            if row.values.get("event") in _ENDS:
                self._ending = row
        self._end_if_all_is_here()
        return None

    def _end_if_all_is_here(self) -> None:
        if self._ending is None:
            return
        event, last, payload = _end_of(self._ending.values)
        if self._last_row >= last:
            offset = format_offset(self._wire)
            message = ControlMessage(event=event, data_offset=offset, payload=dict(payload))
            self._merge.control(message)

    # ------------------------------------------------------------------ asking

    def _ask_shape(self, cursor: ShapeCursor, *, wait: bool) -> Step[list[Row] | Failure]:
        """The rows that follow.

        Raises:
            GenerationError: the answer is none that could be repeated to any use.
        """
        within = LOOK_SECONDS if wait else None
        opened = yield from self._link.get_shape(cursor, wait=wait, within=within)
        if isinstance(opened, Broke):
            # It waits, as it was asked to; the other shape may know more.
            silent = wait and opened.how is Breakage.SILENT
            return [] if silent else self._link.broken(opened)
        if opened.status == HTTPStatus.CONFLICT:
            cursor.restart()
            if cursor is self._data:
                self._wire = self._last_row = 0
            self._ending = None
            return Failure("the shape was replaced by another one")
        if opened.status not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT):
            return (yield from self._link.trouble(opened))
        body = yield ReadAll(ANSWER_LIMIT)
        if isinstance(body, Broke):
            return self._link.broken(body)
        try:
            return cursor.take(opened.headers, body)
        except (ValueError, RecursionError) as error:
            raise self._link.not_ours(opened) from error


def _end_of(values: Mapping[str, Any]) -> tuple[str, int, Mapping[str, Any]]:
    """Event, id of the last row, and payload of a row of the control shape; what is wrong is
    left out, because the event is what counts.
    """
    last, payload = str(values.get("data_row_id") or "0"), values.get("payload")
    try:
        parsed = json.loads(payload) if isinstance(payload, str) else payload
    except ValueError:
        parsed = None
    number = int(last) if last.isascii() and last.isdigit() else 0
    return str(values["event"]), number, parsed if isinstance(parsed, dict) else {}


DRIVERS: Mapping[str, type[Generation]] = MappingProxyType(
    {"log": Generation, "shapes": ShapeGeneration}
)
"""By what a transport's ``reads`` says."""


def driver_for(reads: str) -> type[Generation]:
    """The driver of a way to read.

    Raises:
        ValueError: there is no such way.
    """
    if reads not in DRIVERS:
        raise ValueError(f"reads={reads!r}: it is 'log' or 'shapes'")
    return DRIVERS[reads]
