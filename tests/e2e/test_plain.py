"""Through the proxy is the same as without it, event for event."""

import json

import anyio
import pytest

from durable_transport import MemoryStorage, resume, session
from e2e import drivers
from e2e.drivers import TIMEOUT, Driver, Event
from e2e.stage import TOOL, Stage, same_session, tokens

pytestmark = pytest.mark.anyio

SHAPES: dict[str, dict[str, object]] = {
    "text": {"tokens": tokens(40)},
    "tools": {"tokens": tokens(5), "tool_calls": (TOOL,)},
    "byte-by-byte": {"tokens": tokens(12), "split": 1},
    "random-packets": {"tokens": tokens(300), "split": 90, "split_seed": 4},
    "compressed": {"tokens": tokens(40), "gzip": True},
    "empty": {"tokens": ()},
}


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("driver", drivers.EVERY, ids=str)
async def test_a_durable_run_equals_the_direct_run(
    stage: Stage, driver: Driver, shape: str
) -> None:
    stage.script(**SHAPES[shape])
    expected = await stage.expected(driver)
    assert await driver.collect(stage.durable(), stage.script_id) == expected
    assert stage.calls() == 1


async def test_the_upstream_gets_the_request_as_the_sdk_made_it(stage: Stage) -> None:
    """Body, credentials and the SDK's own headers arrive; what is for the proxy does not."""
    stage.script()
    headers = {"x-custom": "kept"}
    direct = stage.direct()
    await drivers.MESSAGES_ASYNC.collect(direct, stage.script_id)
    durable = stage.durable(headers=headers | session("a session"))
    await drivers.MESSAGES_ASYNC.collect(durable, stage.script_id)

    plain, through = stage.upstream.requests(stage.script_id)
    assert (through.method, through.path, through.body) == (plain.method, plain.path, plain.body)
    sent = dict(through.headers)
    assert sent.pop("x-custom") == "kept"
    assert sent.pop("accept-encoding") == "identity"  # stored bytes are the upstream's own
    expected = dict(plain.headers)
    for name in ("accept-encoding", "connection"):
        expected.pop(name, None)
    sent.pop("connection", None)
    assert sent == expected


async def test_a_reader_that_leaves_early_does_not_stop_the_generation(stage: Stage) -> None:
    stage.script(tokens=tokens(30))
    expected = await stage.expected(drivers.CHAT_ASYNC)
    stage.script(tokens=tokens(30), hold_after=10)
    storage = MemoryStorage()
    target = stage.durable(storage=storage, headers=session("leaves"))
    async with drivers.async_openai_client(target) as client:
        stream = await client.chat.completions.create(
            model=stage.script_id,
            messages=[{"role": "user", "content": drivers.MESSAGE}],
            stream=True,
            stream_options={"include_usage": True},
        )
        seen = [(await anext(stream)).model_dump(mode="json") for _ in range(3)]
        await stream.close()
    stage.upstream.release(stage.script_id)

    again = stage.durable(storage=storage, headers=resume("leaves", from_start=True))
    events = await drivers.CHAT_ASYNC.collect(again, stage.script_id)
    assert events == expected
    assert events[:3] == seen
    assert stage.calls() == 1
    assert stage.upstream.disconnects(stage.script_id) == 0


@pytest.mark.parametrize(
    "driver", [drivers.CHAT_ASYNC, drivers.RESPONSES, drivers.MESSAGES_ASYNC], ids=str
)
async def test_clients_follow_one_generation(stage: Stage, driver: Driver) -> None:
    """A second client joins in mid-answer, a third when it is over: all see the same."""
    stage.script(tokens=tokens(40))
    expected = await stage.expected(driver)
    stage.script(tokens=tokens(40), hold_after=20)
    headers = same_session(stage.script_id)
    first: list[Event] = []
    second: list[Event] = []
    both = (anyio.Event(), anyio.Event())

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as group:
            for events, reached in zip((first, second), both, strict=True):
                sink = drivers.notifying(driver, events, 12, reached)
                group.start_soon(
                    driver.stream, stage.durable(headers=headers), stage.script_id, sink
                )
            for reached in both:
                await reached.wait()
            stage.upstream.release(stage.script_id)
    late = await driver.collect(stage.durable(headers=headers), stage.script_id)

    assert first == expected
    assert second == expected
    assert late == expected
    assert stage.calls() == 1


async def test_many_answers_at_once(stage: Stage) -> None:
    """Forty generations side by side keep to their own sessions."""
    stage.script(tokens=tokens(30), pace=0.001)
    expected = await stage.expected(drivers.CHAT_ASYNC)
    answers: list[list[Event]] = []

    async def run() -> None:
        answers.append(await drivers.CHAT_ASYNC.collect(stage.durable(), stage.script_id))

    with anyio.fail_after(TIMEOUT):
        async with anyio.create_task_group() as group:
            for _ in range(40):
                group.start_soon(run)
    assert all(answer == expected for answer in answers), json.dumps(answers)[:500]
    assert stage.calls() == 40
