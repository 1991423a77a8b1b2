"""What the observations of a path to a server mean, and what to do about it. Pure."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from statistics import median

SLOW_SECONDS = 1.0
SKEW_SECONDS = 30.0
ROTATION_SECONDS = 55.0
"""A server ends live answers by itself after a minute; an end before that was somebody else's."""
EVENT_STREAM_ONLY = frozenset({"sse", "raw"})
"""Modes whose one answer goes on; the others have an answer for each piece of news."""
NEEDED_HEADERS = (
    *("stream-next-offset", "stream-up-to-date", "etag", "cache-control", "content-type"),
    *("x-content-type-options", "access-control-allow-origin", "access-control-expose-headers"),
)
_UNBUFFERED = (
    "nginx: proxy_buffering off; proxy_http_version 1.1; or let the server's X-Accel-Buffering: no"
    " through. Caddy: flush_interval -1. Others: switch response buffering off for this path"
)


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"


@dataclass(frozen=True, slots=True)
class Finding:
    """One verdict, and what to do if it is a bad one."""

    level: Level
    check: str
    text: str
    remedy: str = ""


@dataclass(frozen=True, slots=True)
class Head:
    """Of an answer: header names are in lower case."""

    status: int
    version: str
    headers: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Listening:
    """What a live reader saw. Times are seconds of one clock.

    Attributes:
        mode: Live mode of the protocol.
        head: Of its first answer; None when there was none.
        arrivals: When each event came, by its number.
        broke: How the connection failed, if it did.
    """

    mode: str
    head: Head | None
    arrivals: Mapping[int, float]
    broke: str | None


@dataclass(frozen=True, slots=True)
class Trial:
    """Events that were appended one by one, and who saw them.

    Attributes:
        sent: When each was appended, by its number.
        closed_at: When the stream was closed, which ends every live answer.
        interval: Seconds between two events.
    """

    sent: Mapping[int, float]
    closed_at: float
    interval: float
    listening: Sequence[Listening]


@dataclass(frozen=True, slots=True)
class Idle:
    """A connection on which nothing happened.

    Attributes:
        seconds: How long it lasted; None when it outlasted the doctor's patience.
        broke: How it ended, if it was not a clean end.
    """

    mode: str
    seconds: float | None
    broke: str | None


def of_catch_up(head: Head) -> Iterator[Finding]:
    """Whether an ordinary answer came through whole."""
    without_cors = "access-control-allow-origin" not in head.headers
    missing = [
        name
        for name in NEEDED_HEADERS
        if name not in head.headers and not (without_cors and name.startswith("access-control"))
    ]
    if missing:
        yield Finding(
            Level.FAIL,
            "headers",
            f"taken off on the way: {', '.join(missing)}",
            "let all response headers through; with an allow list, add these",
        )
    elif not without_cors and "stream-next-offset" not in head.headers[
        "access-control-expose-headers"
    ].lower().replace(" ", "").split(","):
        yield Finding(
            Level.FAIL,
            "headers",
            "Access-Control-Expose-Headers was replaced: pages of other origins see no offsets",
            "leave the CORS headers to the server, or expose its headers as well",
        )
    else:
        yield Finding(Level.OK, "headers", "all are there")


def of_clock(date: float | None, now: float) -> Finding:
    """The server's clock against ours; epoch seconds."""
    if date is None:
        return Finding(Level.WARN, "clock", "the answers have no Date", "let Date through")
    skew = date - now
    if abs(skew) > SKEW_SECONDS:
        return Finding(
            Level.WARN,
            "clock",
            f"the server's clock is {abs(skew):.0f} s {'ahead of' if skew > 0 else 'behind'} ours",
            "synchronise both: Stream-Expires-At is a time of the server's clock",
        )
    return Finding(Level.OK, "clock", "in step")


def of_trial(trial: Trial) -> Iterator[Finding]:
    """What the live readers saw."""
    for listening in trial.listening:
        yield from _of_head(listening)
        yield _of_events(trial, listening)


