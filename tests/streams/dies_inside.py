"""A process that fills a store and is killed by its own hand at a chosen statement of SQLite.

``python dies_inside.py FILE BEGINS_WITH NTH``: the NTH statement that begins so is executed and the
process is gone before the next one. What is printed was acknowledged.
"""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path
from typing import Any

from sqlalchemy import event

from durable_streams_server import Append, Create, Delete
from durable_streams_server._journal import ROUND_ROWS
from durable_streams_server._sqlite import SqliteStore

NOW = 1_700_000_000.0
STREAMS = 8
APPENDS = 2 * ROUND_ROWS


class Deadly:
    """The driver, with a statement that is the last one."""

    def __init__(self, driver: Any, begins_with: str, nth: int) -> None:
        self._driver = driver
        self._begins_with = begins_with
        self._left = nth

    def execute(self, statement: str, values: Any = ()) -> Any:
        result = self._driver.execute(statement, values)
        self.saw(statement)
        return result

    def saw(self, statement: str) -> None:
        if statement.startswith(self._begins_with):
            self._left -= 1
            if self._left == 0:
                os.kill(os.getpid(), signal.SIGKILL)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._driver, name)


def main(file: str, begins_with: str, nth: str) -> None:
    store = SqliteStore(Path(file))
    driver: Any = Deadly(store._driver, begins_with, int(nth))
    store._driver = driver

    def on_execute(_c: Any, _cursor: Any, statement: str, *_: Any) -> None:
        driver.saw(statement)

    event.listen(store._write_engine, "after_cursor_execute", on_execute)
    for number in range(STREAMS):
        store.commit([[Create(f"s{number}")]], NOW)
    store.commit([[Create("gone", data=b"x")]], NOW)
    for number in range(APPENDS):
        path = f"s{number % STREAMS}"
        # A second for each row, so that there is something to merge.
        store.commit([[Append(path, b"%06d," % number)]], NOW + number // STREAMS)
        print(path, number, flush=True)
    store.commit([[Delete("gone")], [Append("s0", close=True)]], NOW + APPENDS)
    while store.tidy(NOW + 10 * APPENDS):
        pass
    print("survived", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
