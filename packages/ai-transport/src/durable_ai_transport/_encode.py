"""Chunks as JSON. Pure."""

import json
from typing import Any


def encoded(chunk: Any) -> bytes:
    """One chunk as JSON.

    Raises:
        TypeError: it holds what is no JSON.
        ValueError: likewise, such as NaN.
    """
    text = json.dumps(chunk, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        # Half of a surrogate pair, of which no server can make UTF-8.
        return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace").encode()
