"""What is appended, as the body of a request."""

import json
from collections.abc import Iterable, Sequence
from typing import Any

from durable_transport._stream._head import is_json


def encode(data: Any, content_type: str) -> bytes:
    """The bytes of one append.

    To a JSON stream: any JSON value is one message; bytes are its JSON text. To any other
    stream: bytes, or text, which is encoded as UTF-8.

    Raises:
        TypeError: nothing that can be appended to such a stream.
        ValueError: no JSON value, or nothing at all.
    """
    if isinstance(data, bytes | bytearray | memoryview):
        encoded = bytes(data)
    elif is_json(content_type):
        encoded = json.dumps(
            data, ensure_ascii=False, allow_nan=False, separators=(",", ":")
        ).encode()
    elif isinstance(data, str):
        encoded = data.encode()
    else:
        raise TypeError(
            f"a stream of {content_type} takes bytes or str, not {type(data).__name__}; "
            f"create it as application/json for JSON values"
        )
    if not encoded.strip() if is_json(content_type) else not encoded:
        raise ValueError("there is nothing to append: the data is empty")
    return encoded


def encode_all(data: Iterable[Any], content_type: str) -> bytes:
    """The bytes of several appends that belong together.

    Raises:
        TypeError: one of them cannot be appended to such a stream.
        ValueError: likewise, or there is none.
    """
    parts = [encode(one, content_type) for one in data]
    if not parts:
        raise ValueError("there is nothing to append")
    return (b"," if is_json(content_type) else b"").join(parts)


def join(parts: Sequence[bytes], content_type: str) -> bytes:
    """One body out of several appends.

    A JSON array is flattened by one level (PROTOCOL section 9.1.2), so that an array around them
    makes each part one message.
    """
    return b"[" + b",".join(parts) + b"]" if is_json(content_type) else b"".join(parts)
