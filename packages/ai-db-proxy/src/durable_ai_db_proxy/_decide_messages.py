"""What a session does about messages: sent, asked for again, stopped. Pure."""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from durable_ai_db_proxy._decision import Ask, Decision, new_run, stopped
from durable_ai_db_proxy._errors import Refusal
from durable_ai_db_proxy._policy import ACTIONS, Action, RunPolicy, is_triggered
from durable_ai_db_proxy._rows import Row, chunk_deletions, whole_message
from durable_ai_db_proxy._run import Cause, Run, Status
from durable_ai_db_proxy._state import SessionState
from durable_transport.protocol import ErrorCode


@dataclass(frozen=True, slots=True)
class Message:
    """A message that somebody sends.

    Attributes:
        by_user: A user has, not an agent.
        inline: Id of the agent that came with it.
    """

    id: str
    content: str
    role: str
    actor_id: str
    by_user: bool = True
    inline: str | None = None


def send(state: SessionState, ask: Ask, message: Message) -> Decision | Refusal:
    """Take a message in and ask the agents that want it. Sent twice, it is there once."""
    if message.id in state.last_seq:
        return _sent_already(state, message)
    wanted = _wanted_agents(state, message)
    plan = _plan_runs(state, ask, wanted, Cause.MESSAGE, message.id, inline=message.inline)
    if isinstance(plan, Refusal):
        return plan
    first = whole_message(
        message.id,
        actor_id=message.actor_id,
        role=message.role,
        content=message.content,
        now=ask.now,
    )
    return replace(plan, rows=(first, *plan.rows), message_id=message.id)


def _sent_already(state: SessionState, message: Message) -> Decision | Refusal:
    there = state.messages.messages.get(message.id)
    same = there is not None and (there.text, there.role) == (message.content, message.role)
    if same and there is not None and there.actor_id == message.actor_id:
        return Decision(message_id=message.id)
    return Refusal(
        ErrorCode.MESSAGE_EXISTS, "another message of this id is in the session: choose a new id"
    )


def _wanted_agents(state: SessionState, message: Message) -> list[str]:
    by_user = message.by_user and message.role == "user"
    registered = [
        agent_id
        for agent_id, agent in state.agents.items()
        if agent_id != message.inline
        and is_triggered(agent.get("triggers"), by_user=by_user, own=agent_id == message.actor_id)
    ]
    return registered if message.inline is None else [message.inline, *registered]


def _plan_runs(
    state: SessionState,
    ask: Ask,
    agent_ids: Iterable[str],
    cause: Cause,
    trigger: str,
    *,
    inline: str | None = None,
    spared: frozenset[str] = frozenset(),
) -> Decision | Refusal:
    """Runs of agents, as the policy says; runs in ``spared`` end anyway."""
    policy = state.policy or ask.policy
    changed: list[Run] = []
    queued: list[Run] = []
    for agent_id in agent_ids:
        busy = [
            run for run in state.open_runs() if run.agent_id == agent_id and run.id not in spared
        ]
        action = ACTIONS[policy, bool(busy)]
        if action is Action.REFUSE:
            return Refusal(
                ErrorCode.RUN_ACTIVE,
                f"agent {agent_id!r} is still answering, and this session takes no more until it"
                " has: wait, or stop it",
            )
        if action is Action.REPLACE:
            changed += stopped(busy, ask)
        queued.append(new_run(state, ask, agent_id, cause, trigger, inline=agent_id == inline))
    claimed = tuple(run for run in changed if run.status is Status.ENDING)
    return Decision(
        rows=tuple(run.to_row() for run in (*changed, *queued)),
        claimed=claimed,
        queued=tuple(queued),
    )


def regenerate(
    state: SessionState, ask: Ask, from_id: str, content: str | None
) -> Decision | Refusal:
    """Go back to a message, let go of what follows, and ask again.

    A user's message stays, with ``content`` if that differs; an agent's is let go of too.
    """
    named = state.messages.messages.get(from_id)
    if named is None or from_id not in state.last_seq:
        return _no_message(from_id)
    order = list(state.last_seq)
    keep = named.role == "user"
    gone = order[order.index(from_id) + keep :]
    kept = frozenset(order) - frozenset(gone)
    ended = [run for run in state.open_runs() if run.message_id not in kept]
    cut = stopped(ended, ask, discard=True)
    agent_ids = _agents_again(state, from_id, gone)
    if not agent_ids:
        return Refusal(ErrorCode.NO_AGENTS, "there is no agent that could answer again")
    plan = _plan_runs(
        state,
        replace(ask, policy=RunPolicy.ENQUEUE),
        agent_ids,
        Cause.REGENERATE,
        from_id if keep else _before(order, from_id),
        spared=frozenset(run.id for run in ended),
    )
    if isinstance(plan, Refusal):
        return plan
    changes = [row for one in gone for row in chunk_deletions(one, state.last_seq[one])]
    if keep and content is not None and content != named.text:
        changes.append(_reworded(state, ask, from_id, content))
    return Decision(
        rows=(*changes, *(run.to_row() for run in cut), *plan.rows),
        claimed=tuple(run for run in cut if run.status is Status.ENDING),
        queued=plan.queued,
    )


def _before(order: list[str], message_id: str) -> str:
    place = order.index(message_id)
    return order[place - 1] if place else message_id


def _agents_again(state: SessionState, from_id: str, gone: list[str]) -> list[str]:
    """Who answered what is let go of; else whoever answers users."""
    lost = set(gone) | {from_id}
    before = [
        run.agent_id
        for run in state.runs.values()
        if from_id in (run.trigger, run.message_id)
        and run.cause in (Cause.MESSAGE, Cause.REGENERATE)
    ] or [run.agent_id for run in state.runs.values() if run.message_id in lost]
    again = [one for one in dict.fromkeys(before) if one in state.agents]
    return again or [
        agent_id
        for agent_id, agent in state.agents.items()
        if is_triggered(agent.get("triggers"), by_user=True, own=False)
    ]


def _reworded(state: SessionState, ask: Ask, message_id: str, content: str) -> Row:
    there = state.messages.messages[message_id]
    new = whole_message(
        message_id,
        actor_id=there.actor_id,
        role=there.role,
        content=content,
        now=there.created_at or ask.now,
    )
    return new._replace(operation="update")


def stop(state: SessionState, ask: Ask, message_id: str | None) -> Decision | Refusal:
    """End the run of a message, or all runs. Where nothing runs, nothing happens."""
    wanted = [
        run
        for run in state.open_runs()
        if message_id is None or message_id in (run.message_id, run.trigger)
    ]
    known = message_id is None or message_id in state.last_seq or _has_run(state, message_id)
    if not known:
        return _no_message(message_id or "")
    cut = stopped(wanted, ask)
    return Decision(
        rows=tuple(run.to_row() for run in cut),
        claimed=tuple(run for run in cut if run.status is Status.ENDING),
    )


def _has_run(state: SessionState, message_id: str) -> bool:
    return state.run_of_message(message_id) is not None


def _no_message(message_id: str) -> Refusal:
    return Refusal(
        ErrorCode.MESSAGE_NOT_FOUND, f"there is no message {message_id[:80]!r} in this session"
    )
