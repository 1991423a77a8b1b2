"""Streams of a running server, over HTTP."""

import json
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import httpx2

from durable_streams_server._cli._errors import CommandError, NoStreamError, remark
from durable_streams_server._cli._piece import Piece
from durable_streams_server._cli._where import Served
from durable_transport.protocol import StreamHeader

PAGE_LENGTH = 500
CONNECT_SECONDS = 5.0
LONG_POLL_SECONDS = 120.0
"""Longer than servers wait: an answer that takes longer is none."""
RETRY_SECONDS = 1.0
_MISSING = (404, 410)
REMEDY = "Say --token, or set DURABLE_STREAMS_ADMIN_TOKEN"


@contextmanager
def client(
    headers: Sequence[tuple[str, str]], query: Sequence[tuple[str, str]] = ()
) -> Iterator[httpx2.Client]:
    """A client that sends these headers, and this query."""
    timeout = httpx2.Timeout(LONG_POLL_SECONDS, connect=CONNECT_SECONDS)
    with httpx2.Client(
        headers=list(headers), params=list(query), timeout=timeout, follow_redirects=False
    ) as http:
        yield http


class ServedStreams:
    """See `Streams`.

    Args:
        remedy: What to do when the server refuses.
    """

    def __init__(self, place: Served, http: httpx2.Client, *, remedy: str = REMEDY) -> None:
        self._place = place
        self._http = http
        self._remedy = remedy

    def every(self, prefix: str) -> Iterator[dict[str, Any]]:
        """See `Streams.every`."""
        after: str | None = ""
        while after is not None:
            query = {"prefix": prefix, "after": after, "limit": str(PAGE_LENGTH)}
            page = self._admin("/_admin/streams", query)
            yield from page["streams"]
            after = page["next"]

    def inspect(self, path: str) -> dict[str, Any]:
        """See `Streams.inspect`."""
        return self._admin(f"/_admin/streams/{path}", {})

    def delete(self, path: str) -> None:
        """See `Streams.delete`."""
        self.checked(self.ask("DELETE", self._url(path), {}), f"stream {path}")

    def read(self, path: str, offset: str, *, follow: bool) -> Iterator[Piece]:
        """See `Streams.read`."""
        query = {"offset": offset}
        while True:
            answer = self._next(path, query, retry=follow)
            content_type = answer.headers.get("content-type", "")
            if answer.content and answer.status_code == httpx2.codes.OK:
                yield Piece(answer.content, content_type)
            up_to_date = StreamHeader.UP_TO_DATE in answer.headers
            if StreamHeader.CLOSED in answer.headers or (up_to_date and not follow):
                return
            query = {"offset": _needed(answer, StreamHeader.NEXT_OFFSET)}
            if up_to_date:
                query["live"] = "long-poll"
            if cursor := answer.headers.get(StreamHeader.CURSOR):
                query["cursor"] = cursor

    def _next(self, path: str, query: dict[str, str], *, retry: bool) -> httpx2.Response:
        """One read; when following, a server that is away is waited for."""
        told = False
        while True:
            try:
                answer = self.ask("GET", self._url(path), query)
                if not (retry and answer.is_server_error):
                    return self.checked(answer, f"stream {path}")
                problem = f"the server answers {answer.status_code}"
            except CommandError as error:
                if not retry or isinstance(error, NoStreamError) or not _is_transport(error):
                    raise
                problem = error.message
            if not told:
                remark(f"{problem}; trying again")
                told = True
            time.sleep(RETRY_SECONDS)

    def _url(self, path: str) -> str:
        return f"{self._place.streams}/{path}"

    def _admin(self, path: str, query: dict[str, str]) -> dict[str, Any]:
        answer = self.ask("GET", self._place.base + path, query)
        is_json = answer.headers.get("content-type", "").startswith("application/json")
        if answer.status_code == httpx2.codes.NOT_FOUND and _code(answer) != "stream_not_found":
            raise CommandError(
                f"{self._place.base} tells nobody about its streams: it was started with"
                f" --no-admin, listens beyond its machine without --admin-token, or is not ours"
            )
        self.checked(answer, f"stream {path.removeprefix('/_admin/streams/')}")
        if not is_json:
            raise CommandError(f"{self._place.base} answers, but is no server of ours")
        told: dict[str, Any] = answer.json()
        return told

    def checked(self, answer: httpx2.Response, what: str) -> httpx2.Response:
        """The answer if it is a good one; ``what`` is asked for.

        Raises:
            CommandError: it is none.
        """
        if answer.is_success:
            return answer
        if answer.status_code in _MISSING:
            raise NoStreamError(f"there is no {what}")
        if answer.status_code in (401, 403):
            raise CommandError(f"{self._place.base} refuses: {_message(answer)}. {self._remedy}")
        raise CommandError(f"{self._place.base} answers {answer.status_code}: {_message(answer)}")

    def ask(
        self, method: str, url: str, query: dict[str, str], body: dict[str, Any] | None = None
    ) -> httpx2.Response:
        """The answer to a request, whatever it is.

        Raises:
            CommandError: there is none.
        """
        try:
            return self._http.request(method, url, params=query, json=body)
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            reason = str(error) or type(error).__name__
            raise CommandError(f"{self._place.base} cannot be reached: {reason}") from error


def _is_transport(error: CommandError) -> bool:
    return isinstance(error.__cause__, httpx2.TransportError)


def _needed(answer: httpx2.Response, name: str) -> str:
    value = answer.headers.get(name)
    if value is None:
        raise CommandError(
            f"the answer has no {name}: something between here and the server takes headers off;"
            f" see durable-streams doctor"
        )
    return str(value)


def _error(answer: httpx2.Response) -> dict[str, Any]:
    try:
        error = answer.json()["error"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError):
        return {}
    return error if isinstance(error, dict) else {}


def _code(answer: httpx2.Response) -> str:
    return str(_error(answer).get("code", ""))


def _message(answer: httpx2.Response) -> str:
    return str(_error(answer).get("message", "")) or answer.reason_phrase
