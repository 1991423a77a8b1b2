"""The errors of the stream client: their texts, and that they travel between processes."""

from __future__ import annotations

import pickle
from typing import Any

import pytest

import durable_transport as dt

URL = "http://h/s"
WHERE: dict[str, Any] = {"status": 409, "offset": "7"}
END = "[http://h/s, status 409, offset 7]"

TEXTS = [
    (dt.StreamError(URL), "the stream cannot be used [http://h/s]"),
    (dt.StreamNotFound(URL, **WHERE), f"there is no stream here; create() makes one {END}"),
    (
        dt.StreamGone(URL, **WHERE),
        (
            "the stream was deleted, or the offset is older than what it keeps: read from a later "
            f"one, or from the beginning {END}"
        ),
    ),
    (
        dt.InvalidOffset(URL, "what?", **WHERE),
        (
            "the offset is none of this stream's: use one that a read has given, -1 for the "
            f"beginning, or now for the end: what? {END}"
        ),
    ),
    (
        dt.StreamConflict(URL, **WHERE),
        f"the request contradicts the state of the stream {END}",
    ),
    (dt.StreamExists(URL, **WHERE), f"there is another kind of stream here already {END}"),
    (dt.StreamClosed(URL, **WHERE), f"the stream is closed {END}"),
    (dt.ContentTypeMismatch(URL, **WHERE), f"the stream holds another content type {END}"),
    (dt.SequenceConflict(URL, **WHERE), f"seq is not greater than the last one {END}"),
    (
        dt.ProducerGap(URL, **WHERE, expected=1, received=2),
        f"the server has lost track of this producer; start it with a new epoch {END}",
    ),
    (
        dt.ProducerFenced(URL, **WHERE, epoch=3),
        (
            "another producer has this id and a newer epoch, or has used this epoch already; give "
            f"each running producer an id of its own, and each start a new epoch {END}"
        ),
    ),
    (dt.StreamRefused(URL, "no", **WHERE), f"the server refused the request: no {END}"),
    (dt.StreamUnreachable(URL, **WHERE), f"no usable answer from the server {END}"),
    (
        dt.AppendUncertain(URL, "cut", **WHERE),
        (
            "the connection broke while appending, so the data is in the stream, or is not; "
            f"IdempotentProducer repeats appends safely: cut {END}"
        ),
    ),
    (
        dt.StreamProtocolError(URL, **WHERE),
        (
            "the answer is none of the Durable Streams protocol; check that the address is a "
            f"stream's, and that nothing in between answers in the server's place {END}"
        ),
    ),
    (
        dt.InvalidStreamURL("x", "it names no host"),
        (
            "'x' is not the address of a stream: it names no host. Use one like "
            "http://localhost:3001/v1/stream/my-stream"
        ),
    ),
]


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_texts(error: Exception, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, dt.DurableTransportError)


@pytest.mark.parametrize("error", [error for error, _ in TEXTS], ids=lambda one: type(one).__name__)
def test_they_can_be_pickled(error: Exception) -> None:
    copy = pickle.loads(pickle.dumps(error))
    assert str(copy) == str(error)
    assert vars(copy) == vars(error)


def test_every_public_error_has_a_text_test() -> None:
    kinds = [one for one in vars(dt).values() if isinstance(one, type)]
    public = {one for one in kinds if issubclass(one, dt.StreamError | dt.InvalidStreamURL)}
    assert public == {type(error) for error, _ in TEXTS}


def test_an_address_that_is_none_is_a_value_error() -> None:
    assert issubclass(dt.InvalidStreamURL, ValueError)
