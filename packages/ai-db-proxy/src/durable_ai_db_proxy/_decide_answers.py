"""What a session does about answers to tool calls and approvals. Pure."""

from typing import Any

from durable_ai_db_proxy._decision import (
    NOTHING,
    Ask,
    Decision,
    answer_chunk,
    fresh_answers,
    new_run,
    unsettled,
)
from durable_ai_db_proxy._errors import Refusal
from durable_ai_db_proxy._rows import Row
from durable_ai_db_proxy._run import Cause
from durable_ai_db_proxy._state import SessionState
from durable_transport.protocol import ErrorCode


def answer_call(
    state: SessionState,
    ask: Ask,
    call_id: str,
    *,
    output: Any,
    error: str | None,
    actor_id: str,
    message_id: str,
) -> Decision | Refusal:
    """Take in the result of a tool call; given twice, it is there once."""
    calls = [one for one in state.messages.tool_calls.values() if one.id == call_id]
    if not calls:
        return Refusal(
            ErrorCode.TOOL_CALL_NOT_FOUND, f"no agent has called a tool with {call_id[:80]!r}"
        )
    call = next((one for one in reversed(calls) if one.state != "complete"), None)
    if call is None:
        return _answered_already(state, call_id, output, error)
    chunk = {"type": "tool-result", "toolCallId": call_id, "output": output, "error": error}
    row = answer_chunk(ask, message_id, chunk, actor=actor_id)
    return _with_continuation(state, ask, row, call.message_id, call_id)


def _answered_already(
    state: SessionState, call_id: str, output: Any, error: str | None
) -> Decision | Refusal:
    results = [one for one in state.messages.tool_results.values() if one.tool_call_id == call_id]
    if any((one.output, one.error) == (output, error) for one in results):
        return NOTHING
    return Refusal(ErrorCode.ALREADY_ANSWERED, f"tool call {call_id[:80]!r} has a result already")


def answer_approval(
    state: SessionState, ask: Ask, approval_id: str, *, approved: bool, actor_id: str
) -> Decision | Refusal:
    """Take in the answer to an approval; given twice, it is there once."""
    approval = state.messages.approvals.get(approval_id)
    if approval is None:
        return Refusal(
            ErrorCode.APPROVAL_NOT_FOUND, f"no agent has asked for approval {approval_id[:80]!r}"
        )
    if approval.status != "pending":
        if (approval.status == "approved") is approved:
            return NOTHING
        return Refusal(ErrorCode.ALREADY_ANSWERED, f"the approval is {approval.status} already")
    chunk = {"type": "approval-response", "approvalId": approval_id, "approved": approved}
    row = answer_chunk(ask, ask.new_id(), chunk, actor=actor_id)
    return _with_continuation(state, ask, row, approval.message_id, approval_id)


def _with_continuation(
    state: SessionState, ask: Ask, row: Row, message_id: str, answered: str
) -> Decision:
    """The answer, and the run that goes on from it when it was the last one awaited."""
    run = state.run_of_message(message_id)
    agent_id = run.agent_id if run else state.messages.messages[message_id].actor_id
    speaking = run is not None and run.status.is_open
    callable_ = agent_id in state.agents or (run is not None and run.inline)
    if speaking or not callable_ or unsettled(state, message_id, besides=answered):
        return Decision(rows=(row,))
    going_on = new_run(
        *(state, ask, agent_id, Cause.ANSWER, message_id),
        answers=[*fresh_answers(state, message_id), answered],
        inline=run is not None and run.inline,
    )
    return Decision(rows=(row, going_on.to_row()), queued=(going_on,))
