"""What is told about generations: which run, since when, how far, and how they ended. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from uuid import UUID

from durable_proxy._lifecycle import (
    TERMINAL_CODES,
    TERMINAL_STATES,
    Account,
    Ending,
    Event,
    State,
    rfc3339,
    state_of,
)
from durable_proxy._start_request import StartRequest
from durable_transport.protocol import (
    ControlEvent,
    ControlMessage,
    GenerationPaths,
    format_offset,
    parse_generation_path,
)

if TYPE_CHECKING:
    from durable_streams_server import StreamInfo

Json = dict[str, Any]
Streams = Mapping[str, "StreamInfo"]
"""The streams of one generation by kind: ``data``, ``control``."""


@dataclass(frozen=True, slots=True)
class Status:
    """One generation as the store has it.

    Attributes:
        control: Its control stream; the incarnation is the generation's.
        stored: Bytes that can be read.
        stopping: Somebody has asked for its end.
        end: The terminal record, once there is one.
    """

    paths: GenerationPaths
    control: "StreamInfo"
    state: State
    stored: int
    stopping: bool = False
    end: ControlMessage | None = None


def by_generation(
    streams: Iterable["StreamInfo"],
) -> dict[GenerationPaths, dict[str, "StreamInfo"]]:
    """Streams by generation and kind; those of anything else are left out."""
    found: dict[GenerationPaths, dict[str, StreamInfo]] = {}
    for stream in streams:
        if parsed := parse_generation_path(stream.path):
            paths, kind = parsed
            found.setdefault(paths, {})[kind] = stream
    return found


def tails_tell(streams: Streams) -> bool:
    """Where its streams end is enough to know the state of a generation that runs."""
    return streams["control"].tail == 0 or streams["data"].tail > 0


def status_of(
    paths: GenerationPaths, streams: Streams, messages: Sequence[ControlMessage] = ()
) -> Status:
    """The status of a generation.

    Args:
        paths: Which one.
        streams: Both of its streams.
        messages: Those of its control stream; for one that runs and of which `tails_tell`, none.
    """
    control, data = streams["control"], streams["data"]
    events = {message.event for message in messages}
    end = next((message for message in messages if message.is_terminal), None)
    if end is not None:
        state = state_of(end)
    else:
        has_begun = ControlEvent.START in events or data.tail > 0
        state = State.STREAMING if has_begun else State.STARTING
    stopping = end is None and ControlEvent.STOP in events
    return Status(paths, control, state, data.tail, stopping, end)


def describe(status: Status, now: float, dead: frozenset[str] = frozenset()) -> Json:
    """A generation as JSON.

    Args:
        status: Which one.
        now: Epoch seconds.
        dead: Nodes whose lease has run out: what they own is about to be ended.
    """
    session, request = ids_of(status.paths)
    control = status.control
    told: Json = {
        "sessionId": str(session),
        "requestId": str(request),
        "incarnation": str(control.id),
        "state": status.state,
        "startedAt": rfc3339(control.created_at),
        "bytes": status.stored,
        "offset": format_offset(status.stored),
        "dataStream": status.paths.data,
        "controlStream": status.paths.control,
    }
    if status.end is not None:
        return told | {"end": _end(status.end)}
    return told | {
        "ageMs": max(0, round((now - control.created_at) * 1000)),
        "node": control.owner,
        "nodeAlive": control.owner not in dead,
        "stopping": status.stopping,
    }


def _end(record: ControlMessage) -> Json:
    """The terminal record, without the body of a refusal."""
    payload = {name: value for name, value in record.payload.items() if name != "response"}
    return {"event": record.event, "dataOffset": record.data_offset, **payload}


def told_of_end(request: StartRequest, ending: Ending, account: Account, stored: int) -> Json:
    """What the log says of a generation that has ended. Of its upstream no more than the host."""
    timing = account.timing()
    # Why somebody stopped it are their own words, and no business of ours.
    message = None if ending.event is Event.STOPPED else ending.message
    return {
        "session": str(request.session_id),
        "request": str(request.request_id),
        "principal": request.principal,
        "upstream": request.target.origin,
        "state": TERMINAL_STATES[ending.event],
        "code": TERMINAL_CODES[ending.event],
        "message": message,
        "storedBytes": stored,
        "receivedBytes": account.received,
        "firstByteMs": timing.first_byte_ms,
        "milliseconds": timing.duration_ms,
    }


def ids_of(paths: GenerationPaths) -> tuple[UUID, UUID]:
    """The session and the request of a generation."""
    _, session, request, _ = paths.control.split("/")
    return UUID(session), UUID(request)
