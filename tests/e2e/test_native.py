"""The one-liners for openai, anthropic, LangChain and pydantic-ai, with the real libraries.

That the SDKs themselves see no difference is tested in the files beside this one.
"""

from contextlib import AbstractContextManager
from functools import partial

import anthropic
import anyio
import anyio.to_thread
import httpx2
import openai
import pytest

from durable_ai_transport import native
from durable_transport import (
    AsyncDurableTransport,
    FileStorage,
    GenerationAborted,
    MemoryStorage,
    resume,
    session,
    turn,
)
from e2e import native_drivers as drivers
from e2e.drivers import TIMEOUT, UNIT
from e2e.native_drivers import Native, Place
from e2e.reader import Reader, reader_process
from e2e.relay import chaos, relaying
from e2e.stage import TOOL, Stage, tokens
from emulator import Reject, Script

pytestmark = pytest.mark.anyio

TEXT = tokens(30)
HOLD = 20


def place(stage: Stage, proxy_url: str | None = None, **options: object) -> Place:
    """Where a test's calls go; without retries unless it says otherwise."""
    return Place(stage.upstream.url, proxy_url or stage.proxy_url, options)


each = pytest.mark.parametrize("driver", drivers.EVERY, ids=str)


@pytest.mark.parametrize("driver", drivers.FRAMEWORKS, ids=str)
async def test_connections_that_are_cut_again_and_again_are_invisible(
    stage: Stage, driver: Native
) -> None:
    stage.script(tokens=TEXT, pace=0.002, split=120, split_seed=7)
    port = int(stage.proxy_url.rpartition(":")[2])
    with relaying(port, chaos(7)) as relay, anyio.fail_after(TIMEOUT):
        text = await driver.collect(place(stage, relay.url), stage.script_id)
    assert text == "".join(TEXT)
    assert relay.cuts >= 2
    assert stage.calls() == 1


@each
async def test_a_turn_that_is_done_again_asks_the_model_nothing(
    stage: Stage, driver: Native
) -> None:
    """Also after its end, and also by a client that remembers nothing of it."""
    stage.script(tokens=TEXT)
    for expected_calls, name in ((1, "first"), (1, "first"), (2, "second")):
        with turn(f"turns of {driver}", name):
            assert await driver.collect(place(stage), stage.script_id) == "".join(TEXT)
        assert stage.calls() == expected_calls


@each
async def test_what_is_stopped_ends_with_a_typed_error_after_all_its_text(
    stage: Stage, driver: Native
) -> None:
    stage.script(tokens=TEXT, hold_after=HOLD)
    storage = MemoryStorage()
    pieces: list[str] = []
    shown = anyio.Event()

    def keep(text: str) -> None:
        pieces.append(text)
        if len(pieces) >= HOLD - 10:
            shown.set()

    errors: list[BaseException] = []

    async def read() -> None:
        try:
            await driver.stream(
                place(stage, storage=storage, session="stopped"), stage.script_id, keep
            )
        except BaseException as error:  # noqa: BLE001  (each library has its own)
            errors.append(error)

    transport = AsyncDurableTransport(stage.proxy_url, storage=storage)
    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as group:
            group.start_soon(read)
            await shown.wait()
            stopped = await transport.stop("stopped", reason="enough", actor="ada")
    await transport.aclose()
    assert stopped.by_this
    aborted = _cause(errors[0], GenerationAborted)
    assert (aborted.reason, aborted.actor) == ("enough", "ada")
    assert isinstance(aborted, httpx2.RemoteProtocolError)
    assert "".join(TEXT).startswith("".join(pieces))
    assert stage.calls() == 1


def _cause(error: BaseException, kind: type[GenerationAborted]) -> GenerationAborted:
    seen: BaseException | None = error
    while seen is not None and not isinstance(seen, kind):
        seen = seen.__cause__ or seen.__context__
    assert seen is not None, f"no {kind.__name__} behind {error!r}"
    return seen


SOON = (("retry-after-ms", "15"),)


@each
@pytest.mark.parametrize(("status", "calls"), [(401, 1), (429, 3)])
async def test_a_refusal_is_the_librarys_own_exception(
    stage: Stage, driver: Native, status: int, calls: int
) -> None:
    """Tried again as often as without us, and then told with the upstream's own words."""
    from pydantic_ai.exceptions import ModelHTTPError

    stage.script(reject=Reject(status=status, message="no, says the model", headers=SOON))
    kinds = (openai.APIStatusError, anthropic.APIStatusError, ModelHTTPError)
    with pytest.raises(kinds, match="no, says the model") as caught:
        await driver.collect(place(stage, session="refused"), stage.script_id)
    assert getattr(caught.value, "status_code", None) == status
    assert stage.calls() == calls


