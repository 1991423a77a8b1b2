"""Finding the active generation again, over real sockets."""

from __future__ import annotations

import itertools
import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from durable_transport import (
    GenerationFailed,
    GenerationNotFound,
    GenerationOrphaned,
    MemoryStorage,
    OffsetOutOfRange,
    Sessions,
    UpstreamUnreachable,
    resume,
    session,
)
from durable_transport.protocol import to_uuid
from transport.conftest import BODY
from transport.flavours import quick
from transport.scripted import (
    ScriptedProxy,
    answer,
    cut_after,
    hang,
    refuse,
    rejection,
    reset,
    well,
)

if TYPE_CHECKING:
    from transport.flavours import Flavour
    from transport.scripted import Received, Wire

pytestmark = pytest.mark.anyio


class Left:
    """A storage in which a generation was left at an offset."""

    def __init__(self, proxy: ScriptedProxy, offset: int, now: float | None = None) -> None:
        clock = itertools.repeat(now).__next__ if now is not None else time.time
        self.storage = MemoryStorage()
        self.sessions = Sessions(self.storage, proxy.url, clock=clock)
        self.sessions.begin("chat-1", "r-1")
        self.sessions.advance("chat-1", "r-1", offset)

    @property
    def offset(self) -> int | None:
        found = self.sessions.active("chat-1", ttl=1e12)
        return None if found is None else found.offset


def again(**options: Any) -> dict[str, Any]:
    return {"headers": resume("chat-1", **options)}


async def test_nothing_active_is_204_without_a_request(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    outcome = await flavour.fetch(proxy.url, request=again())
    assert (outcome.status, outcome.body, outcome.error) == (204, b"", None)
    assert outcome.headers["x-session-id"] == "chat-1"
    assert "content-length" not in outcome.headers
    assert proxy.requests == []


async def test_the_rest_from_the_stored_offset(proxy: ScriptedProxy, flavour: Flavour) -> None:
    left = Left(proxy, 100)
    proxy.headers = {"X-Vendor": "v"}
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert (outcome.status, outcome.body, outcome.error) == (200, BODY[100:], None)
    assert outcome.headers["x-vendor"] == "v"
    assert outcome.headers["content-type"] == "text/plain"
    assert outcome.headers["x-request-id"] == "r-1"
    assert outcome.durable is not None
    assert (outcome.durable.offset, outcome.durable.completed) == (len(BODY), True)
    assert "start" not in proxy.kinds()
    assert proxy.requests[0].path.startswith(
        f"/v1/stream/generations/{to_uuid('chat-1')}/{to_uuid('r-1')}/"
    )
    assert left.offset is None


async def test_header_bytes_beyond_ascii_come_back(proxy: ScriptedProxy, flavour: Flavour) -> None:
    left = Left(proxy, 100)
    proxy.headers = {"X-Vendor": "a\xffb", "X-No-Bytes": "a\u017cb"}
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert (outcome.body, outcome.error) == (BODY[100:], None)
    assert outcome.headers["x-vendor"] == "a\xffb"
    assert outcome.headers["x-no-bytes"] == "a?b"


async def test_all_of_it_from_the_start(proxy: ScriptedProxy, flavour: Flavour) -> None:
    left = Left(proxy, 100)
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again(from_start=True))
    assert (outcome.body, outcome.error) == (BODY, None)
    assert left.offset is None


async def test_a_context_manager_says_the_same(proxy: ScriptedProxy, flavour: Flavour) -> None:
    left = Left(proxy, 100)
    with resume("chat-1"):
        outcome = await flavour.fetch(proxy.url, storage=left.storage)
    assert outcome.body == BODY[100:]
    with session("other"):
        outcome = await flavour.fetch(proxy.url, storage=left.storage)
    assert outcome.headers["x-session-id"] == "other"


async def test_a_resume_is_durable_too_even_where_nothing_matches(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, 0)
    proxy.data_acts.extend([cut_after(9), cut_after(9)])
    outcome = await flavour.fetch(
        proxy.url, storage=left.storage, request=again(), match=lambda _: False
    )
    assert (outcome.body, outcome.error) == (BODY, None)


async def test_a_generation_that_was_read_to_its_end_is_not_active(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, len(BODY))
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert (outcome.status, outcome.body) == (204, b"")
    assert left.offset is None


async def test_one_that_failed_after_all_its_bytes_still_says_so(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, len(BODY))
    proxy.terminal = {"event": "error", "payload": {"code": "upstream_error"}}
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert isinstance(outcome.error, GenerationFailed)
    assert left.offset is None


