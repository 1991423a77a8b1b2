"""Subscriptions of a log: what clients ask is decided in the store, a dispatcher delivers."""

import asyncio
import random
import secrets
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from ssl import SSLContext
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

from sqlalchemy import Connection

from durable_streams_server import _subscription_answer as render
from durable_streams_server import _subscription_rows as rows
from durable_streams_server import _subscription_work as work
from durable_streams_server._answer import Answer
from durable_streams_server._dispatcher import Dispatcher
from durable_streams_server._errors import StorageError
from durable_streams_server._json_mode import is_json, json_body_records
from durable_streams_server._log import Log
from durable_streams_server._model import Append, Producer
from durable_streams_server._signing import SigningKey, new_private_key
from durable_streams_server._subscription import (
    Config,
    Delivery,
    Outcome,
    Parcel,
    Subscription,
    TokenExpired,
    TokenInvalid,
    WakeReport,
)
from durable_streams_server._subscription_work import Moment
from durable_streams_server._tokens import (
    Grant,
    TokenError,
    TokenExpiredError,
    make_token,
    read_token,
)
from durable_streams_server._wake import Wake
from durable_streams_server._webhook_policy import WebhookError, WebhookPolicy

if TYPE_CHECKING:
    from durable_streams_server._webhook import WebhookClient

_TOKEN_SECRET = "tokens"  # noqa: S105 - a name
_SIGNING_KEY = "webhook-signing"


@dataclass(frozen=True)
class SubscriptionSettings:
    """How a server delivers.

    Attributes:
        webhooks: Which webhook URLs may be called.
        public_url: The URL of the stream root as webhook receivers reach it, such as
            ``https://streams.example/v1/stream``; without one it is where the subscription was
            created.
        timeout: Seconds that a webhook may take to answer; never more than its lease.
        concurrency: So many deliveries at once.
        certificates: Which certificates of webhooks are trusted, if not the usual ones.
    """

    webhooks: WebhookPolicy = field(default_factory=WebhookPolicy)
    public_url: str | None = None
    timeout: float = 30.0
    concurrency: int = 32
    certificates: SSLContext | None = None


