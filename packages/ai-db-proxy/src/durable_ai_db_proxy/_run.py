"""One call of an agent, and the life it has. Pure.

A run is asked for (``queued``), an agent is called by one node (``running``), and it ends once. The
table is `TRANSITIONS`; how a running one ends is the proxy's table of generations
(`durable_proxy.generation`), whose terminal states have these names.

    queued ──start──► running ──end──────────────► completed failed aborted timed_out orphaned
       │                 └──claim──► ending ─────► aborted orphaned
       ├── cancel ───────────────────────────────► aborted
       └── refuse ───────────────────────────────► refused

- A run has one writer, named after it. ``claim`` takes the run away from its node under the next
  epoch: what the node still sends is refused by the log, so nothing comes after an end.
- A run that nobody runs any more is claimed by whoever finds it. A queued one has not called
  anybody: it is started, not ended, whoever asked for it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from types import MappingProxyType
from typing import Any, Self

from durable_ai_db_proxy._rows import Json, Row, without_none
from durable_proxy.generation import TERMINAL_STATES, Ending, Event, State


class Status(StrEnum):
    """Where a run is."""

    QUEUED = "queued"
    RUNNING = "running"
    ENDING = "ending"
    COMPLETED = "completed"
    FAILED = "failed"
    ABORTED = "aborted"
    TIMED_OUT = "timed_out"
    ORPHANED = "orphaned"
    TRUNCATED = "truncated"
    TOO_LARGE = "too_large"
    REFUSED = "refused"

    @property
    def is_open(self) -> bool:
        """The run is not over."""
        return self in OPEN


class Step(StrEnum):
    """What can happen to a run."""

    START = "start"
    CLAIM = "claim"
    END = "end"
    CANCEL = "cancel"
    REFUSE = "refuse"


OPEN = frozenset({Status.QUEUED, Status.RUNNING, Status.ENDING})
HELD = frozenset({Status.RUNNING, Status.ENDING})
"""A node has it."""

_ENDS = frozenset(Status(one) for one in State if one.is_terminal)

TRANSITIONS: Mapping[Status, Mapping[Step, frozenset[Status]]] = MappingProxyType(
    {
        Status.QUEUED: {
            Step.START: frozenset({Status.RUNNING}),
            Step.CANCEL: frozenset({Status.ABORTED}),
            Step.REFUSE: frozenset({Status.REFUSED}),
        },
        Status.RUNNING: {Step.CLAIM: frozenset({Status.ENDING}), Step.END: _ENDS},
        Status.ENDING: {Step.CLAIM: frozenset({Status.ENDING}), Step.END: _ENDS},
    }
)
"""What may happen to a run in each state; nothing happens to one that is over."""


class Cause(StrEnum):
    """Why an agent is called."""

    MESSAGE = "message"
    REGENERATE = "regenerate"
    ANSWER = "answer"
    """Its tool calls were answered."""
    AGENT = "agent"
    """Another agent has spoken."""


class IllegalStepError(Exception):
    """The step cannot happen to the run: a defect of ours."""

    def __init__(self, status: Status, step: Step) -> None:
        self.status = status
        self.step = step
        super().__init__(status, step)

    def __str__(self) -> str:
        return f"a run that is {self.status} cannot {self.step}"


@dataclass(frozen=True, slots=True)
class Run:
    """One call of an agent.

    Attributes:
        id: Also names the run's writer.
        session_id: Where it was asked for: a fork inherits its row, and not the run.
        message_id: Of the message that the agent's answer is, given before the agent is called.
        trigger: Id of the message that asked for it.
        node: Which has it.
        epoch: Of its writer: one more each time that it changes hands.
        inline: The agent came with the message and is not registered.
        answers: Ids of tool calls and approvals that it goes on from.
        ending: What a claim has to end it with.
        discard: Its message is not wanted any more.
    """

    id: str
    session_id: str
    agent_id: str
    message_id: str
    cause: Cause
    trigger: str
    created_at: str
    status: Status = Status.QUEUED
    node: str | None = None
    epoch: int = 0
    inline: bool = False
    discard: bool = False
    answers: tuple[str, ...] = ()
    ending: str | None = None
    started_at: str | None = None
    ended_at: str | None = None
    code: str | None = None
    message: str | None = None

    def _check(self, step: Step, to: Status) -> None:
        if to not in TRANSITIONS.get(self.status, {}).get(step, ()):
            raise IllegalStepError(self.status, step)

    def started(self, node: str, now: str) -> "Run":
        """A node calls the agent."""
        self._check(Step.START, Status.RUNNING)
        return replace(self, status=Status.RUNNING, node=node, started_at=now)

    def claimed(self, node: str, event: Event, *, discard: bool = False) -> "Run":
        """A node takes it away from whoever has it, to end it."""
        self._check(Step.CLAIM, Status.ENDING)
        return replace(
            self,
            status=Status.ENDING,
            node=node,
            epoch=self.epoch + 1,
            ending=self.ending or event.value,
            discard=discard or self.discard,
        )

    def ended(self, ending: Ending, code: str | None, now: str) -> "Run":
        """It is over."""
        status = Status(TERMINAL_STATES[ending.event])
        self._check(Step.END, status)
        return replace(self, status=status, code=code, message=ending.message, ended_at=now)

    def cancelled(self, now: str) -> "Run":
        """It is taken back before anybody was called."""
        self._check(Step.CANCEL, Status.ABORTED)
        return replace(self, status=Status.ABORTED, code="aborted", ended_at=now)

    def refused(self, code: str, message: str, now: str) -> "Run":
        """It is not done, and the session says why."""
        self._check(Step.REFUSE, Status.REFUSED)
        return replace(self, status=Status.REFUSED, code=code, message=message, ended_at=now)

    def to_row(self) -> Row:
        """The row of the run."""
        value: Json = {
            "runId": self.id,
            "sessionId": self.session_id,
            "agentId": self.agent_id,
            "messageId": self.message_id,
            "status": self.status.value,
            "cause": self.cause.value,
            "trigger": self.trigger,
            "node": self.node,
            "epoch": self.epoch,
            "inline": self.inline or None,
            "discard": self.discard or None,
            "answers": list(self.answers) or None,
            "ending": self.ending,
            "createdAt": self.created_at,
            "startedAt": self.started_at,
            "endedAt": self.ended_at,
            "code": self.code,
            "message": self.message,
        }
        return Row("run", self.id, "upsert", without_none(value))

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> Self:
        """The run of a row's value.

        Raises:
            KeyError: it is none.
            ValueError: likewise.
        """
        return cls(
            id=value["runId"],
            session_id=value["sessionId"],
            agent_id=value["agentId"],
            message_id=value["messageId"],
            status=Status(value["status"]),
            cause=Cause(value["cause"]),
            trigger=value["trigger"],
            node=value.get("node"),
            epoch=int(value["epoch"]),
            inline=bool(value.get("inline")),
            discard=bool(value.get("discard")),
            answers=tuple(value.get("answers", ())),
            ending=value.get("ending"),
            created_at=value["createdAt"],
            started_at=value.get("startedAt"),
            ended_at=value.get("endedAt"),
            code=value.get("code"),
            message=value.get("message"),
        )
