"""Whatever is wrong with the upstream, the SDK says exactly what it says without us."""

from dataclasses import dataclass

import anthropic
import httpx2
import openai
import pytest

import emulator
from durable_transport import GenerationFailed
from e2e import drivers
from e2e.drivers import Driver, Event, Target
from e2e.stage import Stage, tokens
from emulator import Cut, Reject

pytestmark = pytest.mark.anyio

RETRIES = 2
SOON = (("retry-after-ms", "15"),)
REJECTIONS = {
    "401": Reject(status=401, message="Incorrect API key", headers=SOON),
    "429": Reject(status=429, message="slow down", headers=(("retry-after", "1"), *SOON)),
    "500": Reject(status=500, message="our fault", headers=SOON),
}
ERRORS = {
    "401": (openai.AuthenticationError, anthropic.AuthenticationError),
    "429": (openai.RateLimitError, anthropic.RateLimitError),
    "500": (openai.InternalServerError, anthropic.InternalServerError),
}


@dataclass(frozen=True, slots=True)
class Outcome:
    """Everything an SDK user can tell about a failure."""

    kind: type[BaseException]
    status: int | None
    body: object
    retry_after: str | None
    request_id: str | None
    attempts: int


async def _outcome(driver: Driver, target: Target, model: str) -> Outcome:
    with pytest.raises((openai.OpenAIError, anthropic.AnthropicError)) as caught:
        await driver.collect(target, model)
    error = caught.value
    response = getattr(error, "response", None)
    headers = httpx2.Headers() if response is None else response.headers
    return Outcome(
        kind=type(error),
        status=getattr(error, "status_code", None),
        body=getattr(error, "body", None),
        retry_after=headers.get("retry-after"),
        request_id=headers.get("x-request-id"),
        attempts=len(target.attempts),
    )


@pytest.mark.parametrize("status", REJECTIONS)
@pytest.mark.parametrize("driver", drivers.EVERY, ids=str)
async def test_rejections(stage: Stage, driver: Driver, status: str) -> None:
    stage.script(reject=REJECTIONS[status], headers=(("x-request-id", "req_1"),))
    direct = await _outcome(driver, stage.direct(max_retries=RETRIES), stage.script_id)
    calls = stage.calls()
    durable = await _outcome(driver, stage.durable(max_retries=RETRIES), stage.script_id)
    assert direct.kind in ERRORS[status]
    assert direct.attempts == calls == (1 if status == "401" else 1 + RETRIES)
    assert durable.attempts == direct.attempts
    assert durable.kind is direct.kind
    assert (durable.status, durable.body) == (direct.status, direct.body)
    assert durable.retry_after == direct.retry_after
    assert stage.calls() == 2 * calls


@pytest.mark.parametrize("driver", drivers.EVERY, ids=str)
async def test_a_retry_after_a_rejection_succeeds(stage: Stage, driver: Driver) -> None:
    stage.script(tokens=tokens(5))
    expected = await stage.expected(driver)
    busy = Reject(status=429, headers=SOON, times=1)
    stage.script(tokens=tokens(5), reject=busy)
    target = stage.durable(max_retries=RETRIES)
    assert await driver.collect(target, stage.script_id) == expected
    assert stage.calls() == 2


@pytest.mark.parametrize("driver", [drivers.CHAT, drivers.MESSAGES_ASYNC], ids=str)
async def test_a_refused_connection(stage: Stage, driver: Driver) -> None:
    with emulator.refused_url() as nowhere:
        direct = await _outcome(driver, Target(nowhere, max_retries=1), "x")
        durable = await _outcome(driver, stage.durable(url=nowhere, max_retries=1), "x")
    assert direct.kind in (openai.APIConnectionError, anthropic.APIConnectionError)
    assert durable == direct


@pytest.mark.parametrize("promise_length", [False, True], ids=["unchunked", "short"])
@pytest.mark.parametrize("driver", drivers.STREAMING, ids=str)
async def test_a_truncated_answer_is_never_a_clean_end(
    stage: Stage, driver: Driver, *, promise_length: bool
) -> None:
    stage.script(tokens=tokens(20), cut=Cut(packets=12, promise_length=promise_length))
    directly, direct_error = await _broken(driver, stage.direct(), stage.script_id)
    events, error = await _broken(driver, stage.durable(), stage.script_id)
    assert events == directly
    assert len(events) >= 10
    assert isinstance(error, type(direct_error))
    root = error if isinstance(error, GenerationFailed) else error.__cause__
    assert isinstance(root, GenerationFailed)
    assert root.code in ("upstream_truncated", "upstream_error")
    assert isinstance(root, httpx2.RemoteProtocolError)


async def _broken(driver: Driver, target: Target, model: str) -> tuple[list[Event], BaseException]:
    events: list[Event] = []
    with pytest.raises((openai.APIConnectionError, httpx2.RemoteProtocolError)) as caught:
        await driver.stream(target, model, events.append)
    return events, caught.value
