"""The HTTP/1.1 parser: every case whole, one byte at a time, and with bytes after it."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_proxy._http1 import (
    MAX_OVERHEAD_BYTES,
    GarbageError,
    ResponseParser,
    TruncatedError,
    request_bytes,
)

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass
class Answer:
    """What became of an answer."""

    status: int | None
    body: bytes
    end: str
    """``complete``, ``open``, ``garbage``, or after the connection's end ``truncated``."""
    reusable: bool


def parse(parts: Iterable[bytes], method: str = "POST", *, ends: bool = False) -> Answer:
    body: list[bytes] = []
    parser = ResponseParser(method, body)
    end = ""
    try:
        for part in parts:
            parser.feed(part)
        if ends:
            parser.end()
    except GarbageError:
        end = "garbage"
    except TruncatedError:
        end = "truncated"
    status = None if parser.head is None else parser.head.status
    state = end or ("complete" if parser.complete else "open")
    return Answer(status, b"".join(body), state, parser.reusable)


def bytewise(data: bytes) -> list[bytes]:
    return [data[index : index + 1] for index in range(len(data))]


def head(*lines: str, status: str = "HTTP/1.1 200 OK") -> bytes:
    return "\r\n".join([status, *lines, "", ""]).encode("latin-1")


CHUNKED = head("Transfer-Encoding: chunked")
FIVE = head("Content-Length: 5")

