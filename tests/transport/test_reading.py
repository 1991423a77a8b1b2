"""Reading a body over connections that break, over real sockets."""

from __future__ import annotations

import random
import time
from typing import TYPE_CHECKING

import pytest

from durable_transport import (
    GenerationAborted,
    GenerationError,
    GenerationFailed,
    GenerationNotFound,
    GenerationOrphaned,
    GenerationTimedOut,
    MemoryStorage,
    NoDataTimeout,
    NotADurableProxy,
    OffsetOutOfRange,
    ProxyProtocolError,
    ProxyRefused,
    ProxyUnreachable,
    Sessions,
    session,
)
from transport.conftest import BODY
from transport.flavours import QUICK, UNIT, Flavour, quick
from transport.scripted import (
    Act,
    ScriptedProxy,
    answer,
    cut_after,
    end_after,
    hang,
    hang_after,
    refuse,
    reset,
    well,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from transport.scripted import Received, Wire

pytestmark = pytest.mark.anyio


def starts(proxy: ScriptedProxy) -> int:
    return proxy.kinds().count("start")


async def test_a_plain_run_takes_two_requests(proxy: ScriptedProxy, flavour: Flavour) -> None:
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.body, outcome.error) == (BODY, None)
    assert proxy.kinds() == ["start", "control"]


@pytest.mark.parametrize("seed", range(3))
async def test_cuts_ends_and_silence_are_invisible(
    proxy: ScriptedProxy, flavour: Flavour, seed: int
) -> None:
    chance = random.Random(seed)
    kinds: list[Callable[[int], Act]] = [cut_after, end_after, cut_after, end_after, hang_after]
    proxy.data_acts.extend(chance.choice(kinds)(chance.randrange(60)) for _ in range(15))
    proxy.control_acts.extend(
        chance.choice([reset, well, answer(503), refuse(500, "internal")]) for _ in range(8)
    )
    timing = quick(silence=0.1, give_up_after=10, backoff_first=0.001, healthy=0.05)
    outcome = await flavour.fetch(proxy.url, timing=timing)
    assert (outcome.body, outcome.error) == (BODY, None), f"seed {seed}"
    assert starts(proxy) == 1, f"seed {seed}"


async def test_a_cut_in_the_middle_of_every_byte(proxy: ScriptedProxy, flavour: Flavour) -> None:
    proxy.body = BODY[:40]
    proxy.data_acts.extend([cut_after(1)] * 39)
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.body, outcome.error) == (BODY[:40], None)
    offsets = [request.query("offset") for request in proxy.requests if request.kind == "data"]
    assert offsets == [f"{at:020d}" for at in range(1, 40)]


async def test_an_overlap_is_dropped(proxy: ScriptedProxy, flavour: Flavour) -> None:
    async def earlier(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        del request
        head = {"Transfer-Encoding": "chunked", "Stream-Next-Offset": f"{3:020d}"}
        await wire.head(200, head)
        await proxy.send_body(wire, 3)
        await wire.end()

    proxy.data_acts.extend([cut_after(20), earlier])
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.body, outcome.error) == (BODY, None)


async def test_a_gap_is_an_error(proxy: ScriptedProxy, flavour: Flavour) -> None:
    async def later(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        del request
        head = {"Transfer-Encoding": "chunked", "Stream-Next-Offset": f"{30:020d}"}
        await wire.head(200, head)
        await proxy.send_body(wire, 30)
        await wire.end()

    proxy.data_acts.extend([cut_after(20), later])
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == BODY[:20]
    assert isinstance(outcome.error, ProxyProtocolError)
    assert "20 to 30" in str(outcome.error)


@pytest.mark.parametrize(
    ("code", "kind", "theirs"),
    [
        ("upstream_error", GenerationFailed, "RemoteProtocolError"),
        ("upstream_truncated", GenerationFailed, "RemoteProtocolError"),
        ("aborted", GenerationAborted, "RemoteProtocolError"),
        ("upstream_timeout", GenerationTimedOut, "ReadTimeout"),
        ("orphaned", GenerationOrphaned, "RemoteProtocolError"),
    ],
)
async def test_a_bad_end_is_raised_after_all_bytes(
    proxy: ScriptedProxy, flavour: Flavour, code: str, kind: type[GenerationError], theirs: str
) -> None:
    storage = MemoryStorage()
    proxy.terminal = {"event": "error", "payload": {"code": code, "message": "because"}}
    outcome = await flavour.fetch(
        proxy.url, storage=storage, request={"headers": session("s", request_id="r")}
    )
    assert outcome.body == BODY
    assert isinstance(outcome.error, kind)
    assert flavour.is_theirs(outcome.error, theirs)
    assert outcome.error.code == code
    assert outcome.error.detail == "because"
    assert (outcome.error.session_id, outcome.error.request_id) == ("s", "r")
    assert outcome.error.offset == len(BODY)
    assert outcome.durable is not None
    assert not outcome.durable.completed
    assert Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12) is None


