"""The commands that look after streams, on a running server and on a store."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import TYPE_CHECKING, Any

import click
import pytest
from click.testing import CliRunner

from durable_streams_server import Append, Create
from durable_streams_server._cli import main
from durable_streams_server._cli._piece import json_lines, printable
from durable_streams_server._cli._stored import stored
from durable_streams_server._cli._where import Served, Stored, locate
from durable_streams_server._model import Trim
from streams.builders import NOW
from streams.command import EXECUTABLE, ServeProcess, command
from streams.gate import PATIENCE

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from pathlib import Path

pytestmark = [pytest.mark.anyio, pytest.mark.allow_blocking]  # the commands are no servers


@pytest.fixture
async def server(url: str) -> AsyncIterator[ServeProcess]:
    async with ServeProcess(url) as process:
        yield process


def base(server: ServeProcess) -> str:
    return f"http://127.0.0.1:{server.port}"


def ran(*arguments: str, **options: Any) -> tuple[int, str, str]:
    done = CliRunner().invoke(main, arguments, **options)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, done.stdout, done.stderr


def fails(*arguments: str, code: int = 1) -> str:
    found, output, errors = ran(*arguments)
    assert (found, output) == (code, ""), errors
    assert "Traceback" not in errors
    if code != 2:
        assert errors.startswith("durable-streams: ")
        assert errors.count("\n") == 1
    return errors


async def filled(server: ServeProcess) -> None:
    await server.put("chat/1", b"Hello, \x00\xff world\n")
    await server.put("chat/2", b'[{"a": 1.50},\n "x"]', Content_Type="application/json")
    await server.post("chat/2", b'{\n  "deep": ["\\n", 1e400]\n}', Content_Type="application/json")
    await server.close("chat/2")
    await server.put("caf%C3%A9", b"", Stream_TTL="3600")


def stop_and_store(url: str, store: bool, server: ServeProcess) -> str:  # noqa: FBT001
    """Where the streams are then: still at the server, or in the store it has left."""
    if not store:
        return base(server)
    server._process.terminate()
    server._process.wait(PATIENCE)
    return url


each_place = pytest.mark.parametrize("store", [False, True], ids=["server", "store"])


# --------------------------------------------------------------------------- words


@pytest.mark.parametrize(
    ("arguments", "place", "name"),
    [
        (["http://h:1"], Served("http://h:1"), None),
        (["http://h:1/"], Served("http://h:1"), None),
        (["http://h:1/v1/stream"], Served("http://h:1"), None),
        (["http://h:1/v1/stream/"], Served("http://h:1"), None),
        (["https://h/at/v1/stream/a/b"], Served("https://h/at"), "a/b"),
        (["http://h/v1/stream/a//b/"], Served("http://h"), "a//b/"),
        (["http://h", "a/%41"], Served("http://h"), "a/A"),
        (["http://h", "é x"], Served("http://h"), "%C3%A9%20x"),
        (["sqlite:///f", "a"], Stored("sqlite:///f"), "a"),
    ],
)
def test_where(arguments: list[str], place: Served | Stored, name: str | None) -> None:
    assert locate(*arguments) == (place, name)


@pytest.mark.parametrize(
    "arguments",
    [["localhost:3001"], ["file"], ["http://h/v1/stream/a", "b"], ["http://h/v1/stream/a?offset=1"]]
    + [["http://h", path] for path in ("../a", "", "__ds/x", "x" * 1025)],
)
def test_where_not(arguments: list[str]) -> None:
    with pytest.raises(click.UsageError):
        locate(*arguments)


@pytest.mark.parametrize(
    ("array", "lines"),
    [
        (b"[]", []),
        (b"[ ]", []),
        (b"[1.50,1e400]", [b"1.50\n", b"1e400\n"]),
        (b'[ {"a":\r\n 1} ,\n"[,]"]', [b'{"a":   1}\n', b'"[,]"\n']),
        ('["é\u2028"]'.encode(), ['"é\u2028"\n'.encode()]),
        (b"[[],[[1]],null]", [b"[]\n", b"[[1]]\n", b"null\n"]),
    ],
)
def test_a_line_for_each_message(array: bytes, lines: list[bytes]) -> None:
    assert list(json_lines(array)) == lines


def test_nothing_that_a_terminal_obeys_is_printed() -> None:
    assert printable("a\x1b[2Jb\né") == "a\\x1b[2Jb\\x0aé"


# --------------------------------------------------------------------------- ls, inspect, delete


@each_place
async def test_ls(server: ServeProcess, url: str, *, store: bool) -> None:
    await filled(server)
    where = stop_and_store(url, store, server)
    code, output, errors = ran("ls", where)
    assert (code, errors) == (0, "")
    assert [line.split()[-1] for line in output.splitlines()] == ["caf%C3%A9", "chat/1", "chat/2"]
    assert output.splitlines()[1].split() == ["16", "open", "text/plain", "chat/1"]
    assert "closed" in output.splitlines()[2]
    code, output, _ = ran("ls", where, "--prefix", "chat/", "--json")
    told = [json.loads(line) for line in output.splitlines()]
    assert [one["path"] for one in told] == ["chat/1", "chat/2"]
    assert ran("ls", where, "--prefix", "café")[1].endswith("caf%C3%A9\n")
    assert ran("ls", where, "--prefix", "none") == (0, "", "")


async def test_ls_of_more_than_a_page(server: ServeProcess) -> None:
    async with server.connect() as connection:
        for number in range(501):
            await connection.request("PUT", f"/v1/stream/s/{number:04}", b"")
            await connection.reply()
    lines = ran("ls", base(server))[1].splitlines()
    assert [line.split()[-1] for line in lines] == [f"s/{number:04}" for number in range(501)]


@each_place
async def test_inspect(server: ServeProcess, url: str, *, store: bool) -> None:
    await server.put("s", b"abc", Stream_TTL="3600")
    await server.post("s", b"d", Producer_Id="p", Producer_Epoch="1", Producer_Seq="0")
    await server.put("f", b"", Stream_Forked_From="/v1/stream/s")
    where = stop_and_store(url, store, server)
    code, output, _ = ran("inspect", where, "s")
    assert code == 0
    for words in ("nextOffset      00000000000000000004", "id p  epoch 1  seq 0", "ttlSeconds"):
        assert words in output
    assert "owner" not in output, "what does not apply is left out"
    told = json.loads(ran("inspect", where, "s", "--json")[1])
    assert (told["forks"], told["storedBytes"], told["closed"]) == (["f"], 4, False)


@each_place
async def test_delete(server: ServeProcess, url: str, *, store: bool) -> None:
    await server.put("a", b"x")
    await server.put("b", b"x")
    where = stop_and_store(url, store, server)
    code, _, errors = ran("delete", where, "a", input="n\n")
    assert (code, "Delete a with all its bytes?" in errors) == (1, True)
    assert ran("delete", where, "a", input="y\n")[0] == 0
    assert ran("delete", where, "b", "--yes") == (0, "", "deleted b\n")
    assert ran("ls", where)[1] == ""
    assert "no stream b" in fails("delete", where, "b", "--yes", code=3)


# --------------------------------------------------------------------------- tail


def output_of(*arguments: str) -> bytes:
    done = subprocess.run(
        [EXECUTABLE, *arguments], capture_output=True, timeout=PATIENCE, check=False
    )
    assert (done.returncode, done.stderr) == (0, b"")
    return done.stdout


@each_place
async def test_tail(server: ServeProcess, url: str, *, store: bool) -> None:
    await filled(server)
    where = stop_and_store(url, store, server)
    assert output_of("tail", where, "chat/1") == b"Hello, \x00\xff world\n"
    assert output_of("tail", where, "chat/1", "--offset", f"{7:020}") == b"\x00\xff world\n"
    assert output_of("tail", where, "chat/1", "--offset", "now") == b""
    assert json.loads(output_of("tail", where, "chat/2"))[1:2] == ["x"]
    lines = output_of("tail", where, "chat/2", "--json").splitlines()
    assert lines == [b'{"a": 1.50}', b'"x"', b'{   "deep": ["\\n", 1e400] }']
    assert "JSON" in fails("tail", where, "chat/1", "--json")
    assert "no stream x" in fails("tail", where, "x", code=3)
    assert "offset" in fails("tail", where, "chat/1", "--offset", "x")
    assert "past the tail" in fails("tail", where, "chat/1", "--offset", f"{70:020}")


async def test_tail_begins_at_the_earliest_byte(tmp_path: Path) -> None:
    where = f"sqlite:///{tmp_path}/store"
    with stored(where, create=True) as store:
        store.commit([[Create("s")], [Append("s", b"old")], [Append("s", b"new")]], NOW)
        stream = store.stat("s", NOW)
        assert stream is not None
        store.commit([[Trim("s", stream.id, 3)]], NOW)
    assert output_of("tail", where, "s") == b"new"
    assert "before 3, the earliest" in fails("tail", where, "s", "--offset", f"{0:020}")


@each_place
async def test_tail_of_much(server: ServeProcess, url: str, *, store: bool) -> None:
    data = bytes(range(256)) * 12_000
    await server.put("s", data)
    assert output_of("tail", stop_and_store(url, store, server), "s") == data


async def test_follow_until_it_is_closed_over_a_restart(url: str) -> None:
    async with ServeProcess(url) as first:
        await first.put("s", b"one ")
        tail = await asyncio.create_subprocess_exec(
            *(EXECUTABLE, "tail", "-f", f"{base(first)}/v1/stream/s"),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        assert tail.stdout is not None
        async with asyncio.timeout(PATIENCE):
            assert await tail.stdout.readexactly(4) == b"one "
            await first.post("s", b"two ")
            assert await tail.stdout.readexactly(4) == b"two "
        port = str(first.port)
    async with ServeProcess(url, "--port", port) as second:
        await second.post("s", b"three")
        await second.close("s")
        async with asyncio.timeout(PATIENCE):
            output, errors = await tail.communicate()
    assert (tail.returncode, output) == (0, b"three")
    assert errors.count(b"trying again") >= 1
    assert b"Traceback" not in errors


async def test_a_reader_of_the_output_may_leave(server: ServeProcess) -> None:
    await server.put("s", bytes(4_000_000))
    shell = f"'{EXECUTABLE}' tail {base(server)} s | head -c 10 | wc -c"
    done = await asyncio.to_thread(
        subprocess.run, shell, shell=True, capture_output=True, text=True, check=False
    )
    assert (done.stdout.strip(), done.stderr) == ("10", "")


# --------------------------------------------------------------------------- what goes wrong


async def test_a_store_that_a_server_has_names_the_other_way(
    server: ServeProcess, url: str
) -> None:
    for arguments in (["ls", url], ["inspect", url, "s"], ["delete", url, "s", "--yes"]):
        text = command(*arguments).stderr
        assert f"in use by process {server.pid}" in text
        assert "http://127.0.0.1:3001" in text


def test_a_store_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    assert "there is no store file" in fails("ls", f"sqlite:///{tmp_path}/typo")
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_no_store(tmp_path: Path) -> None:
    (tmp_path / "f").write_text("a diary\n" * 1000)
    assert "choose another file" in fails("ls", f"sqlite:///{tmp_path}/f")


@pytest.mark.parametrize("arguments", [["ls"], ["tail", "-f"], ["inspect"], ["delete", "--yes"]])
def test_a_server_that_is_not_there(arguments: list[str]) -> None:
    path = [] if arguments == ["ls"] else ["s"]
    if arguments == ["tail", "-f"]:
        arguments = ["tail"]  # following waits for it to come back
    assert "cannot be reached" in fails(*arguments, "http://127.0.0.1:1", *path)


async def test_following_a_store_is_refused(server: ServeProcess, url: str) -> None:
    await server.put("s", b"x")
    where = stop_and_store(url, True, server)
    assert "server's URL" in fails("tail", "-f", where, "s")


async def test_tokens(url: str) -> None:
    async with ServeProcess(url, "--admin-token", "s3cret") as server:
        await server.put("s", b"x")
        text = fails("ls", base(server))
        assert "--token" in text
        assert "s3cret" not in text + fails("ls", base(server), "--token", "wrong")
        assert ran("ls", base(server), "--token", "s3cret")[0] == 0
        assert ran("ls", base(server), "-H", "Authorization: Bearer s3cret")[0] == 0
        environment = {"DURABLE_STREAMS_ADMIN_TOKEN": "s3cret"}
        assert ran("inspect", base(server), "s", env=environment)[0] == 0
    async with ServeProcess(url, "--no-admin") as server:
        assert "--no-admin" in fails("ls", base(server))


@pytest.mark.parametrize(
    "arguments",
    [["ls"], ["ls", "file"], ["tail", "http://h"], ["ls", "http://h", "-H", "x"], ["inspect"]],
)
def test_a_wrong_command_line(arguments: list[str]) -> None:
    assert "Usage:" in fails(*arguments, code=2)


@pytest.mark.parametrize(
    ("arguments", "hint"),
    [
        (["--host", "0.0.0.0", "--insecure", "--admin"], "--admin-token"),
        (["--admin-token", ""], "not empty"),
    ],
)
def test_serving_without_a_secret_is_refused(arguments: list[str], hint: str) -> None:
    code, _, errors = ran("serve", *arguments)
    assert (code, hint in errors) == (2, True)
