"""What became of each tool call of a history, so that it can be sent to a model again. Pure.

A model takes a history only when every call in it is followed by its result, once. So a call that
has none (its run was interrupted, nobody answered, somebody refused) is closed with a result that
says so. One kind stays open: a call that was approved and is still to be carried out, after the
last message of a user, which is what the agent is called for.
"""

import json
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from durable_ai_db.materialize._materializer import Materializer
from durable_ai_db.materialize._rows import ApprovalRow, MessageRow, ToolCallPart, ToolResultRow

INTERRUPTED: Final = "No result: the call was interrupted."
UNANSWERED: Final = "No result: nobody said whether this call is allowed."
DENIED: Final = "The user did not allow this call."


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a tool gave, or why it gave nothing (`error`). `denied`: it was not allowed to."""

    output: Any
    error: str | None = None
    denied: bool = False

    @property
    def text(self) -> str:
        """As a model reads it."""
        if self.error is not None and self.output is None:
            return self.error
        return self.output if isinstance(self.output, str) else json.dumps(self.output)


@dataclass(frozen=True, slots=True)
class HistoryCall:
    """A tool call of a history.

    Attributes:
        id: Unique in the history, also where the agent's ids repeat.
        input: What the tool was called with; empty when the arguments never became complete.
        outcome: None: the agent is to carry the call out.
    """

    id: str
    name: str
    input: Any
    outcome: Outcome | None
    approval: ApprovalRow | None
    extra: Mapping[str, Any]

    @property
    def arguments(self) -> str:
        """The input as JSON text."""
        return json.dumps(self.input)


@dataclass(frozen=True, slots=True)
class HistoryMessage:
    """A message of a history, with the calls of it that count, by the ids of their parts."""

    row: MessageRow
    calls: Mapping[str, HistoryCall]


class Resolver:
    """Finds out what became of the calls of a session."""

    def __init__(self, materializer: Materializer, keep_open: Container[str]) -> None:
        self._made = materializer
        self._keep_open = keep_open
        self._used: set[str] = set()
        self._carried_out_in: dict[str, str] = {}

    def resolve(self, rows: Sequence[MessageRow]) -> list[HistoryMessage]:
        """The messages with what became of their calls."""
        last_user = max((at for at, row in enumerate(rows) if row.role == "user"), default=-1)
        return [
            HistoryMessage(row, dict(self._calls(row, is_last=at > last_user)))
            for at, row in enumerate(rows)
        ]

    def _calls(self, row: MessageRow, *, is_last: bool) -> Iterator[tuple[str, HistoryCall]]:
        for part in row.parts:
            # A run that carries out an earlier call may tell of that call again.
            if isinstance(part, ToolCallPart) and self._carried_out_in.get(part.id) != row.id:
                yield part.id, self._call(row, part, is_last=is_last)

    def _call(self, row: MessageRow, part: ToolCallPart, *, is_last: bool) -> HistoryCall:
        call, result = self._made.call_of(row.id, part.id)
        if result is not None:
            self._carried_out_in[part.id] = result.message_id
        approval = None if part.approval is None else self._made.approvals.get(part.approval["id"])
        call_id = f"{row.id}:{part.id}" if part.id in self._used else part.id
        self._used.add(call_id)
        outcome: Outcome | None = _outcome(result, approval)
        approved = approval is not None and approval.status == "approved"
        if result is None and ((approved and is_last) or part.id in self._keep_open):
            outcome = None
        whole = {} if call is None or call.input is None else call.input
        return HistoryCall(call_id, part.name, whole, outcome, approval, part.extra or {})


def _outcome(result: ToolResultRow | None, approval: ApprovalRow | None) -> Outcome:
    if result is not None:
        denied = approval is not None and approval.status == "denied" and result.output is None
        return Outcome(result.output, result.error, denied)
    if approval is None or approval.status == "approved":
        return Outcome(None, INTERRUPTED)
    if approval.status == "pending":
        return Outcome(None, UNANSWERED)
    reason = f"{DENIED} {approval.reason}" if approval.reason else DENIED
    return Outcome(None, reason, denied=True)
