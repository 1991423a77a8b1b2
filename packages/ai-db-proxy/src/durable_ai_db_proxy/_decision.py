"""What a session does about what it is asked: rows, or a refusal. Pure.

Every function looks at a `SessionState` and gives a `Decision`: rows that are appended together,
or not at all, if the session is still the one that was looked at. Whoever was overtaken looks and
decides again. So two tabs that press send at once are two decisions, one after the other, whatever
processes they came to.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from durable_ai_db_proxy._policy import DEFAULT_POLICY, RunPolicy
from durable_ai_db_proxy._rows import Json, Row, chunk_row, dumps
from durable_ai_db_proxy._run import Cause, Run, Status
from durable_ai_db_proxy._state import SessionState
from durable_proxy.generation import Event


@dataclass(frozen=True, slots=True)
class Ask:
    """What a decision may use besides the session's state.

    Attributes:
        now: ISO 8601.
        new_id: Gives a new id each time.
        node: Who decides.
        policy: For sessions without one of their own.
        agent_turns: So many runs in a row may be caused by agents.
    """

    now: str
    new_id: Callable[[], str]
    node: str
    policy: RunPolicy = DEFAULT_POLICY
    agent_turns: int = 8


@dataclass(frozen=True, slots=True)
class Decision:
    """What is to be written, and what has to be done once it is.

    Attributes:
        rows: Empty when nothing changes.
        message_id: Of the message that was sent.
        claimed: Runs that are to be ended by whoever decided.
        started: Runs whose agent is to be called by whoever decided.
        queued: Runs that wait to be started.
    """

    rows: tuple[Row, ...] = ()
    message_id: str = ""
    claimed: tuple[Run, ...] = ()
    started: tuple[Run, ...] = ()
    queued: tuple[Run, ...] = ()


NOTHING = Decision()


def new_run(
    state: SessionState,
    ask: Ask,
    agent_id: str,
    cause: Cause,
    trigger: str,
    *,
    inline: bool = False,
    answers: Iterable[str] = (),
) -> Run:
    """A run that waits to be started."""
    return Run(
        id=ask.new_id(),
        session_id=state.session_id,
        agent_id=agent_id,
        message_id=ask.new_id(),
        cause=cause,
        trigger=trigger,
        created_at=ask.now,
        inline=inline,
        answers=tuple(answers),
    )


def stopped(
    runs: Iterable[Run], ask: Ask, *, event: Event = Event.STOPPED, discard: bool = False
) -> list[Run]:
    """Runs that nobody wants any more: taken back, or taken away to be ended."""
    return [
        run.claimed(ask.node, event, discard=discard)
        if run.status is Status.RUNNING
        else run.cancelled(ask.now)
        for run in runs
        if run.status is not Status.ENDING
    ]


def next_chunk(state: SessionState, ask: Ask, message_id: str, chunk: Json, *, actor: str) -> Row:
    """The next chunk of an agent's message."""
    seq, text = state.last_seq.get(message_id, -1) + 1, dumps(chunk)
    return chunk_row(message_id, seq, actor_id=actor, role="assistant", text=text, now=ask.now)


def answer_chunk(ask: Ask, message_id: str, chunk: Json, *, actor: str) -> Row:
    """An answer to an agent, as a message of its own."""
    text = dumps(chunk)
    return chunk_row(message_id, 0, actor_id=actor, role="user", text=text, now=ask.now)


def unsettled(state: SessionState, message_id: str, *, besides: str | None = None) -> list[str]:
    """Calls of a message that have no result, and whose approval has no answer."""
    approvals = {
        one.tool_call_id: one
        for one in state.messages.approvals.values()
        if one.message_id == message_id
    }
    waiting = []
    for call in state.messages.tool_calls.values():
        if call.message_id != message_id or call.state == "complete" or call.id == besides:
            continue
        approval = approvals.get(call.id)
        if approval is None or (approval.status == "pending" and approval.id != besides):
            waiting.append(call.id)
    return waiting


def fresh_answers(state: SessionState, message_id: str) -> list[str]:
    """What others have answered of a message's calls, and no run went on from yet."""
    used = {one for other in state.runs.values() for one in other.answers}
    calls = {one.id for one in state.messages.tool_calls.values() if one.message_id == message_id}
    results = [
        one.tool_call_id
        for one in state.messages.tool_results.values()
        if one.tool_call_id in calls and one.message_id != message_id
    ]
    approvals = [
        one.id
        for one in state.messages.approvals.values()
        if one.message_id == message_id and one.status != "pending"
    ]
    return [one for one in (*results, *approvals) if one not in used]