COMPLETE = {
    "length": (FIVE + b"hello", b"hello"),
    "no body": (head("Content-Length: 0"), b""),
    "chunked": (CHUNKED + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n", b"hello"),
    "chunk extensions": (CHUNKED + b'5;a=b;c="d;e"\r\nhello\r\n0;z\r\n\r\n', b"hello"),
    "trailers": (CHUNKED + b"5\r\nhello\r\n0\r\nX-Sum: 1\r\nX-B: 2\r\n\r\n", b"hello"),
    "leading zeros": (CHUNKED + b"0005\r\nhello\r\n000\r\n\r\n", b"hello"),
    "upper case": (
        head("TRANSFER-ENCODING: CHUNKED") + b"A\r\n0123456789\r\n0\r\n\r\n",
        b"0123456789",
    ),
    "interim": (head(status="HTTP/1.1 100 Continue") + FIVE + b"hello", b"hello"),
    "interim twice": (
        head("Link: </a>", status="HTTP/1.1 103 Early Hints") * 2 + FIVE + b"hello",
        b"hello",
    ),
    "204": (head(status="HTTP/1.1 204 No Content"), b""),
    "204 with a length": (head("Content-Length: 5", status="HTTP/1.1 204 No Content"), b""),
    "304 with a length": (head("Content-Length: 5", status="HTTP/1.1 304 Not Modified"), b""),
    "no reason": (head("Content-Length: 5", status="HTTP/1.1 200") + b"hello", b"hello"),
    "folded": (head("X: a", " b", "Content-Length: 5") + b"hello", b"hello"),
    "latin-1": (head("X: gr\xf6\xdfer", "Content-Length: 5") + b"hello", b"hello"),
    "control character": (head("X: a\x01b", "Content-Length: 5") + b"hello", b"hello"),
    "empty value": (head("X:", "Content-Length: 5") + b"hello", b"hello"),
    "binary": (head("Content-Length: 256") + bytes(range(256)), bytes(range(256))),
    "blank lines first": (b"\r\n\r\n" + FIVE + b"hello", b"hello"),
    "upgrade that was not made": (
        head("Connection: upgrade", "Upgrade: h2c", "Content-Length: 5") + b"hello",
        b"hello",
    ),
}

GARBAGE = {
    "ssh": b"SSH-2.0-OpenSSH_9.9\r\n\r\n",
    "tls alert": b"\x15\x03\x03\x00\x02\x02\x28",
    "http/2 preface": b"\x00\x00\x12\x04\x00\x00\x00\x00\x00",
    "json": b'{"error": 1}',
    "http/0.9": head("Content-Length: 0", status="HTTP/0.9 200 OK"),
    "http/2.0": head("Content-Length: 0", status="HTTP/2.0 200 OK"),
    "http/3": head("Content-Length: 0", status="HTTP/3 200 OK"),
    "two digits": head(status="HTTP/1.1 20 OK"),
    "switching": head("Connection: upgrade", "Upgrade: x", status="HTTP/1.1 101 Switch"),
    "both framings": head("Content-Length: 5", "Transfer-Encoding: chunked"),
    "two lengths": head("Content-Length: 5", "Content-Length: 6"),
    "a list of lengths": head("Content-Length: 5, 5"),
    "signed length": head("Content-Length: +5"),
    "negative length": head("Content-Length: -5"),
    "hex length": head("Content-Length: 0x5"),
    "empty length": head("Content-Length:"),
    "length beyond 64 bits": head("Content-Length: 99999999999999999999999"),
    "packed transfer": head("Transfer-Encoding: gzip, chunked"),
    "chunked is not last": head("Transfer-Encoding: chunked, gzip"),
    "identity": head("Transfer-Encoding: identity"),
    "chunked with a control character": head("Transfer-Encoding: chunked\x0b"),
    "space before the colon": head("X : a"),
    "no colon": head("X"),
    "bad name": head("X(: a"),
    "bare line feeds": FIVE.replace(b"\r\n", b"\n"),
    "bare carriage return": head("X: a\rContent-Length: 0"),
    "chunk size": CHUNKED + b"zz\r\n",
    "chunk size with a sign": CHUNKED + b"+5\r\nhello\r\n",
    "chunk size beyond 64 bits": CHUNKED + b"f" * 20 + b"\r\n",
    "chunk size and a line feed": CHUNKED + b"5\nhello\r\n",
    "no end of a chunk": CHUNKED + b"5\r\nhelloX",
}

OPEN = {
    "nothing": b"",
    "half a head": b"HTTP/1.1 200 OK\r\nContent-Ty",
    "only interim": head(status="HTTP/1.1 100 Continue"),
    "short": FIVE + b"hell",
    "no last chunk": CHUNKED + b"5\r\nhello\r\n",
    "in a chunk": CHUNKED + b"40\r\nhello",
    "in a chunk size": CHUNKED + b"4",
    "in the last chunk": CHUNKED + b"5\r\nhello\r\n0\r\n",
    "in the trailers": CHUNKED + b"5\r\nhello\r\n0\r\nX: 1\r\n",
}


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("split", [lambda data: [data], bytewise])
def test_a_whole_answer(name: str, split: object) -> None:
    data, body = COMPLETE[name]
    answer = parse(split(data))  # type: ignore[operator]
    assert (answer.body, answer.end, answer.reusable) == (body, "complete", True)


@pytest.mark.parametrize("name", COMPLETE)
@pytest.mark.parametrize("rest", [b"x", FIVE + b"other", b"\x00\xff"])
@pytest.mark.parametrize("apart", [True, False])
def test_what_follows_is_not_of_the_answer(name: str, rest: bytes, *, apart: bool) -> None:
    data, body = COMPLETE[name]
    answer = parse([data, rest] if apart else [data + rest])
    assert (answer.body, answer.end, answer.reusable) == (body, "complete", False)


@pytest.mark.parametrize("name", COMPLETE)
def test_an_end_of_the_connection_after_it_changes_nothing(name: str) -> None:
    data, body = COMPLETE[name]
    answer = parse([data], ends=True)
    assert (answer.body, answer.end) == (body, "complete")


@given(st.sampled_from(sorted(COMPLETE)), st.lists(st.integers(0, 400), max_size=8))
def test_no_split_matters(name: str, cuts: list[int]) -> None:
    data, body = COMPLETE[name]
    edges = [0, *sorted(min(cut, len(data)) for cut in cuts), len(data)]
    parts = [data[start:end] for start, end in pairwise(edges) if start < end]
    assert parse(parts) == parse([data])
    assert parse(parts).body == body


@pytest.mark.parametrize("name", GARBAGE)
@pytest.mark.parametrize("split", [lambda data: [data], bytewise])
def test_garbage(name: str, split: object) -> None:
    answer = parse(split(GARBAGE[name]))  # type: ignore[operator]
    assert (answer.end, answer.reusable) == ("garbage", False)


@pytest.mark.parametrize("split", [lambda data: [data], bytewise])
def test_what_came_before_garbage_is_kept(split: object) -> None:
    data = CHUNKED + b"5\r\nhello\r\nzz\r\n"
    answer = parse(split(data))  # type: ignore[operator]
    assert (answer.status, answer.body, answer.end) == (200, b"hello", "garbage")


@pytest.mark.parametrize("name", OPEN)
@pytest.mark.parametrize("split", [lambda data: [data], bytewise])
def test_an_end_before_the_promised_one(name: str, split: object) -> None:
    parts = split(OPEN[name])  # type: ignore[operator]
    assert parse(parts).end == "open"
    assert parse(parts, ends=True).end == "truncated"


@pytest.mark.parametrize("name", COMPLETE)
def test_every_prefix_of_an_answer_is_incomplete(name: str) -> None:
    data, body = COMPLETE[name]
    for length in range(len(data)):
        answer = parse([data[:length]], ends=True)
        assert answer.end == "truncated"
        assert body.startswith(answer.body)


@pytest.mark.parametrize("version", ["1.0", "1.1"])
@pytest.mark.parametrize("split", [lambda data: [data], bytewise])
def test_without_a_framing_the_end_is_the_connections(version: str, split: object) -> None:
    data = head("Content-Type: a/b", status=f"HTTP/{version} 200 OK") + b"all of it"
    parts = split(data)  # type: ignore[operator]
    assert parse(parts).end == "open"
    answer = parse(parts, ends=True)
    assert (answer.body, answer.end, answer.reusable) == (b"all of it", "complete", False)


@pytest.mark.parametrize(
    "data",
    [
        head("Connection: close", "Content-Length: 5") + b"hello",
        head("Connection: Close, x", "Transfer-Encoding: chunked") + b"5\r\nhello\r\n0\r\n\r\n",
        head("Content-Length: 5", status="HTTP/1.0 200 OK") + b"hello",
    ],
)
def test_a_connection_that_is_not_kept(data: bytes) -> None:
    assert parse([data]) == Answer(200, b"hello", "complete", reusable=False)
    assert parse([data + b"x"]) == Answer(200, b"hello", "complete", reusable=False)


def test_an_old_server_may_keep_a_connection() -> None:
    data = head("Connection: keep-alive", "Content-Length: 0", status="HTTP/1.0 200 OK")
    assert parse([data]).reusable


@pytest.mark.parametrize("framing", ["Content-Length: 5", "Transfer-Encoding: chunked", "X: 1"])
@pytest.mark.parametrize("split", [lambda data: [data], bytewise])
def test_the_answer_to_head_has_no_body(framing: str, split: object) -> None:
    answer = parse(split(head(framing)), "HEAD")  # type: ignore[operator]
    assert (answer.status, answer.body, answer.end) == (200, b"", "complete")
    wrong = parse(split(head(framing) + b"hello"), "HEAD")  # type: ignore[operator]
    assert (wrong.body, wrong.end, wrong.reusable) == (b"", "complete", False)


def test_headers_are_the_final_answers_own() -> None:
    body: list[bytes] = []
    parser = ResponseParser("POST", body)
    parser.feed(head("X-Interim: 1", status="HTTP/1.1 103 Early Hints"))
    parser.feed(head("X-B: 2", "x-a: 1", "X-B: 3", "Transfer-Encoding: chunked"))
    parser.feed(b"0\r\nX-Trailer: 9\r\n\r\n")
    assert parser.head is not None
    assert parser.head.headers == (
        (b"X-B", b"2"),
        (b"x-a", b"1"),
        (b"X-B", b"3"),
        (b"Transfer-Encoding", b"chunked"),
    )


LINE = b"X-Filler: " + b"f" * 1000 + b"\r\n"
MANY = MAX_OVERHEAD_BYTES // len(LINE) + 2


@pytest.mark.parametrize("step", [1000, 100_000, 10_000_000])
@pytest.mark.parametrize(
    "data",
    [
        b"HTTP/1.1 200 OK\r\n" + LINE * MANY + b"Content-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"f" * 2 * MAX_OVERHEAD_BYTES,
        b"HTTP/1.1 200 " + b"K" * 2 * MAX_OVERHEAD_BYTES,
        head("X: 1", status="HTTP/1.1 100 Continue") * (MAX_OVERHEAD_BYTES // 10),
        CHUNKED + b"0\r\n" + LINE * MANY,
        CHUNKED + b"5;" + b"e" * 2 * MAX_OVERHEAD_BYTES,
    ],
    ids=["head", "header", "reason", "interim", "trailers", "extension"],
)
def test_what_is_no_body_is_bounded(data: bytes, step: int) -> None:
    parts = [data[start : start + step] for start in range(0, len(data), step)]
    assert parse(parts).end == "garbage"


def test_a_body_in_single_bytes_is_as_long_as_it_likes() -> None:
    chunks = [b"1\r\nx\r\n"] * MAX_OVERHEAD_BYTES
    answer = parse([CHUNKED, *chunks, b"0\r\n\r\n"])
    assert (len(answer.body), answer.end) == (MAX_OVERHEAD_BYTES, "complete")


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [("POST", b"", b"0"), ("POST", b"abc", b"3"), ("GET", b"", None), ("GET", b"abc", b"3")],
)
def test_a_request(method: str, body: bytes, length: bytes | None) -> None:
    sent = request_bytes(method, "/a?b=c", "h:1", ((b"X-A", b"1"), (b"x-a", b"\xff")), body)
    expected = [f"{method} /a?b=c HTTP/1.1".encode(), b"Host: h:1", b"X-A: 1", b"x-a: \xff"]
    if length is not None:
        expected.append(b"Content-Length: " + length)
    assert sent == b"\r\n".join([*expected, b"", b""])
