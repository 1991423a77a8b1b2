"""Connections to Postgres and their limits, and the driver's errors as ours.

Nothing here waits for ever. The server ends a statement, a wait for a lock and an idle transaction
after their time; and when the network swallows what it sends, the client gives the connection up.
"""

import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

import psycopg
from sqlalchemy import Engine, create_engine, event, pool
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from durable_streams_server._errors import (
    StorageError,
    StoreFullError,
    StoreUrlError,
)
from durable_streams_server._url import POSTGRES_SCHEMES

T = TypeVar("T")
Row = tuple[Any, ...]

SCHEMA = "durable_streams"
"""The schema of the database that holds everything of ours."""
CONNECT_SECONDS = 5
GRACE_SECONDS = 5.0
"""The client waits so much longer than the server is allowed to take."""
_LIBPQ = {
    "application_name": "durable-streams",
    "connect_timeout": str(CONNECT_SECONDS),
    "keepalives_idle": "10",
    "keepalives_interval": "5",
    "keepalives_count": "3",
    "tcp_user_timeout": "15000",
}
"""What a URL that says nothing about it has."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What a store's URL says.

    Attributes:
        url: Where the database is, with parameters of libpq.
        pool_size: Connections for reading; writing and wake-ups have three of their own.
        timeout: Seconds that one statement, or a wait for a lock or connection, may take.
        poll: Seconds after which a waiting reader looks at the store, notified or not.
        notify: Tell other nodes of changes, and listen to them.
    """

    url: URL
    pool_size: int = 4
    timeout: float = 10.0
    poll: float = 1.0
    notify: bool = True

    @property
    def name(self) -> str:
        """The URL without password and parameters: for messages."""
        return self.url.set(query={}).render_as_string(hide_password=True)


def parse_settings(url: str) -> Settings:
    """Take our own parameters out of a store's URL; all others are for libpq.

    Raises:
        StoreUrlError: not a URL of a Postgres database, or a setting has no such value.
    """
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError) as error:
        raise StoreUrlError(url) from error
    if parsed.drivername not in POSTGRES_SCHEMES or not parsed.database:
        raise StoreUrlError(url)
    query = dict(parsed.query)
    own = {name: query.pop(name) for name in _OWN if name in query}
    plain = parsed.set(drivername="postgresql+psycopg", query={**_LIBPQ, **query})
    values: dict[str, Any] = {}
    for name, text in own.items():
        read, allowed = _OWN[name]
        try:
            values[name] = read(str(text))
        except (ValueError, KeyError) as error:
            raise StoreUrlError(url, f"{name} has to be {allowed}") from error
    return Settings(plain, **values)


def _number(kind: Callable[[str], float], least: float, text: str) -> float:
    value = kind(text)
    if not least <= value <= 3600:  # noqa: PLR2004 - an hour; also refuses not-a-number
        raise ValueError(text)
    return value


_OWN: dict[str, tuple[Callable[[str], Any], str]] = {
    "pool_size": (partial(_number, int, 1), "a number of connections"),
    "timeout": (partial(_number, float, 0.1), "seconds from 0.1 to 3600"),
    "poll": (partial(_number, float, 0.01), "seconds from 0.01 to 3600"),
    "notify": ({"on": True, "off": False}.__getitem__, "on or off"),
}


# --------------------------------------------------------------------------- connections


class BoundedConnection(psycopg.Connection[Row]):
    """Gives up, and closes itself, when the server has not answered within `limit` seconds."""

    limit = CONNECT_SECONDS + GRACE_SECONDS

    def wait(self, gen: Any, *args: Any, **options: Any) -> Any:
        """See `psycopg.Connection.wait`."""
        return super().wait(self._until(gen, time.monotonic() + self.limit), *args, **options)

    def _until(self, steps: Generator[Any, Any, T], deadline: float) -> Generator[Any, Any, T]:
        try:
            wanted = next(steps)
            while True:
                ready = yield wanted
                if not ready and time.monotonic() > deadline:
                    self.close()
                    raise psycopg.OperationalError("the server does not answer")
                wanted = steps.send(ready)
        except StopIteration as done:
            result: T = done.value
            return result


