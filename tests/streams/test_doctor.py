"""The doctor: what observations mean, and what it says of real obstacles."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams_server import Limits
from durable_streams_server._cli._diagnosis import (
    NEEDED_HEADERS,
    Finding,
    Head,
    Idle,
    Level,
    Listening,
    Trial,
    clump_count,
    of_catch_up,
    of_clock,
    of_idle,
    of_trial,
)
from durable_streams_server._cli._errors import CommandError
from durable_streams_server._cli._examine import examine
from streams import middlebox as between
from streams.command import command
from streams.gate import UNIT
from streams.serving import PATIENT, served
from streams.test_commands import fails

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

pytestmark = [pytest.mark.anyio, pytest.mark.allow_blocking]  # a command is no server

OK, WARN, FAIL = Level.OK, Level.WARN, Level.FAIL
ALL_THERE = dict.fromkeys(NEEDED_HEADERS, "x") | {
    "access-control-expose-headers": "ETag, Stream-Next-Offset"
}
LIVE = Head(200, "HTTP/1.1", {"content-type": "text/event-stream"})


def levels(findings: Iterable[Finding]) -> list[Level]:
    found = list(findings)
    for finding in found:
        assert finding.text
        assert bool(finding.remedy) is (finding.level is not OK), "a verdict names its remedy"
    return [finding.level for finding in found]


def trial(arrivals: Mapping[int, float], *, mode: str = "sse", **fields: Any) -> list[Finding]:
    """What is said of a reader's arrivals; events were sent at 0, 1, 2, 3, and the end was at 6."""
    listening = Listening(mode, fields.get("head", LIVE), arrivals, fields.get("broke"))
    sent = {number: float(number) for number in range(4)}
    return list(of_trial(Trial(sent, 6.0, 1.0, [listening])))


# --------------------------------------------------------------------------- verdicts


@pytest.mark.parametrize(
    ("arrivals", "level", "words"),
    [
        ({0: 0.01, 1: 1.01, 2: 2.01, 3: 3.01}, OK, "delay 10 ms"),
        ({0: 0.01, 1: 1.9, 2: 2.01, 3: 3.01}, OK, "at most 900 ms"),
        ({0: 1.5, 1: 2.5, 2: 3.5, 3: 4.5}, WARN, "slow"),
        ({0: 2.5, 1: 2.5, 2: 2.6, 3: 5.0}, FAIL, "2 clumps"),
        ({0: 3.1, 1: 3.1, 2: 3.1, 3: 3.1}, FAIL, "1 clumps"),
        ({0: 6.1, 1: 6.1, 2: 6.1, 3: 6.1}, FAIL, "4 of 4"),
        ({0: 0.1, 1: 1.1, 2: 2.1, 3: 6.1}, FAIL, "1 of 4"),
        ({}, FAIL, "4 of 4"),
    ],
)
def test_delays(arrivals: dict[int, float], level: Level, words: str) -> None:
    (finding,) = trial(arrivals)
    assert (finding.level, words in finding.text) == (level, True), finding


def test_a_connection_that_breaks_is_not_called_buffered() -> None:
    (finding,) = trial({0: 0.1, 1: 1.1}, broke="reset")
    assert finding.level is FAIL
    assert "broke off after 2 of 4" in finding.text


@pytest.mark.parametrize(
    ("head", "mode", "found"),
    [
        (LIVE, "sse", [OK]),
        (Head(200, "HTTP/1.0", {}), "sse", [WARN, OK]),
        (Head(200, "HTTP/1.1", {"content-encoding": "gzip"}), "raw", [FAIL, OK]),
        (Head(200, "HTTP/1.1", {"content-length": "9"}), "raw", [FAIL, OK]),
        (Head(200, "HTTP/1.1", {"content-length": "9"}), "long-poll", [OK]),
        (Head(502, "HTTP/1.1", {}), "sse", [FAIL]),
    ],
)
def test_heads_of_live_answers(head: Head, mode: str, found: list[Level]) -> None:
    assert (
        levels(trial({number: number + 0.01 for number in range(4)}, mode=mode, head=head)) == found
    )


@pytest.mark.parametrize("name", NEEDED_HEADERS)
def test_each_missing_header_is_named(name: str) -> None:
    headers = {key: value for key, value in ALL_THERE.items() if key != name}
    (finding,) = of_catch_up(Head(200, "HTTP/1.1", headers))
    if name == "access-control-allow-origin":
        assert finding.level is OK, "the server was told --no-cors"
    else:
        assert (finding.level, name in finding.text) == (FAIL, True)


@pytest.mark.parametrize(
    ("date", "level"),
    [(1000.0, OK), (1029.0, OK), (971.0, OK), (1031.0, WARN), (900.0, WARN), (None, WARN)],
)
def test_clocks(date: float | None, level: Level) -> None:
    assert levels([of_clock(date, 1000.0)]) == [level]


