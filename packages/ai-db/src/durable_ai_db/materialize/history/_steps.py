"""A message of an agent, cut where it called its model again. Pure."""

from collections.abc import Iterator
from dataclasses import dataclass, field

from durable_ai_db.materialize._rows import JsonPart, ToolCallPart, ToolResultPart
from durable_ai_db.materialize.history._content import text_of, thinking_of
from durable_ai_db.materialize.history._resolve import HistoryCall, HistoryMessage


@dataclass(slots=True)
class Step:
    """One answer of a model: text, and the calls that it ended with."""

    texts: list[str] = field(default_factory=list)
    thoughts: list[str] = field(default_factory=list)
    calls: list[HistoryCall] = field(default_factory=list)
    is_over: bool = False

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(self.texts)

    @property
    def says_something(self) -> bool:
        """There is anything to send."""
        return bool(self.text or self.calls)


def steps(message: HistoryMessage) -> Iterator[Step]:
    """The answers of the model that a message is made of, without empty ones."""
    step = Step()
    for part in message.row.parts:
        text, thought = text_of(part), thinking_of(part)
        is_call = isinstance(part, ToolCallPart)
        if step.is_over and (text or thought or is_call):
            yield from _said(step)
            step = Step()
        if text:
            step.texts.append(text)
        elif thought:
            step.thoughts.append(thought)
        elif isinstance(part, ToolCallPart) and part.id in message.calls:
            step.calls.append(message.calls[part.id])
        elif isinstance(part, ToolResultPart) or _begins_step(part):
            step.is_over = True
    yield from _said(step)


def _begins_step(part: object) -> bool:
    return isinstance(part, JsonPart) and part.type == "step-start"


def _said(step: Step) -> Iterator[Step]:
    if step.says_something:
        yield step