def make_engine(settings: Settings, pool_size: int) -> Engine:
    """Connections outside of any transaction, for one purpose."""
    engine = create_engine(
        settings.url,
        poolclass=pool.QueuePool,
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=settings.timeout,
        isolation_level="AUTOCOMMIT",
        execution_options={"schema_translate_map": {None: SCHEMA}},
    )

    def connect(_dialect: Any, _record: Any, args: Any, parameters: Any) -> BoundedConnection:
        return connect_bounded(settings, *args, **parameters)

    event.listen(engine, "do_connect", connect)
    return engine


def connect_bounded(settings: Settings, *args: Any, **parameters: Any) -> BoundedConnection:
    """A connection with the limits of the settings, outside of any transaction."""
    connection = BoundedConnection.connect(*args, **(parameters | {"autocommit": True}))
    try:
        milliseconds = str(int(settings.timeout * 1000))
        connection.execute(
            "SELECT set_config('statement_timeout', %(limit)s, false),"
            " set_config('lock_timeout', %(limit)s, false),"
            " set_config('idle_in_transaction_session_timeout', %(limit)s, false),"
            # Acknowledged means on disk, whatever the database is set to.
            " set_config('synchronous_commit',"
            "   CASE current_setting('synchronous_commit') WHEN 'off' THEN 'on'"
            "   ELSE current_setting('synchronous_commit') END, false)",
            {"limit": milliseconds},
        )
    except BaseException:
        connection.close()
        raise
    connection.limit = settings.timeout + GRACE_SECONDS
    return connection


def dedicated(settings: Settings) -> BoundedConnection:
    """A connection that belongs to no pool."""
    parameters = settings.url.translate_connect_args(username="user", database="dbname")
    return connect_bounded(settings, **parameters, **settings.url.query)


@contextmanager
def borrowed(engine: Engine) -> Iterator[BoundedConnection]:
    """A connection of the pool as the driver's own; one that broke is not given back.

    Raises:
        ConnectionLostError: it broke, so that the others of the pool are probably dead as well.
    """
    with storage_errors():
        proxy = engine.raw_connection()
        connection = proxy.driver_connection
        if not isinstance(connection, BoundedConnection):
            raise TypeError(f"the pool gave {connection!r}")
        try:
            yield connection
        except BaseException as error:
            if connection.closed:
                proxy.invalidate(error)
            raise
        finally:
            proxy.close()


def with_fresh_connection(engine: Engine, work: Callable[[], T]) -> T:
    """Do what has no effect if it fails; once more when a connection of the pool had died."""
    try:
        return work()
    except ConnectionLostError:
        engine.dispose()
        return work()


# --------------------------------------------------------------------------- errors


class ConnectionLostError(StorageError):
    """The connection to the database broke, or could not be made."""


class ConflictError(StorageError):
    """Two nodes got in each other's way, and this one's transaction was rolled back."""


@contextmanager
def storage_errors() -> Iterator[None]:
    """The one place where errors of SQLAlchemy and psycopg become ours."""
    try:
        yield
    except DBAPIError as error:
        raise _as_ours(error.orig) from error.orig
    except psycopg.Error as error:
        raise _as_ours(error) from error
    except PoolTimeoutError as error:
        raise StorageError("every connection of the pool is in use; raise pool_size") from error
    except SQLAlchemyError as error:
        raise StorageError(f"the store failed: {error}") from error


_CONFLICTS = (
    psycopg.errors.DeadlockDetected,
    psycopg.errors.SerializationFailure,
    psycopg.errors.UniqueViolation,
    psycopg.errors.ForeignKeyViolation,
)


def _as_ours(error: BaseException | None) -> StorageError:
    match error:
        case psycopg.errors.DiskFull():
            return StoreFullError()
        case psycopg.errors.QueryCanceled() | psycopg.errors.LockNotAvailable():
            return StorageError(f"the database took too long: {_first_line(error)}")
        case psycopg.OperationalError() if error.sqlstate is None or _is_shutdown(error):
            return ConnectionLostError(f"the database cannot be reached: {_first_line(error)}")
        case _ if isinstance(error, _CONFLICTS):
            return ConflictError(f"several nodes wrote the same streams: {_first_line(error)}")
        case _:
            return StorageError(f"the store failed: {_first_line(error)}")


def _is_shutdown(error: psycopg.Error) -> bool:
    return (error.sqlstate or "").startswith(("08", "57P", "53300"))


def _first_line(error: BaseException | None) -> str:
    return str(error).partition("\n")[0]
