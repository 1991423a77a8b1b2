"""Messages out of chunks, compared with the AI SDK's own after every chunk."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ai_transport.sdk import CHUNKS, STREAMS, Sdk, ours, recorded
from durable_ai_transport.vercel import PartialJson

if TYPE_CHECKING:
    from collections.abc import Iterator

EXAMPLES = settings(
    deadline=None,
    max_examples=100,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
    derandomize=True,
)


@pytest.fixture(scope="module")
def sdk() -> Iterator[Sdk]:
    oracle = Sdk()
    yield oracle
    oracle.close()


def compare(sdk: Sdk, chunks: list[Any], message: Any = None) -> None:
    theirs = sdk.ask(chunks=chunks, message=message)
    mine = ours(chunks, message)
    assert mine["error"] == theirs["error"]
    for ours_now, theirs_now in zip(mine["messages"], theirs["messages"], strict=True):
        assert ours_now == theirs_now


@pytest.mark.parametrize("name", recorded())
def test_recorded(sdk: Sdk, name: str) -> None:
    compare(sdk, recorded()[name])


CALL = {"toolCallId": "1", "toolName": "t"}
CORNERS: dict[str, list[Any]] = {
    "input that goes on in the next step": [
        {"type": "tool-input-start", **CALL, "dynamic": True},
        {"type": "start-step"},
        {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": '{"a'},
        {"type": "tool-input-delta", "toolCallId": "1", "inputTextDelta": '":1'},
    ],
    "a result of an earlier step": [
        {"type": "tool-input-available", **CALL, "input": 1},
        {"type": "start-step"},
        {"type": "tool-input-available", **CALL, "input": 2},
        {"type": "start-step"},
        {"type": "tool-output-available", "toolCallId": "1", "output": 3},
    ],
    "an approval": [
        {"type": "tool-input-available", **CALL, "input": 1, "providerMetadata": {"p": {"a": 1}}},
        {"type": "tool-approval-request", "toolCallId": "1", "approvalId": "q"},
        {"type": "tool-approval-response", "approvalId": "q", "approved": False, "reason": "no"},
        {"type": "tool-output-denied", "toolCallId": "1"},
    ],
    "an emoji cut in two": [
        {"type": "text-start", "id": "1"},
        {"type": "text-delta", "id": "1", "delta": "a\ud83d"},
        {"type": "text-delta", "id": "1", "delta": "\ude00b"},
    ],
    "null where nothing is meant": [
        {"type": "text-start", "id": "1", "providerMetadata": None},
        {"type": "tool-input-start", **CALL, "title": None, "toolMetadata": None},
        {"type": "tool-input-available", **CALL, "providerExecuted": None, "input": None},
    ],
    "another message": [
        {"type": "start", "messageId": "m1"},
        {"type": "text-start", "id": "1"},
        {"type": "start", "messageId": "m2", "messageMetadata": {"a": 1}},
        {"type": "text-delta", "id": "1", "delta": "x"},
    ],
}


@pytest.mark.parametrize("name", CORNERS)
def test_corners(sdk: Sdk, name: str) -> None:
    compare(sdk, CORNERS[name])


@EXAMPLES
@given(chunks=STREAMS)
def test_made_up(sdk: Sdk, chunks: list[Any]) -> None:
    compare(sdk, chunks)


@EXAMPLES
@given(chunks=STREAMS, more=st.lists(CHUNKS, max_size=8))
def test_going_on_with_a_message(sdk: Sdk, chunks: list[Any], more: list[Any]) -> None:
    shown = ours(chunks)["messages"]
    if shown:
        compare(sdk, more, shown[-1])


PIECES = st.lists(
    st.text(alphabet='{}[]",:\\utrefalsn019.-eE+ xA/', max_size=3)
    | st.sampled_from(["true", "false", "null", '"a"', '{"a":', "[", "-1.5e", "\\u00e4", "\\ud83d"])
    | st.sampled_from(['"__proto__":1', '"constructor":{"prototype":1}', "\U0001f600", "1e999"]),
    max_size=12,
)


@EXAMPLES
@given(pieces=PIECES)
def test_incomplete_json(sdk: Sdk, pieces: list[str]) -> None:
    json_so_far = PartialJson()
    for piece in pieces:
        json_so_far.feed(piece)
    theirs = sdk.ask(text="".join(pieces))
    assert json_so_far.value() == theirs.get("value", ...)


@EXAMPLES
@given(
    value=st.recursive(
        st.none() | st.booleans() | st.floats(-9e9, 9e9) | st.text(max_size=4),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner),
        max_leaves=6,
    ),
    escapes=st.sampled_from([True, False]),
    data=st.data(),
)
def test_json_that_is_cut_anywhere(sdk: Sdk, value: Any, escapes: Any, data: Any) -> None:
    text = json.dumps(value, ensure_ascii=escapes)
    cut = data.draw(st.integers(0, len(text)))
    whole = PartialJson(text[:cut])
    assert whole.value() == sdk.ask(text=text[:cut]).get("value", ...)
    whole.feed(text[cut:])
    assert whole.value() == value
