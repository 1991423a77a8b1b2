"""``durable-proxy ls``, ``tail``, ``inspect``, ``stop``, ``delete``, ``doctor``."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import httpx2
import pytest
from click.testing import CliRunner

from durable_proxy._cli import main
from durable_streams_server import Append, Create, Log
from durable_transport.protocol import generation_paths
from proxy.command import COMMAND, Command, serving
from proxy.harness import UNIT
from proxy.wire import Wire, pieces, upstream

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence
    from pathlib import Path

pytestmark = pytest.mark.anyio

SECRET = "a-secret-of-the-service"


async def _endless(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    await wire.chunk(b"data: one\n\n")
    await asyncio.sleep(60 * UNIT)


async def _break_off(wire: Wire) -> None:
    await wire.head(200, ("Content-Type", "text/event-stream"))
    await wire.chunk(b"half")
    wire.reset()


async def run(*arguments: str) -> tuple[int, bytes, str]:
    """Run a command: exit code, output, errors. One at a time: they write to standard output."""
    ended = await asyncio.to_thread(CliRunner().invoke, main, arguments)
    assert ended.exception is None or isinstance(ended.exception, SystemExit)
    return ended.exit_code, ended.stdout_bytes, ended.stderr


async def run_all(*commands: Sequence[str]) -> list[tuple[int, bytes, str]]:
    return [await run(*arguments) for arguments in commands]


async def run_process(*arguments: str) -> tuple[int, bytes, str]:
    """The same as a process."""
    process = await asyncio.create_subprocess_exec(
        *(str(COMMAND), *arguments),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60 * UNIT):
        out, errors = await process.communicate()
    assert b"Traceback" not in errors
    assert process.returncode is not None
    return process.returncode, out, errors.decode()


async def start(command: Command, url: str) -> Any:
    async with httpx2.AsyncClient(trust_env=False, base_url=command.url) as client:
        answer = await client.post(
            f"/api/{uuid4()}/{uuid4()}", headers={"X-Proxy-Url": url, "X-Proxy-Secret": SECRET}
        )
    assert answer.status_code == 200, answer.text
    return answer.json()


@asynccontextmanager
async def proxy(directory: Path) -> AsyncIterator[Command]:
    async with serving(directory, "--secret", SECRET, "--drain", "0") as command:
        yield command


async def test_a_generation_is_listed_read_inspected_and_stopped(tmp_path: Path) -> None:
    async with upstream(_endless) as up, proxy(tmp_path) as command:
        one = await start(command, up.url)
        session, request = one["sessionId"], one["requestId"]
        own = ("--secret", SECRET)
        listing, as_json, told, tail, signed = await run_all(
            ("ls", command.url, *own),
            ("ls", command.url, "--session", session, "--json", *own),
            ("inspect", command.url, session, request, *own),
            ("tail", f"{command.url}/api/{session}/{request}", *own),
            ("tail", one["durableDataUrl"]),
        )
        assert (listing[0], listing[1].split()[:2]) == (0, [b"streaming", b"11"])
        assert listing[1].split()[3:] == [session.encode(), request.encode()]
        assert json.loads(as_json[1])["requestId"] == request
        assert told[0] == 0
        assert b"\nstate                  streaming\n" in told[1]
        assert tail[:2] == signed[:2] == (0, b"data: one\n\n")

        following = asyncio.create_task(run_process("tail", "-f", one["durableDataUrl"]))
        code, out, _ = await run(
            "stop", command.url, session, request, "--actor", "alice", "--reason", "enough", *own
        )
        assert (code, out) == (0, b"stopped: aborted, 11 bytes are kept\n")
        code, out, errors = await following
        assert (code, out) == (1, b"data: one\n\n"), "what ended badly is no success"
        assert errors.startswith("durable-proxy: ")
        assert "alice stopped the generation: enough" in errors
        again, control, gone = await run_all(
            ("stop", one["stopUrl"]),
            ("tail", "--control", one["durableControlUrl"]),
            ("ls", command.url, *own),
        )
        assert (again[0], again[1]) == (
            0,
            b"not stopped: it is aborted, or somebody has stopped it before\n",
        )
        events = [json.loads(line)["event"] for line in control[1].splitlines()]
        assert events == ["start", "stop", "error"]
        assert gone[:2] == (0, b"")

        ids = (command.url, session, request)
        assert (await run("delete", *ids, *own))[:2] == (0, b"deleted\n")
        code, _, errors = await run("delete", *ids, *own)
        assert (code, "there is no generation" in errors) == (3, True)
        assert "PROXY_SECRET" in (await run("delete", *ids))[2]


async def test_what_cannot_be_done_is_said_with_a_code_of_its_own(tmp_path: Path) -> None:
    async with proxy(tmp_path) as command:
        ids = (str(uuid4()), str(uuid4()))
        store = f"sqlite:///{tmp_path / 'proxy.sqlite'}"
        answers = await run_all(
            ("ls", command.url),
            ("inspect", command.url, *ids, "--secret", SECRET),
            ("inspect", command.url, "--secret", SECRET),
            ("stop", command.url, "me", "you", "--secret", SECRET),
            ("ls", store),
            ("ls", "http://127.0.0.1:1"),
            ("ls", "localhost"),
        )
    says = ["PROXY_SECRET", "there is no generation", "SESSION", "no UUID"]
    says += ["http://127.0.0.1:4000", "cannot be reached", "no URL"]
    assert [code for code, _, _ in answers] == [1, 3, 2, 2, 1, 1, 2]
    for (_, out, errors), words in zip(answers, says, strict=True):
        assert words in errors
        assert out == b""
        assert SECRET not in errors


async def test_a_store_that_nobody_has_open(tmp_path: Path) -> None:
    store = f"sqlite:///{tmp_path / 'proxy.sqlite'}"
    async with (
        upstream(pieces(b"Hello, ", b"world")) as good,
        upstream(_break_off) as bad,
        proxy(tmp_path) as command,
    ):
        done, broken = await start(command, good.url), await start(command, bad.url)
        for one in (done, broken):
            await run("tail", "-f", one["durableDataUrl"])
        assert await command.terminate() == 0
    listing = await run("ls", store, "--json")
    states = {told["requestId"]: told["state"] for told in map(json.loads, listing[1].splitlines())}
    assert states == {done["requestId"]: "completed", broken["requestId"]: "failed"}
    ids = (done["sessionId"], done["requestId"])
    bad_ids = (broken["sessionId"], broken["requestId"])
    assert (await run("tail", store, *ids))[:2] == (0, b"Hello, world")
    code, out, errors = await run("tail", store, *bad_ids)
    assert (code, out) == (1, b"half")
    assert "upstream_error" in errors
    told = json.loads((await run("inspect", store, *bad_ids, "--json"))[1])
    assert told["end"]["code"] == "upstream_error"
    assert (await run("inspect", store, str(uuid4()), str(uuid4())))[0] == 3
    code, _, errors = await run("stop", store, *ids)
    assert (code, "proxy's URL" in errors) == (1, True)
    code, out, _ = await run("doctor", store)
    assert (code, out) == (0, b"ok    generations    1 completed, 1 failed\n")
    assert (await run("delete", store, *ids))[:2] == (0, b"deleted\n")
    assert (await run("delete", store, *ids))[0] == 3
    assert json.loads((await run("ls", store, "--json"))[1])["state"] == "failed"


async def test_the_doctor_finds_what_a_crash_left_and_an_end_that_is_not_said(
    tmp_path: Path,
) -> None:
    store = f"sqlite:///{tmp_path / 'proxy.sqlite'}"
    runs, silent = generation_paths(uuid4(), uuid4()), generation_paths(uuid4(), uuid4())
    async with await Log.open(store) as log:
        for paths in (runs, silent):
            await log.transact(Create(paths.control, "application/json"), Create(paths.data))
        await log.transact(Append(silent.control, close=True), Append(silent.data, close=True))
    code, out, _ = await run("doctor", store, "--json")
    findings = [json.loads(line) for line in out.splitlines()]
    assert code == 1
    assert [(one["level"], one["check"]) for one in findings] == [
        ("fail", "ends"),
        ("ok", "generations"),
        ("warn", "ends"),
    ]


@pytest.mark.parametrize(
    ("allow", "levels"),
    [
        ("http://127.0.0.1:*/**", {"headers", "raw", "long-poll"}),
        ("https://api.example/**", set()),
    ],
)
async def test_the_doctor_examines_the_way_to_a_proxy(
    tmp_path: Path, allow: str, levels: set[str]
) -> None:
    async with serving(tmp_path, "--secret", SECRET, allow=(allow,)) as command:
        code, out, errors = await run("doctor", command.url, "--secret", SECRET, "--json")
        assert (code, errors) == (0, ""), out
        findings = [json.loads(line) for line in out.splitlines()]
        assert {"health", "clock", "access"} <= {one["check"] for one in findings}
        assert levels <= {one["check"] for one in findings if one["level"] == "ok"}
        assert any(one["check"] == "live" for one in findings) is not bool(levels)
        code, out, _ = await run("doctor", command.url)
        assert (code, b"PROXY_SECRET" in out) == (1, True)
        assert await command.terminate() == 0
        assert command.stderr == ""
