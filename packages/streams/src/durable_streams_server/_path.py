"""From the path of a URL to the name of a stream. Pure.

Two spellings of one URL are one stream (``%61`` is ``a``), and an encoded slash is not a slash:
the name is the percent-decoded segments, encoded again in one canonical way.
"""

import re
from functools import lru_cache
from urllib.parse import quote, unquote_to_bytes

MAX_PATH_LENGTH = 1024
"""Longest stream name in characters, canonically encoded."""

RESERVED = "__ds"
"""First segment of paths that are no streams (PROTOCOL section 6)."""

_SAFE = "!$&'()*+,-.:;=@_~"
_CANONICAL = re.compile(r"[A-Za-z0-9!$&'()*+,\-.:;=@_~/]*")


class InvalidPathError(ValueError):
    """The path cannot name a stream; the text says why."""


class ReservedPathError(InvalidPathError):
    """The path is one of the control API's."""


@lru_cache(maxsize=4096)
def stream_path(raw: str) -> str:
    """The canonical name for the part of a URL's raw path that follows the prefix.

    Raises:
        ReservedPathError: its first segment is `RESERVED`.
        InvalidPathError: empty, too long, dot segments, NUL, or not UTF-8.
    """
    if not raw:
        raise InvalidPathError("the URL names no stream: add a path after the prefix")
    path = raw if _CANONICAL.fullmatch(raw) else _canonical(raw)
    if len(path) > MAX_PATH_LENGTH:
        raise InvalidPathError(f"a stream's path has at most {MAX_PATH_LENGTH} characters")
    if "." in path and any(segment in (".", "..") for segment in path.split("/")):
        raise InvalidPathError("a stream's path has no . or .. segments")
    if path == RESERVED or path.startswith(RESERVED + "/"):
        raise ReservedPathError(f"{RESERVED}/ is reserved for subscriptions; choose another path")
    return path


def typed_path(text: str) -> str:
    """What somebody typed, or sent decoded, as a raw path: what is encoded already stays."""
    return quote(text, safe=_SAFE + "/%")


def _canonical(raw: str) -> str:
    segments = []
    for segment in raw.split("/"):
        decoded = unquote_to_bytes(segment)
        try:
            text = decoded.decode("utf-8")
        except UnicodeDecodeError as error:
            raise InvalidPathError("a stream's path is UTF-8, percent-encoded") from error
        if "\0" in text:
            raise InvalidPathError("a stream's path has no NUL")
        segments.append(quote(text, safe=_SAFE))
    return "/".join(segments)
