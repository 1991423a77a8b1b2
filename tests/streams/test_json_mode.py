"""JSON mode: what is stored is what was sent, one comma after each message."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from durable_streams_server import json_array, json_items, json_record
from durable_streams_server._json_mode import InvalidJsonError, is_json, json_body_records

values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**20), 10**20)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(exclude_categories=["Cs"])),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text('ab"\\,[]'), inner),
    max_leaves=12,
)


@pytest.mark.parametrize(
    ("body", "records"),
    [
        (b"{}", b"{},"),
        (b' \r\n{"a": 1}\t', b'{"a": 1},'),
        (b"[1,2]", b"1,2,"),
        (b" [ 1 , 2 ] ", b"1 , 2,"),
        (b"[[1,2],[3]]", b"[1,2],[3],"),
        (b"[[]]", b"[],"),
        (b"[]", b""),
        (b"[ \n ]", b""),
        (b'"text, with ] and ["', b'"text, with ] and [",'),
        (b'["]"]', b'"]",'),
        (b"null", b"null,"),
        (b"-0", b"-0,"),
        (b"1e400", b"1e400,"),
        (b"1" * 400, b"1" * 400 + b","),
        ('"é\u2028"'.encode(), '"é\u2028",'.encode()),
        (b'"\\ud83d\\ude00"', b'"\\ud83d\\ude00",'),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2},'),
    ],
)
def test_a_body_is_stored_as_it_came(body: bytes, records: bytes) -> None:
    assert json_body_records(body) == records


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b"[1,]", b"[,1]", b"{}{}", b"1 2", b"{} x", b"1,2", b"[1][2]",
        b"nul", b"NaN", b"Infinity", b"-Infinity", b"[NaN]", b"01", b"1.", b".5", b"+1", b"0x1",
        b"'a'", b"{a:1}",
        b'"\x01"', b'"\xff"', b'"\xc3"', b'"unterminated', b'"\\x"', b"\xef\xbb\xbf1",
        b'{"a"}', b"// 1\n1", b"[1}", b"\x001", b"[" * 100_000,
    ],
)  # fmt: skip
def test_what_is_not_one_json_text_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidJsonError, match="not JSON"):
        json_body_records(body)


def _standard(body: bytes) -> Any:
    """The standard library's opinion, made as strict as RFC 8259."""

    def refuse(text: str) -> None:
        raise ValueError(text)

    return json.loads(body.decode("utf-8"), parse_constant=refuse)


@given(st.text('{}[]",:\\/0123456789.eE+-truefalsn \n\t', max_size=12).map(str.encode))
@example(b"[0]")
def test_it_takes_what_the_standard_library_takes(body: bytes) -> None:
    try:
        value = _standard(body)
    except ValueError:
        with pytest.raises(InvalidJsonError):
            json_body_records(body)
    else:
        assert json_items(json_body_records(body)) == (
            value if isinstance(value, list) else [value]
        )


@given(st.binary(max_size=12).map(lambda text: b'"' + text + b'"'))
def test_strings_are_utf_8(body: bytes) -> None:
    try:
        value = _standard(body)
    except ValueError:
        with pytest.raises(InvalidJsonError):
            json_body_records(body)
    else:
        assert json_items(json_body_records(body)) == [value]


@given(st.lists(values, max_size=5), st.sampled_from([None, 2]))
def test_messages_come_back_however_they_were_grouped(
    messages: list[Any], indent: int | None
) -> None:
    stored = b"".join(
        json_body_records(json.dumps([one], indent=indent).encode()) for one in messages
    )
    together = json_body_records(json.dumps(messages, indent=indent, ensure_ascii=False).encode())
    assert json_items(stored) == json_items(together) == messages
    assert json.loads(json_array(stored)) == messages


def test_an_empty_read_is_an_empty_array() -> None:
    assert json_array(b"") == b"[]"
    assert json_items(b"") == []
    assert json_items(json_record(b"[1]") + json_record(b"2")) == [[1], 2]


@pytest.mark.parametrize(
    ("content_type", "expected"),
    [
        ("application/json", True),
        ("Application/JSON; charset=utf-8", True),
        (" application/json ;x", True),
        ("application/jsonl", False),
        ("application/ld+json", False),
        ("text/json", False),
    ],
)
def test_json_mode_by_content_type(content_type: str, *, expected: bool) -> None:
    assert is_json(content_type) is expected
