"""Storage: the two that come with the package, one contract; files also between processes."""

from __future__ import annotations

import json
import os
import signal
import stat
import subprocess
import sys
import textwrap
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from durable_transport import FileStorage, MemoryStorage, Sessions, Storage, StorageError
from durable_transport.protocol import MAX_POSITION

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

PROXY = "http://proxy"


@pytest.fixture(params=["memory", "file"])
def storage(request: pytest.FixtureRequest, tmp_path: Path) -> Storage:
    return MemoryStorage() if request.param == "memory" else FileStorage(tmp_path / "deep" / "er")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def sessions(storage: Storage, clock: Clock) -> Sessions:
    return Sessions(storage, PROXY, clock=clock)


# ---------------------------------------------------------------------- the contract


def test_both_are_storages(storage: Storage) -> None:
    assert isinstance(storage, Storage)


def test_bytes_come_back(storage: Storage) -> None:
    assert storage.read("k") is None
    storage.update("k", lambda old: b"one" if old is None else b"?")
    storage.update("k", lambda old: (old or b"") + b" two")
    assert storage.read("k") == b"one two"
    assert storage.read("other") is None
    storage.update("k", lambda _: None)
    assert storage.read("k") is None
    storage.update("k", lambda _: None)


def test_updates_are_atomic_between_threads(storage: Storage) -> None:
    def add(_: int) -> None:
        storage.update("k", lambda old: str(int(old or b"0") + 1).encode())

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(100)))
    assert storage.read("k") == b"100"


# ---------------------------------------------------------------------- sessions


def test_the_life_of_a_generation(sessions: Sessions) -> None:
    assert sessions.active("s") is None
    sessions.begin("s", "r1")
    sessions.advance("s", "r1", 10)
    found = sessions.active("s")
    assert found is not None
    assert (found.request_id, found.offset) == ("r1", 10)
    sessions.finish("s", "r1")
    assert sessions.active("s") is None


def test_an_older_request_changes_nothing(sessions: Sessions) -> None:
    sessions.begin("s", "r1")
    sessions.begin("s", "r2")
    sessions.advance("s", "r1", 99)
    sessions.finish("s", "r1")
    found = sessions.active("s")
    assert found is not None
    assert (found.request_id, found.offset) == ("r2", 0)


def test_progress_does_not_bring_back_what_was_finished(sessions: Sessions) -> None:
    sessions.begin("s", "r1")
    sessions.finish("s", "r1")
    sessions.advance("s", "r1", 5)
    assert sessions.active("s") is None


def test_sessions_and_proxies_are_apart(storage: Storage, clock: Clock) -> None:
    one, two = (Sessions(storage, url, clock=clock) for url in ("http://a", "http://b"))
    one.begin("s", "r1")
    assert two.active("s") is None
    assert one.active("t") is None


def test_the_pointer_expires(sessions: Sessions, clock: Clock) -> None:
    sessions.begin("s", "r1")
    clock.now += 3600
    assert sessions.active("s") is not None
    clock.now += 0.1
    assert sessions.active("s") is None
    assert sessions.active("s", ttl=4000) is not None
    sessions.begin("s", "r2", ttl=5)
    clock.now += 4
    sessions.advance("s", "r2", 1)  # a sign of life
    clock.now += 4
    assert sessions.active("s") is not None
    assert sessions.active("s", ttl=3) is None
    clock.now += 2
    assert sessions.active("s") is None


def test_messages(sessions: Sessions, clock: Clock) -> None:
    assert sessions.messages("s") == []
    sessions.save_messages("s", [{"role": "user", "text": "\u2028é"}])
    assert sessions.messages("s") == [{"role": "user", "text": "\u2028é"}]
    clock.now += 7 * 24 * 3600
    assert sessions.messages("s") != []
    clock.now += 1
    assert sessions.messages("s") == []
    assert sessions.messages("s", ttl=1e9) != []


def test_clear_forgets_both(sessions: Sessions) -> None:
    sessions.begin("s", "r")
    sessions.save_messages("s", [1])
    sessions.clear("s")
    assert sessions.active("s") is None
    assert sessions.messages("s") == []


