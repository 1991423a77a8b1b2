"""The emulator is what it claims: the vendors' own clients read it completely."""

import json

import anthropic
import httpx2
import openai
import pytest

import emulator
from e2e import drivers
from e2e.drivers import Driver, Target
from emulator import Cut, Reject, Script, ToolCall

pytestmark = pytest.mark.anyio

TOOL = ToolCall(name="weather", arguments=('{"ci', 'ty": "Zü', 'rich"}'))
TEXT = "Grüße aus Zürich: 🌍 日本語 e\u0301 \u2028 end."


@pytest.mark.parametrize("driver", drivers.EVERY, ids=str)
async def test_all_events_parse_into_known_types(
    upstream: emulator.Upstream, driver: Driver
) -> None:
    upstream.add(Script(id="typed", tokens=emulator.words(TEXT), tool_calls=(TOOL,)))
    events = await driver.collect(Target(upstream.url), "typed")
    assert TEXT in _text_of(events)
    assert "Zürich" in json.dumps(events, ensure_ascii=False)


def _text_of(events: list[drivers.Event]) -> str:
    """The answer's text, wherever the API puts it."""
    pieces = []
    for event in events:
        for choice in event.get("choices") or ():
            part = choice.get("delta") or choice.get("message") or {}
            pieces.append(part.get("content") or "")
        if isinstance(event.get("delta"), str) and event["type"] == "response.output_text.delta":
            pieces.append(event["delta"])
        if isinstance(event.get("delta"), dict):
            pieces.append(event["delta"].get("text") or "")
    return "".join(pieces)


def test_the_sdk_accumulators_build_whole_answers(upstream: emulator.Upstream) -> None:
    upstream.add(Script(id="whole", tokens=emulator.words(TEXT), tool_calls=(TOOL,)))
    messages = [{"role": "user", "content": "x"}]
    target = Target(upstream.url)
    with drivers.openai_client(target) as client:
        with client.chat.completions.stream(model="whole", messages=messages) as chat:  # type: ignore[arg-type]
            completion = chat.get_final_completion()
        with client.responses.stream(model="whole", input="x") as responses:
            response = responses.get_final_response()
    with (
        drivers.anthropic_client(target) as claude,
        claude.messages.stream(model="whole", max_tokens=9, messages=messages) as stream,  # type: ignore[arg-type]
    ):
        message = stream.get_final_message()

    assert completion.choices[0].message.content == TEXT
    calls = completion.choices[0].message.tool_calls
    assert calls
    assert json.loads(calls[0].function.arguments) == {"city": "Zürich"}
    assert response.output_text == TEXT
    assert response.output[1].type == "function_call"
    assert json.loads(response.output[1].arguments) == {"city": "Zürich"}
    assert message.content[0].type == "text"
    assert message.content[0].text == TEXT
    assert message.content[1].type == "tool_use"
    assert message.content[1].input == {"city": "Zürich"}


@pytest.mark.parametrize("split", [1, 3, 7])
async def test_packets_do_not_change_the_events(upstream: emulator.Upstream, split: int) -> None:
    upstream.add(Script(id="plain", tokens=emulator.words(TEXT)))
    upstream.add(Script(id="split", tokens=emulator.words(TEXT), split=split, split_seed=7))
    for driver in (drivers.CHAT, drivers.MESSAGES_ASYNC):
        plain = await driver.collect(Target(upstream.url), "plain")
        split_up = await driver.collect(Target(upstream.url), "split")
        text = _text_of(plain)
        assert _text_of(split_up) == text == TEXT


@pytest.mark.parametrize("promise_length", [True, False], ids=["short", "unchunked"])
def test_a_cut_body_is_not_a_clean_end(
    upstream: emulator.Upstream, *, promise_length: bool
) -> None:
    cut = Cut(packets=3, promise_length=promise_length)
    upstream.add(Script(id="cut", raw=(b"abc",) * 9, cut=cut))
    received = bytearray()
    with (
        drivers.sync_http(Target(upstream.url)) as client,
        client.stream("GET", f"{upstream.url}/raw/cut") as answer,
        pytest.raises(httpx2.RemoteProtocolError),
    ):
        _read_into(received, answer)
    assert received == b"abc" * 3


def _read_into(received: bytearray, answer: httpx2.Response) -> None:
    for piece in answer.iter_raw():
        received += piece


def test_rejections_carry_the_vendors_error_bodies(upstream: emulator.Upstream) -> None:
    upstream.add(Script(id="no", reject=Reject(status=401, message="bad key")))
    target = Target(upstream.url)
    with drivers.openai_client(target) as client, pytest.raises(openai.AuthenticationError):
        client.responses.create(model="no", input="x")
    with (
        drivers.anthropic_client(target) as claude,
        pytest.raises(anthropic.AuthenticationError, match="bad key"),
    ):
        claude.messages.create(model="no", max_tokens=1, messages=[])
    assert upstream.calls("no") == 2


def test_a_held_answer_waits_for_its_release(upstream: emulator.Upstream) -> None:
    upstream.add(Script(id="held", raw=(b"a", b"b", b"c"), hold_after=2))
    with (
        drivers.sync_http(Target(upstream.url)) as client,
        client.stream("GET", f"{upstream.url}/raw/held") as answer,
    ):
        pieces = answer.iter_raw()
        received = next(pieces)
        while received != b"ab":
            received += next(pieces)
        upstream.release("held")
        assert b"".join(pieces) == b"c"


def test_a_process_of_its_own_is_steered_over_http() -> None:
    with emulator.serve_process() as upstream:
        upstream.add(Script(id="far", raw=(b"\x00\xff",), raw_times=1000, gzip=True))
        with drivers.sync_http(Target(upstream.url)) as client:
            answer = client.get(f"{upstream.url}/raw/far")
        assert answer.content == b"\x00\xff" * 1000
        assert upstream.calls("far") == 1


def test_a_refused_address_refuses() -> None:
    with (
        emulator.refused_url() as url,
        drivers.sync_http(Target(url)) as client,
        pytest.raises(httpx2.ConnectError),
    ):
        client.get(url)