class Subscriptions:
    """Subscriptions of an open log. Use as an asynchronous context manager.

    Leaving the block ends the deliveries that are under way; they are made again by whoever opens
    the store next.
    """

    def __init__(
        self,
        log: Log,
        settings: SubscriptionSettings | None = None,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.settings = settings or SubscriptionSettings()
        self._log = log
        self._clock = clock
        self._resources = AsyncExitStack()
        self._secret = b""
        self._key: SigningKey
        self._client: WebhookClient | None = None
        self._client_turn = asyncio.Lock()
        self._client_resources = AsyncExitStack()
        self._dispatcher = Dispatcher(
            log, self._send, self._moment, capacity=self.settings.concurrency
        )

    async def __aenter__(self) -> Self:
        """Read the keys (making them in a new store) and begin to deliver.

        Raises:
            StorageError: the store failed.
        """
        await self._load_keys()
        async with AsyncExitStack() as resources:
            await resources.enter_async_context(self._client_resources)
            task = asyncio.create_task(self._dispatcher.run(), name="wake-dispatcher")
            resources.push_async_callback(_end, task)
            self._resources = resources.pop_all()
        return self

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._resources.aclose()

    async def _load_keys(self) -> None:
        try:
            await self._read_keys()
        except StorageError:
            # Another node may have made them at the same time: then they are there now.
            await self._read_keys()

    async def _read_keys(self) -> None:
        token_secret, private_key = secrets.token_bytes(32), new_private_key()
        now = self._clock()

        def read(connection: Connection) -> tuple[bytes, bytes]:
            return (
                rows.secret(connection, _TOKEN_SECRET, token_secret, now),
                rows.secret(connection, _SIGNING_KEY, private_key, now),
            )

        self._secret, private_key = await self._log.control(read)
        self._key = SigningKey(private_key)

    def _moment(self) -> Moment:
        return Moment(self._clock(), random.random(), f"w_{uuid4().hex}")  # noqa: S311 - spreads load

    def _token(self, subscription: Subscription) -> str:
        grant = Grant(subscription.incarnation, subscription.wake.generation)
        return make_token(self._secret, grant, self._clock())

    # ------------------------------------------------------------------ what clients ask

    def render(self, outcome: Outcome) -> Answer:
        """The HTTP answer for an outcome."""
        return render.of_outcome(outcome, self._key.id, self._token)

    def keys(self) -> list[dict[str, str]]:
        """The public keys of webhooks, as JSON Web Keys."""
        return [self._key.public]

    async def create(self, subscription_id: str, config: Config, root_url: str) -> Outcome:
        """Create a subscription or confirm it.

        Raises:
            WebhookUrlError: the webhook may not be called.
        """
        if config.webhook_url is not None:
            self.settings.webhooks.check(config.webhook_url)
        subscription = Subscription(
            id=subscription_id,
            incarnation=uuid4().hex,
            delivery=config.delivery,
            pattern=config.pattern,
            webhook_url=config.webhook_url,
            wake_stream=config.wake_stream,
            lease_ttl_ms=config.lease_ttl_ms,
            description=config.description,
            config_hash=config.hash(),
            root_url=self.settings.public_url or root_url,
            created_at=self._clock(),
            wake=Wake(),
        )
        outcome = await self._ask(partial(work.create, subscription=subscription, config=config))
        await self._dispatcher.introduce()
        return outcome

    async def show(self, subscription_id: str) -> Outcome:
        """A subscription with its streams."""
        return await self._ask(partial(work.show, subscription_id=subscription_id))

    async def remove(self, subscription_id: str) -> Outcome:
        """Delete a subscription."""
        outcome = await self._ask(partial(work.remove, subscription_id=subscription_id))
        await self._dispatcher.introduce()
        return outcome

    async def link(self, subscription_id: str, paths: tuple[str, ...]) -> Outcome:
        """Add streams by name."""
        return await self._ask(partial(work.link, subscription_id=subscription_id, paths=paths))

    async def unlink(self, subscription_id: str, path: str) -> Outcome:
        """Take a stream off those that were added by name."""
        return await self._ask(partial(work.unlink, subscription_id=subscription_id, path=path))

    async def claim(self, subscription_id: str, worker: str) -> Outcome:
        """Give a worker the lease of a pull-wake subscription."""
        return await self._ask(
            partial(
                work.claim,
                subscription_id=subscription_id,
                worker=worker,
                fresh=self._dispatcher.fresh,
                moment=self._moment(),
            )
        )

    async def report(
        self, subscription_id: str, needed: Delivery, token: str, said: WakeReport
    ) -> Outcome:
        """Take what a worker says of its wake."""
        try:
            grant = read_token(self._secret, token, self._clock())
        except TokenExpiredError:
            return TokenExpired()
        except TokenError:
            return TokenInvalid()
        return await self._ask(
            partial(
                work.report,
                subscription_id=subscription_id,
                needed=needed,
                grant=grant,
                said=said,
                moment=self._moment(),
            )
        )

    async def _ask(self, question: Callable[[Connection], Outcome]) -> Outcome:
        outcome = await self._log.control(question)
        self._dispatcher.poke()
        return outcome

    # ------------------------------------------------------------------ what is delivered

    async def _send(self, parcel: Parcel) -> None:
        """Send a wake and note what became of it."""
        try:
            if parcel.subscription.delivery is Delivery.WEBHOOK:
                done = await self._call_webhook(parcel)
            else:
                done = await self._write_wake(parcel)
        except WebhookError as error:
            note: Callable[[Connection], Any] = partial(
                work.undelivered, parcel=parcel, moment=self._moment(), why=str(error)
            )
        else:
            note = partial(work.delivered, parcel=parcel, moment=self._moment(), done=done)
        await self._log.control(note)

    async def _call_webhook(self, parcel: Parcel) -> bool:
        subscription = parcel.subscription
        body = render.webhook_body(parcel, self._token)
        client = await self._webhook_client()
        return await client.post(
            subscription.webhook_url or "",
            body,
            self._key.sign(body, self._clock()),
            min(self.settings.timeout, subscription.lease_ttl_ms / 1000),
        )

    async def _webhook_client(self) -> "WebhookClient":
        """The client, from the first webhook on: few servers have one, and loading it is slow."""
        async with self._client_turn:
            if self._client is not None:
                return self._client
            module = await asyncio.to_thread(import_module, "durable_streams_server._webhook")
            opening = module.open_webhook_client(self.settings.webhooks, self.settings.certificates)
            client: WebhookClient = await self._client_resources.enter_async_context(opening)
            self._client = client
            return client

    async def _write_wake(self, parcel: Parcel) -> bool:
        """Append the wake event.

        The generation is the epoch of an idempotent producer: an event that is written again after
        a crash is a duplicate, and one of a generation that is over is refused.
        """
        subscription = parcel.subscription
        path = subscription.wake_stream or ""
        stream = await self._log.stat(path)
        if stream is None:
            raise WebhookError(f"there is no wake stream at {path}: create it")
        event = render.wake_event(parcel, self._clock())
        data = json_body_records(event) if is_json(stream.content_type) else event + b"\n"
        producer = Producer(f"__ds/{subscription.incarnation}", subscription.wake.generation, 0)
        (outcome,) = await self._log.transact(Append(path, data, producer=producer))
        if not outcome.ok:
            raise WebhookError(f"the wake stream at {path} takes no more events")
        return False


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait([task])
