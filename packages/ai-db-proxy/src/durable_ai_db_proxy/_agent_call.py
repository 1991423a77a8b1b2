"""The request that an agent gets. Pure."""

import re
from dataclasses import dataclass
from typing import Any

from durable_ai_db.materialize import MessageRow
from durable_ai_db.materialize.history import to_messages, to_resume
from durable_ai_db_proxy._errors import Refusal
from durable_ai_db_proxy._models import AgentSpec
from durable_ai_db_proxy._rows import Json, dumps
from durable_ai_db_proxy._run import Cause, Run
from durable_ai_db_proxy._state import SessionState
from durable_proxy.targets import Allowlist, Target, UrlError, parse_url
from durable_transport.protocol import HOP_BY_HOP_HEADERS, ErrorCode

_NAME = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_VALUE = re.compile(r"[\t\x20-\x7e\x80-\xff]*")
_OURS = HOP_BY_HOP_HEADERS | {"host", "content-length", "content-type", "accept", "accept-encoding"}


@dataclass(frozen=True, slots=True)
class AgentRequest:
    """One call; what `durable_proxy.upstream.Upstream` sends."""

    method: str
    target: Target
    headers: tuple[tuple[bytes, bytes], ...]
    body: bytes
    any_address: bool


def check_agent(spec: AgentSpec, allowlist: Allowlist) -> Refusal | None:
    """Why an agent cannot be in a session; None when it can."""
    try:
        target = parse_url(spec.endpoint)
    except UrlError as error:
        return Refusal(ErrorCode.BAD_REQUEST, f"endpoint of agent {spec.id!r}: {error}")
    if allowlist.refuse(target) is not None:
        return Refusal(
            ErrorCode.UPSTREAM_NOT_ALLOWED,
            f"{target.origin}{target.path} is not an allowed agent; to allow it, start the service"
            f" with --allow '{target.origin}/**' or a narrower pattern",
        )
    for name, value in spec.headers.items():
        if not _NAME.fullmatch(name) or not _VALUE.fullmatch(value):
            return Refusal(ErrorCode.BAD_REQUEST, f"agent {spec.id!r} has a header that is none")
        if name.lower() in _OURS:
            return Refusal(
                ErrorCode.BAD_REQUEST, f"agent {spec.id!r}: header {name} is set by the service"
            )
    return None


def agent_request(
    spec: AgentSpec, state: SessionState, run: Run, allowlist: Allowlist
) -> AgentRequest:
    """The call of an agent for a run.

    Raises:
        UrlError: its endpoint is none (any more).
    """
    target = parse_url(spec.endpoint)
    headers = [
        ("Content-Type", "application/json"),
        ("Accept", "text/event-stream"),
        ("X-Session-ID", run.session_id),
        ("X-Message-ID", run.message_id),
        ("X-Run-ID", run.id),
        ("Idempotency-Key", run.id),
    ]
    given = {name.lower() for name in spec.headers}
    lines = [*((n, v) for n, v in headers if n.lower() not in given), *spec.headers.items()]
    return AgentRequest(
        method=spec.method,
        target=target,
        headers=tuple((n.encode("latin-1"), _header(v)) for n, v in lines),
        body=dumps(agent_body(spec, state, run)).encode(),
        any_address=allowlist.names_host_of(target),
    )


def _header(value: str) -> bytes:
    return value.encode("latin-1", "replace")


def agent_body(spec: AgentSpec, state: SessionState, run: Run) -> Json:
    """The body: the template, the session's messages in the agent's format, ``stream: true``."""
    messages: list[Any] = to_messages(
        state.messages, spec.format, messages=history(state, run), keep_open=run.answers
    )
    body = {**spec.body_template, "messages": messages, "stream": True}
    match spec.format:
        case "ag-ui":
            resume = to_resume(state.messages, messages=history(state, run))
            return _ag_ui(body, run) | ({"resume": resume} if resume else {})
        case "vercel":
            return {"id": run.session_id, "trigger": "submit-message"} | body
        case _:
            return body


def _ag_ui(body: Json, run: Run) -> Json:
    """The fields that ``RunAgentInput`` insists on."""
    empty: Json = {"tools": [], "context": [], "state": {}, "forwardedProps": {}}
    return empty | body | {"threadId": run.session_id, "runId": run.id}


def history(state: SessionState, run: Run) -> list[MessageRow]:
    """The messages that a run knows of: all but what others are just saying."""
    speaking = {one.message_id for one in state.open_runs()} | {run.message_id}
    known = [
        message
        for message in state.messages.timeline()
        if message.id not in speaking
        and (message.is_complete or message.id not in state.messages.active_generations)
    ]
    match run.cause:
        case Cause.MESSAGE | Cause.AGENT:
            return _asked_last(known, run)
        case Cause.ANSWER:
            # Models and agents carry out the calls of the last message, and of no other.
            return sorted(known, key=lambda one: one.id == run.trigger)
        case _:
            return known


def _asked_last(known: list[MessageRow], run: Run) -> list[MessageRow]:
    """A message that waited stands behind what the agent said meanwhile to those before it."""
    ids = [one.id for one in known]
    own = [place for place, one in enumerate(known) if one.actor_id == run.agent_id]
    if not own or run.trigger not in ids or (asked := ids.index(run.trigger)) > own[-1]:
        return known
    return [*known[:asked], *known[asked + 1 : own[-1] + 1], known[asked], *known[own[-1] + 1 :]]