async def test_an_end_without_a_terminal_is_never_success(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.terminal = None
    outcome = await flavour.fetch(proxy.url, timing=quick(give_up_after=0.1, backoff_first=0.01))
    assert outcome.body == BODY
    assert isinstance(outcome.error, ProxyUnreachable)
    assert len(proxy.requests) < 40  # and no tight loop either


async def test_a_terminal_waits_for_the_data_it_names(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.data_acts.extend([end_after(10), end_after(0), end_after(0)])
    outcome = await flavour.fetch(proxy.url)
    assert (outcome.body, outcome.error) == (BODY, None)


async def test_data_that_ends_before_its_terminal_says_is_an_error(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.terminal = {"event": "done", "dataOffset": f"{len(BODY) + 1:020d}", "payload": {}}
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == BODY
    assert isinstance(outcome.error, ProxyProtocolError)


async def test_a_proxy_that_goes_away_is_given_up_on_and_the_offset_kept(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    storage = MemoryStorage()
    proxy.data_acts.extend([cut_after(21), *([reset] * 1000)])
    outcome = await flavour.fetch(
        proxy.url,
        storage=storage,
        timing=quick(give_up_after=0.15, backoff_first=0.01),
        request={"headers": session("s")},
    )
    assert isinstance(outcome.error, ProxyUnreachable)
    assert flavour.is_theirs(outcome.error, "ConnectError")
    assert outcome.error.offset == 21
    assert outcome.error.__cause__ is not None
    pointer = Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12)
    assert pointer is not None
    assert pointer.offset == 21


@pytest.mark.parametrize(
    ("act", "kind"),
    [
        (refuse(404, "stream_not_found"), GenerationNotFound),
        (refuse(416, "offset_out_of_range"), OffsetOutOfRange),
        (refuse(400, "invalid_offset"), ProxyRefused),
        (answer(404, b"<html>", Content_Type="text/html"), NotADurableProxy),
        (answer(200, b"<html>", Content_Type="text/html"), NotADurableProxy),
        (answer(302, b"", Location="/login"), NotADurableProxy),
    ],
)
async def test_what_no_repetition_cures_is_raised_at_once(
    proxy: ScriptedProxy, flavour: Flavour, act: Act, kind: type[GenerationError]
) -> None:
    proxy.data_acts.extend([cut_after(21), act])
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == BODY[:21]
    assert isinstance(outcome.error, kind)
    assert flavour.is_theirs(outcome.error, "RemoteProtocolError")
    assert outcome.error.offset == 21
    assert len(proxy.requests) == 2


@pytest.mark.parametrize(
    "act",
    [
        answer(200, b"<html>", Content_Type="text/html", Stream_Next_Offset="x"),
        answer(200, b'{"not": "an array"}', Stream_Next_Offset="x"),
        answer(200, b"[[]]", Stream_Next_Offset="x"),
        answer(200, b"[]"),
    ],
)
async def test_a_control_answer_that_is_none_is_raised(
    proxy: ScriptedProxy, flavour: Flavour, act: Act
) -> None:
    proxy.control_acts.append(act)
    outcome = await flavour.fetch(proxy.url)
    assert outcome.body == BODY
    assert isinstance(outcome.error, NotADurableProxy)


async def test_retry_after_is_honoured(proxy: ScriptedProxy, flavour: Flavour) -> None:
    # longer than our patience: to ask any sooner would be refused as well
    proxy.data_acts.extend([cut_after(21), refuse(503, "shutting_down", Retry_After="30"), well])
    outcome = await flavour.fetch(proxy.url)
    assert isinstance(outcome.error, ProxyUnreachable)
    assert len(proxy.requests) == 2


@pytest.mark.parametrize("status", [401, 403])
async def test_expired_credentials_get_one_chance(
    proxy: ScriptedProxy, flavour: Flavour, status: int
) -> None:
    tokens = iter("abcdefgh")
    proxy.data_acts.extend([cut_after(21), refuse(status, "unauthorized"), cut_after(5)])
    proxy.data_acts.append(refuse(status, "unauthorized"))  # there was progress: a chance again
    outcome = await flavour.fetch(
        proxy.url, headers=lambda: {"X-Proxy-Authorization": next(tokens)}
    )
    assert (outcome.body, outcome.error) == (BODY, None)
    sent = [request.headers["x-proxy-authorization"] for request in proxy.requests]
    assert sent == list("abcdef")


async def test_credentials_that_stay_bad_are_an_error_that_keeps_the_offset(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.data_acts.extend([cut_after(21), *([refuse(401, "unauthorized", "expired")] * 5)])
    storage = MemoryStorage()
    outcome = await flavour.fetch(proxy.url, storage=storage, request={"headers": session("s")})
    assert isinstance(outcome.error, ProxyRefused)
    assert (outcome.error.code, outcome.error.offset) == ("unauthorized", 21)
    assert len(proxy.requests) == 3
    pointer = Sessions(storage, proxy.url, clock=time.time).active("s", ttl=1e12)
    assert pointer is not None
    assert pointer.offset == 21


async def test_a_half_open_connection_is_given_up_and_resumed(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.data_acts.extend([hang_after(21), hang, hang_after(0)])
    outcome = await flavour.fetch(proxy.url, timing=quick(silence=0.05, backoff_first=0.001))
    assert (outcome.body, outcome.error) == (BODY, None)


async def test_the_clients_own_read_timeout_counts_time_without_data(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.data_acts.extend([hang_after(21), *([hang_after(0)] * 50)])
    outcome = await flavour.fetch(
        proxy.url,
        timing=quick(silence=0.05, backoff_first=0.001),
        timeout=flavour.library.Timeout(5.0 * UNIT, read=0.3 * UNIT),
    )
    assert outcome.body == BODY[:21]
    assert isinstance(outcome.error, NoDataTimeout)
    assert flavour.is_theirs(outcome.error, "ReadTimeout")
    assert 4 <= len(proxy.requests) <= 8


async def test_an_idle_generation_is_waited_for(proxy: ScriptedProxy, flavour: Flavour) -> None:
    """A proxy that ends idle answers is healthy, however often it does."""

    async def idle(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        import asyncio

        await proxy.open_body(request, wire)
        await asyncio.sleep(0.03 * UNIT)
        await wire.end()

    async def running(proxy: ScriptedProxy, request: Received, wire: Wire) -> None:
        terminal, proxy.terminal = proxy.terminal, None
        await well(proxy, request, wire)
        proxy.terminal = terminal

    proxy.data_acts.extend([idle] * 8)
    proxy.control_acts.extend([running] * 8)
    timing = quick(healthy=0.02, give_up_after=0.1, backoff_first=0.01)
    outcome = await flavour.fetch(proxy.url, timing=timing)
    assert (outcome.body, outcome.error) == (BODY, None)


async def test_what_others_count_is_counted_exactly(proxy: ScriptedProxy, flavour: Flavour) -> None:
    """``durable.offset`` is exact in the middle of a body too."""
    outcome = await flavour.fetch(proxy.url, stop_after=100, timing=QUICK)
    assert outcome.durable is not None
    assert outcome.durable.offset == len(outcome.body)
    assert outcome.durable.resume_offset <= len(outcome.body)


async def test_every_request_to_the_proxy_carries_what_is_for_it(
    proxy: ScriptedProxy, flavour: Flavour
) -> None:
    proxy.data_acts.append(cut_after(21))
    await flavour.fetch(
        proxy.url,
        headers={"X-Gate": "g"},
        request={"headers": {"Authorization": "Bearer sk", "X-Proxy-Tenant": "t"}},
    )
    assert proxy.kinds() == ["start", "data", "control"]
    for request in proxy.requests:
        assert (request.headers["x-gate"], request.headers["x-proxy-tenant"]) == ("g", "t")
        assert request.headers["accept-encoding"] == "identity"
    assert all("authorization" not in request.headers for request in proxy.requests[1:])
