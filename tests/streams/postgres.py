"""A Postgres for the tests: the one of this machine, or a private one, or the reason for none."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import psycopg
import pytest

from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST = "127.0.0.1"
PORT = 5432
USERS = ("postgres", "test")


class Database:
    """A database that nobody else uses.

    Attributes:
        url: Of the store in it.
    """

    def __init__(self, server: str, name: str) -> None:
        self.url = f"postgresql://{server}/{name}"

    def execute(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        """Run one statement with our tables in the search path."""
        with psycopg.connect(self.url, autocommit=True) as connection:
            connection.execute("SET search_path TO durable_streams, public")
            connection.execute("SET lock_timeout = %s" % int(1000 * PATIENCE))  # noqa: UP031
            cursor = connection.execute(statement.encode(), values or None)
            return cursor.fetchall() if cursor.description else []

    def clear(self) -> None:
        """Take everything out, and everybody who is still there."""
        self.end_connections()
        self.execute("DROP SCHEMA IF EXISTS durable_streams CASCADE")

    def end_connections(self, application: str = "%") -> int:
        """Terminate connections by the name of their application; how many that were."""
        ended = self.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE datname = current_database() AND pid <> pg_backend_pid()"
            " AND application_name LIKE %s",
            application,
        )
        return len(ended)


@contextmanager
def database() -> Iterator[Database]:
    """A new database on some server; skips the test when there is none."""
    with ExitStack() as stack:
        server = _running_server() or stack.enter_context(_private_server())
        name = f"durable_streams_test_{uuid4().hex[:12]}"
        with psycopg.connect(f"postgresql://{server}/postgres", autocommit=True) as admin:
            admin.execute(f"CREATE DATABASE {name}".encode())
            try:
                yield Database(server, name)
            finally:
                admin.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())


def _running_server() -> str | None:
    for user in USERS:
        server = f"{user}@{HOST}:{PORT}"
        try:
            psycopg.connect(f"postgresql://{server}/postgres", connect_timeout=3).close()
        except psycopg.OperationalError:
            continue
        return server
    return None


@contextmanager
def _private_server() -> Iterator[str]:
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin"))
    if not folders:
        pytest.skip(f"no Postgres answers at {HOST}:{PORT}, and none is installed here")
    binaries = folders[-1]
    with tempfile.TemporaryDirectory(prefix="postgres-") as name, socket.socket() as probe:
        probe.bind((HOST, 0))
        port = probe.getsockname()[1]
        probe.close()
        data = Path(name) / "data"
        as_user: list[str] = []
        if os.geteuid() == 0:  # a server refuses to run as root
            shutil.chown(name, "postgres")
            as_user = ["runuser", "-u", "postgres", "--"]
        options = f"-p {port} -k {name} -c listen_addresses={HOST}"
        control = [*as_user, str(binaries / "pg_ctl"), "-D", str(data), "-w"]
        _run([*as_user, str(binaries / "initdb"), "-D", str(data), "-U", "postgres"], name)
        _run([*control, "-l", str(Path(name) / "log"), "-o", options, "start"], name)
        try:
            yield f"postgres@{HOST}:{port}"
        finally:
            _run([*control, "-m", "immediate", "stop"], name)


def _run(command: list[str], folder: str) -> None:
    subprocess.run(command, check=True, cwd=folder, stdout=subprocess.DEVNULL, timeout=3 * PATIENCE)
