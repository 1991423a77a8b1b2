"""When an agent is called, and what happens when it is already speaking. Pure.

A policy is about one agent: several agents of a session run side by side under each of them.

| policy    | the agent is quiet | the agent is busy                                      |
|-----------|--------------------|--------------------------------------------------------|
| reject    | runs               | the message is refused (``run_active``), nothing kept  |
| enqueue   | runs               | runs when it is its turn                               |
| interrupt | runs               | what it is saying ends as aborted, then runs           |
| parallel  | runs               | runs too                                               |

Runs that nobody is there to be refused (an agent answers another one, or goes on after its tool
calls were answered) wait for their turn under ``reject`` and ``interrupt`` too.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType


class RunPolicy(StrEnum):
    """What a message does that asks an agent which is already speaking."""

    REJECT = "reject"
    ENQUEUE = "enqueue"
    INTERRUPT = "interrupt"
    PARALLEL = "parallel"


class Action(StrEnum):
    """What becomes of a wanted run."""

    RUN = "run"
    WAIT = "wait"
    REFUSE = "refuse"
    REPLACE = "replace"


DEFAULT_POLICY = RunPolicy.ENQUEUE

ACTIONS: Mapping[tuple[RunPolicy, bool], Action] = MappingProxyType(
    {
        (RunPolicy.REJECT, False): Action.RUN,
        (RunPolicy.REJECT, True): Action.REFUSE,
        (RunPolicy.ENQUEUE, False): Action.RUN,
        (RunPolicy.ENQUEUE, True): Action.WAIT,
        (RunPolicy.INTERRUPT, False): Action.RUN,
        (RunPolicy.INTERRUPT, True): Action.REPLACE,
        (RunPolicy.PARALLEL, False): Action.RUN,
        (RunPolicy.PARALLEL, True): Action.RUN,
    }
)
"""What becomes of a run that a user wants, by the policy and whether the agent is busy."""


class Trigger(StrEnum):
    """Which messages an agent wants to be called for."""

    ALL = "all"
    USER_MESSAGES = "user-messages"


def is_triggered(trigger: str | None, *, by_user: bool, own: bool) -> bool:
    """Whether an agent is called for a message.

    Args:
        trigger: The agent's; None is ``user-messages``.
        by_user: A user has written it, in the role of one.
        own: The agent itself has.
    """
    if own:
        return False
    return by_user or trigger == Trigger.ALL
