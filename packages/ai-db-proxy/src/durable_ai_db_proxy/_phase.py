"""How far what an agent has asked is: a tool call, or an approval. Pure."""

from collections.abc import Iterator
from typing import TypeAlias

from durable_ai_db.materialize import ApprovalRow, ToolCallRow
from durable_ai_db_proxy._decision import unsettled
from durable_ai_db_proxy._rows import Json
from durable_ai_db_proxy._state import SessionState

REQUESTED = "requested"
ANSWERED = "answered"
APPLIED = "applied"

Asked: TypeAlias = ToolCallRow | ApprovalRow


class Phases:
    """The phases in a session as it is now: ``requested``, ``answered`` while the agent has yet to
    go on from it, and ``applied``.

    Args:
        state: Looked at when this is made, and when it is asked.
    """

    def __init__(self, state: SessionState) -> None:
        self._state = state
        self._begun: dict[str, bool] = {}
        for run in state.runs.values():
            for one in run.answers:
                self._begun[one] = self._begun.get(one, True) and run.started_at is not None
        self._answered_in: dict[str, set[str]] = {}
        for result in state.messages.tool_results.values():
            self._answered_in.setdefault(result.tool_call_id, set()).add(result.message_id)

    def of(self, asked: Asked) -> str:
        """How far a call or an approval is."""
        if not _is_answered(asked):
            return REQUESTED
        if asked.id in self._begun:
            return APPLIED if self._begun[asked.id] else ANSWERED
        waits = self._is_from_outside(asked) and (
            self._is_speaking(asked.message_id) or unsettled(self._state, asked.message_id)
        )
        return ANSWERED if waits else APPLIED

    def row(self, asked: Asked) -> Json:
        """JSON of a call or an approval, with its ``phase``."""
        return asked.to_json() | {"phase": self.of(asked)}

    def _is_from_outside(self, asked: Asked) -> bool:
        """Somebody has answered, and not the message that asked."""
        if isinstance(asked, ApprovalRow):
            return True
        return bool(self._answered_in.get(asked.id, set()) - {asked.message_id})

    def _is_speaking(self, message_id: str) -> bool:
        run = self._state.run_of_message(message_id)
        return run is not None and run.status.is_open


def asked_in(state: SessionState) -> Iterator[tuple[str, str, Asked]]:
    """Everything that agents have asked: collection, key, row."""
    for key, call in state.messages.tool_calls.items():
        yield "tool_call", key, call
    for key, approval in state.messages.approvals.items():
        yield "approval", key, approval


def _is_answered(asked: Asked) -> bool:
    return (
        asked.state == "complete" if isinstance(asked, ToolCallRow) else asked.status != "pending"
    )
