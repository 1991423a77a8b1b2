"""``GET /stream/{kind}``: from a query to a `ShapeRequest`, or a refusal. Pure.

The parameters are those of the Electric HTTP API (DESIGN section 6). Which rows there are is said
by ``sessionId`` and ``requestId`` alone: a table or a condition of the client's own is refused, and
names that nobody knows are left out, so that none of them reaches a database.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from types import MappingProxyType
from urllib.parse import parse_qsl
from uuid import UUID

from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._start_request import uuid_of
from durable_transport.protocol import ErrorCode, generation_paths

MAX_PARAMETERS = 64

PROTOCOL_PARAMETERS = frozenset(
    {
        *("offset", "handle", "live", "live_sse", "experimental_live_sse", "cursor", "log"),
        *("expired_handle", "cache-buster", "columns", "replica"),
    }
)
"""What a client says about how it reads; all of it goes on to a real Electric."""
SUBSET_PREFIX = "subset__"
"""Of parameters that ask for a part of the rows, within what the shape has."""

_OFFSET = re.compile(r"[0-9]{1,19}_(?:[0-9]{1,19}|inf)")
_TRUTH = {"true": True, "1": True, "false": False, "0": False}


class Kind(StrEnum):
    """Which of a generation's two streams a shape shows."""

    DATA = "data"
    CONTROL = "control"


TABLES: Mapping[Kind, str] = MappingProxyType(
    {Kind.DATA: "data_chunks", Kind.CONTROL: "control_messages"}
)

COLUMNS: Mapping[Kind, Mapping[str, str]] = MappingProxyType(
    {
        Kind.DATA: {
            "id": "int8",
            "session": "uuid",
            "request": "uuid",
            "data": "text",
            "created_at": "timestamp",
        },
        Kind.CONTROL: {
            "id": "int8",
            "session": "uuid",
            "request": "uuid",
            "event": "text",
            "data_row_id": "text",
            "payload": "jsonb",
            "created_at": "timestamp",
        },
    }
)
"""Columns of the two tables, with their Postgres types."""
NULLABLE = frozenset({"data", "data_row_id", "payload"})
KEY = "id"


class Live(StrEnum):
    """How a client waits for more."""

    LONG_POLL = "long-poll"
    SSE = "sse"


@dataclass(frozen=True, slots=True)
class Beginning:
    """From the first row on."""


@dataclass(frozen=True, slots=True)
class Tail:
    """Only what comes from now on."""


@dataclass(frozen=True, slots=True)
class After:
    """From where an earlier answer ended.

    Attributes:
        handle: Of the shape that the offset belongs to.
        position: None when the offset is none that we give out.
    """

    handle: str
    position: int | None


Start = Beginning | Tail | After


@dataclass(frozen=True, slots=True)
class ShapeRequest:
    """A request for a shape, all checks passed.

    Attributes:
        request: None for all requests of the session.
        live: None: what is there, at once.
        columns: In the order of the table.
        passed_on: The parameters that a real Electric is to get, as they came.
        subset: It asks for a part of the rows.
        until_end: A live answer is not to wait for what has ended: an extension of our own.
    """

    kind: Kind
    session: UUID
    request: UUID | None
    start: Start
    live: Live | None
    cursor: str | None
    columns: tuple[str, ...]
    passed_on: tuple[tuple[str, str], ...]
    subset: bool
    until_end: bool

    @property
    def table(self) -> str:
        """The table whose rows these are."""
        return TABLES[self.kind]

    @property
    def subject(self) -> str | None:
        """The one generation that it is about, if it is about one."""
        if self.request is None:
            return None
        return generation_paths(self.session, self.request).subject

    @property
    def where(self) -> str:
        """Which of its rows: made of UUIDs, so there is nothing in it to be escaped."""
        session = f"session='{self.session}'"
        return session if self.request is None else f"{session} AND request='{self.request}'"