GOOD = {
    "version": 1,
    "key": json.dumps(["active", PROXY, "s"]),
    "request_id": "r",
    "offset": 3,
    "updated_at": 1000.0,
    "ttl": 10,
}


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{",
        b"\xff\xfe",
        b"[]",
        b"null",
        b"[" * 100_000,
        json.dumps({**GOOD, "version": 2}).encode(),
        json.dumps({**GOOD, "key": "another"}).encode(),
        json.dumps({**GOOD, "offset": -1}).encode(),
        json.dumps({**GOOD, "offset": "3"}).encode(),
        json.dumps({**GOOD, "offset": True}).encode(),
        json.dumps({**GOOD, "offset": 3.0}).encode(),
        json.dumps({**GOOD, "offset": MAX_POSITION + 1}).encode(),
        json.dumps({**GOOD, "request_id": ""}).encode(),
        json.dumps({**GOOD, "request_id": " r"}).encode(),
        json.dumps({**GOOD, "request_id": "r\r\nX: y"}).encode(),
        json.dumps({**GOOD, "request_id": "r\u017c"}).encode(),
        json.dumps({**GOOD, "request_id": "\ud800"}).encode(),
        json.dumps({**GOOD, "updated_at": None}).encode(),
        json.dumps({**GOOD, "updated_at": True}).encode(),
        json.dumps({**GOOD, "updated_at": 1060.1}).encode(),
        json.dumps({**GOOD, "updated_at": float("nan")}).encode(),
        json.dumps({**GOOD, "updated_at": -(10**400)}).encode(),
        json.dumps({**GOOD, "ttl": float("nan")}).encode(),
        json.dumps({**GOOD, "ttl": -1}).encode(),
        json.dumps({name: value for name, value in GOOD.items() if name != "ttl"}).encode(),
    ],
    ids=repr,
)
def test_what_is_no_entry_counts_as_absent(
    storage: Storage, sessions: Sessions, data: bytes
) -> None:
    storage.update(GOOD["key"], lambda _: json.dumps(GOOD).encode())  # type: ignore[arg-type]
    assert sessions.active("s") is not None
    storage.update(GOOD["key"], lambda _: data)  # type: ignore[arg-type]
    assert sessions.active("s") is None
    sessions.advance("s", "r", 9)
    assert sessions.active("s") is None
    sessions.begin("s", "again")  # and heals
    assert sessions.active("s") is not None


@pytest.mark.parametrize("change", [{}, {"offset": MAX_POSITION}, {"updated_at": 1060.0}], ids=str)
def test_what_is_just_an_entry_is_one(
    storage: Storage, sessions: Sessions, change: dict[str, float]
) -> None:
    data = json.dumps({**GOOD, **change}).encode()
    storage.update(GOOD["key"], lambda _: data)  # type: ignore[arg-type]
    assert sessions.active("s") is not None


@pytest.mark.parametrize("moment", [True, float("nan"), 1060.1, None, -(10**400)], ids=repr)
def test_messages_of_no_past_moment_count_as_absent(
    storage: Storage, sessions: Sessions, moment: float | None
) -> None:
    key = json.dumps(["messages", PROXY, "s"])
    entry = {"version": 1, "key": key, "messages": [1], "saved_at": moment}
    storage.update(key, lambda _: json.dumps(entry).encode())
    assert sessions.messages("s", ttl=1e12) == []


# ---------------------------------------------------------------------- files


def test_files_are_private(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path / "new")
    storage.update("k", lambda _: b"x")
    (file,) = (tmp_path / "new").glob("*.json")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new" / "locks").stat().st_mode) == 0o700


