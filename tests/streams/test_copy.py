"""Streams moved between stores are the same streams."""

from __future__ import annotations

from contextlib import ExitStack
from itertools import count
from typing import TYPE_CHECKING, Any

import pytest

from durable_streams_server import (
    Append,
    Appended,
    Create,
    Delete,
    Duplicate,
    Fork,
    Gone,
    Operation,
    Producer,
    StaleEpoch,
    StorageError,
)
from durable_streams_server._copy import PIECE_BYTES, copy_streams
from durable_streams_server._errors import CopyRefusedError
from durable_streams_server._model import Trim
from durable_streams_server._url import open_store
from streams.builders import NOW
from streams.command import command
from streams.test_store import JSON, closing, content, one, run, stat

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from durable_streams_server._store import Store
    from streams.postgres import Database

LARGE = bytes(range(256)) * 3000
OPERATIONS: list[Operation] = [
    Create("plain", "text/plain; charset=utf-8", b"hello"),
    Append("plain", b" world", seq="\xe9-1", producer=Producer("p", 3, 0)),
    Append("plain", b"!", producer=Producer("p", 3, 1)),
    Create("empty"),
    Create("large", data=LARGE),
    Append("large", b"end", close=True, producer=Producer('"q,\u20ac', 0, 0)),
    Create("json", JSON, b'{"a":1},'),
    Append("json", b"[2],3,"),
    Create("sliding", ttl_seconds=60),
    Create("dated", data=b"x", expires_at=NOW + 0.25),
    Create("owned", data=b"y", owner="node"),
    Create("source", data=b"source bytes"),
    Create("fork", data=b"own", fork=Fork("source", 6)),
    Create("fork/of/fork", fork=Fork("fork", 8)),
    Append("fork/of/fork", b"...", close=True),
    Create("trimmed", JSON, b"1," * 400, retain_bytes=100, retain_seconds=60),
    Append("trimmed", b"2," * 200),
    Delete("source"),
]


@pytest.fixture(params=["file to postgres", "postgres to file", "file to file"])
def urls(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, str]:
    kinds = request.param.split(" to ")
    made = [
        request.getfixturevalue("postgres").url
        if kind == "postgres"
        else f"sqlite:///{tmp_path}/{n}"
        for n, kind in enumerate(kinds)
    ]
    return made[0], made[1]


@pytest.fixture
def stores(urls: tuple[str, str]) -> Iterator[tuple[Store, Store]]:
    """Give a store with streams of all sorts, and an empty one of another kind."""
    with ExitStack() as stack:
        source, target = (stack.enter_context(closing(open_store(url))) for url in urls)
        for operation in OPERATIONS:
            assert one(source, operation).ok, operation
        assert one(source, Trim("trimmed", stat(source, "trimmed").id, 800)).ok
        yield source, target


def told(store: Store) -> dict[str, Any]:
    """Everything that the store says of its streams."""
    found: dict[str, Any] = {}
    for stream in store.list_streams("", "", 1000, 0.0):
        inspected = store.inspect(stream.path, 0.0)
        assert inspected is not None
        data = b""
        while (position := stream.start + len(data)) < stream.tail:
            data += store.read(stream, position, 1 << 20)
        found[stream.path] = (stream._replace(id=0), data, inspected.producers, inspected.forks)
    return found


def test_everything_is_the_same(stores: tuple[Store, Store]) -> None:
    source, target = stores
    copied = copy_streams(source, target)
    assert told(target) == told(source)
    assert sorted(copied.streams) == sorted(told(source))
    assert (copied.present, copied.size) == (
        0,
        sum(s.tail - max(s.fork_position, s.start) for s, *_ in told(source).values()),
    )


