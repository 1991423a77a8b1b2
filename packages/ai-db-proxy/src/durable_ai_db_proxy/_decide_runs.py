"""The life of a run: started, taken over, ended, and who speaks next. Pure."""

from durable_ai_db_proxy._decision import (
    NOTHING,
    Ask,
    Decision,
    answer_chunk,
    fresh_answers,
    new_run,
    next_chunk,
    unsettled,
)
from durable_ai_db_proxy._policy import RunPolicy, is_triggered
from durable_ai_db_proxy._rows import Json, Row, chunk_deletions
from durable_ai_db_proxy._run import HELD, Cause, Run, Status
from durable_ai_db_proxy._state import SessionState
from durable_proxy.generation import TERMINAL_CODES, Ending, Event

LOOP_LIMIT = "loop_limit"
INTERRUPTED = "interrupted"
EMPTY_ANSWER = "agent_empty_answer"


def start(state: SessionState, ask: Ask) -> Decision:
    """Start what waits and whose turn it is."""
    parallel = (state.policy or ask.policy) is RunPolicy.PARALLEL
    held = {run.agent_id for run in state.open_runs() if run.status in HELD}
    ready: list[Run] = []
    for run in state.open_runs():
        if run.status is Status.QUEUED and (parallel or run.agent_id not in held):
            held.add(run.agent_id)
            ready.append(run.started(ask.node, ask.now))
    return Decision(rows=tuple(run.to_row() for run in ready), started=tuple(ready))


def claim(state: SessionState, ask: Ask, lost: str) -> Decision:
    """Take over what a node that is gone has left running."""
    claimed = tuple(
        run.claimed(ask.node, Event.OWNER_GONE)
        for run in state.open_runs()
        if run.node == lost and run.status in HELD
    )
    return Decision(rows=tuple(run.to_row() for run in claimed), claimed=claimed)


def end(state: SessionState, ask: Ask, run: Run, ending: Ending) -> Decision:
    """End a run that this node has: its message, its open calls, and who comes next.

    Nothing happens when the run has changed hands.
    """
    now_there = state.runs.get(run.id)
    if now_there is None or now_there.epoch != run.epoch or now_there.status not in HELD:
        return NOTHING
    code = TERMINAL_CODES[ending.event]
    if ending.event is Event.ENDED and run.message_id not in state.last_seq:
        ending = Ending(Event.BROKE, "the agent's answer was empty")
        return _end(state, ask, now_there, ending, EMPTY_ANSWER)
    return _end(state, ask, now_there, ending, None if code is None else code.value)


def end_with(state: SessionState, ask: Ask, run: Run, code: str, message: str) -> Decision:
    """End a run for a reason of its own: its agent's answer is none."""
    now_there = state.runs.get(run.id)
    if now_there is None or now_there.epoch != run.epoch or now_there.status not in HELD:
        return NOTHING
    return _end(state, ask, now_there, Ending(Event.BROKE, message), code)


def _end(state: SessionState, ask: Ask, run: Run, ending: Ending, code: str | None) -> Decision:
    over = run.ended(ending, code, ask.now)
    if run.discard:
        last = state.last_seq.get(run.message_id, -1)
        gone = chunk_deletions(run.message_id, last)
        return Decision(rows=(*gone, over.to_row()))
    final = _final_chunk(state, ask, run, ending, code)
    if ending.event is not Event.ENDED:
        closing = _close_open(state, ask, run)
        return Decision(rows=(*final, *closing, over.to_row()))
    after = _after_completion(state, ask, run)
    return Decision(
        rows=(*final, over.to_row(), *(one.to_row() for one in after)),
        queued=tuple(one for one in after if one.status is Status.QUEUED),
    )


def _final_chunk(
    state: SessionState, ask: Ask, run: Run, ending: Ending, code: str | None
) -> list[Row]:
    """What tells readers that the message is over, if nothing has yet."""
    there = state.messages.messages.get(run.message_id)
    chunk: Json
    if ending.event is Event.ENDED:
        if there is not None and there.is_complete:
            return []
        chunk = {"type": "message-end"}
    elif ending.event is Event.STOPPED:
        chunk = {"type": "stop", "reason": "aborted"}
    else:
        chunk = {"type": "error", "error": ending.message or code or "failed", "code": code}
    return [next_chunk(state, ask, run.message_id, chunk, actor=run.agent_id)]


def _close_open(state: SessionState, ask: Ask, run: Run) -> list[Row]:
    """Results for the calls that an interrupted run leaves open: models insist on one for each."""
    closing: list[Json] = [
        {
            "type": "approval-response",
            "approvalId": one.id,
            "approved": False,
            "reason": INTERRUPTED,
        }
        for one in state.messages.approvals.values()
        if one.message_id == run.message_id and one.status == "pending"
    ]
    closing += [
        {"type": "tool-result", "toolCallId": one.id, "output": None, "error": INTERRUPTED}
        for one in state.messages.tool_calls.values()
        if one.message_id == run.message_id and one.state != "complete"
    ]
    return [answer_chunk(ask, ask.new_id(), one, actor=run.agent_id) for one in closing]


def _after_completion(state: SessionState, ask: Ask, run: Run) -> list[Run]:
    """Who speaks next: the same agent, if its calls were answered meanwhile; else the others."""
    answered = fresh_answers(state, run.message_id)
    waits = unsettled(state, run.message_id)
    if answered and not waits:
        return [
            new_run(
                *(state, ask, run.agent_id, Cause.ANSWER, run.message_id),
                answers=answered,
                inline=run.inline,
            )
        ]
    if waits:
        return []
    waiting = {one.agent_id for one in state.open_runs() if one.status is Status.QUEUED}
    wanted = [
        agent_id
        for agent_id, agent in state.agents.items()
        if is_triggered(agent.get("triggers"), by_user=False, own=agent_id == run.agent_id)
        and agent_id not in waiting
    ]
    return [_turn(state, ask, run, agent_id, n) for n, agent_id in enumerate(wanted, 1)]


def _turn(state: SessionState, ask: Ask, run: Run, agent_id: str, n: int) -> Run:
    turn = new_run(state, ask, agent_id, Cause.AGENT, run.message_id)
    if state.agent_turns + n <= ask.agent_turns:
        return turn
    message = f"agents have answered each other {ask.agent_turns} times: somebody else has to speak"
    return turn.refused(LOOP_LIMIT, message, ask.now)
