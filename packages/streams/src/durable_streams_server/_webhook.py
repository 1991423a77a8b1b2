"""Calling webhooks: the one module that knows the HTTP client and its exceptions.

A webhook's address is chosen by whoever makes the subscription. Its host is resolved once, every
address is held against the policy, and the connection goes to an address that was checked: the
answer of a name server that changes its mind a moment later is not asked for. Redirects are not
followed. No connection is kept, because the next subscription's host may share the address.
"""

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http.cookiejar import CookieJar, DefaultCookiePolicy
from ipaddress import ip_address
from ssl import SSLContext

import anyio.lowlevel
import httpx2

from durable_streams_server._webhook_policy import (
    Address,
    Target,
    WebhookError,
    WebhookPolicy,
    WebhookUrlError,
)

MAX_ANSWER_BYTES = 64 * 1024
"""More than that of a webhook's answer is not read."""

_ERRORS = (httpx2.HTTPError, httpx2.InvalidURL, httpx2.StreamError)


class WebhookClient:
    """Calls webhooks that a policy allows. Made by `open_webhook_client`."""

    def __init__(self, policy: WebhookPolicy, client: httpx2.AsyncClient) -> None:
        self._policy = policy
        self._client = client

    async def post(self, url: str, body: bytes, signature: str, seconds: float) -> bool:
        """Deliver a webhook.

        Args:
            url: Where to.
            body: What to say.
            signature: Of the body.
            seconds: How long it may take altogether.

        Returns:
            Whether the receiver says that everything it was told of is done.

        Raises:
            WebhookError: it may not be called, or has not answered with 2xx in time.
        """
        try:
            async with asyncio.timeout(seconds):
                return await self._post(url, body, signature)
        except TimeoutError:
            raise WebhookError(f"the webhook did not answer in {seconds:g} s") from None
        except WebhookUrlError as error:
            raise WebhookError(str(error)) from error
        except httpx2.ConnectError as error:
            raise WebhookError("the webhook's host cannot be connected to") from error
        except _ERRORS as error:
            raise WebhookError(
                "the webhook closed the connection, or did not answer in HTTP"
            ) from error

    async def _post(self, url: str, body: bytes, signature: str) -> bool:
        target = self._policy.check(url)
        address = await self._resolve(target)
        named = httpx2.URL(url)
        request = httpx2.Request(
            "POST",
            named.copy_with(host=str(address)),
            headers={
                "Host": named.netloc.decode("ascii"),
                "Content-Type": "application/json",
                "Webhook-Signature": signature,
                "User-Agent": "durable-streams-server",
                "Accept-Encoding": "identity",
            },
            content=body,
            # The certificate is the name's, not the address's.
            extensions={"sni_hostname": target.host},
        )
        response = await self._client.send(request, stream=True, auth=None, follow_redirects=False)
        try:
            return await _read_answer(response)
        finally:
            await response.aclose()

    async def _resolve(self, target: Target) -> Address:
        """An address of the target; all that it has are allowed."""
        if target.address is not None:
            return target.address
        loop = asyncio.get_running_loop()
        try:
            found = await loop.getaddrinfo(target.host, target.port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise WebhookError("the webhook's host has no address") from error
        addresses = [ip_address(entry[4][0]) for entry in found]
        for address in addresses:
            self._policy.check_address(target, address)
        return addresses[0]


async def _read_answer(response: httpx2.Response) -> bool:
    if response.is_redirect:
        raise WebhookError(
            f"the webhook answered {response.status_code}: redirects are not followed"
        )
    if not response.is_success:
        raise WebhookError(f"the webhook answered {response.status_code}")
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > MAX_ANSWER_BYTES:
            return False
    return _is_done(bytes(body))


def _is_done(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and answer.get("done") is True


@asynccontextmanager
async def open_webhook_client(
    policy: WebhookPolicy, certificates: SSLContext | None = None
) -> AsyncIterator[WebhookClient]:
    """A client for as long as the block lasts; ``certificates`` other than the usual ones."""
    # anyio looks its backend up at the first use, which takes a tenth of a second.
    await anyio.lowlevel.checkpoint()
    # In a thread, because making a client reads certificates from disk.
    async with await asyncio.to_thread(_make_client, certificates) as client:
        yield WebhookClient(policy, client)


def _make_client(certificates: SSLContext | None) -> httpx2.AsyncClient:
    return httpx2.AsyncClient(
        verify=True if certificates is None else certificates,
        cookies=CookieJar(DefaultCookiePolicy(allowed_domains=[])),
        follow_redirects=False,
        limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
        timeout=None,
        trust_env=False,
    )
