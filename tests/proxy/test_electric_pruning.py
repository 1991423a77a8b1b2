"""Rows of generations that are gone leave the tables for a real Electric, and no others do."""

from __future__ import annotations

import asyncio
import logging
from functools import partial
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from durable_proxy import _shape_pruning
from durable_proxy._shape_pruning import Note, Pruning, remove_some
from durable_proxy._shape_tables import ShapeTables
from durable_streams_server import Create, Log
from durable_transport.protocol import generation_paths
from proxy.harness import eventually, served
from proxy.shapes import Written
from proxy.wire import pieces, upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from streams.postgres import Database

pytestmark = pytest.mark.anyio


@pytest.fixture
async def tables(store: Log) -> AsyncIterator[ShapeTables]:
    found = ShapeTables(store)
    await found.open()
    yield found
    await found.close()


def _kept(postgres: Database) -> dict[str, set[str]]:
    """Which requests each table knows."""
    return {
        table: {str(row[0]) for row in postgres.execute(f"SELECT request FROM {table}")}
        for table in ("public.data_chunks", "public.control_messages", "durable_proxy.shape_copies")
    }


def _rows(postgres: Database, request: UUID) -> list[str]:
    found = postgres.execute(
        "SELECT data FROM public.data_chunks WHERE request = %s ORDER BY id", request
    )
    return [text for (text,) in found]


def _has_rows(postgres: Database, request: UUID, count: int) -> bool:
    return len(_rows(postgres, request)) == count


def _age(postgres: Database, minutes: int = 11) -> None:
    """Let time pass."""
    postgres.execute(
        "UPDATE durable_proxy.shape_copies SET expected_at = NOW() - %s * INTERVAL '1 minute'",
        minutes,
    )


async def _copied(
    tables: ShapeTables, store: Log, postgres: Database, *data: bytes, it: Written | None = None
) -> Written:
    """A generation that has ended, and a row for each piece of it."""
    it = it or Written(store, uuid4())
    await tables.expect(it.session, it.request)
    await it.begin()
    tables.copy(it.session, it.request)
    for number, piece in enumerate(data, 1):
        await it.add(piece)
        await eventually(partial(_has_rows, postgres, it.request, number))
    await it.end()
    await eventually(lambda: it.request in _finished(postgres))
    return it


def _finished(postgres: Database) -> set[UUID]:
    rows = postgres.execute("SELECT request FROM durable_proxy.shape_copies WHERE finished")
    return {request for (request,) in rows}


async def test_rows_go_with_their_generation_and_no_others(
    postgres: Database, store: Log, tables: ShapeTables
) -> None:
    gone, there = [await _copied(tables, store, postgres, b"text") for _ in range(2)]
    half = await _copied(tables, store, postgres, b"text")
    await gone.remove()
    await half.remove()
    await store.transact(Create(half.paths.data))
    refused = uuid4()
    await tables.expect(uuid4(), refused)
    postgres.execute(
        "INSERT INTO public.data_chunks (session, request, data) VALUES (%s, %s, 'of another')",
        *(uuid4(), foreign := uuid4()),
    )
    pruning = Pruning(store)
    await pruning.turn()
    assert str(gone.request) in _kept(postgres)["public.data_chunks"], "it may be about to begin"
    _age(postgres)
    await pruning.turn()
    kept = {str(there.request), str(half.request)}
    assert _kept(postgres) == {
        "public.data_chunks": kept | {str(foreign)},
        "public.control_messages": kept,
        "durable_proxy.shape_copies": kept,
    }


async def test_one_that_lost_its_streams_while_it_was_copied(
    postgres: Database, store: Log, tables: ShapeTables
) -> None:
    it = Written(store, uuid4())
    await tables.expect(it.session, it.request)
    await it.begin()
    await it.add(b"half")
    tables.copy(it.session, it.request)
    await eventually(lambda: _rows(postgres, it.request) == ["half"])
    await it.remove()
    _age(postgres)
    await Pruning(store).turn()
    assert not any(_kept(postgres).values())


