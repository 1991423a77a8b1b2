"""The error codes of the family: stable, lower-case, one meaning each.

Every JSON error body is ``{"error": {"code": <ErrorCode>, "message": <text>}}``.
"""

from enum import StrEnum


class ErrorCode(StrEnum):
    """Why a request was refused. Each HTTP surface has one table from code to status."""

    # the request itself
    BAD_REQUEST = "bad_request"
    INVALID_ID = "invalid_id"
    INVALID_OFFSET = "invalid_offset"
    INVALID_PROXY_URL = "invalid_proxy_url"
    INVALID_PROXY_METHOD = "invalid_proxy_method"
    INVALID_JSON = "invalid_json"
    EMPTY_BODY = "empty_body"
    BODY_TOO_LARGE = "body_too_large"
    HEADERS_TOO_LARGE = "headers_too_large"
    REQUEST_TIMEOUT = "request_timeout"
    METHOD_NOT_ALLOWED = "method_not_allowed"
    NOT_FOUND = "not_found"
    UNAUTHORIZED = "unauthorized"
    FORBIDDEN = "forbidden"
    SIGNATURE_EXPIRED = "signature_expired"
    SIGNATURE_INVALID = "signature_invalid"
    TOO_MANY_GENERATIONS = "too_many_generations"
    TOO_MANY_READERS = "too_many_readers"

    # streams
    STREAM_NOT_FOUND = "stream_not_found"
    STREAM_GONE = "stream_gone"
    FORK_OUT_OF_RANGE = "fork_out_of_range"
    FORK_SOURCE_GONE = "fork_source_gone"
    STREAM_EXISTS = "stream_exists"
    STREAM_CLOSED = "stream_closed"
    CONTENT_TYPE_MISMATCH = "content_type_mismatch"
    SEQUENCE_CONFLICT = "sequence_conflict"
    STALE_EPOCH = "stale_epoch"
    PRODUCER_GAP = "producer_gap"
    STREAM_OWNED = "stream_owned"
    OFFSET_OUT_OF_RANGE = "offset_out_of_range"
    OFFSET_GONE = "offset_gone"

    # the proxy
    UPSTREAM_NOT_ALLOWED = "upstream_not_allowed"
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    UPSTREAM_TIMEOUT = "upstream_timeout"
    GENERATION_LOST = "generation_lost"
    GENERATION_ABORTED = "generation_aborted"
    GENERATION_STALLED = "generation_stalled"

    # sessions
    SESSION_NOT_FOUND = "session_not_found"
    SESSION_GONE = "session_gone"
    SESSION_EXISTS = "session_exists"
    SESSION_BUSY = "session_busy"
    MESSAGE_NOT_FOUND = "message_not_found"
    MESSAGE_EXISTS = "message_exists"
    AGENT_NOT_FOUND = "agent_not_found"
    NO_AGENTS = "no_agents"
    RUN_ACTIVE = "run_active"
    TOOL_CALL_NOT_FOUND = "tool_call_not_found"
    APPROVAL_NOT_FOUND = "approval_not_found"
    ALREADY_ANSWERED = "already_answered"
    ACTOR_NOT_FOUND = "actor_not_found"

    # us
    STORAGE_UNAVAILABLE = "storage_unavailable"
    SHUTTING_DOWN = "shutting_down"
    INTERNAL = "internal"


class TerminalCode(StrEnum):
    """How a generation that did not complete came to its end (``payload.code`` of ``error``)."""

    UPSTREAM_REJECTED = "upstream_rejected"
    """The upstream answered, and not with 2xx: there is no body to relay."""
    UPSTREAM_NOT_ALLOWED = "upstream_not_allowed"
    """The upstream's name leads to an address that the proxy may not call."""
    UPSTREAM_UNREACHABLE = "upstream_unreachable"
    """No connection to the upstream, or it broke before the response headers."""
    UPSTREAM_ERROR = "upstream_error"
    """The upstream connection broke off in mid-body."""
    UPSTREAM_TRUNCATED = "upstream_truncated"
    """The upstream ended its body before the end it had promised."""
    UPSTREAM_TIMEOUT = "upstream_timeout"
    """No byte from the upstream within the limit, or no end of it."""
    TOO_LARGE = "too_large"
    """The upstream sent more than the proxy takes."""
    STORAGE_ERROR = "storage_error"
    """The log refused a write."""
    ABORTED = "aborted"
    """Somebody called stop."""
    ORPHANED = "orphaned"
    """The node that ran the generation is gone."""
