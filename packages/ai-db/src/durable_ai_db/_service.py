"""Sending calls to the session service: the one place that knows the HTTP client."""

import json
from typing import Any, Final
from urllib.parse import quote

import httpcore2  # noqa: F401  (httpx2 imports it on first use, which would stall an event loop)
import httpx2

from durable_ai_db._calls import Call, judged
from durable_ai_db._errors import SessionForbidden, SessionProtocolError, SessionUnreachable
from durable_ai_db._headers import HeaderSource, evaluated

UNAUTHORIZED: Final = 401


class Service:
    """The calls about one session.

    Args:
        headers: For every request; a function is called for each of them.
        client: Sends the requests.
        timeout: Longest time for an answer, in seconds.
    """

    def __init__(
        self,
        session_id: str,
        base_url: str,
        *,
        actor_id: str,
        headers: HeaderSource,
        client: httpx2.AsyncClient,
        timeout: float,
    ) -> None:
        self._session = session_id
        self._url = f"{base_url.rstrip('/')}/v1/sessions/{quote(session_id, safe='')}"
        self._actor = actor_id if actor_id.isascii() else quote(actor_id)
        self._headers = headers
        self._client = client
        self._timeout = timeout

    async def call(self, call: Call) -> Any:
        """Send a call; the JSON of its answer.

        Raises:
            SessionUnreachable: There was no usable answer: it may have happened, or not.
            SessionError: The service refused.
        """
        try:
            return await self._once(call)
        except SessionForbidden as error:
            if error.status != UNAUTHORIZED or not callable(self._headers):
                raise
        return await self._once(call)  # headers= may know a fresh token by now

    async def _once(self, call: Call) -> Any:
        headers = {"X-Actor-Id": self._actor, **await evaluated(self._headers)}
        content = None
        if call.body is not None:
            headers["Content-Type"] = "application/json"
            content = json.dumps(call.body).encode()
        try:
            response = await self._client.request(
                call.method,
                self._url + call.path,
                headers=headers,
                content=content,
                timeout=self._timeout,
            )
        except httpx2.TransportError as error:
            raise SessionUnreachable(self._session, f"{type(error).__name__}: {error}") from error
        except (httpx2.HTTPError, httpx2.InvalidURL) as error:
            raise SessionProtocolError(self._session, str(error)) from error
        return judged(self._session, response.status_code, response.content)