async def test_all_pages_are_looked_at_round_and_round(
    postgres: Database, store: Log, tables: ShapeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shape_pruning, "PAGE", 2)
    written = [await _copied(tables, store, postgres, b"text") for _ in range(5)]
    _age(postgres)
    pruning = Pruning(store)
    for _ in range(3):
        await pruning.turn()
    assert len(_kept(postgres)["public.data_chunks"]) == 5
    for it in written:
        await it.remove()
    for _ in range(4):
        await pruning.turn()
    assert not any(_kept(postgres).values())


async def test_a_step_is_bounded_and_one_that_is_made_again_ends_the_removal(
    postgres: Database, store: Log, tables: ShapeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shape_pruning, "ROWS", 2)
    monkeypatch.setattr(_shape_pruning, "PAUSE_SECONDS", 0)
    old = await _copied(tables, store, postgres, *[b"old "] * 5)
    await old.remove()
    _age(postgres)
    ((seen,),) = postgres.execute("SELECT expected_at FROM durable_proxy.shape_copies")
    note = Note(str(old.session), str(old.request), seen)

    async def step() -> bool:
        return await store.control(lambda connection: remove_some(connection, note))

    assert await step()
    assert len(_rows(postgres, old.request)) == 3
    # Not there yet: whoever asked for its streams before this has to be told of it now.
    await tables.expect(old.session, old.request)
    assert not await step()
    assert len(_rows(postgres, old.request)) == 3
    again = Written(store, old.session, old.request)
    await again.begin()
    tables.copy(again.session, again.request)
    await again.add(b"new")
    await again.end()
    await eventually(lambda: again.request in _finished(postgres))
    assert not await step()
    _age(postgres)
    await Pruning(store).turn()
    assert "".join(_rows(postgres, again.request)) == "new"
    await again.remove()
    await Pruning(store).turn()
    assert not any(_kept(postgres).values())


async def test_several_nodes_at_once(
    postgres: Database, store: Log, tables: ShapeTables, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_shape_pruning, "ROWS", 1)
    monkeypatch.setattr(_shape_pruning, "PAUSE_SECONDS", 0)
    there = await _copied(tables, store, postgres, b"text")
    for _ in range(4):
        await (await _copied(tables, store, postgres, b"a", b"b", b"c")).remove()
    _age(postgres)
    async with await Log.open(postgres.url) as other:
        nodes = [Pruning(store), Pruning(other)]
        await asyncio.gather(*(node.turn() for node in nodes))
        # One that the other had in hand was left to it.
        await asyncio.gather(*(node.turn() for node in nodes))
    kept = {str(there.request)}
    assert all(found == kept for found in _kept(postgres).values())


async def test_a_served_proxy_does_it_by_itself_and_goes_on_after_a_failure(
    postgres: Database, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(_shape_pruning, "PRUNE_SECONDS", 0.05)
    caplog.set_level(logging.WARNING, "durable_proxy")
    ids: tuple[UUID, UUID]
    async with (
        upstream(pieces(b"text")) as up,
        served(postgres.url, electric_url="http://127.0.0.1:1") as proxy,
    ):
        made = await proxy.client.post(
            "/v1/proxy", headers={"Upstream-URL": up.url, "Upstream-Method": "POST"}
        )
        assert made.status_code == 201, made.text
        await eventually(lambda: len(_finished(postgres)) == 1)
        (ids,) = postgres.execute("SELECT session, request FROM durable_proxy.shape_copies")
        _age(postgres)
        removed = await proxy.client.delete(made.headers["location"].partition("?")[0])
        assert removed.status_code == 204
        assert await proxy.log.stat(generation_paths(*ids).data) is None
        await eventually(lambda: not any(_kept(postgres).values()))

        rename: Any = "ALTER TABLE durable_proxy.{} RENAME TO {}".format
        postgres.execute(rename("shape_copies", "hidden"))
        await eventually(lambda: "looking for rows of what is gone failed" in caplog.text)
        postgres.execute(rename("hidden", "shape_copies"))
        await proxy.start(up.url)
        await eventually(lambda: len(_finished(postgres)) == 1)
        _age(postgres)
        ((session, request),) = postgres.execute(
            "SELECT session, request FROM durable_proxy.shape_copies"
        )
        await Written(proxy.log, session, request).remove()
        await eventually(lambda: not any(_kept(postgres).values()))