def parse_shape(kind: str, query: bytes) -> ShapeRequest:
    """Read the last part of the path and the query.

    Raises:
        RefusedError: they are no request for a shape.
    """
    if kind not in tuple(Kind):
        raise RefusedError(Refusal(ErrorCode.NOT_FOUND, "the shapes are /stream/data and control"))
    of, given = Kind(kind), _parameters(query)
    _check_rows_are_ours(of, given)
    start = _start(given)
    request = given.get("requestId")
    return ShapeRequest(
        kind=of,
        session=_uuid("sessionId", given.get("sessionId", "")),
        request=None if request is None else _uuid("requestId", request),
        start=start,
        live=_live(given, start),
        cursor=given.get("cursor"),
        columns=_columns(of, given.get("columns")),
        passed_on=tuple((name, value) for name, value in given.items() if _is_passed_on(name)),
        subset=any(name.startswith(SUBSET_PREFIX) for name in given),
        until_end=given.get("until") == "end",
    )


def _refuse(message: str, code: ErrorCode = ErrorCode.BAD_REQUEST) -> RefusedError:
    return RefusedError(Refusal(code, message))


def _parameters(query: bytes) -> dict[str, str]:
    try:
        pairs = parse_qsl(
            query.decode("ascii"),
            keep_blank_values=True,
            max_num_fields=MAX_PARAMETERS,
            errors="strict",
        )
    except ValueError:
        raise _refuse("the query cannot be read") from None
    given = dict(pairs)
    if len(given) < len(pairs):
        # Two programs would not agree on which of them counts.
        raise _refuse("a parameter is there twice")
    return given


def _is_passed_on(name: str) -> bool:
    return name in PROTOCOL_PARAMETERS or name.startswith(SUBSET_PREFIX)


def _check_rows_are_ours(kind: Kind, given: Mapping[str, str]) -> None:
    if given.get("table", TABLES[kind]) not in (TABLES[kind], f"public.{TABLES[kind]}"):
        raise _refuse(f"the table of this shape is {TABLES[kind]}: leave `table` out")
    if "where" in given or any(name.partition("[")[0] == "params" for name in given):
        raise _refuse("the rows of this shape are said by sessionId and requestId: no `where`")


def _uuid(name: str, text: str) -> UUID:
    if (found := uuid_of(text)) is None:
        raise _refuse(f"{name} has to be a UUID", ErrorCode.INVALID_ID)
    return found


def _start(given: Mapping[str, str]) -> Start:
    offset, only_changes = given.get("offset"), _log_mode(given.get("log", "full"))
    match offset:
        case None:
            raise _refuse("offset is missing: use -1 for the beginning")
        case "-1":
            return Tail() if only_changes else Beginning()
        case "now":
            return Tail()
    if not _OFFSET.fullmatch(offset):
        raise _refuse("offset has to be -1, now, or the electric-offset of an earlier answer")
    if not (handle := given.get("handle")):
        raise _refuse("an offset other than -1 and now comes with the handle of its shape")
    position, _, operation = offset.partition("_")
    return After(handle, int(position) if operation == "0" else None)


def _log_mode(text: str) -> bool:
    if text not in ("full", "changes_only"):
        raise _refuse("log has to be full or changes_only")
    return text == "changes_only"


def _live(given: Mapping[str, str], start: Start) -> Live | None:
    sse = _truth(given, "live_sse") or _truth(given, "experimental_live_sse")
    if not _truth(given, "live"):
        if sse:
            raise _refuse("live_sse comes with live=true")
        return None
    if not isinstance(start, After):
        raise _refuse("live comes with the offset of an earlier answer")
    return Live.SSE if sse else Live.LONG_POLL


def _truth(given: Mapping[str, str], name: str) -> bool:
    try:
        return _TRUTH[given.get(name, "false")]
    except KeyError:
        raise _refuse(f"{name} has to be true or false") from None


def _columns(kind: Kind, text: str | None) -> tuple[str, ...]:
    every = COLUMNS[kind]
    if text is None:
        return tuple(every)
    names = {name.strip().removeprefix('"').removesuffix('"') for name in text.split(",")}
    if not names <= set(every) or KEY not in names:
        raise _refuse(f"columns are some of {', '.join(every)}, and {KEY} is one of them")
    return tuple(name for name in every if name in names)
