"""What the emulator remembers: scripts, calls, and who is waiting to be released."""

import asyncio
import threading
from collections import Counter
from dataclasses import dataclass, field

from emulator._script import DEFAULT_ID, Script


@dataclass(frozen=True, slots=True)
class RecordedRequest:
    """One request as it reached the emulator; header names are lower-case."""

    script_id: str
    method: str
    path: str
    headers: tuple[tuple[str, str], ...]
    body: bytes


@dataclass(slots=True)
class _Gate:
    loop: asyncio.AbstractEventLoop
    event: asyncio.Event = field(default_factory=asyncio.Event)


class State:
    """Shared by the server's event loop and the threads of its user; every method is safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._scripts = {DEFAULT_ID: Script()}
        self._calls: Counter[str] = Counter()
        self._disconnects: Counter[str] = Counter()
        self._requests: list[RecordedRequest] = []
        self._gates: dict[str, list[_Gate]] = {}
        self._released: Counter[str] = Counter()

    def add(self, script: Script) -> None:
        """Register a script, in place of one with the same id."""
        with self._lock:
            self._scripts[script.id] = script

    def script(self, script_id: str | None) -> Script:
        """The script of that id, or the default one."""
        with self._lock:
            return self._scripts.get(script_id or DEFAULT_ID, self._scripts[DEFAULT_ID])

    def record(self, request: RecordedRequest) -> int:
        """Count a call; answers how many there are now."""
        with self._lock:
            self._requests.append(request)
            self._calls[request.script_id] += 1
            return self._calls[request.script_id]

    def record_disconnect(self, script_id: str) -> None:
        """The client went away before its answer was complete."""
        with self._lock:
            self._disconnects[script_id] += 1

    def calls(self, script_id: str | None = None) -> int:
        """Calls to one script, or to all."""
        with self._lock:
            return self._calls.total() if script_id is None else self._calls[script_id]

    def forget(self, script_id: str) -> None:
        """Begin counting the calls to one script anew."""
        with self._lock:
            self._calls.pop(script_id, None)
            self._disconnects.pop(script_id, None)
            self._released.pop(script_id, None)
            self._requests = [kept for kept in self._requests if kept.script_id != script_id]

    def disconnects(self, script_id: str) -> int:
        """Calls to one script whose client went away before the end."""
        with self._lock:
            return self._disconnects[script_id]

    def requests(self, script_id: str) -> list[RecordedRequest]:
        """Everything one script was asked."""
        with self._lock:
            return [request for request in self._requests if request.script_id == script_id]

    def release(self, script_id: str) -> None:
        """Let the calls that hold at their ``hold_after`` go on, now or when they get there."""
        with self._lock:
            gates = self._gates.pop(script_id, [])
            self._released[script_id] += 1
        for gate in gates:
            gate.loop.call_soon_threadsafe(gate.event.set)

    async def wait_for_release(self, script_id: str) -> None:
        """Return once the script has been released."""
        gate = _Gate(asyncio.get_running_loop())
        with self._lock:
            if self._released[script_id]:
                return
            self._gates.setdefault(script_id, []).append(gate)
        await gate.event.wait()
