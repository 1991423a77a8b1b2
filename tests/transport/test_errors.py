"""The tree of errors, their texts, and what they are besides."""

import pickle
from typing import Any

import httpx
import httpx2
import pytest

import durable_transport as dt
from durable_transport import _errors
from durable_transport._shell import _errors_httpx, _errors_httpx2
from durable_transport.protocol import TerminalPayload

WHERE: dict[str, Any] = {"session_id": "s", "request_id": "r", "offset": 7}

TEXTS = [
    (
        dt.GenerationError(),
        "the generation did not complete [generation_error, session -, request -, offset 0]",
    ),
    (
        dt.GenerationFailed("broke off", code="upstream_truncated", **WHERE),
        "the generation failed: broke off [upstream_truncated, session s, request r, offset 7]",
    ),
    (
        dt.GenerationAborted(**WHERE),
        "the generation was stopped [aborted, session s, request r, offset 7]",
    ),
    (
        dt.GenerationTruncated("12 of 100 bytes", **WHERE),
        (
            "the upstream ended its answer too early: 12 of 100 bytes "
            "[upstream_truncated, session s, request r, offset 7]"
        ),
    ),
    (
        dt.GenerationTooLarge(**WHERE),
        ("the answer is larger than the proxy takes [too_large, session s, request r, offset 7]"),
    ),
    (
        dt.GenerationTimedOut(**WHERE),
        "the upstream timed out [upstream_timeout, session s, request r, offset 7]",
    ),
    (
        dt.GenerationOrphaned(**WHERE),
        (
            "the proxy node that ran the generation is gone "
            "[orphaned, session s, request r, offset 7]"
        ),
    ),
    (
        dt.UpstreamUnreachable("refused", **WHERE),
        (
            "the proxy cannot reach the upstream: refused "
            "[upstream_unreachable, session s, request r, offset 7]"
        ),
    ),
    (
        dt.GenerationNotFound(**WHERE),
        (
            "the generation does not exist or was deleted "
            "[stream_not_found, session s, request r, offset 7]"
        ),
    ),
    (
        dt.OffsetOutOfRange(**WHERE),
        (
            "the stored offset is past the end of the stream; resume with from_start=True "
            "[offset_out_of_range, session s, request r, offset 7]"
        ),
    ),
    (
        dt.NoDataTimeout("5 s", **WHERE),
        (
            "no data within the client's read timeout; the generation goes on, resume it: 5 s "
            "[read_timeout, session s, request r, offset 7]"
        ),
    ),
    (
        dt.ProxyUnreachable("refused", **WHERE),
        (
            "the proxy cannot be reached: refused "
            "[proxy_unreachable, session s, request r, offset 7]"
        ),
    ),
    (
        dt.ProxyRefused("401", **WHERE),
        "the proxy refused the request: 401 [proxy_refused, session s, request r, offset 7]",
    ),
    (
        dt.NotADurableProxy("http://x sent 404, text/html", **WHERE),
        (
            "the answer is not from a durable proxy; check that the base URL is the proxy's own "
            "address, without /api at its end, and that nothing in between answers in its place: "
            "http://x sent 404, text/html [not_a_durable_proxy, session s, request r, offset 7]"
        ),
    ),
    (
        dt.ProxyProtocolError("a gap", **WHERE),
        "the proxy broke the protocol: a gap [proxy_protocol, session s, request r, offset 7]",
    ),
    (
        dt.InvalidProxyURL("nope", "it does not begin with http:// or https://"),
        (
            "'nope' is not a proxy base URL: it does not begin with http:// or https://. Use the "
            "address the proxy serves on, for example http://localhost:4000"
        ),
    ),
    (
        dt.HeaderCollision("Authorization"),
        (
            "headers= sets 'Authorization', and so does the request itself: one of them would be "
            "lost. Send the proxy's credentials as X-Proxy-Authorization "
            "(x-proxy-* headers never go upstream)"
        ),
    ),
    (
        dt.StorageError("here", "Permission denied"),
        (
            "generation storage here: Permission denied. Give FileStorage a directory this process "
            "may create and write to"
        ),
    ),
]


