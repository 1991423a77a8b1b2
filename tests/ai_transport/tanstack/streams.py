"""Streams of events as servers send them, and as they should not."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Event = dict[str, Any]


class Answer:
    """Events of one conversation, drawn by a seed."""

    def __init__(self, seed: int) -> None:
        self._draw = random.Random(seed)
        self._messages = [f"m{number}" for number in range(self._draw.randint(1, 3))]
        self._calls = [f"c{number}" for number in range(4)]

    def orderly(self) -> list[Event]:
        """Runs with text, thinking and tools, as a well-behaved server sends them."""
        events = []
        for number in range(self._draw.randint(1, 3)):
            events += [{"type": "RUN_STARTED", "threadId": "t", "runId": f"r{number}"}]
            for _ in range(self._draw.randint(1, 4)):
                events += list(self._draw.choice([self._text, self._thought, self._tool])())
            events += [self._end(f"r{number}")]
        return events

    def unruly(self) -> list[Event]:
        """Anything in any order."""
        return [self._any() for _ in range(self._draw.randint(5, 40))]

    def _end(self, run: str) -> Event:
        draw = self._draw.random()
        if draw < 0.15:
            return {"type": "RUN_ERROR", "message": "no more tokens", "code": "limit"}
        end: Event = {"type": "RUN_FINISHED", "threadId": "t", "runId": run}
        if draw < 0.35:
            end["metadata"] = {"tanstack": {"finishReason": "tool_calls"}}
        elif draw < 0.7:
            end["finishReason"] = "stop"
        elif draw < 0.85:
            call = self._draw.choice(self._calls)
            interrupt = {"id": "i1", "reason": "tool", "toolCallId": call}
            kind = self._draw.choice([{"metadata": {"kind": "approval"}}, {}])
            end["outcome"] = {"type": "interrupt", "interrupts": [{**interrupt, **kind}]}
        return end

    def _text(self) -> Iterator[Event]:
        name = self._draw.choice(self._messages)
        model = {"metadata": {"tanstack": {"model": "m", "createdAt": "2026-01-02T03:04:05.678Z"}}}
        yield {
            "type": "TEXT_MESSAGE_START",
            "messageId": name,
            "role": self._role(),
            **self._draw.choice([{}, model]),
        }
        for _ in range(self._draw.randint(0, 5)):
            yield self._content(name)
        yield {"type": "TEXT_MESSAGE_END", "messageId": name}

    def _role(self) -> str:
        return self._draw.choice(["assistant"] * 5 + ["user", "system", "tool"])

    def _content(self, name: str) -> Event:
        delta = self._draw.choice(["Hello", " wörld", "\n", "", " ", "🙂", " \u2028"])
        return {"type": "TEXT_MESSAGE_CONTENT", "messageId": name, "delta": delta}

    def _thought(self) -> Iterator[Event]:
        step = self._draw.choice(["s1", "s2", "s3"])
        if self._draw.random() < 0.5:
            yield {"type": "STEP_STARTED", "stepName": step}
        yield {"type": "REASONING_START", "messageId": step}
        for _ in range(self._draw.randint(1, 3)):
            yield {"type": "REASONING_MESSAGE_CONTENT", "messageId": step, "delta": "so "}
        yield self._draw.choice(
            [
                {"type": "STEP_FINISHED", "stepName": step, "signature": "sig"},
                {
                    "type": "REASONING_ENCRYPTED_VALUE",
                    "subtype": "message",
                    "entityId": step,
                    "encryptedValue": "enc",
                },
                {"type": "REASONING_END", "messageId": step},
            ]
        )

    def _tool(self) -> Iterator[Event]:
        call = self._draw.choice(self._calls)
        start: Event = {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": "look"}
        if self._draw.random() < 0.4:
            start["parentMessageId"] = self._draw.choice(self._messages)
        if self._draw.random() < 0.3:
            start["metadata"] = {"thoughtSignature": "x"}
        yield start
        whole = json.dumps({"city": self._draw.choice(["Köln", "Bern"]), "n": 3})
        whole = whole[: self._draw.choice([len(whole)] * 3 + [5])]
        while whole and self._draw.random() < 0.9:
            size = self._draw.randint(1, len(whole))
            yield {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": whole[:size]}
            whole = whole[size:]
        if self._draw.random() < 0.7:
            given = self._draw.choice([{}, {}, {"input": {"city": "Rom"}}])
            yield {"type": "TOOL_CALL_END", "toolCallId": call, **given}
        if self._draw.random() < 0.3:
            yield self._approval(call)
        if self._draw.random() < 0.6:
            yield self._result(call)

    def _approval(self, call: str) -> Event:
        value = {"toolCallId": call, "toolName": "look", "input": {}}
        approval = {"id": f"a-{call}", "needsApproval": True}
        return {
            "type": "CUSTOM",
            "name": "approval-requested",
            "value": {**value, "approval": approval},
        }

    def _result(self, call: str) -> Event:
        content = self._draw.choice(['{"error": "too far"}', "sunny", "12", "[1, 2]", "null", ""])
        result = {"type": "TOOL_CALL_RESULT", "toolCallId": call, "messageId": "x"}
        failed = self._draw.choice([{}, {}, {"metadata": {"tanstack": {"state": "output-error"}}}])
        return {**result, "content": content, **failed}

    def _any(self) -> Event:
        choices: list[Callable[[], Iterator[Event]]] = [
            *(self._text, self._text, self._thought, self._tool, self._tool, self._other)
        ]
        return self._draw.choice(list(self._draw.choice(choices)()))

    def _other(self) -> Iterator[Event]:
        name, call = self._draw.choice(self._messages), self._draw.choice(self._calls)
        yield {"type": "RUN_STARTED", "threadId": "t", "runId": "r0"}
        yield self._end("r0")
        yield self._approval(call)
        yield {"type": "TEXT_MESSAGE_CONTENT", "messageId": "new", "delta": "late"}
        yield {"type": "STATE_SNAPSHOT", "snapshot": {}}
        yield {"type": "NEVER_HEARD_OF"}
        yield {
            "type": "REASONING_ENCRYPTED_VALUE",
            "subtype": "tool-call",
            "entityId": call,
            "encryptedValue": "enc",
        }
        structured = {"type": "CUSTOM", "name": "structured-output.start"}
        yield {**structured, "value": {"messageId": name}}
        value = {"messageId": name, "object": {"a": 1}, "reasoning": "r"}
        yield {"type": "CUSTOM", "name": "structured-output.complete", "value": value}
        yield {
            "type": "CUSTOM",
            "name": "ui-resource",
            "value": {"toolCallId": call, "toolName": "t", "resource": {"uri": "ui://x"}},
        }
        yield {"type": "MESSAGES_SNAPSHOT", "messages": self._snapshot()}

    def _snapshot(self) -> list[dict[str, Any]]:
        call = self._draw.choice(self._calls)
        function = {"name": "look", "arguments": '{"city": "Rom"}'}
        tool = {"id": call, "type": "function", "function": function}
        ui_call = {"type": "tool-call", "id": call, "name": "look", "arguments": "{}"}
        messages: list[dict[str, Any]] = [
            {"id": "u1", "role": "user", "content": "Hi"},
            {"id": "u2", "role": "user", "content": [{"type": "text", "text": "Two"}]},
            {"id": "s1", "role": "system", "content": "Be brief"},
            {"id": "d1", "role": "developer", "content": "Be kind"},
            {"id": "th", "role": "reasoning", "content": "hm", "encryptedValue": "e"},
            {"id": "m0", "role": "assistant", "content": "Well", "toolCalls": [tool]},
            {"id": "m1", "role": "assistant", "content": "So"},
            {"id": f"t-{call}", "role": "tool", "toolCallId": call, "content": "sunny"},
            {"id": "t-x", "role": "tool", "toolCallId": "c1", "content": "no", "error": "no"},
            {"id": "act", "role": "activity", "activityType": "x", "content": {}},
            {
                "id": "m2",
                "role": "assistant",
                "metadata": {"tanstack": {"model": "m"}},
                "parts": [{**ui_call, "state": "input-complete"}],
            },
            {
                "id": "so",
                "role": "assistant",
                "content": 'Here {"a":1}',
                "metadata": {
                    "tanstack": {"structuredOutput": {"status": "complete", "raw": '{"a":1}'}}
                },
            },
        ]
        size = self._draw.randint(0, len(messages))
        return self._draw.sample(messages, size)
