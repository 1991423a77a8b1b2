"""What a test works with: the emulator, a proxy, and targets that lead to them."""

import os
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import durable_transport
import emulator
from durable_transport import AsyncDurableTransport, DurableTransport, Storage, Timing
from e2e.drivers import TIMEOUT, Driver, Event, Target
from emulator import Script, ToolCall

BACKOFF = 0.1
"""Longest pause between two attempts: chaos should cut often, not make the tests wait."""
UNICODE = "Grüße aus Zürich: 🌍 日本語 e\u0301 \u2028\u0085 end. "
TOOL = ToolCall(name="weather", arguments=('{"ci', 'ty": "Zü', 'rich"}'))


def tokens(count: int) -> tuple[str, ...]:
    """A text of many tokens, each different, with characters of one to four bytes."""
    pieces = emulator.words(UNICODE)
    return tuple(f"{pieces[number % len(pieces)]}{number}" for number in range(count))


@dataclass(frozen=True, slots=True)
class Stage:
    """One test's surroundings."""

    upstream: emulator.Upstream
    proxy_url: str
    script_id: str
    directory: Path

    def script(self, **fields: object) -> None:
        """Register the test's script."""
        self.upstream.add(Script.model_validate({"id": self.script_id} | fields))

    def calls(self) -> int:
        """How often the upstream was asked for the test's script."""
        return self.upstream.calls(self.script_id)

    def direct(self, **fields: int) -> Target:
        """Straight to the upstream."""
        return Target(self.upstream.url, max_retries=fields.get("max_retries", 0))

    def durable(
        self,
        proxy_url: str | None = None,
        *,
        storage: Storage | None = None,
        headers: Mapping[str, str] | None = None,
        max_retries: int = 0,
        url: str | None = None,
    ) -> Target:
        """Through the proxy, or through something in front of it."""
        through = proxy_url or self.proxy_url
        timing = Timing(backoff_first=BACKOFF / 10, backoff_limit=BACKOFF)
        return Target(
            url or self.upstream.url,
            transport=partial(DurableTransport, through, storage=storage, timing=timing),
            async_transport=partial(AsyncDurableTransport, through, storage=storage, timing=timing),
            headers=tuple((headers or {}).items()),
            max_retries=max_retries,
        )

    @property
    def environment(self) -> dict[str, str]:
        """For a program whose SDKs are to ask the emulator."""
        return os.environ | {
            "OPENAI_API_KEY": "sk-example",
            "OPENAI_BASE_URL": self.upstream.openai_url,
            "ANTHROPIC_API_KEY": "sk-example",
            "ANTHROPIC_BASE_URL": self.upstream.anthropic_url,
        }

    def run(self, code: str, seconds: float = TIMEOUT) -> str:
        """What a program of a document prints; it says nothing else, and ends well."""
        done = subprocess.run(
            [sys.executable, "-W", "error::DeprecationWarning", "-c", code],
            cwd=self.directory,
            env=self.environment,
            capture_output=True,
            text=True,
            timeout=seconds,
            check=False,
        )
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        return done.stdout

    async def expected(self, driver: Driver) -> list[Event]:
        """The events of a direct run, which is not counted as a call."""
        events = await driver.collect(self.direct(), self.script_id)
        self.upstream.forget(self.script_id)
        return events


def same_session(name: str) -> dict[str, str]:
    """Headers that make every request the same generation."""
    return dict(durable_transport.session(name, request_id=f"{name}-request"))
