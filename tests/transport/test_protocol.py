"""What every package has to agree on: offsets, names of streams, control messages."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from durable_transport.protocol import (
    MAX_POSITION,
    ControlEvent,
    ControlMessage,
    InvalidOffsetError,
    StartPayload,
    TerminalCode,
    TerminalPayload,
    format_offset,
    generation_paths,
    parse_generation_path,
    parse_offset,
    to_uuid,
)

if TYPE_CHECKING:
    from uuid import UUID

POSITIONS = st.integers(0, MAX_POSITION)


@given(POSITIONS, POSITIONS)
def test_offsets_sort_as_their_positions(one: int, other: int) -> None:
    texts = format_offset(one), format_offset(other)
    assert (texts[0] < texts[1]) == (one < other)
    assert (parse_offset(texts[0]), parse_offset(texts[1])) == (one, other)
    assert {len(text) for text in texts} == {20}


def test_minus_one_is_the_beginning() -> None:
    assert parse_offset("-1") == 0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "0",
        "now",
        "-2",
        "1" * 19,
        "0" * 21,
        "9" * 20,
        "+" + "0" * 19,
        " " + "0" * 19,
        "\u0660" * 20,
    ],
)
def test_what_is_no_offset_is_refused_and_says_what_is_one(text: str) -> None:
    with pytest.raises(InvalidOffsetError, match="Stream-Next-Offset"):
        parse_offset(text)


@given(st.uuids(), st.uuids())
def test_a_stream_s_path_tells_its_generation(session: UUID, request_id: UUID) -> None:
    paths = generation_paths(session, request_id)
    assert parse_generation_path(paths.data) == (paths, "data")
    assert parse_generation_path(paths.control) == (paths, "control")


SOME = generation_paths(to_uuid("session"), to_uuid("request"))


@pytest.mark.parametrize(
    "path",
    [
        "",
        "chat/1",
        "generations/a/b/data",
        SOME.data.upper(),
        SOME.data + "/",
        "/" + SOME.data,
        SOME.data.replace("/data", "/other"),
        SOME.data.replace("-", ""),
        SOME.data.removesuffix("/data"),
    ],
)
def test_other_paths_are_no_generations(path: str) -> None:
    assert parse_generation_path(path) is None


def test_a_name_has_the_same_uuid_everywhere() -> None:
    # Values of the uuid npm package: v5(name, NIL).
    assert str(to_uuid("hello")) == "b7502f40-1152-59f2-ba10-69aeed522cdf"
    assert to_uuid("hello", to_uuid("x")) != to_uuid("hello")


def test_a_control_message_is_the_json_of_the_wire() -> None:
    payload = TerminalPayload(code=TerminalCode.ORPHANED, message="gone")
    message = ControlMessage.terminal(ControlEvent.ERROR, 7, payload)
    assert message.to_json() == (
        b'{"event":"error","dataOffset":"00000000000000000007",'
        b'"payload":{"code":"orphaned","message":"gone"}}'
    )
    again = ControlMessage.model_validate_json(message.to_json())
    assert (again, again.is_terminal, again.data_position) == (message, True, 7)
    assert again.terminal_payload() == payload


def test_a_start_message_is_not_the_end() -> None:
    payload = StartPayload(status=201, content_type="text/plain", headers=[("a", "b"), ("a", "c")])
    message = ControlMessage.model_validate_json(ControlMessage.start(payload).to_json())
    assert not message.is_terminal
    assert message.start_payload() == payload


def test_an_event_of_a_later_version_is_kept_as_it_is() -> None:
    text = '{"event":"pause","dataOffset":"00000000000000000001","payload":{"why":1},"more":2}'
    message = ControlMessage.model_validate_json(text)
    assert (message.event, message.is_terminal) == ("pause", False)
    assert message.payload == {"why": 1}