@pytest.mark.parametrize(("error", "text"), TEXTS, ids=lambda value: type(value).__name__)
def test_texts(error: Exception, text: str) -> None:
    assert str(error) == text
    assert isinstance(error, dt.DurableTransportError)


def test_every_public_error_has_a_text_test() -> None:
    public = {
        getattr(dt, name)
        for name in dt.__all__
        if isinstance(getattr(dt, name), type)
        and issubclass(getattr(dt, name), Exception)
        # Those of the stream client are in test_stream_errors.py.
        and not issubclass(getattr(dt, name), dt.StreamError | dt.InvalidStreamURL)
    }
    assert public == {type(error) for error, _ in TEXTS} | {dt.DurableTransportError, dt.ProxyError}


def test_misuse_is_a_value_error() -> None:
    assert issubclass(dt.InvalidProxyURL, ValueError)
    assert issubclass(dt.HeaderCollision, ValueError)


AS_THEIRS = {
    dt.GenerationFailed: "RemoteProtocolError",
    dt.GenerationTruncated: "RemoteProtocolError",
    dt.GenerationTooLarge: "RemoteProtocolError",
    dt.GenerationAborted: "RemoteProtocolError",
    dt.GenerationTimedOut: "ReadTimeout",
    dt.GenerationOrphaned: "RemoteProtocolError",
    dt.UpstreamUnreachable: "ConnectError",
    dt.GenerationNotFound: "RemoteProtocolError",
    dt.OffsetOutOfRange: "RemoteProtocolError",
    dt.NoDataTimeout: "ReadTimeout",
    dt.ProxyUnreachable: "ConnectError",
    dt.ProxyRefused: "RemoteProtocolError",
    dt.NotADurableProxy: "RemoteProtocolError",
    dt.ProxyProtocolError: "RemoteProtocolError",
    dt.GenerationError: "RemoteProtocolError",
}


@pytest.mark.parametrize("flavour", [(httpx, _errors_httpx), (httpx2, _errors_httpx2)])
@pytest.mark.parametrize("kind", AS_THEIRS, ids=lambda kind: kind.__name__)
def test_raised_errors_are_also_the_librarys(
    kind: type[dt.GenerationError], flavour: tuple[Any, Any]
) -> None:
    library, errors = flavour
    terminal = TerminalPayload(reason="enough", actor="alice")
    raised = errors.flavoured(kind("why", code="c", terminal=terminal, **WHERE))
    assert (raised.reason, raised.actor) == ("enough", "alice")
    assert isinstance(raised, kind)
    assert isinstance(raised, getattr(library, AS_THEIRS[kind]))
    assert type(raised).__name__ == kind.__name__
    assert str(raised) == str(kind("why", code="c", **WHERE))
    again = pickle.loads(pickle.dumps(raised))
    assert type(again) is type(raised)
    assert (str(again), again.code, again.offset) == (str(raised), "c", 7)
    assert again.terminal == terminal
    request = library.Request("GET", "http://x")
    raised.request = request
    assert raised.request is request


def test_every_error_of_the_tree_has_its_flavours() -> None:
    tree = {kind for kind in vars(_errors).values() if isinstance(kind, type)}
    raisable = {kind for kind in tree if issubclass(kind, dt.GenerationError)} - {dt.ProxyError}
    assert set(_errors_httpx2._FLAVOURED) == raisable
    assert set(_errors_httpx._FLAVOURED) == raisable


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        ("upstream_error", dt.GenerationFailed),
        ("upstream_truncated", dt.GenerationTruncated),
        ("too_large", dt.GenerationTooLarge),
        ("storage_error", dt.GenerationFailed),
        ("upstream_rejected", dt.GenerationFailed),
        ("something new", dt.GenerationFailed),
        ("aborted", dt.GenerationAborted),
        ("upstream_timeout", dt.GenerationTimedOut),
        ("orphaned", dt.GenerationOrphaned),
        ("generation_lost", dt.GenerationOrphaned),
        ("upstream_unreachable", dt.UpstreamUnreachable),
    ],
)
def test_the_class_of_a_terminal_code(code: str, kind: type[dt.GenerationError]) -> None:
    assert _errors.ended_as(code) is kind
