"""The parts of a message that are calls of tools. Pure.

A call is one part from its first chunk to its result. Two kinds of parts exist, ``tool-NAME`` and
``dynamic-tool``, which the SDK treats almost the same.
"""

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import dataclass
from typing import Any, Self

from durable_ai_transport.vercel._json import UNDEFINED

Part = dict[str, Any]
_RESULTS = ("output-available", "output-error")


def is_static(part: Mapping[str, Any]) -> bool:
    """A call of a tool whose name is in its type."""
    return bool(part["type"].startswith("tool-"))


def is_tool(part: Mapping[str, Any]) -> bool:
    """A call of a tool."""
    return part["type"] == "dynamic-tool" or is_static(part)


def name_of(part: Mapping[str, Any]) -> str:
    """The name of the tool that is called."""
    name: str = part["type"].removeprefix("tool-") if is_static(part) else part["toolName"]
    return name


def put(part: Part, name: str, value: Any) -> None:
    """Set a field; what is undefined is not there."""
    if value is UNDEFINED:
        part.pop(name, None)
    else:
        part[name] = value


@dataclass(slots=True)
class ToolUpdate:
    """What a chunk says about a call. Fields may be `UNDEFINED`."""

    call_id: str
    name: str
    state: str
    input: Any = UNDEFINED
    output: Any = UNDEFINED
    raw_input: Any = UNDEFINED
    error_text: Any = UNDEFINED
    encoding: Any = UNDEFINED
    preliminary: Any = UNDEFINED
    title: Any = UNDEFINED
    tool_metadata: Any = UNDEFINED
    provider_executed: Any = UNDEFINED
    provider_metadata: Any = UNDEFINED

    @classmethod
    def of(cls, chunk: Mapping[str, Any], state: str) -> Self:
        """The update that a chunk about a tool's input stands for."""
        return cls(
            chunk["toolCallId"],
            chunk["toolName"],
            state,
            input=deepcopy(chunk.get("input", UNDEFINED)),
            error_text=chunk.get("errorText", UNDEFINED),
            encoding=chunk.get("inputEncoding", UNDEFINED),
            title=chunk.get("title", UNDEFINED),
            tool_metadata=chunk.get("toolMetadata", UNDEFINED),
            provider_executed=chunk.get("providerExecuted", UNDEFINED),
            provider_metadata=chunk.get("providerMetadata", UNDEFINED),
        )

    @classmethod
    def of_result(cls, part: Part, chunk: Mapping[str, Any], state: str) -> Self:
        """The update that a chunk about the outcome of a call stands for."""
        metadata = chunk.get("toolMetadata")
        return cls(
            chunk["toolCallId"],
            name_of(part),
            state,
            input=part.get("input", UNDEFINED),
            title=part.get("title", UNDEFINED),
            tool_metadata=part.get("toolMetadata", UNDEFINED) if metadata is None else metadata,
            provider_executed=chunk.get("providerExecuted", UNDEFINED),
            provider_metadata=chunk.get("providerMetadata", UNDEFINED),
        )

    def is_of(self, part: Part) -> bool:
        """Whether the part is this call's."""
        return bool(part.get("toolCallId") == self.call_id)

    def apply(self, part: Part) -> None:
        """Bring a part up to date."""
        part["state"] = self.state
        if is_static(part):
            part["type"] = f"tool-{self.name}"
        else:
            part["toolName"] = self.name
        put(part, "input", self.input)
        put(part, "output", self.output)
        put(part, "errorText", self.error_text)
        put(part, "rawInput", self.raw_input)
        put(part, "inputEncoding", UNDEFINED if self.encoding is None else self.encoding)
        put(part, "preliminary", self.preliminary)
        self._describe(part)
        # Once it is set, it stays.
        if self.provider_executed not in (None, UNDEFINED):
            part["providerExecuted"] = self.provider_executed
        self._annotate(part)

    def new_part(self, *, dynamic: bool) -> Part:
        """The part of a call that had none."""
        part: Part = {"type": "dynamic-tool" if dynamic else f"tool-{self.name}"}
        if dynamic:
            part["toolName"] = self.name
        part |= {"toolCallId": self.call_id, "state": self.state}
        put(part, "input", self.input)
        put(part, "output", self.output)
        put(part, "errorText", self.error_text)
        put(part, "rawInput", UNDEFINED if dynamic else self.raw_input)
        put(part, "inputEncoding", UNDEFINED if self.encoding is None else self.encoding)
        put(part, "preliminary", self.preliminary)
        put(part, "providerExecuted", self.provider_executed)
        self._describe(part)
        self._annotate(part)
        return part

    def _describe(self, part: Part) -> None:
        if self.title is not UNDEFINED:
            part["title"] = self.title
        if self.tool_metadata is not UNDEFINED:
            part["toolMetadata"] = self.tool_metadata

    def _annotate(self, part: Part) -> None:
        if self.provider_metadata not in (None, UNDEFINED):
            whose = "result" if self.state in _RESULTS else "call"
            part[f"{whose}ProviderMetadata"] = self.provider_metadata