@pytest.mark.parametrize(
    "driver",
    [drivers.OPENAI, drivers.OPENAI_ASYNC, drivers.ANTHROPIC_ASYNC, drivers.LANGCHAIN_ASYNC],
    ids=str,
)
async def test_the_sdks_retries_do_not_ask_the_model_twice(stage: Stage, driver: Native) -> None:
    """The client is less patient than the model is slow: its next attempt finds the first."""
    stage.script(tokens=TEXT, headers_delay=0.9 * UNIT)
    impatient = place(stage, timeout=0.3 * UNIT, max_retries=5)
    assert await driver.collect(impatient, stage.script_id) == "".join(TEXT)
    assert stage.calls() == 1


async def test_another_call_is_no_retry(stage: Stage) -> None:
    stage.script(tokens=TEXT, headers_delay=0.5 * UNIT)
    impatient = place(stage, timeout=0.1 * UNIT, max_retries=0)
    for _ in range(2):
        with pytest.raises(openai.APITimeoutError):
            await drivers.OPENAI_ASYNC.collect(impatient, stage.script_id)
    assert stage.calls() == 2


async def test_what_is_said_for_a_call_wins_over_the_clients_session(stage: Stage) -> None:
    stage.script(tokens=TEXT)
    ask = partial(_ids, stage)
    assert (await ask())[0] == "the client's"
    with session("around"):
        assert (await ask())[0] == "around"
        assert (await ask(**session("the call's", request_id="r")))[:2] == ("the call's", "r")


async def _ids(stage: Stage, **headers: str) -> tuple[str, str]:
    options = place(stage, session="the client's").arguments()
    async with native.durable_async_openai(stage.proxy_url, **options) as client:
        raw = client.chat.completions.with_raw_response
        answer = await raw.create(
            model=stage.script_id, messages=drivers.MESSAGES, extra_headers=headers
        )
        return answer.headers["x-session-id"], answer.headers["x-request-id"]


@pytest.mark.parametrize("driver", [drivers.LANGCHAIN_ASYNC, drivers.OPENAI_ASYNC], ids=str)
async def test_resuming_in_a_new_client_reads_the_rest(stage: Stage, driver: Native) -> None:
    stage.script(tokens=TEXT, hold_after=HOLD)
    storage = stage.directory / "active"
    first: list[str] = []
    with anyio.fail_after(TIMEOUT), pytest.raises(_EnoughError):
        await driver.stream(
            place(stage, storage=storage, session="left"),
            stage.script_id,
            partial(_leave_after, HOLD // 2, first),
        )
    stage.upstream.release(stage.script_id)
    later = place(stage, storage=FileStorage(storage))
    with resume("left", from_start=True):
        assert await driver.collect(later, "whatever") == "".join(TEXT)
    assert stage.calls() == 1


class _EnoughError(Exception):
    pass


def _leave_after(count: int, pieces: list[str], text: str) -> None:
    pieces.append(text)
    if len(pieces) == count:
        raise _EnoughError


@pytest.mark.slow
async def test_a_killed_agent_goes_on_in_another_process(stage: Stage) -> None:
    """Killed in the answer after its tool call: done again, no step is asked of the model again."""
    stage.script(tokens=(), tool_calls=(TOOL,), after_tools="after-tools")
    stage.upstream.add(Script(id="after-tools", tokens=TEXT, hold_after=HOLD))
    with _killed(stage, drivers.WEATHER, turn="turn-1") as process:
        events = await anyio.to_thread.run_sync(process.read, 10)
        seen = "".join(event["text"] for event in events)
        await anyio.to_thread.run_sync(process.kill)
    assert stage.calls() == 2
    stage.upstream.release("after-tools")
    pieces: list[str] = []
    with anyio.fail_after(TIMEOUT), turn("killed", "turn-1"):
        asked = await drivers.weather_agent(place(stage), stage.script_id, pieces.append)
    assert asked == ["Zürich"]
    assert "".join(pieces) == "".join(TEXT)
    assert "".join(TEXT).startswith(seen)
    assert stage.calls() == 2


@pytest.mark.slow
async def test_a_killed_chain_is_resumed_in_another_process(stage: Stage) -> None:
    stage.script(tokens=TEXT, hold_after=HOLD)
    with _killed(stage, drivers.LANGCHAIN_ASYNC) as process:
        await anyio.to_thread.run_sync(process.read, 10)
        await anyio.to_thread.run_sync(process.kill)
    stage.upstream.release(stage.script_id)
    here = place(stage, storage=stage.directory / "active")
    with anyio.fail_after(TIMEOUT), resume("killed", from_start=True):
        text = await drivers.LANGCHAIN.collect(here, stage.script_id)
    assert text == "".join(TEXT)
    assert stage.calls() == 1


def _killed(stage: Stage, driver: Native, **options: str) -> AbstractContextManager[Reader]:
    return reader_process(
        "e2e.native_drivers",
        driver=driver.name,
        proxy=stage.proxy_url,
        upstream=stage.upstream.url,
        model=stage.script_id,
        storage=stage.directory / "active",
        session="killed",
        **options,
    )
