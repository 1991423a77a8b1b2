"""What the scripted model does: a pure choice by the words of the last message.

It answers at once without a key and the same way every time, so that a demo (and its test) can be
about what happens around the answer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pydantic_ai.messages import (
    ModelMessage,
    ModelRequest,
    TextContent,
    ToolReturnPart,
    UserPromptPart,
)

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

ANSWERS = Path(__file__).with_name("answers")


@dataclass(frozen=True)
class Say:
    """Text, word by word."""

    text: str


@dataclass(frozen=True)
class Call:
    """A call of a tool, its arguments piece by piece."""

    tool: str
    arguments: dict[str, str]


@dataclass(frozen=True)
class Fail:
    """The model breaks down here."""

    message: str


Step = Say | Call | Fail


def next_steps(messages: Sequence[ModelMessage]) -> tuple[Step, ...]:
    """What the model says next, given the conversation so far."""
    match _last_word(messages):
        case ToolReturnPart() as result:
            return _after(result)
        case UserPromptPart() as prompt:
            return _to(_text(prompt))
        case _:
            return (Say("I am here. What would you like to know?"),)


def pieces(text: str) -> Iterator[str]:
    """The text as a model streams it: a word at a time, with the white space before it."""
    yield from re.findall(r"\s*\S{1,12}|\s+$", text)


def last_prompt(messages: Sequence[ModelMessage]) -> str:
    """What was said last to the model."""
    prompts = [
        part
        for message in messages
        if isinstance(message, ModelRequest)
        for part in message.parts
        if isinstance(part, UserPromptPart)
    ]
    return _text(prompts[-1]) if prompts else ""


def _last_word(messages: Sequence[ModelMessage]) -> Any:
    """The newest user prompt or tool result."""
    for message in reversed(messages):
        if isinstance(message, ModelRequest):
            for part in reversed(message.parts):
                if isinstance(part, ToolReturnPart | UserPromptPart):
                    return part
    return None


def _text(prompt: UserPromptPart) -> str:
    if isinstance(prompt.content, str):
        return prompt.content
    texts = (one.content if isinstance(one, TextContent) else one for one in prompt.content)
    return " ".join(one for one in texts if isinstance(one, str))


def _to(prompt: str) -> tuple[Step, ...]:
    words = set(re.findall(r"[a-z-]+", prompt.lower()))
    if words & {"weather", "forecast", "temperature", "rain"}:
        city = _city(prompt)
        return Say(f"Let me look at the forecast for {city}."), Call("get_weather", {"city": city})
    if words & {"email", "e-mail", "mail", "send"}:
        return Say("I have written it. It goes out when you say so."), Call("send_email", EMAIL)
    if words & {"fail", "fails", "break", "breaks", "crash"}:
        return Say(_answer("failing")), Fail("The model is overloaded. Try again in a moment.")
    if words & {"hello", "hi", "hey", "thanks", "short", "ok"}:
        return (Say(_answer("hello")),)
    if words & {"trip", "travel", "weekend", "lisbon", "plan"}:
        return (Say(_answer("lisbon")),)
    return (Say(_answer("durable")),)


def _after(result: ToolReturnPart) -> tuple[Step, ...]:
    if result.outcome != "success":  # a refusal comes as a failure through AG-UI
        return (Say("All right, I have **not** sent it. Tell me what to change and I will."),)
    if result.tool_name == "get_weather" and isinstance(result.content, dict):
        return (Say(_answer("weather").format(**result.content)),)
    if result.tool_name == "send_email":
        return (Say(_answer("sent")),)
    return (Say(f"The tool answered: {result.content}"),)


def _city(prompt: str) -> str:
    """The last word that is written as a name, but not the sentence's first."""
    names = re.findall(r"(?<=\s)[A-Z][\w-]+", prompt)
    return names[-1] if names else "Oslo"


def _answer(name: str) -> str:
    return (ANSWERS / f"{name}.md").read_text(encoding="utf-8").strip()


EMAIL = {
    "to": "ada@example.com",
    "subject": "The launch is on Thursday",
    "body": (
        "Hello Ada,\n\nwe are ready: the launch is on Thursday at ten. The numbers are in the "
        "shared folder, and there will be cake.\n\nSee you there!"
    ),
}