def test_a_home_directory_is_understood(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert FileStorage("~/x").path == tmp_path / "x"


def test_an_unusable_path_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    storage = FileStorage(tmp_path / "file")
    with pytest.raises(StorageError, match="directory") as caught:
        storage.read("k")
    assert str(tmp_path / "file") in str(caught.value)
    with pytest.raises(StorageError, match="directory"):
        storage.update("k", lambda _: b"x")


@pytest.mark.skipif(sys.platform == "win32", reason="no pipes there")
def test_a_pipe_in_an_entrys_place_is_not_waited_for(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    storage.update("k", lambda _: b"x")
    (file,) = tmp_path.glob("*.json")
    file.unlink()
    os.mkfifo(file)
    with _python(READ, tmp_path) as process:
        try:
            assert process.wait(10) == 0
        finally:
            process.kill()
    storage.update("k", lambda old: b"new" if old is None else b"?")
    assert storage.read("k") == b"new"


def test_a_directory_in_an_entrys_place_counts_as_absent(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    storage.update("k", lambda _: b"x")
    (file,) = tmp_path.glob("*.json")
    file.unlink()
    file.mkdir()
    assert storage.read("k") is None
    with pytest.raises(StorageError):
        storage.update("k", lambda _: b"new")


def test_a_lock_that_is_never_free_is_an_error(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path, lock_timeout=0.01)

    def change(_: bytes | None) -> bytes:
        with pytest.raises(StorageError, match="locked"):
            storage.update("k", lambda _: b"inner")
        return b"outer"

    storage.update("k", change)
    assert storage.read("k") == b"outer"


def _python(code: str, *arguments: object) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(code), *map(str, arguments)],
        stdout=subprocess.PIPE,
    )


COUNT = """
    import sys
    from durable_transport import FileStorage
    storage = FileStorage(sys.argv[1])
    for _ in range(int(sys.argv[2])):
        storage.update("k", lambda old: str(int(old or b"0") + 1).encode())
"""

READ = """
    import sys
    from durable_transport import FileStorage
    assert FileStorage(sys.argv[1]).read("k") is None
"""

BEGIN_AND_FINISH = """
    import sys, time
    from durable_transport import FileStorage, Sessions
    sessions = Sessions(FileStorage(sys.argv[1]), "http://proxy", clock=time.time)
    mine = sys.argv[2]
    for _ in range(60):
        sessions.begin("s", mine)
        sessions.advance("s", mine, 7)
        sessions.finish("s", "the other one")
        found = sessions.active("s")
        assert found is not None, "a compare-and-delete took another's entry"
"""

WRITE_FOR_EVER = """
    import sys
    from durable_transport import FileStorage
    storage = FileStorage(sys.argv[1])
    number = 0
    while True:
        number += 1
        storage.update("k", lambda old: (b"%d " % number) * 20000)
        if number == 3:
            print("going", flush=True)
"""


def test_two_processes_lose_no_update(tmp_path: Path) -> None:
    processes = [_python(COUNT, tmp_path, 100) for _ in range(2)]
    for process in processes:
        with process:
            assert process.wait() == 0
    assert FileStorage(tmp_path).read("k") == b"200"


def test_compare_and_delete_between_two_processes(tmp_path: Path) -> None:
    processes = [_python(BEGIN_AND_FINISH, tmp_path, name) for name in "ab"]
    for process in processes:
        with process:
            assert process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGKILL there")
def test_a_kill_in_mid_write_leaves_a_whole_entry_and_a_free_lock(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    for _ in range(3):
        with _python(WRITE_FOR_EVER, tmp_path) as process:
            assert process.stdout is not None
            process.stdout.readline()
            os.kill(process.pid, signal.SIGKILL)
        data = storage.read("k")
        assert data is not None
        assert len(set(data.split())) == 1
        assert len(data.split()) == 20000
        storage.update("k", lambda old: old)
    kept = {path.name for path in tmp_path.iterdir()}
    assert len(kept) <= 3  # the entry, the locks, and at most one that was being written


def test_unchanged_bytes_are_not_written_again(tmp_path: Path) -> None:
    storage = FileStorage(tmp_path)
    keep: Callable[[bytes | None], bytes | None] = lambda _: b"same"  # noqa: E731
    storage.update("k", keep)
    (file,) = tmp_path.glob("*.json")
    before = file.stat().st_ino
    storage.update("k", keep)
    assert file.stat().st_ino == before
