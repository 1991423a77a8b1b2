"""The messages of a session, as an agent is sent them. Pure."""

from collections.abc import Callable, Container, Iterable, Iterator, Mapping
from typing import Final, Literal, TypeAlias

from durable_ai_db.materialize._materializer import Materializer
from durable_ai_db.materialize._rows import Json, MessageRow
from durable_ai_db.materialize.history._agui import agui_messages
from durable_ai_db.materialize.history._openai import openai_messages
from durable_ai_db.materialize.history._resolve import HistoryMessage, Resolver
from durable_ai_db.materialize.history._tanstack import tanstack_messages
from durable_ai_db.materialize.history._vercel import vercel_messages

HistoryStyle: TypeAlias = Literal["openai", "ag-ui", "tanstack", "vercel"]
HISTORY_STYLES: Final[tuple[HistoryStyle, ...]] = ("openai", "ag-ui", "tanstack", "vercel")


def to_messages(
    materializer: Materializer,
    style: HistoryStyle = "openai",
    *,
    messages: Iterable[MessageRow] | None = None,
    keep_open: Container[str] = (),
) -> list[Json]:
    """The session's messages in a form that can be sent to an agent, and by it to a model.

    Every tool call has its result, wherever that came; a call without one is closed with a result
    that says why there is none. A call stays open when it was approved and no message of a user
    came after it: it is for the agent to carry out. What an interrupted run said stays.

    Args:
        materializer: Of the session.
        style: ``openai`` (chat completions), ``ag-ui``, ``tanstack`` or ``vercel`` (UI messages).
        messages: Which messages, in their order; None: all of `Materializer.timeline`.
        keep_open: Ids of further calls without a result that stay open.
    """
    rows = list(materializer.timeline() if messages is None else messages)
    return list(_WRITERS[style](Resolver(materializer, keep_open).resolve(rows)))


def to_resume(
    materializer: Materializer, *, messages: Iterable[MessageRow] | None = None
) -> list[Json]:
    """What AG-UI's ``RunAgentInput.resume`` says beside the messages.

    An agent that ended its run with interrupts is told here which of them were allowed: those whose
    calls `to_messages` leaves open.
    """
    rows = list(materializer.timeline() if messages is None else messages)
    return [
        {
            "interruptId": call.approval.id,
            "status": "resolved",
            "payload": {"approved": True},
        }
        for message in Resolver(materializer, ()).resolve(rows)
        for call in message.calls.values()
        if call.outcome is None and call.approval is not None
    ]


_WRITERS: Final[Mapping[HistoryStyle, Callable[[Iterable[HistoryMessage]], Iterator[Json]]]] = {
    "openai": openai_messages,
    "ag-ui": agui_messages,
    "tanstack": tanstack_messages,
    "vercel": vercel_messages,
}

__all__ = ["HISTORY_STYLES", "HistoryStyle", "to_messages", "to_resume"]