async def test_the_head_is_waited_for(proxy: ScriptedProxy, flavour: Flavour) -> None:
    left = Left(proxy, 0)
    empty = answer(200, b"[]", Stream_Next_Offset="-1")
    timeout = answer(204, b"", Stream_Next_Offset="-1")
    proxy.control_acts.extend([empty, timeout, reset, hang, timeout])
    timing = quick(silence=0.3)
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again(), timing=timing)
    assert (outcome.body, outcome.error) == (BODY, None)
    waits = [request.query("live") for request in proxy.requests[:5]]
    assert waits == [None, *(["long-poll"] * 4)]


async def test_an_upstreams_rejection_is_found_again(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, 0)

    async def rejected(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        del request
        proxy.body = b""
        proxy.terminal = rejection(429, b"slow down", Retry_After="7", Content_Type="text/x")
        messages = proxy.control_messages()[1:]
        head = {"Stream-Next-Offset": f"{1:020d}"}
        await wire.whole(200, head, json.dumps(messages).encode())

    proxy.control_acts.append(rejected)
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert (outcome.status, outcome.body) == (429, b"slow down")
    assert outcome.headers["retry-after"] == "7"
    assert outcome.headers["content-type"] == "text/x"
    assert left.offset is None


async def test_a_rejection_that_cannot_be_read_is_an_error(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, 0)
    proxy.body = b""
    broken = rejection(429, b"slow down")
    broken["payload"]["response"]["body"] = "not base64"
    proxy.control_acts.append(
        answer(200, json.dumps([broken]).encode(), Stream_Next_Offset=f"{1:020d}")
    )
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert isinstance(outcome.error, GenerationFailed)
    assert outcome.error.code == "upstream_rejected"


@pytest.mark.parametrize(
    ("code", "kind"),
    [("upstream_unreachable", UpstreamUnreachable), ("orphaned", GenerationOrphaned)],
)
async def test_a_generation_that_ended_before_its_head_is_raised(
    proxy: ScriptedProxy, flavour: Flavour, code: str, kind: type[Exception]
) -> None:
    left = Left(proxy, 0)
    message = f'[{{"event":"error","payload":{{"code":"{code}"}}}}]'.encode()
    proxy.control_acts.append(answer(200, message, Stream_Next_Offset=f"{9:020d}"))
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert isinstance(outcome.error, kind)
    assert left.offset is None


async def test_a_start_that_never_got_through_is_nothing_active(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, 0)
    proxy.control_acts.append(refuse(404, "stream_not_found"))
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert outcome.status == 204
    assert left.offset == 0  # it may be on its way at this moment


async def test_a_deleted_generation_is_an_error_once(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, 100)
    proxy.control_acts.append(refuse(404, "stream_not_found"))
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert isinstance(outcome.error, GenerationNotFound)
    assert outcome.error.offset == 100
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert outcome.status == 204


async def test_an_offset_past_the_end_is_an_error_with_a_remedy(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, len(BODY) + 1)
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert isinstance(outcome.error, OffsetOutOfRange)
    assert "from_start=True" in str(outcome.error)
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again(from_start=True))
    assert outcome.body == BODY


async def test_a_pointer_without_a_sign_of_life_is_stale(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    left = Left(proxy, 0, now=time.time() - 10)
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again(ttl=5))
    assert outcome.status == 204
    outcome = await flavour.fetch(proxy.url, storage=left.storage, request=again())
    assert outcome.body == BODY


async def test_sse_is_resumed_at_an_event(proxy: ScriptedProxy, flavour: Flavour) -> None:
    proxy.content_type = "text/event-stream"
    events = [b"data: %d\n\n" % number for number in range(40)]
    proxy.body = b"".join(events)
    proxy.piece = 13
    storage = MemoryStorage()
    proxy.terminal = None
    first = await flavour.fetch(
        proxy.url,
        storage=storage,
        stop_after=100,
        request={"headers": session("chat-1")},
    )
    proxy.terminal = {"event": "done", "payload": {}}
    second = await flavour.fetch(proxy.url, storage=storage, request=again())
    assert second.error is None
    assert second.body.startswith(b"data: ")
    at = len(proxy.body) - len(second.body)
    assert 0 < at <= len(first.body)
    assert first.body[:at] + second.body == proxy.body


async def test_two_readers_of_one_generation(proxy: ScriptedProxy, flavour: Flavour) -> None:
    """The same ids again attach to the same generation; both see all of it."""
    ids = {"headers": session("chat-1", request_id="r-1")}
    proxy.data_acts.extend([cut_after(50), cut_after(10), well])
    for _ in range(2):
        outcome = await flavour.fetch(proxy.url, request=ids)
        assert (outcome.body, outcome.error) == (BODY, None)
    targets = {request.target for request in proxy.requests if request.kind == "start"}
    assert len(targets) == 1
