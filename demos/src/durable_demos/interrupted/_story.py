"""The acts of the demo, in order."""

import re
import statistics
import sys
import time
import uuid
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import httpx2

from durable_transport.protocol import ProxyHeader, StreamHeader, generation_paths

from ._answer import ANSWER, MODEL
from ._processes import LOOPBACK, Child, DemoError, child, free_port, wait_until_healthy
from ._screen import Screen

PROXY_COMMAND = Path(sys.executable).with_name("durable-proxy")
OPENAI_URL = "https://api.openai.com/v1"
OPENAI_MODEL = "gpt-5.4-mini"
KILL_AFTER_CHARACTERS = 290
ALONE_SECONDS = 1.5
WATCH_SECONDS = 0.1
PROBES = 15
PROBE = "probe"
FIRST = "reader 1"
SECOND = "reader 2"


@dataclass(slots=True)
class Heard:
    """What one reader has received."""

    text: str = ""
    ids: set[str] = field(default_factory=set)
    first_at: float | None = None
    ended: bool = False


class Story:
    """One run of the demo. Every process and file it makes is gone when `run` returns."""

    def __init__(
        self, screen: Screen, directory: Path, environment: Mapping[str, str], pace: float
    ) -> None:
        self._screen = screen
        self._directory = directory
        self._pace = pace
        self._is_real = bool(environment.get("OPENAI_API_KEY"))
        self._model = environment.get("OPENAI_MODEL", OPENAI_MODEL) if self._is_real else MODEL
        self._base_url = environment.get("OPENAI_BASE_URL") or OPENAI_URL
        self._session = uuid.uuid4()
        self._request = uuid.uuid4()
        self._model_url = ""
        self._proxy_url = ""
        self._stack = ExitStack()
        self._http = httpx2.Client(trust_env=False, timeout=10)

    def run(self) -> bool:
        """Play all acts; True when the answer is whole and the model was called once."""
        with self._stack:
            self._stack.enter_context(self._http)
            if not self._is_real:
                self._start_model()
            self._start_proxy()
            first = self._read_and_kill()
            self._leave_the_model_alone()
            second = self._resume()
            return self._judge(first, second)

    # ------------------------------------------------------------------ the servers

    def _start_model(self) -> None:
        self._screen.starting("model")
        server = self._child("model", ["-m", "emulator", "--port", "0"])
        address = next(server.messages(), None)
        if address is None:
            raise server.failure()
        self._model_url = address["url"]
        self._base_url = f"{self._model_url}/v1"
        script = {"id": MODEL, "tokens": tokens(ANSWER), "pace": self._pace}
        self._script(script)
        self._script({"id": PROBE, "raw": ["cGluZw=="]})
        where = self._model_url.removeprefix("http://")
        self._screen.part("model", "ok", f"emulated OpenAI API on {where}, pid {server.pid}")

    def _script(self, script: dict[str, object]) -> None:
        url = f"{self._model_url}/emulator/scripts"
        self._http.put(url, json=script).raise_for_status()

    def _start_proxy(self) -> None:
        if self._is_real:
            self._screen.part("model", "ok", f"{self._model} on {self._base_url}")
        self._screen.starting("proxy")
        port = free_port()
        store = self._directory / "log.sqlite"
        arguments = [str(PROXY_COMMAND), "serve", "--host", LOOPBACK, "--port", str(port)]
        arguments += ["--store", f"sqlite:///{store}", "--allow", allowed(self._base_url)]
        server = self._child("proxy", arguments)
        self._proxy_url = f"http://{LOOPBACK}:{port}"
        wait_until_healthy(server, f"{self._proxy_url}/health", self._http)
        text = f"log in {store.name}, on {LOOPBACK}:{port}, pid {server.pid}"
        self._screen.part("proxy", "ok", text)

    def _child(self, name: str, arguments: list[str]) -> Child:
        return self._stack.enter_context(child(name, arguments, self._directory))

    # ------------------------------------------------------------------ the readers

    def _read_and_kill(self) -> Heard:
        reader = self._reader(FIRST)
        heard = Heard()
        for message in reader.messages():
            self._hear(reader, heard, message)
            if len(heard.text) >= KILL_AFTER_CHARACTERS:
                reader.kill()
                break
        if not heard.text:
            raise reader.failure()
        text = f"killed (SIGKILL) after {len(heard.text)} characters, pid {reader.pid}"
        self._screen.part(FIRST, "dead", text)
        return heard

    def _leave_the_model_alone(self) -> None:
        """Nobody reads for a while; the log grows all the same."""
        until = time.monotonic() + ALONE_SECONDS
        before = after = self._log_size()
        while time.monotonic() < until:
            time.sleep(WATCH_SECONDS)
            after = self._log_size()
            self._screen.progress(f"nobody reads; the log grows: {before:,} → {after:,} bytes")
        self._screen.note(f"nobody read, the log grew from {before:,} to {after:,} bytes")

    def _log_size(self) -> int:
        path = generation_paths(self._session, self._request).data
        answer = self._http.head(f"{self._proxy_url}/v1/stream/{path}")
        answer.raise_for_status()
        return int(answer.headers[StreamHeader.NEXT_OFFSET])

    def _resume(self) -> Heard:
        reader = self._reader(SECOND, "--resume")
        heard = Heard()
        for message in reader.messages():
            self._hear(reader, heard, message, is_second=True)
        if not heard.ended:
            raise reader.failure()
        text = f"a new process resumed and read to the end, pid {reader.pid}"
        self._screen.part(SECOND, "ok", text)
        return heard

    def _reader(self, name: str, *more: str) -> Child:
        arguments = ["-m", "durable_demos.interrupted._reader", "--proxy", self._proxy_url]
        arguments += ["--base-url", self._base_url, "--model", self._model]
        arguments += ["--storage", str(self._directory / "readers.json")]
        arguments += ["--session", str(self._session), "--request", str(self._request), *more]
        reader = self._child(name, arguments)
        self._screen.part(name, "busy", f"openai SDK, pid {reader.pid}")
        return reader

    def _hear(
        self, reader: Child, heard: Heard, message: Mapping[str, object], *, is_second: bool = False
    ) -> None:
        match message["event"]:
            case "text":
                is_first = not heard.text
                heard.text += str(message["text"])
                heard.ids.add(str(message["id"]))
                self._screen.answer(str(message["text"]), new_reader=is_first and is_second)
            case "end":
                heard.ended = True
            case _:
                raise DemoError(f"{reader.name} got an error: {message.get('message')}")

    # ------------------------------------------------------------------ the result

    def _judge(self, first: Heard, second: Heard) -> bool:
        verdicts = [self._judge_text(first, second), self._judge_calls(first, second)]
        if not self._is_real:
            self._show_first_byte()
        return all(verdicts)

    def _judge_text(self, first: Heard, second: Heard) -> bool:
        good = second.text.startswith(first.text) and len(second.text) > len(first.text)
        sent = f"{len(second.text)} characters, {len(first.text)} of them seen before the kill"
        if not self._is_real:
            good = good and second.text == ANSWER
            sent = f"{len(second.text)} of {len(ANSWER)} characters, none lost, none twice"
        self._screen.verdict(good=good, label="text is whole", text=sent)
        return good

    def _judge_calls(self, first: Heard, second: Heard) -> bool:
        ids = first.ids | second.ids
        good = len(ids) == 1
        text = f"both readers got completion {', '.join(sorted(ids))}"
        if not self._is_real:
            answer = self._http.get(f"{self._model_url}/emulator/calls/{MODEL}")
            calls = answer.json()["calls"]
            good = good and calls == 1
            text = f"{calls} call for 2 readers" if calls == 1 else f"{calls} calls"
        self._screen.verdict(good=good, label="model called once", text=text)
        return good

    def _show_first_byte(self) -> None:
        upstream = f"{self._model_url}/raw/{PROBE}"
        direct, through = [], []
        for _ in range(PROBES):
            direct.append(self._first_byte(upstream, {}))
            url = f"{self._proxy_url}/api/{uuid.uuid4()}/{uuid.uuid4()}"
            headers = {ProxyHeader.URL.value: upstream, ProxyHeader.LIVE.value: "raw"}
            through.append(self._first_byte(url, headers))
        before, after = statistics.median(direct) * 1000, statistics.median(through) * 1000
        text = f"{after:.1f} ms through the log, {before:.1f} ms direct"
        self._screen.verdict(good=True, label="first byte", text=f"{text} (median of {PROBES})")

    def _first_byte(self, url: str, headers: dict[str, str]) -> float:
        started = time.perf_counter()
        with self._http.stream("POST", url, headers=headers) as answer:
            answer.raise_for_status()
            next(answer.iter_raw())
            return time.perf_counter() - started


def tokens(text: str) -> list[str]:
    """Pieces about as long as a model's tokens."""
    return re.findall(r"\s*\S{1,6}", text)


def allowed(base_url: str) -> str:
    """The pattern that lets the proxy call this API and nothing else."""
    url = httpx2.URL(base_url)
    return f"{url.scheme}://{url.netloc.decode()}/**"
