"""What messages say about each other: calls and their results, requests and their answers. Pure.

Tool calls and approvals are named by ids, and who answers one does so in a message of its own.
The links know which messages hold a call, a result, a request or an answer of an id, and work out
the rows of that id from all of them, whatever the order in which they came.
"""

from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeVar

from durable_ai_db.materialize._draft import Answer, Call, Draft
from durable_ai_db.materialize._message import LoggedMessage
from durable_ai_db.materialize._order import Instant
from durable_ai_db.materialize._rows import ApprovalRow, CallState, ToolCallRow, ToolResultRow

V = TypeVar("V")
Order = tuple[Instant, str]


class Links:
    """Who holds which id."""

    def __init__(self, messages: Mapping[str, LoggedMessage]) -> None:
        self._messages = messages
        self._calls: dict[str, set[str]] = defaultdict(set)
        self._results: dict[str, set[str]] = defaultdict(set)
        self._requests: dict[str, set[str]] = defaultdict(set)
        self._answers: dict[str, set[str]] = defaultdict(set)
        self._asked: dict[str, set[str]] = defaultdict(set)
        """Ids of approvals that were requested for a call."""

    def order(self, message_id: str) -> Order:
        """Where a message stands in the session."""
        earliest = self._messages[message_id].earliest
        return earliest or (float("inf"), ""), message_id

    def note(self, message_id: str, draft: Draft) -> None:
        """Note what the draft holds of the ids that it touched."""
        touched = draft.touched
        for call_id in touched.calls:
            _hold(self._calls, call_id, message_id, holds=call_id in draft.calls)
        for call_id in touched.results:
            _hold(self._results, call_id, message_id, holds=call_id in draft.results)
        for approval_id in touched.approvals:
            request = draft.requests.get(approval_id)
            _hold(self._requests, approval_id, message_id, holds=request is not None)
            _hold(self._answers, approval_id, message_id, holds=approval_id in draft.answers)
            if request is not None:
                self._asked[request.call_id].add(approval_id)

    # Approvals

    def approval_row(self, approval_id: str) -> ApprovalRow | None:
        """The approval: the first request and the first answer count."""
        asked = self._first(self._requests, approval_id, lambda draft: draft.requests)
        if asked is None:
            return None
        message_id, request = asked
        answer = self._answer(approval_id)
        if answer is None:
            return ApprovalRow(
                *(approval_id, request.call_id, message_id, "pending"),
                *(request.actor_id, request.created_at),
            )
        return ApprovalRow(
            *(approval_id, request.call_id, message_id),
            "approved" if answer.approved else "denied",
            *(request.actor_id, request.created_at),
            *(answer.actor_id, answer.created_at, answer.reason),
        )

    def asked_for(self, approval_id: str) -> Iterator[str]:
        """Ids of the calls that the approval was requested for."""
        for message_id in self._requests.get(approval_id, ()):
            yield self._messages[message_id].draft.requests[approval_id].call_id

    def _answer(self, approval_id: str) -> Answer | None:
        first = self._first(self._answers, approval_id, lambda draft: draft.answers)
        return None if first is None else first[1]

    def _approval_of(self, call_id: str) -> Mapping[str, Any] | None:
        """What the call's part says of its approval; of several requests the last one counts."""
        requests = [
            (self.order(message_id), approval_id, request)
            for approval_id in self._asked.get(call_id, ())
            for message_id in self._requests.get(approval_id, ())
            if (request := self._messages[message_id].draft.requests[approval_id]).call_id
            == call_id
        ]
        if not requests:
            return None
        _, approval_id, request = max(requests, key=lambda one: (one[0], one[2].created_at, one[1]))
        approval = {"id": approval_id, "needsApproval": request.needs_approval}
        answer = self._answer(approval_id)
        return approval if answer is None else approval | {"approved": answer.approved}

    # Calls

    def call_rows(self, call_id: str) -> Iterator[tuple[str, ToolCallRow]]:
        """Key and row of each message's call of this id."""
        holders = self._calls.get(call_id, ())
        ordered = sorted(holders, key=self.order) if len(holders) > 1 else holders
        for place, message_id in enumerate(ordered):
            call = self._messages[message_id].draft.calls[call_id]
            key = f"{message_id}:{call_id}" if place else call_id
            yield key, self._call_row(message_id, call, alone=len(holders) == 1)

    def _call_row(self, message_id: str, call: Call, *, alone: bool) -> ToolCallRow:
        results = self._results_for(message_id, call.id, alone=alone)
        text = call.buffer.view()
        return ToolCallRow(
            *(call.id, message_id, call.name, call.actor_id, call.created_at, text),
            *(call.given_input, _call_state(call, results)),
        )

    def _results_for(
        self, message_id: str, call_id: str, *, alone: bool
    ) -> list[tuple[str, ToolResultRow]]:
        """Results of a call. Where ids repeat, earlier messages answer earlier calls."""
        held = self._results.get(call_id, ())
        holders = sorted(held, key=self.order) if len(held) > 1 or not alone else list(held)
        if not alone:
            since = self.order(message_id)
            holders = [one for one in holders if self.order(one) >= since]
        return [(one, self._messages[one].draft.results[call_id]) for one in holders]

    def final_result(self, message_id: str, call_id: str) -> ToolResultRow | None:
        """The result of a message's call, None while there is none."""
        alone = len(self._calls.get(call_id, ())) == 1
        found = self._results_for(message_id, call_id, alone=alone)
        return next((result for _, result in found if not result.preliminary), None)

    def link_parts(self, call_id: str) -> Iterator[str]:
        """Tell the calls of this id what other messages say; ids of messages that this changes."""
        holders = self._calls.get(call_id, ())
        approval = self._approval_of(call_id)
        for message_id in holders:
            draft = self._messages[message_id].draft
            call = draft.calls[call_id]
            found = self._results_for(message_id, call_id, alone=len(holders) == 1)
            outcome = _outcome(message_id, found)
            if (call.approval, call.outcome) != (approval, outcome):
                call.approval, call.outcome = approval, outcome
                draft.mark(call)
                yield message_id

    def _first(
        self,
        index: Mapping[str, set[str]],
        key: str,
        part_of: Callable[[Draft], Mapping[str, V]],
    ) -> tuple[str, V] | None:
        holders = index.get(key)
        if not holders:
            return None
        values = [(one, part_of(self._messages[one].draft)[key]) for one in holders]
        return min(values, key=lambda found: self.order(found[0]))


def _hold(index: dict[str, set[str]], key: str, message_id: str, *, holds: bool) -> None:
    if holds:
        index[key].add(message_id)
    elif key in index:
        index[key].discard(message_id)
        if not index[key]:
            del index[key]


def _call_state(call: Call, results: list[tuple[str, ToolResultRow]]) -> CallState:
    if any(not result.preliminary for _, result in results):
        return "complete"
    return "executing" if call.executing or results else "pending"


def _outcome(message_id: str, results: list[tuple[str, ToolResultRow]]) -> Mapping[str, Any] | None:
    """What the call's part says of its result: nothing when that is a part of the same message."""
    if not results or any(holder == message_id for holder, _ in results):
        return None
    result = results[0][1]
    output = {"output": result.output}
    return output if result.error is None else output | {"error": result.error}
