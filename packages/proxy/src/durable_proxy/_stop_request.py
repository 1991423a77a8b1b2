"""``POST /api/{session}/{request}/stop``: from its body to a `StopOrder`, or a refusal. Pure."""

import json
from dataclasses import dataclass
from typing import Any

from durable_proxy._errors import Refusal, RefusedError
from durable_proxy._start_request import parse_id
from durable_transport.protocol import ErrorCode, GenerationPaths, generation_paths

BODY_BYTES = 16 * 1024
"""A longer body is refused."""
TEXT_CHARACTERS = 1000
"""A longer actor or reason is refused: it goes to everybody who reads the generation."""


@dataclass(frozen=True, slots=True)
class StopOrder:
    """Which generation to stop.

    Attributes:
        incarnation: Only this attempt of these ids; None: whichever runs.
        actor: Who stops it.
        reason: Why.
    """

    paths: GenerationPaths
    incarnation: int | None = None
    actor: str | None = None
    reason: str | None = None


def parse_stop(session: str, request: str, body: bytes) -> StopOrder:
    """Judge a request to stop; an empty body is as good as ``{}``.

    Raises:
        RefusedError: the ids are no UUIDs, or the body is not what it should be.
    """
    paths = generation_paths(parse_id(session), parse_id(request))
    fields = _fields(body)
    return StopOrder(paths, _incarnation(fields), _text(fields, "actor"), _text(fields, "reason"))


def check_stop_length(length: int) -> None:
    """Judge the length of a body.

    Raises:
        RefusedError: it is too long.
    """
    if length > BODY_BYTES:
        message = f"the body of a stop has at most {BODY_BYTES} bytes"
        raise RefusedError(Refusal(ErrorCode.BODY_TOO_LARGE, message))


def _fields(body: bytes) -> dict[str, Any]:
    if not body.strip():
        return {}
    try:
        fields = json.loads(body)
    except (ValueError, RecursionError):
        raise _refused("the body is not JSON") from None
    if not isinstance(fields, dict):
        raise _refused("the body is a JSON object: actor, reason, incarnation, all optional")
    return fields


def _text(fields: dict[str, Any], name: str) -> str | None:
    value = fields.get(name)
    if value is None:
        return None
    if not isinstance(value, str) or len(value) > TEXT_CHARACTERS:
        raise _refused(f"{name} is text of at most {TEXT_CHARACTERS} characters")
    # JSON can hold halves of characters, which no UTF-8 can.
    return value.encode("utf-8", "replace").decode()


def _incarnation(fields: dict[str, Any]) -> int | None:
    value = fields.get("incarnation")
    if value is None:
        return None
    text = str(value)
    if isinstance(value, (str, int)) and text.isascii() and text.isdecimal() and len(text) < 20:  # noqa: PLR2004 - as many digits as an id can have
        return int(text)
    raise _refused("incarnation is what the start was answered with")


def _refused(message: str) -> RefusedError:
    return RefusedError(Refusal(ErrorCode.BAD_REQUEST, message))