def test_it_goes_on_as_the_stream_that_it_was(
    stores: tuple[Store, Store], urls: tuple[str, str]
) -> None:
    source, opened = stores
    copy_streams(source, opened)
    opened.close()
    with closing(open_store(urls[1])) as target:
        again = Append("plain", b"!", producer=Producer("p", 3, 1))
        assert isinstance(one(target, again), Duplicate)
        assert one(target, Append("plain", b"x", producer=Producer("p", 2, 0))) == StaleEpoch(3)
        appended = one(target, Append("plain", b"?", producer=Producer("p", 3, 2)))
        assert isinstance(appended, Appended)
        assert appended.start == len(b"hello world!")
        assert content(target, "plain") == b"hello world!?"
        assert one(target, Delete("source")) == Gone("source")
        run(target, Delete("fork/of/fork"), Delete("fork"))
        assert target.stat("source", NOW) is None, "the last fork takes it along"
        assert one(target, Create("new")).ok


def test_a_second_copy_finds_everything_there(stores: tuple[Store, Store]) -> None:
    source, target = stores
    copy_streams(source, target)
    before = told(target)
    again = copy_streams(source, target)
    assert (again.streams, again.present) == ([], len(before))
    assert told(target) == before


def failing_after(read: Callable[..., bytes], calls: int) -> Callable[..., bytes]:
    counter = count(1)

    def failing(*arguments: Any) -> bytes:
        if next(counter) == calls:
            raise StorageError("broken off")
        return read(*arguments)

    return failing


def test_what_was_broken_off_goes_on(
    stores: tuple[Store, Store], monkeypatch: pytest.MonkeyPatch
) -> None:
    source, target = stores
    for broken in range(1, 5):
        with monkeypatch.context() as patched:
            patched.setattr(source, "read", failing_after(source.read, broken))
            with pytest.raises(StorageError, match="broken off"):
                copy_streams(source, target)
        for path, (stream, data, _, _) in told(target).items():
            assert (stream._replace(forks=0), data) == (
                told(source)[path][0]._replace(forks=0),
                told(source)[path][1],
            ), "whole or not at all"
    copy_streams(source, target)
    assert told(target) == told(source)


def test_a_part_takes_along_what_it_was_forked_from(stores: tuple[Store, Store]) -> None:
    source, target = stores
    assert sorted(copy_streams(source, target, "fork/").streams) == [
        "fork",
        "fork/of/fork",
        "source",
    ]
    assert content(target, "fork/of/fork") == content(source, "fork/of/fork")
    assert copy_streams(source, target, "none").streams == []


@pytest.mark.parametrize(
    "other",
    [
        [Create("plain", "text/plain; charset=utf-8", b"hello world?")],
        [Create("plain", "text/plain; charset=utf-8", b"hello")],
        [Create("plain", "text/html", b"hello world!")],
    ],
)
def test_another_stream_at_the_path_is_left_alone(
    stores: tuple[Store, Store], other: list[Operation]
) -> None:
    source, target = stores
    run(target, *other)
    before = content(target, "plain")
    with pytest.raises(CopyRefusedError, match="another stream at 'plain': delete it there"):
        copy_streams(source, target)
    assert content(target, "plain") == before


def test_pieces_of_other_sizes_are_compared_by_their_bytes(stores: tuple[Store, Store]) -> None:
    source, target = stores
    copy_streams(source, target, "large")
    one(source, Create("pieces"))
    for number in range(40):
        one(source, Append("pieces", bytes([number]) * (PIECE_BYTES // 13)))
    copy_streams(source, target, "pieces")
    assert copy_streams(source, target, "pieces").present == 1


def test_the_command(postgres: Database, tmp_path: Path) -> None:
    file = f"sqlite:///{tmp_path / 'store'}"
    with closing(open_store(file)) as store:
        run(store, Create("a", data=b"abc"), Create("b"))
    done = command("copy", file, postgres.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "copied 2 streams with 3 bytes, 0 were there already\n"
    with closing(open_store(postgres.url)) as store:
        one(store, Append("a", b"d"))
    refused = command("copy", file, postgres.url)
    assert refused.returncode == 1
    assert "another stream at 'a'" in refused.stderr
    missing = command("copy", f"{file}-typo", postgres.url)
    assert (missing.returncode, missing.stdout) == (1, "")
    assert "there is no store file" in missing.stderr
    assert not (tmp_path / "store-typo").exists()
    same = command("copy", file, file)
    assert same.returncode == 2
    assert "the same store" in same.stderr