def _of_head(listening: Listening) -> Iterator[Finding]:
    head, check = listening.head, listening.mode
    if head is None:
        return
    if encoding := head.headers.get("content-encoding"):
        yield Finding(
            Level.FAIL,
            check,
            f"live answers are compressed ({encoding}): a compressor holds events back",
            "nginx: gzip off for this path. Others: heed Cache-Control: no-transform",
        )
    if head.version == "HTTP/1.0":
        yield Finding(
            Level.WARN,
            check,
            "answers are HTTP/1.0: nobody can tell their end from a broken connection",
            "speak HTTP/1.1 to the server (nginx: proxy_http_version 1.1)",
        )
    elif listening.mode in EVENT_STREAM_ONLY and "content-length" in head.headers:
        yield Finding(Level.FAIL, check, "live answers come with a length: whole", _UNBUFFERED)


def _of_events(trial: Trial, listening: Listening) -> Finding:
    check, arrivals = listening.mode, listening.arrivals
    if listening.head is not None and listening.head.status != 200:  # noqa: PLR2004 - OK
        return Finding(
            Level.FAIL,
            check,
            f"answered {listening.head.status}",
            "let GET requests with a query through to the server",
        )
    late = [number for number in trial.sent if arrivals.get(number, 0.0) > trial.closed_at]
    missing = [number for number in trial.sent if number not in arrivals]
    if late or (missing and listening.broke is None):
        return Finding(
            Level.FAIL,
            check,
            f"buffered: {len(late) + len(missing)} of {len(trial.sent)} events came only when the"
            f" answer ended, or never",
            _UNBUFFERED,
        )
    if listening.broke is not None:
        return Finding(
            Level.FAIL,
            check,
            f"broke off after {len(arrivals)} of {len(trial.sent)} events: {listening.broke}",
            "raise the time limits of what stands between (nginx: proxy_read_timeout)",
        )
    return _of_delays(trial, listening)


def _of_delays(trial: Trial, listening: Listening) -> Finding:
    delays = [listening.arrivals[number] - sent for number, sent in trial.sent.items()]
    text = f"delay {median(delays) * 1000:.0f} ms, at most {max(delays) * 1000:.0f} ms"
    clumps = clump_count(sorted(listening.arrivals.values()), trial.interval / 4)
    if clumps <= len(delays) / 2 and max(delays) > 2 * trial.interval:
        return Finding(
            Level.FAIL,
            listening.mode,
            f"buffered: {len(delays)} events came in {clumps} clumps; {text}",
            _UNBUFFERED,
        )
    if median(delays) > SLOW_SECONDS:
        return Finding(
            Level.WARN,
            listening.mode,
            f"slow: {text}",
            "see /metrics: durable_streams_commit_seconds",
        )
    return Finding(Level.OK, listening.mode, text)


def clump_count(times: Sequence[float], gap: float) -> int:
    """How many groups there are when those closer than ``gap`` to their neighbour are one."""
    if not times:
        return 0
    return 1 + sum(later - time > gap for time, later in pairwise(times))


def of_idle(idle: Idle, patience: float) -> Finding:
    """Whether a quiet connection was left alone."""
    remedy = (
        "raise the idle limits to two minutes (nginx: proxy_read_timeout 120s; ALB: idle_timeout)"
    )
    check = f"idle {idle.mode}"
    if idle.broke is not None:
        after = "" if idle.seconds is None else f" after {idle.seconds:.1f} s"
        return Finding(Level.FAIL, check, f"cut{after}: {idle.broke}", remedy)
    if idle.seconds is not None and idle.mode == "sse" and idle.seconds < ROTATION_SECONDS:
        return Finding(Level.FAIL, check, f"ended after {idle.seconds:.1f} s", remedy)
    return Finding(
        Level.OK, check, f"left alone for {min(patience, idle.seconds or patience):.0f} s"
    )
