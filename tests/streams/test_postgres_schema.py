"""The tables in Postgres: how they come to be, and which databases are refused."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from sqlalchemy import create_engine

from durable_streams_server import (
    Create,
    StorageError,
    StoreDriverError,
    StoreFormatError,
    StoreUrlError,
)
from durable_streams_server._postgres_database import SCHEMA, parse_settings
from durable_streams_server._postgres_migrations import MIGRATIONS
from durable_streams_server._postgres_schema import metadata
from durable_streams_server._url import open_store, store_name
from streams.test_store import closing, content, one

if TYPE_CHECKING:
    from streams.postgres import Database

_SHAPE = {
    "columns": (
        "SELECT table_name, column_name, data_type, collation_name, is_nullable, column_default"
        " FROM information_schema.columns WHERE table_schema = 'durable_streams'"
    ),
    "indexes": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'durable_streams'",
    "constraints": (
        "SELECT conrelid::regclass::text, conname, pg_get_constraintdef(oid) FROM pg_constraint"
        " WHERE connamespace = 'durable_streams'::regnamespace"
    ),
    "storage": (
        "SELECT relname, reloptions FROM pg_class"
        " WHERE relnamespace = 'durable_streams'::regnamespace AND relkind = 'r'"
    ),
}


def shape(postgres: Database) -> dict[str, list[Any]]:
    """Everything about the tables, but for the order in which they were made."""
    return {name: sorted(postgres.execute(query)) for name, query in _SHAPE.items()}


def test_a_migrated_database_is_as_a_new_one_would_be_made(postgres: Database) -> None:
    open_store(postgres.url).close()
    migrated = shape(postgres)
    postgres.clear()
    postgres.execute(f"CREATE SCHEMA {SCHEMA}")
    engine = create_engine(
        postgres.url.replace("postgresql:", "postgresql+psycopg:"),
        execution_options={"schema_translate_map": {None: SCHEMA}},
    )
    with engine.begin() as connection:
        metadata.create_all(connection)
    engine.dispose()
    made = shape(postgres)
    for part, rows in made.items():
        assert migrated[part] == rows, part
        assert len(rows) > 5, "there is something to compare"


def test_a_database_of_a_newer_version_is_refused(postgres: Database) -> None:
    open_store(postgres.url).close()
    postgres.execute("UPDATE schema_version SET version = version + 1")
    with pytest.raises(StoreFormatError, match=r"newer version.*upgrade durable-streams-server"):
        open_store(postgres.url)
    assert postgres.execute("SELECT version FROM schema_version") == [(len(MIGRATIONS) + 1,)]


def test_a_schema_of_another_program_is_left_alone(postgres: Database) -> None:
    postgres.execute("CREATE SCHEMA durable_streams")
    postgres.execute("CREATE TABLE durable_streams.streams (theirs int)")
    with pytest.raises(StoreFormatError, match="another program; choose another database"):
        open_store(postgres.url)
    assert len(postgres.execute(_SHAPE["columns"])) == 1


def test_many_nodes_open_a_new_database_at_once(postgres: Database) -> None:
    url = f"{postgres.url}?notify=off"
    with ThreadPoolExecutor(8) as threads:
        stores = list(threads.map(open_store, [url] * 8))
    for number, store in enumerate(stores):
        assert one(store, Create(f"s{number}", data=b"x")).ok
    assert content(stores[0], "s7") == b"x"
    for store in stores:
        store.close()


def test_the_rest_of_a_database_is_not_touched(postgres: Database) -> None:
    postgres.execute("CREATE TABLE public.streams (theirs int)")
    try:
        with closing(open_store(postgres.url)) as store:
            one(store, Create("s"))
        assert postgres.execute("SELECT * FROM public.streams") == []
    finally:
        postgres.execute("DROP TABLE public.streams")


def test_an_encoding_that_holds_no_unicode_is_refused(postgres: Database) -> None:
    name = f"{postgres.url.rpartition('/')[2]}_latin"
    postgres.execute(f"CREATE DATABASE {name} ENCODING 'LATIN1' LOCALE 'C' TEMPLATE template0")
    try:
        with pytest.raises(StoreFormatError, match="LATIN1; create the database with ENCODING"):
            open_store(postgres.url.rpartition("/")[0] + "/" + name)
    finally:
        postgres.execute(f"DROP DATABASE {name} WITH (FORCE)")


# --------------------------------------------------------------------------- URLs


@pytest.mark.parametrize(
    ("query", "remedy"),
    [
        ("pool_size=0", "pool_size has to be a number of connections"),
        ("pool_size=many", "pool_size has to be"),
        ("timeout=0", "timeout has to be seconds"),
        ("timeout=nan", "timeout has to be seconds"),
        ("poll=-1", "poll has to be seconds"),
        ("notify=perhaps", "notify has to be on or off"),
    ],
)
def test_a_setting_that_makes_no_sense(query: str, remedy: str) -> None:
    with pytest.raises(StoreUrlError, match=remedy) as error:
        open_store(f"postgresql://user:secret@nowhere/db?{query}")
    assert "secret" not in str(error.value)


def test_what_a_url_says() -> None:
    url = "postgres://user:p%40ss@host:1/db?poll=0.5&notify=off&pool_size=2&sslmode=require"
    settings = parse_settings(url)
    assert (settings.poll, settings.notify, settings.pool_size) == (0.5, False, 2)
    assert settings.url.query["sslmode"] == "require"
    assert "poll" not in settings.url.query
    assert (settings.url.password, settings.url.port) == ("p@ss", 1)
    assert store_name(url) == "postgres://host:1/db"


@pytest.mark.parametrize("host", ["127.0.0.1:1", "host.invalid"])
def test_a_database_that_cannot_be_reached(host: str) -> None:
    with pytest.raises(StorageError, match="cannot be reached") as error:
        open_store(f"postgresql://user:secret@{host}/db?connect_timeout=2")
    assert "secret" not in str(error.value)


def test_a_database_that_is_not_there(postgres: Database) -> None:
    with pytest.raises(StorageError, match="does not exist"):
        open_store(postgres.url + "_not")


def test_a_parameter_that_nobody_knows(postgres: Database) -> None:
    with pytest.raises(StorageError, match="nonsense"):
        open_store(postgres.url + "?nonsense=1")


def test_the_driver_is_named_when_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("durable_streams_server._url.find_spec", lambda _name: None)
    with pytest.raises(StoreDriverError, match=r"pip install 'durable-streams-server\[postgres\]'"):
        open_store("postgresql://host/db")
