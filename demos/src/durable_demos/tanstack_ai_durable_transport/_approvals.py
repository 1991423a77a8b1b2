"""Approvals between two dialects of AG-UI. Pure.

pydantic-ai ends a run that waits for a person with an interrupt, and takes the answer as
``resume``. ``useChat`` of TanStack AI shows an approval that a ``CUSTOM`` event asks for, and sends
the answer among the messages, as if the tool had said it.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from ag_ui.core import (
    CustomEvent,
    ResumeEntry,
    RunAgentInput,
    RunFinishedEvent,
    RunFinishedInterruptOutcome,
    ToolMessage,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from ag_ui.core import BaseEvent, Interrupt, Message

INTERRUPT = "int-"
"""With this and the call's id pydantic-ai names an interrupt."""


def with_answers(run: RunAgentInput) -> RunAgentInput:
    """The request with the user's answers where pydantic-ai looks for them."""
    resume, asked = [], []
    for message in run.messages:
        answer = _answer(message)
        if answer is None:
            asked.append(message)
        else:
            resume.append(answer)
    return run.model_copy(update={"messages": asked, "resume": resume}) if resume else run


def with_questions(event: BaseEvent) -> Iterator[BaseEvent]:
    """The event, and if it is an interrupt, what makes the page ask."""
    outcome = event.outcome if isinstance(event, RunFinishedEvent) else None
    if not isinstance(outcome, RunFinishedInterruptOutcome):
        yield event
        return
    yield from (_question(one) for one in outcome.interrupts)
    yield event.model_copy(update={"outcome": None})


def _question(interrupt: Interrupt) -> CustomEvent:
    approval = {"id": interrupt.id, "needsApproval": True}
    value = {"toolCallId": interrupt.tool_call_id, "approval": approval}
    return CustomEvent(name="approval-requested", value=value)


def _answer(message: Message) -> ResumeEntry | None:
    """What a message says about a tool that waits, None for any other message."""
    if not isinstance(message, ToolMessage) or not isinstance(message.content, str):
        return None
    try:
        said = json.loads(message.content)
    except ValueError:
        return None
    if not isinstance(said, dict) or not isinstance(said.get("approved"), bool):
        return None
    interrupt_id = f"{INTERRUPT}{message.tool_call_id}"
    payload = {"approved": said["approved"]}
    return ResumeEntry(interrupt_id=interrupt_id, status="resolved", payload=payload)