@pytest.mark.parametrize(
    ("idle", "level"),
    [
        (Idle("sse", None, None), OK),
        (Idle("sse", 60.0, None), OK),
        (Idle("sse", 30.0, None), FAIL),
        (Idle("sse", 60.0, "reset"), FAIL),
        (Idle("long-poll", 20.0, None), OK),
        (Idle("long-poll", 10.0, "answered 504"), FAIL),
    ],
)
def test_quiet_connections(idle: Idle, level: Level) -> None:
    assert levels([of_idle(idle, 90.0)]) == [level]


@pytest.mark.parametrize(
    ("times", "count"), [([], 0), ([1], 1), ([1, 1, 1], 1), ([1, 2], 2), ([1, 1.1, 2, 2.1, 3], 3)]
)
def test_clumps(times: list[float], count: int) -> None:
    assert clump_count(times, 0.5) == count


# --------------------------------------------------------------------------- obstacles

LIMITS = Limits(long_poll=20 * UNIT, heartbeat=1000, raw_idle=1000, rotate=1000)


async def verdicts(
    obstacle: type[between.Middlebox], *arguments: float, idle: float = 0
) -> dict[str, list[Finding]]:
    """What the doctor says through an obstacle that gives no OK, by check."""
    async with (
        served(LIMITS) as server,
        between.standing(obstacle(server.port, *arguments)) as url,
    ):
        findings = await examine(url + "/v1/stream", [], idle=idle, interval=0.2 * UNIT)
        assert levels(findings)
        left = await server.log.list_streams()
        assert (left == []) is (obstacle is not between.KeepsStreams), "nothing is left behind"
    bad: dict[str, list[Finding]] = {}
    for finding in findings:
        if finding.level is not OK:
            bad.setdefault(finding.check, []).append(finding)
    return bad


async def test_nothing_between_and_nothing_wrong() -> None:
    assert await verdicts(between.Middlebox, idle=0.2 * UNIT) == {}


async def test_a_buffer() -> None:
    found = await verdicts(between.Buffers)
    assert set(found) == {"sse", "raw"}, "a long-poll is whole by nature"
    for (finding,) in found.values():
        assert finding.text.startswith("buffered: 8 of 8")
        assert "proxy_buffering off" in finding.remedy


async def test_clumps_of_events() -> None:
    found = await verdicts(between.Clumps, 0.7 * UNIT)
    assert "clumps" in found["sse"][0].text
    assert "clumps" in found["raw"][0].text


async def test_a_cut_of_quiet_connections() -> None:
    found = await verdicts(between.Cuts, UNIT, idle=3 * UNIT)
    assert set(found) == {"idle sse", "idle long-poll"}
    assert "cut after" in found["idle sse"][0].text
    assert "cut after" in found["idle long-poll"][0].text


async def test_a_cut_between_two_events() -> None:
    found = await verdicts(between.Cuts, 0.05 * UNIT)
    assert "broke off" in found["sse"][0].text


async def test_headers_taken_off() -> None:
    found = await verdicts(between.Strips)
    assert "stream-next-offset, stream-up-to-date, etag" in found["headers"][0].text


async def test_headers_hidden_from_pages() -> None:
    found = await verdicts(between.HidesFromPages)
    assert [list(found), "Expose-Headers" in found["headers"][0].text] == [["headers"], True]


async def test_an_old_version_of_http() -> None:
    found = await verdicts(between.Ages)
    assert "HTTP/1.0" in found["sse"][0].text


async def test_compression() -> None:
    found = await verdicts(between.Compresses)
    assert set(found) == {"sse", "raw"}
    assert "compressed (gzip)" in found["sse"][0].text


async def test_a_method_that_does_not_come_through() -> None:
    found = await verdicts(between.KeepsStreams)
    assert "DELETE is answered with 405" in found["methods"][0].text


async def test_a_server_that_lets_nobody_write() -> None:
    async with served(PATIENT, read_only=True) as server:
        with pytest.raises(CommandError, match="405"):
            await examine(f"http://127.0.0.1:{server.port}/v1/stream", [])


# --------------------------------------------------------------------------- the command


def test_no_server() -> None:
    assert "cannot be reached" in fails("doctor", "http://127.0.0.1:1")


@pytest.mark.parametrize("where", ["sqlite:///f", "http://h/v1/stream/s"])
def test_not_a_server(where: str) -> None:
    assert "URL of a server" in fails("doctor", where, code=2)


async def test_the_command_says_what_is_wrong_and_how_to_mend_it() -> None:
    async with (
        served(LIMITS) as server,
        between.standing(between.Buffers(server.port)) as url,
    ):
        done = await asyncio.to_thread(command, "doctor", url)
        assert (done.returncode, done.stderr) == (1, "")
        assert "fail  sse            buffered" in done.stdout
        assert " -> nginx: proxy_buffering off" in done.stdout
        done = await asyncio.to_thread(command, "doctor", url, "--json")
        assert '"level": "fail", "check": "sse"' in done.stdout
